//! Taking back a chain that failed (pure). Owns: the journal of what a chain changed, and where it began.
//!
//! Must not: know rules. Invariant: after a roll-back, state and outcome are as they were before the chain's first
//! event, but for time, which never goes back.

use crate::pending::Open;
use crate::{
    Account, AccountFlags, AccountNumber, Balances, Ledger, Outcome, RowNumber, TimestampNs, TransferId,
};

/// One change that can be taken back.
#[derive(Clone, Copy, Debug)]
enum Change {
    /// The account was like this before.
    Account(AccountNumber, Balances, AccountFlags),
    /// The last account is new.
    AccountCreated,
    /// The pending transfer was opened.
    Opened(TransferId),
    /// The pending transfer was posted or voided.
    Resolved(Open),
}

/// How long things were when the chain began.
#[derive(Clone, Copy, Debug)]
struct Mark {
    rows: RowNumber,
    last_row_timestamp: TimestampNs,
    outcome_rows: usize,
    outcome_accounts: usize,
}

/// Records nothing outside a chain.
#[derive(Debug, Default)]
pub(crate) struct Undo {
    mark: Option<Mark>,
    changes: Vec<Change>,
}

impl Undo {
    /// Notes how the account is, before it is written.
    #[inline]
    pub(crate) fn account(&mut self, number: AccountNumber, account: &Account) {
        if self.mark.is_some() {
            self.changes
                .push(Change::Account(number, account.balances, account.flags));
        }
    }

    pub(crate) fn account_created(&mut self) {
        if self.mark.is_some() {
            self.changes.push(Change::AccountCreated);
        }
    }

    pub(crate) fn opened(&mut self, id: TransferId) {
        if self.mark.is_some() {
            self.changes.push(Change::Opened(id));
        }
    }

    pub(crate) fn resolved(&mut self, open: Open) {
        if self.mark.is_some() {
            self.changes.push(Change::Resolved(open));
        }
    }
}

impl Ledger {
    /// A chain begins: from here on every change is noted.
    pub(crate) fn open_chain(&mut self, outcome: &Outcome) {
        assert!(self.undo.mark.is_none(), "chains do not nest");
        self.undo.mark = Some(Mark {
            rows: self.rows(),
            last_row_timestamp: self.last_row_timestamp,
            outcome_rows: outcome.rows.len(),
            outcome_accounts: outcome.new_accounts.len(),
        });
    }

    /// The chain succeeded: its changes stay.
    pub(crate) fn keep_chain(&mut self) {
        self.undo.mark = None;
        self.undo.changes.clear();
    }

    /// The chain failed: its changes are taken back, the last one first.
    pub(crate) fn drop_chain(&mut self, outcome: &mut Outcome) {
        let Some(mark) = self.undo.mark.take() else { return };
        while let Some(change) = self.undo.changes.pop() {
            match change {
                Change::Account(number, balances, flags) => {
                    let account = self.accounts.get_mut(number);
                    account.balances = balances;
                    account.flags = flags;
                }
                Change::AccountCreated => self.accounts.pop(),
                Change::Opened(id) => assert!(self.pendings.remove(id).is_some(), "a noted pending is open"),
                Change::Resolved(open) => self.pendings.insert(open),
            }
        }
        self.recent.truncate(mark.rows);
        self.last_row_timestamp = mark.last_row_timestamp;
        outcome.rows.truncate(mark.outcome_rows);
        outcome.new_accounts.truncate(mark.outcome_accounts);
        truncate_metadata(&mut outcome.row_metadata, mark.outcome_rows);
        truncate_metadata(&mut outcome.account_metadata, mark.outcome_accounts);
    }
}

fn truncate_metadata<S>(metadata: &mut Vec<(u32, S)>, len: usize) {
    while metadata.last().is_some_and(|&(index, _)| index as usize >= len) {
        metadata.pop();
    }
}
