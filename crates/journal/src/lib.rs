//! The journal: blocks, in order, durable.
//!
//! Owns: the block format, the [`Journal`] trait and its implementation on local segment files.

mod block;

pub use block::*;
