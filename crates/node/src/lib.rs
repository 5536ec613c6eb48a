//! The ledger node: sequencer, group commit, recovery, snapshots, reads.
//!
//! Owns: the order of commands and when an answer may leave. Must not: know of wire formats.

mod handle;
mod node;

pub use handle::*;
pub use node::{Feed, Node};
