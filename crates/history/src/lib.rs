//! The index over committed transfers: by id, account, user data, code, ledger and time.
//!
//! Owns: rows and accounts as committed, in memory and in its own files; everything can be rebuilt from the journal.
//! Must not: decide anything, read a clock, start a thread, or reach the disk except through `storage`.
//! Invariant: an answer is right or it is an error; what a reader sees is a prefix of history that ends with a block.
//! Why it is made this way: `docs/adr/0003-history-index.md`.

mod appender;
mod bloom;
mod codec;
mod cover;
mod error;
mod extent;
mod file;
mod filter;
mod grow;
mod hash;
mod jobs;
mod manifest;
mod memory;
mod open;
mod page;
mod postings;
mod query;
mod reader;
mod run;
mod types;
mod view;
mod writer;

pub use error::HistoryError;
pub use filter::*;
pub use jobs::{FullSpeed, Job, JobDone, Pace};
pub use reader::Reader;
pub use types::*;
pub use writer::Writer;
