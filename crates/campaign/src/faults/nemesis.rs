//! Carries faults out and undoes them. Owns: what each fault does to whom.
//!
//! Undoing does not remember: it undoes everything that any fault can have done, so it works after a campaign that died.

use super::cast::Cast;
use super::fault::Fault;
use super::{clocks, disks, shell};
use anyhow::{Context, Result, bail, ensure};
use cluster::{Host, HostName, Impairment, Local, Order, ProcessKind, Status, Target, Verb};
use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Faults of which two are made at one moment.
const PAIRS: &[Fault] = &[
    Fault::WriterKill,
    Fault::WriterFreeze,
    Fault::FollowerKill,
    Fault::FollowerFreeze,
    Fault::PrimaryKill,
    Fault::PrimaryFreeze,
    Fault::ReplicaKill,
    Fault::ReplicaFreeze,
    Fault::PatroniKill,
    Fault::EtcdLeaderKill,
    Fault::EtcdLeaderFreeze,
    Fault::HaproxyKill,
    Fault::PgbouncerKill,
    Fault::ProjectionKill,
    Fault::AddressHolderFreeze,
];
/// How long a host of a rolling restart may take to be well again.
const STEP_WITHIN: Duration = Duration::from_secs(60);

/// Disturbs one cluster.
pub struct Nemesis {
    local: Local,
    /// Threads that do nothing but use a core up go on for as long as this is true; they end with this process.
    keeps_busy: Arc<AtomicBool>,
}

impl Nemesis {
    /// Of a cluster that runs.
    pub fn new(local: Local) -> Self {
        Self {
            local,
            keeps_busy: Arc::default(),
        }
    }

    /// Whom it disturbs.
    pub fn local(&self) -> &Local {
        &self.local
    }

    /// What is seen of the cluster.
    ///
    /// # Errors
    /// Its files are damaged.
    pub fn look(&self) -> Result<Status> {
        Ok(cluster::observe(&self.local)?)
    }

    /// Why a fault cannot be made in this cluster, if it cannot.
    pub fn unavailable(&self, fault: Fault) -> Option<String> {
        match fault {
            Fault::DataFull => disks::unavailable(&self.local, disks::Which::Data),
            Fault::WalFull => disks::unavailable(&self.local, disks::Which::Log),
            Fault::ClockAhead | Fault::ClockBehind => clocks::unavailable(&self.local),
            Fault::ProjectionKill => {
                let runs = self.local.topology().projection;
                (!runs).then(|| "this cluster has no SQL projection".to_owned())
            }
            Fault::AddressHolderKill | Fault::AddressHolderFreeze => {
                let shared = self.local.topology().shared_address;
                shared
                    .is_none()
                    .then(|| "the balancers share no address".to_owned())
            }
            _ => None,
        }
    }

    /// Makes a fault and says to whom.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn inject(&self, fault: Fault, cast: &Cast, random: &mut StdRng) -> Result<String> {
        use ProcessKind::{Etcd, Haproxy, Node, Patroni, Pgbouncer, Postgres, Postmaster, Projection};
        let (writer, primary, leader) = (&cast.writer, &cast.primary, &cast.etcd_leader);
        match fault {
            Fault::WriterKill => self.order(Verb::Kill, writer, Some(Node)),
            Fault::WriterFreeze => self.order(Verb::Freeze, writer, Some(Node)),
            Fault::FollowerKill => self.order(Verb::Kill, &cast.another(writer, random), Some(Node)),
            Fault::FollowerFreeze => self.order(Verb::Freeze, &cast.another(writer, random), Some(Node)),
            Fault::PrimaryKill => self.order(Verb::Kill, primary, Some(Postgres)),
            Fault::PrimaryFreeze => self.order(Verb::Freeze, primary, Some(Postgres)),
            Fault::PostmasterKill => self.order(Verb::Kill, primary, Some(Postmaster)),
            Fault::PostmasterFreeze => self.order(Verb::Freeze, primary, Some(Postmaster)),
            Fault::ReplicaKill => self.order(Verb::Kill, &cast.another(primary, random), Some(Postgres)),
            Fault::ReplicaFreeze => self.order(Verb::Freeze, &cast.another(primary, random), Some(Postgres)),
            Fault::PatroniKill => self.order(Verb::Kill, primary, Some(Patroni)),
            Fault::PatroniFreeze => self.order(Verb::Freeze, primary, Some(Patroni)),
            Fault::EtcdLeaderKill => self.order(Verb::Kill, leader, Some(Etcd)),
            Fault::EtcdLeaderFreeze => self.order(Verb::Freeze, leader, Some(Etcd)),
            Fault::HaproxyKill => self.order(Verb::Kill, &cast.balancer(random), Some(Haproxy)),
            Fault::HaproxyFreeze => self.order(Verb::Freeze, &cast.balancer(random), Some(Haproxy)),
            Fault::PgbouncerKill => self.order(Verb::Kill, &cast.pooler(random), Some(Pgbouncer)),
            Fault::ProjectionKill => self.order(Verb::Kill, cast.projection()?, Some(Projection)),
            Fault::AddressHolderFreeze => self.order(Verb::Freeze, cast.address_holder()?, Some(Haproxy)),
            Fault::AddressHolderKill => {
                let holder = cast.address_holder()?;
                let said = self.order(Verb::Kill, holder, Some(Haproxy))?;
                // Its keeper would start it again before anybody has noticed.
                self.order(Verb::Stop, holder, Some(Haproxy))?;
                Ok(format!("{said}, and it stays down"))
            }
            Fault::DoubleFreeze => {
                let standby = cast.another(primary, random);
                self.order(Verb::Freeze, &standby, Some(Patroni))?;
                self.order(Verb::Freeze, primary, Some(Patroni))?;
                Ok(format!("freeze {standby}/patroni and {primary}/patroni"))
            }
            Fault::HostRefusing => self.order(Verb::Kill, primary, None),
            Fault::HostEtcdRefusing => self.order(Verb::Kill, leader, None),
            Fault::HostSilent => self.lose_silently(primary),
            Fault::HostEtcdSilent => self.lose_silently(leader),
            Fault::FastShutdown => self.order(Verb::Stop, primary, Some(Postgres)),
            Fault::EtcdQuorum => self.end_quorum(cast, random),
            Fault::RollingNodes => self.restart(cast, &[ProcessKind::Node]),
            Fault::RollingRestart => {
                use ProcessKind::{Etcd, Haproxy, Node, Postgres};
                self.restart(cast, &[Node, Etcd, Haproxy, Postgres])
            }
            Fault::Handover => self.hand_over(),
            Fault::TwoAtOnce => self.two_at_once(cast, random),
            Fault::DataFull => disks::fill(&self.local, self.host(primary)?, disks::Which::Data),
            Fault::WalFull => self.fill_log(primary),
            Fault::ClockAhead => self.shift_next_writer(cast, 3_600),
            Fault::ClockBehind => self.shift_next_writer(cast, -3_600),
            _ => self.disturb_network_or_sessions(fault, cast, random),
        }
    }

    fn disturb_network_or_sessions(&self, fault: Fault, cast: &Cast, random: &mut StdRng) -> Result<String> {
        let (writer, primary) = (&cast.writer, &cast.primary);
        match fault {
            Fault::PartitionSymmetric => self.cut_off(primary, cast, true, false),
            Fault::PartitionOneWay => self.cut_off(primary, cast, false, false),
            Fault::PartitionNewOnly => self.cut_off(primary, cast, true, true),
            Fault::PartitionRing => self.cut_ring(cast),
            Fault::PrimaryReplicas => self.cut_replication(primary, cast),
            Fault::WriterEtcd => self.cut_port(writer, cast.hosts(), self.local.topology().ports.etcd_client),
            Fault::WriterPostgres => {
                let port = self.local.topology().ports.postgres;
                self.cut_port(writer, std::slice::from_ref(primary), port)
            }
            Fault::PacketLoss => {
                let loss_ppm = random.random_range(10_000..=50_000u32);
                let bad = Impairment {
                    loss_ppm,
                    ..Impairment::default()
                };
                self.impair_all(cast, bad)
            }
            Fault::PacketDelay => {
                let delay_us = random.random_range(10_000..=30_000u32);
                let bad = Impairment {
                    delay_us,
                    jitter_us: delay_us / 2,
                    ..Impairment::default()
                };
                self.impair_all(cast, bad)
            }
            Fault::BusyAndFar => {
                let bad = Impairment {
                    loss_ppm: 10_000,
                    delay_us: 20_000,
                    jitter_us: 20_000,
                };
                let lines = self.impair_all(cast, bad)?;
                Ok(format!("{lines}; {} cores busy", self.keep_cores_busy()?))
            }
            Fault::BackendCancel => self.signal_session(primary, "pg_cancel_backend", 40, 25),
            Fault::BackendTerminate => self.signal_session(primary, "pg_terminate_backend", 4, 300),
            Fault::BackendCrash => self.kill_session(primary),
            Fault::SyncEmptied => self.set(primary, "synchronous_standby_names", ""),
            Fault::SyncLoosened => self.set(primary, "synchronous_standby_names", "ANY 1 (*)"),
            Fault::CommitLocal => self.set(primary, "synchronous_commit", "local"),
            other => bail!("{other} is not made here"),
        }
    }

    /// Undoes everything; may be repeated.
    ///
    /// # Errors
    /// The supervisor or the kernel refuses. Settings of a server that does not answer are undone by the next try.
    pub fn heal(&self) -> Result<()> {
        self.keeps_busy.store(false, Ordering::Relaxed);
        disks::free(&self.local)?;
        let shifted: Vec<HostName> = clocks::shifted(&self.local);
        clocks::heal(&self.local)?;
        shell::heal_network(&self.local)?;
        cluster::heal(self.local.directory(), self.local.topology())?;
        for host in &self.local.topology().hosts {
            self.order(Verb::Start, &host.name, None)?;
        }
        // A process takes its clock as it starts.
        for host in shifted {
            self.order(Verb::Kill, &host, Some(ProcessKind::Node))?;
        }
        Ok(())
    }

    /// Undoes settings, on every server that answers. Gives those that did not.
    pub fn heal_settings(&self) -> Vec<HostName> {
        let hosts = self.local.topology().hosts.iter();
        hosts
            .filter(|host| shell::heal_settings(&self.local, host).is_err())
            .map(|host| host.name.clone())
            .collect()
    }

    fn host(&self, name: &HostName) -> Result<&Host> {
        Ok(self.local.topology().host(name)?)
    }

    fn order(&self, verb: Verb, host: &HostName, process: Option<ProcessKind>) -> Result<String> {
        let target = Target {
            host: host.clone(),
            process,
        };
        let said = format!("{} {target}", format!("{verb:?}").to_lowercase());
        let order = Order { verb, target };
        cluster::send(self.local.directory(), &order).with_context(|| said.clone())?;
        Ok(said)
    }

    fn lose_silently(&self, host: &HostName) -> Result<String> {
        let interface = &self.host(host)?.interface;
        shell::drop_packets(&self.local, host, "input", &[format!("iifname {interface}")])?;
        shell::drop_packets(&self.local, host, "output", &[format!("oifname {interface}")])?;
        self.order(Verb::Kill, host, None)?;
        Ok(format!("drop all packets of {host} and kill it"))
    }

    fn end_quorum(&self, cast: &Cast, random: &mut StdRng) -> Result<String> {
        let other = cast.another(&cast.etcd_leader, random);
        for host in [&cast.etcd_leader, &other] {
            self.order(Verb::Freeze, host, Some(ProcessKind::Etcd))?;
        }
        Ok(format!("freeze {}/etcd and {other}/etcd", cast.etcd_leader))
    }

    fn two_at_once(&self, cast: &Cast, random: &mut StdRng) -> Result<String> {
        let two: Vec<Fault> = PAIRS.sample(random, 2).copied().collect();
        let first = self.inject(two[0], cast, random)?;
        let second = self.inject(two[1], cast, random)?;
        Ok(format!("{first}; {second}"))
    }

    /// Recycled segments would hide a full disk for long, so they are used up too.
    fn fill_log(&self, primary: &HostName) -> Result<String> {
        let host = self.host(primary)?;
        let said = disks::fill(&self.local, host, disks::Which::Log)?;
        let text = "do $$ begin for i in 1..40 loop perform pg_switch_wal(); perform pg_sleep(0.1); end loop; end $$";
        // PostgreSQL may end in the middle of it, which is what is sought.
        let all = shell::sql(&self.local, host, &[text]).is_ok();
        Ok(format!("{said} and use its segments up (forty of them: {all})"))
    }

    /// Any other node may be next, so both have the wrong clock when the writer dies. A process takes its clock as it starts.
    fn shift_next_writer(&self, cast: &Cast, seconds: i64) -> Result<String> {
        let others = cast.others(&cast.writer);
        for other in &others {
            clocks::shift(self.host(other)?, seconds)?;
            self.order(Verb::Kill, other, Some(ProcessKind::Node))?;
        }
        self.wait("the nodes with another clock are back", || {
            let status = self.look()?;
            let back = |host: &HostName| {
                let node = status
                    .hosts
                    .iter()
                    .find(|seen| seen.name == *host)?
                    .node
                    .as_ref()?;
                node.writer.is_some().then_some(())
            };
            Ok(others.iter().all(|host| back(host).is_some()))
        })?;
        self.order(Verb::Kill, &cast.writer, Some(ProcessKind::Node))?;
        Ok(format!(
            "shift the clocks of all but {} by {seconds} s and kill it",
            cast.writer
        ))
    }

    fn hand_over(&self) -> Result<String> {
        let program = self.local.topology().programs.shanraq.to_string_lossy();
        let directory = self.local.directory().to_string_lossy();
        shell::run(&program, &["cluster", "handover", "--dir", &directory])
    }

    fn restart(&self, cast: &Cast, kinds: &[ProcessKind]) -> Result<String> {
        for host in cast.hosts() {
            for &kind in kinds {
                self.order(Verb::Stop, host, Some(kind))?;
                // Patroni starts a stopped PostgreSQL by itself.
                if kind != ProcessKind::Postgres {
                    self.wait("a process ends", || Ok(self.is_down(&self.look()?, host, kind)))?;
                    self.order(Verb::Start, host, Some(kind))?;
                }
                self.wait("the cluster is healthy again", || Ok(self.look()?.healthy))?;
            }
        }
        let names: Vec<_> = kinds.iter().map(|kind| kind.as_str()).collect();
        Ok(format!(
            "stop and start {} of each host in turn",
            names.join(", ")
        ))
    }

    fn is_down(&self, status: &Status, host: &HostName, kind: ProcessKind) -> bool {
        let seen = status.hosts.iter().find(|seen| seen.name == *host);
        let processes = seen.into_iter().flat_map(|seen| &seen.processes);
        processes
            .filter(|process| process.process == kind)
            .all(|process| process.process_id.is_none())
    }

    fn wait(&self, what: &str, mut is: impl FnMut() -> Result<bool>) -> Result<()> {
        let deadline = Instant::now() + STEP_WITHIN;
        while !is()? {
            ensure!(Instant::now() < deadline, "waited {STEP_WITHIN:?} until {what}");
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }

    fn cut_off(&self, host: &HostName, cast: &Cast, both: bool, new_only: bool) -> Result<String> {
        for other in cast.others(host) {
            cluster::cut(
                self.local.directory(),
                self.local.topology(),
                host,
                &other,
                both,
                new_only,
            )?;
        }
        Ok(format!(
            "cut {host} off from all (both ways: {both}, new connections only: {new_only})"
        ))
    }

    fn cut_ring(&self, cast: &Cast) -> Result<String> {
        let hosts = cast.hosts();
        for (index, host) in hosts.iter().enumerate() {
            let next = &hosts[(index + 1) % hosts.len()];
            cluster::cut(
                self.local.directory(),
                self.local.topology(),
                host,
                next,
                false,
                false,
            )?;
        }
        Ok("cut each host's packets to the next one".to_owned())
    }

    fn cut_replication(&self, primary: &HostName, cast: &Cast) -> Result<String> {
        let port = self.local.topology().ports.postgres;
        let mut rules = Vec::new();
        for other in cast.others(primary) {
            let address = self.host(&other)?.address;
            rules.push(format!("ip saddr {address} tcp dport {port}"));
            rules.push(format!("ip saddr {address} tcp sport {port}"));
        }
        shell::drop_packets(&self.local, primary, "input", &rules)?;
        Ok(format!(
            "drop what other hosts send to or from PostgreSQL's port at {primary}"
        ))
    }

    /// What a host sends to a port of some hosts is dropped, itself included.
    fn cut_port(&self, host: &HostName, to: &[HostName], port: u16) -> Result<String> {
        let mut rules = Vec::new();
        for other in to {
            let address = self.host(other)?.address;
            rules.push(format!("ip daddr {address} tcp dport {port}"));
        }
        shell::drop_packets(&self.local, host, "output", &rules)?;
        let to: Vec<&str> = to.iter().map(|name| name.0.as_str()).collect();
        let to = to.join(", ");
        Ok(format!("drop what {host} sends to port {port} of {to}"))
    }

    fn impair_all(&self, cast: &Cast, bad: Impairment) -> Result<String> {
        for from in cast.hosts() {
            for to in cast.others(from) {
                cluster::impair(&self.local, from, &to, bad)?;
            }
        }
        Ok(format!("every line between hosts: {bad}"))
    }

    fn keep_cores_busy(&self) -> Result<usize> {
        let cores = std::thread::available_parallelism()?.get();
        self.keeps_busy.store(true, Ordering::Relaxed);
        for _ in 0..cores {
            let goes_on = Arc::clone(&self.keeps_busy);
            std::thread::spawn(move || {
                while goes_on.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        Ok(cores)
    }

    /// In one session, so that it comes between every few commits.
    fn signal_session(
        &self,
        primary: &HostName,
        function: &str,
        times: u32,
        pause_ms: u32,
    ) -> Result<String> {
        let pause = f64::from(pause_ms) / 1_000.0;
        let text = format!(
            "do $$ begin for i in 1..{times} loop perform pg_stat_clear_snapshot(); perform {function}(pid) from pg_stat_activity where usename = 'shanraq_writer' and state = 'active'; perform pg_sleep({pause}); end loop; end $$"
        );
        shell::sql(&self.local, self.host(primary)?, &[&text])?;
        Ok(format!("{function} at {primary}, {times} times"))
    }

    fn kill_session(&self, primary: &HostName) -> Result<String> {
        let query = "select pid from pg_stat_activity where usename = 'shanraq_writer' order by state = 'active' desc limit 1";
        let found = shell::sql(&self.local, self.host(primary)?, &[query])?;
        let process: u32 = found.parse().context("nobody commits")?;
        shell::run("kill", &["-9", &process.to_string()])?;
        Ok(format!("kill -9 of the committing session at {primary}"))
    }

    fn set(&self, primary: &HostName, name: &str, value: &str) -> Result<String> {
        let text = format!("alter system set {name} = '{value}'");
        shell::sql(
            &self.local,
            self.host(primary)?,
            &[&text, "select pg_reload_conf()"],
        )?;
        Ok(format!("{text} at {primary}"))
    }
}
