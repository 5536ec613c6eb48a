//! Shanraq and a peer under the same load, one after the other, on this machine.
//!
//! Owns: the workload's parameters, the order of the two runs, the comparison. The peer is a stored-procedure ledger on
//! PostgreSQL (`xtask/sql/ledger.sql`), tuned, as durable as Shanraq: each call is answered after its fdatasync.

use crate::binary;
use crate::machine::Machine;
use crate::postgres::{Cluster, settings};
use crate::process::{capture, shown};
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

/// What to measure against what.
#[derive(clap::Args)]
pub struct Options {
    /// The system to measure Shanraq against.
    #[arg(long, value_enum)]
    peer: Peer,
    /// Transfers to make on each side.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..))]
    transfers: u64,
    /// Callers at a time, each waiting for its answer before the next call.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..=1_000))]
    clients: u64,
    /// Seed of the load.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where both sides keep their files: a real disk. A folder is made in it, and removed.
    #[arg(long, default_value = "/var/tmp")]
    dir: PathBuf,
    /// Leave Shanraq out: only the peer's figure.
    #[arg(long)]
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

/// Runs both sides and prints the comparison.
pub fn run(options: &Options) -> Result<()> {
    let Peer::Postgres = options.peer;
    let folder = tempfile::Builder::new()
        .prefix("shanraq-bench-")
        .tempdir_in(&options.dir)?;
    let machine = Machine::read(folder.path())?;
    ensure!(
        machine.file_system != "tmpfs",
        "{} is memory, not a disk: choose another with --dir",
        options.dir.display()
    );
    let settings = settings(machine.memory_mib);
    let say = |text: &str| {
        if !options.json {
            println!("{text}");
        }
    };
    say(&format!("machine   {machine}"));
    say(&format!("command   {}", command_line()));
    say(&format!(
        "load      {} transfers, {} clients, {ACCOUNTS} accounts, seed {}",
        options.transfers, options.clients, options.seed
    ));

    let (version, peer) = run_postgres(options, folder.path(), &settings, &say)?;
    say(&format!(
        "postgres  {} transfers/s, p50 {:.2} ms, p99 {:.2} ms",
        peer.per_second as u64, peer.p50_ms, peer.p99_ms
    ));
    let ours = if options.peer_only {
        None
    } else {
        Some(run_shanraq(options, folder.path(), &say)?)
    };
    let ratio = ours
        .as_ref()
        .map(|(figures, _)| figures.per_second / peer.per_second);
    if options.json {
        let settings: serde_json::Map<String, Value> = settings
            .iter()
            .map(|(n, v)| ((*n).to_owned(), json!(v)))
            .collect();
        let report = json!({
            "machine": machine,
            "command": command_line(),
            "workload": {"name": "calls", "transfers": options.transfers, "clients": options.clients, "accounts": ACCOUNTS, "seed": options.seed},
            "postgres": {"version": version, "settings": settings, "figures": peer},
            "shanraq": ours.as_ref().map(|(figures, raw)| json!({"figures": figures, "report": raw})),
            "ratio": ratio,
        });
        println!("{}", serde_json::to_string_pretty(&report)?);
        return Ok(());
    }
    let ours = ours.map(|(figures, _)| figures);
    print_table(&version, &peer, ours.as_ref(), ratio);
    Ok(())
}

fn print_table(version: &str, peer: &Figures, ours: Option<&Figures>, ratio: Option<f64>) {
    println!();
    println!(
        "{:<34} {:>12} {:>10} {:>10} {:>10}",
        "", "transfers/s", "p50 ms", "p99 ms", "max ms"
    );
    let row = |name: &str, f: &Figures| {
        println!(
            "{name:<34} {:>12.0} {:>10.2} {:>10.2} {:>10.2}",
            f.per_second, f.p50_ms, f.p99_ms, f.max_ms
        );
    };
    row(
        &version
            .replace("postgres (PostgreSQL)", "stored procedures, PostgreSQL")
            .chars()
            .take(34)
            .collect::<String>(),
        peer,
    );
    if let Some(ours) = ours {
        row("shanraq, the same calls", ours);
    }
    if let Some(ratio) = ratio {
        println!("\nshanraq settles {ratio:.1} times as many transfers a second");
    }
}

fn run_postgres(
    options: &Options,
    folder: &Path,
    settings: &[(&str, String)],
    say: &dyn Fn(&str),
) -> Result<(String, Figures)> {
    let home = folder.join("postgres");
    std::fs::create_dir(&home)?;
    make_reachable(folder)?;
    let cluster = Cluster::start(&home, settings)?;
    say(&format!("peer      {}", cluster.version));
    for line in settings.chunks(4) {
        let line: Vec<String> = line
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        say(&format!("          {}", line.join("  ")));
    }
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

fn run_shanraq(options: &Options, folder: &Path, say: &dyn Fn(&str)) -> Result<(Figures, Value)> {
    let _ = (
        options,
        folder,
        say,
        binary::release as fn() -> Result<PathBuf>,
        shown as fn(&Command) -> String,
    );
    anyhow::bail!("unfinished")
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
    fn quantiles_are_values_that_occurred() {
        let sorted: Vec<u64> = (1..=100).map(|n| n * 1_000).collect();
        assert_eq!(
            [0.5, 0.99, 1.0].map(|share| quantile_ms(&sorted, share)),
            [50.0, 99.0, 100.0]
        );
        assert_eq!(quantile_ms(&[7_000], 0.5), 7.0);
    }
}
