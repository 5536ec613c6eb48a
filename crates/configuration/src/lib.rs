//! Settings of a ledger's nodes that are changed while they run, for all of them at once, through etcd.
//!
//! Owns: which settings there are, what is accepted, the document in etcd with its history, and how a node follows it. Must
//! not: be what a ledger's safety rests on (nothing here touches rules, durability, or who writes), or be needed: without
//! etcd a node goes on with what it had.

mod copy;
mod document;
mod error;
mod follow;
mod keys;
mod level;
mod settings;
mod state;
mod store;

pub use document::{Change, Document, HISTORY_KEPT, Id, SCHEMA, Version};
pub use error::{ConfigurationError, Refusal};
pub use follow::{FollowOptions, Follower};
pub use keys::check_ledger;
pub use level::LogLevel;
pub use settings::{Kind, SETTINGS, Setting, Settings};
pub use state::{Applied, NodeState, Origin, Rejected, Revision};
pub use store::{Current, NodeReport, Store};
