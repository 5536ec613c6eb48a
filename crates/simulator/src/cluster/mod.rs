//! The simulator of a cluster: three nodes of real parts, a faulty fake PostgreSQL and a faulty fake election.
//!
//! Owns: schedules of leadership, following, promotion, conditional append, finality, unknown outcomes, forwarding and reads,
//! and what must be true of them. Must not: start threads, sleep, read the real clock or disk. Same seed, same run.

mod clients;
mod clocks;
mod election;
mod journal;
mod patroni;
mod peer;
mod reader;
mod servers;
mod statistics;
mod steps;
mod wal;
mod world;

pub use statistics::ClusterStatistics;

use crate::{Broken, Failed};
use std::panic::{AssertUnwindSafe, catch_unwind};
use world::World;

/// A bug on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum ClusterCanary {
    /// A block is written whatever stands at its place and before it.
    UnconditionalAppend,
    /// COMMIT alone makes a block final.
    TrustedCommit,
    /// A standby is promoted after a poll that binds nobody.
    Unfenced,
    /// Answers leave before their block is final.
    SpeculativeReply,
    /// A linearizable read is answered by whoever believes that it is the writer.
    UnconfirmedRead,
    /// A follower takes every block that it sees for final.
    TentativeFollower,
    /// A reader takes what is final at one server for what stands there at another.
    AnyServer,
    /// A writer that was elected anew answers before it took the journal over for that term.
    AnyTerm,
    /// A node takes over whatever its clock says.
    AnyClock,
}

impl ClusterCanary {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::UnconditionalAppend,
        Self::TrustedCommit,
        Self::Unfenced,
        Self::SpeculativeReply,
        Self::UnconfirmedRead,
        Self::TentativeFollower,
        Self::AnyServer,
        Self::AnyTerm,
        Self::AnyClock,
    ];
}

/// How a schedule of a cluster is run.
#[derive(Clone, Copy, Debug)]
pub struct ClusterOptions {
    /// Steps before everything is brought to an end and checked as a whole.
    pub steps: u64,
    /// A bug on purpose.
    pub canary: Option<ClusterCanary>,
    /// How many of the last steps are told of after a failure.
    pub trace_lines: usize,
}

impl Default for ClusterOptions {
    fn default() -> Self {
        Self {
            steps: 3_000,
            canary: None,
            trace_lines: 80,
        }
    }
}

/// Runs the cluster's schedule of a seed to its end, or to the first broken promise. A panic of the node's code is one too.
///
/// # Errors
/// [`Failed`].
pub fn run_cluster(seed: u64, options: ClusterOptions) -> Result<ClusterStatistics, Failed> {
    let mut world = World::new(seed, options);
    let result = catch_unwind(AssertUnwindSafe(|| world.run(options.steps)));
    let reason = match result {
        Ok(Ok(())) => return Ok(world.statistics),
        Ok(Err(broken)) => broken,
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            Broken(format!("panic: {}", text.unwrap_or_default()))
        }
    };
    Err(Failed {
        seed,
        reason,
        trace: world.into_trace(),
    })
}
