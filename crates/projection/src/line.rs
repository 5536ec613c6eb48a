//! How much may be logged at once (pure). Owns: what the lines to the journal's standbys were seen to carry.
//!
//! The tables' rows reach the same standbys as the journal's blocks, through the same log: a commit of the writer's waits until
//! they have what was logged before it. An id is anywhere in its index, so after a checkpoint a row may log every page that
//! it touches whole: a hundred times its own size.

use crate::Log;
use std::time::{Duration, Instant};

/// What a row may log at worst: whole pages of three indexes by id and of two accounts, compressed.
const ROW_BYTES_MAX: u64 = 24 << 10;
/// So long may a commit wait behind a piece at worst.
const BEHIND_A_PIECE: Duration = Duration::from_secs(1);
/// So much may always be under way: it holds nobody up, and the newest record may lie in memory until something follows it.
const UNDER_WAY_BYTES_MIN: u64 = 128 << 10;
/// What a line carries, as long as nothing is known of it.
const FIRST_BYTES_PER_SECOND: u64 = 1 << 20;
const PIECE_ROWS_MIN: u64 = 8;
const PIECE_ROWS_MAX: u64 = 2_048;
/// Two looks closer than that tell nothing of the rate.
const LOOK: Duration = Duration::from_millis(100);
/// So many pieces make a step.
const STEP_PIECES: u64 = 128;

/// What is known of the lines.
pub(crate) struct Line {
    bytes_per_second: u64,
    /// Where enough standbys stood, and whether more than allowed was under way since.
    seen: Option<(Instant, u64, bool)>,
}

impl Line {
    /// Nothing yet.
    pub(crate) fn new() -> Self {
        Self {
            bytes_per_second: FIRST_BYTES_PER_SECOND,
            seen: None,
        }
    }

    /// Rows that the next piece may write.
    pub(crate) fn piece_rows(&self) -> usize {
        let rows = self.carried_within(BEHIND_A_PIECE) / ROW_BYTES_MAX;
        rows.clamp(PIECE_ROWS_MIN, PIECE_ROWS_MAX) as usize
    }

    /// Rows after which a step is to end.
    pub(crate) fn step_rows(&self) -> usize {
        self.piece_rows() * STEP_PIECES as usize
    }

    /// Takes a look in, and says whether the next piece may be written.
    pub(crate) fn is_free(&mut self, now: Instant, log: Log) -> bool {
        let under_way = log.logged.saturating_sub(log.carried);
        let allowed = (self.carried_within(BEHIND_A_PIECE) / 2).max(UNDER_WAY_BYTES_MIN);
        let is_free = under_way <= allowed;
        match self.seen {
            Some((at, carried, was_full)) if carried <= log.carried => {
                let time = now.saturating_duration_since(at);
                if time < LOOK {
                    self.seen = Some((at, carried, was_full && !is_free));
                    return is_free;
                }
                self.learn(log.carried - carried, time, was_full && !is_free);
            }
            // The first look, or another server's log.
            _ => {}
        }
        self.seen = Some((now, log.carried, !is_free));
        is_free
    }

    /// A line that was full all the time carries what it can; another one at least what it did.
    fn learn(&mut self, bytes: u64, time: Duration, was_full: bool) {
        let rate = (u128::from(bytes) * 1_000_000 / time.as_micros().max(1)) as u64;
        self.bytes_per_second = match was_full {
            true => self.bytes_per_second.midpoint(rate),
            false => self.bytes_per_second.max(rate),
        };
    }

    fn carried_within(&self, time: Duration) -> u64 {
        (u128::from(self.bytes_per_second) * time.as_millis() / 1_000) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn log(logged: u64, carried: u64) -> Log {
        Log { logged, carried }
    }

    #[test]
    fn a_line_that_carries_more_takes_larger_pieces() {
        let (mut line, begin) = (Line::new(), Instant::now());
        let first = line.piece_rows();
        for second in 0..5 {
            let at = begin + Duration::from_secs(second);
            assert!(line.is_free(at, log(40 * MIB * second, 40 * MIB * second)));
        }
        assert!(line.piece_rows() > 10 * first, "{}", line.piece_rows());
        let at = begin + Duration::from_secs(9);
        assert!(
            line.is_free(at, log(200 * MIB, 200 * MIB)),
            "a quiet line tells nothing"
        );
        assert!(line.piece_rows() > 10 * first, "{}", line.piece_rows());
    }

    #[test]
    fn a_line_that_is_full_and_carries_little_takes_small_pieces() {
        let (mut line, begin) = (Line::new(), Instant::now());
        for tenth in 0..100 {
            let at = begin + Duration::from_millis(100 * tenth);
            assert!(!line.is_free(at, log(50 * MIB, 20_000 * tenth)));
        }
        assert_eq!(line.piece_rows() as u64, PIECE_ROWS_MIN);
        assert_eq!(line.step_rows() as u64, PIECE_ROWS_MIN * STEP_PIECES);
        let at = begin + Duration::from_secs(11);
        assert!(line.is_free(at, log(50 * MIB, 50 * MIB - UNDER_WAY_BYTES_MIN)));
    }

    #[test]
    fn looks_that_follow_each_other_closely_say_what_is_under_way_and_nothing_of_the_rate() {
        let (mut line, begin) = (Line::new(), Instant::now());
        assert!(line.is_free(begin, log(0, 0)));
        assert!(line.is_free(begin + Duration::from_micros(50), log(100 * MIB, 100 * MIB)));
        assert!(!line.is_free(begin + Duration::from_micros(90), log(200 * MIB, 100 * MIB)));
        assert_eq!(line.bytes_per_second, FIRST_BYTES_PER_SECOND);
    }

    #[test]
    fn another_servers_log_begins_anew() {
        let (mut line, begin) = (Line::new(), Instant::now());
        assert!(line.is_free(begin, log(500 * MIB, 500 * MIB)));
        assert!(line.is_free(begin + Duration::from_secs(1), log(100 * MIB, 100 * MIB)));
        assert_eq!(line.bytes_per_second, FIRST_BYTES_PER_SECOND);
    }
}
