//! The ledger node's configuration, and the secrets beside it.

use super::HEADER;
use crate::address::{at, own_first};
use crate::{DurabilityMode, Host, Role, Topology};

/// Its configuration.
pub const FILE: &str = "node.toml";
/// The ledger's data keys.
pub const KEYS: &str = "ledger-keys";
/// The password of the role that appends.
pub const PASSWORD: &str = "writer.password";

/// The node of a host. All of the ledger's members stand in it, as any of them can be primary, standby or writer.
pub fn config(topology: &Topology, host: &Host) -> String {
    let directories = &host.directories;
    let listen = at(host, topology.ports.node);
    let plain = plain_network(host);
    let durability = durability(topology);
    format!(
        "# {HEADER}
[server]
listen = \"{listen}\"
{plain}
[node]
directory = \"{data}\"
key_file = \"{keys}\"

[journal.postgres]
hosts = [{servers}]
database = \"shanraq\"
user = \"shanraq_writer\"
password_file = \"{password}\"
{durability}
[cluster]
ledger = \"main\"
name = \"{name}\"
etcd = [{etcd}]
advertise = \"{listen}\"
lease_s = 5
silent_after_ms = 1200
{sentinel}
[log]
level = \"info\"
json = true
",
        data = directories.node().display(),
        keys = directories.config.join(KEYS).display(),
        password = directories.config.join(PASSWORD).display(),
        servers = addresses(topology, host, Role::Postgres, topology.ports.postgres, ""),
        etcd = addresses(topology, host, Role::Etcd, topology.ports.etcd_client, "http://"),
        name = host.name,
        sentinel = sentinel(topology, host),
    )
}

/// Without TLS a process of ours listens beyond loopback only where it is told that the network is the cluster's own.
pub(super) fn plain_network(host: &Host) -> &'static str {
    match host.address.is_loopback() {
        true => "",
        false => "plain_network = true\n",
    }
}

/// A port of every host of a role, the host's own first, as a list's inside.
pub(super) fn addresses(topology: &Topology, host: &Host, role: Role, port: u16, scheme: &str) -> String {
    let hosts = own_first(topology, host, role);
    quoted(hosts.map(|host| format!("{scheme}{}", at(host, port))))
}

/// Where a block must be before it is final.
pub(super) fn durability(topology: &Topology) -> String {
    let standbys = topology.hosts_with(Role::Postgres);
    match topology.durability.mode {
        DurabilityMode::Local => "durability = \"local\"\n".to_owned(),
        DurabilityMode::Quorum => format!(
            "durability = \"standbys\"\nstandbys = [{}]\nflushed = {}\n",
            quoted(standbys.map(|host| host.name.to_string())),
            topology.durability.copies
        ),
    }
}

/// A server alone has nobody to follow it.
fn sentinel(topology: &Topology, host: &Host) -> String {
    if !topology.sentinel || topology.durability.mode == DurabilityMode::Local {
        return String::new();
    }
    let local = match host.has(Role::Postgres) {
        true => format!("local_postgres = \"{}\"\n", host.directories.postgres().display()),
        false => String::new(),
    };
    format!(
        "\n[cluster.sentinel]\nscope = \"{}\"\nnodes = [{}]\n{local}",
        topology.name,
        quoted(topology.hosts_with(Role::Node).map(|host| host.name.to_string())),
    )
}

fn quoted(words: impl Iterator<Item = String>) -> String {
    let words: Vec<String> = words.map(|word| format!("\"{word}\"")).collect();
    words.join(", ")
}
