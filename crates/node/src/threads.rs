//! The node's threads. Owns: who runs what, and how a block travels: sequencer → committer → indexer.
//!
//! `sequencer` applies, `journal` makes durable and answers, `history` indexes, `flush` and `merge` (low priority)
//! write runs and snapshots and merge runs, `disk` prepares segments and watches for room. Nothing slower than one
//! append runs on the first two. A small block for a local journal, of at most [`INLINE_EVENTS_MAX`] events, is made
//! durable by `sequencer` itself, unless it finds no room: a change of threads would cost more than it saves.

use crate::background::{Chore, Chores};
use crate::bounds::{Bounds, LiveBounds};
use crate::clock::Clock;
use crate::error::stop_process;
use crate::inbox::{Arrivals, Committed, Inbox, Room};
use crate::metrics::Metrics;
use crate::priority::Priority;
use crate::reads::Read;
use crate::recent::Recent;
use crate::recovery::Recovered;
use crate::sequencer::{Batch, Sequencer};
use crate::snapshots::SnapshotPosition;
use crate::{NodeError, NodeOptions, SubmitError};
use crossbeam_channel::{Receiver, Sender};
use history::{HistoryError, JobDone, Reader, Writer};
use journal::{AppendError, Block, Draft, Head, Journal, Term};
use ledger::{Height, Outcome, RowNumber, Snapshot};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Events that the sequencer applies before it looks at its inbox again, so that reads and the journal do not wait
/// behind a flood of writes.
const EVENTS_PER_TURN: usize = 2_048;
/// A block of at most so many events is committed by the sequencer itself: applying the next ones meanwhile would save
/// less time than a change of threads costs.
const INLINE_EVENTS_MAX: usize = 256;
/// How long to wait before a full journal is tried again.
const FULL_RETRY: Duration = Duration::from_millis(100);
/// How long the index waits before it tries again to write to a full disk.
const INDEX_RETRY: Duration = Duration::from_secs(1);
/// What the indexer's receiver does.
pub const OUTLIVES: &str = "the indexer outlives the committer";

/// What the threads share with the edges.
pub struct Shared {
    /// To the sequencer.
    pub inbox: Inbox<Read>,
    /// Last durable block.
    pub durable: watch::Sender<Height>,
    /// Last indexed block.
    pub indexed: watch::Sender<Height>,
    /// Counters.
    pub metrics: Metrics,
    /// Rows and accounts handed to the indexer and not yet published.
    pub index_lag_rows: AtomicU64,
    /// Of the queue and of `index_lag_rows`.
    pub bounds: Arc<LiveBounds>,
    /// Parts of the index that are in memory and full, the one that is being written out included.
    pub index_backlog: AtomicUsize,
    /// Runs of the index that wait to be merged beyond those of the merge under way.
    pub merge_backlog: AtomicUsize,
    /// A full disk holds the index back, which has no more room in memory for long.
    pub index_waits_for_room: AtomicBool,
    /// The node stops: what is under way in the background is waited for.
    pub stopping: AtomicBool,
    /// The writer's term, as far as this node knows.
    pub epoch: AtomicU64,
    /// This writer's last blocks as they were sealed: for those who follow it.
    pub recent: Arc<Recent<Arc<[u8]>>>,
    /// The last blocks that this node was supplied with: for its change feed.
    pub supplied: Arc<Recent<Arc<Block>>>,
    /// When the last append was acknowledged, here or, by what was supplied, elsewhere.
    pub last_block: LastBlock,
    /// When the last append began.
    pub append_began: LastBlock,
}

/// A moment that one thread sets and others read.
pub struct LastBlock {
    origin: Instant,
    /// Nanoseconds after the origin; 0: never.
    after: AtomicU64,
}

impl LastBlock {
    fn new() -> Self {
        Self {
            origin: Instant::now(),
            after: AtomicU64::new(0),
        }
    }

    /// It is now.
    pub fn is_now(&self) {
        let after = u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.after.store(after.max(1), Ordering::Relaxed);
    }

    /// When it was; none before the first.
    pub fn get(&self) -> Option<Instant> {
        let after = self.after.load(Ordering::Relaxed);
        (after > 0).then(|| self.origin + Duration::from_nanos(after))
    }
}

/// Parts of the index that may wait in memory before writes wait for them: one is being written, one is next.
pub const INDEX_BACKLOG_MAX: usize = 2;
/// Runs that may wait to be merged before merging takes no rest: look-ups ask each of them.
pub const MERGE_BACKLOG_MAX: usize = 8;

impl Shared {
    /// For a node that goes on from what was recovered.
    pub fn new(options: &NodeOptions, recovered: &Recovered) -> Self {
        let height = recovered.head.height;
        let metrics = Metrics::default();
        metrics.height.store(height.0, Ordering::Relaxed);
        metrics.indexed.store(height.0, Ordering::Relaxed);
        metrics.rows.store(recovered.ledger.rows().0, Ordering::Relaxed);
        let accounts = u64::from(recovered.ledger.accounts_len());
        metrics.accounts_total.store(accounts, Ordering::Relaxed);
        let bounds = Arc::new(LiveBounds::new(&Bounds::of(options)));
        Self {
            inbox: Inbox::new(bounds.clone()),
            durable: watch::Sender::new(height),
            indexed: watch::Sender::new(height),
            metrics,
            index_lag_rows: AtomicU64::new(0),
            bounds,
            index_backlog: AtomicUsize::new(0),
            merge_backlog: AtomicUsize::new(0),
            index_waits_for_room: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            epoch: AtomicU64::new(recovered.head.epoch),
            recent: Arc::default(),
            supplied: Arc::default(),
            last_block: LastBlock::new(),
            append_began: LastBlock::new(),
        }
    }

    /// Why this node could take no writes now even if it were the writer: of its own disk, or its index; none when it could.
    pub fn obstacle(&self) -> Option<&'static str> {
        if self.inbox.is_full(Room::OwnDisk) || self.index_waits_for_room.load(Ordering::Relaxed) {
            Some("the node's own disk is full")
        } else if self.index_is_behind() {
            Some("the node's index is behind")
        } else {
            None
        }
    }

    /// Whether writes wait for the index.
    pub fn index_is_behind(&self) -> bool {
        self.bounds.holds_up(self.index_lag_rows.load(Ordering::Relaxed))
            || self.index_backlog.load(Ordering::Relaxed) > INDEX_BACKLOG_MAX
    }
}

/// A durable block on its way to history.
pub struct Durable {
    height: Height,
    hash: [u8; 32],
    outcomes: Vec<Outcome>,
    /// What the index takes in: rows and accounts.
    records: u64,
    snapshot: Option<(SnapshotPosition, Snapshot)>,
}

impl Durable {
    /// The block at `head` with what it made; `next_row` is the row of history after it.
    pub fn new(head: &Head, outcomes: Vec<Outcome>, next_row: RowNumber, snapshot: Option<Snapshot>) -> Self {
        let position = SnapshotPosition {
            height: head.height,
            hash: head.hash.0,
            rows: next_row,
        };
        Self {
            height: head.height,
            hash: head.hash.0,
            records: outcomes.iter().map(records).sum(),
            outcomes,
            snapshot: snapshot.map(|snapshot| (position, snapshot)),
        }
    }
}

/// Rows and accounts that the index takes in of a command.
fn records(outcome: &Outcome) -> u64 {
    (outcome.rows.len() + outcome.new_accounts.len()) as u64
}

/// What reaches the indexer.
pub enum ToIndexer {
    /// A durable block.
    Block(Durable),
    /// A job is done.
    Done(JobDone),
    /// A job failed for want of room.
    NoRoom(u64),
    /// It is time to try again.
    Retry,
    /// No more blocks come.
    Stop,
}

/// The sequencer and what it has taken in, stepped by its thread (or by the simulator).
pub struct SequencerLoop {
    sequencer: Sequencer<Reader>,
    archive: Reader,
    arrivals: Arrivals<Read>,
    spare: Option<Draft>,
}

/// What a turn of the sequencer came to.
pub struct Turn {
    /// A block that is to be committed now; there is none while another one is under way.
    pub batch: Option<Batch>,
    /// The inbox stops and everything taken in is durable.
    pub finished: bool,
}

impl SequencerLoop {
    /// Goes on in a term that has begun, with what has arrived.
    pub fn taking_over(sequencer: Sequencer<Reader>, archive: Reader, arrivals: Arrivals<Read>) -> Self {
        Self {
            sequencer,
            archive,
            arrivals,
            spare: None,
        }
    }

    /// Begins the writer's term with the first block.
    pub fn begin(
        mut sequencer: Sequencer<Reader>,
        archive: Reader,
        clock: &dyn Clock,
    ) -> Result<Self, NodeError> {
        sequencer.begin_epoch(clock.now())?;
        Ok(Self::taking_over(sequencer, archive, Arrivals::default()))
    }

    /// Takes in what arrived, waiting at most `patience`, and does what it can about it.
    pub fn turn(
        &mut self,
        shared: &Shared,
        clock: &dyn Clock,
        patience: Option<Duration>,
    ) -> Result<Turn, NodeError> {
        let Self {
            sequencer, arrivals, ..
        } = self;
        shared.inbox.collect(arrivals, patience);
        for Committed { height, draft } in arrivals.committed.drain(..) {
            sequencer.committed(height);
            self.spare = Some(draft);
        }
        sequencer.recycle(&mut arrivals.spent);
        while let Some(read) = arrivals.reads.pop_front() {
            sequencer.read(read);
        }
        sequencer.drop_abandoned_reads();
        take_up_writes(sequencer, arrivals, shared, clock)?;
        if !sequencer.is_full() && !shared.inbox.storage_full() && !shared.index_is_behind() {
            sequencer.expire(clock.now())?;
        }
        let mut batch = None;
        if !sequencer.is_committing() {
            sequencer.forget_archived(self.archive.archived_below());
            batch = sequencer.seal(self.spare.take());
        }
        shared.inbox.set_reads_waiting(sequencer.reads_waiting());
        let finished = arrivals.stopping
            && arrivals.writes.is_empty()
            && !sequencer.is_committing()
            && !sequencer.has_open();
        Ok(Turn { batch, finished })
    }

    /// How long the next turn may wait for something to arrive; `None`: for ever.
    fn patience(&self, shared: &Shared, clock: &dyn Clock) -> Option<Duration> {
        let sequencer = &self.sequencer;
        let blocked = sequencer.is_committing() && sequencer.is_full() || shared.index_is_behind();
        if !self.arrivals.writes.is_empty() && !blocked || sequencer.has_open() && !sequencer.is_committing()
        {
            Some(Duration::ZERO)
        } else {
            until_expiry(sequencer, clock)
        }
    }
}

/// Runs the sequencer until the inbox stops and everything taken in is committed.
pub fn run_sequencer(
    mut sequencer: SequencerLoop,
    shared: &Shared,
    clock: &dyn Clock,
    committer: &Committer,
    batches: &Sender<Batch>,
) -> Result<(), NodeError> {
    Priority::Critical.apply();
    loop {
        let patience = sequencer.patience(shared, clock);
        let Turn { batch, finished } = sequencer.turn(shared, clock, patience)?;
        let large = match batch {
            Some(batch) => committer.commit_small(batch, shared)?,
            None => None,
        };
        if let Some(batch) = large {
            batches.send(batch).expect("the committer outlives the sequencer");
        }
        if finished {
            return Ok(());
        }
    }
}

fn take_up_writes(
    sequencer: &mut Sequencer<Reader>,
    arrivals: &mut Arrivals<Read>,
    shared: &Shared,
    clock: &dyn Clock,
) -> Result<(), NodeError> {
    if arrivals.writes.is_empty() {
        return Ok(());
    }
    if shared.inbox.storage_full() {
        refuse_for_room(arrivals, shared);
        return Ok(());
    }
    let (now, instant) = (clock.now(), clock.instant());
    let (mut requests, mut events) = (0, 0);
    while events < EVENTS_PER_TURN && !sequencer.is_full() && !shared.index_is_behind() {
        let Some(write) = arrivals.writes.pop_front() else {
            break;
        };
        requests += 1;
        events +=
            crate::inbox::events_of(&write.request.body).expect("the inbox checked the number of events");
        sequencer.write(now, instant, write)?;
    }
    shared.inbox.taken_up(requests, events);
    Ok(())
}

/// Refuses the writes that were taken in before the disk was found full: they would wait for room until their deadlines.
fn refuse_for_room(arrivals: &mut Arrivals<Read>, shared: &Shared) {
    let (requests, mut events) = (arrivals.writes.len(), 0);
    for write in arrivals.writes.drain(..) {
        events +=
            crate::inbox::events_of(&write.request.body).expect("the inbox checked the number of events");
        // A client that went away does not mind.
        let _ = write.reply.send(Err(SubmitError::StorageFull {
            retry_after: INDEX_RETRY,
        }));
    }
    shared.inbox.taken_up(requests, events);
}

/// How long nothing is due; `None` when nothing ever is.
fn until_expiry(sequencer: &Sequencer<Reader>, clock: &dyn Clock) -> Option<Duration> {
    let due = sequencer.next_expiry()?;
    // At least a millisecond: a full block or disk, or the index, may hold an expiry back, and the loop must not spin meanwhile.
    Some(Duration::from_nanos(due.0.saturating_sub(clock.now().0)).max(Duration::from_millis(1)))
}

/// Makes blocks durable and answers. Shared by the sequencer's and the committer's thread; at most one block is
/// under way, so they never wait for each other.
pub struct Committer {
    journal: Mutex<Box<dyn Journal>>,
    term: Term,
    indexer: Sender<ToIndexer>,
    inline_events_max: usize,
}

impl Committer {
    /// For the blocks of one term. A journal that is `far` takes so long that applying the next block meanwhile is
    /// always worth a change of threads.
    pub fn new(journal: Box<dyn Journal>, term: Term, far: bool, indexer: Sender<ToIndexer>) -> Self {
        Self {
            inline_events_max: if far { 0 } else { INLINE_EVENTS_MAX },
            journal: Mutex::new(journal),
            term,
            indexer,
        }
    }

    /// Commits a small block on the calling thread, which saves a change of threads. Gives it back when the disk is
    /// full or the block is large: then it is for the committer's thread, so that the caller can go on.
    pub fn commit_small(&self, mut batch: Batch, shared: &Shared) -> Result<Option<Batch>, NodeError> {
        if batch.draft.events() as usize > self.inline_events_max || shared.inbox.storage_full() {
            return Ok(Some(batch));
        }
        let started = Instant::now();
        shared.append_began.is_now();
        let mut journal = self.lock();
        let head = match journal.append(self.term, &mut batch.draft) {
            Err(AppendError::Full(_)) => {
                drop(journal);
                shared.inbox.set_full(Room::Journal, true);
                return Ok(Some(batch));
            }
            head => head?,
        };
        self.announce(journal, head, batch, started, shared);
        Ok(None)
    }

    /// Commits blocks, one after the other, until the sequencer stops.
    pub fn run(&self, batches: &Receiver<Batch>, shared: &Shared) -> Result<(), NodeError> {
        Priority::Critical.apply();
        for mut batch in batches {
            let started = Instant::now();
            shared.append_began.is_now();
            let mut journal = self.lock();
            let head = append(&mut **journal, self.term, &mut batch.draft, shared)?;
            self.announce(journal, head, batch, started, shared);
        }
        Ok(())
    }

    fn announce(
        &self,
        journal: MutexGuard<'_, Box<dyn Journal>>,
        head: Head,
        batch: Batch,
        started: Instant,
        shared: &Shared,
    ) {
        shared.metrics.append.record(started.elapsed());
        shared.last_block.is_now();
        if let Some(sealed) = journal.sealed() {
            shared.recent.keep(head.height, sealed.into(), sealed.len());
        }
        drop(journal);
        announce(head, batch, &self.indexer, shared);
    }

    fn lock(&self) -> MutexGuard<'_, Box<dyn Journal>> {
        self.journal.lock().expect("no thread panics with the journal")
    }
}

/// The block is durable: its answers leave, and it goes on to the index.
pub fn announce(head: Head, mut batch: Batch, indexer: &Sender<ToIndexer>, shared: &Shared) {
    assert_eq!(
        head.height, batch.height,
        "the journal appends where the sequencer expects"
    );
    shared.metrics.height.store(head.height.0, Ordering::Relaxed);
    shared.durable.send_replace(head.height);
    let mut draft = std::mem::take(&mut batch.draft);
    draft.clear();
    for (_, reply) in &batch.replies {
        shared.metrics.count(reply);
    }
    batch.answer();
    let durable = Durable::new(&head, batch.outcomes, batch.rows, batch.snapshot);
    hand_to_indexer(durable, indexer, shared);
    // Last: the next block, on whichever thread, must not answer or reach the index before this one did.
    shared.inbox.committed(Committed {
        height: head.height,
        draft,
    });
}

/// Passes a durable block on to the index.
pub fn hand_to_indexer(block: Durable, indexer: &Sender<ToIndexer>, shared: &Shared) {
    shared.index_lag_rows.fetch_add(block.records, Ordering::Relaxed);
    indexer.send(ToIndexer::Block(block)).expect(OUTLIVES);
}

/// Appends; while the journal is full, writes are refused at the door and this block is tried again: by it is found out when
/// there is room.
fn append(
    journal: &mut dyn Journal,
    term: Term,
    draft: &mut Draft,
    shared: &Shared,
) -> Result<Head, NodeError> {
    loop {
        match journal.append(term, draft) {
            Err(AppendError::Full { .. }) => {
                shared.inbox.set_full(Room::Journal, true);
                std::thread::sleep(FULL_RETRY);
            }
            other => {
                let head = other?;
                shared.inbox.set_full(Room::Journal, false);
                return Ok(head);
            }
        }
    }
}

/// The index's writer and its work under way, stepped by its thread (or by the simulator).
pub struct IndexerLoop {
    writer: Writer,
    /// Jobs given out and not yet back.
    running: usize,
    /// The disk was full: no job before [`ToIndexer::Retry`].
    waiting: bool,
    stopping: bool,
}

impl IndexerLoop {
    /// For the writer as it was recovered.
    pub fn new(writer: Writer) -> Self {
        Self {
            writer,
            running: 0,
            waiting: false,
            stopping: false,
        }
    }

    /// Does what an arrival asks for, and hands out the jobs that there are.
    pub fn arrival(&mut self, arrival: ToIndexer, chores: &Chores, shared: &Shared) -> Result<(), NodeError> {
        let was_behind = shared.index_is_behind();
        let mut spent = Vec::new();
        match arrival {
            ToIndexer::Block(block) => spent = index(&mut self.writer, block, chores, shared)?,
            ToIndexer::Done(done) => {
                self.running -= 1;
                match self.writer.install(done) {
                    Err(HistoryError::Io { source, .. }) if source.kind() == io::ErrorKind::StorageFull => {
                        // Nothing changed, and the work is given again.
                        self.wait_for_room(shared);
                    }
                    other => {
                        other?;
                        shared.index_waits_for_room.store(false, Ordering::Relaxed);
                    }
                }
            }
            ToIndexer::NoRoom(ticket) => {
                self.running -= 1;
                self.writer.job_failed(ticket);
                self.wait_for_room(shared);
            }
            ToIndexer::Retry => self.waiting = false,
            ToIndexer::Stop => self.stopping = true,
        }
        while !self.stopping && !self.waiting {
            let Some(job) = self.writer.next_job() else { break };
            self.running += 1;
            chores.give(Chore::Index(job));
        }
        let (backlog, merges) = (self.writer.backlog(), self.writer.merge_backlog());
        shared.index_backlog.store(backlog, Ordering::Relaxed);
        shared.merge_backlog.store(merges, Ordering::Relaxed);
        if !spent.is_empty() || was_behind {
            // A sequencer that waits for the index is to look again; another may sleep on.
            shared.inbox.indexed(&mut spent, was_behind);
        }
        Ok(())
    }

    fn wait_for_room(&mut self, shared: &Shared) {
        self.waiting = true;
        shared.index_waits_for_room.store(true, Ordering::Relaxed);
    }

    /// Whether a full disk holds work back until [`ToIndexer::Retry`].
    pub fn waits_for_room(&self) -> bool {
        self.waiting
    }

    /// Whether no more blocks come and no job runs.
    pub fn is_finished(&self) -> bool {
        self.stopping && self.running == 0
    }

    /// The writer, for what is left to be written out.
    pub fn into_writer(self) -> Writer {
        self.writer
    }
}

/// Indexes durable blocks and hands work to the background, until no more blocks come and no job runs.
pub fn run_indexer(
    writer: Writer,
    arrivals: &Receiver<ToIndexer>,
    chores: &Chores,
    shared: &Shared,
) -> Result<Writer, NodeError> {
    Priority::Indexing.apply();
    let mut indexer = IndexerLoop::new(writer);
    let mut retry_at: Option<Instant> = None;
    loop {
        let arrival = match retry_at {
            None => arrivals
                .recv()
                .expect("the background thread outlives the indexer"),
            Some(at) => arrivals.recv_deadline(at).unwrap_or(ToIndexer::Retry),
        };
        indexer.arrival(arrival, chores, shared)?;
        retry_at = match retry_at {
            _ if !indexer.waits_for_room() => None,
            None => Some(Instant::now() + INDEX_RETRY),
            waiting => waiting,
        };
        if indexer.is_finished() {
            return Ok(indexer.into_writer());
        }
    }
}

/// Takes a block into the index and gives its outcomes back for use in later commands.
fn index(
    writer: &mut Writer,
    block: Durable,
    chores: &Chores,
    shared: &Shared,
) -> Result<Vec<Outcome>, NodeError> {
    for outcome in &block.outcomes {
        writer.append(outcome)?;
        shared.metrics.count_outcome(outcome);
    }
    writer.commit(block.height, block.hash)?;
    shared.index_lag_rows.fetch_sub(block.records, Ordering::Relaxed);
    shared.metrics.indexed.store(block.height.0, Ordering::Relaxed);
    shared
        .metrics
        .rows
        .store(writer.published().rows.0, Ordering::Relaxed);
    shared.indexed.send_replace(block.height);
    if let Some((position, snapshot)) = block.snapshot {
        chores.give(Chore::Snapshot(position, snapshot));
    }
    Ok(block.outcomes)
}

/// Starts a named thread; a fault in it stops the process, once `last_words` was told of it.
pub fn spawn<T: Send + 'static>(
    name: &str,
    last_words: &Arc<dyn Fn(&NodeError) + Send + Sync>,
    body: impl FnOnce() -> Result<T, NodeError> + Send + 'static,
) -> Result<std::thread::JoinHandle<T>, NodeError> {
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

#[cfg(test)]
#[path = "threads_tests.rs"]
mod tests;
