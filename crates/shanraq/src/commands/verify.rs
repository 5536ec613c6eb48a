//! `shanraq verify`: proves a data directory.

use anyhow::Result;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use node::{NodeOptions, VerifyReport, VerifyStage};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Walk the chain of a data directory, replay it, compare results, and check every invariant.
///
/// The node must be stopped. Exits with 2 when something is wrong.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// The data directory.
    #[arg(long, default_value = "shanraq-data")]
    dir: PathBuf,
    /// Where the data key is; default: `keys` in the directory.
    #[arg(long)]
    key_file: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the command; false when something is wrong.
pub fn run(args: &VerifyArgs) -> Result<bool> {
    let report = verify(&args.dir, args.key_file.clone())?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&to_json(&report))?);
    } else {
        print(&report);
    }
    Ok(report.is_ok())
}

/// Verifies with a progress bar.
pub fn verify(directory: &Path, key_file: Option<PathBuf>) -> Result<VerifyReport> {
    let style = ProgressStyle::with_template("{msg:<10} {bar:40} {percent:>3} % {eta}")?;
    let bar = ProgressBar::new(0).with_style(style);
    let options = NodeOptions {
        key_file,
        ..NodeOptions::new(directory)
    };
    let report = node::verify(&options, |stage, done, total| {
        bar.set_message(match stage {
            VerifyStage::Replay => "replaying",
            VerifyStage::Index => "comparing",
        });
        bar.set_length(total);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    Ok(report?)
}

/// For people.
pub fn print(report: &VerifyReport) {
    println!("height     {}", report.height);
    println!("hash       {}", hex(&report.hash));
    println!("blocks     {}   events {}", report.blocks, report.events);
    println!(
        "accounts   {}   rows   {}   index rows compared {}",
        report.accounts, report.rows, report.index_rows
    );
    if report.torn_bytes > 0 {
        println!(
            "torn tail  {} bytes of a write that was never acknowledged",
            report.torn_bytes
        );
    }
    for problem in &report.problems {
        println!("PROBLEM    {problem}");
    }
    match report.problem_count {
        0 => println!("verified: chain, replay, balances and invariants hold"),
        count => println!("NOT VERIFIED: {count} problems"),
    }
}

/// For scripts.
pub fn to_json(report: &VerifyReport) -> Value {
    json!({
        "ok": report.is_ok(),
        "height": report.height.0.to_string(),
        "hash": hex(&report.hash),
        "blocks": report.blocks,
        "events": report.events,
        "accounts": report.accounts,
        "rows": report.rows,
        "index_rows_compared": report.index_rows,
        "journal_bytes": report.journal_bytes,
        "torn_bytes": report.torn_bytes,
        "problem_count": report.problem_count,
        "problems": report.problems,
    })
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
