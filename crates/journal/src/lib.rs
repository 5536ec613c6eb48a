//! The journal: blocks, in order, durable.
//!
//! Owns: the block format (`docs/format-journal.md`), the [`Journal`] trait and its implementation on local
//! segment files. Must not: know the ledger's rules, read clocks, or spawn threads: who makes the next segment
//! ready, and when, is the caller's business ([`Preparer`]).

mod block;
mod codec;
mod draft;
mod error;
mod fuzz;
mod header;
mod journal;
mod local;
mod merkle;
mod seal;
mod walk;

pub use block::*;
pub use codec::{BODY_BYTES_MAX, BODY_VERSION, DecodeError, Problem};
pub use draft::Draft;
pub use error::*;
pub use fuzz::fuzz_decode;
pub use header::{FORMAT_VERSION, HEADER_BYTES, Header, SALT_BYTES};
pub use journal::*;
pub use local::{LocalJournal, LocalOptions, Prepared, Preparer, Recovered, TornTail, holds_segments};
pub use seal::{Opener, Sealer};
pub use walk::{BlockReport, WalkSummary, walk};
