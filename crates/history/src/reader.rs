//! The index as readers have it. Owns: nothing but access to the view that was published last; each call sees one.

use crate::view::{Of, Records, View};
use crate::{Filter, HistoryError, Matches, Position, StoredRow, query};
use arc_swap::ArcSwap;
use ledger::{
    AccountNumber, Archive, ArchiveFault, Balances, Resolution, RowKind, RowNumber, Sealed, TimestampNs,
    TransferId, Used,
};
use std::sync::Arc;

/// Reads the index from any thread; cheap to clone. Never waits for the writer.
#[derive(Clone)]
pub struct Reader {
    pub(crate) shared: Arc<ArcSwap<View>>,
}

impl Reader {
    /// What is seen now.
    #[must_use]
    pub fn published(&self) -> Position {
        self.shared.load().position
    }

    /// Ids in rows below this are found through [`Archive`] from now on, also after a crash once the rows that
    /// were not durable were fed again.
    #[must_use]
    pub fn archived_below(&self) -> RowNumber {
        self.published().rows
    }

    /// Applied transfers by id, in the order asked; `None` for ids that are unknown or burnt.
    ///
    /// # Errors
    /// [`HistoryError`] when the files cannot be read.
    pub fn transfers(&self, ids: &[TransferId]) -> Result<Vec<Option<StoredRow>>, HistoryError> {
        let view = self.shared.load_full();
        ids.iter()
            .map(|&id| {
                let found = query::find_id(&view, id, u64::MAX)?;
                Ok(found.filter(|stored| stored.row.kind == RowKind::Applied))
            })
            .collect()
    }

    /// Applied transfers and expiries that match.
    ///
    /// # Errors
    /// [`HistoryError::Filter`], or the files cannot be read.
    pub fn query_transfers(&self, filter: &Filter) -> Result<Matches<StoredRow>, HistoryError> {
        query::query_rows(&self.shared.load_full(), filter)
    }

    /// Accounts that match; `filter.account` is not used.
    ///
    /// # Errors
    /// [`HistoryError::Filter`], or the files cannot be read.
    pub fn query_accounts(&self, filter: &Filter) -> Result<Matches<AccountNumber>, HistoryError> {
        query::query_accounts(&self.shared.load_full(), filter)
    }

    /// Row, time and totals of an account's last entry at or before a moment; `None` when it had none.
    ///
    /// # Errors
    /// [`HistoryError`] when the files cannot be read.
    pub fn balance_at(
        &self,
        account: AccountNumber,
        at: TimestampNs,
    ) -> Result<Option<(RowNumber, TimestampNs, Balances)>, HistoryError> {
        query::balance_at(&self.shared.load_full(), account, at)
    }

    /// Metadata of an account; `None` too when there is no such account.
    ///
    /// # Errors
    /// [`HistoryError`] when the files cannot be read.
    pub fn account_metadata(&self, account: AccountNumber) -> Result<Option<Sealed>, HistoryError> {
        let view = self.shared.load_full();
        if account >= view.position.accounts {
            return Ok(None);
        }
        let (_, blob) = Records::new(&view, Of::Accounts).account(u64::from(account.0))?;
        blob.map(|blob| view.blob(blob)).transpose()
    }
}

fn fault(error: HistoryError) -> ArchiveFault {
    ArchiveFault(Box::new(error))
}

impl Archive for Reader {
    fn find(&self, id: TransferId, before: RowNumber) -> Result<Option<Used>, ArchiveFault> {
        let found = query::find_id(&self.shared.load(), id, before.0).map_err(fault)?;
        Ok(found.map(|stored| match stored.row.kind {
            RowKind::Burnt => Used::Burnt,
            _ => Used::Applied {
                transfer: stored.row.transfer,
                metadata: stored.metadata,
            },
        }))
    }

    fn resolution(&self, pending: TransferId, before: RowNumber) -> Result<Option<Resolution>, ArchiveFault> {
        query::find_resolution(&self.shared.load(), pending, before.0).map_err(fault)
    }

    fn timestamp_taken(&self, timestamp: TimestampNs, before: RowNumber) -> Result<bool, ArchiveFault> {
        query::has_time(&self.shared.load(), timestamp, before.0).map_err(fault)
    }
}
