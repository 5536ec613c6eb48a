//! Makes blocks durable and lets their answers go. A small block for a local journal, of at most [`INLINE_EVENTS_MAX`] events, is
//! made durable by the sequencer's thread itself, unless it finds no room: a change of threads would cost more than it saves.

use crate::NodeError;
use crate::inbox::{Committed, Room};
use crate::indexer::{Durable, ToIndexer, hand_to_indexer};
use crate::priority::Priority;
use crate::sequencer::Batch;
use crate::shared::Shared;
use crossbeam_channel::{Receiver, Sender};
use journal::{AppendError, Draft, Head, Journal, Term};
use std::sync::atomic::Ordering;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// A block of at most so many events is committed by the sequencer itself: applying the next ones meanwhile would save
/// less time than a change of threads costs.
const INLINE_EVENTS_MAX: usize = 256;
/// How long to wait before a full journal is tried again.
const FULL_RETRY: Duration = Duration::from_millis(100);

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
