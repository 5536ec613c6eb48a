//! Configuration: one typed struct. Owns: its fields, their defaults and bounds. Unknown keys are refused.

use anyhow::{Context, Result, bail};
use api::{LiveBounds, RequestBounds};
use election::{ElectionOptions, Member, MemberName};
use journal_postgres::{ConnectOptions, Durability, Password, PostgresOptions};
use node::NodeOptions;
use sentinel::SentinelOptions;
use serde::Deserialize;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Everything a node can be told in a file; each field has a default.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where it listens.
    pub server: ServerConfig,
    /// How it works.
    pub node: NodeConfig,
    /// Where its journal is: without it, in the data directory.
    pub journal: JournalConfig,
    /// The cluster whose member it is: without it, it is the only node.
    pub cluster: Option<ClusterConfig>,
    /// What it writes to standard error.
    pub log: LogConfig,
}

/// The node as a member of a cluster; its journal is in PostgreSQL.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClusterConfig {
    /// The ledger's name, the same at all members: lower-case letters, digits and `-`. Default: `main`.
    #[serde(default = "default_ledger")]
    pub ledger: String,
    /// This member's name, unique in the ledger.
    pub name: String,
    /// etcd's client addresses, `http://host:port`.
    pub etcd: Vec<String>,
    /// `host:port` at which other members reach this one.
    pub advertise: String,
    /// How long a writer that cannot reach etcd stays the writer, in seconds, 1 to 60. Default: 5.
    #[serde(default = "default_lease_s")]
    pub lease_s: u32,
    /// How long a writer may be silent to a majority of the members before they end its term, in ms, 300 to 60,000. Default: 1,200.
    #[serde(default = "default_silent_after_ms")]
    pub silent_after_ms: u32,
    /// Watches the PostgreSQL primary; without it Patroni heals at its own pace.
    pub sentinel: Option<SentinelConfig>,
}

/// How this node takes part in watching the PostgreSQL primary.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SentinelConfig {
    /// Patroni's scope.
    pub scope: String,
    /// All nodes that watch, by the names of their hosts' servers in Patroni; this node's `name` is among them.
    pub nodes: BTreeSet<String>,
    /// The data directory of this host's PostgreSQL, if it has one.
    pub local_postgres: Option<PathBuf>,
}

fn default_ledger() -> String {
    "main".to_owned()
}

fn default_lease_s() -> u32 {
    5
}

fn default_silent_after_ms() -> u32 {
    1_200
}

impl ClusterConfig {
    /// What the sentinel is told, where there is one.
    pub fn sentinel(&self) -> Option<SentinelOptions> {
        let config = self.sentinel.as_ref()?;
        let nodes = config.nodes.iter().map(|name| name.as_str().into()).collect();
        let name = self.name.as_str().into();
        let mut options = SentinelOptions::new(&config.scope, name, nodes, self.etcd.clone());
        options.local_postgres.clone_from(&config.local_postgres);
        options.local_etcd = self.local_etcd();
        Some(options)
    }

    /// The member of etcd at this node's own address.
    fn local_etcd(&self) -> Option<String> {
        let (host, _) = self.advertise.rsplit_once(':')?;
        let is_here = |url: &&String| {
            let place = url.split_once("://").map_or(url.as_str(), |(_, place)| place);
            place.rsplit_once(':').is_some_and(|(other, _)| other == host)
        };
        self.etcd.iter().find(is_here).cloned()
    }

    /// What the election is told.
    pub fn election(&self) -> Result<ElectionOptions> {
        let member = Member {
            name: MemberName::new(&self.name)?,
            grpc_address: self.advertise.clone(),
            rest_address: self.advertise.clone(),
            may_write: true,
            instance: String::new(),
        };
        let mut options = ElectionOptions::new(self.etcd.iter().cloned(), &self.ledger, member)?;
        options.lease_ttl_s = self.lease_s;
        options.silent_after_ms = self.silent_after_ms;
        options.check()?;
        Ok(options)
    }
}

/// Where the journal is.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct JournalConfig {
    /// In a PostgreSQL database.
    pub postgres: Option<PostgresConfig>,
}

/// The database of the journal.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PostgresConfig {
    /// `host:port` of each server; the writer takes the one on the latest timeline of those that take writes.
    pub hosts: Vec<String>,
    /// Default: `shanraq`.
    #[serde(default = "default_database")]
    pub database: String,
    /// A member of the role `shanraq_writer`.
    pub user: String,
    /// A file with the user's password in its first line.
    pub password_file: Option<PathBuf>,
    /// When a block is durable; there is no default.
    pub durability: DurabilityConfig,
    /// With `durability = "standbys"`: the `application_name` of each standby that counts.
    #[serde(default)]
    pub standbys: Vec<String>,
    /// With `durability = "standbys"`: how many of them must have flushed a block. Default: 1.
    #[serde(default = "one")]
    pub flushed: NonZeroU32,
}

/// When a block is durable.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum DurabilityConfig {
    /// On the disk of the one server: whoever loses that disk loses acknowledged transfers.
    Local,
    /// On the disks of standbys too.
    Standbys,
}

fn default_database() -> String {
    "shanraq".to_owned()
}

fn one() -> NonZeroU32 {
    NonZeroU32::MIN
}

/// Where a node listens.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ServerConfig {
    /// Address and port for gRPC and REST, on one port. Default: 127.0.0.1:7400.
    pub listen: SocketAddr,
    /// Whether it may listen beyond loopback without TLS, which this version does not have: on a network of its own only.
    /// Default: false.
    pub plain_network: bool,
    /// How long a request may take that names no deadline, in milliseconds. Default: 10,000.
    pub default_timeout_ms: u64,
    /// The longest time a request may ask for, in milliseconds. Default: 300,000.
    pub timeout_max_ms: u64,
    /// The greatest age that a bounded read may ask for, in milliseconds; a greater one counts as this. Default: 3,600,000.
    pub bounded_age_max_ms: u64,
    /// The largest request in bytes. Default: 8 MiB.
    pub request_bytes_max: usize,
    /// Connections open at once; further ones wait. Default: 4,096.
    pub connections_max: usize,
}

/// How a node works.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NodeConfig {
    /// The data directory. Default: `shanraq-data`.
    pub directory: PathBuf,
    /// The file with the data key, of mode 0600. Default: `keys` in the data directory.
    pub key_file: Option<PathBuf>,
    /// Requests waiting before further ones are refused. Default: 65,536.
    pub queue_requests_max: usize,
    /// Events waiting before further requests are refused. Default: 524,288.
    pub queue_events_max: usize,
    /// When a client that was refused as overload is told to try again, in milliseconds. Default: 20.
    pub overload_retry_ms: u64,
    /// Rows between two snapshots, at least. Default: 262,144.
    pub snapshot_rows: u64,
    /// Rows and accounts that the history index may be behind before writes wait for it. Default: 262,144.
    pub index_lag_rows_max: u64,
    /// Rows that the history index collects in memory before it writes them out. Default: 131,072.
    pub index_flush_rows: u32,
    /// Writes are refused while less room than this is left, in bytes. Default: 256 MiB.
    pub disk_reserve_bytes: u64,
}

/// What a node logs.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogConfig {
    /// `error`, `warn`, `info`, `debug` or `trace`. Default: `info`.
    pub level: String,
    /// One JSON object a line instead of text. Default: false.
    pub json: bool,
}

impl Default for ServerConfig {
    fn default() -> Self {
        let bounds = RequestBounds::default();
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 7400)),
            plain_network: false,
            default_timeout_ms: bounds.default_timeout_ms,
            timeout_max_ms: bounds.timeout_max_ms,
            bounded_age_max_ms: bounds.bounded_age_max_ms,
            request_bytes_max: wire::REQUEST_BYTES_MAX,
            connections_max: 4_096,
        }
    }
}

impl Default for NodeConfig {
    fn default() -> Self {
        let options = NodeOptions::new("shanraq-data");
        Self {
            directory: options.directory,
            key_file: None,
            queue_requests_max: options.queue_requests_max,
            queue_events_max: options.queue_events_max,
            overload_retry_ms: options.overload_retry_ms,
            snapshot_rows: options.snapshot_rows,
            index_lag_rows_max: options.index_lag_rows_max,
            index_flush_rows: options.index_flush_rows,
            disk_reserve_bytes: options.disk_reserve_bytes,
        }
    }
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            level: "info".to_owned(),
            json: false,
        }
    }
}

impl Config {
    /// Reads a file; the error names file, line and key.
    pub fn read(path: &Path) -> Result<Self> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let config: Self = toml::from_str(&text).with_context(|| format!("{} is refused", path.display()))?;
        config
            .check()
            .with_context(|| format!("{} is refused", path.display()))?;
        Ok(config)
    }

    /// Checks what the types alone cannot.
    pub fn check(&self) -> Result<()> {
        if !self.server.listen.ip().is_loopback() && !self.server.plain_network {
            bail!(
                "server.listen: {} is not loopback and this version has no TLS yet; `plain_network = true` allows it on a \
                 network of its own",
                self.server.listen
            );
        }
        let positive = [
            ("server.default_timeout_ms", self.server.default_timeout_ms),
            ("server.timeout_max_ms", self.server.timeout_max_ms),
            ("server.bounded_age_max_ms", self.server.bounded_age_max_ms),
            ("server.request_bytes_max", self.server.request_bytes_max as u64),
            ("server.connections_max", self.server.connections_max as u64),
            ("node.queue_requests_max", self.node.queue_requests_max as u64),
            ("node.queue_events_max", self.node.queue_events_max as u64),
            ("node.overload_retry_ms", self.node.overload_retry_ms),
            ("node.snapshot_rows", self.node.snapshot_rows),
            ("node.index_lag_rows_max", self.node.index_lag_rows_max),
            ("node.index_flush_rows", u64::from(self.node.index_flush_rows)),
        ];
        for (name, value) in positive {
            if value == 0 {
                bail!("{name}: must be above 0");
            }
        }
        if let Some(postgres) = &self.journal.postgres {
            if self.node.key_file.is_none() {
                bail!(
                    "node.key_file: must be given with [journal.postgres]: every node of a ledger needs the same key"
                );
            }
            postgres.options().context("journal.postgres")?;
        }
        if let Some(cluster) = &self.cluster {
            if self.journal.postgres.is_none() {
                bail!("journal.postgres: must be given with [cluster]: its members share a journal");
            }
            cluster.election().context("cluster")?;
            if let Some(sentinel) = cluster
                .sentinel
                .as_ref()
                .filter(|it| !it.nodes.contains(&cluster.name))
            {
                let (nodes, name) = (&sentinel.nodes, &cluster.name);
                bail!("cluster.sentinel.nodes: {nodes:?} does not hold this node, {name:?}");
            }
        }
        if !["error", "warn", "info", "debug", "trace"].contains(&self.log.level.as_str()) {
            bail!(
                "log.level: {:?} is none of error, warn, info, debug, trace",
                self.log.level
            );
        }
        Ok(())
    }

    /// What the node is told.
    pub fn node_options(&self) -> NodeOptions {
        let node = &self.node;
        NodeOptions {
            key_file: node.key_file.clone(),
            queue_requests_max: node.queue_requests_max,
            queue_events_max: node.queue_events_max,
            overload_retry_ms: node.overload_retry_ms,
            snapshot_rows: node.snapshot_rows,
            index_lag_rows_max: node.index_lag_rows_max,
            index_flush_rows: node.index_flush_rows,
            disk_reserve_bytes: node.disk_reserve_bytes,
            ..NodeOptions::new(&node.directory)
        }
    }

    /// What the listener is told.
    pub fn api_config(&self) -> api::ApiConfig {
        api::ApiConfig {
            bounds: Arc::new(LiveBounds::new(&RequestBounds {
                default_timeout_ms: self.server.default_timeout_ms,
                timeout_max_ms: self.server.timeout_max_ms,
                bounded_age_max_ms: self.server.bounded_age_max_ms,
            })),
            max_request_bytes: self.server.request_bytes_max,
            max_connections: self.server.connections_max,
            ..api::ApiConfig::default()
        }
    }
}

impl PostgresConfig {
    /// What the journal is told.
    pub fn options(&self) -> Result<PostgresOptions> {
        let mut connect = ConnectOptions::new("", 0, &self.user);
        connect.hosts = self
            .hosts
            .iter()
            .map(|host| host_and_port(host))
            .collect::<Result<_>>()?;
        connect.database.clone_from(&self.database);
        connect.password = self
            .password_file
            .as_deref()
            .map(Password::from_file)
            .transpose()?;
        connect.check()?;
        let durability = match self.durability {
            DurabilityConfig::Local if !self.standbys.is_empty() => {
                bail!("standbys: given, but durability is \"local\"")
            }
            DurabilityConfig::Local => Durability::Local,
            DurabilityConfig::Standbys => Durability::Standbys {
                names: self.standbys.clone(),
                flushed: self.flushed,
            },
        };
        durability.check()?;
        Ok(PostgresOptions {
            connect,
            durability,
            shard: journal::ShardId(0),
        })
    }
}

fn host_and_port(text: &str) -> Result<(String, u16)> {
    let parts = text.rsplit_once(':');
    let parsed = parts.and_then(|(host, port)| Some((host.to_owned(), port.parse().ok()?)));
    parsed.with_context(|| format!("hosts: {text:?} is not host:port"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Config> {
        let file = tempfile::NamedTempFile::new()?;
        std::fs::write(file.path(), text)?;
        Config::read(file.path())
    }

    #[test]
    fn an_empty_file_gives_the_defaults() {
        let config = read("").unwrap();
        assert_eq!(config.server.listen.port(), 7400);
        assert_eq!(config.node.queue_events_max, 524_288);
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_line() {
        let error = format!("{:#}", read("[server]\nlisen = \"127.0.0.1:1\"\n").unwrap_err());
        assert!(error.contains("lisen") && error.contains("line 2"), "{error}");
    }

    #[test]
    fn an_address_beyond_loopback_is_refused_while_there_is_no_tls() {
        let error = format!("{:#}", read("[server]\nlisten = \"0.0.0.0:7400\"\n").unwrap_err());
        assert!(error.contains("server.listen"), "{error}");
    }

    const POSTGRES: &str =
        "[node]\nkey_file = \"k\"\n[journal.postgres]\nhosts = [\"h:5432\"]\nuser = \"u\"\n";

    #[test]
    fn a_journal_in_postgresql_needs_its_durability_and_its_key_said() {
        let with = |more: &str| read(&format!("{POSTGRES}{more}"));
        assert!(with("durability = \"local\"\n").is_ok());
        assert!(with("durability = \"standbys\"\nstandbys = [\"a\", \"b\"]\n").is_ok());
        let refusals = [
            (POSTGRES.to_owned(), "durability"),
            (format!("{POSTGRES}durability = \"standbys\"\n"), "standbys"),
            (
                format!("{POSTGRES}durability = \"local\"\nstandbys = [\"a\"]\n"),
                "standbys",
            ),
            (
                format!("{POSTGRES}durability = \"local\"\n").replace("h:5432", "h"),
                "hosts",
            ),
            (
                format!("{POSTGRES}durability = \"local\"\n").replace("key_file", "# "),
                "node.key_file",
            ),
        ];
        for (text, field) in refusals {
            let error = format!("{:#}", read(&text).unwrap_err());
            assert!(error.contains(field), "{field}: {error}");
        }
    }
}
