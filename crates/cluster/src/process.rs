//! Processes of this machine, told apart by process id *and* start time, so that a process id that was used again is
//! never signalled. Signals go through a pidfd that is opened before the start time is compared.

use rustix::process::{
    Pid, PidfdFlags, Signal, WaitOptions, getpid, pidfd_open, pidfd_send_signal, set_child_subreaper, waitpid,
};
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::path::Path;

/// A process, for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Identity {
    /// Its process id.
    pub process_id: i32,
    /// When it started, in clock ticks since boot.
    pub started_ticks: u64,
}

/// What `/proc/PID/stat` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stat {
    state: char,
    session: i32,
    started_ticks: u64,
}

impl Identity {
    /// The process that has this id now; none if there is none or it is a zombie.
    pub fn of(process_id: i32) -> Option<Self> {
        let stat = stat(process_id).filter(|stat| stat.state != 'Z')?;
        Some(Self {
            process_id,
            started_ticks: stat.started_ticks,
        })
    }

    /// Whether it still runs (a zombie does not).
    pub fn is_alive(self) -> bool {
        Self::of(self.process_id) == Some(self)
    }

    /// Whether it is stopped by SIGSTOP.
    pub fn is_frozen(self) -> bool {
        stat(self.process_id).is_some_and(|s| s.started_ticks == self.started_ticks && s.state == 'T')
    }

    /// Sends a signal; false if the process is gone.
    pub fn signal(self, signal: Signal) -> bool {
        let Some(pid) = Pid::from_raw(self.process_id) else {
            return false;
        };
        let Ok(handle) = pidfd_open(pid, PidfdFlags::empty()) else {
            return false;
        };
        self.is_alive() && pidfd_send_signal(handle, signal).is_ok()
    }
}

fn stat(process_id: i32) -> Option<Stat> {
    parse(&fs::read_to_string(format!("/proc/{process_id}/stat")).ok()?)
}

/// The name stands in parentheses and may hold anything, so fields count from the last one.
fn parse(text: &str) -> Option<Stat> {
    let (_, rest) = text.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    let session = fields.nth(2)?.parse().ok()?;
    let started_ticks = fields.nth(15)?.parse().ok()?;
    Some(Stat {
        state,
        session,
        started_ticks,
    })
}

/// Makes this process the parent of what its descendants leave behind, as the first process of a machine is. Patroni takes a dead
/// postmaster for alive until somebody has asked how it ended, and not every first process does that soon.
///
/// # Errors
/// The kernel's.
pub fn adopt_orphans() -> io::Result<()> {
    Ok(set_child_subreaper(Some(getpid()))?)
}

/// Asks how those ended that were adopted and are dead: PostgreSQL's processes, known by a session of their own. Others are the
/// children of whoever started them.
pub fn bury_orphans() {
    let Some(own) = stat(getpid().as_raw_nonzero().get()).map(|stat| stat.session) else {
        return;
    };
    let tasks = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let children = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    for child in children.flat_map(|text| {
        text.split_ascii_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    }) {
        let Ok(id) = child.parse() else { continue };
        if stat(id).is_some_and(|stat| stat.state == 'Z' && stat.session != own) {
            // It is gone either way.
            let _ = waitpid(Pid::from_raw(id), WaitOptions::NOHANG);
        }
    }
}

/// Every process that works in a directory: of PostgreSQL, the postmaster and all its children.
pub fn working_in(directory: &Path) -> Vec<Identity> {
    let Ok(directory) = directory.canonicalize() else {
        return Vec::new();
    };
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
        .filter(|id| fs::read_link(format!("/proc/{id}/cwd")).is_ok_and(|cwd| cwd == directory))
        .filter_map(Identity::of)
        .collect()
}

/// The postmaster of a data directory, by its `postmaster.pid`; checked to work in that directory.
pub fn postmaster(data: &Path) -> Option<Identity> {
    let text = fs::read_to_string(data.join("postmaster.pid")).ok()?;
    let process_id: i32 = text.lines().next()?.trim().parse().ok()?;
    working_in(data).into_iter().find(|i| i.process_id == process_id)
}

/// Which start of the machine this is: start times count from it.
pub fn boot_id() -> String {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    text.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};

    #[test]
    fn a_name_with_parentheses_and_blanks_is_read_past() {
        let text = "7 (a) b (c) S 1 7 8 0 -1 4 1 0 0 0 2 3 0 0 20 0 1 0 4242 9 9";
        let expected = Stat {
            state: 'S',
            session: 8,
            started_ticks: 4242,
        };
        assert_eq!(parse(text), Some(expected));
    }

    #[test]
    fn a_process_id_that_was_used_again_is_never_signalled() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let now = Identity::of(child.id().cast_signed()).unwrap();
        let earlier = Identity {
            started_ticks: now.started_ticks - 1,
            ..now
        };
        assert!(!earlier.is_alive());
        assert!(!earlier.signal(Signal::KILL));
        assert!(now.is_alive());
        assert!(now.signal(Signal::KILL));
        child.wait().unwrap();
        assert!(!now.is_alive());
    }

    #[test]
    fn an_orphan_with_a_session_of_its_own_is_buried_and_an_own_child_is_not() {
        adopt_orphans().unwrap();
        let script = "setsid sh -c 'echo $$; exec sleep 60' & exit 3";
        let mut parent = Command::new("sh")
            .args(["-c", script])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut output = BufReader::new(parent.stdout.take().unwrap());
        output.read_line(&mut line).unwrap();
        let orphan: i32 = line.trim().parse().unwrap();
        bury_orphans();
        assert_eq!(parent.wait().unwrap().code(), Some(3));
        assert!(Identity::of(orphan).unwrap().signal(Signal::KILL));
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
        while stat(orphan).is_some() {
            assert!(std::time::Instant::now() < deadline, "it was not buried");
            bury_orphans();
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_frozen_process_is_seen_as_frozen() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let process = Identity::of(child.id().cast_signed()).unwrap();
        assert!(!process.is_frozen());
        assert!(process.signal(Signal::STOP));
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
        while !process.is_frozen() {
            assert!(std::time::Instant::now() < deadline, "it never stopped");
            std::thread::yield_now();
        }
        process.signal(Signal::KILL);
        child.wait().unwrap();
    }
}
