//! The campaigns' command line; `cargo xtask` is the way in.

use anyhow::{Context, Result, bail};
use campaign::history;
use checks::{crash, full_disk, fuzz, scale};
use clap::{Parser, Subcommand};
use rand::TryRng;
use rand::rngs::SysRng;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Campaigns against the product from outside. Exit code 0: nothing found; 1: something was found, or the campaign failed.
#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    campaign: Campaign,
}

#[derive(Subcommand)]
enum Campaign {
    /// Feeds mutated inputs to every reader of foreign bytes.
    Fuzz(FuzzOptions),
    /// Kills a real node again and again under load.
    Crash(CrashOptions),
    /// Fills the disk under a running node.
    FullDisk(FullDiskOptions),
    /// Asks a node with much history, and compares with a naive reference.
    Scale(ScaleOptions),
}

/// What to kill, how often.
#[derive(clap::Args)]
struct CrashOptions {
    /// The `shanraq` binary.
    #[arg(long)]
    binary: PathBuf,
    /// How often.
    #[arg(long, default_value_t = 100)]
    kills: u32,
    /// Seed of the load and of the moments; drawn when not given.
    #[arg(long)]
    seed: Option<u64>,
    /// Where the node's folder is made; kept when something is found.
    #[arg(long)]
    folder: Option<PathBuf>,
}

/// What to fill.
#[derive(clap::Args)]
struct FullDiskOptions {
    /// The `shanraq` binary.
    #[arg(long)]
    binary: PathBuf,
    /// Seed of the load; drawn when not given.
    #[arg(long)]
    seed: Option<u64>,
    /// What is mounted and filled.
    #[arg(long, value_enum)]
    file_system: full_disk::FileSystem,
}

/// How much history.
#[derive(clap::Args)]
struct ScaleOptions {
    /// The `shanraq` binary.
    #[arg(long)]
    binary: PathBuf,
    /// Transfers to make.
    #[arg(long)]
    transfers: u64,
    /// Questions of each kind, before and after a restart.
    #[arg(long)]
    questions: u64,
    /// Seed of the load and of the questions; drawn when not given.
    #[arg(long)]
    seed: Option<u64>,
}

/// What to fuzz, how long.
#[derive(clap::Args)]
struct FuzzOptions {
    /// How long, all readers together.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Seed of the mutations; drawn when not given.
    #[arg(long)]
    seed: Option<u64>,
    /// Only this reader.
    #[arg(long)]
    target: Option<String>,
    /// Read this one input instead of making any; needs `--target`.
    #[arg(long, requires = "target")]
    input: Option<PathBuf>,
    /// Where inputs that fail are saved.
    #[arg(long, default_value = "target/fuzz")]
    folder: PathBuf,
}

fn main() -> ExitCode {
    let done = match Cli::parse().campaign {
        Campaign::Fuzz(options) => run_fuzz(&options),
        Campaign::Crash(options) => run_crash(&options),
        Campaign::FullDisk(options) => run_full_disk(&options),
        Campaign::Scale(options) => run_scale(&options),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run_fuzz(options: &FuzzOptions) -> Result<()> {
    let mut targets = fuzz::targets();
    if let (Some(name), Some(input)) = (&options.target, &options.input) {
        fuzz::read_one(&targets, name, input)?;
        println!("{name} reads {} without a panic", input.display());
        return Ok(());
    }
    if let Some(name) = &options.target {
        targets.retain(|target| target.name == name);
        anyhow::ensure!(!targets.is_empty(), "no reader is named {name}");
    }
    let seed = options.seed.map_or_else(draw_seed, Ok)?;
    println!("seed {seed}, {} readers, {} s", targets.len(), options.seconds);
    let report = fuzz::fuzz(
        &targets,
        seed,
        Duration::from_secs(options.seconds),
        &options.folder,
    )?;
    for tried in &report.tried {
        println!(
            "{:<24} {:>10} inputs {:>14} bytes",
            tried.target, tried.inputs, tried.bytes
        );
    }
    for failure in &report.failures {
        println!(
            "{} panics on {}:\n{}",
            failure.target,
            failure.file.display(),
            failure.panic
        );
    }
    if report.failures.is_empty() {
        return Ok(());
    }
    bail!(
        "{} of {} readers panic (seed {seed})",
        report.failures.len(),
        report.tried.len()
    )
}

fn run_crash(options: &CrashOptions) -> Result<()> {
    let seed = options.seed.map_or_else(draw_seed, Ok)?;
    let mut folder = tempfile::Builder::new();
    folder.prefix("shanraq-crash-");
    let mut folder = match &options.folder {
        Some(parent) => folder.tempdir_in(parent)?,
        None => folder.tempdir()?,
    };
    println!(
        "seed {seed}, {} kills, in {}",
        options.kills,
        folder.path().display()
    );
    // What is found must be looked at; only a clean run throws its files away.
    folder.disable_cleanup(true);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let wanted = crash::Options {
        binary: options.binary.clone(),
        kills: options.kills,
        seed,
    };
    let report = runtime.block_on(crash::run(&wanted, folder.path(), |line| println!("{line}")))?;
    println!("{}", report.verified);
    println!(
        "{} calls, {} answered, {} rows, {} kills while starting, slowest start {:?}",
        report.calls, report.answered, report.rows, report.killed_while_starting, report.slowest_start
    );
    judge(&report.violations, seed)?;
    folder.disable_cleanup(false);
    Ok(())
}

fn run_full_disk(options: &FullDiskOptions) -> Result<()> {
    let seed = options.seed.map_or_else(draw_seed, Ok)?;
    let folder = tempfile::Builder::new().prefix("shanraq-full-disk-").tempdir()?;
    println!("seed {seed}, {:?}", options.file_system);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let wanted = full_disk::Options {
        binary: options.binary.clone(),
        seed,
        file_system: options.file_system,
    };
    let report = runtime.block_on(full_disk::run(&wanted, folder.path(), |line| println!("{line}")))?;
    println!("{}", report.verified);
    println!(
        "{} calls, {} answered, {} refused for want of room, {} rows",
        report.calls, report.answered, report.refused, report.rows
    );
    judge(&report.violations, seed)
}

fn run_scale(options: &ScaleOptions) -> Result<()> {
    let seed = options.seed.map_or_else(draw_seed, Ok)?;
    let folder = tempfile::Builder::new().prefix("shanraq-scale-").tempdir()?;
    println!("seed {seed}, {} transfers", options.transfers);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let wanted = scale::Options {
        binary: options.binary.clone(),
        transfers: options.transfers,
        questions: options.questions,
        seed,
    };
    let report = runtime.block_on(scale::run(&wanted, folder.path(), |line| println!("{line}")))?;
    println!(
        "{} rows loaded in {:.1?}; started again in {:.1?}",
        report.rows, report.loading, report.restart
    );
    for (when, tallies) in [
        ("before the restart", &report.before),
        ("after it", &report.after),
    ] {
        println!(
            "{when:<38} {:>6} {:>10} {:>10} {:>10}",
            "calls", "compared", "p50", "p99"
        );
        for tally in tallies {
            let (p50, p99) = (format!("{:.1?}", tally.p50), format!("{:.1?}", tally.p99));
            println!(
                "  {:<36} {:>6} {:>10} {p50:>10} {p99:>10}",
                tally.name, tally.calls, tally.compared
            );
        }
    }
    println!("every answer was right");
    Ok(())
}

/// Shows the broken promises, with what was asked under the ids concerned.
fn judge(violations: &[(history::Violation, Vec<history::Call>)], seed: u64) -> Result<()> {
    for (violation, calls) in violations.iter().take(10) {
        println!("{violation:?}");
        for call in calls {
            println!("    {call:?}");
        }
    }
    if violations.is_empty() {
        println!("every promise was kept");
        return Ok(());
    }
    bail!("{} promises were broken (seed {seed})", violations.len())
}

fn draw_seed() -> Result<u64> {
    SysRng.try_next_u64().context("the system gives no randomness")
}
