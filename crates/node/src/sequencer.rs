//! The sequencer: gives commands their order, applies them and fills the next block.
//!
//! Owns: the ledger's state and the open block. Must not: read clocks, do I/O, start threads; time is an argument
//! and what is to be done comes back as a [`Batch`]. So the simulator runs this very code.
//! Invariant: at most one block is being committed; no answer leaves before the block whose state it saw is durable.

use crate::inbox::{READS_MAX, ReplySender, Write};
use crate::reads::{Read, ReadAnswer};
use crate::recovery::apply_block;
use crate::spent::SpentOutcomes;
use crate::{NodeError, NodeOptions, Reply, RequestBody, SubmitError};
use journal::{Block, Draft};
use ledger::{
    AccountNumber, ActorId, Archive, Command, CommandBody, Height, Ledger, Outcome, RowNumber, Snapshot,
    TimestampNs,
};
use std::collections::VecDeque;
use std::time::Instant;

/// Reads that may wait before it is looked for those that nobody waits for any more.
const ABANDONED_READS: usize = 1_024;
/// Pending transfers released by one command.
const EXPIRIES_PER_COMMAND: u32 = 8_190;

/// One block on its way to the journal, with all that waits for it.
pub struct Batch {
    /// Where it will stand.
    pub height: Height,
    /// What the journal makes durable.
    pub draft: Draft,
    /// What history indexes.
    pub outcomes: Vec<Outcome>,
    /// Who waits for what.
    pub replies: Vec<(ReplySender, Reply)>,
    /// Reads that saw this block's state.
    pub reads: Vec<ReadAnswer>,
    /// The ledger after this block, when it is time for a snapshot.
    pub snapshot: Option<Snapshot>,
    /// Next row of history after this block.
    pub rows: RowNumber,
}

/// What a final block of another writer came to.
pub struct Followed {
    /// What history indexes.
    pub outcomes: Vec<Outcome>,
    /// The ledger after this block, when it is time for a snapshot.
    pub snapshot: Option<Snapshot>,
    /// Next row of history after this block.
    pub rows: RowNumber,
}

/// See the module.
pub struct Sequencer<A: Archive> {
    ledger: Ledger,
    archive: A,
    open: Batch,
    committing: Option<Height>,
    durable: Height,
    reads_in_flight: VecDeque<ReadAnswer>,
    /// Reads of the whole state that wait until the open block is whole: a state names its height.
    state_reads: Vec<Read>,
    /// How many reads left with the block that is being committed.
    reads_committing: usize,
    /// At so many waiting reads it is looked for those that nobody waits for any more.
    abandoned_at: usize,
    /// For each account the block that changed it last; 0 for those not changed in this process.
    touched: Vec<Height>,
    spent: SpentOutcomes,
    rows_at_snapshot: RowNumber,
    events_max: usize,
    bytes_max: usize,
    snapshot_rows: u64,
}

impl<A: Archive> Sequencer<A> {
    /// Goes on from a ledger that stands at `durable` and came from a snapshot of so many rows: a process that ends again and
    /// again before it has made enough rows of its own must not replay ever more. The first command of the term is `BeginEpoch`.
    pub fn new(
        ledger: Ledger,
        archive: A,
        durable: Height,
        snapshot_rows: RowNumber,
        options: &NodeOptions,
    ) -> Self {
        let touched = vec![Height(0); ledger.accounts_len() as usize];
        Self {
            open: Batch::empty(Height(durable.0 + 1), Draft::new()),
            ledger,
            archive,
            committing: None,
            durable,
            reads_in_flight: VecDeque::new(),
            state_reads: Vec::new(),
            reads_committing: 0,
            abandoned_at: ABANDONED_READS,
            touched,
            spent: SpentOutcomes::default(),
            rows_at_snapshot: snapshot_rows,
            events_max: options.block_events_max,
            bytes_max: options.block_bytes_max,
            snapshot_rows: options.snapshot_rows,
        }
    }

    /// Writes the command that begins a writer's term.
    ///
    /// # Errors
    /// [`NodeError::Archive`]: stop.
    pub fn begin_epoch(&mut self, now: TimestampNs) -> Result<(), NodeError> {
        self.apply(
            now,
            Command {
                actor: ActorId(0),
                body: CommandBody::BeginEpoch,
            },
        )
        .map(drop)
    }

    /// Applies a write to the open block; its answer leaves with the block. A request whose deadline passed is
    /// refused instead: nothing was done.
    ///
    /// # Errors
    /// [`NodeError::Archive`]: stop.
    pub fn write(&mut self, now: TimestampNs, instant: Instant, write: Write) -> Result<(), NodeError> {
        let Write { request, reply } = write;
        if request.deadline.is_some_and(|deadline| deadline <= instant) {
            let _ = reply.send(Err(SubmitError::Expired));
            return Ok(());
        }
        let body = match request.body {
            RequestBody::CreateAccounts(events) => CommandBody::CreateAccounts(events),
            RequestBody::CreateTransfers(events) => CommandBody::CreateTransfers(events),
            RequestBody::DescribeLedger(description) => CommandBody::DescribeLedger(description),
        };
        let answer = self.apply(
            now,
            Command {
                actor: request.actor,
                body,
            },
        )?;
        self.open
            .replies
            .push((reply, answer.expect("a client's command has an answer")));
        Ok(())
    }

    /// Releases what is due. True when there may be more.
    ///
    /// # Errors
    /// [`NodeError::Archive`]: stop.
    pub fn expire(&mut self, now: TimestampNs) -> Result<bool, NodeError> {
        if self.ledger.next_expiry().is_none_or(|due| due > now) {
            return Ok(false);
        }
        let body = CommandBody::ExpirePending {
            limit: EXPIRIES_PER_COMMAND,
        };
        self.apply(
            now,
            Command {
                actor: ActorId(0),
                body,
            },
        )?;
        Ok(true)
    }

    /// When the next pending transfer is due.
    pub fn next_expiry(&self) -> Option<TimestampNs> {
        self.ledger.next_expiry()
    }

    /// Answers a read from the state as it stands: at once when all it saw is durable, else with its block.
    /// One of the whole state is answered as of the end of a block, since it says at which height it stands.
    pub fn read(&mut self, read: Read) {
        if matches!(read, Read::State(_)) && self.has_open() {
            self.state_reads.push(read);
            return;
        }
        let state = Height(self.open.height.0 - 1);
        let (answer, seen) = read.answer(&mut self.ledger, &self.touched, state);
        if seen <= self.durable {
            answer.send();
        } else if self.committing == Some(seen) {
            self.reads_in_flight.push_back(answer);
        } else {
            self.open.reads.push(answer);
        }
    }

    /// How many reads wait for a block to become durable.
    pub fn reads_waiting(&self) -> usize {
        self.reads_at_hand() + self.reads_committing
    }

    /// Of them, those that have not left with their block.
    fn reads_at_hand(&self) -> usize {
        self.open.reads.len() + self.reads_in_flight.len() + self.state_reads.len()
    }

    /// Drops the answers that nobody waits for any more, once there are many: a block may take long to become durable, and
    /// whoever asked has gone away and asked again. For once a turn: it looks at each of them.
    pub fn drop_abandoned_reads(&mut self) {
        if self.reads_at_hand() < self.abandoned_at {
            return;
        }
        self.open.reads.retain(|answer| !answer.is_abandoned());
        self.reads_in_flight.retain(|answer| !answer.is_abandoned());
        self.state_reads.retain(|read| !read.is_abandoned());
        self.abandoned_at = (2 * self.reads_at_hand()).clamp(ABANDONED_READS, READS_MAX);
    }

    /// Whether the open block takes no more; commit before the next write.
    pub fn is_full(&self) -> bool {
        self.open.draft.events() as usize >= self.events_max || self.open.draft.bytes() >= self.bytes_max
    }

    /// Whether a block is under way to the journal.
    pub fn is_committing(&self) -> bool {
        self.committing.is_some()
    }

    /// Whether the open block holds anything.
    pub fn has_open(&self) -> bool {
        !self.open.draft.is_empty()
    }

    /// Closes the open block for the journal, if it holds anything and the one before is durable.
    pub fn seal(&mut self, spare: Option<Draft>) -> Option<Batch> {
        if self.committing.is_some() || !self.has_open() {
            return None;
        }
        let height = self.open.height;
        let next = Batch::empty(Height(height.0 + 1), spare.unwrap_or_default());
        let mut batch = std::mem::replace(&mut self.open, next);
        batch.rows = self.ledger.rows();
        batch.snapshot = self.snapshot_if_due();
        for read in self.state_reads.drain(..) {
            let (answer, _) = read.answer(&mut self.ledger, &self.touched, height);
            batch.reads.push(answer);
        }
        self.committing = Some(height);
        self.reads_committing = batch.reads.len();
        Some(batch)
    }

    /// The block under way is durable: what waited for it alone may leave.
    pub fn committed(&mut self, height: Height) {
        assert_eq!(self.committing, Some(height), "blocks become durable in order");
        self.committing = None;
        self.reads_committing = 0;
        self.durable = height;
        for answer in self.reads_in_flight.drain(..) {
            answer.send();
        }
    }

    /// Applies the next final block of another writer, which must give the results that it logged. For a sequencer that
    /// has taken no write of its own.
    ///
    /// # Errors
    /// As a replay: stop.
    pub fn follow(&mut self, block: &Block) -> Result<Followed, NodeError> {
        assert!(
            self.open.height == block.height && !self.has_open() && !self.is_committing(),
            "a follower takes blocks in order and makes none"
        );
        let mut outcomes = self.spent.take_up_to(block.entries.len());
        apply_block(&mut self.ledger, &self.archive, block, &mut outcomes)?;
        for outcome in &outcomes {
            self.touch(outcome);
        }
        self.durable = block.height;
        self.open.height = Height(block.height.0 + 1);
        Ok(Followed {
            snapshot: self.snapshot_if_due(),
            rows: self.ledger.rows(),
            outcomes,
        })
    }

    fn snapshot_if_due(&mut self) -> Option<Snapshot> {
        let rows = self.ledger.rows();
        let interval = self.snapshot_rows.max(2 * u64::from(self.ledger.accounts_len()));
        (rows.0 - self.rows_at_snapshot.0 >= interval).then(|| {
            self.rows_at_snapshot = rows;
            self.ledger.snapshot()
        })
    }

    /// Gives outcomes back for use in later commands.
    pub fn recycle(&mut self, spent: &mut Vec<Outcome>) {
        self.spent.give(spent);
    }

    /// Drops ids from memory that history now answers for.
    pub fn forget_archived(&mut self, below: RowNumber) {
        self.ledger.forget_archived(below);
    }

    fn apply(&mut self, now: TimestampNs, command: Command) -> Result<Option<Reply>, NodeError> {
        let mut outcome = self.spent.take();
        outcome.clear();
        self.ledger.apply(&self.archive, now, &command, &mut outcome)?;
        self.open.draft.push(outcome.timestamp, &command, &outcome);
        self.touch(&outcome);
        let reply = match command.body {
            CommandBody::CreateAccounts(_) => Some(Reply::Accounts(std::mem::take(&mut outcome.accounts))),
            CommandBody::CreateTransfers(_) => Some(Reply::Transfers(std::mem::take(&mut outcome.transfers))),
            CommandBody::DescribeLedger(_) => outcome.described.map(Reply::Described),
            CommandBody::BeginEpoch | CommandBody::ExpirePending { .. } => None,
        };
        self.open.outcomes.push(outcome);
        Ok(reply)
    }

    fn touch(&mut self, outcome: &Outcome) {
        let height = self.open.height;
        self.touched.resize(self.ledger.accounts_len() as usize, height);
        for row in &outcome.rows {
            if row.debit != AccountNumber::NONE {
                self.touched[row.debit.0 as usize] = height;
                self.touched[row.credit.0 as usize] = height;
            }
        }
    }
}

impl Batch {
    fn empty(height: Height, draft: Draft) -> Self {
        assert!(draft.is_empty(), "a recycled draft is cleared");
        Self {
            height,
            draft,
            outcomes: Vec::new(),
            replies: Vec::new(),
            reads: Vec::new(),
            snapshot: None,
            rows: RowNumber(0),
        }
    }

    /// Sends every answer, in order; the block is durable.
    pub fn answer(&mut self) {
        for (sender, reply) in self.replies.drain(..) {
            // A client that went away has its answer in the journal.
            let _ = sender.send(Ok(reply));
        }
        for answer in self.reads.drain(..) {
            answer.send();
        }
    }
}
