//! The cluster that is disturbed: made by the product's own commands, in a directory of its own, hosts in namespaces.

use crate::faults::{Nemesis, clocks, disks, shell};
use anyhow::{Context, Result, ensure};
use cluster::{HostMode, Local, Order, ProcessKind, Role, Target, Verb};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// How long a new cluster may take until it is healthy.
const UP_WITHIN_S: u64 = 180;
const PAUSE: Duration = Duration::from_millis(200);

/// A running cluster.
pub struct Arena {
    program: PathBuf,
    nemesis: Nemesis,
}

impl Arena {
    /// Sets a cluster up in a directory; what an earlier campaign left there is ended and removed. With `keep`, a healthy
    /// one that runs there is taken as it is; with `small_disks`, each host of a new one has disks of its own that can be filled.
    ///
    /// # Errors
    /// It does not become healthy, or the directory is closed to user `postgres`.
    pub fn up(directory: &Path, program: &Path, keep: bool, small_disks: bool) -> Result<Self> {
        if let Some(arena) = Self::running(directory, program).filter(|_| keep) {
            return Ok(arena);
        }
        if directory.exists() {
            ensure!(
                directory.join("cluster.toml").exists() || directory.read_dir()?.next().is_none(),
                "--dir: {} holds something else than a cluster",
                directory.display()
            );
            end(program, directory)?;
            disks::unmount(&directory.canonicalize()?)?;
            std::fs::remove_dir_all(directory)?;
        }
        describe(directory, program, small_disks)?;
        let mut command = Command::new(program);
        command.args(["cluster", "up", "--hosts", "netns", "--detach"]);
        command.args(["--within-seconds", &UP_WITHIN_S.to_string(), "--dir"]);
        finish(command.arg(directory)).context("the cluster does not come up")?;
        let local = Local::open(directory)?;
        Ok(Self {
            program: program.to_owned(),
            nemesis: Nemesis::new(local),
        })
    }

    fn running(directory: &Path, program: &Path) -> Option<Self> {
        let local = Local::open(directory).ok()?;
        let arena = Self {
            program: program.to_owned(),
            nemesis: Nemesis::new(local),
        };
        let healthy = arena.nemesis.look().is_ok_and(|status| status.healthy);
        healthy.then_some(arena)
    }

    /// Ends it; its files stay, but for those on disks of its own, which are in files below `disks`.
    ///
    /// # Errors
    /// Something would not end.
    pub fn down(&self) -> Result<()> {
        let directory = self.nemesis.local().directory();
        end(&self.program, directory)?;
        disks::unmount(directory)
    }

    /// Who disturbs it.
    pub fn nemesis(&self) -> &Nemesis {
        &self.nemesis
    }

    /// Where clients go: every balancer, and the address that they share.
    pub fn addresses(&self) -> Vec<String> {
        let topology = self.nemesis.local().topology();
        let port = topology.ports.balancer_api;
        let balancers = topology.hosts_with(Role::Balancer).map(|host| host.address);
        let shared = topology.shared_address.map(|shared| shared.address);
        let all = balancers.chain(shared);
        all.map(|address| format!("{address}:{port}")).collect()
    }

    /// The writer's height, and what the tables of the SQL projection answer to a question after that was looked at;
    /// none where there is no projection.
    ///
    /// # Errors
    /// There is no writer or no primary, or the server refuses.
    pub fn projected(&self, question: &str) -> Result<Option<(u64, String)>> {
        let local = self.nemesis.local();
        if !local.topology().projection {
            return Ok(None);
        }
        let status = self.nemesis.look()?;
        let writer = status
            .hosts
            .iter()
            .find(|host| Some(&host.name) == status.writer.as_ref());
        let writer = writer.and_then(|host| host.node.as_ref());
        let height = writer.context("the ledger has no writer")?.height;
        let primary = status.primary.context("PostgreSQL has no primary")?;
        let host = local.topology().host(&primary)?;
        let answer = shell::sql(local, host, &["\\connect shanraq", question])?;
        Ok(Some((height, answer)))
    }

    /// Each node's name and own address.
    pub fn nodes(&self) -> Vec<(String, String)> {
        let topology = self.nemesis.local().topology();
        let port = topology.ports.node;
        let nodes = topology.hosts_with(Role::Node);
        nodes
            .map(|host| (host.name.to_string(), format!("{}:{port}", host.address)))
            .collect()
    }

    /// Waits until nothing is wrong, undoing changed settings as servers come back.
    ///
    /// # Errors
    /// What is wrong after all.
    pub fn wait_until_healthy(&self, within: Duration) -> Result<Duration> {
        let began = Instant::now();
        loop {
            let silent = self.nemesis.heal_settings();
            let problems = match self.nemesis.look() {
                Ok(status) => status.problems,
                Err(error) => vec![format!("{error:#}")],
            };
            if problems.is_empty() && silent.is_empty() {
                return Ok(began.elapsed());
            }
            ensure!(
                began.elapsed() < within,
                "not healthy after {} s: {}",
                within.as_secs(),
                problems.join("; ")
            );
            std::thread::sleep(PAUSE);
        }
    }

    /// Waits until a sentinel may act again: a primary that is lost within half a minute after another one waits for Patroni, which is
    /// no single fault.
    ///
    /// # Errors
    /// It still may not.
    pub fn wait_until_watched(&self, within: Duration) -> Result<()> {
        let began = Instant::now();
        while self.nemesis.look()?.sentinel_rests {
            ensure!(
                began.elapsed() < within,
                "no sentinel may act after {} s",
                within.as_secs()
            );
            std::thread::sleep(PAUSE);
        }
        Ok(())
    }

    /// Walks the whole journal: copies it out of PostgreSQL, block by block with every hash compared, and has the copy's
    /// chain, results and balances verified by a replay. Nodes are stopped meanwhile. Gives what the verification says.
    ///
    /// # Errors
    /// A block, a result or a balance is not as it must be.
    pub fn verify(&self, folder: &Path) -> Result<String> {
        self.order_nodes(Verb::Stop)?;
        let verified = self.copy_and_verify(&folder.join("journal"));
        self.order_nodes(Verb::Start)?;
        verified
    }

    fn copy_and_verify(&self, copy: &Path) -> Result<String> {
        let local = self.nemesis.local();
        let topology = local.topology();
        let primary = self
            .nemesis
            .look()?
            .primary
            .context("PostgreSQL has no primary")?;
        let host = topology.host(&primary)?;
        let names: Vec<&str> = topology.hosts.iter().map(|host| host.name.0.as_str()).collect();
        let server = format!(
            "postgresql://shanraq_writer@{}:{}/shanraq",
            host.address, topology.ports.postgres
        );
        let config = &host.directories.config;
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &cluster::namespace(local.directory(), &primary)]);
        command.arg(&self.program).args(["migrate", "--from", &server]);
        command
            .arg("--from-password-file")
            .arg(config.join("writer.password"));
        command.arg("--key-file").arg(config.join("ledger-keys"));
        command.args(["--durability", "standbys", "--standbys", &names.join(",")]);
        finish(command.arg("--to").arg(copy)).context("copying the journal")?;
        let mut command = Command::new(&self.program);
        let said = finish(command.args(["verify", "--dir"]).arg(copy)).context("verifying the copy")?;
        std::fs::remove_dir_all(copy)?;
        Ok(said)
    }

    fn order_nodes(&self, verb: Verb) -> Result<()> {
        let local = self.nemesis.local();
        for host in local.topology().hosts_with(Role::Node) {
            let target = Target {
                host: host.name.clone(),
                process: Some(ProcessKind::Node),
            };
            cluster::send(local.directory(), &Order { verb, target })?;
        }
        let deadline = Instant::now() + Duration::from_secs(70);
        while verb == Verb::Stop && self.has_node()? {
            ensure!(Instant::now() < deadline, "the nodes do not end");
            std::thread::sleep(PAUSE);
        }
        Ok(())
    }

    fn has_node(&self) -> Result<bool> {
        let status = self.nemesis.look()?;
        let mut processes = status.hosts.iter().flat_map(|host| &host.processes);
        Ok(processes.any(|process| process.process == ProcessKind::Node && process.process_id.is_some()))
    }

    /// Copies every log below a folder, for those who look into a round that failed.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn save_logs(&self, to: &Path) -> Result<()> {
        for host in &self.nemesis.local().topology().hosts {
            let target = to.join(host.name.to_string());
            std::fs::create_dir_all(&target)?;
            copy_files(&host.directories.log, &target)?;
            copy_files(&host.directories.log.join("postgresql"), &target)?;
        }
        Ok(())
    }

    /// Panics that nodes and projections logged so far. The log before the present one counts, too: the supervisor turns
    /// logs as it starts what has ended.
    ///
    /// # Errors
    /// A log that is there and cannot be read.
    pub fn panics(&self) -> Result<usize> {
        const LOGS: [&str; 4] = ["node.log", "node.log.1", "projection.log", "projection.log.1"];
        let mut panics = 0;
        for host in &self.nemesis.local().topology().hosts {
            for name in LOGS {
                let path = host.directories.log.join(name);
                match std::fs::read(&path) {
                    Ok(text) => panics += String::from_utf8_lossy(&text).matches("panicked at").count(),
                    Err(error) if error.kind() == ErrorKind::NotFound => {}
                    Err(error) => {
                        return Err(error).with_context(|| format!("cannot read {}", path.display()));
                    }
                }
            }
        }
        Ok(panics)
    }
}

fn copy_files(from: &Path, to: &Path) -> Result<()> {
    for file in std::fs::read_dir(from)? {
        let file = file?;
        if file.file_type()?.is_file() {
            std::fs::copy(file.path(), to.join(file.file_name()))?;
        }
    }
    Ok(())
}

/// Writes the topology of a new cluster: the product's own, with a clock for each node where that can be had.
fn describe(directory: &Path, program: &Path, small_disks: bool) -> Result<()> {
    let local = cluster::prepare(directory, Some(HostMode::Netns), program)?;
    let mut topology = local.topology().clone();
    let node = topology.programs.shanraq.clone();
    if let Some(with_clock) = clocks::prepare(local.directory(), &node)? {
        topology.programs.shanraq = with_clock;
    }
    if small_disks {
        disks::mount(local.directory(), &mut topology)?;
    }
    let text = toml::to_string_pretty(&topology).context("a topology is a table")?;
    std::fs::write(directory.join("cluster.toml"), text)?;
    Ok(())
}

fn end(program: &Path, directory: &Path) -> Result<()> {
    let mut command = Command::new(program);
    finish(command.args(["cluster", "down", "--dir"]).arg(directory)).context("the cluster does not end")?;
    Ok(())
}

/// Runs it to its end and gives what it said.
fn finish(command: &mut Command) -> Result<String> {
    let output = command
        .output()
        .with_context(|| format!("cannot run {command:?}"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    ensure!(
        output.status.success(),
        "{}: {} {}",
        output.status,
        text(&output.stdout),
        text(&output.stderr)
    );
    Ok(text(&output.stdout))
}
