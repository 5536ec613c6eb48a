//! PostgreSQL's settings.

use crate::{Host, Machine};

/// Settings that must be equal on all servers; Patroni keeps them in etcd.
pub(super) fn cluster_settings() -> Vec<(&'static str, String)> {
    let fixed = [
        ("wal_level", "replica"),
        ("hot_standby", "on"),
        ("max_connections", "200"),
        ("max_wal_senders", "16"),
        ("max_replication_slots", "16"),
        ("max_worker_processes", "16"),
        ("max_prepared_transactions", "0"),
        ("max_locks_per_transaction", "64"),
        ("track_commit_timestamp", "off"),
        ("wal_log_hints", "on"),
    ];
    fixed.map(|(name, value)| (name, value.to_owned())).to_vec()
}

/// Every setting of a host's server that is not Patroni's own: by name, in the file's order.
///
/// Why some of them: a commit waits for a standby's flush (`synchronous_commit`) and must never be cut short by a timeout
/// (`statement_timeout`, `lock_timeout`), as a wait that was cut short looks like success. Segments of the log are recycled
/// and kept (`wal_recycle`, `min_wal_size`), as making one inside a commit is what ruins the tail. Pages that are
/// logged whole after a checkpoint are compressed: those of the SQL projection's indexes shrink, the journal's encrypted ones
/// cost next to nothing. What no commit waits for, such as the SQL projection's rows, goes to the disk and to the standbys after
/// 10 ms (`wal_writer_delay`), so that little gathers. A standby looks for its primary again after 200 ms instead of 5 s, which is most of
/// the time of a failover. Peers that are silent are noticed within 5 s.
pub fn server_settings(host: &Host, machine: Machine) -> Vec<(&'static str, String)> {
    let mut settings = cluster_settings();
    settings.extend(local_settings(host, machine));
    settings
}

pub(super) fn local_settings(host: &Host, machine: Machine) -> Vec<(&'static str, String)> {
    let sizes = machine.postgres();
    let mib = |number: u64| format!("{number}MB");
    let path = |path: std::path::PathBuf| path.display().to_string();
    let own = [
        ("unix_socket_directories", path(host.directories.run.clone())),
        ("log_directory", path(host.directories.log.join("postgresql"))),
        ("shared_buffers", mib(sizes.shared_buffers_mib)),
        ("effective_cache_size", mib(sizes.effective_cache_size_mib)),
        ("maintenance_work_mem", mib(sizes.maintenance_work_mem_mib)),
        ("wal_buffers", mib(sizes.wal_buffers_mib)),
        ("min_wal_size", mib(sizes.min_wal_size_mib)),
        ("max_wal_size", mib(sizes.max_wal_size_mib)),
        ("max_slot_wal_keep_size", mib(sizes.max_slot_wal_keep_size_mib)),
        ("wal_keep_size", mib(sizes.wal_keep_size_mib)),
    ];
    let fixed = [
        ("synchronous_commit", "on"),
        ("fsync", "on"),
        ("full_page_writes", "on"),
        ("wal_sync_method", "fdatasync"),
        ("wal_recycle", "on"),
        ("wal_init_zero", "on"),
        ("wal_compression", "lz4"),
        ("wal_writer_delay", "10ms"),
        ("checkpoint_timeout", "15min"),
        ("checkpoint_completion_target", "0.9"),
        ("statement_timeout", "0"),
        ("lock_timeout", "0"),
        ("idle_in_transaction_session_timeout", "0"),
        ("wal_retrieve_retry_interval", "200ms"),
        ("wal_receiver_status_interval", "1s"),
        ("wal_sender_timeout", "5s"),
        ("wal_receiver_timeout", "5s"),
        ("tcp_keepalives_idle", "2"),
        ("tcp_keepalives_interval", "1"),
        ("tcp_keepalives_count", "3"),
        ("tcp_user_timeout", "5s"),
        ("hot_standby_feedback", "off"),
        ("password_encryption", "scram-sha-256"),
        ("jit", "off"),
        ("timezone", "UTC"),
        ("log_timezone", "UTC"),
        ("lc_messages", "C"),
        ("logging_collector", "on"),
        ("log_filename", "postgresql-%a.log"),
        ("log_file_mode", "0640"),
        ("log_rotation_age", "1d"),
        ("log_truncate_on_rotation", "on"),
        ("log_line_prefix", "%m [%p] %q%u@%d "),
        ("log_checkpoints", "on"),
        ("log_lock_waits", "on"),
        ("log_statement", "none"),
    ];
    own.into_iter()
        .chain(fixed.map(|(name, value)| (name, value.to_owned())))
        .collect()
}
