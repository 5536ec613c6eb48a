//! The SQL projection: accounts and transfers as tables, for everything that speaks to PostgreSQL.
//!
//! Owns: the schema `ledger`, and the one way into it: final blocks, applied by the ledger's own rules, each step one
//! transaction that moves tables and height together. Must not: be the truth (the journal is; the tables can be made
//! anew at any time), hold metadata, or write where the journal is not the one that the tables came from.
//! Why it is as it is: `docs/projection.md`.
//!
//! Everything blocks the calling thread and must not be called from within an asynchronous runtime.

mod error;
mod line;
mod metrics;
mod options;
mod projector;
mod replica;
mod rows;
mod schema;
mod session;
mod source;
mod target;
mod values;

pub use error::ProjectionError;
pub use metrics::Metrics;
pub use options::{Pace, Secret, ServerOptions};
pub use projector::{Projector, Stepped, run};
pub use schema::{PARTITION_S_DEFAULT, SCHEMA_VERSION, migrate};
pub use source::{Log, PostgresSource, ReaderSource, Source};
pub use target::{Position, position, reset};
