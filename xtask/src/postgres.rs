//! A PostgreSQL of our own for one benchmark: made, tuned, loaded, audited, removed.
//!
//! Owns: the cluster's life and its settings. Alone it listens on a Unix socket in its own folder only; with standbys on loopback.

use crate::process::{apt_install, capture, find, shown};
use anyhow::{Context, Result, bail, ensure};
use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Names the socket of a server that listens nowhere else.
pub const SOCKET_PORT: u16 = 5432;

/// How long what must come about may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// The settings that make an answer durable.
pub const DURABILITY: &[&str] = &["fsync", "synchronous_commit", "full_page_writes"];

/// Every setting that differs from PostgreSQL's own default, and those that make an answer durable; `others` go before.
pub fn settings(memory_mib: u64, others: &[(String, String)]) -> Vec<(String, String)> {
    let shared_buffers = format!("{}MB", (memory_mib / 4).clamp(128, 8_192));
    let effective_cache_size = format!("{}MB", (memory_mib / 2).max(256));
    let ours = [
        // Durable before the answer, as Shanraq is.
        ("fsync", "on"),
        ("synchronous_commit", "on"),
        ("full_page_writes", "on"),
        ("wal_sync_method", "fdatasync"),
        ("wal_level", "replica"),
        // Few and spread checkpoints, so that the run pays for few full pages.
        ("max_wal_size", "16GB"),
        ("min_wal_size", "4GB"),
        ("checkpoint_timeout", "30min"),
        ("checkpoint_completion_target", "0.9"),
        ("wal_buffers", "64MB"),
        ("wal_compression", "lz4"),
        ("max_connections", "1100"),
        ("huge_pages", "try"),
        ("jit", "off"),
        ("random_page_cost", "1.1"),
        ("effective_io_concurrency", "200"),
        ("autovacuum", "on"),
        ("plan_cache_mode", "force_generic_plan"),
        ("listen_addresses", ""),
        ("log_min_messages", "warning"),
        ("shared_buffers", &shared_buffers),
        ("effective_cache_size", &effective_cache_size),
    ];
    let kept = ours
        .into_iter()
        .filter(|(name, _)| others.iter().all(|(other, _)| other != name));
    let kept = kept.map(|(name, value)| (name.to_owned(), value.to_owned()));
    kept.chain(others.iter().cloned()).collect()
}

/// A running server; dropping it stops it. Its folder belongs to the caller.
pub struct Cluster {
    server: Child,
    socket: PathBuf,
    port: u16,
    programs: PathBuf,
    as_postgres: bool,
    /// What `postgres --version` says.
    pub version: String,
}

impl Cluster {
    /// Makes a cluster in `folder` (empty, reachable for the user `postgres`) and starts it.
    /// The port names its socket, and counts where the settings make it listen.
    pub fn start(folder: &Path, settings: &[(String, String)], port: u16) -> Result<Self> {
        let (programs, as_postgres) = prepare(folder)?;
        let mut initdb = command_as(as_postgres, &programs.join("initdb"));
        initdb.args([
            "--auth=trust",
            "--username=postgres",
            "--encoding=UTF8",
            "--locale=C",
            "--wal-segsize=64",
        ]);
        capture(initdb.arg("-D").arg(folder.join("data")))?;
        Self::launch(folder, settings, port)
    }

    /// Starts the server on the data that is in `folder`.
    fn launch(folder: &Path, settings: &[(String, String)], port: u16) -> Result<Self> {
        let (programs, as_postgres) = prepare(folder)?;
        let mut server = command_as(as_postgres, &programs.join("postgres"));
        server
            .arg("-D")
            .arg(folder.join("data"))
            .arg("-c")
            .arg(format!("unix_socket_directories={}", folder.display()))
            .arg("-c")
            .arg(format!("port={port}"));
        for (name, value) in settings {
            server.arg("-c").arg(format!("{name}={value}"));
        }
        let log = File::create(folder.join("server.log"))?;
        server.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let version = capture(Command::new(programs.join("postgres")).arg("--version"))?
            .trim()
            .to_owned();
        let server = server
            .spawn()
            .with_context(|| format!("cannot start `{}`", shown(&server)))?;
        let mut cluster = Self {
            server,
            socket: folder.to_path_buf(),
            port,
            programs,
            as_postgres,
            version,
        };
        cluster.wait_until_ready(Duration::from_secs(60))?;
        Ok(cluster)
    }

    fn wait_until_ready(&mut self, patience: Duration) -> Result<()> {
        let deadline = Instant::now() + patience;
        loop {
            let mut ready = self.tool("pg_isready");
            if ready.stdout(Stdio::null()).status()?.success() {
                return Ok(());
            }
            let log = self.socket.join("server.log");
            let said = || std::fs::read_to_string(&log).unwrap_or_default();
            if let Some(status) = self.server.try_wait()? {
                bail!("PostgreSQL stopped while starting ({status}):\n{}", said());
            }
            ensure!(
                Instant::now() < deadline,
                "PostgreSQL is not ready after {patience:?}:\n{}",
                said()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Where its files are, and its socket.
    pub fn folder(&self) -> &Path {
        &self.socket
    }

    /// One of PostgreSQL's client programs, pointed at this server.
    pub fn tool(&self, name: &str) -> Command {
        let mut command = command_as(self.as_postgres, &self.programs.join(name));
        command
            .env("PGHOST", &self.socket)
            .env("PGPORT", self.port.to_string())
            .env("PGUSER", "postgres")
            .env("PGDATABASE", "postgres");
        command.current_dir(&self.socket);
        command
    }

    /// Waits until a question has this answer.
    fn wait_for(&self, sql: &str, expected: &str) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = self.sql(sql)?;
            if answer == expected {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "`{sql}` is {answer}, not {expected}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Runs SQL and gives back its rows, unaligned and separated by `|`.
    pub fn sql(&self, sql: &str) -> Result<String> {
        let mut psql = self.tool("psql");
        psql.args([
            "--no-psqlrc",
            "--quiet",
            "--tuples-only",
            "--no-align",
            "-v",
            "ON_ERROR_STOP=1",
            "-c",
            sql,
        ]);
        Ok(capture(&mut psql)?.trim().to_owned())
    }
}

/// A primary and standbys, any one of which must have flushed what is committed. They listen on loopback.
pub struct Replicated {
    /// Takes writes.
    pub primary: Cluster,
    /// Stream from it.
    standbys: Vec<Cluster>,
}

impl Replicated {
    /// Makes and starts them below `folder`; returns when all stream and commits wait for one of them.
    pub fn start(folder: &Path, settings: &[(String, String)], names: &[&'static str]) -> Result<Self> {
        let mut settings = settings.to_vec();
        settings.retain(|(name, _)| name != "listen_addresses");
        settings.push(("listen_addresses".to_owned(), "127.0.0.1".to_owned()));
        let of = |name: &str| -> Result<PathBuf> {
            let home = folder.join(name);
            std::fs::create_dir(&home)?;
            Ok(home)
        };
        let home = of("primary")?;
        let primary = Cluster::start(&home, &settings, free_port()?)?;
        let mut replicated = Self {
            primary,
            standbys: Vec::new(),
        };
        for name in names {
            let home = of(name)?;
            let standby = replicated.add_standby(name, &home, &settings)?;
            replicated.standbys.push(standby);
        }
        let wanted = format!("ANY 1 ({})", names.join(","));
        let primary = &replicated.primary;
        primary.sql(&format!(
            "alter system set synchronous_standby_names = '{wanted}'"
        ))?;
        primary.sql("select pg_reload_conf()")?;
        let quorum = "select count(*) from pg_stat_replication where sync_state = 'quorum'";
        primary.wait_for(quorum, &names.len().to_string())?;
        Ok(replicated)
    }

    fn add_standby(&self, name: &str, home: &Path, settings: &[(String, String)]) -> Result<Cluster> {
        let (programs, as_postgres) = prepare(home)?;
        let mut copy = command_as(as_postgres, &programs.join("pg_basebackup"));
        copy.args([
            "--write-recovery-conf",
            "--wal-method=stream",
            "--checkpoint=fast",
        ]);
        copy.arg("--pgdata").arg(home.join("data")).arg("--dbname");
        copy.arg(format!(
            "host=127.0.0.1 port={} user=postgres application_name={name}",
            self.port()
        ));
        capture(&mut copy)?;
        Cluster::launch(home, settings, free_port()?)
    }

    /// The primary's, on loopback.
    pub fn port(&self) -> u16 {
        self.primary.port
    }

    /// Fills and recycles so many WAL segments everywhere, as a server that has run for a while has: no commit makes one then.
    pub fn recycle_wal(&self, segments: u32) -> Result<()> {
        for _ in 0..segments {
            self.primary
                .sql("select pg_logical_emit_message(false, 'recycle', ''), pg_switch_wal()")?;
        }
        // A checkpoint recycles what the standbys may still need.
        self.wait_until_replayed()?;
        self.primary.sql("checkpoint")?;
        self.wait_until_replayed()?;
        for standby in &self.standbys {
            standby.sql("checkpoint")?;
        }
        Ok(())
    }

    fn wait_until_replayed(&self) -> Result<()> {
        let position = self.primary.sql("select pg_current_wal_lsn()")?;
        for standby in &self.standbys {
            standby.wait_for(&format!("select pg_last_wal_replay_lsn() >= '{position}'"), "t")?;
        }
        Ok(())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // The cluster is thrown away: a clean end is tried, for the shared memory's sake, and nothing more.
        let mut stop = command_as(self.as_postgres, &self.programs.join("pg_ctl"));
        stop.args(["stop", "--silent", "--mode=immediate", "-D"])
            .arg(self.socket.join("data"));
        if capture(&mut stop).is_err() {
            let _ = self.server.kill();
        }
        let _ = self.server.wait();
    }
}

/// Runs a program as the user `postgres` when we are root; the server ends with us, even if we are killed.
fn command_as(as_postgres: bool, program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "TERM"]);
    if as_postgres {
        command.args(["--reuid", "postgres", "--regid", "postgres", "--init-groups"]);
    }
    command.arg(program);
    command
}

/// PostgreSQL's programs, and whether they must run as the user `postgres`, to whom the folder is given then: it refuses to run as root.
fn prepare(folder: &Path) -> Result<(PathBuf, bool)> {
    let as_postgres = capture(Command::new("id").arg("-u"))?.trim() == "0";
    if as_postgres {
        capture(Command::new("chown").arg("postgres").arg(folder))?;
    }
    Ok((programs()?, as_postgres))
}

/// A port of loopback that nobody has now.
fn free_port() -> Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

/// The folder of the server's programs; installs PostgreSQL where there is none.
fn programs() -> Result<PathBuf> {
    if find("pg_config").is_none() || !server_folder()?.join("postgres").is_file() {
        apt_install(&["postgresql", "postgresql-contrib", "libpq-dev"])?;
    }
    let folder = server_folder()?;
    ensure!(
        folder.join("pgbench").is_file(),
        "{} holds no pgbench",
        folder.display()
    );
    Ok(folder)
}

fn server_folder() -> Result<PathBuf> {
    Ok(PathBuf::from(
        capture(Command::new("pg_config").arg("--bindir"))?.trim(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_setting_takes_the_place_of_ours_and_durability_is_always_stated() {
        let others = [
            ("wal_buffers".to_owned(), "1MB".to_owned()),
            ("commit_delay".to_owned(), "50".to_owned()),
        ];
        let settings = settings(8_000, &others);
        let values = |wanted: &str| {
            settings
                .iter()
                .filter(|(name, _)| name == wanted)
                .map(|(_, value)| value.as_str())
                .collect::<Vec<_>>()
        };
        assert_eq!(values("wal_buffers"), ["1MB"]);
        assert_eq!(values("commit_delay"), ["50"]);
        assert_eq!(values("shared_buffers"), ["2000MB"]);
        assert!(DURABILITY.iter().all(|name| values(name) == ["on"]));
    }
}
