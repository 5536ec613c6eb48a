//! The node as the edges see it. Owns: when a read may answer, and how a follower becomes the writer.

mod feed;
mod queries;

pub use feed::Feed;

use crate::clock::{Clock, SystemClock};
use crate::inbox::Promotion;
use crate::metadata::MetadataSealer;
use crate::reads::{Read, State};
use crate::recent::SealedFeed;
use crate::recovery::{OpenJournal, Reading, Source, recover};
use crate::running::{Beginning, LostTerm, Outside, Running, start};
use crate::threads::Shared;
use crate::{Bounds, NodeError, NodeOptions, ReadError, Reply, Request, Status, SubmitError, trial};
use history::Reader;
use journal::{Block, BlockReader, Head, Journal, Term, WriterId};
use ledger::{Height, Sealed};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, RwLock};
use std::time::{Duration, Instant};
use storage::{DirectoryLock, FileSystem, Storage};
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
    blocks: RwLock<Arc<dyn BlockReader>>,
    metadata: MetadataSealer,
    /// What blocks are stamped with.
    clock: Arc<SystemClock>,
    /// The last block that was recovered or supplied; a writer's does not move.
    supplied: Mutex<Head>,
    running: Mutex<Option<Running>>,
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
            blocks: RwLock::new(source.blocks.clone()),
            metadata: MetadataSealer::new(source.keys.clone()),
            supplied: Mutex::new(recovered.head),
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

    /// Tells a follower of the next block, which is final by the word of whoever calls. One that it has is passed over.
    /// Waits while many blocks are not yet applied; blocking.
    ///
    /// # Errors
    /// [`NodeError::Contradiction`] when the block does not follow the one before: one of the two was not final, and the
    /// node is to be stopped. [`NodeError::NotFollowing`].
    pub fn supply(&self, block: Block) -> Result<(), NodeError> {
        let mut supplied = self.supplied();
        self.supply_after(&mut supplied, block)
    }

    fn supply_after(&self, supplied: &mut Head, block: Block) -> Result<(), NodeError> {
        if !self.inner.shared.inbox.follows() {
            return Err(NodeError::NotFollowing);
        }
        let height = block.height;
        let fits = match height.0.checked_sub(supplied.height.0) {
            Some(1) => block.previous == supplied.hash,
            Some(0) => block.hash == supplied.hash,
            // What stood there was checked when it came.
            None => true,
            Some(_) => false,
        };
        if !fits {
            return Err(NodeError::Contradiction { height });
        }
        if height > supplied.height {
            *supplied = Head::of(&block);
            self.inner.shared.inbox.supply(block);
        }
        Ok(())
    }

    /// Makes a follower the writer: begins a term on the journal, takes in what others appended meanwhile, and writes from
    /// there. Blocking, as long as the journal does.
    ///
    /// # Errors
    /// [`NodeError::Append`] when no term begins: the node still follows, and the same journal may be tried again with
    /// another call after it was opened anew. After any other the node is to be stopped.
    pub fn promote(&self, mut journal: Box<dyn Journal>) -> Result<Term, NodeError> {
        let mut supplied = self.supplied();
        let term = journal.begin_term(WriterId(random_u128()), self.inner.clock.now())?;
        let blocks = journal.reader();
        for block in blocks.scan(Height(supplied.height.0 + 1)) {
            self.supply_after(&mut supplied, block?)?;
        }
        let head = journal.head();
        if *supplied != head {
            return Err(NodeError::Contradiction { height: head.height });
        }
        *self
            .inner
            .blocks
            .write()
            .expect("no thread panics with the reader") = blocks;
        self.inner.shared.inbox.promote(Promotion { journal, term });
        Ok(term)
    }

    /// What this node stamps blocks with, for as long as it writes.
    #[must_use]
    pub fn clock(&self) -> &SystemClock {
        &self.inner.clock
    }

    /// Where the journal stood as this node saw it last before it wrote: the last block that it recovered or was supplied with;
    /// after a promotion the one that began the term.
    #[must_use]
    pub fn supplied_head(&self) -> Head {
        *self.supplied()
    }

    /// The journal that is followed, or written.
    #[must_use]
    pub fn blocks(&self) -> Arc<dyn BlockReader> {
        self.inner
            .blocks
            .read()
            .expect("no thread panics with the reader")
            .clone()
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

    /// The last block that a follower was supplied with, or that was recovered.
    #[must_use]
    pub fn supplied_height(&self) -> Height {
        self.supplied().height
    }

    fn supplied(&self) -> MutexGuard<'_, Head> {
        self.inner
            .supplied
            .lock()
            .expect("no thread panics with the head")
    }

    /// Takes no more requests, answers those taken in, writes the index out and ends the threads. Nothing is lost.
    /// Blocking; call it off the runtime's workers.
    pub fn stop(&self) {
        let Some(running) = self
            .inner
            .running
            .lock()
            .expect("no thread panics with the node")
            .take()
        else {
            return;
        };
        self.inner.shared.stopping.store(true, Ordering::Relaxed);
        self.inner.shared.inbox.stop();
        running.join();
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

    /// Final blocks from a height on (1 is the first).
    #[must_use]
    pub fn feed(&self, from: Height) -> Feed {
        let shared = &self.inner.shared;
        Feed {
            blocks: self.blocks(),
            durable: shared.durable.subscribe(),
            next: Height(from.0.max(1)),
        }
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
        self.inner.shared.bounds.set(bounds);
    }

    /// For how long a block has been under way to the journal; none when none is.
    #[must_use]
    pub fn appends_for(&self) -> Option<Duration> {
        let shared = &self.inner.shared;
        let began = shared.append_began.get()?;
        let is_done = shared.last_block.get().is_some_and(|done| done >= began);
        (!is_done).then(|| began.elapsed())
    }

    /// When the last block became durable here, or was supplied; none before the first since the start.
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
        self.inner.shared.metrics.render()
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
