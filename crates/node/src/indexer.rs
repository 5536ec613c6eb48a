//! The indexer: durable blocks become history, and the work that follows from that goes to the background.

use crate::NodeError;
use crate::background::{Chore, Chores};
use crate::priority::Priority;
use crate::shared::Shared;
use crate::snapshots::SnapshotPosition;
use crossbeam_channel::{Receiver, Sender};
use history::{HistoryError, JobDone, Writer};
use journal::Head;
use ledger::{Height, Outcome, RowNumber, Snapshot};
use std::io;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// How long the index waits before it tries again to write to a full disk.
const INDEX_RETRY: Duration = Duration::from_secs(1);
/// What the indexer's receiver does.
pub const OUTLIVES: &str = "the indexer outlives the committer";

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

/// Passes a durable block on to the index.
pub fn hand_to_indexer(block: Durable, indexer: &Sender<ToIndexer>, shared: &Shared) {
    shared.index_lag_rows.fetch_add(block.records, Ordering::Relaxed);
    indexer.send(ToIndexer::Block(block)).expect(OUTLIVES);
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
