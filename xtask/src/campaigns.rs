//! The long-running hunts for faults, run from `crates/checks`. Owns: their command lines.

use crate::binary::{self, Beside};
use crate::kernel::Kernel;
use crate::process::{run, target_folder};
use anyhow::{Context, Result};
use std::process::Command;

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

/// How the load on the disk that fills up is drawn.
#[derive(clap::Args)]
pub struct FullDiskOptions {
    /// Seed of the load; drawn and printed when not given.
    #[arg(long)]
    pub seed: Option<u64>,
}

/// How much history, and how it is drawn.
#[derive(clap::Args)]
pub struct ScaleOptions {
    /// Transfers to make.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..=5_000_000))]
    pub transfers: u64,
    /// Questions of each kind.
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..))]
    pub questions: u64,
    /// Seed of the load and of the questions; drawn and printed when not given.
    #[arg(long)]
    pub seed: Option<u64>,
    /// Ask the binary that users run instead of the one that tests run.
    #[arg(long)]
    pub release: bool,
}

/// Which faults, how often, and where.
#[derive(clap::Args)]
pub struct CampaignOptions {
    /// Names of faults, separated by commas; default: all of them, in turn. A wrong name is answered by the list.
    #[arg(long)]
    pub faults: Option<String>,
    /// Of the first round; each further one adds 1. With `--rounds 1` it repeats a round. Drawn and printed when not given.
    #[arg(long)]
    pub seed: Option<u64>,
    /// How many rounds, one fault each; default: one for each fault.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub rounds: Option<u32>,
    /// Hold each fault for so long, instead of some seconds; clients then wait longer between their requests. With `--faults busy-and-far
    /// --hold-minutes 60` nobody may lose their place for an hour.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=1_440))]
    pub hold_minutes: Option<u64>,
    /// Disturb the binary that users run instead of the one that tests run.
    #[arg(long)]
    pub release: bool,
    /// Take the cluster that an earlier campaign left running, if it is healthy, and leave it running.
    #[arg(long)]
    pub keep: bool,
    /// Print the report as JSON.
    #[arg(long)]
    pub json: bool,
}

/// The file systems that are filled up, one after the other.
const FILE_SYSTEMS: &[&str] = &["tmpfs", "ext4"];

/// Fills the disk under a running node. In a mount namespace of its own, so that no mount outlives it.
pub fn full_disk(options: &FullDiskOptions, beside: Beside) -> Result<()> {
    let binary = binary::debug("shanraq", beside)?;
    let checks = binary::debug("checks", beside)?;
    for file_system in FILE_SYSTEMS {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private"]);
        command.arg(&checks).arg("full-disk");
        command
            .args(["--file-system", file_system, "--binary"])
            .arg(&binary);
        if let Some(seed) = options.seed {
            command.arg("--seed").arg(seed.to_string());
        }
        run(&mut command).context("this check mounts small file systems, so it must be run by root")?;
    }
    Ok(())
}

/// Asks a node with much history what a naive model can tell, and compares.
pub fn scale(options: &ScaleOptions, beside: Beside) -> Result<()> {
    let binary = if options.release {
        binary::release()?
    } else {
        binary::debug("shanraq", beside)?
    };
    let mut command = Command::new(binary::debug("checks", beside)?);
    command.arg("scale").arg("--binary").arg(binary);
    command.arg("--transfers").arg(options.transfers.to_string());
    command.arg("--questions").arg(options.questions.to_string());
    if let Some(seed) = options.seed {
        command.arg("--seed").arg(seed.to_string());
    }
    run(&mut command)
}

/// Runs the crash test.
pub fn crash(options: &CrashOptions, beside: Beside) -> Result<()> {
    let binary = if options.release {
        binary::release()?
    } else {
        binary::debug("shanraq", beside)?
    };
    let mut command = Command::new(binary::debug("checks", beside)?);
    command
        .arg("crash")
        .arg("--binary")
        .arg(binary)
        .arg("--kills")
        .arg(options.kills.to_string());
    if let Some(seed) = options.seed {
        command.arg("--seed").arg(seed.to_string());
    }
    run(&mut command)
}

/// Runs the fault campaign. The hosts share this machine's disk, so its kernel is set as rendered for a host.
pub fn campaign(options: &CampaignOptions) -> Result<()> {
    let binary = if options.release {
        binary::release()?
    } else {
        binary::debug("shanraq", Beside::Nothing)?
    };
    let mut command = Command::new(binary::debug("campaign", Beside::Nothing)?);
    command.arg("--binary").arg(binary);
    command.arg("--out").arg(target_folder().join("campaign"));
    if let Some(faults) = &options.faults {
        command.args(["--faults", faults]);
    }
    if let Some(seed) = options.seed {
        command.arg("--seed").arg(seed.to_string());
    }
    if let Some(rounds) = options.rounds {
        command.arg("--rounds").arg(rounds.to_string());
    }
    if let Some(minutes) = options.hold_minutes {
        command.arg("--hold-minutes").arg(minutes.to_string());
    }
    for (flag, wanted) in [("--keep", options.keep), ("--json", options.json)] {
        if wanted {
            command.arg(flag);
        }
    }
    let kernel = Kernel::tune()?;
    if !options.json {
        println!("kernel    {}", kernel.shown());
    }
    run(&mut command)
        .context("this check makes networks and gives files to other users, so it must be run by root")
}

/// Memory that the fuzzers may address; a reader that takes more dies, and its input is left behind.
const FUZZ_BYTES_MAX: u64 = 8 << 30;

/// Runs the fuzzers.
pub fn fuzz(options: &FuzzOptions, beside: Beside) -> Result<()> {
    let folder = target_folder().join("fuzz");
    // Built outside the limit, which is for the readers and not for the compiler.
    let checks = binary::debug("checks", beside)?;
    let mut command = Command::new("prlimit");
    command
        .arg(format!("--as={FUZZ_BYTES_MAX}"))
        .arg(checks)
        .arg("fuzz");
    command
        .arg("--seconds")
        .arg(options.seconds.to_string())
        .arg("--folder")
        .arg(&folder);
    if let Some(seed) = options.seed {
        command.arg("--seed").arg(seed.to_string());
    }
    run(&mut command).with_context(|| format!("inputs that fail are in {}", folder.display()))
}
