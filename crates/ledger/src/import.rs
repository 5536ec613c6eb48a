//! The order of imported timestamps (pure). Owns: whether a given timestamp would disturb the order of time.
//!
//! Invariant: no two events of the ledger ever have the same timestamp, and each kind's rise.

use crate::{Archive, ArchiveFault, Ledger, RowNumber, TimestampNs};

impl Ledger {
    /// Whether a transfer of that time would not come after every transfer and expiry, or share an account's time.
    pub(crate) fn transfer_regresses(&self, timestamp: TimestampNs) -> bool {
        timestamp <= self.last_row_timestamp || self.accounts.timestamp_taken(timestamp)
    }

    /// Whether an account of that time would not come after every account, or share the time of a transfer or expiry.
    pub(crate) fn account_regresses<A: Archive>(
        &self,
        archive: &A,
        timestamp: TimestampNs,
    ) -> Result<bool, ArchiveFault> {
        if timestamp <= self.accounts.last_timestamp() {
            return Ok(true);
        }
        if timestamp > self.last_row_timestamp {
            return Ok(false);
        }
        if let Some(taken) = self.recent.timestamp_taken(timestamp) {
            return Ok(taken);
        }
        match self.recent.first_row() {
            RowNumber(0) => Ok(false),
            before => archive.timestamp_taken(timestamp, before),
        }
    }
}
