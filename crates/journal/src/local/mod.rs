//! The journal on local segment files. Under construction; the signatures stand.

use crate::{AppendError, BlockReader, Draft, Head, Journal, JournalError, ShardId, Term};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use storage::{KeyRing, Storage};

/// How a local journal is kept.
#[derive(Clone, Copy, Debug)]
pub struct LocalOptions {
    /// Which journal; blocks of another are refused.
    pub shard: ShardId,
    /// Length of a segment in bytes, a multiple of 4,096. Default: 64 MiB. A larger block gets a larger segment.
    pub segment_bytes: u64,
}

impl Default for LocalOptions {
    fn default() -> Self {
        Self {
            shard: ShardId(0),
            segment_bytes: 64 << 20,
        }
    }
}

/// The end of a write that never finished, and was never acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TornTail {
    /// In which segment.
    pub file: PathBuf,
    /// Where it began.
    pub offset: u64,
    /// How many bytes were zeroed.
    pub bytes: u64,
}

/// What opening found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// The last block.
    pub head: Head,
    /// What was cut off, if anything.
    pub cut: Option<TornTail>,
}

/// A journal in one directory of one machine.
pub struct LocalJournal {}

/// Makes the next segment ready, so that no append has to; see [`Preparer::step`].
#[derive(Clone)]
pub struct Preparer {}

/// What a step of the preparer did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prepared {
    /// One was ready already.
    Ready,
    /// One was made.
    Made,
}

#[allow(unused_variables)]
impl LocalJournal {
    /// Opens or creates the journal in a directory, checks it, and cuts a torn tail.
    ///
    /// # Errors
    /// [`JournalError`].
    pub fn open(
        storage: Arc<dyn Storage>,
        directory: &Path,
        keys: KeyRing,
        options: LocalOptions,
    ) -> Result<(Self, Recovered), JournalError> {
        panic!("under construction")
    }

    /// To be stepped by a background thread after each append that used one up; costs nothing when one is ready.
    #[must_use]
    pub fn preparer(&self) -> Preparer {
        panic!("under construction")
    }
}

impl Preparer {
    /// Makes the next segment ready unless one is.
    ///
    /// # Errors
    /// [`JournalError::Io`]; try again later. The journal is not harmed.
    pub fn step(&self) -> Result<Prepared, JournalError> {
        panic!("under construction")
    }
}

#[allow(unused_variables)]
impl Journal for LocalJournal {
    fn head(&self) -> Head {
        panic!("under construction")
    }

    fn append(&mut self, term: Term, draft: &mut Draft) -> Result<Head, AppendError> {
        panic!("under construction")
    }

    fn reader(&self) -> Arc<dyn BlockReader> {
        panic!("under construction")
    }
}
