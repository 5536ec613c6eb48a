//! Configuration: one typed struct. Owns: its fields, their defaults and bounds. Unknown keys are refused.

use anyhow::{Context, Result, bail};
use node::NodeOptions;
use serde::Deserialize;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// Everything a node can be told in a file; each field has a default.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where it listens.
    pub server: ServerConfig,
    /// How it works.
    pub node: NodeConfig,
    /// What it writes to standard error.
    pub log: LogConfig,
}

/// Where a node listens.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ServerConfig {
    /// Address and port for gRPC and REST, on one port. Loopback only, until TLS exists. Default: 127.0.0.1:7400.
    pub listen: SocketAddr,
    /// How long a request may take that names no deadline, in milliseconds. Default: 10,000.
    pub default_timeout_ms: u64,
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
    /// Rows between two snapshots, at least. Default: 262,144.
    pub snapshot_rows: u64,
    /// Rows that the history index may be behind before writes wait for it. Default: 262,144.
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
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 7400)),
            default_timeout_ms: 10_000,
            request_bytes_max: 8 << 20,
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
        if !self.server.listen.ip().is_loopback() {
            bail!(
                "server.listen: {} is not loopback; this version has no TLS yet",
                self.server.listen
            );
        }
        let positive = [
            ("server.default_timeout_ms", self.server.default_timeout_ms),
            ("server.request_bytes_max", self.server.request_bytes_max as u64),
            ("server.connections_max", self.server.connections_max as u64),
            ("node.queue_requests_max", self.node.queue_requests_max as u64),
            ("node.queue_events_max", self.node.queue_events_max as u64),
            ("node.snapshot_rows", self.node.snapshot_rows),
            ("node.index_lag_rows_max", self.node.index_lag_rows_max),
            ("node.index_flush_rows", u64::from(self.node.index_flush_rows)),
        ];
        for (name, value) in positive {
            if value == 0 {
                bail!("{name}: must be above 0");
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
            default_timeout: std::time::Duration::from_millis(self.server.default_timeout_ms),
            max_request_bytes: self.server.request_bytes_max,
            max_connections: self.server.connections_max,
            ..api::ApiConfig::default()
        }
    }
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
}
