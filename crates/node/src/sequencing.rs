//! The sequencer's thread: what arrived is applied, and a block is handed on when none is under way. Must not: do anything that is
//! slower than one append.

use crate::clock::Clock;
use crate::committer::Committer;
use crate::inbox::{Arrivals, Committed};
use crate::priority::Priority;
use crate::reads::Read;
use crate::sequencer::{Batch, Sequencer};
use crate::shared::Shared;
use crate::{NodeError, SubmitError};
use crossbeam_channel::Sender;
use history::Reader;
use journal::Draft;
use std::time::Duration;

/// Events that the sequencer applies before it looks at its inbox again, so that reads and the journal do not wait
/// behind a flood of writes.
const EVENTS_PER_TURN: usize = 2_048;
/// When a client may ask again whose write found no room on the disk.
const ROOM_RETRY: Duration = Duration::from_secs(1);

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
            retry_after: ROOM_RETRY,
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

#[cfg(test)]
#[path = "sequencing_tests.rs"]
mod tests;
