//! What can go wrong with live settings. Codes are stable: `CFG-00xx`. Texts are for operators.

use crate::Version;
use etcd::EtcdError;

/// Why a setting, or another field of a document, is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct Refusal {
    /// Which.
    pub field: String,
    /// Why.
    pub reason: String,
}

impl Refusal {
    pub(crate) fn new(field: &str, reason: impl Into<String>) -> Self {
        Self {
            field: field.to_owned(),
            reason: reason.into(),
        }
    }
}

/// What went wrong.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ConfigurationError {
    /// What was given is not accepted; nothing was changed.
    #[error("CFG-0001: {0}")]
    Refused(#[from] Refusal),
    /// A document in etcd, or in a node's copy of one, is not accepted: somebody wrote it by hand, or it is of another
    /// version of the program.
    #[error("CFG-0002: {place} is not accepted: {refusal}")]
    Document {
        /// The key, or the file.
        place: String,
        /// What is wrong with it.
        refusal: Refusal,
    },
    /// Somebody else wrote meanwhile; nothing was changed.
    #[error(
        "CFG-0003: version {version} was not made: somebody else changed the settings meanwhile; look at them and try again"
    )]
    Conflict {
        /// The version that was to be made.
        version: Version,
    },
    /// There is no such version, or not any more.
    #[error("CFG-0004: there is no version {version} in the history")]
    NoVersion {
        /// Which.
        version: Version,
    },
    /// etcd gave no answer that can be used. What was to be written may have been written.
    #[error("CFG-0005: {source}")]
    Etcd {
        /// What etcd's client says.
        #[from]
        source: EtcdError,
    },
    /// The system refused.
    #[error("CFG-0006: cannot {action}: {reason}")]
    System {
        /// What was tried, as a verb.
        action: &'static str,
        /// In the system's words.
        reason: String,
    },
    /// There was a document in etcd, and it is gone; what was applied last is kept.
    #[error("CFG-0007: {key} is gone from etcd; what was applied last is kept")]
    Gone {
        /// The key.
        key: String,
    },
}

impl ConfigurationError {
    /// Its stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Refused(_) => "CFG-0001",
            Self::Document { .. } => "CFG-0002",
            Self::Conflict { .. } => "CFG-0003",
            Self::NoVersion { .. } => "CFG-0004",
            Self::Etcd { .. } => "CFG-0005",
            Self::System { .. } => "CFG-0006",
            Self::Gone { .. } => "CFG-0007",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_begins_with_its_code() {
        let version = Version(7);
        let refusal = Refusal::new("log.level", "is loud");
        let all = [
            ConfigurationError::Refused(refusal.clone()),
            ConfigurationError::Document {
                place: "k".into(),
                refusal,
            },
            ConfigurationError::Conflict { version },
            ConfigurationError::NoVersion { version },
            ConfigurationError::Etcd {
                source: EtcdError::Foreign { first: 1, other: 2 },
            },
            ConfigurationError::System {
                action: "write",
                reason: "no".into(),
            },
            ConfigurationError::Gone { key: "k".into() },
        ];
        let codes: Vec<_> = all.iter().map(ConfigurationError::code).collect();
        for (number, error) in all.iter().enumerate() {
            assert_eq!(codes[number], format!("CFG-{:04}", number + 1));
            assert!(error.to_string().starts_with(codes[number]), "{error}");
        }
    }
}
