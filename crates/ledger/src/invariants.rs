//! What must always hold (pure). Owns: the check of a whole state, for verification.
//!
//! Must not: change or repair anything.

use crate::{Account, AccountFlags, AccountId, AccountNumber, Ledger, LedgerId, TransferFlags, TransferId};
use std::collections::{BTreeMap, HashSet};

/// Something that must never be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// The sum of debits posted is not the sum of credits posted.
    #[error("LGR-0030: ledger {0}: posted debits and credits differ")]
    PostedUnbalanced(LedgerId),
    /// The sum of debits pending is not the sum of credits pending.
    #[error("LGR-0031: ledger {0}: pending debits and credits differ")]
    PendingUnbalanced(LedgerId),
    /// A limit of the account is exceeded.
    #[error("LGR-0032: account {0}: its limit is exceeded")]
    LimitExceeded(AccountId),
    /// What is open does not add up to what the account has pending.
    #[error("LGR-0033: account {0}: open transfers do not add up to its pending balances")]
    PendingDiffers(AccountId),
    /// An open transfer names an account that is not its own.
    #[error("LGR-0034: pending transfer {0}: its accounts are wrong")]
    PendingMisplaced(TransferId),
    /// An account is closed with nothing that closed it, or open with something that did.
    #[error("LGR-0035: account {0}: closed without cause, or open against one")]
    ClosedWithoutCause(AccountId),
    /// Timestamps do not rise from account to account, or are beyond the last one.
    #[error("LGR-0036: account {0}: its timestamp is out of order")]
    TimestampOutOfOrder(AccountId),
}

/// A sum of amounts beyond 128 bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sum {
    carries: u64,
    low: u128,
}

impl Sum {
    fn add(&mut self, amount: u128) {
        let (low, carry) = self.low.overflowing_add(amount);
        self.low = low;
        self.carries += u64::from(carry);
    }
}

#[derive(Default)]
struct Totals {
    debits_posted: Sum,
    credits_posted: Sum,
    debits_pending: Sum,
    credits_pending: Sum,
}

impl Ledger {
    /// Checks every account and every open transfer; empty when all is well. Costs time in proportion to their number.
    #[must_use]
    pub fn check_invariants(&self) -> Vec<Violation> {
        let mut violations = Vec::new();
        self.check_totals(&mut violations);
        self.check_accounts(&mut violations);
        self.check_pendings(&mut violations);
        violations
    }

    fn check_totals(&self, violations: &mut Vec<Violation>) {
        let mut ledgers: BTreeMap<LedgerId, Totals> = BTreeMap::new();
        for account in self.accounts.iter() {
            let totals = ledgers.entry(account.ledger).or_default();
            totals.debits_posted.add(account.balances.debits_posted.0);
            totals.credits_posted.add(account.balances.credits_posted.0);
            totals.debits_pending.add(account.balances.debits_pending.0);
            totals.credits_pending.add(account.balances.credits_pending.0);
        }
        for (ledger, totals) in ledgers {
            if totals.debits_posted != totals.credits_posted {
                violations.push(Violation::PostedUnbalanced(ledger));
            }
            if totals.debits_pending != totals.credits_pending {
                violations.push(Violation::PendingUnbalanced(ledger));
            }
        }
    }

    fn check_accounts(&self, violations: &mut Vec<Violation>) {
        let mut before = 0;
        for account in self.accounts.iter() {
            if exceeds_limit(account) {
                violations.push(Violation::LimitExceeded(account.id));
            }
            if account.timestamp.0 <= before || account.timestamp > self.last_timestamp {
                violations.push(Violation::TimestampOutOfOrder(account.id));
            }
            before = account.timestamp.0;
        }
    }

    fn check_pendings(&self, violations: &mut Vec<Violation>) {
        let mut open: BTreeMap<AccountNumber, (Sum, Sum)> = BTreeMap::new();
        let mut closing = HashSet::new();
        for pending in self.pendings.iter() {
            let transfer = &pending.transfer;
            let is = |number: AccountNumber, id| {
                number.0 < self.accounts.len() && self.accounts.get(number).id == id
            };
            if !is(pending.debit, transfer.debit_account_id)
                || !is(pending.credit, transfer.credit_account_id)
            {
                violations.push(Violation::PendingMisplaced(transfer.id));
            }
            open.entry(pending.debit).or_default().0.add(transfer.amount.0);
            open.entry(pending.credit).or_default().1.add(transfer.amount.0);
            if transfer.flags.contains(TransferFlags::CLOSING_DEBIT) {
                closing.insert(pending.debit);
            }
            if transfer.flags.contains(TransferFlags::CLOSING_CREDIT) {
                closing.insert(pending.credit);
            }
        }
        for (number, account) in (0..).map(AccountNumber).zip(self.accounts.iter()) {
            let (debits, credits) = open.get(&number).copied().unwrap_or_default();
            let expected = |amount: u128| Sum {
                carries: 0,
                low: amount,
            };
            if debits != expected(account.balances.debits_pending.0)
                || credits != expected(account.balances.credits_pending.0)
            {
                violations.push(Violation::PendingDiffers(account.id));
            }
            let for_ever = self
                .accounts
                .flags_at_creation(number)
                .contains(AccountFlags::CLOSED);
            if account.flags.contains(AccountFlags::CLOSED) != (for_ever || closing.contains(&number)) {
                violations.push(Violation::ClosedWithoutCause(account.id));
            }
        }
    }
}

/// Limits bind debits and credits, pending ones included, to what is posted on the other side.
fn exceeds_limit(account: &Account) -> bool {
    let balances = &account.balances;
    let exceeds = |pending: u128, posted: u128, limit: u128| {
        pending.checked_add(posted).is_none_or(|total| total > limit)
    };
    let debits = exceeds(
        balances.debits_pending.0,
        balances.debits_posted.0,
        balances.credits_posted.0,
    );
    let credits = exceeds(
        balances.credits_pending.0,
        balances.credits_posted.0,
        balances.debits_posted.0,
    );
    (account
        .flags
        .contains(AccountFlags::DEBITS_MUST_NOT_EXCEED_CREDITS)
        && debits)
        || (account
            .flags
            .contains(AccountFlags::CREDITS_MUST_NOT_EXCEED_DEBITS)
            && credits)
}
