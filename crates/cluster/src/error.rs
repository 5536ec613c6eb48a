//! What can go wrong with a cluster. Codes are stable: `CLU-00xx`.

use std::io;
use std::path::{Path, PathBuf};

/// The cluster cannot be described, set up, started or asked.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// The system refused.
    #[error("CLU-0001: cannot {action} {path}: {source}")]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The topology does not read as TOML of the expected shape.
    #[error("CLU-0002: {path} is refused: {source}")]
    Syntax {
        /// Which file.
        path: PathBuf,
        /// Line and key.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// A field of the topology has a value that cannot work.
    #[error("CLU-0003: {field}: {problem}")]
    Field {
        /// The field's path, as in the file.
        field: String,
        /// What is wrong, and what would be right.
        problem: String,
    },
    /// A program ended with a failure.
    #[error("CLU-0004: {program} failed ({status}): {output}")]
    Program {
        /// The program and what it was to do.
        program: String,
        /// How it ended.
        status: String,
        /// The end of what it said.
        output: String,
    },
    /// Something else already runs from this directory.
    #[error("CLU-0005: {directory} already runs a cluster: {detail}; end it with `shanraq cluster down`")]
    Running {
        /// The cluster's directory.
        directory: PathBuf,
        /// What was found.
        detail: String,
    },
    /// Nothing runs from this directory.
    #[error("CLU-0006: no supervisor runs for {directory}; start it with `shanraq cluster up`")]
    NotRunning {
        /// The cluster's directory.
        directory: PathBuf,
    },
    /// The supervisor refused an order.
    #[error("CLU-0007: {0}")]
    Refused(String),
    /// An endpoint gave no answer that could be used.
    #[error("CLU-0008: {endpoint}: {problem}")]
    Endpoint {
        /// Which one.
        endpoint: String,
        /// What happened.
        problem: String,
    },
    /// What was waited for did not come.
    #[error("CLU-0009: not healthy after {seconds} s: {problems}")]
    Timeout {
        /// Seconds waited.
        seconds: u64,
        /// What is still wrong.
        problems: String,
    },
    /// The command needs rights that the caller has not.
    #[error("CLU-0010: this needs root: it {0}")]
    NeedsRoot(&'static str),
    /// A file of ours is damaged.
    #[error("CLU-0011: {path} is damaged: {problem}")]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// Processes are left that would not end.
    #[error("CLU-0012: still running after SIGKILL: {0}")]
    Left(String),
}

impl ClusterError {
    /// A refusal of the system.
    pub(crate) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io {
            action,
            path: path.to_owned(),
            source,
        }
    }

    /// A refusal of a field.
    pub(crate) fn field(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Field {
            field: field.into(),
            problem: problem.into(),
        }
    }
}
