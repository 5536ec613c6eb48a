//! What guards PostgreSQL's failover: the fence, which holds a promotion until nothing acknowledged can be lost by it,
//! and what both it and the sentinel read of Patroni's keys in etcd.
//!
//! Owns: those decisions, each a pure function over what was seen. Must not: know the ledger, or change anything of
//! Patroni's but the one key that the sentinel removes. Why it is as it is: `docs/sentinel.md`.

mod error;
pub mod fence;
mod keys;

pub use error::SentinelError;
pub use keys::{Electorate, ServerName};
