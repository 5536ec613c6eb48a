//! The world of one schedule: the machine, its disk and clock, the node on it, its clients. Owns: what happens next.

mod faults;
mod starting;

use crate::adapter::Disk;
use crate::clients::{Clients, Surroundings};
use crate::damage::Flip;
use crate::live::Live;
use crate::profile::{DIRECTORY, Profile};
use crate::statistics::Statistics;
use crate::timing::{SimClock, seed_entropy};
use crate::truth::Truth;
use crate::{Broken, Canary, Options, ensure};
use ledger_model::Generator;
use node::parts::discard_damaged_index;
use node::{Layout, NodeError};
use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};
use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use storage::Storage;
use storage::faulty::{FaultRates, FaultyStorage};

/// Rounds after which a node that nothing hinders must have answered everything.
const PATIENCE: usize = 3_000;

/// The journal's file that tells what was durable.
const WATERMARK: &str = "durable";

/// How the node came to an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The process; what it wrote is there, synced or not.
    Process,
    /// The machine; what was not synced may be lost or torn.
    Machine,
}

enum Phase {
    Up(Box<Live>),
    Down(End),
}

/// A step of one of the node's threads.
#[derive(Clone, Copy, Debug)]
enum Step {
    Turn,
    Commit,
    Announce,
    Index,
    Retry,
    Chore,
    Watch,
}

/// One of each, in the order in which work flows.
const ROUND: [Step; 7] = [
    Step::Watch,
    Step::Turn,
    Step::Commit,
    Step::Announce,
    Step::Index,
    Step::Retry,
    Step::Chore,
];

/// See the module.
pub struct World {
    random: StdRng,
    profile: Profile,
    clock: SimClock,
    storage: FaultyStorage,
    disk: Arc<dyn Storage>,
    layout: Layout,
    truth: Truth,
    clients: Clients,
    phase: Phase,
    canary: Option<Canary>,
    statistics: Statistics,
    trace: VecDeque<String>,
    trace_lines: usize,
    /// In this life the disk may have failed other than by being full: the node may stop itself.
    trouble: bool,
    /// The disk has an end now.
    limited: bool,
    /// Blocks that were under way when the node ended.
    under_way: u64,
    /// What the crash that is planned will be.
    planned: End,
    /// Nothing more goes wrong: the next start must succeed.
    calm: bool,
    damage: Vec<Flip>,
    /// A bit flipped in a file that is derived. For good: the file's removal may be undone by a power loss.
    index_damaged: bool,
    /// No bit flips in the watermark any more. Its notes are not synced: a flip that was written over comes back with a power
    /// loss, and two spoilt notes are one too many.
    watermark_flipped: bool,
    starts: u64,
}

impl World {
    /// The world of a seed.
    pub fn new(seed: u64, options: Options) -> Self {
        let canary = options.canary;
        let mut random = StdRng::seed_from_u64(seed);
        seed_entropy(seed);
        let profile = Profile::draw(&mut random);
        let storage = FaultyStorage::new(random.next_u64());
        let layout = Layout::new(&profile.node);
        storage
            .create_directory(Path::new(DIRECTORY))
            .and_then(|()| storage.replace(&layout.keys, format!("1 {}\n", "5a".repeat(32)).as_bytes()))
            .expect("nothing fails yet");
        let disk: Arc<dyn Storage> = Arc::new(Disk {
            below: storage.clone(),
            canary,
        });
        let generator = Generator::new(random.next_u64(), profile.shape);
        Self {
            clock: SimClock::new(profile.shape.start),
            clients: Clients::new(profile.clients, generator, canary),
            truth: Truth::default(),
            phase: Phase::Down(End::Process),
            statistics: Statistics {
                seeds: 1,
                ..Statistics::default()
            },
            trace: VecDeque::new(),
            trace_lines: options.trace_lines.max(1),
            trouble: false,
            limited: false,
            under_way: 0,
            planned: End::Process,
            calm: true,
            damage: Vec::new(),
            index_damaged: false,
            // A write that failed halfway may have spoilt one of its notes already.
            watermark_flipped: profile.fault_every > 0 || profile.rates.write_ppm > 0,
            starts: 0,
            random,
            profile,
            storage,
            disk,
            layout,
            canary,
        }
    }

    /// Runs so many steps, then lets everything come to rest and checks it as a whole.
    pub fn run(&mut self, steps: u64) -> Result<(), Broken> {
        for _ in 0..steps {
            self.statistics.steps += 1;
            match self.phase {
                Phase::Up(_) => self.live_step()?,
                Phase::Down(end) => self.start(end)?,
            }
        }
        self.come_to_rest()
    }

    /// What was counted.
    pub fn statistics(&self) -> Statistics {
        let tally = self.storage.tally();
        Statistics {
            faults: tally.faults,
            torn: tally.torn,
            full: tally.full,
            flipped_reads: tally.flipped_reads,
            ..self.statistics
        }
    }

    /// The last steps.
    pub fn into_trace(self) -> Vec<String> {
        self.trace.into()
    }

    fn note(&mut self, text: String) {
        if self.trace.len() >= self.trace_lines {
            self.trace.pop_front();
        }
        self.trace
            .push_back(format!("{:>6} {text}", self.statistics.steps));
    }

    fn one_in(&mut self, n: u32) -> bool {
        n > 0 && self.random.random_range(0..n) == 0
    }

    fn live_step(&mut self) -> Result<(), Broken> {
        if self.one_in(self.profile.crash_every) {
            return self.crash();
        }
        if self.one_in(self.profile.fault_every) {
            self.plan_fault();
        }
        if self.one_in(self.profile.fill_every) {
            self.fill_or_free();
        }
        match self.random.random_range(0..104) {
            0..24 => self.client_step(Clients::write),
            24..32 => self.client_step(Clients::read),
            32..38 => self.client_step(|clients, around| Ok(clients.ask(around))),
            38..58 => self.node_step(Step::Turn),
            58..72 => self.node_step(Step::Commit),
            72..86 => self.node_step(Step::Announce),
            86..92 => self.node_step(Step::Index),
            92..97 => self.node_step(Step::Chore),
            97..100 => self.node_step(Step::Watch),
            100 => self.node_step(Step::Retry),
            101..103 => {
                let nanoseconds = [1_000_000, 1_100_000_000, 60_000_000_000][self.random.random_range(0..3)];
                self.clock.advance(nanoseconds);
                self.note(format!("time: {} s", nanoseconds as f64 / 1e9));
                Ok(())
            }
            _ if self.one_in(3) => self.stop(),
            _ => Ok(()),
        }
    }

    fn client_step(
        &mut self,
        step: impl FnOnce(&mut Clients, &mut Surroundings) -> Result<Option<String>, Broken>,
    ) -> Result<(), Broken> {
        let Phase::Up(live) = &self.phase else {
            return Ok(());
        };
        let mut around = Surroundings {
            live,
            truth: &mut self.truth,
            clock: &self.clock,
            random: &mut self.random,
            statistics: &mut self.statistics,
            trouble: self.trouble,
            failed: false,
        };
        let did = step(&mut self.clients, &mut around)?;
        self.clients.poll(&mut around)?;
        if let Some(did) = did {
            self.note(did);
        }
        self.look_after_machine(Ok(()))
    }

    /// One step of the node, and what it means.
    fn node_step(&mut self, step: Step) -> Result<(), Broken> {
        let Phase::Up(live) = &mut self.phase else {
            return Ok(());
        };
        let mut head = None;
        let result = match step {
            Step::Turn => live.turn(&self.clock),
            Step::Commit => live.commit().map(|durable| head = durable),
            Step::Announce => {
                live.announce();
                Ok(())
            }
            Step::Index => live.index().map(drop),
            Step::Retry => live.retry_index(),
            Step::Chore => live.chore().map(drop),
            Step::Watch => live.watch(),
        };
        if let Some(head) = head {
            self.statistics.blocks += 1;
            self.storage.set_quiet(true);
            let block = live.blocks.read(head.height);
            self.storage.set_quiet(false);
            let block = block.map_err(|error| Broken(format!("a durable block cannot be read: {error}")))?;
            ensure!(
                block.hash == head.hash,
                "block {} is not what was appended",
                head.height
            );
            self.truth.adopt(&block)?;
            self.note(format!(
                "block {} is durable, {} entries",
                head.height,
                block.entries.len()
            ));
        } else {
            self.note(format!("{step:?}"));
        }
        // What left before the machine stopped has been heard.
        self.listen(result.is_err())?;
        self.look_after_machine(result)
    }

    fn listen(&mut self, failed: bool) -> Result<(), Broken> {
        let Phase::Up(live) = &self.phase else {
            return Ok(());
        };
        let mut around = Surroundings {
            live,
            truth: &mut self.truth,
            clock: &self.clock,
            random: &mut self.random,
            statistics: &mut self.statistics,
            trouble: self.trouble || self.storage.has_crashed(),
            failed: failed || self.storage.has_crashed(),
        };
        self.clients.poll(&mut around)
    }

    /// Whether machine and node still run after a step.
    fn look_after_machine(&mut self, result: Result<(), NodeError>) -> Result<(), Broken> {
        if self.storage.has_crashed() {
            self.statistics.crashes_in_operation += 1;
            self.note(format!(
                "the {:?} ends inside an operation of the disk",
                self.planned
            ));
            return self.end(self.planned);
        }
        let Err(error) = result else {
            return Ok(());
        };
        self.note(format!("the node stops itself: {error}"));
        ensure!(self.trouble, "the node stops itself without cause: {error}");
        self.statistics.stops += 1;
        discard_damaged_index(&*self.disk, &self.profile.node, &error);
        if error.is_damaged_index() && !self.profile.has_rates() && self.profile.fault_every == 0 {
            let manifest = self.layout.history.join("MANIFEST");
            ensure!(
                !self.storage.exists(&manifest).unwrap_or(false),
                "the next start will find the damaged index again: {error}"
            );
        }
        let end = if self.one_in(3) {
            End::Machine
        } else {
            End::Process
        };
        self.end(end)
    }

    /// A stop in good order: everything taken in is answered.
    fn stop(&mut self) -> Result<(), Broken> {
        self.note("the node is asked to stop".to_owned());
        self.storage.set_capacity(None);
        self.limited = false;
        if let Phase::Up(live) = &self.phase {
            live.shared.inbox.stop();
        }
        for _ in 0..PATIENCE {
            let Phase::Up(live) = &self.phase else {
                return Ok(());
            };
            if live.is_finished() && self.clients.is_idle() {
                return self.stopped();
            }
            self.round()?;
        }
        Err(Broken("the node does not stop".to_owned()))
    }

    fn stopped(&mut self) -> Result<(), Broken> {
        let Phase::Up(live) = std::mem::replace(&mut self.phase, Phase::Down(End::Process)) else {
            return Ok(());
        };
        self.under_way = 0;
        let ended = live.end();
        self.clients.hang_up(&self.truth);
        if self.storage.has_crashed() {
            self.statistics.crashes_in_operation += 1;
            return self.end_down();
        }
        if let Err(error) = ended {
            ensure!(
                self.trouble,
                "the node stops badly, and nothing was wrong: {error}"
            );
        }
        self.statistics.graceful += 1;
        self.note("the node has stopped".to_owned());
        self.storage.crash();
        if self.one_in(2) {
            self.phase = Phase::Down(End::Machine);
        }
        Ok(())
    }

    fn round(&mut self) -> Result<(), Broken> {
        for step in ROUND {
            self.node_step(step)?;
        }
        self.clock.advance(1_000_000);
        Ok(())
    }

    /// Nothing fails any more: everything under way is answered, and a last start finds all as it must be.
    fn come_to_rest(&mut self) -> Result<(), Broken> {
        self.note("nothing fails any more".to_owned());
        for _ in 0..20 {
            // Faults that were planned are still to come; the start after them has none.
            self.calm = true;
            if let Phase::Down(end) = self.phase {
                self.start(end)?;
            }
            self.storage.set_rates(FaultRates::default());
            self.storage.set_capacity(None);
            self.limited = false;
            self.settle()?;
            if matches!(self.phase, Phase::Up(_)) {
                self.stop()?;
                self.calm = true;
                if let Phase::Down(end) = self.phase {
                    self.start(end)?;
                    if matches!(self.phase, Phase::Up(_)) {
                        return Ok(());
                    }
                }
            }
        }
        Err(Broken("the node does not come to rest".to_owned()))
    }

    fn settle(&mut self) -> Result<(), Broken> {
        for _ in 0..PATIENCE {
            if matches!(self.phase, Phase::Down(_)) || self.clients.is_idle() {
                return Ok(());
            }
            self.round()?;
        }
        Err(Broken(
            "a request is never answered, though nothing hinders it".to_owned(),
        ))
    }
}
