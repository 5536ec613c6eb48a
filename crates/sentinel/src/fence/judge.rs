//! Whether a promotion may go on (pure).

use crate::{Electorate, ServerName};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// How far a server's log reaches: timeline first, since a later one holds whatever an earlier one acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The timeline.
    pub timeline: u32,
    /// Bytes since the log began.
    pub lsn: u64,
}

/// What the last look at a server saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sight {
    /// Nothing that can be relied on; the reason is for the log.
    Unseen(String),
    /// It takes writes.
    Primary,
    /// It recovers.
    Standby {
        /// How far it has received; none while it reads its own log first, when nobody can know.
        position: Option<Position>,
        /// Whether its receiver is connected to the candidate. A server has one receiver, so it then is connected to nobody
        /// else; that there is no receiver proves nothing, since one that is connecting is not shown.
        follows_candidate: bool,
    },
}

/// What to do with the promotion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Let it go on.
    Pass,
    /// Somebody has what the candidate lacks.
    Ahead(ServerName),
    /// Not yet.
    Wait(Reason),
}

/// What is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// After which primary.
    pub primary: ServerName,
    /// How many are confirmed, of how many that are needed.
    pub confirmed: usize,
    /// See `confirmed`.
    pub needed: usize,
    /// The servers that could be confirmed and are not.
    pub missing: Vec<ServerName>,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.missing.iter().map(ToString::to_string).collect();
        write!(
            f,
            "{} of {} voters cannot acknowledge for {} any more; open: {}",
            self.confirmed,
            self.needed,
            self.primary,
            names.join(", ")
        )
    }
}

/// Judges by what was seen.
///
/// `primaries` are all who may have acknowledged commits under this electorate: its leader, and whoever was let through by
/// a fence since and may not have written it anew. For each of them, the candidate has everything that it acknowledged, and
/// will, when
/// - it is confirmed itself: whatever it acknowledged is in its own log; or
/// - of the others, at least quorum + 1 are confirmed: a commit misses at most `quorum` of them, so one of the confirmed
///   has it, hence the candidate.
///
/// *Confirmed* is the candidate itself (what it acknowledges until it is promoted it has), and a standby that follows the
/// candidate and is not ahead of it (it gets nothing from elsewhere any more).
pub fn judge(
    candidate: &ServerName,
    own: Position,
    electorate: &Electorate,
    primaries: &BTreeSet<ServerName>,
    sights: &BTreeMap<ServerName, Sight>,
) -> Verdict {
    let ahead = |name: &&ServerName| match sights.get(*name) {
        Some(Sight::Standby {
            position: Some(position),
            ..
        }) => *position > own,
        _ => false,
    };
    let members = electorate.members();
    let others = || members.iter().filter(|name| *name != candidate);
    if let Some(name) = others().filter(|name| !primaries.contains(*name)).find(ahead) {
        return Verdict::Ahead(name.clone());
    }
    let mut confirmed: BTreeSet<ServerName> = others()
        .filter(|name| is_confirmed(sights.get(*name), own))
        .cloned()
        .collect();
    confirmed.insert(candidate.clone());
    for primary in primaries {
        let able = members.iter().filter(|name| *name != primary);
        let count = able.filter(|name| confirmed.contains(*name)).count();
        if confirmed.contains(primary) || count > electorate.quorum {
            continue;
        }
        // A primary that recovers and has more may have acknowledged it, and is the better candidate.
        if ahead(&primary) {
            return Verdict::Ahead(primary.clone());
        }
        return Verdict::Wait(Reason {
            primary: primary.clone(),
            confirmed: count,
            needed: electorate.quorum + 1,
            missing: others()
                .filter(|name| !confirmed.contains(*name))
                .cloned()
                .collect(),
        });
    }
    Verdict::Pass
}

fn is_confirmed(sight: Option<&Sight>, own: Position) -> bool {
    match sight {
        Some(Sight::Standby {
            position: Some(position),
            follows_candidate: true,
        }) => *position <= own,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: Position = Position {
        timeline: 5,
        lsn: 1000,
    };

    fn electorate(voters: &[&str], quorum: usize) -> Electorate {
        Electorate {
            leader: "h1".into(),
            voters: voters.iter().map(|name| ServerName::from(*name)).collect(),
            quorum,
        }
    }

    fn standby(timeline: u32, lsn: u64, follows_candidate: bool) -> Sight {
        Sight::Standby {
            position: Some(Position { timeline, lsn }),
            follows_candidate,
        }
    }

    fn silent() -> Sight {
        Sight::Unseen("no answer".into())
    }

    /// The candidate is h2, the old primary h1.
    fn verdict(electorate: &Electorate, sights: &[(&str, Sight)]) -> Verdict {
        verdict_after(electorate, &["h1"], sights)
    }

    fn verdict_after(electorate: &Electorate, primaries: &[&str], sights: &[(&str, Sight)]) -> Verdict {
        let primaries = primaries.iter().map(|name| ServerName::from(*name)).collect();
        let sights = sights.iter().cloned();
        let sights = sights
            .map(|(name, sight)| (ServerName::from(name), sight))
            .collect();
        judge(&"h2".into(), OWN, electorate, &primaries, &sights)
    }

    fn waits(verdict: &Verdict) -> bool {
        matches!(verdict, Verdict::Wait(_))
    }

    #[test]
    fn three_members_pass_when_the_other_standby_follows_the_candidate_and_is_not_ahead() {
        let three = electorate(&["h2", "h3"], 1);
        assert_eq!(
            verdict(&three, &[("h1", silent()), ("h3", standby(5, 1000, true))]),
            Verdict::Pass
        );
        assert_eq!(
            verdict(&three, &[("h1", Sight::Primary), ("h3", standby(5, 900, true))]),
            Verdict::Pass
        );
    }

    #[test]
    fn a_standby_that_may_still_acknowledge_holds_the_promotion() {
        let three = electorate(&["h2", "h3"], 1);
        let wait = verdict(&three, &[("h1", silent()), ("h3", standby(5, 900, false))]);
        let Verdict::Wait(reason) = wait else {
            panic!("{wait:?}")
        };
        assert_eq!((reason.confirmed, reason.needed), (1, 2));
        assert_eq!(reason.missing, ["h1".into(), "h3".into()]);
        assert!(waits(&verdict(&three, &[("h1", silent()), ("h3", silent())])));
        assert!(waits(&verdict(&three, &[("h1", silent())])));
        assert!(waits(&verdict(
            &three,
            &[("h1", silent()), ("h3", Sight::Primary)]
        )));
    }

    #[test]
    fn a_standby_that_reads_its_own_log_first_has_a_place_that_nobody_knows() {
        let reading = Sight::Standby {
            position: None,
            follows_candidate: true,
        };
        let three = electorate(&["h2", "h3"], 1);
        assert!(waits(&verdict(&three, &[("h1", silent()), ("h3", reading)])));
    }

    #[test]
    fn a_standby_that_is_ahead_has_the_promotion_refused() {
        let three = electorate(&["h2", "h3"], 1);
        for follows in [true, false] {
            let sights = [("h1", silent()), ("h3", standby(5, 1001, follows))];
            assert_eq!(verdict(&three, &sights), Verdict::Ahead("h3".into()));
        }
        // Further on an older timeline is not ahead; less far on a later one is.
        assert_eq!(verdict(&three, &[("h3", standby(4, 5000, true))]), Verdict::Pass);
        assert_eq!(
            verdict(&three, &[("h3", standby(6, 10, true))]),
            Verdict::Ahead("h3".into())
        );
    }

    #[test]
    fn a_standby_that_the_primary_had_given_up_is_not_needed() {
        // h3 was down before: the primary counted on h2 alone.
        let two = electorate(&["h2"], 0);
        assert_eq!(
            verdict(&two, &[("h1", silent()), ("h3", silent())]),
            Verdict::Pass
        );
    }

    #[test]
    fn a_candidate_without_a_vote_needs_all_the_votes_of_others() {
        let other = electorate(&["h3"], 0);
        assert!(waits(&verdict(&other, &[("h1", silent()), ("h3", silent())])));
        assert_eq!(verdict(&other, &[("h3", standby(5, 1000, true))]), Verdict::Pass);
    }

    #[test]
    fn the_old_primary_as_a_standby_of_the_candidate_is_enough_by_itself() {
        let three = electorate(&["h2", "h3"], 1);
        assert_eq!(
            verdict(&three, &[("h1", standby(5, 1000, true)), ("h3", silent())]),
            Verdict::Pass
        );
        assert!(waits(&verdict(
            &three,
            &[("h1", standby(5, 1000, false)), ("h3", silent())]
        )));
    }

    #[test]
    fn an_old_primary_that_is_ahead_matters_only_where_the_voters_do_not_suffice() {
        let three = electorate(&["h2", "h3"], 1);
        let ahead = standby(5, 2000, false);
        assert_eq!(
            verdict(&three, &[("h1", ahead.clone()), ("h3", standby(5, 900, true))]),
            Verdict::Pass
        );
        assert_eq!(
            verdict(&three, &[("h1", ahead), ("h3", silent())]),
            Verdict::Ahead("h1".into())
        );
    }

    #[test]
    fn who_was_let_through_since_may_have_acknowledged_with_others() {
        // h3 was promoted under the electorate of h1 and is gone before it wrote its own: it needed h1 or h2.
        let three = electorate(&["h2", "h3"], 1);
        let primaries = ["h1", "h3"];
        assert!(waits(&verdict_after(
            &three,
            &primaries,
            &[("h1", silent()), ("h3", silent())]
        )));
        let back = [("h1", standby(5, 1000, true)), ("h3", silent())];
        assert_eq!(verdict_after(&three, &primaries, &back), Verdict::Pass);
        // The candidate led before: its own log has what it acknowledged, but not what h3 did.
        let own = Electorate {
            leader: "h2".into(),
            ..electorate(&["h1", "h3"], 1)
        };
        assert_eq!(verdict_after(&own, &["h2"], &[]), Verdict::Pass);
        assert!(waits(&verdict_after(&own, &["h2", "h3"], &[("h1", silent())])));
    }

    #[test]
    fn without_voters_nobody_but_the_primary_knows_what_was_acknowledged() {
        let none = electorate(&[], 0);
        assert!(waits(&verdict(
            &none,
            &[("h1", silent()), ("h3", standby(5, 10, true))]
        )));
        assert_eq!(verdict(&none, &[("h1", standby(5, 1000, true))]), Verdict::Pass);
    }

    /// Against a model: a commit is acknowledged by the primary and any `number` of the synchronous standbys. Whenever the
    /// judge lets pass, no set of that size lies among those who are not confirmed.
    #[test]
    fn no_verdict_leaves_enough_others_to_acknowledge_a_commit() {
        let names = ["h1", "h2", "h3", "h4", "h5"];
        for voters in 1_usize..32 {
            let chosen: Vec<&str> = (1..5)
                .filter(|i| voters >> i & 1 == 1)
                .map(|i| names[i])
                .collect();
            for number in 1..=chosen.len() {
                let electorate = electorate(&chosen, chosen.len() - number);
                for following in 0_usize..32 {
                    let sights: Vec<_> = (2..5)
                        .map(|i| (names[i], standby(5, 1000, following >> i & 1 == 1)))
                        .collect();
                    let passes = verdict(&electorate, &sights) == Verdict::Pass;
                    let open = chosen
                        .iter()
                        .filter(|name| **name != "h2")
                        .filter(|name| {
                            let at = names.iter().position(|it| it == *name).unwrap();
                            following >> at & 1 == 0
                        })
                        .count();
                    assert_eq!(passes, open < number, "{chosen:?} {number} {following:b}");
                }
            }
        }
    }
}
