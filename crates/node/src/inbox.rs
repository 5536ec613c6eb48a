//! The sequencer's one mailbox. Owns: the bounds of the queue and what is refused at its door.
//!
//! Everything that the sequencer waits for comes here, so that it sleeps in one place. Writes are bounded
//! and refused when the bound is reached; reads are bounded apart, so that neither starves the other.

use crate::bounds::LiveBounds;
use crate::{Reply, Request, RequestBody, SubmitError};
use journal::{Block, Draft, Journal, Term};
use ledger::{Height, Outcome};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;
use tokio::sync::oneshot;

/// Where an answer goes.
pub type ReplySender = oneshot::Sender<Result<Reply, SubmitError>>;

/// Reads waiting, for the sequencer or for a block to become durable, before further ones are refused.
pub const READS_MAX: usize = 65_536;
/// Blocks of another writer that wait before whoever supplies them must wait.
const BLOCKS_MAX: usize = 64;
/// When to ask again at a node that takes no writes.
const UNAVAILABLE_RETRY: Duration = Duration::from_millis(200);

/// Where writes need room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// On the node's own disk, which is looked at all the time.
    OwnDisk,
    /// In the journal, which may be elsewhere: whether there is room again only an append that succeeds can tell.
    Journal,
}

/// A write that waits for the sequencer.
pub struct Write {
    /// What is asked.
    pub request: Request,
    /// Where the answer goes.
    pub reply: ReplySender,
}

/// What is back from the committer: the block is durable.
pub struct Committed {
    /// The block's height.
    pub height: Height,
    /// Its draft, to be used again.
    pub draft: Draft,
}

/// What makes a follower the writer: the term has begun, and every block up to the journal's head was supplied.
pub struct Promotion {
    /// Ready to append.
    pub journal: Box<dyn Journal>,
    /// The term that has begun.
    pub term: Term,
}

/// Everything that arrived since the last look.
pub struct Arrivals<Read> {
    /// Writes, in the order of their submission.
    pub writes: VecDeque<Write>,
    /// Reads.
    pub reads: VecDeque<Read>,
    /// Durable blocks, in order.
    pub committed: VecDeque<Committed>,
    /// Final blocks of another writer, in order.
    pub blocks: VecDeque<Block>,
    /// Outcomes that the indexer is done with, to be used again.
    pub spent: Vec<Outcome>,
    /// Whether the node is to stop once everything taken in is answered.
    pub stopping: bool,
}

impl<Read> Default for Arrivals<Read> {
    fn default() -> Self {
        Self {
            writes: VecDeque::new(),
            reads: VecDeque::new(),
            committed: VecDeque::new(),
            blocks: VecDeque::new(),
            spent: Vec::new(),
            stopping: false,
        }
    }
}

struct Waiting<Read> {
    arrivals: Arrivals<Read>,
    /// What comes after the blocks.
    promotion: Option<Promotion>,
    /// Events that were submitted and not yet taken up by the sequencer, held ones included.
    queued_events: usize,
    queued_requests: usize,
    /// The sequencer waits.
    asleep: bool,
    /// Something came that the sequencer should see before it goes to sleep.
    news: bool,
}

/// The mailbox.
pub struct Inbox<Read> {
    waiting: Mutex<Waiting<Read>>,
    bell: Condvar,
    /// For whoever supplies blocks or promotes: there is room again, or the node writes now.
    room: Condvar,
    /// By [`Room`]: they fill up and are freed apart, and each is watched by somebody else.
    full: [AtomicBool; 2],
    follows: AtomicBool,
    /// Reads that the sequencer took and has not answered: they wait for a block to become durable.
    reads_waiting: AtomicUsize,
    bounds: Arc<LiveBounds>,
}

impl<Read> Inbox<Read> {
    /// An empty one with the bounds given.
    pub fn new(bounds: Arc<LiveBounds>) -> Self {
        Self {
            waiting: Mutex::new(Waiting {
                arrivals: Arrivals::default(),
                promotion: None,
                queued_events: 0,
                queued_requests: 0,
                asleep: false,
                news: false,
            }),
            bell: Condvar::new(),
            room: Condvar::new(),
            full: Default::default(),
            follows: AtomicBool::new(false),
            reads_waiting: AtomicUsize::new(0),
            bounds,
        }
    }

    /// Takes a write in, or says why not. Nothing was done when it is refused.
    pub fn submit(
        &self,
        request: Request,
    ) -> Result<oneshot::Receiver<Result<Reply, SubmitError>>, SubmitError> {
        let events = events_of(&request.body)?;
        if self.follows() {
            return Err(SubmitError::Unavailable {
                retry_after: UNAVAILABLE_RETRY,
            });
        }
        if self.storage_full() {
            return Err(SubmitError::StorageFull {
                retry_after: Duration::from_secs(1),
            });
        }
        let (reply, receiver) = oneshot::channel();
        let mut waiting = self.lock();
        if waiting.arrivals.stopping {
            return Err(SubmitError::Unavailable {
                retry_after: Duration::from_secs(1),
            });
        }
        if self
            .bounds
            .refuses(waiting.queued_requests, waiting.queued_events, events)
        {
            return Err(SubmitError::Overloaded {
                retry_after: self.bounds.overload_retry(),
            });
        }
        waiting.queued_events += events;
        waiting.queued_requests += 1;
        waiting.arrivals.writes.push_back(Write { request, reply });
        self.ring(waiting);
        Ok(receiver)
    }

    /// Takes a read in; gives it back when too many wait or the node stops.
    pub fn read(&self, read: Read) -> Result<(), Read> {
        let mut waiting = self.lock();
        let reads = waiting.arrivals.reads.len() + self.reads_waiting.load(Ordering::Relaxed);
        if waiting.arrivals.stopping || reads >= READS_MAX {
            // The sequencer may find some that nobody waits for any more.
            self.ring(waiting);
            return Err(read);
        }
        waiting.arrivals.reads.push_back(read);
        self.ring(waiting);
        Ok(())
    }

    /// Says how many of the reads that were collected are not answered yet.
    pub fn set_reads_waiting(&self, reads: usize) {
        self.reads_waiting.store(reads, Ordering::Relaxed);
    }

    /// Takes in the next final block of another writer, however many there are already: [`Inbox::wait_for_room`] is for
    /// before. Nothing is taken once the node stops.
    pub fn supply(&self, block: Block) {
        let mut waiting = self.lock();
        if !waiting.arrivals.stopping {
            waiting.arrivals.blocks.push_back(block);
            self.ring(waiting);
        }
    }

    /// Waits while many blocks wait already, at most for `patience`. Whether there is room now; there always is in a node that
    /// stops.
    pub fn wait_for_room(&self, patience: Duration) -> bool {
        let is_full = |waiting: &Waiting<Read>| {
            waiting.arrivals.blocks.len() >= BLOCKS_MAX && !waiting.arrivals.stopping
        };
        let waited = self
            .room
            .wait_timeout_while(self.lock(), patience, |waiting| is_full(waiting));
        let (waiting, _) = waited.expect("no thread panics with the inbox");
        !is_full(&waiting)
    }

    /// Has the follower made the writer once it has taken in the blocks before: [`Inbox::wait_for_promotion`] is for after.
    pub fn promote(&self, promotion: Promotion) {
        let mut waiting = self.lock();
        waiting.promotion = Some(promotion);
        self.ring(waiting);
    }

    /// Waits until the node takes writes, or stops, at most for `patience`. Whether it did.
    pub fn wait_for_promotion(&self, patience: Duration) -> bool {
        let is_pending = |waiting: &Waiting<Read>| self.follows() && !waiting.arrivals.stopping;
        let waited = self
            .room
            .wait_timeout_while(self.lock(), patience, |waiting| is_pending(waiting));
        let (waiting, _) = waited.expect("no thread panics with the inbox");
        !is_pending(&waiting)
    }

    /// The promotion that was asked for, once no block is before it: for the follower, who carries it out.
    pub fn take_promotion(&self) -> Option<Promotion> {
        let mut waiting = self.lock();
        match waiting.arrivals.blocks.is_empty() {
            true => waiting.promotion.take(),
            false => None,
        }
    }

    /// The promotion back, for whoever asked and does not wait any longer; none when it is being carried out.
    pub fn withdraw_promotion(&self) -> Option<Promotion> {
        self.lock().promotion.take()
    }

    /// Whether the node follows another writer, and so takes no writes.
    pub fn follows(&self) -> bool {
        self.follows.load(Ordering::Relaxed)
    }

    /// Says whether the node follows another writer.
    pub fn set_follows(&self, follows: bool) {
        let waiting = self.lock();
        self.follows.store(follows, Ordering::Relaxed);
        drop(waiting);
        self.room.notify_all();
    }

    /// A block is durable.
    pub fn committed(&self, committed: Committed) {
        let mut waiting = self.lock();
        waiting.arrivals.committed.push_back(committed);
        self.ring(waiting);
    }

    /// The indexer is done with these. `wake` a sequencer that waits because the index is behind;
    /// otherwise it may sleep on.
    pub fn indexed(&self, spent: &mut Vec<Outcome>, wake: bool) {
        let mut waiting = self.lock();
        waiting.arrivals.spent.append(spent);
        if wake {
            self.ring(waiting);
        }
    }

    /// Has the sequencer look again at what it holds back.
    pub fn wake(&self) {
        self.ring(self.lock());
    }

    /// The sequencer took up a write: its place in the queue is free.
    pub fn taken_up(&self, requests: usize, events: usize) {
        let mut waiting = self.lock();
        waiting.queued_requests -= requests;
        waiting.queued_events -= events;
    }

    /// Whether writes are refused because there is no room on the node's own disk, or in the journal.
    pub fn storage_full(&self) -> bool {
        self.is_full(Room::OwnDisk) || self.is_full(Room::Journal)
    }

    /// Whether there is no room there.
    pub fn is_full(&self, room: Room) -> bool {
        self.full[room as usize].load(Ordering::Relaxed)
    }

    /// Says that there is no room, or that there is again.
    pub fn set_full(&self, room: Room, full: bool) {
        if self.full[room as usize].swap(full, Ordering::Relaxed) == full {
            return;
        }
        if full {
            let code = "NOD-0013";
            tracing::warn!(code, ?room, "storage is full: writes are refused, reads go on");
            // The sequencer refuses those that are in the queue already.
            self.ring(self.lock());
        } else {
            tracing::info!(?room, "there is room again");
        }
    }

    /// Refuses new writes and reads; those taken in are still answered.
    pub fn stop(&self) {
        let mut waiting = self.lock();
        waiting.arrivals.stopping = true;
        self.room.notify_all();
        self.ring(waiting);
    }

    /// Whether new requests are refused because the node stops.
    pub fn stopping(&self) -> bool {
        self.lock().arrivals.stopping
    }

    /// Moves everything that arrived into `arrivals` (whose queues are appended to). Waits for something at most
    /// `patience` when nothing did; `None` waits for ever.
    pub fn collect(&self, arrivals: &mut Arrivals<Read>, patience: Option<Duration>) {
        let mut waiting = self.lock();
        if !waiting.news && patience != Some(Duration::ZERO) {
            waiting.asleep = true;
            waiting = match patience {
                None => self
                    .bell
                    .wait_while(waiting, |w| !w.news)
                    .expect("no thread panics with the inbox"),
                Some(patience) => {
                    let woken = self.bell.wait_timeout_while(waiting, patience, |w| !w.news);
                    woken.expect("no thread panics with the inbox").0
                }
            };
            waiting.asleep = false;
        }
        waiting.news = false;
        let new = &mut waiting.arrivals;
        append(&mut arrivals.writes, &mut new.writes);
        self.reads_waiting.fetch_add(new.reads.len(), Ordering::Relaxed);
        append(&mut arrivals.reads, &mut new.reads);
        append(&mut arrivals.committed, &mut new.committed);
        if arrivals.blocks.is_empty() && !new.blocks.is_empty() {
            std::mem::swap(&mut arrivals.blocks, &mut new.blocks);
            self.room.notify_all();
        }
        arrivals.spent.append(&mut new.spent);
        arrivals.stopping = new.stopping;
    }

    fn ring(&self, mut waiting: std::sync::MutexGuard<'_, Waiting<Read>>) {
        let first = !std::mem::replace(&mut waiting.news, true);
        let asleep = waiting.asleep;
        drop(waiting);
        if first && asleep {
            self.bell.notify_one();
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Waiting<Read>> {
        self.waiting.lock().expect("no thread panics with the inbox")
    }
}

/// Moves all of `from` behind what is in `to`; swaps when that is nothing, so that no copy is made.
fn append<T>(to: &mut VecDeque<T>, from: &mut VecDeque<T>) {
    if to.is_empty() {
        std::mem::swap(to, from);
    } else {
        to.append(from);
    }
}

/// How many events a request has, when that is a number it may have.
pub fn events_of(body: &RequestBody) -> Result<usize, SubmitError> {
    let events = match body {
        RequestBody::CreateAccounts(events) => events.events.len(),
        RequestBody::CreateTransfers(events) => events.events.len(),
        RequestBody::DescribeLedger(_) => 1,
    };
    match events {
        0 => Err(SubmitError::Invalid("a request must hold at least one event")),
        n if n > ledger::EVENTS_PER_REQUEST_MAX => {
            Err(SubmitError::Invalid("a request may hold at most 8190 events"))
        }
        n => Ok(n),
    }
}
