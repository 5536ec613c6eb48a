//! The ledger node's configuration. Only what `shanraq serve` knows today: it has no cluster mode yet.

use super::HEADER;
use crate::address::at;
use crate::{Host, Topology};

/// The node of a host.
pub fn config(topology: &Topology, host: &Host) -> String {
    let data = host.directories.data.join("node");
    format!(
        "# {HEADER}
[server]
listen = \"{listen}\"

[node]
directory = \"{data}\"

[log]
level = \"info\"
json = true
",
        listen = at(host, topology.ports.node),
        data = data.display(),
    )
}
