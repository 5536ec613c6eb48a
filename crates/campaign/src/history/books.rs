//! The books as an outsider keeps them from the listed rows alone (pure). Shares no code with the engine.

use ledger::{
    Account, AccountFlags, AccountId, Amount, Balances, RowKind, Transfer, TransferFlags, TransferId,
};
use std::collections::HashMap;

/// Running totals of every account, and the pending transfers that are open.
pub struct Books {
    accounts: HashMap<AccountId, (AccountFlags, Balances)>,
    open: HashMap<TransferId, Transfer>,
}

/// Both accounts' totals after a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct After {
    /// Of the account that is debited.
    pub debit: Balances,
    /// Of the account that is credited.
    pub credit: Balances,
}

impl Books {
    /// Empty books for these accounts; their balances are not looked at.
    pub fn new(accounts: &[Account]) -> Self {
        let accounts = accounts
            .iter()
            .map(|a| (a.id, (a.flags, Balances::default())))
            .collect();
        Self {
            accounts,
            open: HashMap::new(),
        }
    }

    /// Enters a row; an error says in words why it cannot stand where it stands.
    pub fn enter(&mut self, kind: RowKind, row: &Transfer) -> Result<After, String> {
        let mut debit = self.account(row.debit_account_id)?;
        let mut credit = self.account(row.credit_account_id)?;
        let resolves = TransferFlags::POST_PENDING_TRANSFER | TransferFlags::VOID_PENDING_TRANSFER;
        let amount = row.amount.0;
        if kind == RowKind::Expired || row.flags.intersects(resolves) {
            let pending = self.take_open(row)?;
            debit.1.debits_pending = minus(debit.1.debits_pending, pending.amount.0)?;
            credit.1.credits_pending = minus(credit.1.credits_pending, pending.amount.0)?;
            let posts = kind == RowKind::Applied && row.flags.contains(TransferFlags::POST_PENDING_TRANSFER);
            if posts && amount > pending.amount.0 {
                return Err(format!("posts {amount} of a pending {}", pending.amount));
            }
            if !posts && amount != pending.amount.0 {
                return Err(format!("releases {amount} of a pending {}", pending.amount));
            }
            if posts {
                debit.1.debits_posted = plus(debit.1.debits_posted, amount)?;
                credit.1.credits_posted = plus(credit.1.credits_posted, amount)?;
            }
        } else if row.flags.contains(TransferFlags::PENDING) {
            debit.1.debits_pending = plus(debit.1.debits_pending, amount)?;
            credit.1.credits_pending = plus(credit.1.credits_pending, amount)?;
            self.open.insert(row.id, *row);
        } else {
            debit.1.debits_posted = plus(debit.1.debits_posted, amount)?;
            credit.1.credits_posted = plus(credit.1.credits_posted, amount)?;
        }
        within_limits(row.debit_account_id, debit)?;
        within_limits(row.credit_account_id, credit)?;
        self.accounts.insert(row.debit_account_id, debit);
        self.accounts.insert(row.credit_account_id, credit);
        Ok(After {
            debit: debit.1,
            credit: credit.1,
        })
    }

    /// An account's totals now.
    pub fn balances(&self, id: AccountId) -> Option<Balances> {
        self.accounts.get(&id).map(|(_, balances)| *balances)
    }

    /// The pending transfer that is still open under an id.
    pub fn open(&self, id: TransferId) -> Option<&Transfer> {
        self.open.get(&id)
    }

    fn account(&self, id: AccountId) -> Result<(AccountFlags, Balances), String> {
        self.accounts
            .get(&id)
            .copied()
            .ok_or_else(|| format!("account {id} is not there"))
    }

    fn take_open(&mut self, row: &Transfer) -> Result<Transfer, String> {
        let pending = self.open.remove(&row.pending_id);
        let pending = pending.ok_or_else(|| format!("no pending transfer {} is open", row.pending_id))?;
        let same = pending.debit_account_id == row.debit_account_id
            && pending.credit_account_id == row.credit_account_id;
        same.then_some(pending)
            .ok_or_else(|| format!("other accounts than the pending {}", row.pending_id))
    }
}

fn plus(total: Amount, amount: u128) -> Result<Amount, String> {
    total
        .0
        .checked_add(amount)
        .map(Amount)
        .ok_or_else(|| format!("{total} + {amount} overflows"))
}

fn minus(total: Amount, amount: u128) -> Result<Amount, String> {
    total
        .0
        .checked_sub(amount)
        .map(Amount)
        .ok_or_else(|| format!("{total} - {amount} is below zero"))
}

fn within_limits(id: AccountId, (flags, b): (AccountFlags, Balances)) -> Result<(), String> {
    let over_credits = flags.contains(AccountFlags::DEBITS_MUST_NOT_EXCEED_CREDITS)
        && b.debits_pending.0.saturating_add(b.debits_posted.0) > b.credits_posted.0;
    let over_debits = flags.contains(AccountFlags::CREDITS_MUST_NOT_EXCEED_DEBITS)
        && b.credits_pending.0.saturating_add(b.credits_posted.0) > b.debits_posted.0;
    if over_credits || over_debits {
        return Err(format!("account {id} breaks its limit: {b:?}"));
    }
    Ok(())
}
