//! What a node says of the settings that it applies (pure): the value of its own key in etcd, and its status.

use crate::Refusal;
use serde::{Deserialize, Serialize};

/// The revision of etcd in which a key was written last: one document's name for as long as etcd keeps its data, also where
/// two have the same version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revision(pub i64);

/// Where the settings that a node applies come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// From etcd.
    Etcd,
    /// From the copy in the node's data directory: etcd did not answer since the start, or has no document any more.
    Copy,
    /// From the node's own file alone: there was no document yet.
    File,
}

/// The settings that a node applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// Where they come from.
    pub origin: Origin,
    /// The version; none with [`Origin::File`].
    pub version: Option<u64>,
    /// The document's revision, with [`Origin::Etcd`].
    pub revision: Option<Revision>,
}

/// A document that a node does not accept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejected {
    /// The code of the error, `CFG-00xx`.
    pub code: String,
    /// What is wrong.
    pub reason: String,
    /// Of the document; none when it is gone.
    pub revision: Option<Revision>,
}

/// What a node says. Fields that a later version adds are ignored by earlier ones.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeState {
    /// What it applies.
    pub applied: Applied,
    /// The document in etcd that it does not accept, if that is so.
    pub rejected: Option<Rejected>,
}

impl NodeState {
    pub(crate) const BEFORE: Self = Self {
        applied: Applied {
            origin: Origin::File,
            version: None,
            revision: None,
        },
        rejected: None,
    };

    /// Whether it applies the document of that revision.
    #[must_use]
    pub fn has(&self, revision: Revision) -> bool {
        self.applied.revision == Some(revision) && self.rejected.is_none()
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("numbers and strings always encode")
    }

    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, Refusal> {
        serde_json::from_slice(bytes).map_err(|error| Refusal::new("state", error.to_string()))
    }
}
