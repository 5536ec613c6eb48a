//! Whether anything is to be done about the primary (pure).

use super::window::{Condition, Row, Term};
use crate::{Electorate, ServerName};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// What stands in etcd, as one reading saw it.
#[derive(Clone, Debug)]
pub struct Scene {
    /// The leader key.
    pub term: Option<Term>,
    /// Patroni's `/sync`.
    pub electorate: Option<Electorate>,
    /// Patroni is paused.
    pub paused: bool,
    /// Patroni's failsafe mode is on: a primary may go on without etcd.
    pub failsafe: bool,
    /// A switchover or failover by hand is under way.
    pub failover: bool,
    /// A key was removed not long ago.
    pub damped: bool,
    /// Somebody saw an append acknowledged while others saw none alive.
    pub vetoed: bool,
    /// The sentinel is switched off.
    pub off: bool,
}

/// What another node states, in our clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// Its row; `since` is at the latest and `until` at the earliest that they can have been.
    pub row: Row,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Nothing.
    Leave(Why),
    /// Ask the standbys how many of them answer, then decide again.
    AskVoters,
    /// Remove the leader key.
    RemoveKey,
    /// Stop this host's PostgreSQL at once.
    StopPostgres,
}

/// Why nothing is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Nothing is wrong, or not for long enough.
    Well,
    /// Not enough others see the same at the same time.
    Alone,
    /// Switched off.
    Off,
    /// Patroni is paused.
    Paused,
    /// Patroni's failsafe mode is on.
    Failsafe,
    /// Nobody leads, or another than the one that was looked at.
    OtherTerm,
    /// `/sync` names another leader, or none.
    OtherElectorate,
    /// Somebody changes the primary by hand.
    ByHand,
    /// Not so soon again.
    Damped,
    /// Somebody saw an append acknowledged.
    Vetoed,
    /// Too few of those who may vote answer.
    NoQuorum,
    /// It is for the node beside that PostgreSQL to act.
    NotHere,
}

/// So many looks in a row must agree. Where etcd is slow they are far apart, and two that came too late on a busy machine would
/// span the window.
const LOOKS_MIN: u32 = 4;

/// Decides; `voters` are the standbys whose Patroni reports them running, where they were asked.
#[must_use]
pub fn decide(
    me: &ServerName,
    nodes: &BTreeSet<ServerName>,
    own: Option<&Row>,
    others: &BTreeMap<ServerName, Heard>,
    scene: &Scene,
    voters: Option<&BTreeSet<ServerName>>,
    window: Duration,
) -> Decision {
    let Some(own) = own.filter(|row| row.covers() >= window && row.looks >= LOOKS_MIN) else {
        return Decision::Leave(Why::Well);
    };
    if let Some(why) = forbidden(own, scene) {
        return Decision::Leave(why);
    }
    let agree = others
        .iter()
        .filter(|(name, heard)| *name != me && nodes.contains(*name) && agrees(own, &heard.row, window));
    if (agree.count() + 1) * 2 <= nodes.len() {
        return Decision::Leave(Why::Alone);
    }
    match own.condition {
        Condition::Refusing if own.term.leader == *me => Decision::StopPostgres,
        Condition::Refusing => Decision::Leave(Why::NotHere),
        Condition::Dead => on_death(scene, voters),
    }
}

fn forbidden(own: &Row, scene: &Scene) -> Option<Why> {
    let names_another = scene
        .electorate
        .as_ref()
        .is_none_or(|it| it.leader != own.term.leader);
    [
        (scene.off, Why::Off),
        (scene.paused, Why::Paused),
        (scene.failsafe, Why::Failsafe),
        (scene.term.as_ref() != Some(&own.term), Why::OtherTerm),
        (names_another, Why::OtherElectorate),
        (scene.failover, Why::ByHand),
    ]
    .into_iter()
    .find_map(|(holds, why)| holds.then_some(why))
}

/// Whether both saw the same of the same term, over a whole window that they share.
fn agrees(own: &Row, other: &Row, window: Duration) -> bool {
    let from: Instant = own.since.max(other.since);
    let to: Instant = own.until.min(other.until);
    own.term == other.term && own.condition == other.condition && to.saturating_duration_since(from) >= window
}

fn on_death(scene: &Scene, voters: Option<&BTreeSet<ServerName>>) -> Decision {
    if scene.damped {
        return Decision::Leave(Why::Damped);
    }
    if scene.vetoed {
        return Decision::Leave(Why::Vetoed);
    }
    match (voters, &scene.electorate) {
        (None, _) => Decision::AskVoters,
        (Some(running), Some(electorate))
            if electorate.voters.intersection(running).count() > electorate.quorum =>
        {
            Decision::RemoveKey
        }
        _ => Decision::Leave(Why::NoQuorum),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_secs(1);

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    fn names(names: &[&str]) -> BTreeSet<ServerName> {
        names.iter().map(|name| ServerName::from(*name)).collect()
    }

    /// h2 looks, h1 leads; all that is needed to remove the key holds, until a test changes it.
    struct Case {
        me: ServerName,
        nodes: BTreeSet<ServerName>,
        own: Option<Row>,
        others: BTreeMap<ServerName, Heard>,
        scene: Scene,
        voters: Option<BTreeSet<ServerName>>,
    }

    fn zero() -> Instant {
        static ZERO: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
        *ZERO.get_or_init(Instant::now)
    }

    fn row(condition: Condition, since: u64, until: u64) -> Row {
        Row {
            term: Term {
                leader: "h1".into(),
                revision: 7,
            },
            condition,
            since: zero() + ms(since),
            until: zero() + ms(until),
            looks: LOOKS_MIN,
        }
    }

    fn case(condition: Condition) -> Case {
        let heard = Heard {
            row: row(condition, 100, 1200),
        };
        Case {
            me: "h2".into(),
            nodes: names(&["h1", "h2", "h3"]),
            own: Some(row(condition, 0, 1300)),
            others: [("h3".into(), heard)].into(),
            scene: Scene {
                term: Some(row(condition, 0, 0).term),
                electorate: Some(Electorate {
                    leader: "h1".into(),
                    voters: names(&["h2", "h3"]),
                    quorum: 1,
                }),
                paused: false,
                failsafe: false,
                failover: false,
                damped: false,
                vetoed: false,
                off: false,
            },
            voters: Some(names(&["h2", "h3"])),
        }
    }

    fn decision(it: &Case) -> Decision {
        let voters = it.voters.as_ref();
        decide(
            &it.me,
            &it.nodes,
            it.own.as_ref(),
            &it.others,
            &it.scene,
            voters,
            WINDOW,
        )
    }

    fn after(condition: Condition, change: impl FnOnce(&mut Case)) -> Decision {
        let mut case = case(condition);
        change(&mut case);
        decision(&case)
    }

    #[test]
    fn a_primary_that_a_majority_saw_dead_over_the_same_second_loses_its_key() {
        assert_eq!(decision(&case(Condition::Dead)), Decision::RemoveKey);
        assert_eq!(after(Condition::Dead, |it| it.voters = None), Decision::AskVoters);
    }

    #[test]
    fn each_condition_alone_holds_it_back() {
        use Why::*;
        type Change = fn(&mut Case);
        let changes: [(Why, Change); 18] = [
            (Well, |it| it.own = None),
            (Well, |it| it.own = Some(row(Condition::Dead, 0, 999))),
            (Well, |it| it.own.as_mut().unwrap().looks = 3),
            (Alone, |it| it.others.clear()),
            (Alone, |it| {
                it.others.values_mut().for_each(|h| h.row.since += ms(101))
            }),
            (Alone, |it| {
                it.others.values_mut().for_each(|h| h.row.until -= ms(101))
            }),
            (Alone, |it| {
                it.others
                    .values_mut()
                    .for_each(|h| h.row.condition = Condition::Refusing)
            }),
            (Alone, |it| {
                it.others.values_mut().for_each(|h| h.row.term.revision = 6)
            }),
            (Alone, |it| it.nodes = names(&["h1", "h2"])),
            (Off, |it| it.scene.off = true),
            (Paused, |it| it.scene.paused = true),
            (Failsafe, |it| it.scene.failsafe = true),
            (OtherTerm, |it| it.scene.term = None),
            (OtherElectorate, |it| it.scene.electorate = None),
            (ByHand, |it| it.scene.failover = true),
            (Damped, |it| it.scene.damped = true),
            (Vetoed, |it| it.scene.vetoed = true),
            (NoQuorum, |it| it.voters = Some(names(&["h2", "h9"]))),
        ];
        for (i, (why, change)) in changes.into_iter().enumerate() {
            assert_eq!(after(Condition::Dead, change), Decision::Leave(why), "case {i}");
        }
    }

    #[test]
    fn a_leader_key_written_since_or_an_electorate_of_another_is_left_alone() {
        let renewed = after(Condition::Dead, |it| it.scene.term.as_mut().unwrap().revision = 8);
        assert_eq!(renewed, Decision::Leave(Why::OtherTerm));
        let another = after(Condition::Dead, |it| {
            it.scene.electorate.as_mut().unwrap().leader = "h3".into();
        });
        assert_eq!(another, Decision::Leave(Why::OtherElectorate));
    }

    #[test]
    fn a_node_counts_once_and_strangers_not_at_all() {
        let strangers = after(Condition::Dead, |it| {
            let heard = it.others.remove(&"h3".into()).unwrap();
            it.others.insert("h2".into(), heard.clone());
            it.others.insert("h9".into(), heard);
        });
        assert_eq!(strangers, Decision::Leave(Why::Alone));
    }

    #[test]
    fn a_primary_that_refuses_is_stopped_by_the_node_beside_it_and_its_key_is_left_alone() {
        let elsewhere = decision(&case(Condition::Refusing));
        assert_eq!(elsewhere, Decision::Leave(Why::NotHere));
        let here = after(Condition::Refusing, |it| it.me = "h1".into());
        assert_eq!(here, Decision::StopPostgres);
        let alone = after(Condition::Refusing, |it| {
            it.me = "h1".into();
            it.others.clear();
        });
        assert_eq!(alone, Decision::Leave(Why::Alone));
        let paused = after(Condition::Refusing, |it| {
            it.me = "h1".into();
            it.scene.paused = true;
        });
        assert_eq!(paused, Decision::Leave(Why::Paused));
    }
}
