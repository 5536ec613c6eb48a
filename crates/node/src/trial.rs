//! Trial balances (pure). Owns: how a ledger's totals are added up, and whether they are even.

use crate::reads::State;
use crate::{TrialBalance, TrialBalanceLine};
use ledger::{Amount, Balances, Height, LedgerId};
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

/// Every ledger's sums at one height.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BooksCheck {
    /// As of this block.
    pub height: Height,
    /// Ledgers that have accounts.
    pub ledgers: u64,
    /// Accounts of all of them.
    pub accounts: u64,
    /// Ledgers whose debits are not their credits, posted or pending. There is never one.
    pub uneven: Vec<LedgerId>,
}

/// Adds every ledger up.
pub fn check(state: &State) -> BooksCheck {
    let accounts = state.snapshot.accounts();
    let sums = accounts.map(|account| (account.ledger, account.balances));
    let (accounts, ledgers, uneven) = add_up(sums);
    BooksCheck {
        height: state.height,
        ledgers,
        accounts,
        uneven,
    }
}

/// How many accounts and ledgers there are, and which ledgers are uneven.
fn add_up(accounts: impl Iterator<Item = (LedgerId, Balances)>) -> (u64, u64, Vec<LedgerId>) {
    // Debits less credits, modulo 2^128: an account alone may hold that much, and what is even stays so.
    let mut ledgers: BTreeMap<LedgerId, (u128, u128)> = BTreeMap::new();
    let mut count = 0;
    for (ledger, balances) in accounts {
        count += 1;
        let (posted, pending) = ledgers.entry(ledger).or_default();
        let less = |debits: Amount, credits: Amount| debits.0.wrapping_sub(credits.0);
        *posted = posted.wrapping_add(less(balances.debits_posted, balances.credits_posted));
        *pending = pending.wrapping_add(less(balances.debits_pending, balances.credits_pending));
    }
    let uneven = ledgers.iter().filter(|(_, sums)| **sums != (0, 0));
    let uneven = uneven.map(|(ledger, _)| *ledger).collect();
    (count, ledgers.len() as u64, uneven)
}

/// Sums beyond 128 bits stay at the most: an account alone may hold that much.
fn add(sum: &mut Balances, more: &Balances) {
    let add = |sum: &mut Amount, more: Amount| sum.0 = sum.0.saturating_add(more.0);
    add(&mut sum.debits_pending, more.debits_pending);
    add(&mut sum.debits_posted, more.debits_posted);
    add(&mut sum.credits_pending, more.credits_pending);
    add(&mut sum.credits_posted, more.credits_posted);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(
        ledger: u32,
        debits_posted: u128,
        credits_posted: u128,
        pending: u128,
    ) -> (LedgerId, Balances) {
        let balances = Balances {
            debits_posted: Amount(debits_posted),
            credits_posted: Amount(credits_posted),
            debits_pending: Amount(pending),
            credits_pending: Amount(0),
        };
        (LedgerId(ledger), balances)
    }

    #[test]
    fn a_ledger_whose_debits_are_not_its_credits_is_named_and_one_beyond_128_bits_is_not() {
        let even = [account(1, 7, 0, 0), account(1, 0, 7, 0)];
        assert_eq!(add_up(even.into_iter()), (2, 1, vec![]));
        let large = [account(2, u128::MAX, 0, 0), account(2, 5, 0, 0)];
        let against = [account(2, 0, u128::MAX, 0), account(2, 0, 5, 0)];
        assert_eq!(add_up(large.into_iter().chain(against)), (4, 1, vec![]));
        let uneven = [account(1, 7, 0, 0), account(1, 0, 6, 0), account(3, 0, 0, 1)];
        let named = vec![LedgerId(1), LedgerId(3)];
        assert_eq!(add_up(even.into_iter().chain(uneven)), (5, 2, named));
    }

    #[test]
    fn two_ledgers_do_not_make_up_for_each_other() {
        let crossed = [account(1, 7, 0, 0), account(2, 0, 7, 0)];
        assert_eq!(add_up(crossed.into_iter()).2, [LedgerId(1), LedgerId(2)]);
    }
}
