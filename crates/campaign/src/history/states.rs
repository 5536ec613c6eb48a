//! Holds several views of the same books against each other (pure): the nodes', the SQL projection's, an earlier one.

use super::checker::{Observed, ObservedRow};
use super::violation::Violation;
use ledger::{Amount, Balances, LedgerId, TransferId};
use std::collections::HashSet;

/// The books as one of several shows them.
#[derive(Clone, Debug)]
pub struct NamedState {
    /// Whose view it is.
    pub name: String,
    /// What it shows.
    pub observed: Observed,
    /// What it says of the whole ledger, where it can say that.
    pub totals: Option<Balances>,
}

/// Whether debits equal credits in every view, and every view equals the first.
#[must_use]
pub fn check_states(ledger: LedgerId, states: &[NamedState]) -> Vec<Violation> {
    let mut violations = Vec::new();
    for state in states {
        let sum = sum(&state.observed);
        let balanced = sum.debits_posted == sum.credits_posted && sum.debits_pending == sum.credits_pending;
        if !balanced {
            let text = format!("{} shows for ledger {ledger}: {sum:?}", state.name);
            violations.push(Violation::MoneyMade(text));
        }
        if state.totals.is_some_and(|totals| totals != sum) {
            let text = format!(
                "{} says of ledger {ledger} {:?}, and its accounts sum up to {sum:?}",
                state.name, state.totals
            );
            violations.push(Violation::TotalsDiffer(text));
        }
    }
    if let Some((first, others)) = states.split_first() {
        let differ = others.iter().filter_map(|other| {
            Some(Violation::StatesDiffer {
                first: first.name.clone(),
                second: other.name.clone(),
                at: difference(&first.observed, &other.observed)?,
            })
        });
        violations.extend(differ);
    }
    violations
}

/// What stood at the end of a round, in little room.
#[derive(Clone, Debug)]
pub struct Seal {
    /// Which round.
    pub round: u32,
    rows: Vec<Row>,
    /// Calls of the round without an answer: what was under way may still have landed afterwards.
    unknown: HashSet<TransferId>,
}

/// Enough of a row to see that it is another one.
type Row = (TransferId, u64, Amount, Balances, Balances);

impl Seal {
    /// Of what was observed at the end of a round.
    #[must_use]
    pub fn new(round: u32, observed: &Observed, unknown: HashSet<TransferId>) -> Self {
        let rows = observed.rows.iter().map(row).collect();
        Self { round, rows, unknown }
    }

    /// How many rows stood.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether none stood.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Whether all of it still stands, and nothing came to it but what was unknown, or expired.
    #[must_use]
    pub fn check(&self, observed: &Observed) -> Option<Violation> {
        let round = self.round;
        let broken = |what| Some(Violation::SealBroken { round, what });
        for (index, sealed) in self.rows.iter().enumerate() {
            let now = observed.rows.get(index).map(row);
            if now != Some(*sealed) {
                return broken(format!("row {index} was {sealed:?} and is {now:?}"));
            }
        }
        let added = observed.rows[self.rows.len()..].iter();
        let mut invented =
            added.filter(|row| row.transfer.id != TransferId(0) && !self.unknown.contains(&row.transfer.id));
        let id = invented.next()?.transfer.id;
        broken(format!("{id} came later, and was not unknown"))
    }
}

fn row(row: &ObservedRow) -> Row {
    let transfer = &row.transfer;
    (
        transfer.id,
        transfer.timestamp.0,
        transfer.amount,
        row.debit,
        row.credit,
    )
}

fn sum(observed: &Observed) -> Balances {
    let mut sum = Balances::default();
    for Balances {
        debits_pending,
        debits_posted,
        credits_pending,
        credits_posted,
    } in observed.accounts.iter().map(|account| account.balances)
    {
        sum.debits_pending.0 += debits_pending.0;
        sum.debits_posted.0 += debits_posted.0;
        sum.credits_pending.0 += credits_pending.0;
        sum.credits_posted.0 += credits_posted.0;
    }
    sum
}

fn difference(first: &Observed, second: &Observed) -> Option<String> {
    let rows = first.rows.iter().zip(&second.rows).enumerate();
    if let Some((index, (one, other))) = rows.into_iter().find(|(_, (one, other))| one != other) {
        return Some(format!("row {index}: {one:?} and {other:?}"));
    }
    if first.rows.len() != second.rows.len() {
        return Some(format!("{} and {} rows", first.rows.len(), second.rows.len()));
    }
    let accounts = first.accounts.iter().zip(&second.accounts);
    if let Some((one, other)) = accounts.into_iter().find(|(one, other)| one != other) {
        return Some(format!("{one:?} and {other:?}"));
    }
    (first.accounts.len() != second.accounts.len())
        .then(|| format!("{} and {} accounts", first.accounts.len(), second.accounts.len()))
}
