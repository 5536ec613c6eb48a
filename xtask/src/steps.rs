//! What CI runs, step by step. Owns: the list of steps and their order.

use crate::binary::{self, Beside};
use crate::campaigns::{self, CrashOptions, FullDiskOptions, FuzzOptions, ScaleOptions};
use crate::process::{cargo, run as run_command};
use crate::{documents, edges, schemathesis};
use anyhow::{Result, bail};
use clap::ValueEnum;
use std::process::Command;
use std::time::{Duration, Instant};

/// Clippy over everything that cargo test builds.
const LINT: &[&str] = &["clippy", "--workspace", "--all-targets", "--locked", "--quiet"];

/// Which steps to run.
#[derive(clap::Args)]
pub struct Options {
    /// Only this step; may be given more than once.
    #[arg(long, value_enum, value_name = "STEP")]
    only: Vec<Step>,
}

/// The steps, in the order in which they run: the quickest to fail first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Step {
    /// Every file is formatted.
    Format,
    /// No crate leans on one that it must not.
    Edges,
    /// Documents name what exists; every requirement is listed.
    Documents,
    /// Clippy finds nothing, warnings included.
    Lint,
    /// Every test of the workspace.
    Test,
    /// The quick start, twice on the same folder.
    Up,
    /// The simulator over a thousand seeds of a node and three thousand of a cluster, and those that once failed.
    Simulate,
    /// A short run of the fuzzers.
    Fuzz,
    /// Requests drawn from the OpenAPI description against a running node.
    Schemathesis,
    /// Every kind of question to a node with 50,000 transfers, against the naive model.
    Scale,
    /// A small disk that fills up under a running node.
    FullDisk,
    /// Twenty kills of a running node under load.
    Crash,
}

/// Runs them all, however many fail, and says which did.
pub fn run(options: &Options) -> Result<()> {
    let mut done = Vec::new();
    for &step in Step::value_variants() {
        if !options.only.is_empty() && !options.only.contains(&step) {
            continue;
        }
        println!("\n==== {step:?}");
        let began = Instant::now();
        let result = carry_out(step);
        if let Err(error) = &result {
            println!("{step:?} failed: {error:#}");
        }
        done.push((step, began.elapsed(), result.is_ok()));
    }
    summarize(&done)
}

fn carry_out(step: Step) -> Result<()> {
    match step {
        Step::Format => run_command(&mut cargo(&["fmt", "--all", "--check"])),
        Step::Edges => edges::check(),
        Step::Documents => documents::check(),
        Step::Lint => run_command(cargo(LINT).args(["--", "-D", "warnings"])),
        Step::Test => run_command(&mut cargo(&["test", "--workspace", "--locked", "--no-fail-fast"])),
        Step::Up => up_twice(),
        Step::Simulate => {
            let simulator = binary::debug("simulator", Beside::Workspace)?;
            run_command(Command::new(&simulator).args(["--seeds", "1000"]))?;
            run_command(Command::new(&simulator).args(["--cluster", "--seeds", "3000"]))
        }
        Step::Fuzz => campaigns::fuzz(
            &FuzzOptions {
                seconds: 20,
                seed: Some(1),
            },
            Beside::Workspace,
        ),
        Step::Schemathesis => {
            let options = schemathesis::Options {
                examples: 50,
                seed: 1,
                path: None,
            };
            schemathesis::run(&options, Beside::Workspace)
        }
        Step::Scale => {
            let options = ScaleOptions {
                transfers: 50_000,
                questions: 100,
                seed: Some(1),
                release: false,
            };
            campaigns::scale(&options, Beside::Workspace)
        }
        Step::FullDisk => {
            let options = FullDiskOptions { seed: Some(1) };
            campaigns::full_disk(&options, Beside::Workspace)
        }
        Step::Crash => {
            let options = CrashOptions {
                kills: 20,
                seed: None,
                release: false,
            };
            campaigns::crash(&options, Beside::Workspace)
        }
    }
}

/// The first run settles the bundled payments; the second finds them settled and must verify just as well.
fn up_twice() -> Result<()> {
    let binary = binary::debug("shanraq", Beside::Workspace)?;
    let folder = tempfile::tempdir()?;
    for _ in 0..2 {
        run_command(
            Command::new(&binary)
                .args(["up", "--once", "--dir"])
                .arg(folder.path().join("data")),
        )?;
    }
    Ok(())
}

fn summarize(done: &[(Step, Duration, bool)]) -> Result<()> {
    println!("\n==== Summary");
    for (step, took, passed) in done {
        let name = format!("{step:?}");
        println!(
            "{name:<14} {:>7.1} s  {}",
            took.as_secs_f64(),
            if *passed { "passed" } else { "FAILED" }
        );
    }
    let total: Duration = done.iter().map(|(_, took, _)| *took).sum();
    println!("{:<14} {:>7.1} s", "all", total.as_secs_f64());
    let failed: Vec<String> = done
        .iter()
        .filter(|(_, _, passed)| !passed)
        .map(|(step, _, _)| format!("{step:?}"))
        .collect();
    if failed.is_empty() {
        return Ok(());
    }
    bail!(
        "{} of {} steps failed: {}",
        failed.len(),
        done.len(),
        failed.join(", ")
    )
}
