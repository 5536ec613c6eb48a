//! The configuration of the fence, and the passwords that it and the standbys use.

use super::HEADER;
use crate::address::own_first;
use crate::{DurabilityMode, Host, Role, Secrets, Topology, address::at};
use std::fmt::Write;

/// Its configuration.
pub const FILE: &str = "fence.toml";
/// The password of the role that looks at servers and points standbys elsewhere.
pub const PASSWORD: &str = "fence.password";
/// What standbys are told to take their password from when the fence points them to a candidate.
pub const STANDBY_PASSWORDS: &str = "standby.pgpass";

/// What Patroni runs before it promotes: the fence, unless the topology names something else. Without a quorum there is
/// nothing to guard.
pub fn pre_promote(topology: &Topology, host: &Host) -> Option<String> {
    let config = host.directories.config.join(FILE);
    let fence = format!(
        "{} fence --config {}",
        topology.programs.shanraq.display(),
        config.display()
    );
    match (&topology.pre_promote, topology.durability.mode) {
        (Some(command), _) => Some(command.clone()),
        (None, DurabilityMode::Quorum) => Some(fence),
        (None, DurabilityMode::Local) => None,
    }
}

/// The fence of a host.
pub fn config(topology: &Topology, host: &Host) -> String {
    let etcd: Vec<String> = own_first(topology, host, Role::Etcd)
        .map(|member| format!("\"http://{}\"", at(member, topology.ports.etcd_client)))
        .collect();
    let mut text = format!(
        "# {HEADER}
scope = \"{scope}\"
name = \"{name}\"
etcd = [{etcd}]
psql = \"{psql}\"
user = \"shanraq_fence\"
password_file = \"{password}\"
replication_user = \"shanraq_replication\"
",
        scope = topology.name,
        name = host.name,
        etcd = etcd.join(", "),
        psql = topology.programs.postgres_directory.join("psql").display(),
        password = host.directories.config.join(PASSWORD).display(),
    );
    for server in topology.hosts_with(Role::Postgres) {
        let _ = write!(
            text,
            "
[[servers]]
name = \"{name}\"
host = \"{address}\"
port = {port}
passfile = \"{passfile}\"
",
            name = server.name,
            address = server.address,
            port = topology.ports.postgres,
            passfile = server.directories.config.join(STANDBY_PASSWORDS).display(),
        );
    }
    text
}

/// In the format of `.pgpass`, for every server.
pub fn standby_passwords(secrets: &Secrets) -> String {
    format!("*:*:*:shanraq_replication:{}\n", secrets.replication)
}
