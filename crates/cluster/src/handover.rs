//! A planned change of the writer.

use crate::address::at;
use crate::{ClusterError, HostName, Local, Role, http};
use std::time::{Duration, Instant};

/// The writer answers what it took in before it gives its place up.
const DRAINS_WITHIN: Duration = Duration::from_secs(30);
/// A member that was elected reads what it has not seen yet before it writes.
const FOLLOWS_WITHIN: Duration = Duration::from_secs(30);
const ANSWER_WITHIN: Duration = Duration::from_millis(500);

/// A change of the writer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handover {
    /// Who wrote before.
    pub from: HostName,
    /// Who writes now.
    pub to: HostName,
    /// From the order until somebody else was seen to write.
    pub took: Duration,
}

/// Has the writer give its place to a host's node, or to whoever is elected.
///
/// # Errors
/// Nobody writes, the host is not known or writes already, the writer refuses, or nobody follows it in time.
pub fn hand_over(local: &Local, to: Option<&HostName>) -> Result<Handover, ClusterError> {
    let topology = local.topology();
    if let Some(to) = to {
        topology.host(to)?;
    }
    let Some(from) = writer(local) else {
        return Err(ClusterError::Refused("no node is the writer now".to_owned()));
    };
    if to == Some(&from) {
        return Err(ClusterError::Refused(format!("{from} is the writer already")));
    }
    let endpoint = at(topology.host(&from)?, topology.ports.node);
    let path = match to {
        Some(to) => format!("/cluster/handover?to={to}"),
        None => "/cluster/handover".to_owned(),
    };
    let began = Instant::now();
    let answer = http::post(endpoint, &path, "", DRAINS_WITHIN)?;
    if answer.status != 200 {
        return Err(ClusterError::Endpoint {
            endpoint: format!("the node of {from}"),
            problem: String::from_utf8_lossy(&answer.body).into_owned(),
        });
    }
    loop {
        match writer(local) {
            Some(to) if to != from => {
                let took = began.elapsed();
                return Ok(Handover { from, to, took });
            }
            _ if began.elapsed() > FOLLOWS_WITHIN => {
                return Err(ClusterError::Timeout {
                    seconds: FOLLOWS_WITHIN.as_secs(),
                    problems: format!("{from} gave its place up, and no other node writes"),
                });
            }
            _ => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

/// The one host whose node says that it can write.
fn writer(local: &Local) -> Option<HostName> {
    let topology = local.topology();
    let nodes = topology.hosts_with(Role::Node).filter(|_| topology.nodes);
    let mut writers = nodes.filter(|host| {
        let endpoint = at(host, topology.ports.node);
        http::get(endpoint, "/readyz?role=writer", ANSWER_WITHIN).is_ok_and(|answer| answer.status == 200)
    });
    let found = writers.next()?;
    writers.next().is_none().then(|| found.name.clone())
}
