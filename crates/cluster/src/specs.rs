//! The process table: the one place that knows how each program is started, for systemd and for the supervisor alike.

use crate::{FileOwner, Host, ProcessKind, Topology};
use std::path::{Path, PathBuf};

/// Who starts and watches the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manager {
    /// systemd, on a host of its own.
    Systemd,
    /// [`crate::Supervisor`], all hosts on one machine.
    Supervisor,
}

/// How a process is started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessSpec {
    /// Which.
    pub kind: ProcessKind,
    /// The program.
    pub program: PathBuf,
    /// Its arguments. Never a secret.
    pub arguments: Vec<String>,
    /// As which user.
    pub user: &'static str,
}

/// A partition of a million blocks is full after minutes at the earliest.
const MAINTENANCE_EVERY_S: &str = "300";

/// How a process of a host is started; `None` for PostgreSQL, which Patroni starts.
pub fn spec(topology: &Topology, host: &Host, kind: ProcessKind, manager: Manager) -> Option<ProcessSpec> {
    let programs = &topology.programs;
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let config = |name: &str| text(&host.directories.config.join(name));
    let run = |name: &str| text(&host.directories.run.join(name));
    let (program, arguments, user) = match kind {
        ProcessKind::Etcd => (
            &programs.etcd,
            vec![format!("--config-file={}", config("etcd.yml"))],
            "etcd",
        ),
        ProcessKind::Patroni => (&programs.patroni, vec![config("patroni.yml")], "postgres"),
        ProcessKind::Haproxy => {
            // HAProxy gives up root itself, after it has bound the address that is shared.
            let mode = if manager == Manager::Systemd { "-Ws" } else { "-db" };
            let arguments = vec![mode.to_owned(), "-f".to_owned(), config("haproxy.cfg")];
            (&programs.haproxy, arguments, "root")
        }
        ProcessKind::Pgbouncer => (&programs.pgbouncer, vec![config("pgbouncer.ini")], "postgres"),
        ProcessKind::Keepalived => {
            let mut arguments: Vec<String> = ["--dont-fork", "--log-console", "--vrrp", "-f"]
                .map(str::to_owned)
                .to_vec();
            arguments.push(config("keepalived.conf"));
            for (flag, name) in [("-p", "keepalived.pid"), ("-r", "keepalived-vrrp.pid")] {
                arguments.extend([flag.to_owned(), run(name)]);
            }
            (&programs.keepalived, arguments, "root")
        }
        ProcessKind::Node => {
            let arguments = ["serve", "--config"].map(str::to_owned).to_vec();
            let arguments = arguments
                .into_iter()
                .chain([config(crate::render::NODE_FILE)])
                .collect();
            (&programs.shanraq, arguments, "postgres")
        }
        ProcessKind::Projection => {
            let mut arguments = ["projection", "run", "--config"].map(str::to_owned).to_vec();
            arguments.push(config(crate::render::PROJECTION_FILE));
            (&programs.shanraq, arguments, "postgres")
        }
        ProcessKind::Maintenance => {
            let mut arguments = ["journal", "maintain", "--socket"].map(str::to_owned).to_vec();
            arguments.push(text(&host.directories.run));
            arguments.extend(["--port".to_owned(), topology.ports.postgres.to_string()]);
            arguments.extend(["--every", MAINTENANCE_EVERY_S].map(str::to_owned));
            (&programs.shanraq, arguments, "postgres")
        }
        ProcessKind::Postgres | ProcessKind::Postmaster => return None,
    };
    Some(ProcessSpec {
        kind,
        program: program.clone(),
        arguments,
        user,
    })
}

/// A directory that must exist before a host's processes start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NeededDirectory {
    /// Where.
    pub path: PathBuf,
    /// Its mode.
    pub mode: u32,
    /// Whose it is, by name.
    pub user: &'static str,
}

/// The directories of a host, outer ones first.
pub fn directories(topology: &Topology, host: &Host) -> Vec<NeededDirectory> {
    let of = &host.directories;
    let needed = |path: PathBuf, mode, user| NeededDirectory { path, mode, user };
    let mut all = vec![
        needed(of.config.clone(), 0o755, "root"),
        needed(of.data.clone(), 0o755, "root"),
        needed(of.run.clone(), 0o755, "postgres"),
        needed(of.log.clone(), 0o755, "postgres"),
    ];
    for kind in topology.processes(host) {
        match kind {
            ProcessKind::Etcd => all.push(needed(of.etcd(), 0o700, "etcd")),
            ProcessKind::Postgres => {
                all.push(needed(of.postgres(), 0o700, "postgres"));
                all.extend(of.wal.iter().map(|wal| needed(wal.clone(), 0o700, "postgres")));
            }
            ProcessKind::Node => all.push(needed(of.node(), 0o700, "postgres")),
            _ => {}
        }
    }
    all
}

impl FileOwner {
    /// The user's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Postgres => "postgres",
        }
    }
}
