//! Whether a writer's time agrees with the clocks of the members (pure). Owns: the rule. Must not: read clocks or ask anybody.
//!
//! A forward jump would expire holds for ever, so no block may be stamped more than [`AHEAD_MAX`] beyond what a majority of
//! the members' clocks say, nor beyond what the ledger's own time has come to since it was last known. A wrong clock alone
//! is refused; where the clocks agree and the ledger's time is behind them, it goes on from where it is and catches up slowly.

use std::time::Duration;

/// How far the time of blocks may be ahead of what it is held against.
pub const AHEAD_MAX: Duration = Duration::from_millis(500);

/// What is known of a clock, in nanoseconds less the time that is judged: it was asked over a network, so it is a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockRange {
    /// It says no less than this.
    pub least: i128,
    /// And no more.
    pub most: i128,
}

/// What a time is judged by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clocks {
    /// How many members there are, this one included.
    pub members: usize,
    /// Those members' clocks that are known, this one's own included.
    pub known: Vec<ClockRange>,
    /// The ledger's time: what its last known writer stamped with, aged by the monotonic clock.
    pub ledger: Option<ClockRange>,
    /// A clock that is no member's, for when no majority of the members is known.
    pub witness: Option<ClockRange>,
}

/// On what a verdict rests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ground {
    /// A majority of the members' clocks.
    Majority,
    /// The monotonic time since the ledger's time was last known: too few clocks are.
    Ledger,
    /// The witness: neither clocks nor the ledger's time are known.
    Witness,
}

/// Whether a term may begin at this time, or go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It may.
    Agrees {
        /// On what that rests.
        ground: Ground,
        /// So much earlier than the time that was judged it must begin, in nanoseconds, since the ledger's time is there.
        earlier_ns: u64,
    },
    /// It may not: the time is ahead of a majority, or of the witness.
    Ahead {
        /// Of which.
        ground: Ground,
        /// By so much.
        by: Duration,
    },
    /// Nothing is known to hold it against.
    Unknown,
}

/// Judges a time by what is known.
#[must_use]
pub fn judge(clocks: &Clocks) -> Verdict {
    let limit = -signed(AHEAD_MAX);
    let majority = clocks.members / 2 + 1;
    let agrees = |ground| Verdict::Agrees {
        ground,
        earlier_ns: clocks.ledger.map_or(0, |ledger| match ledger.most < limit {
            true => u64::try_from(-ledger.most).unwrap_or(u64::MAX),
            false => 0,
        }),
    };
    // A member's own clock alone is no majority of anything worth asking.
    if clocks.known.len() >= majority.max(2) {
        // What a majority of all members say at least, as far as is known: those that are not known support nobody.
        let mut sorted: Vec<i128> = clocks.known.iter().map(|clock| clock.most).collect();
        sorted.sort_unstable_by(|left, right| right.cmp(left));
        let reached = sorted[majority - 1];
        return match reached >= limit {
            true => agrees(Ground::Majority),
            false => Verdict::Ahead {
                ground: Ground::Majority,
                by: unsigned(-reached),
            },
        };
    }
    match (clocks.ledger, clocks.witness) {
        (Some(_), _) => agrees(Ground::Ledger),
        (None, Some(witness)) if witness.most < limit => Verdict::Ahead {
            ground: Ground::Witness,
            by: unsigned(-witness.most),
        },
        (None, Some(_)) => agrees(Ground::Witness),
        (None, None) => Verdict::Unknown,
    }
}

/// By how much a majority of the members' clocks are ahead of the time that is judged, where that is more than
/// [`AHEAD_MAX`]. It does no harm, and somebody must look.
#[must_use]
pub fn behind_by(clocks: &Clocks) -> Option<Duration> {
    let mut sorted: Vec<i128> = clocks.known.iter().map(|clock| clock.least).collect();
    sorted.sort_unstable_by(|left, right| right.cmp(left));
    let reached = *sorted.get(clocks.members / 2)?;
    (reached > signed(AHEAD_MAX)).then(|| unsigned(reached))
}

fn signed(duration: Duration) -> i128 {
    i128::try_from(duration.as_nanos()).unwrap_or(i128::MAX)
}

fn unsigned(nanoseconds: i128) -> Duration {
    Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: i128 = 1_000_000;
    const HOUR: i128 = 3_600_000 * MS;

    fn at(ns: i128) -> ClockRange {
        ClockRange { least: ns, most: ns }
    }

    /// Of three members, this one's own clock being the time that is judged.
    fn of_three(others: &[i128]) -> Clocks {
        let others = others.iter().map(|ns| at(*ns));
        Clocks {
            members: 3,
            known: [at(0)].into_iter().chain(others).collect(),
            ledger: None,
            witness: None,
        }
    }

    fn agrees(ground: Ground) -> Verdict {
        Verdict::Agrees {
            ground,
            earlier_ns: 0,
        }
    }

    fn ahead(ground: Ground, ns: i128) -> Verdict {
        Verdict::Ahead {
            ground,
            by: unsigned(ns),
        }
    }

    #[test]
    fn a_clock_an_hour_ahead_of_the_two_others_is_refused_and_so_is_one_just_beyond_the_bound() {
        let judged = judge(&of_three(&[-HOUR, -HOUR]));
        assert_eq!(judged, ahead(Ground::Majority, HOUR));
        let judged = judge(&of_three(&[-501 * MS, -502 * MS]));
        assert_eq!(judged, ahead(Ground::Majority, 501 * MS));
        assert_eq!(judge(&of_three(&[-500 * MS, -HOUR])), agrees(Ground::Majority));
    }

    #[test]
    fn one_other_clock_that_agrees_is_a_majority_of_three_with_ones_own_and_of_five_is_none() {
        assert_eq!(judge(&of_three(&[-HOUR, 3 * MS])), agrees(Ground::Majority));
        assert_eq!(judge(&of_three(&[3 * MS])), agrees(Ground::Majority));
        let mut five = of_three(&[-HOUR, 3 * MS]);
        five.members = 5;
        assert_eq!(judge(&five), ahead(Ground::Majority, HOUR));
        five.known.push(at(0));
        assert_eq!(judge(&five), agrees(Ground::Majority));
    }

    #[test]
    fn a_clock_that_is_behind_agrees_and_is_told() {
        let clocks = of_three(&[HOUR, HOUR]);
        assert_eq!(judge(&clocks), agrees(Ground::Majority));
        assert_eq!(behind_by(&clocks), Some(unsigned(HOUR)));
        assert_eq!(behind_by(&of_three(&[HOUR, 0])), None);
        assert_eq!(behind_by(&of_three(&[HOUR])), None, "two of three is not known");
        assert_eq!(behind_by(&of_three(&[500 * MS, 500 * MS])), None);
    }

    #[test]
    fn what_is_not_sure_is_held_against_nobody() {
        let wide = ClockRange {
            least: -HOUR,
            most: -400 * MS,
        };
        let mut clocks = of_three(&[]);
        clocks.known.extend([wide, wide]);
        assert_eq!(judge(&clocks), agrees(Ground::Majority));
        let wide = ClockRange { least: 0, most: HOUR };
        let mut clocks = of_three(&[]);
        clocks.known.extend([wide, wide]);
        assert_eq!(behind_by(&clocks), None);
    }

    #[test]
    fn the_ledgers_time_does_not_jump_even_where_the_clocks_agree() {
        let mut clocks = of_three(&[0, 0]);
        clocks.ledger = Some(at(-HOUR));
        let earlier = Verdict::Agrees {
            ground: Ground::Majority,
            earlier_ns: HOUR as u64,
        };
        assert_eq!(judge(&clocks), earlier);
        clocks.ledger = Some(at(-500 * MS));
        assert_eq!(judge(&clocks), agrees(Ground::Majority), "so much is no jump");
        clocks.ledger = Some(at(HOUR));
        assert_eq!(
            judge(&clocks),
            agrees(Ground::Majority),
            "the block before sees to that"
        );
    }

    #[test]
    fn alone_the_ledgers_time_holds_and_without_it_the_witness() {
        let mut clocks = of_three(&[]);
        assert_eq!(judge(&clocks), Verdict::Unknown);
        clocks.witness = Some(at(-HOUR));
        assert_eq!(judge(&clocks), ahead(Ground::Witness, HOUR));
        clocks.witness = Some(at(-400 * MS));
        assert_eq!(judge(&clocks), agrees(Ground::Witness));
        clocks.witness = Some(at(-HOUR));
        clocks.ledger = Some(at(-HOUR));
        let earlier = Verdict::Agrees {
            ground: Ground::Ledger,
            earlier_ns: HOUR as u64,
        };
        assert_eq!(judge(&clocks), earlier);
    }

    #[test]
    fn a_member_that_knows_of_no_other_is_no_majority_of_one() {
        let mut alone = of_three(&[]);
        alone.members = 1;
        assert_eq!(judge(&alone), Verdict::Unknown);
        alone.witness = Some(at(-HOUR));
        assert_eq!(judge(&alone), ahead(Ground::Witness, HOUR));
    }

    #[test]
    fn a_writer_whose_time_left_the_clocks_behind_is_told_so_though_its_own_clock_jumped_with_it() {
        let writer = Clocks {
            members: 3,
            // Its own clock is an hour ahead of the time with which it stamps, which follows it slowly.
            known: vec![at(HOUR), at(-600 * MS), at(-600 * MS)],
            ledger: Some(at(0)),
            witness: None,
        };
        assert_eq!(judge(&writer), ahead(Ground::Majority, 600 * MS));
    }
}
