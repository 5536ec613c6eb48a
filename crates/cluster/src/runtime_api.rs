//! HAProxy's runtime API, on its socket in the host's run directory.

use crate::{ClusterError, Host, HostName, Role, Topology};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A host's socket.
pub fn socket(host: &Host) -> PathBuf {
    host.directories.run.join("haproxy.sock")
}

/// The servers of a pool that HAProxy's checks found up; those that only stand in are left out.
pub fn servers_up(socket: &Path, pool: &str) -> Result<Vec<HostName>, ClusterError> {
    // By name would find the frontend of that name instead.
    let table = command(socket, "show stat -1 4 -1")?;
    let mut lines = table.lines();
    let heading: Vec<&str> = lines
        .next()
        .unwrap_or_default()
        .trim_start_matches("# ")
        .split(',')
        .collect();
    let column = |name: &str| heading.iter().position(|field| *field == name);
    let columns = (
        column("pxname"),
        column("svname"),
        column("status"),
        column("bck"),
    );
    let (Some(proxy), Some(server), Some(status), Some(stands_in)) = columns else {
        return Err(ClusterError::Endpoint {
            endpoint: socket.display().to_string(),
            problem: format!(
                "not a table of statistics: {}",
                table.lines().next().unwrap_or_default()
            ),
        });
    };
    let rows = lines.map(|line| line.split(',').collect::<Vec<_>>());
    Ok(rows
        .filter(|row| row.get(proxy) == Some(&pool))
        .filter(|row| row.get(stands_in) == Some(&"0"))
        .filter(|row| row.get(status).is_some_and(|status| status.starts_with("UP")))
        .filter_map(|row| row.get(server).map(|name| HostName((*name).to_owned())))
        .collect())
}

/// Takes a host out of every balancer's pools of nodes and replicas, or puts it back: it gets no new connections, and those
/// that it has go on. The primary's pool is left alone: there is nobody else to take its place.
///
/// # Errors
/// The host is not known, or a balancer does not answer; those before it were told.
pub fn drain(topology: &Topology, name: &HostName, out: bool) -> Result<(), ClusterError> {
    let target = topology.host(name)?;
    let state = if out { "drain" } else { "ready" };
    let mut pools = Vec::new();
    if target.has(Role::Postgres) {
        pools.push("replicas");
    }
    if target.has(Role::Node) && topology.nodes {
        // Whoever stands in for the writer follows its state in the pool of nodes.
        pools.extend(["nodes", "writer"]);
    }
    for balancer in topology.hosts_with(Role::Balancer) {
        for pool in &pools {
            let path = socket(balancer);
            let answer = command(&path, &format!("set server {pool}/{name} state {state}"))?;
            if !answer.trim().is_empty() {
                return Err(ClusterError::Endpoint {
                    endpoint: path.display().to_string(),
                    problem: answer.trim().to_owned(),
                });
            }
        }
    }
    Ok(())
}

fn command(socket: &Path, text: &str) -> Result<String, ClusterError> {
    let ask = || -> std::io::Result<String> {
        let mut stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        stream.set_write_timeout(Some(Duration::from_secs(1)))?;
        writeln!(stream, "{text}")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().map_err(|e| ClusterError::io("ask", socket, e))
}
