//! Starting the node after it ended. Owns: what is excused there, and the comparison with the truth.

use super::{End, Phase, WATERMARK, World};
use crate::damage::Flip;
use crate::live::Live;
use crate::{Broken, Canary, ensure, recovered};
use journal::WriterId;
use ledger::{
    ActorId, Amount, Command, CommandBody, Events, Height, Ledger, NoArchive, Outcome, Transfer, TransferId,
};
use node::Clock;
use node::parts::{OpenJournal, Reading, Recovered, apply_block, recover};
use rand::{Rng, RngExt};
use std::sync::Arc;
use storage::Storage;
use storage::faulty::FaultRates;

impl World {
    /// Starts the node after it ended.
    pub(super) fn start(&mut self, end: End) -> Result<(), Broken> {
        match end {
            End::Machine => self.storage.restart(),
            End::Process => self.storage.restart_process(),
        }
        self.prepare_start();
        self.starts += 1;
        let (options, history) = (&self.profile.node, self.profile.history);
        let (disk, seed): (Arc<dyn Storage>, _) = (self.disk.clone(), self.starts);
        let recovered = OpenJournal::local(&disk, options).and_then(|opened| {
            let (source, reading) = (opened.source(), Reading::Inline);
            let recovered = recover(disk.clone(), options, &source, history, seed, reading, |_, _| {})?;
            Ok((opened, recovered))
        });
        if self.storage.has_crashed() {
            self.statistics.crashes_in_recovery += 1;
            self.note(format!("the {:?} ends during recovery", self.planned));
            drop(recovered);
            return self.end_down();
        }
        match recovered {
            Ok((opened, recovered)) => self.started(opened, recovered),
            Err(error) => {
                self.note(format!("the node does not start: {error}"));
                // A full disk is no reason not to start, nor is damage to what is derived.
                let damaged = self.damage.iter().any(|flip| flip.in_journal);
                let excused = self.profile.has_rates() || damaged;
                ensure!(
                    excused && !self.calm,
                    "the node does not start, and nothing was wrong: {error}"
                );
                self.statistics.refused_starts += 1;
                self.calm = true;
                Ok(())
            }
        }
    }

    /// It ended before it had begun.
    pub(super) fn end_down(&mut self) -> Result<(), Broken> {
        self.phase = Phase::Down(self.planned);
        match self.planned {
            End::Machine => self.statistics.power_losses += 1,
            End::Process => self.statistics.kills += 1,
        }
        Ok(())
    }

    fn prepare_start(&mut self) {
        if self.calm {
            self.storage.set_quiet(true);
            for flip in self.damage.drain(..) {
                flip.heal(&self.storage);
            }
            self.storage.set_quiet(false);
            self.storage.set_rates(FaultRates::default());
            self.storage.set_capacity(None);
            self.limited = false;
            self.trouble = self.index_damaged;
            return;
        }
        self.storage.set_rates(self.profile.rates);
        self.trouble = self.profile.has_rates();
        if self.one_in(self.profile.flip_one_in) {
            self.storage.set_quiet(true);
            let spared = self.watermark_flipped.then_some(WATERMARK);
            let flip = Flip::draw(&self.storage, &self.layout, &mut self.random, spared);
            self.storage.set_quiet(false);
            if let Some(flip) = flip {
                self.note(format!("flipped: {flip}"));
                self.statistics.flips += 1;
                if flip.is_in(WATERMARK) {
                    // One of its two notes remains, so that nothing may come of it.
                    self.watermark_flipped = true;
                } else {
                    self.index_damaged |= !flip.in_journal;
                    self.damage.push(flip);
                }
            }
        }
        self.trouble |= self.index_damaged;
        if self.profile.crash_every > 0 && self.one_in(4) {
            self.planned = if self.one_in(2) {
                End::Machine
            } else {
                End::Process
            };
            let operation = self.storage.operations() + self.random.random_range(0..40);
            self.storage.crash_at(operation);
            self.note(format!(
                "the {:?} will end in operation {operation} of the disk",
                self.planned
            ));
        }
    }

    fn started(&mut self, opened: OpenJournal, mut recovered: Recovered) -> Result<(), Broken> {
        self.statistics.restarts += 1;
        self.note(format!("the node is back at {}", recovered.head.height));
        self.break_recovered(&opened, &mut recovered);
        recovered
            .ledger
            .set_generation_rows_min(self.profile.generation_rows);
        self.storage.set_quiet(true);
        let checked = self.check_recovered(&opened, &recovered);
        self.storage.set_quiet(false);
        checked?;
        // What the process that died had not made durable is gone for good.
        let applied = &self.truth.applied;
        self.truth.sent.retain(|request, _| applied.contains_key(request));
        self.under_way = 0;
        self.calm = false;
        let live = Live::start(
            self.disk.clone(),
            &self.profile.node,
            opened,
            recovered,
            WriterId(self.random.next_u64().into()),
            &self.clock,
            self.canary,
        );
        match live {
            Ok(live) => {
                self.phase = Phase::Up(Box::new(live));
                Ok(())
            }
            Err(error) => Err(Broken(format!(
                "a recovered node does not begin its term: {error}"
            ))),
        }
    }

    fn check_recovered(&mut self, opened: &OpenJournal, recovered: &Recovered) -> Result<(), Broken> {
        let Self {
            truth,
            storage,
            layout,
            damage,
            ..
        } = self;
        let before = truth.head();
        let standing = damage.iter().any(|flip| flip.in_journal && flip.stands(storage));
        if standing {
            let walked = journal::walk(
                storage,
                &layout.journal,
                &opened.keys,
                journal::ShardId(0),
                &mut |_| std::ops::ControlFlow::Continue(()),
            );
            let found = walked.is_err() || walked.is_ok_and(|summary| summary.problems > 0);
            ensure!(
                found,
                "a flipped bit in the journal is found neither at the start nor by a walk"
            );
            damage
                .iter()
                .filter(|flip| flip.in_journal)
                .for_each(|flip| flip.heal(storage));
        }
        damage.retain(|flip| !flip.in_journal);
        let problems = recovered::check_journal(
            truth,
            storage,
            layout,
            &opened.keys,
            recovered.head,
            self.under_way,
        )?;
        ensure!(problems.is_empty(), "the journal has problems: {problems:?}");
        self.statistics.landed += truth.head().0 - before.0;
        recovered::check_acknowledged(truth, &self.clients.acknowledged)?;
        recovered::check_ledger(truth, &recovered.ledger)?;
        recovered::check_index(truth, &recovered.reader, self.index_damaged)
    }

    /// For the canaries of recovery.
    fn break_recovered(&self, opened: &OpenJournal, recovered: &mut Recovered) {
        match self.canary {
            Some(Canary::ShortReplay) => {
                let blocks = opened.journal.reader();
                let mut ledger = Ledger::new();
                let last = recovered.head.height.0.saturating_sub(1);
                for block in blocks.scan(Height(1)).flatten().take(last as usize) {
                    drop(apply_block(&mut ledger, &NoArchive, &block, &mut Vec::new()));
                }
                recovered.ledger = ledger;
            }
            Some(Canary::AlteredReplay) => {
                let ids: Vec<_> = recovered
                    .ledger
                    .accounts()
                    .map(|account| account.id)
                    .take(2)
                    .collect();
                let [debit, credit] = ids[..] else { return };
                let mut events = Events::default();
                events.events.push(Transfer {
                    id: TransferId(1 << 100),
                    debit_account_id: debit,
                    credit_account_id: credit,
                    amount: Amount(1),
                    ledger: recovered
                        .ledger
                        .account(debit)
                        .map(|(_, account)| account.ledger)
                        .unwrap_or_default(),
                    code: ledger::Code(1),
                    ..Transfer::default()
                });
                let command = Command {
                    actor: ActorId(0),
                    body: CommandBody::CreateTransfers(events),
                };
                let archive = recovered.reader.clone();
                drop(
                    recovered
                        .ledger
                        .apply(&archive, self.clock.now(), &command, &mut Outcome::default()),
                );
            }
            _ => {}
        }
    }
}
