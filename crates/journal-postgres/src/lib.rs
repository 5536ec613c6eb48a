//! The journal in PostgreSQL: the second implementation of [`journal::Journal`] and [`journal::BlockReader`].
//!
//! Owns: rows and their schema, the conditional append, what makes a block final, unknown outcomes. Must not: know the
//! ledger's rules, elect anybody, or take PostgreSQL's word for more than it is worth. Why it is as it is:
//! `docs/journal-postgres.md`.
//!
//! Everything blocks the calling thread and must not be called from within an asynchronous runtime.

mod append;
mod chunks;
mod error;
mod finality;
mod journal;
mod link;
mod options;
mod reader;
mod schema;
mod servers;
mod tables;

pub use self::journal::{PostgresJournal, WritableServer, writable_server};
pub use chunks::{CHUNK_BYTES, DRAFT_BYTES_MAX};
pub use error::{PostgresError, server_words};
pub use link::{AbortHandle, RIVALS_WITHIN, Session, latest_primary};
pub use options::{ConnectOptions, Durability, Password, PostgresOptions, Tls};
pub use reader::PostgresReader;
pub use schema::{Maintained, Maintainer, PARTITION_HEIGHTS_DEFAULT, SCHEMA_VERSION, migrate};
pub use servers::{PrimaryView, StandbyView, look_at_primary};
