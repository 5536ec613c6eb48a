//! The configuration of the SQL projection, and the password beside it.

use super::HEADER;
use super::node::{KEYS, addresses, durability, plain_network};
use crate::address::at;
use crate::{Host, Role, Topology};

/// Its configuration.
pub const FILE: &str = "projection.toml";
/// The password of the role that moves the tables.
pub const PASSWORD: &str = "projector.password";

/// The projection of a host. The tables are in the journal's own database, so one login reads the one and writes the other.
pub fn config(topology: &Topology, host: &Host) -> String {
    let server = format!(
        "hosts = [{servers}]
database = \"shanraq\"
user = \"shanraq_projector\"
password_file = \"{password}\"
",
        servers = addresses(topology, host, Role::Postgres, topology.ports.postgres, ""),
        password = host.directories.config.join(PASSWORD).display(),
    );
    format!(
        "# {HEADER}
key_file = \"{keys}\"
metrics = \"{metrics}\"
{plain}
[journal.postgres]
{server}{durability}
[target]
{server}
[log]
level = \"info\"
json = true
",
        keys = host.directories.config.join(KEYS).display(),
        metrics = at(host, topology.ports.projection),
        plain = plain_network(host),
        durability = durability(topology),
    )
}
