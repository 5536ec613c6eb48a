//! Running one schedule. Owns: options, and what is told of a failure.

use crate::world::World;
use crate::{Broken, Canary, Statistics};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// How a schedule is run.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Steps before everything is brought to an end and checked as a whole.
    pub steps: u64,
    /// A bug on purpose.
    pub canary: Option<Canary>,
    /// How many of the last steps are told of after a failure.
    pub trace_lines: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            steps: 600,
            canary: None,
            trace_lines: 60,
        }
    }
}

/// A schedule in which a promise was broken.
#[derive(Clone, Debug, thiserror::Error)]
#[error("seed {seed}: {reason}")]
pub struct Failed {
    /// Of the schedule.
    pub seed: u64,
    /// Which promise, and how.
    pub reason: Broken,
    /// The last steps before.
    pub trace: Vec<String>,
}

/// Runs the schedule of a seed to its end, or to the first broken promise. A panic of the node's code is one too.
///
/// # Errors
/// [`Failed`].
pub fn run(seed: u64, options: Options) -> Result<Statistics, Failed> {
    let mut world = World::new(seed, options);
    let result = catch_unwind(AssertUnwindSafe(|| world.run(options.steps)));
    let reason = match result {
        Ok(Ok(())) => return Ok(world.statistics()),
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
