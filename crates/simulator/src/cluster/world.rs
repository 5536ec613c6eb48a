//! The world of one schedule: nodes, servers, election, clients. Owns: its state, how a node starts and ends, and what each of
//! its steps means.

use super::clients::Clients;
use super::clocks::{SPREAD_NS, set_one_wrong};
use super::election::Election;
use super::journal::{FakeJournal, Shared};
use super::patroni::Patroni;
use super::peer::{Life, Role};
use super::reader::FakeReader;
use super::servers::Servers;
use super::{ClusterCanary, ClusterOptions, ClusterStatistics};
use crate::profile::{DIRECTORY, Profile};
use crate::timing::{SimClock, seed_entropy};
use crate::truth::Truth;
use crate::{Broken, ensure};
use journal::{AppendError, Block, WriterId};
use ledger::Height;
use ledger_model::Generator;
use node::parts::{Reading, recover};
use node::{Clock, NodeError, NodeOptions, Source};
use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};
use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use storage::faulty::FaultyStorage;
use storage::{DataKey, KeyId, KeyRing, Storage};

/// How many nodes there are.
pub const NODES: usize = 3;

/// Where a node is, with or without life.
pub struct Place {
    /// Its disk.
    pub storage: FaultyStorage,
    /// Its clock.
    pub clock: SimClock,
    /// The process, while it runs.
    pub life: Option<Life>,
    /// How many it had.
    pub lives: u64,
}

/// Faults of a schedule: a step in so many brings one; 0: none.
#[derive(Clone, Copy, Debug)]
pub struct Faults {
    /// A node ends.
    pub kill: u32,
    /// A server ends.
    pub server: u32,
    /// A connection breaks or is mended.
    pub network: u32,
    /// The primary loses its leader key.
    pub failover: u32,
    /// The writer key vanishes.
    pub revoke: u32,
    /// Somebody meddles with commits.
    pub settings: u32,
    /// Steps for which a lease is believed in.
    pub lease: u64,
}

/// See the module.
pub struct World {
    pub(super) random: StdRng,
    pub(super) options: NodeOptions,
    history: history::Options,
    pub(super) faults: Faults,
    pub(super) keys: KeyRing,
    /// Steps, as a clock that never jumps.
    pub(super) boot: u64,
    pub(super) nodes: Vec<Place>,
    /// The clock that no node has: it was set right and never jumps.
    pub(super) right: SimClock,
    /// Which node reaches which.
    pub(super) links: [[bool; NODES]; NODES],
    pub(super) servers: Shared,
    pub(super) patroni: Patroni,
    pub(super) election: Election,
    pub(super) truth: Truth,
    pub(super) clients: Clients,
    pub(super) canary: Option<ClusterCanary>,
    pub(super) statistics: ClusterStatistics,
    trace: VecDeque<String>,
    trace_lines: usize,
}

impl World {
    /// The world of a seed.
    pub fn new(seed: u64, options: ClusterOptions) -> Self {
        let canary = options.canary;
        let mut random = StdRng::seed_from_u64(seed);
        seed_entropy(seed);
        let profile = Profile::draw(&mut random);
        let faults = draw_faults(&mut random);
        let nodes: Vec<Place> = (0..NODES).map(|_| new_place(&mut random, &profile)).collect();
        set_one_wrong(&nodes);
        let mut servers = Servers::new(random.next_u64(), NODES);
        servers.is_unconditional = canary == Some(ClusterCanary::UnconditionalAppend);
        let patroni = Patroni::new(canary == Some(ClusterCanary::Unfenced));
        let generator = Generator::new(random.next_u64(), profile.shape);
        Self {
            clients: Clients::new(profile.clients, generator, profile.shape.start),
            options: profile.node,
            history: profile.history,
            faults,
            keys: KeyRing::new(DataKey::new(KeyId(1), [0x5a; 32])),
            boot: 0,
            nodes,
            right: SimClock::new(profile.shape.start),
            links: [[true; NODES]; NODES],
            servers: Arc::new(Mutex::new(servers)),
            patroni,
            election: Election::new(NODES),
            truth: Truth::default(),
            canary,
            statistics: ClusterStatistics {
                seeds: 1,
                ..ClusterStatistics::default()
            },
            trace: VecDeque::new(),
            trace_lines: options.trace_lines.max(1),
            random,
        }
    }

    /// The last steps.
    pub fn into_trace(self) -> Vec<String> {
        self.trace.into()
    }

    pub(super) fn note(&mut self, text: String) {
        if self.trace.len() >= self.trace_lines {
            self.trace.pop_front();
        }
        self.trace.push_back(format!("{:>6} {text}", self.boot));
    }

    pub(super) fn one_in(&mut self, n: u32) -> bool {
        n > 0 && self.random.random_range(0..n) == 0
    }

    pub(super) fn some_node(&mut self) -> usize {
        self.random.random_range(0..NODES)
    }

    pub(super) fn servers(&self) -> MutexGuard<'_, Servers> {
        self.servers.lock().expect("one thread")
    }

    /// Takes in a block that a writer says is final, and so every reader must agree with for ever.
    pub(super) fn adopt(&mut self, block: &Block) -> Result<(), Broken> {
        self.check_time(block)?;
        if block.height > self.truth.head() {
            self.truth.adopt(block)?;
            self.statistics.blocks += 1;
            return Ok(());
        }
        ensure!(
            self.truth.known(block.height).hash == block.hash.0,
            "two final blocks at height {}: the second is of epoch {}",
            block.height,
            block.epoch
        );
        Ok(())
    }

    /// The node's process starts and recovers from the journal, when that can be read.
    pub(super) fn start(&mut self, node: usize) -> Result<(), Broken> {
        let outside = FakeReader::outsider(self.servers.clone(), node, self.keys.clone(), self.canary);
        let outside = Arc::new(outside);
        if outside.look().is_err() {
            return Ok(());
        }
        let Ok(source) = Source::of(outside.clone(), self.keys.clone()) else {
            return Ok(());
        };
        let place = &mut self.nodes[node];
        place.lives += 1;
        let storage: Arc<dyn Storage> = Arc::new(place.storage.clone());
        let recovered = recover(
            storage.clone(),
            &self.options,
            &source,
            self.history,
            place.lives,
            Reading::Inline,
            |_, _| {},
        );
        let recovered = match recovered {
            Ok(recovered) => recovered,
            // The server that was asked next has less, or cannot be reached any more.
            Err(NodeError::Journal(journal::JournalError::Io { .. })) => return Ok(()),
            Err(error) => return Err(Broken(format!("node {node} does not start: {error}"))),
        };
        let head = recovered.head;
        ensure!(
            head.height <= self.truth.head() && self.truth.known(head.height).hash == head.hash.0,
            "node {node} starts from block {}, which is not final",
            head.height
        );
        let life = Life::start(storage, &self.options, recovered, outside, self.keys.clone());
        self.nodes[node].life = Some(life);
        self.statistics.starts += 1;
        self.note(format!("node {node} starts at {}", head.height));
        Ok(())
    }

    /// The node's process ends; with its machine, or alone.
    pub(super) fn end(&mut self, node: usize) {
        let is_machine = self.one_in(2);
        let place = &mut self.nodes[node];
        place.life = None;
        match is_machine {
            true => {
                place.storage.crash();
                place.storage.restart();
            }
            false => place.storage.restart_process(),
        }
        self.election.forget(node);
    }

    /// What an error of a node means to its process.
    pub(super) fn ended(&mut self, node: usize, error: &NodeError) -> Result<(), Broken> {
        self.note(format!("node {node} ends: {error}"));
        match error {
            NodeError::Append(AppendError::SteppedDown) => self.statistics.stepped_down += 1,
            NodeError::Append(AppendError::Unknown) => self.statistics.unknown_appends += 1,
            NodeError::Journal(journal::JournalError::Io { .. }) => {}
            _ => return Err(Broken(format!("node {node} stops: {error}"))),
        }
        self.end(node);
        Ok(())
    }

    /// One step of taking the journal over.
    pub(super) fn promote(&mut self, node: usize) -> Result<(), Broken> {
        let leads = self.election.term_now(node, self.boot);
        let writer = WriterId(u128::from(self.random.next_u64()) | 1 << 100);
        let from = Height(self.truth.head().0 + 1);
        let begins = |life: &Life| life.takes_blocks() && life.promoted_for.is_none();
        let begins = leads.is_some() && self.nodes[node].life.as_ref().is_some_and(begins);
        // PostgreSQL's clock is right here.
        if begins && self.is_ahead(node, Some(self.right.now())) {
            self.statistics.ahead += 1;
            self.note(format!("node {node} is ahead and leaves it to others"));
            self.election.resign(node);
            return Ok(());
        }
        let Place { life, clock, .. } = &mut self.nodes[node];
        let Some(life) = life
            .as_mut()
            .filter(|life| matches!(life.role, Role::Following { .. }))
        else {
            return Ok(());
        };
        match (life.taking(), leads) {
            (Some(revision), leads) if leads != Some(revision) => life.abort_promotion(),
            (None, Some(revision)) => {
                if life.promoted_for.is_some() {
                    return Ok(());
                }
                let journal = FakeJournal::new(self.servers.clone(), node, self.keys.clone(), self.canary);
                life.begin_promotion(revision, writer, journal);
                self.note(format!("node {node} begins to take the journal over"));
                return Ok(());
            }
            (None, None) => return Ok(()),
            _ => {}
        }
        let from = from.min(Height(life.supplied.height.0 + 1));
        match life.promote(clock, from) {
            Ok(None) => Ok(()),
            Ok(Some(chain)) => {
                let before = self.statistics.blocks;
                for block in &chain {
                    self.adopt(block)?;
                }
                self.statistics.settled += (self.statistics.blocks - before).saturating_sub(1);
                self.statistics.terms += 1;
                self.note(format!(
                    "node {node} begins a term at {}",
                    chain.last().map_or(Height(0), |block| block.height)
                ));
                Ok(())
            }
            Err(NodeError::Append(error)) => {
                self.statistics.failed_terms += 1;
                self.note(format!("node {node} does not take the journal over: {error}"));
                Ok(())
            }
            Err(error) => self.ended(node, &error),
        }
    }
}

fn new_place(random: &mut StdRng, profile: &Profile) -> Place {
    let storage = FaultyStorage::new(random.next_u64());
    storage
        .create_directory(Path::new(DIRECTORY))
        .expect("nothing fails yet");
    let clock = SimClock::new(profile.shape.start);
    clock.advance(random.random_range(0..SPREAD_NS));
    Place {
        storage,
        clock,
        life: None,
        lives: 0,
    }
}

fn draw_faults(random: &mut StdRng) -> Faults {
    let mut pick = |from: &[u64]| from[(random.next_u64() % from.len() as u64) as usize];
    Faults {
        kill: pick(&[0, 0, 300, 1_000]) as u32,
        server: pick(&[0, 0, 300, 1_000]) as u32,
        network: pick(&[0, 100, 300]) as u32,
        failover: pick(&[0, 0, 300, 800]) as u32,
        revoke: pick(&[0, 200, 400, 800]) as u32,
        settings: pick(&[0, 100, 300]) as u32,
        lease: pick(&[400, 1_000, 4_000, 4_000]),
    }
}
