//! What can go wrong. Codes are stable: `SEN-00xx`. Texts are for operators.

use etcd::EtcdError;
use std::path::PathBuf;

/// Why a promotion is not let through, or something could not be seen.
#[derive(Debug, thiserror::Error)]
pub enum SentinelError {
    /// A configured value cannot be used.
    #[error("SEN-0001: `{field}` {reason}")]
    Option {
        /// Which one.
        field: &'static str,
        /// Why.
        reason: String,
    },
    /// A file cannot be read.
    #[error("SEN-0002: {} cannot be read", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// etcd gave no answer that can be used.
    #[error("SEN-0003: {0}")]
    Etcd(#[from] EtcdError),
    /// A key of Patroni's holds what no known version writes.
    #[error("SEN-0004: {key} in etcd is not understood: {reason}")]
    Key {
        /// Which.
        key: String,
        /// What is wrong.
        reason: String,
    },
    /// Somebody has what the candidate lacks.
    #[error("SEN-0005: the promotion is refused: {who} has received more than {candidate}")]
    Ahead {
        /// Who has it.
        who: String,
        /// Who would be promoted.
        candidate: String,
    },
    /// The candidate does not hold Patroni's leader key any more.
    #[error("SEN-0006: the promotion is refused: {candidate} does not hold Patroni's leader key any more")]
    Superseded {
        /// Who would have been promoted.
        candidate: String,
    },
    /// It was waited long enough that somebody else should try.
    #[error("SEN-0007: the promotion is refused after {waited_s} s: {why}")]
    GivenUp {
        /// How long.
        waited_s: u64,
        /// What was missing.
        why: String,
    },
    /// The server that would be promoted cannot be asked.
    #[error("SEN-0008: this host's PostgreSQL cannot be asked: {0}")]
    Candidate(String),
    /// The system refused.
    #[error("SEN-0009: cannot {action}")]
    System {
        /// What was tried, as a verb.
        action: &'static str,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

impl SentinelError {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Option { .. } => "SEN-0001",
            Self::File { .. } => "SEN-0002",
            Self::Etcd(_) => "SEN-0003",
            Self::Key { .. } => "SEN-0004",
            Self::Ahead { .. } => "SEN-0005",
            Self::Superseded { .. } => "SEN-0006",
            Self::GivenUp { .. } => "SEN-0007",
            Self::Candidate(_) => "SEN-0008",
            Self::System { .. } => "SEN-0009",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_begins_with_its_code() {
        let io = || std::io::Error::other("why");
        let (why, who, candidate) = (String::from("why"), String::from("h3"), String::from("h2"));
        let all = [
            SentinelError::Option {
                field: "etcd",
                reason: why.clone(),
            },
            SentinelError::File {
                path: "/x".into(),
                source: io(),
            },
            SentinelError::Etcd(EtcdError::Foreign { first: 1, other: 2 }),
            SentinelError::Key {
                key: "/sync".into(),
                reason: why.clone(),
            },
            SentinelError::Ahead {
                who,
                candidate: candidate.clone(),
            },
            SentinelError::Superseded { candidate },
            SentinelError::GivenUp {
                waited_s: 1,
                why: why.clone(),
            },
            SentinelError::Candidate(why),
            SentinelError::System {
                action: "act",
                source: io(),
            },
        ];
        for (i, error) in all.iter().enumerate() {
            assert_eq!(error.code(), format!("SEN-{:04}", i + 1));
            assert!(error.to_string().starts_with(error.code()), "{error}");
        }
    }
}
