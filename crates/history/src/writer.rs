//! The one writer of the index. Shape only; the body follows.
#![allow(unused_variables, clippy::needless_pass_by_value)]

use crate::{HistoryError, Options, Position, Reader};
use ledger::{Height, Outcome};
use std::path::Path;
use std::sync::Arc;
use storage::{KeyRing, Storage};

/// Feeds the index; owned by one thread.
pub struct Writer {}

/// Work for any thread: a flush or a merge.
pub struct Job {}

/// A job's result, for [`Writer::install`].
pub struct JobDone {}

impl Writer {
    /// Opens the index; nothing there means an empty one.
    ///
    /// # Errors
    /// [`HistoryError::Damaged`] when it must be reset and rebuilt; otherwise what the disk says.
    pub fn open(
        storage: Arc<dyn Storage>,
        dir: &Path,
        keys: &KeyRing,
        options: Options,
    ) -> Result<(Self, Reader), HistoryError> {
        panic!("under construction")
    }

    /// Removes all files of the index.
    ///
    /// # Errors
    /// What the disk says.
    pub fn reset(storage: &dyn Storage, dir: &Path) -> Result<(), HistoryError> {
        panic!("under construction")
    }

    /// What survives a crash: feed it everything after this.
    #[must_use]
    pub fn durable(&self) -> Position {
        panic!("under construction")
    }

    /// What readers see.
    #[must_use]
    pub fn published(&self) -> Position {
        panic!("under construction")
    }

    /// Memtables waiting to be written. Above 1 the index falls behind; slow down the feed.
    #[must_use]
    pub fn backlog(&self) -> usize {
        panic!("under construction")
    }

    /// Takes rows and accounts in; those already there are skipped.
    ///
    /// # Errors
    /// [`HistoryError::Gap`], [`HistoryError::Inconsistent`]; the writer is then of no more use.
    pub fn append(&mut self, outcome: &Outcome) -> Result<(), HistoryError> {
        panic!("under construction")
    }

    /// Shows readers everything appended so far, as of a block.
    ///
    /// # Errors
    /// [`HistoryError::Gap`] when the height goes back.
    pub fn commit(&mut self, height: Height, hash: [u8; 32]) -> Result<(), HistoryError> {
        panic!("under construction")
    }

    /// Freezes what is in memory, so that the next job writes it whatever its size (for a clean stop).
    pub fn freeze(&mut self) {
        panic!("under construction")
    }

    /// The next piece of work, if there is one: at most one flush and one merge at a time.
    pub fn next_job(&mut self) -> Option<Job> {
        panic!("under construction")
    }

    /// Puts a result in force, durably.
    ///
    /// # Errors
    /// What the disk says.
    pub fn install(&mut self, done: JobDone) -> Result<(), HistoryError> {
        panic!("under construction")
    }

    /// Tells that a job failed; [`Writer::next_job`] gives it again, with fresh files.
    pub fn job_failed(&mut self, ticket: u64) {
        panic!("under construction")
    }
}

impl Job {
    /// Names the job for [`Writer::job_failed`].
    #[must_use]
    pub fn ticket(&self) -> u64 {
        panic!("under construction")
    }

    /// Does the work, without the writer.
    ///
    /// # Errors
    /// What the disk says; [`HistoryError::Damaged`].
    pub fn run(self) -> Result<JobDone, HistoryError> {
        panic!("under construction")
    }
}
