//! What can go wrong between us and etcd. Codes are stable: `ETC-00xx`. Texts are for operators.

/// Why etcd gave no answer that can be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EtcdError {
    /// An address cannot be used.
    #[error("ETC-0001: `endpoints` {reason}")]
    Endpoint {
        /// Which one, and why.
        reason: String,
    },
    /// No endpoint answered as a member of an etcd cluster with a quorum does. What was asked may have been done.
    #[error("ETC-0002: etcd cannot be reached to {action}: {reason}")]
    Unreachable {
        /// What was tried, as a verb.
        action: &'static str,
        /// What each endpoint said.
        reason: String,
    },
    /// etcd refused; nothing was done.
    #[error("ETC-0003: etcd refused to {action}: {reason}")]
    Refused {
        /// What was tried, as a verb.
        action: &'static str,
        /// In etcd's words.
        reason: String,
    },
    /// The endpoints are not members of one cluster.
    #[error("ETC-0004: `endpoints` belong to different etcd clusters ({first:x} and {other:x})")]
    Foreign {
        /// The cluster that answered first.
        first: u64,
        /// Another.
        other: u64,
    },
}
