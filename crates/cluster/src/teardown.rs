//! The end of a cluster on this machine: every process by its identity, in an order that loses nothing.

use crate::process::{self, Identity};
use crate::supervisor::signal_tree;
use crate::table::{Table, postgres_processes};
use crate::{ClusterError, HostMode, HostName, Local, ProcessKind, links};
use rustix::process::Signal;
use std::path::Path;
use std::time::{Duration, Instant};

type Living = Vec<(HostName, ProcessKind, Identity)>;

/// Ends the supervisor and everything that it started, even if it is dead itself; removes the hosts' networks.
///
/// # Errors
/// The topology cannot be read, or a process is left.
pub fn down(directory: &Path) -> Result<(), ClusterError> {
    let local = Local::open(directory)?;
    let table = Table::read(local.directory())?;
    if let Some(supervisor) = table.supervisor {
        if supervisor.process_id == std::process::id().cast_signed() && supervisor.is_alive() {
            let text = "the supervisor runs in this process: set its stop flag instead".to_owned();
            return Err(ClusterError::Refused(text));
        }
        supervisor.signal(Signal::CONT);
        supervisor.signal(Signal::TERM);
        let gone = wait(Duration::from_secs(150), || !supervisor.is_alive());
        if !gone {
            supervisor.signal(Signal::KILL);
        }
    }
    // The supervisor may have started something after the table was read.
    end(&local, &Table::read(local.directory())?)?;
    if local.mode() == HostMode::Netns {
        links::remove(local.directory(), local.topology())?;
    }
    Ok(())
}

/// Ends every process of a table, and PostgreSQL: first what clients see, then Patroni (which stops PostgreSQL and gives
/// up its leadership, for which it needs etcd), then etcd.
pub(crate) fn end(local: &Local, table: &Table) -> Result<(), ClusterError> {
    let alive = table.alive();
    for (_, _, process) in &alive {
        process.signal(Signal::CONT);
    }
    let each_server = |signal| {
        for host in &local.topology().hosts {
            signal_tree(&host.directories.postgres(), signal);
        }
    };
    each_server(Signal::CONT);
    let of = |kinds: &[ProcessKind]| -> Living {
        let chosen = alive.iter().filter(|(_, kind, _)| kinds.contains(kind));
        chosen.cloned().collect()
    };
    let edge = [
        ProcessKind::Keepalived,
        ProcessKind::Haproxy,
        ProcessKind::Pgbouncer,
        ProcessKind::Node,
        ProcessKind::Projection,
        ProcessKind::Maintenance,
    ];
    end_group(&of(&edge), Duration::from_secs(10));
    end_group(&of(&[ProcessKind::Patroni]), Duration::from_secs(60));
    if !postgres_processes(local.topology()).is_empty() {
        // Its Patroni was killed or was not there to stop it.
        each_server(Signal::QUIT);
        let gone = || postgres_processes(local.topology()).is_empty();
        if !wait(Duration::from_secs(10), gone) {
            each_server(Signal::KILL);
        }
    }
    end_group(&of(&[ProcessKind::Etcd]), Duration::from_secs(10));
    let left = || -> Living { [table.alive(), postgres_processes(local.topology())].concat() };
    if wait(Duration::from_secs(10), || left().is_empty()) {
        return Ok(());
    }
    let names: Vec<String> = left()
        .iter()
        .map(|(host, kind, process)| format!("{host}/{kind} (process {})", process.process_id))
        .collect();
    Err(ClusterError::Left(names.join(", ")))
}

fn end_group(group: &Living, within: Duration) {
    for (_, _, process) in group {
        process.signal(Signal::TERM);
    }
    let gone = || group.iter().all(|(_, _, process)| !process.is_alive());
    if !wait(within, gone) {
        for (_, _, process) in group {
            process.signal(Signal::KILL);
        }
    }
}

fn wait(within: Duration, mut done: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + within;
    loop {
        // Patroni waits for the postmaster that it stopped, and a dead one that nobody buried lives for it.
        process::bury_orphans();
        if done() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
