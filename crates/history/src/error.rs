//! What can go wrong with the index (pure). Owns: the error type and its stable codes.

use crate::FilterError;
use std::io;
use std::path::PathBuf;
use storage::KeyError;

/// The index could not do what it was asked. Everything in it can be rebuilt from the journal.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// The disk refused. After a failed job ([`crate::Writer::job_failed`]) the same work may be tried again.
    #[error("HIS-0001: history file {path}: {source}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A page of a file does not authenticate or makes no sense. Stop; then reset and rebuild from the journal.
    #[error("HIS-0002: history file {file}, page {page}: {reason}")]
    Damaged {
        /// Name of the file in the index's directory.
        file: String,
        /// Page in the file; 0 when it is about all of it.
        page: u64,
        /// What is wrong.
        reason: String,
    },
    /// A key that a file names is not at hand. Reset and rebuild from the journal, as for damage.
    #[error("HIS-0003: history file {file}: {source}")]
    Key {
        /// Name of the file in the index's directory.
        file: String,
        /// Which key.
        #[source]
        source: KeyError,
    },
    /// What was appended does not follow what is there.
    #[error("HIS-0004: {what} {found} was appended where {expected} was expected")]
    Gap {
        /// "row", "account" or "height".
        what: &'static str,
        /// The number given.
        found: u64,
        /// The number that comes next.
        expected: u64,
    },
    /// What was appended breaks a promise of the ledger: a time that goes back, an unknown account.
    #[error("HIS-0005: row or account {number}: {reason}")]
    Inconsistent {
        /// Number of the row or account.
        number: u64,
        /// Which promise.
        reason: &'static str,
    },
    /// The filter makes no sense.
    #[error("HIS-0006: {0}")]
    Filter(#[from] FilterError),
    /// The index is full: account numbers or a file's page numbers are used up.
    #[error("HIS-0007: {0}")]
    Full(&'static str),
}

impl HistoryError {
    /// The stable code, for operators and metrics.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Io { .. } => "HIS-0001",
            Self::Damaged { .. } => "HIS-0002",
            Self::Key { .. } => "HIS-0003",
            Self::Gap { .. } => "HIS-0004",
            Self::Inconsistent { .. } => "HIS-0005",
            Self::Filter(_) => "HIS-0006",
            Self::Full(_) => "HIS-0007",
        }
    }

    /// Whether the index on disk must be reset and rebuilt from the journal. A key that is not at hand counts: whoever
    /// has the journal's keys can rebuild, and the name of a key may be what is damaged.
    #[must_use]
    pub const fn needs_rebuild(&self) -> bool {
        matches!(self, Self::Damaged { .. } | Self::Key { .. })
    }
}
