//! Orders to the supervisor, over a socket in the cluster's directory that only root can open.

use crate::{ClusterError, HostName, ProcessKind};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

/// The longest wait for an order to be taken. Orders are taken at once; what they cause may take longer.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verb {
    /// End it in good order; it stays down.
    Stop,
    /// Start it, or let it go on when it is frozen.
    Start,
    /// SIGKILL. A process is started again by its keeper; a whole host stays down until it is started.
    Kill,
    /// SIGSTOP, until it is started.
    Freeze,
}

/// A host, or a process of it: `h1` or `h1/postgres`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Target {
    /// The host.
    pub host: HostName,
    /// The process; none means all.
    pub process: Option<ProcessKind>,
}

/// An order.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Order {
    /// What to do.
    pub verb: Verb,
    /// To what.
    pub target: Target,
}

/// What the supervisor says.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) struct Reply {
    /// Why it refused, if it did.
    pub error: Option<String>,
}

impl FromStr for Target {
    type Err = ClusterError;

    fn from_str(text: &str) -> Result<Self, ClusterError> {
        let (host, process) = match text.split_once('/') {
            Some((host, process)) => (host, Some(process)),
            None => (text, None),
        };
        let kind = |name: &str| ProcessKind::ALL.into_iter().find(|kind| kind.as_str() == name);
        let process = match process {
            None => None,
            Some(name) => Some(kind(name).ok_or_else(|| {
                let known: Vec<&str> = ProcessKind::ALL.iter().map(|kind| kind.as_str()).collect();
                ClusterError::field("process", format!("no {name:?}; there are {}", known.join(", ")))
            })?),
        };
        let host = HostName(host.to_owned());
        Ok(Self { host, process })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.process {
            Some(process) => write!(f, "{}/{process}", self.host),
            None => write!(f, "{}", self.host),
        }
    }
}

pub(crate) fn socket(directory: &Path) -> PathBuf {
    directory.join("run").join("control.sock")
}

/// Sends an order and waits until it is taken.
///
/// # Errors
/// No supervisor runs, or it refuses.
pub fn send(directory: &Path, order: &Order) -> Result<(), ClusterError> {
    let path = socket(directory);
    let Ok(mut stream) = UnixStream::connect(&path) else {
        return Err(ClusterError::NotRunning {
            directory: directory.to_owned(),
        });
    };
    let answer = exchange(&mut stream, order).map_err(|e| ClusterError::io("ask", &path, e))?;
    let reply: Reply = serde_json::from_str(&answer).map_err(|error| ClusterError::Damaged {
        path,
        problem: error.to_string(),
    })?;
    reply
        .error
        .map_or(Ok(()), |error| Err(ClusterError::Refused(error)))
}

fn exchange(stream: &mut UnixStream, order: &Order) -> std::io::Result<String> {
    stream.set_read_timeout(Some(ANSWER_WITHIN))?;
    stream.set_write_timeout(Some(ANSWER_WITHIN))?;
    let text = serde_json::to_string(order).expect("an order is names");
    writeln!(stream, "{text}")?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer)?;
    Ok(answer)
}

/// Takes one order from a connection and answers it.
pub(crate) fn serve(
    stream: UnixStream,
    act: &mut dyn FnMut(&Order) -> Result<(), ClusterError>,
) -> std::io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    stream.set_write_timeout(Some(Duration::from_secs(1)))?;
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let done = match serde_json::from_str::<Order>(&line) {
        Ok(order) => act(&order).map_err(|error| error.to_string()),
        Err(error) => Err(format!("not an order: {error}")),
    };
    let reply = Reply { error: done.err() };
    let text = serde_json::to_string(&reply).expect("a reply is a text");
    writeln!(reader.get_mut(), "{text}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_read_as_they_are_written() {
        for text in ["h1", "h2/postgres", "h3/etcd"] {
            assert_eq!(text.parse::<Target>().unwrap().to_string(), text);
        }
        let error = "h1/postgre".parse::<Target>().unwrap_err().to_string();
        assert!(
            error.contains("postgre") && error.contains("pgbouncer"),
            "{error}"
        );
    }
}
