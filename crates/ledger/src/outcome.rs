//! What applying a command gives back (pure): replies for the client, rows for history.

use crate::{
    Account, AccountNumber, Balances, CreateAccountResult, CreateTransferResult, DescribeLedgerResult,
    RowNumber, Sealed, TimestampNs, Transfer, TransferId,
};

/// What one command did. Reused between commands: [`Outcome::clear`] keeps the allocations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Timestamp of the request's first event; event i has this plus i (imported ones have their own).
    pub timestamp: TimestampNs,
    /// One per event of a `CreateAccounts`.
    pub accounts: Vec<AccountReply>,
    /// One per event of a `CreateTransfers`.
    pub transfers: Vec<TransferReply>,
    /// Of a `DescribeLedger`.
    pub described: Option<DescribeLedgerResult>,
    /// New rows of history, in order; the first has the number [`Outcome::first_row`].
    pub rows: Vec<Row>,
    /// Number of the first of `rows`.
    pub first_row: RowNumber,
    /// Metadata of those rows that have some, by rising index into `rows`.
    pub row_metadata: Vec<(u32, Sealed)>,
    /// Accounts created, in order; the first has the number [`Outcome::first_account`].
    pub new_accounts: Vec<Account>,
    /// Number of the first of `new_accounts`.
    pub first_account: AccountNumber,
    /// Metadata of those new accounts that have some, by rising index into `new_accounts`.
    pub account_metadata: Vec<(u32, Sealed)>,
    /// Ids of the pending transfers that an `ExpirePending` released, in order.
    pub expired: Vec<TransferId>,
}

impl Outcome {
    /// Empties it and keeps the allocations.
    pub fn clear(&mut self) {
        self.timestamp = TimestampNs(0);
        self.accounts.clear();
        self.transfers.clear();
        self.described = None;
        self.rows.clear();
        self.row_metadata.clear();
        self.new_accounts.clear();
        self.account_metadata.clear();
        self.expired.clear();
    }
}

/// The answer to one account of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccountReply {
    /// What became of it.
    pub result: CreateAccountResult,
    /// Of the account, for `created` and `exists`; otherwise that of the event.
    pub timestamp: TimestampNs,
}

/// The answer to one transfer of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransferReply {
    /// What became of it.
    pub result: CreateTransferResult,
    /// Of the transfer, for `created` and `exists`; otherwise that of the event.
    pub timestamp: TimestampNs,
    /// For `created` and `exists` the debit account's totals (after the event; now). Otherwise zero.
    pub debit: Balances,
    /// The same for the credit account.
    pub credit: Balances,
}

/// What a row of history is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum RowKind {
    /// A transfer that was created (plain, pending, post or void; `transfer.flags` says which).
    Applied = 0,
    /// The engine released a pending transfer that was due: `transfer` is a copy of the pending one with `id` 0,
    /// `pending_id` its id, `amount` what was released, `timestamp` the expiry's own; it is in no client's namespace.
    Expired = 1,
    /// An id was burnt: only `transfer.id` and `transfer.timestamp` mean anything; the accounts are `NONE`.
    Burnt = 2,
}

/// One row of history, in the order of commit. Rows of transfers have strictly rising timestamps,
/// so that "as of a time" is a row number; a burnt row repeats the timestamp of the row of a transfer before it
/// (0 if there is none), so that a later import from the past still finds rising times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// What it is.
    pub kind: RowKind,
    /// As stored: amount resolved, fields inherited, timestamp assigned.
    pub transfer: Transfer,
    /// The debited account.
    pub debit: AccountNumber,
    /// The credited account.
    pub credit: AccountNumber,
    /// The debited account's totals after the row.
    pub debit_balances: Balances,
    /// The credited account's totals after the row.
    pub credit_balances: Balances,
}

/// What an id was used for, as far as history knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Used {
    /// By a transfer that was applied.
    Applied {
        /// As stored.
        transfer: Transfer,
        /// Its metadata, if it has some.
        metadata: Option<Sealed>,
    },
    /// Burnt by a failure.
    Burnt,
}

/// What became of a pending transfer that is no longer open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// Posted, all or in part.
    Posted,
    /// Voided.
    Voided,
    /// Released by the engine.
    Expired,
}

/// Where the ledger finds the ids that it no longer holds in memory. Same answers for the same history:
/// rows at and above `before` are not seen, so that a replay may run behind an archive that is ahead.
pub trait Archive {
    /// What the id was used for in rows below `before`.
    ///
    /// # Errors
    /// [`ArchiveFault`] when it cannot be known; the caller stops rather than guesses.
    fn find(&self, id: TransferId, before: RowNumber) -> Result<Option<Used>, ArchiveFault>;

    /// What became of the pending transfer in rows below `before`; `None` if nothing did.
    ///
    /// # Errors
    /// As [`Archive::find`].
    fn resolution(&self, pending: TransferId, before: RowNumber) -> Result<Option<Resolution>, ArchiveFault>;

    /// Whether a row below `before` (a transfer or an expiry) has exactly this timestamp. Asked only when an
    /// account is imported into the midst of transfers, since no two events may have the same timestamp.
    ///
    /// # Errors
    /// As [`Archive::find`].
    fn timestamp_taken(&self, timestamp: TimestampNs, before: RowNumber) -> Result<bool, ArchiveFault>;
}

/// The archive could not answer.
#[derive(Debug, thiserror::Error)]
#[error("LGR-0001: the archive of used ids cannot be read")]
pub struct ArchiveFault(#[source] pub Box<dyn std::error::Error + Send + Sync>);

impl<A: Archive + ?Sized> Archive for &A {
    fn find(&self, id: TransferId, before: RowNumber) -> Result<Option<Used>, ArchiveFault> {
        (**self).find(id, before)
    }

    fn resolution(&self, pending: TransferId, before: RowNumber) -> Result<Option<Resolution>, ArchiveFault> {
        (**self).resolution(pending, before)
    }

    fn timestamp_taken(&self, timestamp: TimestampNs, before: RowNumber) -> Result<bool, ArchiveFault> {
        (**self).timestamp_taken(timestamp, before)
    }
}

/// An archive that holds nothing: for a ledger that keeps every id in memory.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoArchive;

impl Archive for NoArchive {
    fn find(&self, _: TransferId, _: RowNumber) -> Result<Option<Used>, ArchiveFault> {
        Ok(None)
    }

    fn resolution(&self, _: TransferId, _: RowNumber) -> Result<Option<Resolution>, ArchiveFault> {
        Ok(None)
    }

    fn timestamp_taken(&self, _: TimestampNs, _: RowNumber) -> Result<bool, ArchiveFault> {
        Ok(false)
    }
}
