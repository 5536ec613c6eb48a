//! Holds what clients read against the order of the rows (pure).
//!
//! The rows are in one order, so the state after each row is one of finitely many positions, and an answer fits the
//! positions at which its account had those totals. Each read is placed at the first that fits: not before anything that
//! was answered (for a bounded age: that long) before the read began, not before a linearizable read that ended before it
//! began, and before every transfer that was asked for after it ended. Placing a read early never forbids a later one, so
//! a read that finds no place breaks a promise.

use super::checker::Observed;
use super::record::{Call, Consistency, Moment, Read};
use super::violation::Violation;
use ledger::{AccountId, Balances, CreateTransferResult, RowKind, TransferId};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

/// How many rows stand; 0 is the state before the first.
type Position = usize;

/// Every promise about reads that was broken.
#[must_use]
pub fn check_reads(calls: &[Call], reads: &[Read], observed: &Observed) -> Vec<Violation> {
    let versions = versions(observed);
    let acknowledged = acknowledged(calls, observed);
    let begun_after = begun_after(calls, observed);
    let mut reads: Vec<&Read> = reads.iter().collect();
    reads.sort_by_key(|read| read.begun);
    let mut seen = Seen::default();
    let mut violations = Vec::new();
    for read in reads {
        let promised = match read.consistency {
            Consistency::Linearizable => highest_before(&acknowledged, read.begun),
            Consistency::Bounded(age) => {
                highest_before(&acknowledged, Moment(read.begun.0.saturating_sub(age)))
            }
            Consistency::Any => 0,
        };
        let linearizable = read.consistency == Consistency::Linearizable;
        let before = if linearizable { seen.before(read.begun) } else { 0 };
        let fits = |from| versions.get(&read.account)?.first_from(read.seen, from);
        let Some(place) = fits(promised.max(before)) else {
            violations.push(if fits(0).is_none() {
                Violation::ReadInvented(*read)
            } else if fits(promised).is_none() {
                Violation::ReadStale(*read)
            } else {
                Violation::ReadWentBack(*read)
            });
            continue;
        };
        if place >= lowest_after(&begun_after, read.ended) {
            violations.push(Violation::ReadAhead(*read));
        } else if linearizable {
            seen.add(read.ended, place);
        }
    }
    violations
}

/// The totals that an account had, each with the first and the last position.
#[derive(Default)]
struct Versions {
    current: Balances,
    since: Position,
    by_totals: HashMap<Balances, Vec<(Position, Position)>>,
}

impl Versions {
    fn change(&mut self, totals: Balances, at: Position) {
        let span = (self.since, at - 1);
        self.by_totals.entry(self.current).or_default().push(span);
        (self.current, self.since) = (totals, at);
    }

    /// The first position from the given one on at which the account had these totals.
    fn first_from(&self, totals: Balances, from: Position) -> Option<Position> {
        let spans = self.by_totals.get(&totals).into_iter().flatten();
        let mut fitting = spans.filter(|(_, last)| *last >= from);
        let closed = fitting.next().map(|(first, _)| (*first).max(from));
        let open = || (self.current == totals).then_some(self.since.max(from));
        closed.or_else(open)
    }
}

fn versions(observed: &Observed) -> HashMap<AccountId, Versions> {
    let known = observed.accounts.iter();
    let mut versions: HashMap<AccountId, Versions> =
        known.map(|account| (account.id, Versions::default())).collect();
    for (row, at) in observed.rows.iter().zip(1..) {
        let (debit, credit) = (row.transfer.debit_account_id, row.transfer.credit_account_id);
        versions.entry(debit).or_default().change(row.debit, at);
        versions.entry(credit).or_default().change(row.credit, at);
    }
    versions
}

fn positions(observed: &Observed) -> HashMap<TransferId, Position> {
    let rows = observed.rows.iter().zip(1..);
    rows.filter(|(row, _)| row.kind == RowKind::Applied)
        .map(|(row, at)| (row.transfer.id, at))
        .collect()
}

/// By rising moment of the answer: the highest position that was acknowledged until then.
fn acknowledged(calls: &[Call], observed: &Observed) -> Vec<(Moment, Position)> {
    use CreateTransferResult::{Created, Exists};
    let positions = positions(observed);
    let done = |call: &&Call| matches!(call.heard.result(), Some(Created | Exists));
    let answers = calls.iter().filter(done);
    let mut answers: Vec<_> = answers
        .filter_map(|call| Some((call.ended, *positions.get(&call.transfer.id)?)))
        .collect();
    answers.sort_unstable();
    let mut highest = 0;
    for (_, position) in &mut answers {
        highest = highest.max(*position);
        *position = highest;
    }
    answers
}

fn highest_before(acknowledged: &[(Moment, Position)], moment: Moment) -> Position {
    let count = acknowledged.partition_point(|(ended, _)| *ended < moment);
    count.checked_sub(1).map_or(0, |last| acknowledged[last].1)
}

/// By rising moment of the first call under an id: the lowest position among those that began then or later.
fn begun_after(calls: &[Call], observed: &Observed) -> Vec<(Moment, Position)> {
    let mut first: HashMap<TransferId, Moment> = HashMap::new();
    for call in calls {
        let begun = first.entry(call.transfer.id).or_insert(call.begun);
        *begun = (*begun).min(call.begun);
    }
    let positions = positions(observed);
    let mut begun: Vec<(Moment, Position)> = positions
        .iter()
        .filter_map(|(id, position)| Some((*first.get(id)?, *position)))
        .collect();
    begun.sort_unstable();
    let mut lowest = Position::MAX;
    for (_, position) in begun.iter_mut().rev() {
        lowest = lowest.min(*position);
        *position = lowest;
    }
    begun
}

fn lowest_after(begun: &[(Moment, Position)], moment: Moment) -> Position {
    let next = begun.partition_point(|(begun, _)| *begun <= moment);
    begun.get(next).map_or(Position::MAX, |(_, lowest)| *lowest)
}

/// What linearizable reads showed, asked by rising moments.
#[derive(Default)]
struct Seen {
    later: BinaryHeap<Reverse<(Moment, Position)>>,
    highest: Position,
}

impl Seen {
    fn add(&mut self, ended: Moment, place: Position) {
        self.later.push(Reverse((ended, place)));
    }

    fn before(&mut self, moment: Moment) -> Position {
        while let Some(Reverse((ended, place))) = self.later.peek().copied() {
            if ended >= moment {
                break;
            }
            self.highest = self.highest.max(place);
            self.later.pop();
        }
        self.highest
    }
}
