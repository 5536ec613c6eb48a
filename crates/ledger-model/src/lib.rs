//! A naive model of the ledger's rules, and random histories to run it on. For tests only; it never ships.
//!
//! Owns: the model (written from `docs/ledger.md`, sharing only types with the engine, and slow on purpose), the
//! generator of histories, and an archive in memory.
//! Must not: be made fast, or call the engine: where both agree, two independent readings of the rules agree.

mod archive;
mod generator;
mod model;
mod transfer_rules;

pub use archive::*;
pub use generator::*;
pub use model::*;
