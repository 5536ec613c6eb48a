//! A running node, its threads laid side by side so that each can be stepped. Owns: one life of the node.
//! All that decides anything is the node's own code; here is only who takes a step.

use crate::Canary;
use crossbeam_channel::{Receiver, Sender};
use history::{FullSpeed, Reader};
use journal::{AppendError, BlockReader, Head, Journal, Term, WriterId};
use ledger::Amount;
use node::parts::{
    Background, Batch, Chore, Chores, DiskWatch, IndexerLoop, OpenJournal, Recovered, Room, Sequencer,
    SequencerLoop, Shared, ToIndexer, Turn, announce, run_flushes,
};
use node::{Clock, Layout, NodeError, NodeOptions};
use std::sync::Arc;
use std::time::Duration;
use storage::Storage;

/// See the module.
pub struct Live {
    /// Inbox and counters.
    pub shared: Arc<Shared>,
    /// The index as readers see it.
    pub reader: Reader,
    /// The journal as readers see it.
    pub blocks: Arc<dyn BlockReader>,
    sequencer: SequencerLoop,
    journal: Box<dyn Journal>,
    term: Term,
    disk: DiskWatch,
    background: Background,
    indexer: IndexerLoop,
    to_indexer: Sender<ToIndexer>,
    at_indexer: Receiver<ToIndexer>,
    to_background: Chores,
    chores: Receiver<Chore>,
    /// Sealed and not yet durable.
    sealed: Option<Batch>,
    /// Durable and not yet answered.
    durable: Option<(Head, Batch)>,
    canary: Option<Canary>,
    finished: bool,
}

impl Live {
    /// Starts from what was recovered.
    pub fn start(
        storage: Arc<dyn Storage>,
        options: &NodeOptions,
        opened: OpenJournal,
        recovered: Recovered,
        writer: WriterId,
        clock: &dyn Clock,
        canary: Option<Canary>,
    ) -> Result<Self, NodeError> {
        let shared = Arc::new(Shared::new(options, &recovered));
        let (to_indexer, at_indexer) = crossbeam_channel::unbounded();
        let (merges, chores) = crossbeam_channel::unbounded();
        let to_background = Chores {
            flushes: merges.clone(),
            merges,
        };
        let head = recovered.head;
        let sequencer = Sequencer::new(
            recovered.ledger,
            recovered.reader.clone(),
            head.height,
            recovered.snapshot_rows,
            options,
        );
        Ok(Self {
            sequencer: SequencerLoop::begin(sequencer, recovered.reader.clone(), clock)?,
            disk: DiskWatch {
                storage: storage.clone(),
                directory: options.directory.clone(),
                preparer: Some(opened.preparer),
                reserve_bytes: options.disk_reserve_bytes,
            },
            background: Background {
                storage,
                snapshots: Layout::new(options).snapshots,
                keys: opened.keys,
            },
            blocks: opened.journal.reader(),
            journal: opened.journal,
            term: Term {
                epoch: head.epoch + 1,
                writer,
            },
            reader: recovered.reader,
            indexer: IndexerLoop::new(recovered.writer),
            shared,
            to_indexer,
            at_indexer,
            to_background,
            chores,
            sealed: None,
            durable: None,
            canary,
            finished: false,
        })
    }

    /// A turn of the sequencer. It seals a block only when the one before was announced.
    pub fn turn(&mut self, clock: &dyn Clock) -> Result<(), NodeError> {
        let Turn { batch, finished } = self.sequencer.turn(&self.shared, clock, Some(Duration::ZERO))?;
        if batch.is_some() {
            assert!(
                self.sealed.is_none() && self.durable.is_none(),
                "one block at a time"
            );
            self.sealed = batch;
        }
        self.finished = finished;
        Ok(())
    }

    /// Tries to make the sealed block durable; gives the head when it is.
    pub fn commit(&mut self) -> Result<Option<Head>, NodeError> {
        let Some(batch) = &mut self.sealed else {
            return Ok(None);
        };
        match self.canary {
            Some(Canary::EarlyAnswer) => batch.answer(),
            Some(Canary::EarlyRead) => batch.reads.drain(..).for_each(|answer| answer.send()),
            _ => {}
        }
        match self.journal.append(self.term, &mut batch.draft) {
            Ok(head) => {
                self.shared.inbox.set_full(Room::Journal, false);
                self.durable = self.sealed.take().map(|batch| (head, batch));
                Ok(Some(head))
            }
            Err(AppendError::Full(_)) => {
                self.shared.inbox.set_full(Room::Journal, true);
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Answers for the durable block and hands it to the index.
    pub fn announce(&mut self) {
        let Some((head, mut batch)) = self.durable.take() else {
            return;
        };
        if self.canary == Some(Canary::AlteredIndex) {
            let rows = batch
                .outcomes
                .iter_mut()
                .flat_map(|outcome| outcome.rows.iter_mut());
            rows.for_each(|row| row.transfer.amount = Amount(row.transfer.amount.0 ^ 1));
        }
        announce(head, batch, &self.to_indexer, &self.shared);
    }

    /// One arrival at the indexer.
    pub fn index(&mut self) -> Result<bool, NodeError> {
        let Ok(arrival) = self.at_indexer.try_recv() else {
            return Ok(false);
        };
        self.indexer.arrival(arrival, &self.to_background, &self.shared)?;
        Ok(true)
    }

    /// Work that waited for room is tried again.
    pub fn retry_index(&mut self) -> Result<(), NodeError> {
        if !self.indexer.waits_for_room() {
            return Ok(());
        }
        self.indexer
            .arrival(ToIndexer::Retry, &self.to_background, &self.shared)
    }

    /// One chore of the background thread.
    pub fn chore(&mut self) -> Result<bool, NodeError> {
        let Ok(chore) = self.chores.try_recv() else {
            return Ok(false);
        };
        if let Some(done) = self.background.chore(chore, &FullSpeed)? {
            self.to_indexer
                .send(done)
                .expect("its receiver is held beside it");
        }
        Ok(true)
    }

    /// A look at the disk.
    pub fn watch(&mut self) -> Result<(), NodeError> {
        self.disk.step(&self.shared).map(drop)
    }

    /// Whether a block is on its way to the disk and may or may not be there after a crash.
    pub fn is_under_way(&self) -> bool {
        self.sealed.is_some()
    }

    /// Whether the inbox was stopped and everything taken in is durable.
    pub fn is_finished(&self) -> bool {
        self.finished && self.durable.is_none()
    }

    /// What [`node::Node::stop`] does once the sequencer has ended.
    pub fn end(mut self) -> Result<(), NodeError> {
        self.to_indexer
            .send(ToIndexer::Stop)
            .expect("its receiver is held beside it");
        while self.index()? || self.chore()? {}
        assert!(
            self.indexer.is_finished(),
            "the indexer ends when nothing is left to do"
        );
        let mut writer = self.indexer.into_writer();
        writer.freeze();
        run_flushes(&mut writer)?;
        Ok(())
    }
}
