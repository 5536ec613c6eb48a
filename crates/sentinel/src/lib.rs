//! What guards PostgreSQL's failover: the fence, which holds a promotion until nothing acknowledged can be lost by it,
//! and the sentinel, which sees sooner than Patroni that a primary is dead.
//!
//! Owns: those decisions, each a pure function over what was seen. Must not: know the ledger, or change anything of
//! Patroni's but the one key that the sentinel removes. Why it is as it is: `docs/sentinel.md`.

mod error;
pub mod fence;
mod keys;
pub mod watch;

pub use error::SentinelError;
pub use keys::{Electorate, ServerName};
pub use watch::{Sentinel, SentinelOptions};
