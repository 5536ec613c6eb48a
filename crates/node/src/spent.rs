//! Outcomes to be used again, so that a command allocates nothing. Owns: how much memory they may keep. Must not: keep what a
//! few large requests needed for ever.

use ledger::Outcome;

/// An outcome with room for more rows or accounts than this is a large one.
const LARGE: usize = 256;
/// So many large ones are kept: what is under way at a time of large requests.
const LARGE_KEPT: usize = 4;
/// Room for so many rows and accounts is kept in small ones, all together.
const SMALL_ROOM_KEPT: usize = 65_536;

/// See the module.
#[derive(Default)]
pub struct SpentOutcomes {
    small: Vec<Outcome>,
    large: Vec<Outcome>,
    /// Of the small ones, all together.
    small_room: usize,
}

impl SpentOutcomes {
    /// One of them, as it was left, or a new one.
    pub fn take(&mut self) -> Outcome {
        if let Some(outcome) = self.large.pop() {
            return outcome;
        }
        let Some(outcome) = self.small.pop() else {
            return Outcome::default();
        };
        self.small_room -= room(&outcome);
        outcome
    }

    /// At most so many of them.
    pub fn take_up_to(&mut self, count: usize) -> Vec<Outcome> {
        let kept = self.large.len() + self.small.len();
        (0..count.min(kept)).map(|_| self.take()).collect()
    }

    /// Keeps those that there is room for, and drops the others.
    pub fn give(&mut self, spent: &mut Vec<Outcome>) {
        for outcome in spent.drain(..) {
            let room = room(&outcome);
            if room > LARGE {
                if self.large.len() < LARGE_KEPT {
                    self.large.push(outcome);
                }
            } else if self.small_room + room <= SMALL_ROOM_KEPT {
                self.small_room += room;
                self.small.push(outcome);
            }
        }
    }
}

/// For how many rows and accounts an outcome has room, at least 1.
fn room(outcome: &Outcome) -> usize {
    let kept = [
        outcome.rows.capacity(),
        outcome.new_accounts.capacity(),
        outcome.transfers.capacity(),
        outcome.accounts.capacity(),
        outcome.expired.capacity(),
        outcome.row_metadata.capacity(),
        outcome.account_metadata.capacity(),
    ];
    kept.into_iter().max().unwrap_or_default().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ledger::{Row, TransferId};

    fn with_room(rows: usize) -> Outcome {
        Outcome {
            rows: Vec::<Row>::with_capacity(rows),
            ..Outcome::default()
        }
    }

    fn kept(pool: &SpentOutcomes) -> usize {
        pool.small.iter().chain(&pool.large).map(room).sum()
    }

    #[test]
    fn what_large_requests_needed_is_given_back_but_for_a_few() {
        let mut pool = SpentOutcomes::default();
        pool.give(&mut (0..100).map(|_| with_room(8_190)).collect());
        assert_eq!(kept(&pool), LARGE_KEPT * 8_190);
        let expired = Outcome {
            expired: Vec::<TransferId>::with_capacity(8_190),
            ..Outcome::default()
        };
        pool.give(&mut vec![expired]);
        assert_eq!(kept(&pool), LARGE_KEPT * 8_190, "releases count as well");
        pool.give(&mut (0..100_000).map(|_| with_room(16)).collect());
        assert_eq!(kept(&pool), LARGE_KEPT * 8_190 + SMALL_ROOM_KEPT);
    }

    #[test]
    fn what_is_kept_is_used_again_and_makes_room_for_more() {
        let mut pool = SpentOutcomes::default();
        for _ in 0..3 {
            pool.give(&mut (0..10_000).map(|_| with_room(16)).collect());
            assert_eq!(kept(&pool), SMALL_ROOM_KEPT);
            assert_eq!(pool.take_up_to(usize::MAX).len(), SMALL_ROOM_KEPT / 16);
            assert_eq!(kept(&pool), 0);
        }
        assert_eq!(pool.take().rows.capacity(), 0, "then there are new ones");
    }
}
