//! One life of a node of the cluster: its real parts, laid side by side so that each can be stepped. Owns: the order in which
//! `Node::supply` and `Node::promote` call them. All that decides anything is the node's own code.

use super::journal::{FakeJournal, is_pending, open};
use super::reader::FakeReader;
use super::world::NODES;
use crossbeam_channel::{Receiver, Sender};
use history::FullSpeed;
use journal::{Block, BlockReader, Head, Journal, Term, WriterId};
use ledger::Height;
use node::parts::{
    Background, Batch, Chore, Chores, Follower, IndexerLoop, Promotion, Recovered, Sequencer, SequencerLoop,
    Shared, Step, ToIndexer, Turn, announce,
};
use node::{Clock, Layout, NodeError, NodeOptions};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use storage::{KeyRing, Storage};

/// A writer's part.
pub struct Writing {
    sequencer: SequencerLoop,
    journal: Box<dyn Journal>,
    term: Term,
    sealed: Option<Batch>,
    durable: Option<(Head, Batch)>,
    /// The blocks of this term as they were sealed, for those who follow.
    recent: BTreeMap<u64, Arc<[u8]>>,
}

/// What a node does.
pub enum Role {
    /// It follows; while it is `taking` the journal over it takes no blocks from elsewhere.
    Following {
        /// The follower.
        follower: Box<Follower>,
        /// The promotion under way, for the election's term.
        taking: Option<(u64, WriterId, Box<FakeJournal>)>,
    },
    /// It writes.
    Writing(Box<Writing>),
    /// Between two steps.
    Changing,
}

/// See the module.
pub struct Life {
    /// Inbox and counters.
    pub shared: Arc<Shared>,
    /// What it does.
    pub role: Role,
    /// The last block that it was supplied with.
    pub supplied: Head,
    /// The journal as a follower sees it.
    pub outside: Arc<FakeReader>,
    /// Everything that was acknowledged before this moment is applied here.
    pub fresh_as_of: Option<u64>,
    /// When the writer was asked how far the ledger stands.
    pub asked_at: Option<u64>,
    /// What it answered to the question of that moment.
    pub how_far: Option<(u64, Height)>,
    /// Whose clocks it has heard of.
    pub heard: [bool; NODES],
    /// The election's term for which it took the journal over; it writes as soon as it applied what stands before.
    pub promoted_for: Option<u64>,
    /// The election was asked again after that, and it was still the writer.
    pub is_confirmed: bool,
    keys: KeyRing,
    background: Background,
    indexer: IndexerLoop,
    to_indexer: Sender<ToIndexer>,
    at_indexer: Receiver<ToIndexer>,
    to_background: Chores,
    chores: Receiver<Chore>,
}

impl Life {
    /// Follows from what was recovered.
    pub fn start(
        storage: Arc<dyn Storage>,
        options: &NodeOptions,
        recovered: Recovered,
        outside: Arc<FakeReader>,
        keys: KeyRing,
    ) -> Self {
        let shared = Arc::new(Shared::new(options, &recovered));
        shared.inbox.set_follows(true);
        let (to_indexer, at_indexer) = crossbeam_channel::unbounded();
        let (merges, chores) = crossbeam_channel::unbounded();
        let reader = recovered.reader.clone();
        let sequencer = Sequencer::new(
            recovered.ledger,
            recovered.reader,
            recovered.head.height,
            recovered.snapshot_rows,
            options,
        );
        Self {
            role: Role::Following {
                follower: Box::new(Follower::new(sequencer, reader)),
                taking: None,
            },
            supplied: recovered.head,
            outside,
            fresh_as_of: None,
            asked_at: None,
            how_far: None,
            heard: [false; NODES],
            promoted_for: None,
            is_confirmed: false,
            background: Background {
                storage,
                snapshots: Layout::new(options).snapshots,
                keys: keys.clone(),
            },
            keys,
            indexer: IndexerLoop::new(recovered.writer),
            shared,
            to_indexer,
            at_indexer,
            to_background: Chores {
                flushes: merges.clone(),
                merges,
            },
            chores,
        }
    }

    /// Whether it writes.
    pub fn writes(&self) -> bool {
        matches!(self.role, Role::Writing(_))
    }

    /// Whether it takes blocks of another writer now.
    pub fn takes_blocks(&self) -> bool {
        matches!(self.role, Role::Following { taking: None, .. })
    }

    /// The last block that is applied.
    pub fn height(&self) -> Height {
        *self.shared.durable.borrow()
    }

    /// A block of this writer as it was sealed.
    pub fn sealed(&self, height: Height) -> Option<Arc<[u8]>> {
        match &self.role {
            Role::Writing(writing) => writing.recent.get(&height.0).cloned(),
            _ => None,
        }
    }

    /// As [`node::Node::supply`].
    pub fn supply(&mut self, block: Block) -> Result<bool, NodeError> {
        let height = block.height;
        let fits = match height.0.checked_sub(self.supplied.height.0) {
            Some(1) => block.previous == self.supplied.hash,
            Some(0) => block.hash == self.supplied.hash,
            None => true,
            Some(_) => false,
        };
        if !fits {
            return Err(NodeError::Contradiction { height });
        }
        let is_new = height > self.supplied.height;
        if is_new {
            self.supplied = Head::of(&block);
            self.shared.inbox.supply(block);
        }
        Ok(is_new)
    }

    /// What a follower finds in the journal, one look.
    pub fn catch_up(&mut self) -> Result<u64, NodeError> {
        self.outside.look()?;
        let outside = self.outside.clone();
        let mut taken = 0;
        for block in outside.scan(Height(self.supplied.height.0 + 1)).take(16) {
            taken += u64::from(self.supply(block?)?);
        }
        Ok(taken)
    }

    /// A turn of whoever has the sequencer.
    pub fn turn(&mut self, clock: &dyn Clock) -> Result<(), NodeError> {
        match std::mem::replace(&mut self.role, Role::Changing) {
            Role::Following { mut follower, taking } => {
                let step = follower.turn(&self.shared, &self.to_indexer, Some(Duration::ZERO))?;
                self.role = match step {
                    Step::Promoted(Promotion { journal, term }) => {
                        self.shared.inbox.set_follows(false);
                        Role::Writing(Box::new(Writing {
                            sequencer: follower.into_sequencer(),
                            journal,
                            term,
                            sealed: None,
                            durable: None,
                            recent: BTreeMap::new(),
                        }))
                    }
                    _ => Role::Following { follower, taking },
                };
            }
            Role::Writing(mut writing) => {
                let Turn { batch, .. } = writing
                    .sequencer
                    .turn(&self.shared, clock, Some(Duration::ZERO))?;
                if batch.is_some() {
                    assert!(
                        writing.sealed.is_none() && writing.durable.is_none(),
                        "one block at a time"
                    );
                    writing.sealed = batch;
                }
                self.role = Role::Writing(writing);
            }
            Role::Changing => unreachable!("a turn puts the role back or ends the life"),
        }
        Ok(())
    }

    /// Asks the journal for the sealed block, or after its answer; gives the block when it is final. `early`: answers leave
    /// before that, which is a canary.
    pub fn commit(&mut self, early: bool) -> Result<Option<Block>, NodeError> {
        let Role::Writing(writing) = &mut self.role else {
            return Ok(None);
        };
        let Some(batch) = &mut writing.sealed else {
            return Ok(None);
        };
        if early {
            batch.answer();
        }
        match writing.journal.append(writing.term, &mut batch.draft) {
            Ok(head) => {
                let sealed: Arc<[u8]> = writing.journal.sealed().expect("it was just sealed").into();
                writing.durable = writing.sealed.take().map(|batch| (head, batch));
                let block = open(&self.keys, &sealed);
                writing.recent.insert(head.height.0, sealed);
                Ok(Some(block))
            }
            Err(error) if is_pending(&error) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Answers for the final block and hands it to the index.
    pub fn announce(&mut self) {
        if let Role::Writing(writing) = &mut self.role
            && let Some((head, batch)) = writing.durable.take()
        {
            announce(head, batch, &self.to_indexer, &self.shared);
        }
    }

    /// Begins to take the journal over, as [`node::Node::promote`].
    pub fn begin_promotion(&mut self, revision: u64, writer: WriterId, journal: FakeJournal) {
        if let Role::Following { taking, .. } = &mut self.role {
            *taking = Some((revision, writer, Box::new(journal)));
        }
    }

    /// One step of taking the journal over. When the term has begun, gives its head's chain from `from` on.
    pub fn promote(&mut self, clock: &dyn Clock, from: Height) -> Result<Option<Vec<Block>>, NodeError> {
        let Role::Following { taking, .. } = &mut self.role else {
            return Ok(None);
        };
        let Some((revision, writer, mut journal)) = taking.take() else {
            return Ok(None);
        };
        match journal.begin_term(writer, clock.now()) {
            Ok(term) => {
                let chain = journal.chain(from);
                let (blocks, head) = (journal.reader(), journal.head());
                for block in blocks.scan(Height(self.supplied.height.0 + 1)) {
                    self.supply(block?)?;
                }
                if self.supplied != head {
                    return Err(NodeError::Contradiction { height: head.height });
                }
                // A later turn brings it about.
                self.shared.inbox.promote(Promotion { journal, term });
                self.promoted_for = Some(revision);
                Ok(Some(chain))
            }
            Err(error) if is_pending(&error) => {
                *taking = Some((revision, writer, journal));
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The election's term for which the journal is being taken over.
    pub fn taking(&self) -> Option<u64> {
        match &self.role {
            Role::Following {
                taking: Some((revision, ..)),
                ..
            } => Some(*revision),
            _ => None,
        }
    }

    /// Gives up what was begun.
    pub fn abort_promotion(&mut self) {
        if let Role::Following { taking, .. } = &mut self.role
            && let Some((_, _, mut journal)) = taking.take()
        {
            journal.abort();
        }
    }

    /// One arrival at the indexer, one chore.
    pub fn index(&mut self) -> Result<(), NodeError> {
        if let Ok(arrival) = self.at_indexer.try_recv() {
            self.indexer.arrival(arrival, &self.to_background, &self.shared)?;
        } else if let Ok(chore) = self.chores.try_recv()
            && let Some(done) = self.background.chore(chore, &FullSpeed)?
        {
            self.to_indexer
                .send(done)
                .expect("its receiver is held beside it");
        }
        Ok(())
    }
}
