//! Everything that a host needs, as text, out of the topology (pure).
//!
//! Owns: one file a program. Must not: read clocks, disks or the network; the same topology, machine and secrets give
//! the same bytes, which golden files pin. Names, paths and passwords are of plain characters (the topology is checked
//! for it), so no language's quoting is needed.

mod etcd;
mod fence;
mod haproxy;
mod keepalived;
mod node;
mod patroni;
mod pgbouncer;
mod postgres;
mod projection;
mod rewind;
mod roles;
mod sysctl;
mod systemd;

use crate::files::{FileOwner, RenderedFile};
use crate::{Host, Machine, ProcessKind, Role, Secrets, Topology};

pub(crate) use node::FILE as NODE_FILE;
pub use postgres::server_settings;
pub(crate) use projection::FILE as PROJECTION_FILE;

/// The files of a host, by path.
pub fn render(topology: &Topology, host: &Host, machine: Machine, secrets: &Secrets) -> Vec<RenderedFile> {
    let mut files = Vec::new();
    for kind in topology.processes(host) {
        match kind {
            ProcessKind::Etcd => files.push(root("etcd.yml", etcd::config(topology, host))),
            ProcessKind::Haproxy => files.push(root("haproxy.cfg", haproxy::config(topology, host))),
            ProcessKind::Patroni => {
                let patroni = patroni::config(topology, host, machine, secrets);
                files.push(postgres("patroni.yml", 0o600, patroni));
                files.push(postgres("roles.sql", 0o600, roles::sql(secrets)));
                files.push(postgres("bootstrap.sh", 0o700, roles::script(topology, host)));
                files.push(postgres(rewind::FILE, 0o700, rewind::script(topology)));
                files.push(postgres(fence::FILE, 0o644, fence::config(topology, host)));
                files.push(postgres(fence::PASSWORD, 0o600, format!("{}\n", secrets.fence)));
                let passwords = fence::standby_passwords(secrets);
                files.push(postgres(fence::STANDBY_PASSWORDS, 0o600, passwords));
            }
            ProcessKind::Pgbouncer => {
                files.push(root("pgbouncer.ini", pgbouncer::config(topology, host)));
                files.push(postgres("userlist.txt", 0o600, pgbouncer::users(secrets)));
            }
            ProcessKind::Keepalived => {
                files.extend(keepalived::config(topology, host).map(|text| root("keepalived.conf", text)));
                let mut check = root("check-balancer.sh", keepalived::check(topology, host));
                check.mode = 0o755;
                files.push(check);
            }
            ProcessKind::Node => {
                files.push(root(node::FILE, node::config(topology, host)));
                files.push(postgres(node::KEYS, 0o600, secrets.ledger_keys.clone()));
                let password = format!("{}\n", secrets.writer);
                files.push(postgres(node::PASSWORD, 0o600, password));
            }
            ProcessKind::Projection => {
                files.push(root(projection::FILE, projection::config(topology, host)));
                let password = format!("{}\n", secrets.projector);
                files.push(postgres(projection::PASSWORD, 0o600, password));
            }
            ProcessKind::Postgres | ProcessKind::Postmaster | ProcessKind::Maintenance => {}
        }
    }
    files.extend(systemd::files(topology, host));
    if host.has(Role::Postgres) || host.has(Role::Etcd) {
        files.push(sysctl::file());
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
}

const HEADER: &str = "Written by `shanraq cluster render` from cluster.toml: change that file, not this one.";

fn root(path: &str, text: String) -> RenderedFile {
    RenderedFile {
        path: path.into(),
        owner: FileOwner::Root,
        mode: 0o644,
        text,
    }
}

fn postgres(path: &str, mode: u32, text: String) -> RenderedFile {
    RenderedFile {
        path: path.into(),
        owner: FileOwner::Postgres,
        mode,
        text,
    }
}
