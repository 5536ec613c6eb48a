//! `cargo xtask bench`: Shanraq against its budgets, or Shanraq and a peer under the same load, one after the other.
//!
//! Owns: the workload's parameters, the order of the two runs, the comparison. The peer is a stored-procedure ledger on
//! PostgreSQL (`xtask/sql/ledger.sql`), tuned, as durable as Shanraq: each call is answered after its fdatasync.

use crate::machine::Machine;
use crate::peer::{self, ACCOUNTS, Figures, Load, reported};
use crate::postgres::{Cluster, DURABILITY, SOCKET_PORT, settings};
use crate::process::{capture, shown};
use crate::{binary, budget, replicated};
use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A workload of `shanraq bench` that makes the same transfers.
struct Workload {
    name: &'static str,
    /// For people.
    load: &'static str,
    /// Its run has so many times the peer's transfers, so that it lasts about as long.
    times: u64,
}

/// First like for like; then as the client library does it when a program makes many calls at a time.
const OURS: &[Workload] = &[
    Workload {
        name: "unary",
        load: "one gRPC call a transfer, 64 connections",
        times: 4,
    },
    Workload {
        name: "calls",
        load: "one client call a transfer, 1,024 callers",
        times: 20,
    },
];

/// What to measure against what.
#[derive(clap::Args)]
#[command(group = clap::ArgGroup::new("against").required(true))]
pub struct Options {
    /// The system to measure Shanraq against.
    #[arg(long, value_enum, group = "against")]
    peer: Option<Peer>,
    /// Hold every workload against its limits in benchmarks/budgets.toml; exit code 1 when one is broken.
    #[arg(long, group = "against")]
    budget: bool,
    /// Shanraq on three PostgreSQL servers, one of which and the primary must have flushed an answer, and the peer on the same.
    #[arg(long, group = "against")]
    replicated: bool,
    /// Only this workload, or its budgets; may be given more than once.
    #[arg(long, value_name = "WORKLOAD", conflicts_with = "peer")]
    only: Vec<String>,
    /// Transfers for the peer to make; Shanraq makes several times as many, so that the runs last about as long.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..), conflicts_with = "budget")]
    transfers: u64,
    /// Connections to the peer, each waiting for its answer before the next call.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..=1_000), conflicts_with = "budget")]
    clients: u64,
    /// Seed of the load.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where both sides keep their files: a real disk. A folder is made in it, and removed.
    #[arg(long, default_value = "/var/tmp")]
    dir: PathBuf,
    /// A setting for the peer besides, or instead of, those that are printed, `NAME=VALUE`; may be given more than once.
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = parse_setting, conflicts_with = "budget")]
    settings: Vec<(String, String)>,
    /// Leave Shanraq out: only the peer's figure.
    #[arg(long, requires = "peer")]
    peer_only: bool,
    /// Measure this `shanraq` instead of building it, to compare versions.
    #[arg(long, requires = "replicated")]
    binary: Option<PathBuf>,
    /// Print one JSON object and nothing else.
    #[arg(long)]
    json: bool,
}

impl Options {
    /// Whether a part of the run is asked for.
    pub fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == name)
    }

    /// What the peer makes.
    pub fn load(&self) -> Load {
        Load {
            transfers: self.transfers,
            clients: self.clients,
            seed: self.seed,
        }
    }

    /// What is measured.
    pub fn binary(&self) -> Result<PathBuf> {
        self.binary.clone().map_or_else(binary::release, Ok)
    }

    /// For PostgreSQL, beside ours.
    pub fn settings(&self) -> &[(String, String)] {
        &self.settings
    }

    /// Whether one JSON object is to be printed.
    pub fn is_json(&self) -> bool {
        self.json
    }
}

/// The systems that this knows.
#[derive(Clone, Copy, ValueEnum)]
enum Peer {
    /// A stored-procedure ledger on PostgreSQL, one call one transaction.
    Postgres,
}

fn parse_setting(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("NAME=VALUE is needed")?;
    if DURABILITY.contains(&name) {
        return Err(format!(
            "{name} stays as it is: both sides answer only what is durable"
        ));
    }
    Ok((name.to_owned(), value.to_owned()))
}

/// Runs what is asked for.
pub fn run(options: &Options) -> Result<()> {
    let folder = tempfile::Builder::new()
        .prefix("shanraq-bench-")
        .tempdir_in(&options.dir)?;
    let machine = Machine::read(folder.path())?;
    let on_disk = machine.file_system != "tmpfs";
    ensure!(
        on_disk,
        "{} is memory, not a disk: choose another with --dir",
        options.dir.display()
    );
    match options.peer {
        Some(Peer::Postgres) => against_postgres(options, folder.path(), &machine),
        None if options.replicated => replicated::run(options, folder.path(), &machine),
        None => {
            if !options.json {
                println!("machine   {machine}");
            }
            budget::run(&options.only, folder.path(), options.seed, options.json)
        }
    }
}

/// Runs both sides and prints the comparison.
fn against_postgres(options: &Options, folder: &Path, machine: &Machine) -> Result<()> {
    // Built before anything is measured.
    let binary = if options.peer_only {
        None
    } else {
        Some(binary::release()?)
    };
    let settings = settings(machine.memory_mib, &options.settings);
    if !options.json {
        print_head(options, machine, &settings);
    }
    let (version, peer) = run_postgres(options, folder, &settings)?;
    let mut ours = Vec::new();
    if let Some(binary) = &binary {
        for workload in OURS {
            ours.push(run_shanraq(options, binary, folder, workload)?);
        }
    }
    if options.json {
        let settings: serde_json::Map<String, Value> = settings
            .iter()
            .map(|(name, value)| (name.clone(), json!(value)))
            .collect();
        let workloads: Vec<Value> = ours
            .iter()
            .map(|run| {
                json!({
                    "workload": run.workload.name, "load": run.workload.load, "figures": run.figures,
                    "ratio": run.figures.per_second / peer.per_second, "report": run.report,
                })
            })
            .collect();
        let report = json!({
            "machine": machine,
            "command": command_line(),
            "load": {"transfers": options.transfers, "clients": options.clients, "accounts": ACCOUNTS, "seed": options.seed},
            "postgres": {"version": version, "settings": settings, "figures": peer},
            "shanraq": workloads,
        });
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print_table(&version, options, &peer, &ours);
    }
    Ok(())
}

fn print_head(options: &Options, machine: &Machine, settings: &[(String, String)]) {
    println!("machine   {machine}");
    println!("command   {}", command_line());
    let Options {
        transfers,
        clients,
        seed,
        ..
    } = options;
    println!(
        "load      {transfers} transfers between {ACCOUNTS} accounts, {clients} connections to the peer, seed {seed}"
    );
    for (number, line) in settings.chunks(4).enumerate() {
        let line: Vec<String> = line
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        println!(
            "{:<9} {}",
            if number == 0 { "settings" } else { "" },
            line.join("  ")
        );
    }
}

fn print_table(version: &str, options: &Options, peer: &Figures, ours: &[Run]) {
    let line = |name: &str, f: &Figures, ratio: f64| {
        println!(
            "{name:<60} {:>11.0} {:>8.2} {:>8.2} {:>8.2} {ratio:>7.1}",
            f.per_second, f.p50_ms, f.p99_ms, f.max_ms
        );
    };
    println!();
    println!(
        "{:<60} {:>11} {:>8} {:>8} {:>8} {:>7}",
        "", "transfers/s", "p50 ms", "p99 ms", "max ms", "ratio"
    );
    let number = version.split_whitespace().nth(2).unwrap_or(version);
    line(
        &format!(
            "stored procedures, PostgreSQL {number}, {} connections",
            options.clients
        ),
        peer,
        1.0,
    );
    for run in ours {
        line(
            &format!("shanraq, {}", run.workload.load),
            &run.figures,
            run.figures.per_second / peer.per_second,
        );
    }
}

fn run_postgres(
    options: &Options,
    folder: &Path,
    settings: &[(String, String)],
) -> Result<(String, Figures)> {
    let home = folder.join("postgres");
    std::fs::create_dir(&home)?;
    make_reachable(folder)?;
    let cluster = Cluster::start(&home, settings, SOCKET_PORT)?;
    let figures = peer::measure(&cluster, options.load())?;
    Ok((cluster.version.clone(), figures))
}

/// The user `postgres` must be able to pass through.
pub fn make_reachable(folder: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    Ok(std::fs::set_permissions(
        folder,
        std::fs::Permissions::from_mode(0o755),
    )?)
}

pub fn command_line() -> String {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    format!("cargo xtask {}", arguments.join(" "))
}

/// One of our workloads as it was measured.
struct Run {
    workload: &'static Workload,
    figures: Figures,
    report: Value,
}

fn run_shanraq(options: &Options, binary: &Path, folder: &Path, workload: &'static Workload) -> Result<Run> {
    let mut bench = Command::new(binary);
    bench
        .args(["bench", "--json", "--workload", workload.name, "--directory"])
        .arg(folder);
    let transfers = options.transfers * workload.times;
    bench
        .arg(format!("--transfers={transfers}"))
        .arg(format!("--seed={}", options.seed));
    let said = capture(&mut bench)?;
    let report: Value =
        serde_json::from_str(&said).with_context(|| format!("`{}` printed no JSON", shown(&bench)))?;
    let figures =
        reported(&report).with_context(|| format!("`{}` leaves figures out:\n{said}", shown(&bench)))?;
    ensure!(
        report["errors"] == 0,
        "`{}` reports errors:\n{said}",
        shown(&bench)
    );
    Ok(Run {
        workload,
        figures,
        report,
    })
}
