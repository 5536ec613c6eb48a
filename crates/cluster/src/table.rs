//! The table of processes: what the supervisor started, on disk, so that anyone can look and end them without it.

use crate::process::{self, Identity};
use crate::{ClusterError, Host, HostName, ProcessKind, Topology};
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::{Path, PathBuf};

/// What the supervisor started.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    /// Which start of the machine this belongs to.
    pub(crate) boot_id: String,
    /// The supervisor itself.
    pub(crate) supervisor: Option<Identity>,
    /// Its children; PostgreSQL is not one and is found by its data directory.
    pub(crate) rows: Vec<Row>,
}

/// A process that the supervisor keeps.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// On which host.
    pub host: HostName,
    /// Which.
    pub kind: ProcessKind,
    /// The process, if it was started.
    pub process: Option<Identity>,
    /// Whether it shall run.
    pub wanted: bool,
    /// How often it was started again by itself.
    pub restarts: u64,
    /// How it ended the last time.
    pub last_exit: Option<String>,
}

/// How a process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ProcessState {
    /// It runs.
    Running,
    /// It is stopped by SIGSTOP.
    Frozen,
    /// It shall run and does not.
    Down,
    /// It shall not run.
    Stopped,
}

impl Table {
    /// The table of a cluster's directory; an empty one where there is none or the machine was started since.
    ///
    /// # Errors
    /// The file is damaged.
    pub fn read(directory: &Path) -> Result<Self, ClusterError> {
        let path = file(directory);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(ClusterError::io("read", &path, error)),
        };
        let table: Self = serde_json::from_str(&text).map_err(|error| ClusterError::Damaged {
            path,
            problem: error.to_string(),
        })?;
        if table.boot_id == process::boot_id() {
            Ok(table)
        } else {
            Ok(Self::default())
        }
    }

    pub(crate) fn write(&self, directory: &Path) -> Result<(), ClusterError> {
        let path = file(directory);
        let part = path.with_extension("part");
        let text = serde_json::to_string_pretty(self).expect("a table has only names and numbers");
        fs::write(&part, text).map_err(|e| ClusterError::io("write", &part, e))?;
        fs::rename(&part, &path).map_err(|e| ClusterError::io("rename", &part, e))
    }

    /// Whether the supervisor lives.
    pub fn has_supervisor(&self) -> bool {
        self.supervisor.is_some_and(Identity::is_alive)
    }

    /// Every process of the table that lives, the supervisor not included.
    pub(crate) fn alive(&self) -> Vec<(HostName, ProcessKind, Identity)> {
        self.rows
            .iter()
            .filter_map(|row| Some((row.host.clone(), row.kind, row.process?)))
            .filter(|(_, _, process)| process.is_alive())
            .collect()
    }

    pub(crate) fn row(&self, host: &HostName, kind: ProcessKind) -> Option<&Row> {
        self.rows.iter().find(|row| row.host == *host && row.kind == kind)
    }

    /// A process and how it is. PostgreSQL shall run where its Patroni shall.
    pub(crate) fn state(&self, host: &Host, kind: ProcessKind) -> (Option<Identity>, ProcessState) {
        let keeper = if kind == ProcessKind::Postgres {
            ProcessKind::Patroni
        } else {
            kind
        };
        let row = self.row(&host.name, keeper);
        let process = match kind {
            ProcessKind::Postgres => process::postmaster(&host.directories.postgres()),
            _ => row.and_then(|row| row.process).filter(|p| p.is_alive()),
        };
        let state = match process {
            Some(process) if process.is_frozen() => ProcessState::Frozen,
            Some(_) => ProcessState::Running,
            None if row.is_some_and(|row| row.wanted) => ProcessState::Down,
            None => ProcessState::Stopped,
        };
        (process, state)
    }
}

/// Every living process of PostgreSQL of every host.
pub fn postgres_processes(topology: &Topology) -> Vec<(HostName, ProcessKind, Identity)> {
    topology
        .hosts
        .iter()
        .flat_map(|host| {
            let tree = process::working_in(&host.directories.postgres());
            tree.into_iter()
                .map(|process| (host.name.clone(), ProcessKind::Postgres, process))
        })
        .collect()
}

fn file(directory: &Path) -> PathBuf {
    directory.join("run").join("processes.json")
}
