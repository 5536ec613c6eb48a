//! Readers of the index. Shape only; the body follows.
#![allow(unused_variables)]

use crate::{Filter, HistoryError, Matches, Position, StoredRow};
use ledger::{
    AccountNumber, Archive, ArchiveFault, Balances, Resolution, RowNumber, Sealed, TimestampNs, TransferId,
    Used,
};

/// Reads the index from any thread; cheap to clone.
#[derive(Clone)]
pub struct Reader {}

impl Reader {
    /// What is seen now.
    #[must_use]
    pub fn published(&self) -> Position {
        panic!("under construction")
    }

    /// Ids in rows below this are found through [`Archive`] from now on.
    #[must_use]
    pub fn archived_below(&self) -> RowNumber {
        panic!("under construction")
    }

    /// Applied transfers by id, in the order asked.
    ///
    /// # Errors
    /// [`HistoryError`] when the files cannot be read.
    pub fn transfers(&self, ids: &[TransferId]) -> Result<Vec<Option<StoredRow>>, HistoryError> {
        panic!("under construction")
    }

    /// Applied transfers and expiries that match.
    ///
    /// # Errors
    /// [`HistoryError::Filter`], or the files cannot be read.
    pub fn query_transfers(&self, filter: &Filter) -> Result<Matches<StoredRow>, HistoryError> {
        panic!("under construction")
    }

    /// Accounts that match.
    ///
    /// # Errors
    /// [`HistoryError::Filter`], or the files cannot be read.
    pub fn query_accounts(&self, filter: &Filter) -> Result<Matches<AccountNumber>, HistoryError> {
        panic!("under construction")
    }

    /// Row, time and totals of an account's last entry at or before a moment.
    ///
    /// # Errors
    /// [`HistoryError`] when the files cannot be read.
    pub fn balance_at(
        &self,
        account: AccountNumber,
        at: TimestampNs,
    ) -> Result<Option<(RowNumber, TimestampNs, Balances)>, HistoryError> {
        panic!("under construction")
    }

    /// Metadata of an account; `None` too when there is no such account.
    ///
    /// # Errors
    /// [`HistoryError`] when the files cannot be read.
    pub fn account_metadata(&self, account: AccountNumber) -> Result<Option<Sealed>, HistoryError> {
        panic!("under construction")
    }
}

impl Archive for Reader {
    fn find(&self, id: TransferId, before: RowNumber) -> Result<Option<Used>, ArchiveFault> {
        panic!("under construction")
    }

    fn resolution(&self, pending: TransferId, before: RowNumber) -> Result<Option<Resolution>, ArchiveFault> {
        panic!("under construction")
    }

    fn timestamp_taken(&self, timestamp: TimestampNs, before: RowNumber) -> Result<bool, ArchiveFault> {
        panic!("under construction")
    }
}
