//! A node that follows another writer. Owns: how final blocks become state, and the change to writing.
//!
//! It runs on the sequencer's thread and on the sequencer's state, so that a promotion moves nothing. Must not: judge
//! whether a block is final; whoever supplies it has.

use crate::NodeError;
use crate::inbox::{Arrivals, Promotion};
use crate::indexer::{Durable, ToIndexer, hand_to_indexer};
use crate::priority::Priority;
use crate::reads::Read;
use crate::recent::memory_bytes;
use crate::sequencer::{Followed, Sequencer};
use crate::sequencing::SequencerLoop;
use crate::shared::Shared;
use crossbeam_channel::Sender;
use history::Reader;
use journal::{Block, Head};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// See the module.
pub struct Follower {
    sequencer: Sequencer<Reader>,
    archive: Reader,
    arrivals: Arrivals<Read>,
}

/// What a turn of the follower came to.
pub enum Step {
    /// There may be more at hand.
    Busy,
    /// Nothing is to be done until something arrives.
    Idle,
    /// Every block before it is applied.
    Promoted(Promotion),
    /// The node stops.
    Stopped,
}

impl Follower {
    /// Goes on from the sequencer's state.
    pub fn new(sequencer: Sequencer<Reader>, archive: Reader) -> Self {
        Self {
            sequencer,
            archive,
            arrivals: Arrivals::default(),
        }
    }

    /// Takes in what arrived, waiting at most `patience`: answers reads and applies blocks.
    pub fn turn(
        &mut self,
        shared: &Shared,
        indexer: &Sender<ToIndexer>,
        patience: Option<Duration>,
    ) -> Result<Step, NodeError> {
        shared.inbox.collect(&mut self.arrivals, patience);
        self.sequencer.recycle(&mut self.arrivals.spent);
        while let Some(read) = self.arrivals.reads.pop_front() {
            self.sequencer.read(read);
        }
        shared.inbox.set_reads_waiting(self.sequencer.reads_waiting());
        if self.arrivals.stopping {
            return Ok(Step::Stopped);
        }
        if self.arrivals.blocks.is_empty() {
            // It needs no room: a writer waits for the index by itself.
            return Ok(shared.inbox.take_promotion().map_or(Step::Idle, Step::Promoted));
        }
        if shared.index_is_behind() {
            // The indexer rings when it is not any more.
            return Ok(Step::Idle);
        }
        let block = self.arrivals.blocks.pop_front().expect("there is one");
        self.apply(block, shared, indexer)?;
        Ok(Step::Busy)
    }

    fn apply(&mut self, block: Block, shared: &Shared, indexer: &Sender<ToIndexer>) -> Result<(), NodeError> {
        let Followed {
            outcomes,
            snapshot,
            rows,
        } = self.sequencer.follow(&block)?;
        self.sequencer.forget_archived(self.archive.archived_below());
        shared.metrics.height.store(block.height.0, Ordering::Relaxed);
        shared.epoch.store(block.epoch, Ordering::Relaxed);
        let (head, bytes) = (Head::of(&block), memory_bytes(&block));
        // Before it counts as final: the change feed may find it nowhere else for a while.
        shared.supplied.keep(head.height, Arc::new(block), bytes);
        shared.durable.send_replace(head.height);
        let durable = Durable::new(&head, outcomes, rows, snapshot);
        hand_to_indexer(durable, indexer, shared);
        Ok(())
    }

    /// The same state, to write from.
    pub fn into_sequencer(self) -> SequencerLoop {
        SequencerLoop::taking_over(self.sequencer, self.archive, self.arrivals)
    }
}

/// Follows until the node is promoted, or stops: then there is nothing.
pub fn run_follower(
    mut follower: Follower,
    shared: &Shared,
    indexer: &Sender<ToIndexer>,
) -> Result<Option<(SequencerLoop, Promotion)>, NodeError> {
    Priority::Critical.apply();
    let mut patience = None;
    loop {
        patience = match follower.turn(shared, indexer, patience)? {
            Step::Busy => Some(Duration::ZERO),
            Step::Idle => None,
            Step::Promoted(promotion) => return Ok(Some((follower.into_sequencer(), promotion))),
            Step::Stopped => return Ok(None),
        };
    }
}
