//! How long clients went without an answer (pure).

use crate::history::Moment;
use std::collections::BTreeSet;
use std::time::Duration;

/// What was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum MarkKind {
    /// Transfers: acknowledged or refused by a rule.
    Write,
    /// A linearizable read.
    Linearizable,
    /// A read of bounded age.
    Bounded,
    /// A read of any age.
    Any,
}

/// That a client had an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// To what.
    pub kind: MarkKind,
    /// Which client.
    pub client: u16,
    /// When.
    pub at: Moment,
}

/// The longest time without an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gap {
    /// In which no client at all had one.
    pub service: Duration,
    /// In which one client had none.
    pub client: Duration,
}

/// The longest gap that reaches into the time from `from` to `to`. A gap begins and ends with an answer, or at the edge of
/// the record: what was never answered again counts until `to`.
#[must_use]
pub fn longest(marks: &[Mark], kind: MarkKind, from: Moment, to: Moment) -> Gap {
    let of_kind: Vec<&Mark> = marks.iter().filter(|mark| mark.kind == kind).collect();
    let clients: BTreeSet<u16> = of_kind.iter().map(|mark| mark.client).collect();
    let of_client = |client| {
        let own = of_kind.iter().filter(|mark| mark.client == client);
        longest_between(own.map(|mark| mark.at), from, to)
    };
    Gap {
        service: longest_between(of_kind.iter().map(|mark| mark.at), from, to),
        client: clients.into_iter().map(of_client).max().unwrap_or_default(),
    }
}

fn longest_between(answers: impl Iterator<Item = Moment>, from: Moment, to: Moment) -> Duration {
    let mut at: Vec<u64> = answers.map(|moment| moment.0).collect();
    at.sort_unstable();
    let before = at.partition_point(|at| *at <= from.0);
    let begin = before.checked_sub(1).map_or(from.0, |index| at[index]);
    let after = at.partition_point(|at| *at < to.0);
    let end = at.get(after).copied().unwrap_or(to.0);
    let inside = at[before..after.max(before)].iter().copied();
    let (mut last, mut longest) = (begin, 0);
    for at in inside.chain([end]) {
        longest = longest.max(at.saturating_sub(last));
        last = at;
    }
    Duration::from_nanos(longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gap(answers: &[(u16, u64)], from: u64, to: u64) -> Gap {
        let mark = |&(client, at)| Mark {
            kind: MarkKind::Write,
            client,
            at: Moment(at),
        };
        let marks: Vec<Mark> = answers.iter().map(mark).collect();
        longest(&marks, MarkKind::Write, Moment(from), Moment(to))
    }

    fn ns(ns: u64) -> Duration {
        Duration::from_nanos(ns)
    }

    #[test]
    fn a_gap_is_measured_between_answers_also_where_it_begins_before_the_time_or_ends_after_it() {
        let answers = [(0, 10), (0, 20), (0, 70), (0, 80), (0, 120)];
        assert_eq!(gap(&answers, 30, 75).service, ns(50));
        assert_eq!(gap(&answers, 75, 90).service, ns(40));
        assert_eq!(gap(&answers, 12, 15).service, ns(10));
    }

    #[test]
    fn one_client_may_wait_longer_than_all_together() {
        let answers = [(0, 10), (1, 40), (1, 70), (0, 100), (1, 101)];
        let gap = gap(&answers, 20, 95);
        assert_eq!((gap.service, gap.client), (ns(30), ns(90)));
    }

    #[test]
    fn what_is_never_answered_again_counts_to_the_end() {
        assert_eq!(gap(&[(0, 10)], 20, 95).service, ns(85));
        assert_eq!(gap(&[], 20, 95).service, ns(75));
    }

    #[test]
    fn answers_of_another_kind_end_no_gap() {
        let read = Mark {
            kind: MarkKind::Any,
            client: 0,
            at: Moment(50),
        };
        assert_eq!(
            longest(&[read], MarkKind::Write, Moment(0), Moment(100)).service,
            ns(100)
        );
        assert_eq!(
            longest(&[read], MarkKind::Any, Moment(0), Moment(100)).service,
            ns(50)
        );
    }
}
