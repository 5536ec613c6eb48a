//! The campaigns' command line; `cargo xtask` is the way in.

use anyhow::{Context, Result, bail};
use checks::fuzz;
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

fn draw_seed() -> Result<u64> {
    SysRng.try_next_u64().context("the system gives no randomness")
}
