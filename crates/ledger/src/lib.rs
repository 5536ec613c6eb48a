//! The double-entry ledger (pure): accounts, transfers and their rules.
//!
//! Owns: balances, pending and posted transitions, used ids not yet archived, expiry.
//! Must not: read clocks, draw randomness, do I/O, spawn, hold configuration.
//! Invariant: same state, time and command give same state and outcome.
//! Source of the rules: `docs/ledger.md`.

mod accounts;
mod chain;
mod command;
mod cow;
mod create_accounts;
mod describe;
mod exists;
mod expiry;
mod hash;
mod ids;
mod import;
mod invariants;
mod outcome;
mod pending;
mod recent;
mod resolve;
mod result;
mod snapshot;
mod state;
mod transaction;
mod transfers;
mod types;
mod undo;

pub use command::*;
pub use exists::{first_account_difference, first_difference};
pub use ids::*;
pub use invariants::*;
pub use outcome::*;
pub use result::*;
pub use snapshot::*;
pub use state::*;
pub use transaction::*;
pub use types::*;

/// Version of the rules that [`Ledger::apply`] follows; written into every block.
/// A change of any rule raises it, and old blocks replay under the old rules.
pub const RULES_VERSION: u32 = 1;

/// The most events that one request may hold.
pub const EVENTS_PER_REQUEST_MAX: usize = 8_190;
