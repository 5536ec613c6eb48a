//! The node as the edges see it. Owns: its beginning, its end, and when a read may answer.

#[cfg(test)]
mod bounds_tests;
mod feed;
mod queries;
mod supply;
#[cfg(test)]
mod supply_tests;

pub use feed::Feed;

use crate::clock::SystemClock;
use crate::metadata::MetadataSealer;
use crate::reads::{Read, State};
use crate::recent::SealedFeed;
use crate::recovery::{OpenJournal, Reading, Source, recover};
use crate::running::{Beginning, LostTerm, Outside, Running, start};
use crate::shared::Shared;
use crate::{Bounds, NodeError, NodeOptions, ReadError, Reply, Request, Status, SubmitError, trial};
use history::Reader;
use journal::{BlockReader, Term, WriterId};
use ledger::{Height, Sealed};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, RwLock};
use std::time::{Duration, Instant};
use storage::{DirectoryLock, FileSystem, KeyRing, Storage};
use supply::Supplied;
use tokio::sync::oneshot;

/// A running node; cheap to clone. [`Node::stop`] ends it; dropping the last handle without it leaves the work
/// to recovery, as a crash would.
#[derive(Clone)]
pub struct Node {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    reader: Reader,
    /// Of the journal that is followed, or written.
    journal: Arc<JournalReader>,
    /// With what blocks are sealed.
    keys: KeyRing,
    metadata: MetadataSealer,
    /// What blocks are stamped with.
    clock: Arc<SystemClock>,
    supplied: Mutex<Supplied>,
    /// Held by a promotion from its beginning to its end.
    promoting: Mutex<()>,
    running: Mutex<Option<Running>>,
}

/// The reader of the journal that is followed, or written, for those who are to see it change.
struct JournalReader(RwLock<Arc<dyn BlockReader>>);

impl JournalReader {
    fn new(reader: Arc<dyn BlockReader>) -> Self {
        Self(RwLock::new(reader))
    }

    fn get(&self) -> Arc<dyn BlockReader> {
        self.0.read().expect("no thread panics with the reader").clone()
    }

    fn set(&self, reader: Arc<dyn BlockReader>) {
        *self.0.write().expect("no thread panics with the reader") = reader;
    }
}

impl Node {
    /// Opens the data directory with the journal in it, recovers and writes. `progress` is told height and head during a
    /// replay.
    ///
    /// # Errors
    /// [`NodeError`]; nothing was changed except that a torn tail may have been cut.
    pub fn open(options: &NodeOptions, progress: impl FnMut(Height, Height)) -> Result<Self, NodeError> {
        let lock = lock(&options.directory)?;
        let storage: Arc<dyn Storage> = Arc::new(FileSystem);
        let opened = OpenJournal::local(&storage, options)?;
        let (source, writer) = (opened.source(), WriterId(random_u128()));
        let beginning = Beginning::Writing {
            term: Term {
                epoch: source.head.epoch + 1,
                writer,
            },
            journal: opened.journal,
            preparer: opened.preparer,
        };
        Self::start(options, storage, lock, &source, beginning, progress)
    }

    /// Recovers from a journal that is elsewhere, and follows its writer: it is told of every further block by
    /// [`Node::supply`], answers reads as of the last one, and takes no writes until [`Node::promote`]. The data directory
    /// holds nothing that cannot be made anew. Blocking; not to be called on a runtime's worker.
    ///
    /// # Errors
    /// [`NodeError`].
    pub fn follow(
        options: &NodeOptions,
        source: &Source,
        lost_term: LostTerm,
        progress: impl FnMut(Height, Height),
    ) -> Result<Self, NodeError> {
        let lock = lock(&options.directory)?;
        let storage: Arc<dyn Storage> = Arc::new(FileSystem);
        let beginning = Beginning::Following { lost_term };
        Self::start(options, storage, lock, source, beginning, progress)
    }

    fn start(
        options: &NodeOptions,
        storage: Arc<dyn Storage>,
        lock: DirectoryLock,
        source: &Source,
        beginning: Beginning,
        progress: impl FnMut(Height, Height),
    ) -> Result<Self, NodeError> {
        let history_options = history::Options {
            flush_rows: options.index_flush_rows,
            ..history::Options::default()
        };
        let (seed, reading) = (random_u64(), Reading::Ahead);
        let recovered = recover(
            storage.clone(),
            options,
            source,
            history_options,
            seed,
            reading,
            progress,
        )?;
        let shared = Arc::new(Shared::new(options, &recovered));
        match &beginning {
            Beginning::Writing { term, .. } => shared.epoch.store(term.epoch, Ordering::Relaxed),
            Beginning::Following { .. } => shared.inbox.set_follows(true),
        }
        let clock = Arc::new(SystemClock::default());
        let inner = Inner {
            shared: shared.clone(),
            clock: clock.clone(),
            reader: recovered.reader.clone(),
            journal: Arc::new(JournalReader::new(source.blocks.clone())),
            keys: source.keys.clone(),
            metadata: MetadataSealer::new(source.keys.clone()),
            supplied: Mutex::new(Supplied::up_to(recovered.head)),
            promoting: Mutex::new(()),
            running: Mutex::new(Some(start(
                Outside { storage, clock, lock },
                options,
                recovered,
                &source.keys,
                beginning,
                shared,
            )?)),
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// What this node stamps blocks with, for as long as it writes.
    #[must_use]
    pub fn clock(&self) -> &SystemClock {
        &self.inner.clock
    }

    /// The journal that is followed, or written.
    #[must_use]
    pub fn blocks(&self) -> Arc<dyn BlockReader> {
        self.inner.journal.get()
    }

    /// Adds up every ledger at one height. Blocking, for as long as there are accounts; the sequencer is held up no longer than
    /// by a snapshot.
    ///
    /// # Errors
    /// [`ReadError::Unavailable`] when the node stops.
    pub fn check_books(&self) -> Result<trial::BooksCheck, ReadError> {
        let (sender, receiver) = oneshot::channel();
        let asked = self.inner.shared.inbox.read(Read::State(sender));
        asked.map_err(|_| ReadError::Unavailable)?;
        let state: State = receiver.blocking_recv().map_err(|_| ReadError::Unavailable)?;
        Ok(trial::check(&state))
    }

    /// Takes no more requests, answers those taken in, writes the index out and ends the threads. Nothing is lost.
    /// Blocking; call it off the runtime's workers.
    pub fn stop(&self) {
        self.stop_answering();
        // Whoever stops it at the same time waits until it has ended.
        let mut running = self.running();
        if let Some(running) = running.take() {
            running.join();
        }
    }

    /// The first part of [`Node::stop`]: takes no more requests and answers those taken in. From then on nothing is appended, so
    /// another node may write, while this one still finishes what it does for its own disk. Blocking.
    pub fn stop_answering(&self) {
        if let Some(running) = self.running().as_mut() {
            self.inner.shared.stopping.store(true, Ordering::Relaxed);
            self.inner.shared.inbox.stop();
            running.join_answers();
        }
    }

    fn running(&self) -> MutexGuard<'_, Option<Running>> {
        self.inner.running.lock().expect("no thread panics with the node")
    }

    /// Enqueues a request; the order of calls is the order of commands. The receiver gets the answer
    /// once it is final.
    ///
    /// # Errors
    /// What refuses it at once: [`SubmitError::Overloaded`], `Unavailable`, `StorageFull`, `Invalid`.
    pub fn submit(
        &self,
        request: Request,
    ) -> Result<oneshot::Receiver<Result<Reply, SubmitError>>, SubmitError> {
        self.inner.shared.inbox.submit(request)
    }

    /// [`Node::submit`] and the wait for its answer, up to the deadline.
    ///
    /// # Errors
    /// [`SubmitError`].
    pub async fn call(&self, request: Request) -> Result<Reply, SubmitError> {
        let deadline = request.deadline;
        let receiver = self.submit(request)?;
        let answer = match deadline {
            None => receiver.await,
            Some(deadline) => match tokio::time::timeout_at(deadline.into(), receiver).await {
                Ok(answer) => answer,
                Err(_) => return Err(SubmitError::Unknown),
            },
        };
        answer.unwrap_or(Err(SubmitError::Unknown))
    }

    /// Encrypts metadata (JSON text of at most 4 KiB) deterministically under the metadata key.
    #[must_use]
    pub fn seal_metadata(&self, json: &[u8]) -> Sealed {
        self.inner.metadata.seal(json)
    }

    /// This writer's final blocks from a height on, as they were sealed, as far as they are at hand.
    #[must_use]
    pub fn sealed_feed(&self, from: Height) -> SealedFeed {
        let shared = &self.inner.shared;
        SealedFeed::new(shared.recent.clone(), shared.durable.subscribe(), from)
    }

    /// Waits until every block up to that one is applied here. Cancel safe.
    pub async fn reached(&self, height: Height) {
        let mut durable = self.inner.shared.durable.subscribe();
        // The sender lives as long as the node.
        let _ = durable.wait_for(|durable| *durable >= height).await;
    }

    /// How the node is.
    #[must_use]
    pub fn status(&self) -> Status {
        let shared = &self.inner.shared;
        let reason = if shared.inbox.stopping() {
            "the node stops"
        } else if shared.inbox.follows() {
            "the node follows another writer"
        } else if shared.inbox.storage_full() {
            "storage is full"
        } else {
            ""
        };
        Status {
            writable: reason.is_empty(),
            reason: reason.to_owned(),
            follows: shared.inbox.follows(),
            height: *shared.durable.borrow(),
            indexed: *shared.indexed.borrow(),
            epoch: shared.epoch.load(Ordering::Relaxed),
        }
    }

    /// Changes how much it takes in, from the next request on.
    pub fn set_bounds(&self, bounds: &Bounds) {
        let shared = &self.inner.shared;
        shared.bounds.set(bounds);
        // What waits for the index may not have to any more.
        shared.inbox.wake();
    }

    /// For how long a block has been under way to the journal; none when none is.
    #[must_use]
    pub fn appends_for(&self) -> Option<Duration> {
        let shared = &self.inner.shared;
        let began = shared.append_began.get()?;
        let is_done = shared.last_block.get().is_some_and(|done| done >= began);
        (!is_done).then(|| began.elapsed())
    }

    /// When an append was acknowledged last as far as this node knows: when its own last block became durable, or it was
    /// supplied with one that its writer had made right before. None before the first since the start.
    #[must_use]
    pub fn last_block(&self) -> Option<Instant> {
        self.inner.shared.last_block.get()
    }

    /// Whether it takes no more requests because it was told to stop.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.inner.shared.inbox.stopping()
    }

    /// All metrics in Prometheus' text format, version 0.0.4.
    #[must_use]
    pub fn metrics_text(&self) -> String {
        let shared = &self.inner.shared;
        shared.metrics.render(&shared.index_lag_rows)
    }
}

/// Takes the directory's lock.
pub(crate) fn lock(directory: &Path) -> Result<DirectoryLock, NodeError> {
    DirectoryLock::acquire(directory).map_err(|source| match source.kind() {
        std::io::ErrorKind::WouldBlock => NodeError::Locked {
            path: directory.to_owned(),
        },
        _ => NodeError::File {
            path: directory.to_owned(),
            source,
        },
    })
}

fn random_u128() -> u128 {
    let mut bytes = [0; 16];
    aws_lc_rs::rand::fill(&mut bytes).expect("the system's random generator works");
    u128::from_le_bytes(bytes)
}

pub(crate) fn random_u64() -> u64 {
    random_u128() as u64
}
