//! The `shanraq` binary: the ledger node and the command line. Owns: the commands and their exit codes.

mod bench;
mod commands;
mod config;
mod live;
mod log;
mod port;
mod progress;
mod remote;
#[cfg(test)]
mod runbooks;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// A double-entry ledger that a bank can run its money on.
///
/// Exit codes: 0 done; 1 it could not be done (standard error says why); 2 it was done and the answer is no: the
/// ledger refused, something does not balance or does not verify, or the command line is wrong.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Up(commands::up::UpArgs),
    Serve(commands::serve::ServeArgs),
    Account(commands::account::AccountArgs),
    Transfer(commands::transfer::TransferArgs),
    Import(commands::import::ImportArgs),
    Statement(commands::statement::StatementArgs),
    TrialBalance(commands::trial_balance::TrialBalanceArgs),
    Verify(commands::verify::VerifyArgs),
    Inspect(commands::inspect::InspectArgs),
    Journal(commands::journal::JournalArgs),
    Migrate(commands::migrate::MigrateArgs),
    Projection(commands::projection::ProjectionArgs),
    Bench(bench::BenchArgs),
    Config(commands::config::ConfigArgs),
    Cluster(commands::cluster::ClusterArgs),
    Fence(commands::fence::FenceArgs),
    Rewind(commands::rewind::RewindArgs),
}

/// What a shell tells of a program that was ended by SIGPIPE.
const NO_READER: i32 = 141;

/// A reader such as `head` goes when it has seen enough; that is no fault of ours to report.
fn end_quietly_without_reader() {
    let tell = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let said = panic.payload_as_str().unwrap_or_default();
        if said.starts_with("failed printing to stdout: Broken pipe") {
            std::process::exit(NO_READER);
        }
        tell(panic);
    }));
}

fn main() -> ExitCode {
    end_quietly_without_reader();
    let done = match Cli::parse().command {
        Command::Up(args) => commands::up::run(&args),
        Command::Serve(args) => commands::serve::run(&args).map(|()| true),
        Command::Account(args) => commands::account::run(&args),
        Command::Transfer(args) => commands::transfer::run(&args),
        Command::Import(args) => commands::import::run(&args),
        Command::Statement(args) => commands::statement::run(&args).map(|()| true),
        Command::TrialBalance(args) => commands::trial_balance::run(&args),
        Command::Verify(args) => commands::verify::run(&args),
        Command::Inspect(args) => commands::inspect::run(&args),
        Command::Journal(args) => commands::journal::run(&args),
        Command::Migrate(args) => commands::migrate::run(&args).map(|()| true),
        Command::Projection(args) => commands::projection::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Config(args) => commands::config::run(&args).map(|()| true),
        Command::Cluster(args) => commands::cluster::run(&args),
        Command::Fence(args) => commands::fence::run(&args).map(|()| true),
        Command::Rewind(args) => commands::rewind::run(&args),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(2),
        Err(error) => {
            eprintln!("shanraq: {error:#}");
            ExitCode::FAILURE
        }
    }
}
