//! The topology: one typed file that names hosts, roles, addresses, ports, directories and durability.
//!
//! Owns: the fields, their defaults, what is allowed. Must not: touch a host or know how a program is configured.
//! Every refusal names the field, so that the file can be mended without reading code.

mod check;

use crate::ClusterError;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

/// A cluster: everything that is rendered and supervised comes from this.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Topology {
    /// The cluster's name: Patroni's scope and etcd's token. Lower-case letters, digits, `-`; at most 24.
    pub name: String,
    /// Whether ledger nodes run in it. Default: true.
    #[serde(default = "yes")]
    pub nodes: bool,
    /// Whether accounts and transfers are kept as tables of the same database, by a process beside each node of which one
    /// at a time works. Default: false; `shanraq cluster up` sets it in the file that it makes.
    #[serde(default)]
    pub projection: bool,
    /// Whether the nodes watch the PostgreSQL primary and end its term long before Patroni's lease does. Default: true.
    #[serde(default = "yes")]
    pub sentinel: bool,
    /// A command that Patroni runs before it promotes (`pre_promote`); failing calls the promotion off. Default:
    /// `shanraq fence` where commits wait for a quorum, else none. Anything else can lose what was acknowledged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pre_promote: Option<String>,
    /// How many copies a commit waits for.
    #[serde(default)]
    pub durability: Durability,
    /// How HAProxy shares load.
    #[serde(default)]
    pub balance: Balance,
    /// Ports, the same on every host.
    #[serde(default)]
    pub ports: Ports,
    /// Where the programs are.
    #[serde(default)]
    pub programs: Programs,
    /// An address that the balancers share by keepalived. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shared_address: Option<SharedAddress>,
    /// The hosts.
    pub hosts: Vec<Host>,
}

fn yes() -> bool {
    true
}

/// How many copies a commit waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Durability {
    /// `quorum` or `local`. Default: quorum.
    pub mode: DurabilityMode,
    /// Standbys that must have flushed before a commit is acknowledged. Default: 1.
    pub copies: u32,
}

/// Where a commit must be before it is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DurabilityMode {
    /// On the primary and on `copies` of the standbys, whichever are first. Writes stop while there are too few.
    Quorum,
    /// On one server only: for development on a single host. Losing the disk loses the ledger.
    Local,
}

/// How HAProxy shares load, pool by pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Balance {
    /// Among ledger nodes. Default: roundrobin.
    pub api: BalanceAlgorithm,
    /// Among PostgreSQL replicas. Default: roundrobin.
    pub replicas: BalanceAlgorithm,
}

/// Which server gets the next connection or request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum BalanceAlgorithm {
    /// Each in turn.
    #[default]
    Roundrobin,
    /// The one with the fewest connections.
    Leastconn,
    /// By the caller's address; few callers move when a server comes or goes.
    ConsistentHash,
}

/// Ports, the same on every host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ports {
    /// etcd for its clients. Default: 2379.
    pub etcd_client: u16,
    /// etcd among its members. Default: 2380.
    pub etcd_peer: u16,
    /// PostgreSQL. Default: 5432.
    pub postgres: u16,
    /// Patroni's REST interface. Default: 8008.
    pub patroni: u16,
    /// A ledger node's gRPC and REST. Default: 7400.
    pub node: u16,
    /// HAProxy: the ledger's API, any node. Default: 7410.
    pub balancer_api: u16,
    /// HAProxy: the PostgreSQL primary. Default: 5000.
    pub balancer_primary: u16,
    /// HAProxy: PostgreSQL replicas. Default: 5001.
    pub balancer_replicas: u16,
    /// HAProxy: `/healthz` and `/metrics`. Default: 7411.
    pub balancer_health: u16,
    /// PgBouncer. Default: 6432.
    pub pooler: u16,
    /// The SQL projection: `/metrics`. Default: 7480.
    pub projection: u16,
}

/// Where the programs are; the defaults are Debian 12's and what `shanraq cluster` installs.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Programs {
    /// The directory with `postgres`, `initdb`, `psql`. Default: `/usr/lib/postgresql/15/bin`.
    pub postgres_directory: PathBuf,
    /// Patroni. Default: in the virtual environment that the setup step makes.
    pub patroni: PathBuf,
    /// etcd. Default: `/usr/bin/etcd`.
    pub etcd: PathBuf,
    /// HAProxy. Default: `/usr/sbin/haproxy`.
    pub haproxy: PathBuf,
    /// PgBouncer. Default: `/usr/sbin/pgbouncer`.
    pub pgbouncer: PathBuf,
    /// keepalived. Default: `/usr/sbin/keepalived`.
    pub keepalived: PathBuf,
    /// This program. Default: `/usr/bin/shanraq`.
    pub shanraq: PathBuf,
}

/// An address that one balancer at a time holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct SharedAddress {
    /// The address, on the network of the balancers.
    pub address: Ipv4Addr,
    /// The length of its network's prefix. Default: 24.
    #[serde(default = "SharedAddress::default_prefix")]
    pub prefix: u8,
    /// VRRP's router id, unique on the network. Default: 71.
    #[serde(default = "SharedAddress::default_router")]
    pub router: u8,
}

/// A host and what it does.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Host {
    /// Its name, the same in Patroni, etcd and HAProxy.
    pub name: HostName,
    /// The address that all others reach it at.
    pub address: Ipv4Addr,
    /// The network interface with that address, for keepalived. Default: `eth0`.
    #[serde(default = "Host::default_interface")]
    pub interface: String,
    /// What it does.
    pub roles: Vec<Role>,
    /// Its memory in MiB. Default: that of the machine that renders.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_mb: Option<u64>,
    /// The size of the disk that holds its data, in GiB. Default: that of the machine that renders.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_gb: Option<u64>,
    /// Where it keeps files.
    #[serde(default)]
    pub directories: Directories,
}

/// The name of a host: lower-case letters, digits, `-`; begins with a letter; at most 15.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
#[serde(transparent)]
pub struct HostName(pub String);

/// Where a host keeps files.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Directories {
    /// Rendered configuration. Default: `/etc/shanraq`.
    pub config: PathBuf,
    /// Data. Default: `/var/lib/shanraq`.
    pub data: PathBuf,
    /// PostgreSQL's write-ahead log, where it has a disk of its own. Default: with the data.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wal: Option<PathBuf>,
    /// Sockets. Default: `/run/shanraq`.
    pub run: PathBuf,
    /// Logs. Default: `/var/log/shanraq`.
    pub log: PathBuf,
}

/// What a host does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// A member of etcd.
    Etcd,
    /// A PostgreSQL server under Patroni.
    Postgres,
    /// A ledger node.
    Node,
    /// HAProxy for clients.
    Balancer,
    /// PgBouncer for SQL readers.
    Pooler,
}

/// A process of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ProcessKind {
    /// etcd.
    Etcd,
    /// Patroni, which starts and stops PostgreSQL.
    Patroni,
    /// PostgreSQL: the postmaster and all its children.
    Postgres,
    /// PostgreSQL's postmaster alone, for faults; not a process of its own in lists.
    Postmaster,
    /// The ledger node.
    Node,
    /// HAProxy.
    Haproxy,
    /// PgBouncer.
    Pgbouncer,
    /// keepalived.
    Keepalived,
    /// The SQL projection.
    Projection,
    /// What looks after the journal's tables.
    Maintenance,
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for ProcessKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl ProcessKind {
    /// Every kind.
    pub const ALL: [Self; 10] = [
        Self::Etcd,
        Self::Patroni,
        Self::Postgres,
        Self::Postmaster,
        Self::Node,
        Self::Haproxy,
        Self::Pgbouncer,
        Self::Keepalived,
        Self::Projection,
        Self::Maintenance,
    ];

    /// As on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::Patroni => "patroni",
            Self::Postgres => "postgres",
            Self::Postmaster => "postmaster",
            Self::Node => "node",
            Self::Haproxy => "haproxy",
            Self::Pgbouncer => "pgbouncer",
            Self::Keepalived => "keepalived",
            Self::Projection => "projection",
            Self::Maintenance => "maintenance",
        }
    }
}

impl Default for Durability {
    fn default() -> Self {
        Self {
            mode: DurabilityMode::Quorum,
            copies: 1,
        }
    }
}

impl Default for Ports {
    fn default() -> Self {
        Self {
            etcd_client: 2379,
            etcd_peer: 2380,
            postgres: 5432,
            patroni: 8008,
            node: 7400,
            balancer_api: 7410,
            balancer_primary: 5000,
            balancer_replicas: 5001,
            balancer_health: 7411,
            pooler: 6432,
            projection: 7480,
        }
    }
}

impl Default for Programs {
    fn default() -> Self {
        Self {
            postgres_directory: "/usr/lib/postgresql/15/bin".into(),
            patroni: crate::setup::patroni_program(),
            etcd: "/usr/bin/etcd".into(),
            haproxy: "/usr/sbin/haproxy".into(),
            pgbouncer: "/usr/sbin/pgbouncer".into(),
            keepalived: "/usr/sbin/keepalived".into(),
            shanraq: "/usr/bin/shanraq".into(),
        }
    }
}

impl SharedAddress {
    fn default_prefix() -> u8 {
        24
    }

    fn default_router() -> u8 {
        71
    }
}

impl Default for Directories {
    fn default() -> Self {
        Self {
            config: "/etc/shanraq".into(),
            data: "/var/lib/shanraq".into(),
            wal: None,
            run: "/run/shanraq".into(),
            log: "/var/log/shanraq".into(),
        }
    }
}

impl Directories {
    /// Where PostgreSQL's data is.
    pub fn postgres(&self) -> PathBuf {
        self.data.join("postgres")
    }

    /// Where its write-ahead log is, if it has a disk of its own: below a directory of PostgreSQL's user, as Patroni takes it
    /// away as a whole before it copies the primary anew.
    pub fn postgres_wal(&self) -> Option<PathBuf> {
        self.wal.as_ref().map(|wal| wal.join("pg_wal"))
    }

    /// Where etcd's data is.
    pub fn etcd(&self) -> PathBuf {
        self.data.join("etcd")
    }

    /// Where the ledger node's history and snapshots are.
    pub fn node(&self) -> PathBuf {
        self.data.join("node")
    }
}

impl Host {
    fn default_interface() -> String {
        "eth0".to_owned()
    }

    /// Whether it has a role.
    pub fn has(&self, role: Role) -> bool {
        self.roles.contains(&role)
    }
}

impl Topology {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// The file cannot be read, or a field is refused; the error names it.
    pub fn read(path: &Path) -> Result<Self, ClusterError> {
        let text = std::fs::read_to_string(path).map_err(|e| ClusterError::io("read", path, e))?;
        let topology: Self = toml::from_str(&text).map_err(|source| ClusterError::Syntax {
            path: path.to_owned(),
            source: Box::new(source),
        })?;
        topology.check()?;
        Ok(topology)
    }

    /// The hosts that have a role, in the file's order.
    pub fn hosts_with(&self, role: Role) -> impl Iterator<Item = &Host> {
        self.hosts.iter().filter(move |host| host.has(role))
    }

    /// A host by its name.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn host(&self, name: &HostName) -> Result<&Host, ClusterError> {
        let known = || self.hosts.iter().map(|h| h.name.0.as_str()).collect::<Vec<_>>();
        self.hosts.iter().find(|host| host.name == *name).ok_or_else(|| {
            ClusterError::field("host", format!("no {name}; there are {}", known().join(", ")))
        })
    }

    /// Whether hosts are told apart by loopback addresses only: all on one machine.
    pub fn is_loopback(&self) -> bool {
        self.hosts.iter().all(|host| host.address.is_loopback())
    }

    /// Whether each host reaches the others' Patroni through its own HAProxy, so that a dead host is refused at once.
    /// Not among loopback addresses: there a dead host refuses by itself, and one address cannot mean three relays.
    pub fn has_relays(&self) -> bool {
        !self.is_loopback()
    }

    /// Whether a host runs the SQL projection: beside a node, whose data keys it needs.
    pub(crate) fn projects_at(&self, host: &Host) -> bool {
        self.projection && self.nodes && host.has(Role::Node)
    }

    /// The processes that run on a host, in the order in which they are started.
    pub fn processes(&self, host: &Host) -> Vec<ProcessKind> {
        let relay = self.has_relays() && host.has(Role::Postgres);
        let candidates = [
            (ProcessKind::Etcd, host.has(Role::Etcd)),
            (ProcessKind::Haproxy, host.has(Role::Balancer) || relay),
            (ProcessKind::Patroni, host.has(Role::Postgres)),
            (ProcessKind::Postgres, host.has(Role::Postgres)),
            (ProcessKind::Pgbouncer, host.has(Role::Pooler)),
            (
                ProcessKind::Keepalived,
                host.has(Role::Balancer) && self.shared_address.is_some(),
            ),
            (ProcessKind::Node, host.has(Role::Node) && self.nodes),
            (ProcessKind::Projection, self.projects_at(host)),
            (ProcessKind::Maintenance, host.has(Role::Postgres) && self.nodes),
        ];
        candidates
            .into_iter()
            .filter_map(|(kind, runs)| runs.then_some(kind))
            .collect()
    }
}
