//! What happens next in a cluster. Owns: the steps of nodes, servers, election and network, how often each comes, and how
//! everything comes to rest.

use super::clients::Where;
use super::journal::open;
use super::peer::Life;
use super::wal::SERVERS;
use super::world::{NODES, World};
use super::{ClusterCanary, world::Place};
use crate::clients::check_state;
use crate::truth::Moment;
use crate::{Broken, ensure};
use journal::JournalError;
use ledger::Height;
use node::NodeError;
use node::parts::Read;
use rand::RngExt;
use tokio::sync::oneshot::{self, error::TryRecvError};

/// Rounds after which a cluster that nothing hinders must have answered everything.
const PATIENCE: usize = 2_000;

impl World {
    /// Runs so many steps, then lets everything come to rest and checks it as a whole.
    pub fn run(&mut self, steps: u64) -> Result<(), Broken> {
        for _ in 0..steps {
            self.tick();
            self.fault()?;
            self.node_or_client_step()?;
            self.server_step()?;
            self.listen()?;
        }
        self.come_to_rest()
    }

    fn tick(&mut self) {
        self.boot += 1;
        self.statistics.steps += 1;
        for place in &self.nodes {
            place.clock.advance(1_000_000);
        }
        self.right.advance(1_000_000);
        let believe = (0..NODES).filter(|node| self.place(*node) == Where::Here).count();
        self.statistics.double_beliefs += u64::from(believe > 1);
        let primaries = self
            .servers()
            .all
            .iter()
            .filter(|server| server.is_up && server.is_primary)
            .count();
        self.statistics.two_primaries += u64::from(primaries > 1);
    }

    fn node_or_client_step(&mut self) -> Result<(), Broken> {
        let node = self.some_node();
        match self.random.random_range(0..100) {
            0..14 => self.write(),
            14..24 => self.read(),
            24..44 => self.node_step(node, |life, clock| life.turn(clock)),
            44..56 => self.commit(node),
            56..64 => self.announce(node),
            64..68 => self.node_step(node, |life, _| life.index()),
            68..76 => self.promote(node),
            76..80 => self.follow(node),
            80..86 => self.feed(node),
            86..90 => self.freshen(node),
            90..94 => {
                let client = self.random.random_range(0..64);
                self.confirm(client)
            }
            94..97 => self.watch(node),
            _ => self.look_at_election(node),
        }
    }

    fn server_step(&mut self) -> Result<(), Broken> {
        match self.random.random_range(0..24) {
            0..8 => self.execute(),
            8..23 => self.replicate(),
            _ => self.patroni_step(),
        }
    }

    fn node_step(
        &mut self,
        node: usize,
        step: impl FnOnce(&mut super::peer::Life, &crate::timing::SimClock) -> Result<(), NodeError>,
    ) -> Result<(), Broken> {
        let Place { life, clock, .. } = &mut self.nodes[node];
        let Some(life) = life else {
            return self.start(node);
        };
        let stepped = step(life, clock);
        stepped.or_else(|error| self.ended(node, &error))
    }

    fn commit(&mut self, node: usize) -> Result<(), Broken> {
        let is_early = self.canary == Some(ClusterCanary::SpeculativeReply);
        let Some(life) = &mut self.nodes[node].life else {
            return Ok(());
        };
        match life.commit(is_early) {
            Ok(None) => Ok(()),
            Ok(Some(block)) => {
                self.note(format!("node {node}: block {} is final", block.height));
                self.adopt(&block)
            }
            Err(error) => self.ended(node, &error),
        }
    }

    fn announce(&mut self, node: usize) -> Result<(), Broken> {
        if let Some(life) = &mut self.nodes[node].life {
            life.announce();
        }
        Ok(())
    }

    /// A follower looks at the journal.
    fn follow(&mut self, node: usize) -> Result<(), Broken> {
        let Some(life) = self.nodes[node].life.as_mut().filter(|life| life.takes_blocks()) else {
            return Ok(());
        };
        match life.catch_up() {
            Ok(taken) => {
                self.statistics.followed += taken;
                Ok(())
            }
            // It falls behind.
            Err(NodeError::Journal(JournalError::Io { .. })) => Ok(()),
            Err(error) => self.ended(node, &error),
        }
    }

    /// A follower takes the next block from whom it takes for the writer.
    fn feed(&mut self, node: usize) -> Result<(), Broken> {
        let Where::At(writer) = self.place(node) else {
            return Ok(());
        };
        if !self.links[node][writer] || self.place(writer) != Where::Here {
            return Ok(());
        }
        let Some(life) = self.nodes[node].life.as_ref().filter(|life| life.takes_blocks()) else {
            return Ok(());
        };
        let next = Height(life.supplied.height.0 + 1);
        let Some(writing) = &self.nodes[writer].life else {
            return Ok(());
        };
        let Some(sealed) = writing.sealed(next).filter(|_| writing.height() >= next) else {
            return Ok(());
        };
        let block = open(&self.keys, &sealed);
        let life = self.nodes[node].life.as_mut().expect("it lives");
        match life.supply(block) {
            Ok(_) => {
                self.statistics.fed += 1;
                Ok(())
            }
            Err(error) => self.ended(node, &error),
        }
    }

    /// A follower asks the writer how far the ledger stands, or finds that it has come so far.
    fn freshen(&mut self, node: usize) -> Result<(), Broken> {
        let now = self.boot;
        let Some(life) = &mut self.nodes[node].life else {
            return Ok(());
        };
        if let Some((asked, height)) = life.how_far {
            if life.height() >= height {
                life.fresh_as_of = life.fresh_as_of.max(Some(asked));
                life.how_far = None;
            }
            return Ok(());
        }
        if let Some(asked) = life.asked_at.take() {
            let Where::At(writer) = self.place(node) else {
                return Ok(());
            };
            let revision = self.election.term_now(writer, now);
            let is_writer = self.links[node][writer] && self.place(writer) == Where::Here;
            let confirms = revision.is_some_and(|revision| self.election.confirms(writer, revision));
            if is_writer && confirms {
                let height = self.nodes[writer].life.as_ref().expect("it writes").height();
                self.nodes[node].life.as_mut().expect("it lives").how_far = Some((asked, height));
            }
            return Ok(());
        }
        life.asked_at = Some(now);
        Ok(())
    }

    /// A writer that leads no more ends. One whose term has begun in the journal asks the election whether it still leads before
    /// it answers anybody: so terms follow each other in the journal as they do in the election.
    fn watch(&mut self, node: usize) -> Result<(), Broken> {
        let term = self.nodes[node].life.as_ref().and_then(|life| life.promoted_for);
        let Some(revision) = term else {
            return Ok(());
        };
        let now = self.election.term_now(node, self.boot);
        let goes_on = now == term || now.is_some() && self.canary == Some(ClusterCanary::AnyTerm);
        if !goes_on {
            self.note(format!("node {node} leads no more and ends"));
            self.end(node);
        } else if self.election.confirms(node, revision) {
            self.nodes[node].life.as_mut().expect("it lives").is_confirmed = true;
        }
        Ok(())
    }

    fn look_at_election(&mut self, node: usize) -> Result<(), Broken> {
        if self.nodes[node].life.is_none() {
            return Ok(());
        }
        // A lease that is short, or believed in for longer than it lasts.
        let lease = self
            .random
            .random_range(self.faults.lease / 4..=self.faults.lease);
        self.ask_for_clocks(node);
        let may_write = !self.is_ahead(node, None);
        if let Some(told) = self.election.look(node, self.boot + lease, may_write) {
            self.statistics.elections += u64::from(told.contains("elected"));
            self.note(told);
        }
        Ok(())
    }

    fn execute(&mut self) -> Result<(), Broken> {
        let told = self.servers().execute();
        if let Some(told) = told {
            self.note(told);
        }
        Ok(())
    }

    fn replicate(&mut self) -> Result<(), Broken> {
        let standby = self.random.random_range(0..SERVERS);
        let receives = self.one_in(2);
        let told = match receives {
            true => self.servers().receive(standby),
            false => self.servers().report(standby),
        };
        if let Some(told) = told {
            self.statistics.rewound += u64::from(told.contains("rewound"));
            self.note(told);
        }
        Ok(())
    }

    /// Patroni's loop on some server.
    fn patroni_step(&mut self) -> Result<(), Broken> {
        let server = self.random.random_range(0..SERVERS);
        let sees = std::array::from_fn(|other| self.servers().streams[server][other]);
        let shared = self.servers.clone();
        let mut servers = shared.lock().expect("one thread");
        let was_down = !std::mem::replace(&mut servers.all[server].is_up, true);
        let resumes = self.patroni.resumes(&servers, server);
        let told = match self.patroni.leader {
            _ if resumes => Some(format!("server {server} leads again")),
            None => self.patroni.race(&mut servers, server, sees),
            Some(leader) if leader == server => {
                was_down.then(|| format!("server {server} is back and leads"))
            }
            Some(leader) => {
                let is = &mut servers.all[server];
                let was_primary = is.is_primary;
                if was_primary {
                    servers.demote(server, leader);
                } else {
                    is.upstream = Some(leader);
                }
                was_primary.then(|| format!("server {server} becomes a standby of {leader}"))
            }
        };
        self.patroni.write_sync(&servers);
        drop(servers);
        if let Some(told) = told {
            self.statistics.failovers += u64::from(told.contains("promoted"));
            self.statistics.held_back += u64::from(told.contains("held back"));
            self.note(told);
        }
        Ok(())
    }

    /// What goes wrong at this step, if anything.
    fn fault(&mut self) -> Result<(), Broken> {
        let faults = self.faults;
        if self.one_in(faults.kill) {
            let node = self.some_node();
            if self.nodes[node].life.is_some() {
                self.statistics.kills += 1;
                self.note(format!("node {node} is killed"));
                self.end(node);
            }
        }
        if self.one_in(faults.server) {
            let server = self.random.random_range(0..SERVERS);
            self.servers().kill(server);
            self.statistics.servers_killed += 1;
            self.note(format!("server {server} is killed"));
        }
        if self.one_in(faults.failover) {
            self.patroni.leader = None;
            self.note("the primary loses its leader key".to_owned());
        }
        if self.one_in(faults.revoke) {
            self.revoke();
        }
        if self.one_in(faults.network) {
            self.break_or_mend();
        }
        if self.one_in(faults.settings) {
            self.meddle();
        }
        Ok(())
    }

    /// The writer key vanishes; now and then its holder is the last to know.
    fn revoke(&mut self) {
        let Some((holder, _)) = self.election.writer.take() else {
            return;
        };
        let is_cut_off = self.one_in(2);
        self.election.beliefs[holder].is_cut_off |= is_cut_off;
        self.note(format!(
            "the writer key of node {holder} vanishes, it is cut off: {is_cut_off}"
        ));
    }

    fn break_or_mend(&mut self) {
        let (node, other, server) = (
            self.some_node(),
            self.some_node(),
            self.random.random_range(0..SERVERS),
        );
        let works = self.one_in(2);
        match self.random.random_range(0..4) {
            0 => self.links[node][other] = works || node == other,
            1 => self.servers().reach[node][server] = works,
            2 => self.servers().streams[node][server] = works,
            _ => self.election.beliefs[node].is_cut_off = !works,
        }
    }

    /// Somebody who should not touches a primary.
    fn meddle(&mut self) {
        let server = self.random.random_range(0..SERVERS);
        if self.one_in(2) {
            let was = self.servers().all[server].is_loosened;
            self.servers().all[server].is_loosened = !was;
            self.servers().release(server);
            self.statistics.loosened += u64::from(!was);
            self.note(format!("names of standbys at server {server}: emptied {}", !was));
        } else if self.servers().cancel(server) {
            self.statistics.cancelled += 1;
            self.note(format!("a commit at server {server} is cancelled"));
        }
    }

    fn heal(&mut self) {
        self.links = [[true; NODES]; NODES];
        let mut servers = self.servers();
        servers.reach = vec![[true; SERVERS]; NODES];
        servers.streams = [[true; SERVERS]; SERVERS];
        for server in 0..SERVERS {
            servers.all[server].is_loosened = false;
            servers.release(server);
        }
        drop(servers);
        for belief in &mut self.election.beliefs {
            belief.is_cut_off = false;
        }
        self.faults.lease = self.faults.lease.max(1_000);
    }

    /// Nothing fails any more: everything is answered, and all nodes come to the same state.
    fn come_to_rest(&mut self) -> Result<(), Broken> {
        self.note("nothing fails any more".to_owned());
        self.heal();
        for round in 0..PATIENCE {
            self.round()?;
            if self.clients.are_idle() && self.is_at_rest() {
                return self.check_whole();
            }
            // The block that begins a term is seen to be final only when another one follows.
            if self.clients.are_idle() && round % 16 == 15 {
                self.write()?;
            }
        }
        let heights: Vec<_> = self
            .nodes
            .iter()
            .map(|place| place.life.as_ref().map(Life::height))
            .collect();
        let places: Vec<_> = (0..NODES).map(|node| self.place(node)).collect();
        Err(Broken(format!(
            "the cluster does not come to rest, though nothing hinders it: final {}, nodes at {heights:?}, places {places:?}, all answered: {}",
            self.truth.head(),
            self.clients.are_idle()
        )))
    }

    fn round(&mut self) -> Result<(), Broken> {
        self.tick();
        for _ in 0..SERVERS {
            self.patroni_step()?;
        }
        for node in 0..NODES {
            self.look_at_election(node)?;
            self.watch(node)?;
            self.promote(node)?;
            for _ in 0..3 {
                self.feed(node)?;
                self.node_step(node, |life, place| life.turn(place))?;
            }
            self.follow(node)?;
            self.commit(node)?;
            self.announce(node)?;
            self.node_step(node, |life, _| life.index())?;
            self.freshen(node)?;
        }
        for _ in 0..12 {
            self.execute()?;
            self.replicate()?;
        }
        self.confirm_all()?;
        self.listen()
    }

    fn is_at_rest(&self) -> bool {
        let head = self.truth.head();
        let writers = (0..NODES).filter(|node| self.place(*node) == Where::Here).count();
        let is_there = |place: &Place| place.life.as_ref().is_some_and(|life| life.height() >= head);
        writers == 1 && self.patroni.leader.is_some() && self.nodes.iter().all(is_there)
    }

    fn check_whole(&mut self) -> Result<(), Broken> {
        let leader = self.patroni.leader.expect("it is at rest");
        for height in 1..=self.truth.head().0 {
            let servers = self.servers();
            let row = servers.all[leader].row(Height(height));
            let block = row.map(|row| open(&self.keys, &row.sealed));
            drop(servers);
            let known = self.truth.known(Height(height)).hash;
            ensure!(
                block.is_some_and(|block| block.hash.0 == known),
                "the journal does not hold final block {height}"
            );
        }
        for node in 0..NODES {
            let (sender, mut receiver) = oneshot::channel();
            let life = self.nodes[node].life.as_mut().expect("all are at rest");
            ensure!(
                life.shared.inbox.read(Read::State(sender)).is_ok(),
                "a read is refused"
            );
            let state = (0..PATIENCE).find_map(|_| match (self.round(), receiver.try_recv()) {
                (Ok(()), Err(TryRecvError::Empty)) => None,
                (Ok(()), state) => Some(state.map_err(|_| Broken("it has ended".to_owned()))),
                (Err(broken), _) => Some(Err(broken)),
            });
            let state = state.ok_or_else(|| Broken(format!("node {node} does not answer at the end")))??;
            check_state(&self.truth, &state, Moment(0))?;
        }
        Ok(())
    }
}
