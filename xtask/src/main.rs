//! The development commands: `cargo xtask test`, `bench`, `crash`, `full-disk`, `scale`,
//! `campaign`, `fuzz`, `schemathesis`.
//!
//! Owns: which checks CI runs and in which order, and the benchmark against a peer. Must not: depend on the crates of the
//! product (it is compiled first, and starts fast); what needs them lives in `crates/checks` and
//! `crates/campaign` and is run from here.
//! A step whose tool fails or is missing fails; nothing is skipped silently.

mod bench;
mod binary;
mod budget;
mod campaigns;
mod documents;
mod edges;
mod kernel;
mod machine;
mod markdown;
mod node;
mod peer;
mod postgres;
mod process;
mod python;
mod replicated;
mod requirements;
mod schemathesis;
mod steps;

use binary::Beside;
use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Shanraq's development commands. Exit code 0: all is well; 1: something failed; 2: the command line is wrong.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Everything that CI runs, step by step, with the time that each step takes.
    Test(steps::Options),
    /// Shanraq against its budgets, or against a peer under the same load, on this machine.
    Bench(bench::Options),
    /// Kills a real node again and again under load, and looks for anything acknowledged that was lost, changed or doubled.
    Crash(campaigns::CrashOptions),
    /// Fills a small disk under a running node, and looks whether it refuses clearly, reads on, and resumes by itself.
    FullDisk(campaigns::FullDiskOptions),
    /// Asks a node with much history every kind of question, and compares with what a naive model says.
    Scale(campaigns::ScaleOptions),
    /// Disturbs a whole cluster under load, fault by fault, and holds everything that clients heard against its books.
    Campaign(campaigns::CampaignOptions),
    /// Feeds mutated inputs to every reader of foreign bytes, and looks for a panic.
    Fuzz(campaigns::FuzzOptions),
    /// Requests drawn from the OpenAPI description against a running node.
    Schemathesis(schemathesis::Options),
}

fn main() -> ExitCode {
    let done = match Cli::parse().task {
        Task::Test(options) => steps::run(&options),
        Task::Bench(options) => bench::run(&options),
        Task::Crash(options) => campaigns::crash(&options, Beside::Nothing),
        Task::FullDisk(options) => campaigns::full_disk(&options, Beside::Nothing),
        Task::Scale(options) => campaigns::scale(&options, Beside::Nothing),
        Task::Campaign(options) => campaigns::campaign(&options),
        Task::Fuzz(options) => campaigns::fuzz(&options, Beside::Nothing),
        Task::Schemathesis(options) => schemathesis::run(&options, Beside::Nothing),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
