//! The long-running hunts for faults, run from `crates/checks`. Owns: their command lines.

use crate::binary;
use crate::process::{cargo, run};
use anyhow::Result;

/// How often to kill, and how the load is drawn.
#[derive(clap::Args)]
pub struct CrashOptions {
    /// How often the node is killed.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub kills: u32,
    /// Seed of the load and of the moments; drawn and printed when not given.
    #[arg(long)]
    pub seed: Option<u64>,
    /// Kill the binary that users run instead of the one that tests run.
    #[arg(long)]
    pub release: bool,
}

/// How long to try, and how the inputs are drawn.
#[derive(clap::Args)]
pub struct FuzzOptions {
    /// How long to try, all readers together.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..))]
    pub seconds: u64,
    /// Seed of the mutations; drawn and printed when not given.
    #[arg(long)]
    pub seed: Option<u64>,
}

/// Runs the crash test.
pub fn crash(options: &CrashOptions) -> Result<()> {
    let binary = if options.release {
        binary::release()?
    } else {
        binary::debug()?
    };
    let mut command = cargo(&["run", "--quiet", "--locked", "-p", "checks", "--", "crash"]);
    command
        .arg("--binary")
        .arg(binary)
        .arg("--kills")
        .arg(options.kills.to_string());
    if let Some(seed) = options.seed {
        command.arg("--seed").arg(seed.to_string());
    }
    run(&mut command)
}

/// Runs the fuzzers.
pub fn fuzz(options: &FuzzOptions) -> Result<()> {
    let mut command = cargo(&["run", "--quiet", "--locked", "-p", "checks", "--", "fuzz"]);
    command.arg("--seconds").arg(options.seconds.to_string());
    if let Some(seed) = options.seed {
        command.arg("--seed").arg(seed.to_string());
    }
    run(&mut command)
}
