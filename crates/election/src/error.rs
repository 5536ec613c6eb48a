//! What can go wrong between us and etcd. Codes are stable: `ELE-00xx`. Texts are for operators, never for clients.

use crate::MemberName;
use etcd::EtcdError;

/// Why a question about leadership has no answer, or a change of it was not made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ElectionError {
    /// A configured value cannot be used.
    #[error("ELE-0001: `{field}` {reason}")]
    Option {
        /// Which one.
        field: &'static str,
        /// Why.
        reason: String,
    },
    /// No endpoint answered as a member of an etcd cluster with a quorum does. What was asked may have been done.
    #[error("ELE-0002: etcd cannot be reached to {action}: {reason}")]
    Unreachable {
        /// What was tried, as a verb.
        action: &'static str,
        /// What each endpoint said.
        reason: String,
    },
    /// etcd refused; nothing was done.
    #[error("ELE-0003: etcd refused to {action}: {reason}")]
    Refused {
        /// What was tried, as a verb.
        action: &'static str,
        /// In etcd's words.
        reason: String,
    },
    /// The endpoints are not members of one cluster.
    #[error("ELE-0004: `endpoints` belong to different etcd clusters ({first:x} and {other:x})")]
    Foreign {
        /// The cluster that answered first.
        first: u64,
        /// Another.
        other: u64,
    },
    /// This member does not lead, or leads no more.
    #[error("ELE-0005: this member is not the writer")]
    NotLeading,
    /// Another process goes by this name; or did, and its lease has not run out yet.
    #[error("ELE-0006: another process is member `{name}`; this one waits until it is gone")]
    NameTaken {
        /// The name.
        name: MemberName,
    },
    /// A value in etcd that no member of a known version wrote.
    #[error("ELE-0007: the value of {key} in etcd is not understood: {reason}")]
    Value {
        /// Where.
        key: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Leadership cannot be handed to this member.
    #[error("ELE-0008: leadership cannot be handed to `{name}`: {reason}")]
    Handover {
        /// To whom.
        name: MemberName,
        /// Why not.
        reason: &'static str,
    },
    /// The elector has been stopped.
    #[error("ELE-0009: the elector has been stopped")]
    Stopped,
    /// The system refused.
    #[error("ELE-0010: cannot {action}: {reason}")]
    System {
        /// What was tried, as a verb.
        action: &'static str,
        /// Why.
        reason: String,
    },
}

impl From<EtcdError> for ElectionError {
    fn from(error: EtcdError) -> Self {
        match error {
            EtcdError::Endpoint { reason } => Self::Option {
                field: "endpoints",
                reason,
            },
            EtcdError::Unreachable { action, reason } => Self::Unreachable { action, reason },
            EtcdError::Refused { action, reason } => Self::Refused { action, reason },
            EtcdError::Foreign { first, other } => Self::Foreign { first, other },
        }
    }
}

impl ElectionError {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Option { .. } => "ELE-0001",
            Self::Unreachable { .. } => "ELE-0002",
            Self::Refused { .. } => "ELE-0003",
            Self::Foreign { .. } => "ELE-0004",
            Self::NotLeading => "ELE-0005",
            Self::NameTaken { .. } => "ELE-0006",
            Self::Value { .. } => "ELE-0007",
            Self::Handover { .. } => "ELE-0008",
            Self::Stopped => "ELE-0009",
            Self::System { .. } => "ELE-0010",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_begins_with_its_code() {
        let name = MemberName::new("n1").unwrap();
        let (action, reason, field, key) = ("act", String::from("why"), "field", String::from("/key"));
        let all = [
            ElectionError::Option {
                field,
                reason: reason.clone(),
            },
            ElectionError::Unreachable {
                action,
                reason: reason.clone(),
            },
            ElectionError::Refused {
                action,
                reason: reason.clone(),
            },
            ElectionError::Foreign { first: 1, other: 2 },
            ElectionError::NotLeading,
            ElectionError::NameTaken { name: name.clone() },
            ElectionError::Value {
                key,
                reason: reason.clone(),
            },
            ElectionError::Handover { name, reason: "why" },
            ElectionError::Stopped,
            ElectionError::System { action, reason },
        ];
        for (i, error) in all.iter().enumerate() {
            assert_eq!(error.code(), format!("ELE-{:04}", i + 1));
            assert!(error.to_string().starts_with(error.code()), "{error}");
        }
    }
}
