//! The cluster that is disturbed: made by the product's own commands, in a directory of its own, hosts in namespaces.

use crate::faults::{Nemesis, clocks};
use anyhow::{Context, Result, ensure};
use cluster::{HostMode, Local, Role};
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
    /// one that runs there is taken as it is.
    ///
    /// # Errors
    /// It does not become healthy, or the directory is closed to user `postgres`.
    pub fn up(directory: &Path, program: &Path, keep: bool) -> Result<Self> {
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
            std::fs::remove_dir_all(directory)?;
        }
        describe(directory, program)?;
        let mut command = Command::new(program);
        command.args(["cluster", "up", "--hosts", "netns", "--detach"]);
        command.args(["--within-seconds", &UP_WITHIN_S.to_string(), "--dir"]);
        let output = command.arg(directory).output()?;
        ensure!(
            output.status.success(),
            "the cluster does not come up: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
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

    /// Ends it; its files stay.
    ///
    /// # Errors
    /// Something would not end.
    pub fn down(&self) -> Result<()> {
        end(&self.program, self.nemesis.local().directory())
    }

    /// Who disturbs it.
    pub fn nemesis(&self) -> &Nemesis {
        &self.nemesis
    }

    /// Where clients go: every balancer.
    pub fn addresses(&self) -> Vec<String> {
        let topology = self.nemesis.local().topology();
        let port = topology.ports.balancer_api;
        let balancers = topology.hosts_with(Role::Balancer);
        balancers.map(|host| format!("{}:{port}", host.address)).collect()
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

    /// Copies every log below a folder, for those who look into a round that failed.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn save_logs(&self, to: &Path) -> Result<()> {
        for host in &self.nemesis.local().topology().hosts {
            let target = to.join(host.name.to_string());
            std::fs::create_dir_all(&target)?;
            for file in std::fs::read_dir(&host.directories.log)? {
                let file = file?;
                if file.file_type()?.is_file() {
                    std::fs::copy(file.path(), target.join(file.file_name()))?;
                }
            }
        }
        Ok(())
    }

    /// Panics that nodes logged so far.
    pub fn panics(&self) -> usize {
        let hosts = self.nemesis.local().topology().hosts.iter();
        let logs = hosts.map(|host| host.directories.log.join("node.log"));
        let texts = logs.map(|log| std::fs::read(log).unwrap_or_default());
        texts
            .map(|text| String::from_utf8_lossy(&text).matches("panicked at").count())
            .sum()
    }
}

/// Writes the topology of a new cluster: the product's own, with a clock for each node where that can be had.
fn describe(directory: &Path, program: &Path) -> Result<()> {
    let local = cluster::prepare(directory, Some(HostMode::Netns), program)?;
    let mut topology = local.topology().clone();
    let node = topology.programs.shanraq.clone();
    if let Some(with_clock) = clocks::prepare(local.directory(), &node)? {
        topology.programs.shanraq = with_clock;
    }
    let text = toml::to_string_pretty(&topology).context("a topology is a table")?;
    std::fs::write(directory.join("cluster.toml"), text)?;
    Ok(())
}

fn end(program: &Path, directory: &Path) -> Result<()> {
    let mut command = Command::new(program);
    command.args(["cluster", "down", "--dir"]).arg(directory);
    let output = command.output()?;
    ensure!(
        output.status.success(),
        "the cluster does not end: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}
