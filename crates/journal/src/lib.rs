//! The journal: blocks, in order, durable.
//!
//! Owns: the block format (`docs/format-journal.md`), the [`Journal`] trait and its implementation on local
//! segment files. Must not: know the ledger's rules, read clocks, or spawn threads: who makes the next segment
//! ready, and when, is the caller's business ([`Preparer`]).

mod block;
mod codec;
mod draft;
mod error;
mod journal;
mod local;
mod merkle;

pub use block::*;
pub use codec::{BODY_BYTES_MAX, BODY_VERSION, DecodeError, Problem};
pub use draft::Draft;
pub use error::*;
pub use journal::*;
pub use local::*;
