//! Fills PostgreSQL's log with segments to recycle, once, before the first commit that matters: making a segment of 64 MiB
//! inside a commit takes ten times as long as the commit.

use crate::{ClusterError, HostName, Local, Role};
use std::fs;
use std::time::{Duration, Instant};

const REPLAY_WITHIN: Duration = Duration::from_secs(120);

/// What was found and made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Primed {
    /// Segments in each server's log afterwards.
    pub segments: Vec<(HostName, u64)>,
}

/// Primes a healthy cluster; `None` if it was done before. `tell` hears segments done and to do.
///
/// # Errors
/// A server does not answer, or a standby does not follow within two minutes.
pub fn prime(
    local: &Local,
    primary: &HostName,
    tell: &mut dyn FnMut(u64, u64),
) -> Result<Option<Primed>, ClusterError> {
    let marker = local.directory().join("run").join("primed");
    if marker.exists() {
        return Ok(None);
    }
    let topology = local.topology();
    let first = topology.host(primary)?;
    // Both settings in bytes, whatever their units.
    let sql = "select pg_size_bytes(current_setting('min_wal_size')) / pg_size_bytes(current_setting('wal_segment_size'))";
    let answer = local.query(first, sql)?;
    let wanted: u64 = answer.parse().map_err(|_| ClusterError::Damaged {
        path: first.directories.run.clone(),
        problem: format!("PostgreSQL gave {answer:?} for a number"),
    })?;
    for done in 0..wanted {
        tell(done, wanted);
        local.query(
            first,
            "select pg_logical_emit_message(false, 'shanraq', ''), pg_switch_wal()",
        )?;
    }
    local.query(first, "checkpoint")?;
    let end = local.query(first, "select pg_current_wal_lsn()")?;
    let mut segments = Vec::new();
    for host in topology.hosts_with(Role::Postgres) {
        if host.name != *primary {
            let replayed = format!("select coalesce(pg_last_wal_replay_lsn() >= '{end}'::pg_lsn, false)");
            let deadline = Instant::now() + REPLAY_WITHIN;
            while local.query(host, &replayed)? != "t" {
                if Instant::now() >= deadline {
                    let problem = format!("has not replayed {end} within {} s", REPLAY_WITHIN.as_secs());
                    let endpoint = format!("PostgreSQL of {}", host.name);
                    return Err(ClusterError::Endpoint { endpoint, problem });
                }
                std::thread::sleep(Duration::from_millis(100));
            }
            local.query(host, "checkpoint")?;
        }
        let count = local.query(
            host,
            "select count(*) from pg_ls_waldir() where name ~ '^[0-9A-F]{24}$'",
        )?;
        segments.push((host.name.clone(), count.parse().unwrap_or(0)));
    }
    tell(wanted, wanted);
    fs::write(&marker, "").map_err(|e| ClusterError::io("write", &marker, e))?;
    Ok(Some(Primed { segments }))
}
