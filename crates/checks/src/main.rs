//! The campaigns' command line; `cargo xtask` is the way in.

use anyhow::{Context, Result, bail};
use checks::{crash, fuzz};
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
    for (violation, calls) in report.violations.iter().take(10) {
        println!("{violation:?}");
        for call in calls {
            println!("    {call:?}");
        }
    }
    if report.violations.is_empty() {
        println!("every promise was kept");
        folder.disable_cleanup(false);
        return Ok(());
    }
    bail!("{} promises were broken (seed {seed})", report.violations.len())
}

fn draw_seed() -> Result<u64> {
    SysRng.try_next_u64().context("the system gives no randomness")
}
