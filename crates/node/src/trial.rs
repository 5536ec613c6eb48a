//! Trial balances (pure). Owns: how a ledger's totals are added up.

use crate::reads::State;
use crate::{TrialBalance, TrialBalanceLine};
use ledger::{Amount, Balances, LedgerId};
use std::collections::BTreeMap;

/// The totals of a ledger in a state.
pub fn balance(state: &State, ledger: LedgerId) -> TrialBalance {
    let mut by_code = BTreeMap::new();
    let mut totals = Balances::default();
    let mut accounts = 0;
    for account in state
        .snapshot
        .accounts()
        .filter(|account| account.ledger == ledger)
    {
        let line = by_code.entry(account.code).or_insert(TrialBalanceLine {
            code: account.code,
            accounts: 0,
            balances: Balances::default(),
        });
        accounts += 1;
        line.accounts += 1;
        add(&mut line.balances, &account.balances);
        add(&mut totals, &account.balances);
    }
    TrialBalance {
        description: state.description(ledger),
        height: state.height,
        timestamp: state.timestamp,
        totals,
        by_code: by_code.into_values().collect(),
        accounts,
    }
}

/// Sums beyond 128 bits stay at the most: an account alone may hold that much.
fn add(sum: &mut Balances, more: &Balances) {
    let add = |sum: &mut Amount, more: Amount| sum.0 = sum.0.saturating_add(more.0);
    add(&mut sum.debits_pending, more.debits_pending);
    add(&mut sum.debits_posted, more.debits_posted);
    add(&mut sum.credits_pending, more.credits_pending);
    add(&mut sum.credits_posted, more.credits_posted);
}
