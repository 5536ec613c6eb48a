//! What a node can be told. Owns: defaults and their bounds.

use std::path::PathBuf;

/// How an embedded node works. Every field has a default but the directory.
#[derive(Clone, Debug)]
pub struct NodeOptions {
    /// The data directory; one process at a time.
    pub directory: PathBuf,
    /// Where the data key is; default `keys` in the directory.
    pub key_file: Option<PathBuf>,
    /// Requests waiting before further ones are refused as overload.
    pub queue_requests_max: usize,
    /// Events waiting before further requests are refused as overload.
    pub queue_events_max: usize,
    /// When a client that was refused as overload is told to try again, in ms.
    pub overload_retry_ms: u64,
    /// A block is closed when it holds this many events.
    pub block_events_max: usize,
    /// A block is closed when its encoding has this many bytes.
    pub block_bytes_max: usize,
    /// A snapshot is taken after at least this many rows (and twice the number of accounts).
    pub snapshot_rows: u64,
    /// Rows and accounts that the history index may be behind before writes wait for it.
    pub index_lag_rows_max: u64,
    /// Writes are refused while less room than this is left on the disk, in bytes.
    pub disk_reserve_bytes: u64,
    /// Size of a journal segment in bytes.
    pub segment_bytes: u64,
    /// Rows that the history index collects in memory before it writes a run.
    pub index_flush_rows: u32,
}

impl NodeOptions {
    /// The defaults, for a data directory.
    #[must_use]
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
            key_file: None,
            queue_requests_max: 65_536,
            queue_events_max: 524_288,
            overload_retry_ms: 20,
            block_events_max: 16_384,
            block_bytes_max: 4 << 20,
            snapshot_rows: 262_144,
            index_lag_rows_max: 262_144,
            disk_reserve_bytes: 256 << 20,
            segment_bytes: 64 << 20,
            index_flush_rows: 131_072,
        }
    }
}
