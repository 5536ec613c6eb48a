//! Faults of the world that a node can meet. Owns: their codes. Business refusals are result codes, not errors.

use ledger::{Height, RowNumber};
use std::io;
use std::path::PathBuf;

/// Why a node does not open, or stops.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The data directory cannot be locked; another process has it.
    #[error("NOD-0001: {path} is in use by another process")]
    Locked {
        /// The directory.
        path: PathBuf,
    },
    /// A file or directory cannot be used.
    #[error("NOD-0002: {path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The data key cannot be had.
    #[error("NOD-0003: {0}")]
    Key(#[from] storage::KeyError),
    /// The journal does not open or cannot be read.
    #[error("NOD-0004: {0}")]
    Journal(#[from] journal::JournalError),
    /// The history index cannot be used.
    #[error("NOD-0005: {0}")]
    History(#[from] history::HistoryError),
    /// Replaying a block gave another result than the one beside it. The replica stops.
    #[error("NOD-0006: replay differs at height {height}, entry {entry}: {detail}")]
    ReplayDiffers {
        /// The block.
        height: Height,
        /// The entry in the block, from 0.
        entry: usize,
        /// What differs.
        detail: String,
    },
    /// A block was made under rules that this binary does not know.
    #[error("NOD-0007: block {height} follows rules version {found}; this binary knows {known}")]
    UnknownRules {
        /// The block.
        height: Height,
        /// Its version.
        found: u32,
        /// Ours.
        known: u32,
    },
    /// The ledger cannot look up an id.
    #[error("NOD-0008: {0}")]
    Archive(#[from] ledger::ArchiveFault),
    /// A block cannot be appended.
    #[error("NOD-0009: {0}")]
    Append(#[from] journal::AppendError),
    /// History holds fewer rows than the ledger restored from a snapshot.
    #[error("NOD-0011: history ends at row {history}, the ledger at {ledger}")]
    HistoryBehind {
        /// Next row of history.
        history: RowNumber,
        /// Next row of the ledger.
        ledger: RowNumber,
    },
    /// A thread cannot be started.
    #[error("NOD-0012: cannot start a thread: {0}")]
    Thread(#[source] io::Error),
    /// A block that was final is not in the journal's chain. The node stops: it never guesses.
    #[error("NOD-0023: block {height} does not follow the final block before it")]
    Contradiction {
        /// The block that does not fit.
        height: Height,
    },
    /// What a follower alone may do was asked of a node that writes.
    #[error("NOD-0024: the node does not follow")]
    NotFollowing,
}

/// The process's exit code when another has taken the writer's place, or may have: start it again, and it follows.
pub const STEPPED_DOWN_EXIT_CODE: i32 = 75;

impl NodeError {
    /// Whether the node is no longer the writer, or cannot know: its memory may be ahead of the journal, so it starts anew.
    #[must_use]
    pub fn is_lost_term(&self) -> bool {
        use journal::AppendError::{SteppedDown, Unknown};
        matches!(self, Self::Append(SteppedDown | Unknown))
    }

    /// Whether a promotion that failed with it left a node that follows as before and may be promoted again: the journal was
    /// away, had no room, or another was before.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        matches!(
            self,
            Self::Append(_) | Self::Journal(journal::JournalError::Io { .. })
        )
    }

    /// Whether a damaged history index is behind it, which the next start can build anew from the journal.
    #[must_use]
    pub fn is_damaged_index(&self) -> bool {
        match self {
            Self::History(error) => error.needs_rebuild(),
            Self::Archive(fault) => fault
                .0
                .downcast_ref()
                .is_some_and(history::HistoryError::needs_rebuild),
            _ => false,
        }
    }
}

/// Ends the process at once: something happened after which any answer would be a guess.
pub(crate) fn stop_process(error: &NodeError) -> ! {
    if error.is_lost_term() {
        tracing::warn!(%error, "the node is not the writer any more and starts anew");
        std::process::exit(STEPPED_DOWN_EXIT_CODE);
    }
    tracing::error!(%error, "the node stops: it never guesses");
    eprintln!("shanraq: {error}; the process stops");
    std::process::abort()
}
