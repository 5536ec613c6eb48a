//! The seeded simulator of the embedded node: its real logic on a disk that fails and a clock that jumps.
//!
//! Owns: schedules (one seed, one schedule), the virtual clients, and the oracle that knows what must be true.
//! Must not: start threads, sleep, read the real clock or the real disk. Same seed, same run.
//! What it found, and how to use it: `docs/simulator.md`.

mod adapter;
mod canary;
mod clients;
mod cluster;
mod damage;
mod live;
mod profile;
mod questions;
mod recovered;
mod schedule;
mod seeds;
mod statistics;
mod timing;
mod truth;
mod world;

pub use canary::Canary;
pub use cluster::{ClusterCanary, ClusterOptions, ClusterStatistics, run_cluster};
pub use schedule::{Failed, Options, run};
pub use seeds::{CLUSTER_SEEDS, SEEDS, kept_cluster_seeds, kept_seeds};
pub use statistics::Statistics;

/// A promise that was broken, in words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Broken(pub String);

/// Fails with the message unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $($message:tt)*) => {
        if !$condition {
            return Err($crate::Broken(format!($($message)*)));
        }
    };
}
pub(crate) use ensure;
