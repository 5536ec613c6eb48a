//! What the topology's types alone cannot refuse.

use super::{DurabilityMode, Host, HostName, Role, Topology};
use crate::ClusterError;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::path::Path;

/// A Unix socket's path has room for so many bytes; PostgreSQL adds `/.s.PGSQL.65535`.
const SOCKET_DIRECTORY_BYTES_MAX: usize = 107 - 15;

impl Topology {
    /// Checks every field.
    ///
    /// # Errors
    /// The first field that cannot work, by its path in the file.
    pub fn check(&self) -> Result<(), ClusterError> {
        check_name("name", &self.name, 24)?;
        if self.hosts.is_empty() {
            return Err(ClusterError::field("hosts", "there must be at least one"));
        }
        for (index, host) in self.hosts.iter().enumerate() {
            check_host(index, host)?;
        }
        self.check_distinct()?;
        self.check_roles()?;
        self.check_durability()?;
        self.check_ports()?;
        self.check_programs()?;
        self.check_shared_address()
    }

    fn check_distinct(&self) -> Result<(), ClusterError> {
        let mut names = BTreeSet::new();
        let mut addresses = BTreeSet::new();
        let mut data = BTreeSet::new();
        for (index, host) in self.hosts.iter().enumerate() {
            if !names.insert(&host.name) {
                let problem = format!("{} is another host's name too", host.name);
                return Err(ClusterError::field(format!("hosts[{index}].name"), problem));
            }
            if !addresses.insert(host.address) {
                let problem = format!("{} is another host's address too", host.address);
                return Err(ClusterError::field(format!("hosts[{index}].address"), problem));
            }
            let own = data.insert(&host.directories.data);
            if !own && self.is_loopback() {
                let problem = "another host on this machine has the same directory";
                return Err(ClusterError::field(
                    format!("hosts[{index}].directories.data"),
                    problem,
                ));
            }
        }
        let loopback = self.hosts.iter().filter(|h| h.address.is_loopback()).count();
        if loopback != 0 && loopback != self.hosts.len() {
            let index = self
                .hosts
                .iter()
                .position(|h| h.address.is_loopback())
                .unwrap_or(0);
            let problem = "is loopback, but other hosts are not: they could not reach it";
            return Err(ClusterError::field(format!("hosts[{index}].address"), problem));
        }
        Ok(())
    }

    fn check_roles(&self) -> Result<(), ClusterError> {
        let count = |role| self.hosts_with(role).count();
        let etcd = count(Role::Etcd);
        if etcd.is_multiple_of(2) {
            let problem = format!("{etcd} hosts have the role etcd; it must be an odd number: 1, 3 or 5");
            return Err(ClusterError::field("hosts[].roles", problem));
        }
        if count(Role::Postgres) == 0 {
            return Err(ClusterError::field(
                "hosts[].roles",
                "no host has the role postgres",
            ));
        }
        if self.nodes && count(Role::Node) == 0 {
            return Err(ClusterError::field(
                "nodes",
                "is true, but no host has the role node",
            ));
        }
        if self.projection && !self.nodes {
            let problem = "is true, but nodes is false: there is no ledger to project";
            return Err(ClusterError::field("projection", problem));
        }
        if count(Role::Pooler) > 0 {
            let lonely = |host: &Host| host.has(Role::Pooler) && !host.has(Role::Balancer);
            if let Some(index) = self.hosts.iter().position(lonely) {
                let problem =
                    "a pooler reaches PostgreSQL through its host's balancer: add the role balancer";
                return Err(ClusterError::field(format!("hosts[{index}].roles"), problem));
            }
        }
        Ok(())
    }

    fn check_durability(&self) -> Result<(), ClusterError> {
        let servers = self.hosts_with(Role::Postgres).count();
        match self.durability.mode {
            DurabilityMode::Quorum => {
                let copies = self.durability.copies as usize;
                if copies == 0 || copies >= servers {
                    let problem = format!("{copies} copies cannot be kept by {servers} PostgreSQL servers");
                    return Err(ClusterError::field("durability.copies", problem));
                }
            }
            DurabilityMode::Local if servers > 1 => {
                let problem = format!("local is for one PostgreSQL server; there are {servers}: use quorum");
                return Err(ClusterError::field("durability.mode", problem));
            }
            DurabilityMode::Local => {}
        }
        Ok(())
    }

    fn check_ports(&self) -> Result<(), ClusterError> {
        let mut seen: BTreeMap<u16, &str> = BTreeMap::new();
        for (name, port) in self.ports.named() {
            if port < 1024 {
                let problem =
                    format!("{port} is below 1024, which needs rights that the programs do not get");
                return Err(ClusterError::field(format!("ports.{name}"), problem));
            }
            if let Some(other) = seen.insert(port, name) {
                let problem = format!("{port} is ports.{other} too");
                return Err(ClusterError::field(format!("ports.{name}"), problem));
            }
        }
        Ok(())
    }

    fn check_programs(&self) -> Result<(), ClusterError> {
        let programs = &self.programs;
        let named = [
            ("postgres_directory", &programs.postgres_directory),
            ("patroni", &programs.patroni),
            ("etcd", &programs.etcd),
            ("haproxy", &programs.haproxy),
            ("pgbouncer", &programs.pgbouncer),
            ("keepalived", &programs.keepalived),
            ("shanraq", &programs.shanraq),
        ];
        for (name, path) in named {
            check_path(&format!("programs.{name}"), path)?;
        }
        match &self.pre_promote {
            Some(command) if command.trim().is_empty() || command.contains(['\n', '\r']) => Err(
                ClusterError::field("pre_promote", "must be one command on one line"),
            ),
            _ => Ok(()),
        }
    }

    fn check_shared_address(&self) -> Result<(), ClusterError> {
        let Some(shared) = &self.shared_address else {
            return Ok(());
        };
        if self.hosts_with(Role::Balancer).count() < 2 {
            let problem = "two hosts at least must have the role balancer";
            return Err(ClusterError::field("shared_address", problem));
        }
        if !(8..=32).contains(&shared.prefix) {
            return Err(ClusterError::field("shared_address.prefix", "must be 8 to 32"));
        }
        if shared.router == 0 {
            return Err(ClusterError::field("shared_address.router", "must be 1 to 255"));
        }
        if shared.address.is_loopback() || self.hosts.iter().any(|h| h.address == shared.address) {
            let problem = "must be an address of its own, on the balancers' network";
            return Err(ClusterError::field("shared_address.address", problem));
        }
        Ok(())
    }
}

impl super::Ports {
    fn named(&self) -> [(&'static str, u16); 11] {
        [
            ("etcd_client", self.etcd_client),
            ("etcd_peer", self.etcd_peer),
            ("postgres", self.postgres),
            ("patroni", self.patroni),
            ("node", self.node),
            ("balancer_api", self.balancer_api),
            ("balancer_primary", self.balancer_primary),
            ("balancer_replicas", self.balancer_replicas),
            ("balancer_health", self.balancer_health),
            ("pooler", self.pooler),
            ("projection", self.projection),
        ]
    }

    /// All of them.
    pub(crate) fn all(&self) -> impl Iterator<Item = u16> {
        self.named().into_iter().map(|(_, port)| port)
    }
}

fn check_host(index: usize, host: &Host) -> Result<(), ClusterError> {
    let field = |name: &str| format!("hosts[{index}].{name}");
    let HostName(name) = &host.name;
    check_name(&field("name"), name, 15)?;
    check_name(&field("interface"), &host.interface, 15)?;
    if host.address == Ipv4Addr::UNSPECIFIED || host.address.is_broadcast() || host.address.is_multicast() {
        let problem = format!("{} is not the address of one host", host.address);
        return Err(ClusterError::field(field("address"), problem));
    }
    if host.roles.is_empty() {
        return Err(ClusterError::field(field("roles"), "must name at least one"));
    }
    for (position, role) in host.roles.iter().enumerate() {
        if host.roles[..position].contains(role) {
            return Err(ClusterError::field(field("roles"), "names a role twice"));
        }
    }
    if host.memory_mb.is_some_and(|mb| mb < 256) {
        return Err(ClusterError::field(field("memory_mb"), "must be at least 256"));
    }
    if host.disk_gb.is_some_and(|gb| gb < 4) {
        return Err(ClusterError::field(field("disk_gb"), "must be at least 4"));
    }
    let directories = &host.directories;
    check_path(&field("directories.config"), &directories.config)?;
    check_path(&field("directories.data"), &directories.data)?;
    check_path(&field("directories.run"), &directories.run)?;
    check_path(&field("directories.log"), &directories.log)?;
    if let Some(wal) = &directories.wal {
        check_path(&field("directories.wal"), wal)?;
    }
    if directories.run.as_os_str().len() > SOCKET_DIRECTORY_BYTES_MAX {
        let problem = format!("is too long for a socket: at most {SOCKET_DIRECTORY_BYTES_MAX} bytes");
        return Err(ClusterError::field(field("directories.run"), problem));
    }
    Ok(())
}

/// Names become parts of configuration in six languages, so they are kept to what needs quoting in none.
fn check_name(field: &str, name: &str, length_max: usize) -> Result<(), ClusterError> {
    let begins = name.starts_with(|c: char| c.is_ascii_lowercase());
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if begins && name.len() <= length_max && name.chars().all(plain) {
        return Ok(());
    }
    let problem = format!(
        "{name:?} is refused: lower-case letters, digits and `-`, a letter first, at most {length_max}"
    );
    Err(ClusterError::field(field, problem))
}

/// Paths too: absolute, and of characters that no configuration language gives a meaning.
fn check_path(field: &str, path: &Path) -> Result<(), ClusterError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/-_.+".contains(c);
    match path.to_str() {
        Some(text) if path.is_absolute() && text.chars().all(plain) => Ok(()),
        _ => {
            let problem = format!(
                "{} is refused: an absolute path of letters, digits and / - _ . +",
                path.display()
            );
            Err(ClusterError::field(field, problem))
        }
    }
}
