//! What nothing on the way of a request waits for. Owns: flushes, merges and snapshots at low priority, the journal's next
//! segment, and watching for room on the disk.

use crate::NodeError;
use crate::inbox::Room;
use crate::indexer::ToIndexer;
use crate::pace::Rests;
use crate::priority::Priority;
use crate::shared::Shared;
use crate::snapshots::SnapshotPosition;
use crossbeam_channel::{Receiver, Sender};
use history::{HistoryError, Job, Pace};
use journal::{JournalError, Prepared, Preparer};
use ledger::Snapshot;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use storage::{KeyRing, Storage};

/// How often segments and room are looked after.
const DISK_WATCH: Duration = Duration::from_millis(25);
/// The same while the next segment grows: a little often, so that commits beside it wait a little.
const DISK_WATCH_GROWING: Duration = Duration::from_millis(4);

/// What the background threads do.
pub enum Chore {
    /// A flush or merge of the index.
    Index(Job),
    /// A snapshot to write.
    Snapshot(SnapshotPosition, Snapshot),
}

/// To the background threads. Merges take long and can wait. While a flush waits memory fills up, and while a snapshot
/// waits the next start has more to replay.
pub struct Chores {
    /// Flushes of the index, and snapshots.
    pub flushes: Sender<Chore>,
    /// Merges of the index.
    pub merges: Sender<Chore>,
}

impl Chores {
    /// Hands a chore to its thread.
    pub fn give(&self, chore: Chore) {
        let thread = match &chore {
            Chore::Index(job) if !job.is_flush() => &self.merges,
            _ => &self.flushes,
        };
        thread
            .send(chore)
            .expect("the background threads outlive the indexer");
    }
}

/// Runs chores at low priority, so that nothing on the way of a request waits for them.
#[derive(Clone)]
pub struct Background {
    /// Files.
    pub storage: Arc<dyn Storage>,
    /// Where snapshots go.
    pub snapshots: PathBuf,
    /// Keys.
    pub keys: KeyRing,
}

impl Background {
    /// Runs until no more chores can come, at the pace that `rests` makes for each.
    pub fn run<'r>(
        &self,
        chores: &Receiver<Chore>,
        indexer: &Sender<ToIndexer>,
        rests: impl Fn() -> Rests<'r>,
    ) -> Result<(), NodeError> {
        Priority::Background.apply();
        for chore in chores {
            // The indexer may have stopped already; its work is then done again after the next start.
            if let Some(done) = self.chore(chore, &rests())? {
                let _ = indexer.send(done);
            }
        }
        Ok(())
    }

    /// Does one chore; gives what the indexer is to be told of it.
    pub fn chore(&self, chore: Chore, pace: &dyn Pace) -> Result<Option<ToIndexer>, NodeError> {
        match chore {
            Chore::Index(job) => run_job(job, pace).map(Some),
            Chore::Snapshot(position, snapshot) => self.write_snapshot(position, &snapshot).map(|()| None),
        }
    }

    fn write_snapshot(&self, position: SnapshotPosition, snapshot: &Snapshot) -> Result<(), NodeError> {
        match crate::snapshots::write(&*self.storage, &self.snapshots, &self.keys, position, snapshot) {
            Err(NodeError::File { source, .. }) if source.kind() == io::ErrorKind::StorageFull => {
                tracing::warn!(
                    code = "NOD-0018",
                    "no room for a snapshot; the next one is tried in time"
                );
                Ok(())
            }
            other => other,
        }
    }
}

fn run_job(job: Job, pace: &dyn Pace) -> Result<ToIndexer, NodeError> {
    let ticket = job.ticket();
    match job.run(pace) {
        Ok(done) => Ok(ToIndexer::Done(done)),
        Err(HistoryError::Io { source, .. }) if source.kind() == io::ErrorKind::StorageFull => {
            Ok(ToIndexer::NoRoom(ticket))
        }
        Err(error) => Err(error.into()),
    }
}

/// Prepares the journal's next segments and refuses writes before the disk is really full.
pub struct DiskWatch {
    /// Files.
    pub storage: Arc<dyn Storage>,
    /// The data directory.
    pub directory: PathBuf,
    /// Makes the journal's next segment, where the journal has some.
    pub preparer: Option<Preparer>,
    /// Room that must be left, in bytes.
    pub reserve_bytes: u64,
}

impl DiskWatch {
    /// Looks after segments until `stop` is closed.
    pub fn run(&self, shared: &Shared, stop: &Receiver<()>) -> Result<(), NodeError> {
        Priority::Indexing.apply();
        loop {
            let patience = match self.step(shared)? {
                Some(Prepared::Partly) => DISK_WATCH_GROWING,
                _ => DISK_WATCH,
            };
            if stop
                .recv_timeout(patience)
                .is_err_and(|error| error.is_disconnected())
            {
                return Ok(());
            }
        }
    }

    /// Looks once. Says how the next segment stands; `None`: there is no room.
    pub fn step(&self, shared: &Shared) -> Result<Option<Prepared>, NodeError> {
        let available = self.storage.available_bytes(&self.directory);
        let available = available.map_err(|source| NodeError::File {
            path: self.directory.clone(),
            source,
        })?;
        // A block must never be the one to find out that there is no room for its segment: reads would wait for it.
        let missing = self.preparer.as_ref().map_or(0, Preparer::missing_bytes);
        let room = available >= self.reserve_bytes.saturating_add(missing);
        let index_waits = shared.index_waits_for_room.load(Ordering::Relaxed);
        let prepared = match room && !index_waits {
            true => self.prepare()?,
            false => None,
        };
        shared.inbox.set_full(Room::OwnDisk, prepared.is_none());
        Ok(prepared)
    }

    /// Makes what is due of the next segment; `None` when there is no room for it.
    fn prepare(&self) -> Result<Option<Prepared>, NodeError> {
        let Some(preparer) = &self.preparer else {
            return Ok(Some(Prepared::Ready));
        };
        match preparer.step() {
            Ok(prepared) => Ok(Some(prepared)),
            Err(JournalError::Io { source, .. }) if source.kind() == io::ErrorKind::StorageFull => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}
