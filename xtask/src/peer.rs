//! The peer: a stored-procedure ledger on PostgreSQL (`xtask/sql/ledger.sql`). Owns: its load by `pgbench`, and what is read out of
//! its logs and out of the reports of `shanraq bench`.

use crate::postgres::Cluster;
use crate::process::capture;
use anyhow::{Context, Result, ensure};
use serde::Serialize;
use serde_json::Value;
use std::path::Path;

/// The peer's tables and procedures.
const LEDGER: &str = include_str!("../sql/ledger.sql");
/// The peer's load.
const CALLS: &str = include_str!("../sql/calls.pgbench");
/// How many accounts the load is spread over, all equally likely.
pub const ACCOUNTS: u64 = 10_000;

/// What the peer is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// How many transfers, each a call and a transaction.
    pub transfers: u64,
    /// Connections, each waiting for its answer before the next call.
    pub clients: u64,
    /// Of the draws.
    pub seed: u64,
}

/// One side's result.
#[derive(Debug, Serialize)]
pub struct Figures {
    pub transfers: u64,
    pub seconds: f64,
    pub per_second: f64,
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub max_ms: f64,
}

/// Makes the peer's tables, runs its load, and audits its books. The server must be empty.
pub fn measure(cluster: &Cluster, load: Load) -> Result<Figures> {
    let home = cluster.folder();
    cluster.sql(LEDGER)?;
    cluster.sql(&format!(
        "insert into accounts (id, ledger, code, timestamp) select i, 1, 1, i from generate_series(1, {ACCOUNTS}) i"
    ))?;
    cluster.sql("vacuum (analyze, freeze) accounts")?;
    std::fs::write(home.join("calls.pgbench"), CALLS)?;
    // A fifth of the load first: caches filled, statements planned, WAL segments there to be used again.
    let per_client = load.transfers.div_ceil(load.clients);
    let warm_up = per_client.div_ceil(5);
    let first = Load {
        seed: load.seed.wrapping_add(1),
        ..load
    };
    pgbench(cluster, first, warm_up, 0)?;
    cluster.sql("checkpoint")?;
    let log = pgbench(cluster, load, per_client, warm_up)?;
    let figures = figures(home, &log)?;
    audit(cluster, (warm_up + per_client) * load.clients)?;
    Ok(figures)
}

/// Runs the load; every client makes `per_client` calls, the first of them with number `from`. Gives the logs' prefix.
fn pgbench(cluster: &Cluster, load: Load, per_client: u64, from: u64) -> Result<String> {
    let log = format!("calls-{from}");
    let threads = std::thread::available_parallelism()?
        .get()
        .min(load.clients as usize);
    let mut pgbench = cluster.tool("pgbench");
    pgbench.args([
        "--no-vacuum",
        "--protocol=prepared",
        "--file=calls.pgbench",
        "--log",
    ]);
    pgbench.arg(format!("--log-prefix={log}"));
    pgbench
        .arg(format!("--client={}", load.clients))
        .arg(format!("--jobs={threads}"));
    pgbench
        .arg(format!("--transactions={per_client}"))
        .arg(format!("--random-seed={}", load.seed));
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

/// The figures of a report by `shanraq bench --json`.
pub fn reported(report: &Value) -> Option<Figures> {
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
    use serde_json::json;

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
