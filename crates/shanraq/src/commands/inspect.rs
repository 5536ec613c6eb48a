//! `shanraq inspect`: what the blocks of a data directory hold.

use crate::commands::verify::hex;
use anyhow::{Context, Result};
use clap::Args;
use journal::{Block, Results, ShardId};
use ledger::{CommandBody, Height};
use node::NodeOptions;
use serde_json::{Value, json};
use std::ops::ControlFlow;
use std::path::PathBuf;
use storage::{FileSystem, KeyRing};

/// Print the blocks of a data directory, one a line; the node should be stopped.
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// The data directory.
    #[arg(long, default_value = "shanraq-data")]
    dir: PathBuf,
    /// Where the data key is; default: `keys` in the directory.
    #[arg(long)]
    key_file: Option<PathBuf>,
    /// The first block.
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// How many blocks at most.
    #[arg(long, default_value_t = 20)]
    limit: u64,
    /// Also print each command.
    #[arg(long)]
    commands: bool,
    /// Print one JSON object a line.
    #[arg(long)]
    json: bool,
}

/// Runs the command; false when a block is damaged.
pub fn run(args: &InspectArgs) -> Result<bool> {
    let options = NodeOptions {
        key_file: args.key_file.clone(),
        ..NodeOptions::new(&args.dir)
    };
    let layout = node::Layout::new(&options);
    let keys = KeyRing::read_file(&FileSystem, &layout.keys)?;
    let mut left = args.limit;
    let mut sound = true;
    journal::walk(&FileSystem, &layout.journal, &keys, ShardId(0), &mut |found| {
        if found.expected < Height(args.from) {
            return ControlFlow::Continue(());
        }
        if left == 0 {
            return ControlFlow::Break(());
        }
        left -= 1;
        let file = found.file.file_name().unwrap_or_default().to_string_lossy();
        let place = json!({ "file": file, "offset": found.offset, "disk_bytes": found.disk_bytes });
        sound &= found.problem.is_none();
        match (found.block, found.problem) {
            (Some(block), None) => print(args, &place, block),
            (_, problem) => {
                let problem = problem.map(ToString::to_string).unwrap_or_default();
                println!(
                    "{}",
                    json!({ "height": found.expected.0, "problem": problem, "place": place })
                );
            }
        }
        ControlFlow::Continue(())
    })
    .context("the journal cannot be walked")?;
    Ok(sound)
}

fn print(args: &InspectArgs, place: &Value, block: &Block) {
    let commands: Vec<Value> = block.entries.iter().map(entry_json).collect();
    if args.json {
        let mut value = json!({
            "height": block.height.0,
            "epoch": block.epoch,
            "timestamp": block.timestamp.0.to_string(),
            "rules_version": block.rules_version,
            "previous": hex(&block.previous.0),
            "hash": hex(&block.hash.0),
            "place": place,
        });
        if args.commands {
            value["commands"] = commands.into();
        }
        println!("{value}");
        return;
    }
    println!(
        "{:>10}  epoch {}  {}  {} commands  {} bytes at {}:{}  {}",
        block.height,
        block.epoch,
        block.timestamp,
        block.entries.len(),
        place["disk_bytes"],
        place["file"].as_str().unwrap_or_default(),
        place["offset"],
        &hex(&block.hash.0)[..16],
    );
    if args.commands {
        for command in commands {
            println!("            {command}");
        }
    }
}

fn entry_json(entry: &journal::Entry) -> Value {
    let (kind, events) = match &entry.command.body {
        CommandBody::BeginEpoch => ("begin_epoch", 0),
        CommandBody::CreateAccounts(events) => ("create_accounts", events.events.len()),
        CommandBody::CreateTransfers(events) => ("create_transfers", events.events.len()),
        CommandBody::ExpirePending { .. } => ("expire_pending", 0),
        CommandBody::DescribeLedger(_) => ("describe_ledger", 1),
    };
    let results = match &entry.results {
        Results::None => json!({}),
        Results::Accounts(results) => counts(results.iter().map(|result| result.name())),
        Results::Transfers(results) => counts(results.iter().map(|result| result.name())),
        Results::Expired(ids) => json!({ "expired": ids.len() }),
        Results::Described(result) => counts(std::iter::once(result.name())),
    };
    json!({
        "kind": kind,
        "actor": entry.command.actor.0.to_string(),
        "timestamp": entry.timestamp.0.to_string(),
        "events": events,
        "results": results,
    })
}

fn counts<'a>(names: impl Iterator<Item = &'a str>) -> Value {
    let mut counts = std::collections::BTreeMap::new();
    for name in names {
        *counts.entry(name).or_insert(0_u64) += 1;
    }
    json!(counts)
}
