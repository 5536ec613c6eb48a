//! What changes as history grows. Owns: `growth`, `memory`, `restart`, `history` and `report`.

use super::histogram::Latencies;
use super::server::own_cpu_seconds;
use super::stream::{self, Closed, Outcome};
use super::traffic::{ACCOUNTS, Ids, Shape, Traffic};
use super::workloads::{BATCH, Bench, bar, create_accounts, load};
use super::{BenchArgs, Report};
use anyhow::Result;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use wire::v1 as proto;

/// Throughput by the million, with random ids.
pub async fn growth(args: &BenchArgs) -> Result<Report> {
    let mut bench = Bench::start(args).await?;
    let transfers = args.transfers.unwrap_or(20_000_000);
    let bar = bar(transfers, "growth");
    let marks = Arc::new(Mutex::new((0_u64, Vec::new())));
    let (seed, started) = (args.seed, bench.started);
    let each = {
        let (marks, bar) = (marks.clone(), bar.clone());
        Arc::new(move |count| {
            bar.inc(count);
            let mut marks = marks.lock().expect("no holder panics");
            marks.0 += count;
            if marks.0 / 1_000_000 > marks.1.len() as u64 {
                marks.1.push(started.elapsed());
            }
        })
    };
    let load = Closed {
        streams: 2,
        window: 2,
        batch: BATCH,
        transfers,
    };
    let traffic = move |stream| Traffic::new(seed, stream, Shape::Uniform, Ids::Random);
    let outcome = stream::closed_loop(bench.server.address(), load, traffic, each).await?;
    bench.indexed().await?;
    bar.finish_and_clear();
    let elapsed = bench.started.elapsed();
    let marks = marks.lock().expect("no holder panics").1.clone();
    let rates: Vec<f64> = std::iter::once(&Duration::ZERO)
        .chain(&marks)
        .zip(&marks)
        .map(|(from, to)| 1e6 / (*to - *from).as_secs_f64())
        .collect();
    let mean = |rates: &[f64]| rates.iter().sum::<f64>() / rates.len().max(1) as f64;
    let width = rates.len().min(3);
    bench.note(
        "first_million_per_second",
        rates.first().copied().unwrap_or_default(),
    );
    bench.note(
        "last_million_per_second",
        rates.last().copied().unwrap_or_default(),
    );
    bench.note(
        "last_three_over_first_three",
        mean(&rates[rates.len() - width..]) / mean(&rates[..width]),
    );
    bench.note(
        "per_million",
        json!(rates.iter().map(|rate| rate.round()).collect::<Vec<_>>()),
    );
    Ok(bench.report(&outcome, elapsed))
}

/// What accounts and history take in memory.
pub async fn memory(args: &BenchArgs) -> Result<Report> {
    const MORE_ACCOUNTS: u64 = 1_000_000;
    let mut bench = Bench::start(args).await?;
    bench.indexed().await?;
    let before = bench.server.resident_bytes();
    let mut client = bench.client.clone();
    create_accounts(&mut client, ACCOUNTS + 1, MORE_ACCOUNTS).await?;
    bench.indexed().await?;
    let after = bench.server.resident_bytes();
    bench.note(
        "bytes_per_account",
        (after.saturating_sub(before)) as f64 / MORE_ACCOUNTS as f64,
    );
    bench.begin();
    let transfers = args.transfers.unwrap_or(10_000_000);
    let outcome = load(&bench, transfers, Shape::Uniform, Ids::Random, "transfers").await?;
    bench.indexed().await?;
    let elapsed = bench.started.elapsed();
    let history = bench.server.resident_bytes().saturating_sub(after);
    bench.note("resident_bytes_for_history", history);
    Ok(bench.report(&outcome, elapsed))
}

/// Loads 10 million transfers, or as many as asked for.
async fn loaded(args: &BenchArgs) -> Result<(Bench<'_>, Outcome, Duration)> {
    let mut bench = Bench::start(args).await?;
    let transfers = args.transfers.unwrap_or(10_000_000);
    let outcome = load(&bench, transfers, Shape::Uniform, Ids::Random, "loading").await?;
    bench.indexed().await?;
    let elapsed = bench.started.elapsed();
    Ok((bench, outcome, elapsed))
}

/// How long a start takes after a kill.
pub async fn restart(args: &BenchArgs) -> Result<Report> {
    let (mut bench, outcome, elapsed) = loaded(args).await?;
    let cold = bench.server.kill_and_restart()?;
    bench.client = stream::connect(bench.server.address()).await?;
    bench.indexed().await?;
    let again = bench.server.kill_and_restart()?;
    bench.note("restart_seconds", cold.as_secs_f64());
    bench.note("restart_again_seconds", again.as_secs_f64());
    bench.note("restart", "after kill -9, until it serves");
    // The process is another one than at the beginning.
    (bench.server_cpu, bench.client_cpu) = (bench.server.cpu_seconds(), own_cpu_seconds());
    Ok(bench.report(&outcome, elapsed))
}

/// Queries over a long history.
pub async fn history(args: &BenchArgs) -> Result<Report> {
    const QUESTIONS: u64 = 5_000;
    let (mut bench, mut outcome, elapsed) = loaded(args).await?;
    let mut client = bench.client.clone();
    let mut random = StdRng::seed_from_u64(args.seed);
    let newest = client.query_transfers(newest_of(1, 1)).await?.into_inner();
    let latest = newest
        .transfers
        .first()
        .and_then(|row| row.transfer.as_ref())
        .map_or(0, |t| t.timestamp);
    let first_request = proto::QueryRequest {
        order: proto::Order::OldestFirst as i32,
        ..newest_of(1, 1)
    };
    let first = client.query_transfers(first_request).await?.into_inner();
    let earliest = first
        .transfers
        .first()
        .and_then(|row| row.transfer.as_ref())
        .map_or(0, |t| t.timestamp);
    let (mut lists, mut balances) = (Latencies::default(), Latencies::default());
    for _ in 0..QUESTIONS {
        let account = random.random_range(1..=ACCOUNTS);
        let sent = Instant::now();
        let page = client
            .query_transfers(newest_of(account, 100))
            .await?
            .into_inner();
        lists.record(sent.elapsed());
        outcome.errors += u64::from(page.transfers.is_empty());
        let at = random.random_range(earliest..=latest);
        let account_id = Some(proto::Uint128 {
            high: 0,
            low: account,
        });
        let sent = Instant::now();
        client
            .account_balance(proto::AccountBalanceRequest { account_id, at })
            .await?;
        balances.record(sent.elapsed());
    }
    bench.note("newest_100", json!(lists.percentiles()));
    bench.note("balance_as_of", json!(balances.percentiles()));
    lists.add(&balances);
    outcome.latencies = lists;
    Ok(bench.report(&outcome, elapsed))
}

fn newest_of(account: u64, limit: u32) -> proto::QueryRequest {
    let account_id = Some(proto::Uint128 {
        high: 0,
        low: account,
    });
    let of = Some(proto::AccountSides {
        account_id,
        debits: true,
        credits: true,
    });
    proto::QueryRequest {
        limit,
        of,
        ..proto::QueryRequest::default()
    }
}

/// Trial balance and a whole statement.
pub async fn report(args: &BenchArgs) -> Result<Report> {
    const TIMES: usize = 20;
    let (mut bench, mut outcome, elapsed) = loaded(args).await?;
    let mut client = bench.client.clone();
    let (mut trials, mut statements) = (Latencies::default(), Latencies::default());
    for number in 0..TIMES {
        let sent = Instant::now();
        let trial = client
            .trial_balance(proto::TrialBalanceRequest { ledger: 1 })
            .await?
            .into_inner();
        trials.record(sent.elapsed());
        let totals = trial.totals.unwrap_or_default();
        outcome.errors += u64::from(totals.debits_posted != totals.credits_posted);
        let sent = Instant::now();
        let mut request = newest_of(number as u64 + 1, 8_190);
        loop {
            let page = client.query_transfers(request.clone()).await?.into_inner();
            if page.next_page.is_empty() {
                break;
            }
            request.page = page.next_page;
        }
        statements.record(sent.elapsed());
    }
    bench.note("trial_balance", json!(trials.percentiles()));
    bench.note("statement_entries", json!(statements.percentiles()));
    trials.add(&statements);
    outcome.latencies = trials;
    Ok(bench.report(&outcome, elapsed))
}
