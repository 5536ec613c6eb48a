//! The threads of one node. Owns: their start, what they hold of each other, and the order in which they end.
//!
//! A block travels sequencer → committer → indexer. `sequencer` applies, `journal` makes durable and answers, `history` indexes,
//! `flush` and `merge` (low priority) write runs and snapshots and merge runs, `disk` prepares segments and watches for room.
//! Nothing slower than one append runs on the first two.

use crate::background::{Background, Chores, DiskWatch};
use crate::clock::SystemClock;
use crate::committer::Committer;
use crate::error::stop_process;
use crate::follower::{Follower, run_follower};
use crate::inbox::Promotion;
use crate::indexer::{OUTLIVES, ToIndexer, run_indexer};
use crate::pace::Rests;
use crate::recovery::{Layout, Recovered, discard_damaged_index, run_flushes};
use crate::sequencer::Sequencer;
use crate::sequencing::{SequencerLoop, run_sequencer};
use crate::shared::{INDEX_BACKLOG_MAX, MERGE_BACKLOG_MAX, Shared};
use crate::{NodeError, NodeOptions};
use crossbeam_channel::Sender;
use history::Reader;
use journal::{Journal, Preparer, Term};
use std::sync::Arc;
use std::thread::JoinHandle;
use storage::{DirectoryLock, KeyRing, Storage};

type LastWords = Arc<dyn Fn(&NodeError) + Send + Sync>;

/// Called when a promoted node is not the writer any more, right before the process ends. It must not take long.
pub type LostTerm = Arc<dyn Fn() + Send + Sync>;

/// How a node begins.
pub enum Beginning {
    /// It writes at once. Its term begins with the sequencer's first block, whenever the disk has room for it: nobody
    /// else appends.
    Writing {
        /// Ready to append.
        journal: Box<dyn Journal>,
        /// Makes its segments ready.
        preparer: Preparer,
        /// Above every one before.
        term: Term,
    },
    /// It follows until it is promoted.
    Following {
        /// Called when the term that it was promoted to is lost.
        lost_term: LostTerm,
    },
}

/// The threads of a running node, in the order in which a stop waits for them.
pub struct Running {
    /// It waits for the committer, when there is one. None once it was waited for.
    sequencer: Option<JoinHandle<()>>,
    indexer: JoinHandle<history::Writer>,
    flusher: JoinHandle<()>,
    merger: JoinHandle<()>,
    disk: JoinHandle<()>,
    disk_stop: Sender<()>,
    _lock: DirectoryLock,
}

impl Running {
    /// Waits until what was taken in is answered. The inbox has been told to stop.
    pub fn join_answers(&mut self) {
        if let Some(sequencer) = self.sequencer.take() {
            sequencer.join().expect(ENDED);
        }
    }

    /// Waits until every thread has ended, too, and writes the index out.
    pub fn join(mut self) {
        self.join_answers();
        let mut writer = self.indexer.join().expect(ENDED);
        self.flusher.join().expect(ENDED);
        self.merger.join().expect(ENDED);
        drop(self.disk_stop);
        self.disk.join().expect(ENDED);
        writer.freeze();
        if let Err(error) = run_flushes(&mut writer) {
            tracing::warn!(%error, "the index could not be written out; the next start replays more");
        }
    }
}

const ENDED: &str = "a thread that fails stops the process";

/// What a node has of the world beside its journal.
pub struct Outside {
    /// Its disk.
    pub storage: Arc<dyn Storage>,
    /// What it stamps blocks with.
    pub clock: Arc<SystemClock>,
    /// Of its data directory.
    pub lock: DirectoryLock,
}

/// Starts every thread on what was recovered.
pub fn start(
    outside: Outside,
    options: &NodeOptions,
    recovered: Recovered,
    keys: &KeyRing,
    beginning: Beginning,
    shared: Arc<Shared>,
) -> Result<Running, NodeError> {
    let Outside { storage, clock, lock } = outside;
    let (to_indexer, from_committer) = crossbeam_channel::unbounded();
    let (flushes, to_flush) = crossbeam_channel::unbounded();
    let (merges, to_merge) = crossbeam_channel::unbounded();
    let (disk_stop, disk_stopped) = crossbeam_channel::bounded(0);
    let disk_watch = DiskWatch {
        storage: storage.clone(),
        directory: options.directory.clone(),
        preparer: match &beginning {
            Beginning::Writing { preparer, .. } => Some(preparer.clone()),
            Beginning::Following { .. } => None,
        },
        reserve_bytes: options.disk_reserve_bytes,
    };
    let merger = Background {
        storage: storage.clone(),
        snapshots: Layout::new(options).snapshots,
        keys: keys.clone(),
    };
    let sequencer = Sequencer::new(
        recovered.ledger,
        recovered.reader.clone(),
        recovered.head.height,
        recovered.snapshot_rows,
        options,
    );
    let (writer, archive) = (recovered.writer, recovered.reader);
    let sharing = std::array::from_fn(|_| shared.clone());
    let [for_indexer, to_disk, to_flusher, to_merger] = sharing;
    let (from_flusher, from_merger) = (to_indexer.clone(), to_indexer.clone());
    let flusher = merger.clone();
    let (files, place) = (storage.clone(), options.clone());
    let lost_term = match &beginning {
        Beginning::Following { lost_term } => Some(lost_term.clone()),
        Beginning::Writing { .. } => None,
    };
    let last_words: LastWords = Arc::new(move |error| {
        discard_damaged_index(&*files, &place, error);
        if let Some(lost_term) = lost_term.as_ref().filter(|_| error.is_lost_term()) {
            lost_term();
        }
    });
    let indexer = spawn("history", &last_words, move || {
        run_indexer(writer, &from_committer, &Chores { flushes, merges }, &for_indexer)
    })?;
    let flusher = spawn("flush", &last_words, move || {
        let shared = &*to_flusher;
        let rests = || Rests::new(&shared.index_backlog, INDEX_BACKLOG_MAX, &shared.stopping);
        flusher.run(&to_flush, &from_flusher, rests)
    })?;
    let merger = spawn("merge", &last_words, move || {
        let shared = &*to_merger;
        let rests = || Rests::new(&shared.merge_backlog, MERGE_BACKLOG_MAX, &shared.stopping);
        merger.run(&to_merge, &from_merger, rests)
    })?;
    let disk = spawn("disk", &last_words, move || {
        disk_watch.run(&to_disk, &disk_stopped)
    })?;
    let words = last_words.clone();
    let sequencer = spawn("sequencer", &last_words, move || {
        live(
            sequencer,
            archive,
            beginning,
            &shared,
            &clock,
            &to_indexer,
            &words,
        )?;
        to_indexer.send(ToIndexer::Stop).expect(OUTLIVES);
        Ok(())
    })?;
    Ok(Running {
        sequencer: Some(sequencer),
        indexer,
        flusher,
        merger,
        disk,
        disk_stop,
        _lock: lock,
    })
}

/// The sequencer's thread, until the node stops: it follows, writes, or the one after the other.
fn live(
    sequencer: Sequencer<Reader>,
    archive: Reader,
    beginning: Beginning,
    shared: &Arc<Shared>,
    clock: &SystemClock,
    indexer: &Sender<ToIndexer>,
    last_words: &LastWords,
) -> Result<(), NodeError> {
    let is_far = matches!(beginning, Beginning::Following { .. });
    let (sequencer, journal, term) = match beginning {
        Beginning::Writing { journal, term, .. } => {
            (SequencerLoop::begin(sequencer, archive, clock)?, journal, term)
        }
        Beginning::Following { .. } => {
            match run_follower(Follower::new(sequencer, archive), shared, indexer)? {
                Some((sequencer, Promotion { journal, term })) => (sequencer, journal, term),
                None => return Ok(()),
            }
        }
    };
    let (large_batches, batches) = crossbeam_channel::bounded(1);
    let commits = Arc::new(Committer::new(journal, term, is_far, indexer.clone()));
    let (commits_large, to_committer) = (commits.clone(), shared.clone());
    let committer = spawn("journal", last_words, move || {
        commits_large.run(&batches, &to_committer)
    })?;
    shared.inbox.set_follows(false);
    run_sequencer(sequencer, shared, clock, &commits, &large_batches)?;
    drop(large_batches);
    committer.join().expect(ENDED);
    Ok(())
}

/// Starts a named thread; a fault in it stops the process, once `last_words` was told of it.
fn spawn<T: Send + 'static>(
    name: &str,
    last_words: &LastWords,
    body: impl FnOnce() -> Result<T, NodeError> + Send + 'static,
) -> Result<JoinHandle<T>, NodeError> {
    let last_words = last_words.clone();
    let run = move || {
        body().unwrap_or_else(|error| {
            last_words(&error);
            stop_process(&error)
        })
    };
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(run)
        .map_err(NodeError::Thread)
}
