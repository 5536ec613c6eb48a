//! Why a member does not start. Owns: their codes.

/// Why a member does not start, or does not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum MemberError {
    /// The election.
    #[error("MEM-0001: {0}")]
    Election(#[from] election::ElectionError),
    /// The node.
    #[error("MEM-0002: {0}")]
    Node(#[from] node::NodeError),
    /// The file that names this data directory cannot be used.
    #[error("MEM-0004: {path}: {source}")]
    Instance {
        /// The file.
        path: std::path::PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The reports in the data directory cannot be used.
    #[error("MEM-0005: {path}: {source}")]
    Reports {
        /// The file or directory.
        path: std::path::PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A thread cannot be started.
    #[error("MEM-0003: cannot start a thread: {0}")]
    Thread(#[source] std::io::Error),
}
