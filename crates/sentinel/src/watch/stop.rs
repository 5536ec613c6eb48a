//! Stopping this host's PostgreSQL at once.

use crate::SentinelError;
use rustix::process::{Pid, Signal, kill_process};
use std::path::Path;
use std::time::{Duration, Instant};

/// How long it is given to end by itself.
const ENDS_WITHIN: Duration = Duration::from_secs(1);

/// The immediate shutdown, also of a postmaster that is stopped in its tracks; then, if it does not end, SIGKILL, on which
/// its children end by themselves. False when none runs there.
pub(super) async fn stop_at_once(data: &Path) -> Result<bool, SentinelError> {
    let Some(postmaster) = postmaster(data) else {
        return Ok(false);
    };
    for signal in [Signal::QUIT, Signal::CONT] {
        kill_process(postmaster, signal).map_err(failed)?;
    }
    let began = Instant::now();
    while self::postmaster(data) == Some(postmaster) {
        if began.elapsed() > ENDS_WITHIN {
            kill_process(postmaster, Signal::KILL).map_err(failed)?;
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(true)
}

fn failed(error: rustix::io::Errno) -> SentinelError {
    SentinelError::System {
        action: "stop PostgreSQL",
        source: error.into(),
    }
}

/// The process of the lock file, if it lives and works in that directory: a number used again is somebody else's.
fn postmaster(data: &Path) -> Option<Pid> {
    let text = std::fs::read_to_string(data.join("postmaster.pid")).ok()?;
    let number: i32 = text.lines().next()?.trim().parse().ok()?;
    let directory = std::fs::read_link(format!("/proc/{number}/cwd")).ok()?;
    let is_its = directory == data.canonicalize().ok()?;
    Pid::from_raw(number).filter(|_| is_its)
}
