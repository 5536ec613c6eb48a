//! `cargo xtask bench`: Shanraq against its budgets, or Shanraq and a peer under the same load, one after the other.
//!
//! Owns: the workload's parameters, the order of the two runs, the comparison. The peer is a stored-procedure ledger on
//! PostgreSQL (`xtask/sql/ledger.sql`), tuned, as durable as Shanraq: each call is answered after its fdatasync.

use crate::machine::Machine;
use crate::postgres::{Cluster, DURABILITY, settings};
use crate::process::{capture, shown};
use crate::{binary, budget};
use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use serde::Serialize;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The peer's tables and procedures.
const LEDGER: &str = include_str!("../sql/ledger.sql");
/// The peer's load.
const CALLS: &str = include_str!("../sql/calls.pgbench");
/// How many accounts the load is spread over, all equally likely.
const ACCOUNTS: u64 = 10_000;

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
    /// Only the budgets of this workload; may be given more than once.
    #[arg(long, value_name = "WORKLOAD", requires = "budget")]
    only: Vec<String>,
    /// Transfers for the peer to make; Shanraq makes several times as many, so that the runs last about as long.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..), requires = "peer")]
    transfers: u64,
    /// Connections to the peer, each waiting for its answer before the next call.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..=1_000), requires = "peer")]
    clients: u64,
    /// Seed of the load.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where both sides keep their files: a real disk. A folder is made in it, and removed.
    #[arg(long, default_value = "/var/tmp")]
    dir: PathBuf,
    /// A setting for the peer besides, or instead of, those that are printed, `NAME=VALUE`; may be given more than once.
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = parse_setting, requires = "peer")]
    settings: Vec<(String, String)>,
    /// Leave Shanraq out: only the peer's figure.
    #[arg(long, requires = "peer")]
    peer_only: bool,
    /// Print one JSON object and nothing else.
    #[arg(long)]
    json: bool,
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

/// One side's result.
#[derive(Debug, Serialize)]
struct Figures {
    transfers: u64,
    seconds: f64,
    per_second: f64,
    p50_ms: f64,
    p99_ms: f64,
    max_ms: f64,
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
    let cluster = Cluster::start(&home, settings)?;
    cluster.sql(LEDGER)?;
    cluster.sql(&format!(
        "insert into accounts (id, ledger, code, timestamp) select i, 1, 1, i from generate_series(1, {ACCOUNTS}) i"
    ))?;
    cluster.sql("vacuum (analyze, freeze) accounts")?;
    std::fs::write(home.join("calls.pgbench"), CALLS)?;
    // A fifth of the load first: caches filled, statements planned, WAL segments there to be used again.
    let per_client = options.transfers.div_ceil(options.clients);
    let warm_up = per_client.div_ceil(5);
    pgbench(options, &cluster, warm_up, 0, options.seed.wrapping_add(1))?;
    cluster.sql("checkpoint")?;
    let log = pgbench(options, &cluster, per_client, warm_up, options.seed)?;
    let figures = figures(&home, &log)?;
    audit(&cluster, (warm_up + per_client) * options.clients)?;
    Ok((cluster.version.clone(), figures))
}

/// Runs the load; every client makes `per_client` calls, the first of them with number `from`. Gives the logs' prefix.
fn pgbench(options: &Options, cluster: &Cluster, per_client: u64, from: u64, seed: u64) -> Result<String> {
    let log = format!("calls-{from}");
    let threads = std::thread::available_parallelism()?
        .get()
        .min(options.clients as usize);
    let mut pgbench = cluster.tool("pgbench");
    pgbench.args([
        "--no-vacuum",
        "--protocol=prepared",
        "--file=calls.pgbench",
        "--log",
    ]);
    pgbench.arg(format!("--log-prefix={log}"));
    pgbench
        .arg(format!("--client={}", options.clients))
        .arg(format!("--jobs={threads}"));
    pgbench
        .arg(format!("--transactions={per_client}"))
        .arg(format!("--random-seed={seed}"));
    pgbench
        .arg(format!("--define=n={from}"))
        .arg(format!("--define=accounts={ACCOUNTS}"));
    let said = capture(&mut pgbench)?;
    ensure!(
        said.contains("number of failed transactions: 0 "),
        "pgbench reports failures:\n{said}"
    );
    Ok(log)
}

/// Reads pgbench's logs: one line a call, `client number latency_us script epoch_s epoch_us`, stamped at its end.
fn figures(home: &Path, prefix: &str) -> Result<Figures> {
    let mut latencies_us = Vec::new();
    let (mut begin_us, mut end_us) = (u64::MAX, 0);
    for entry in std::fs::read_dir(home)? {
        let entry = entry?;
        if !entry
            .file_name()
            .to_string_lossy()
            .starts_with(&format!("{prefix}."))
        {
            continue;
        }
        for line in std::fs::read_to_string(entry.path())?.lines() {
            let (latency, ended) = log_line(line).with_context(|| format!("pgbench logged `{line}`"))?;
            begin_us = begin_us.min(ended - latency);
            end_us = end_us.max(ended);
            latencies_us.push(latency);
        }
    }
    ensure!(!latencies_us.is_empty(), "pgbench logged no call");
    latencies_us.sort_unstable();
    let seconds = (end_us - begin_us) as f64 / 1e6;
    Ok(Figures {
        transfers: latencies_us.len() as u64,
        seconds,
        per_second: latencies_us.len() as f64 / seconds,
        p50_ms: quantile_ms(&latencies_us, 0.50),
        p99_ms: quantile_ms(&latencies_us, 0.99),
        max_ms: quantile_ms(&latencies_us, 1.0),
    })
}

/// Latency and moment of the end, in microseconds.
fn log_line(line: &str) -> Option<(u64, u64)> {
    let mut fields = line.split_whitespace().map(str::parse::<u64>);
    let latency = fields.nth(2)?.ok()?;
    let seconds = fields.nth(1)?.ok()?;
    Some((latency, seconds * 1_000_000 + fields.next()?.ok()?))
}

/// The smallest value that at least the given share of the values does not exceed.
fn quantile_ms(sorted_us: &[u64], share: f64) -> f64 {
    let rank = (sorted_us.len() as f64 * share).ceil() as usize;
    sorted_us[rank.clamp(1, sorted_us.len()) - 1] as f64 / 1_000.0
}

/// Every call must have settled: a peer that refuses is fast.
fn audit(cluster: &Cluster, expected: u64) -> Result<()> {
    let row = cluster
        .sql("select transfers, amounts = debits and debits = credits, accounts_that_differ from audit")?;
    ensure!(
        row == format!("{expected}|t|0"),
        "the peer's books are wrong: {row}, expected {expected}|t|0"
    );
    Ok(())
}

/// The user `postgres` must be able to pass through.
fn make_reachable(folder: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    Ok(std::fs::set_permissions(
        folder,
        std::fs::Permissions::from_mode(0o755),
    )?)
}

fn command_line() -> String {
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

/// The figures of a report by `shanraq bench --json`.
fn reported(report: &Value) -> Option<Figures> {
    let number = |name: &str| report[name].as_f64();
    let (transfers, per_second) = (report["transfers"].as_u64()?, number("transfers_per_second")?);
    Some(Figures {
        transfers,
        seconds: transfers as f64 / per_second,
        per_second,
        p50_ms: number("p50_us")? / 1_000.0,
        p99_ms: number("p99_us")? / 1_000.0,
        max_ms: number("max_us")? / 1_000.0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_log_gives_latency_and_end() {
        assert_eq!(
            log_line("3 17 12345 0 1700000000 250000"),
            Some((12_345, 1_700_000_000_250_000))
        );
        assert_eq!(log_line("3 17 skipped 0 1700000000 250000"), None);
        assert_eq!(log_line(""), None);
    }

    #[test]
    fn the_figures_of_our_report_are_read_and_a_missing_one_is_noticed() {
        let mut report = json!({
            "transfers": 1_000, "transfers_per_second": 500.0, "p50_us": 1_500.0, "p99_us": 2_000.0, "max_us": 3_000.0
        });
        let figures = reported(&report).expect("all are there");
        assert_eq!((figures.seconds, figures.p50_ms, figures.max_ms), (2.0, 1.5, 3.0));
        report.as_object_mut().expect("an object").remove("p99_us");
        assert!(reported(&report).is_none());
    }

    #[test]
    fn quantiles_are_values_that_occurred() {
        let sorted: Vec<u64> = (1..=100).map(|n| n * 1_000).collect();
        assert_eq!(
            [0.5, 0.99, 1.0].map(|share| quantile_ms(&sorted, share)),
            [50.0, 99.0, 100.0]
        );
        assert_eq!(quantile_ms(&[7_000], 0.5), 7.0);
    }
}
