//! The seam to the ledger. Owns: what an import and a statement ask of it. The binary implements it over the client.

use crate::PortError;
use ledger::{
    Account, AccountId, AccountReply, Balances, DescribeLedgerResult, LedgerDescription, RowKind, RowNumber,
    TimestampNs, Transfer, TransferReply,
};

/// An account to create.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewAccount {
    /// As the ledger takes it.
    pub account: Account,
    /// JSON text with sorted keys, the same at every import.
    pub metadata: Option<String>,
}

/// A transfer to create.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewTransfer {
    /// As the ledger takes it.
    pub transfer: Transfer,
    /// JSON text with sorted keys, at most 4 KiB, the same at every import.
    pub metadata: Option<String>,
}

/// The most bytes of metadata in one call, together. With the other fields of its events a call then stays well below
/// the 8 MiB that a node takes by default.
pub const METADATA_BYTES_PER_CALL_MAX: usize = 4 << 20;

/// The ledger as an import needs it. Calls hold from 1 to [`ledger::EVENTS_PER_REQUEST_MAX`] events and at most
/// [`METADATA_BYTES_PER_CALL_MAX`] bytes of metadata. Implementations retry by themselves where that is
/// safe: every id here is derived from the file, so repeating is.
pub trait LedgerPort {
    /// Creates accounts, in order; one reply each.
    ///
    /// # Errors
    /// When there is no answer.
    fn create_accounts(&mut self, accounts: &[NewAccount]) -> Result<Vec<AccountReply>, PortError>;

    /// Creates transfers, in order; one reply each.
    ///
    /// # Errors
    /// When there is no answer.
    fn create_transfers(&mut self, transfers: &[NewTransfer]) -> Result<Vec<TransferReply>, PortError>;

    /// Names a ledger and gives it currency and scale.
    ///
    /// # Errors
    /// When there is no answer.
    fn describe_ledger(&mut self, description: &LedgerDescription)
    -> Result<DescribeLedgerResult, PortError>;
}

/// The ledger as a statement needs it.
pub trait StatementPort {
    /// The account, if it is there.
    ///
    /// # Errors
    /// When there is no answer.
    fn account(&mut self, id: AccountId) -> Result<Option<Account>, PortError>;

    /// Its totals after the last entry at or before the moment; zero when there was none.
    ///
    /// # Errors
    /// When there is no answer.
    fn balances_at(&mut self, id: AccountId, at: TimestampNs) -> Result<BalanceReading, PortError>;

    /// Its rows from `from` to `to`, both inclusive, the oldest first, beyond the row `after` when given.
    ///
    /// # Errors
    /// When there is no answer.
    fn entries(
        &mut self,
        id: AccountId,
        from: TimestampNs,
        to: TimestampNs,
        after: Option<RowNumber>,
    ) -> Result<EntryPage, PortError>;
}

/// The totals of an account, and as of when.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BalanceReading {
    /// After the last entry.
    pub balances: Balances,
    /// Of that entry; 0 when there was none. No entry is ever booked before one that was read.
    pub timestamp: TimestampNs,
}

/// Some rows of an account.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EntryPage {
    /// The oldest first.
    pub rows: Vec<EntryRow>,
    /// Give this as `after` for the next page; `None` when there is no more.
    pub next: Option<RowNumber>,
}

/// One row of an account's history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryRow {
    /// Its number.
    pub number: RowNumber,
    /// Applied or expired; burnt rows belong to no account.
    pub kind: RowKind,
    /// As stored.
    pub transfer: Transfer,
    /// JSON text, if it has some.
    pub metadata: Option<String>,
}
