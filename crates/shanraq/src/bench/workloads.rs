//! The workloads. Owns: what each does and which figures it adds.

use super::histogram::Latencies;
use super::server::{Server, own_cpu_seconds};
use super::stream::{self, Closed, Open, Outcome};
use super::traffic::{self, ACCOUNTS, Ids, Shape, Traffic};
use super::{BenchArgs, Machine, Report, Workload};
use anyhow::{Context, Result, ensure};
use api::wire::v1 as proto;
use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressStyle};
use proto::ledger_client::LedgerClient;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tonic::transport::Channel;

/// The largest request.
const BATCH: usize = 8_190;
/// Durability of every answer of the embedded node.
const DURABILITY: &str = "written and fdatasync'ed to the local journal before the answer";
/// Offered in open loop.
const OPEN_RATE: u64 = 100_000;
/// Not counted at the beginning of an open-loop run.
const WARM_UP: Duration = Duration::from_secs(5);

/// Runs a workload.
pub async fn run(args: &BenchArgs) -> Result<Report> {
    match args.workload {
        Workload::Batch => batch(args, Shape::Uniform, Ids::Ordered).await,
        Workload::BatchRandom => batch(args, Shape::Uniform, Ids::Random).await,
        Workload::Hot => batch(args, Shape::Hot, Ids::Ordered).await,
        Workload::Open100k | Workload::TwoPhase => open(args).await,
        Workload::Balance => balance(args).await,
        Workload::Calls => calls(args).await,
        Workload::Single => single(args).await,
        Workload::Unary => unary(args).await,
        Workload::Growth => growth(args).await,
        Workload::Memory => memory(args).await,
        Workload::Restart => restart(args).await,
        Workload::History => history(args).await,
        Workload::Report => report(args).await,
        Workload::Engine => tokio::task::block_in_place(|| engine(args)),
    }
}

/// A server with accounts, and what is needed to make a report of a run on it.
struct Bench<'a> {
    args: &'a BenchArgs,
    server: Server,
    client: LedgerClient<Channel>,
    started: Instant,
    server_cpu: f64,
    client_cpu: f64,
    disk: u64,
    extra: serde_json::Map<String, serde_json::Value>,
}

impl<'a> Bench<'a> {
    async fn start(args: &'a BenchArgs) -> Result<Self> {
        let server = Server::start(args.address.as_deref(), args.directory.as_deref())?;
        let mut client = stream::connect(server.address()).await?;
        create_accounts(&mut client, 1, ACCOUNTS).await?;
        let mut bench = Self {
            args,
            server,
            client,
            started: Instant::now(),
            server_cpu: 0.0,
            client_cpu: 0.0,
            disk: 0,
            extra: serde_json::Map::new(),
        };
        bench.begin();
        Ok(bench)
    }

    /// The measured part begins.
    fn begin(&mut self) {
        self.disk = self.server.disk_bytes();
        self.server_cpu = self.server.cpu_seconds();
        self.client_cpu = own_cpu_seconds();
        self.started = Instant::now();
    }

    fn note(&mut self, name: &str, value: impl Into<serde_json::Value>) {
        self.extra.insert(name.to_owned(), value.into());
    }

    /// Waits until history has indexed every durable block.
    async fn indexed(&mut self) -> Result<()> {
        loop {
            let status = self.client.status(proto::StatusRequest {}).await?.into_inner();
            if status.indexed >= status.height {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// The measured part took this long.
    fn report(self, outcome: &Outcome, elapsed: Duration) -> Report {
        let millions = outcome.transfers.max(1) as f64 / 1e6;
        Report {
            workload: name(self.args.workload),
            transfers: outcome.transfers,
            transfers_per_second: outcome.transfers as f64 / elapsed.as_secs_f64(),
            latency: outcome.latencies.percentiles(),
            cpu_seconds_per_million: (self.server.cpu_seconds() - self.server_cpu) / millions,
            client_cpu_seconds_per_million: (own_cpu_seconds() - self.client_cpu) / millions,
            resident_bytes: self.server.resident_bytes(),
            disk_bytes_per_transfer: self.server.disk_bytes().saturating_sub(self.disk) as f64
                / millions
                / 1e6,
            durability: DURABILITY,
            errors: outcome.errors,
            error_example: outcome.example.clone(),
            seed: self.args.seed,
            machine: Machine::this(),
            command: command_to_repeat(self.args),
            extra: self.extra,
        }
    }
}

fn name(workload: Workload) -> String {
    workload
        .to_possible_value()
        .expect("no workload is hidden")
        .get_name()
        .to_owned()
}

fn command_to_repeat(args: &BenchArgs) -> String {
    let mut command = format!(
        "shanraq bench --workload {} --seed {}",
        name(args.workload),
        args.seed
    );
    if let Some(transfers) = args.transfers {
        command += &format!(" --transfers {transfers}");
    }
    if args.seconds != 60 {
        command += &format!(" --seconds {}", args.seconds);
    }
    command
}

fn bar(length: u64, message: &'static str) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg:<12} {bar:40} {human_pos}/{human_len} {per_sec} {eta}");
    let bar = ProgressBar::new(length).with_message(message);
    bar.with_style(style.expect("the template is well-formed"))
}

async fn create_accounts(client: &mut LedgerClient<Channel>, first: u64, count: u64) -> Result<()> {
    let ids: Vec<u64> = (first..first + count).collect();
    for ids in ids.chunks(BATCH) {
        let accounts = ids.iter().map(|id| traffic::account(*id)).collect();
        let request = proto::CreateAccountsRequest { accounts };
        let reply = client.create_accounts(request).await?.into_inner();
        let good = [
            proto::CreateAccountResult::Created as i32,
            proto::CreateAccountResult::Exists as i32,
        ];
        let bad = reply.results.iter().find(|result| !good.contains(&result.result));
        ensure!(bad.is_none(), "an account was refused: {bad:?}");
    }
    Ok(())
}

async fn load(
    bench: &Bench<'_>,
    transfers: u64,
    shape: Shape,
    ids: Ids,
    message: &'static str,
) -> Result<Outcome> {
    let load = Closed {
        streams: 2,
        window: 2,
        batch: BATCH,
        transfers,
    };
    let bar = bar(transfers, message);
    let seed = bench.args.seed;
    let ticking = bar.clone();
    let each = Arc::new(move |count| ticking.inc(count));
    let traffic = move |stream| Traffic::new(seed, stream, shape, ids);
    let outcome = stream::closed_loop(bench.server.address(), load, traffic, each).await?;
    bar.finish_and_clear();
    Ok(outcome)
}

async fn batch(args: &BenchArgs, shape: Shape, ids: Ids) -> Result<Report> {
    let mut bench = Bench::start(args).await?;
    let outcome = load(&bench, args.transfers.unwrap_or(8_000_000), shape, ids, "batches").await?;
    let durable = bench.started.elapsed();
    bench.indexed().await?;
    let elapsed = bench.started.elapsed();
    bench.note(
        "index_behind_ms_at_the_end",
        (elapsed - durable).as_millis() as u64,
    );
    bench.note("request_transfers", BATCH);
    Ok(bench.report(&outcome, elapsed))
}

fn open_load(args: &BenchArgs) -> Open {
    Open {
        streams: 64,
        connections: 8,
        rate: OPEN_RATE,
        batch: 32,
        duration: Duration::from_secs(args.seconds) + WARM_UP,
        warm_up: WARM_UP,
        two_phase: args.workload == Workload::TwoPhase,
    }
}

async fn run_open(bench: &Bench<'_>, load: Open) -> Result<Outcome> {
    let seed = bench.args.seed;
    let traffic = move |stream| Traffic::new(seed, stream, Shape::Uniform, Ids::Ordered);
    stream::open_loop(bench.server.address(), load, traffic).await
}

async fn open(args: &BenchArgs) -> Result<Report> {
    let mut bench = Bench::start(args).await?;
    let load = open_load(args);
    let outcome = run_open(&bench, load).await?;
    let elapsed = bench.started.elapsed();
    bench.note("offered_per_second", OPEN_RATE);
    bench.note("streams", load.streams);
    bench.note("connections", load.connections);
    bench.note("request_transfers", load.batch);
    bench.note("loop", "open; latency from when a request was due");
    Ok(bench.report(&outcome, elapsed))
}

async fn balance(args: &BenchArgs) -> Result<Report> {
    const READS_PER_SECOND: u64 = 2_000;
    let mut bench = Bench::start(args).await?;
    let load = open_load(args);
    let client = stream::connect(bench.server.address()).await?;
    let seed = args.seed;
    let reading = tokio::spawn(read_balances(
        client,
        READS_PER_SECOND,
        load.duration,
        load.warm_up,
        seed,
    ));
    let mut outcome = run_open(&bench, load).await?;
    let elapsed = bench.started.elapsed();
    let writes = outcome.latencies.percentiles();
    let (latencies, failed) = reading.await??;
    bench.note("reads", latencies.count());
    bench.note("reads_per_second", READS_PER_SECOND);
    bench.note("write_p99_us", writes.p99_us);
    outcome.latencies = latencies;
    outcome.errors += failed;
    Ok(bench.report(&outcome, elapsed))
}

/// Reads single accounts in open loop: each is sent when it is due, whether or not the one before was answered.
async fn read_balances(
    client: LedgerClient<Channel>,
    rate: u64,
    duration: Duration,
    warm_up: Duration,
    seed: u64,
) -> Result<(Latencies, u64)> {
    let (due_sender, mut due_receiver) = tokio::sync::mpsc::unbounded_channel();
    let pacer = std::thread::Builder::new()
        .name("reads".to_owned())
        .spawn(move || {
            let _ = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1_000));
            let start = Instant::now() + Duration::from_millis(100);
            let interval = Duration::from_secs(1) / u32::try_from(rate).expect("the rate is small");
            for number in 0..duration.as_secs() * rate {
                let due = start + interval * u32::try_from(number).expect("a run is short");
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
                if due_sender.send((due, due - start >= warm_up)).is_err() {
                    return;
                }
            }
        })?;
    let results = Arc::new(Mutex::new((Latencies::default(), 0)));
    let mut random = StdRng::seed_from_u64(seed);
    let mut tasks = tokio::task::JoinSet::new();
    while let Some((due, counted)) = due_receiver.recv().await {
        let id = proto::Uint128 {
            high: 0,
            low: random.random_range(1..=ACCOUNTS),
        };
        let (mut client, results) = (client.clone(), results.clone());
        tasks.spawn(async move {
            let answer = client
                .lookup_accounts(proto::LookupRequest { ids: vec![id] })
                .await;
            let mut results = results.lock().expect("no holder panics");
            if answer.is_ok_and(|answer| answer.get_ref().accounts.len() == 1) {
                if counted {
                    results.0.record(due.elapsed());
                }
            } else {
                results.1 += 1;
            }
        });
        while tasks.try_join_next().is_some() {}
    }
    while tasks.join_next().await.is_some() {}
    pacer.join().expect("the pacer does not panic");
    Ok(Arc::into_inner(results)
        .expect("all reads ended")
        .into_inner()
        .expect("no holder panics"))
}

async fn calls(args: &BenchArgs) -> Result<Report> {
    const CALLERS: u64 = 1_024;
    let mut bench = Bench::start(args).await?;
    let transfers = args.transfers.unwrap_or(4_000_000);
    let endpoint = format!("http://{}", bench.server.address());
    let client = client::Client::connect(&endpoint).await?;
    bench.begin();
    let bar = bar(transfers, "calls");
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..CALLERS {
        let (client, bar) = (client.clone(), bar.clone());
        let mut traffic = Traffic::new(args.seed, caller, Shape::Uniform, Ids::Ordered);
        callers.spawn(async move {
            let mut outcome = Outcome::default();
            for call in 0..transfers / CALLERS {
                let transfer = traffic.ledger_transfer();
                let sent = Instant::now();
                let reply = client.transfer(transfer).await;
                outcome.latencies.record(sent.elapsed());
                outcome.transfers += 1;
                match reply {
                    Ok(reply) if reply.result == ledger::CreateTransferResult::Created => {}
                    Ok(reply) => {
                        outcome.errors += 1;
                        outcome.example = Some(reply.result.to_string());
                    }
                    Err(error) => {
                        outcome.errors += 1;
                        outcome.example = Some(error.to_string());
                    }
                }
                if call % 256 == 0 {
                    bar.inc(256);
                }
            }
            outcome
        });
    }
    let mut total = Outcome::default();
    while let Some(outcome) = callers.join_next().await {
        total.add(outcome?);
    }
    bar.finish_and_clear();
    let elapsed = bench.started.elapsed();
    bench.note("concurrent_calls", CALLERS);
    bench.note("loop", "closed");
    Ok(bench.report(&total, elapsed))
}

async fn single(args: &BenchArgs) -> Result<Report> {
    let mut bench = Bench::start(args).await?;
    let transfers = args.transfers.unwrap_or(20_000);
    let directory = bench.server.directory().unwrap_or_else(std::env::temp_dir);
    let bare_before = tokio::task::block_in_place(|| bare_writes(&directory, 2_000))?;
    bench.begin();
    let load = Closed {
        streams: 1,
        window: 1,
        batch: 1,
        transfers,
    };
    let seed = args.seed;
    let traffic = move |stream| Traffic::new(seed, stream, Shape::Uniform, Ids::Ordered);
    let outcome = stream::closed_loop(bench.server.address(), load, traffic, Arc::new(|_| {})).await?;
    let elapsed = bench.started.elapsed();
    let bare_after = tokio::task::block_in_place(|| bare_writes(&directory, 2_000))?;
    let mut bare = bare_before;
    bare.add(&bare_after);
    let bare = bare.percentiles();
    bench.note("bare_write_fdatasync_p50_us", bare.p50_us);
    bench.note("bare_write_fdatasync_p99_us", bare.p99_us);
    bench.note(
        "p50_over_bare_p50",
        outcome.latencies.percentiles().p50_us / bare.p50_us,
    );
    bench.note("loop", "closed");
    Ok(bench.report(&outcome, elapsed))
}

/// 4 KiB writes, each with its fdatasync, to a preallocated file: what the disk alone needs.
fn bare_writes(directory: &std::path::Path, count: u64) -> Result<Latencies> {
    use std::os::unix::fs::FileExt;
    let file = tempfile::tempfile_in(directory).context("cannot make a file to write to")?;
    file.write_all_at(&vec![0; 4_096 * count as usize], 0)?;
    file.sync_all()?;
    let mut latencies = Latencies::default();
    for number in 0..count {
        let page = [number as u8 | 1; 4_096];
        let started = Instant::now();
        file.write_all_at(&page, number * 4_096)?;
        file.sync_data()?;
        latencies.record(started.elapsed());
    }
    Ok(latencies)
}

async fn unary(args: &BenchArgs) -> Result<Report> {
    const CONNECTIONS: u64 = 64;
    let mut bench = Bench::start(args).await?;
    let transfers = args.transfers.unwrap_or(500_000);
    let mut clients = Vec::new();
    for _ in 0..CONNECTIONS {
        clients.push(stream::connect(bench.server.address()).await?);
    }
    bench.begin();
    let mut tasks = tokio::task::JoinSet::new();
    for (number, mut client) in clients.into_iter().enumerate() {
        let mut traffic = Traffic::new(args.seed, number as u64, Shape::Uniform, Ids::Ordered);
        tasks.spawn(async move {
            let mut outcome = Outcome::default();
            for _ in 0..transfers / CONNECTIONS {
                let request = proto::CreateTransfersRequest {
                    transfers: traffic.transfers(1),
                };
                let sent = Instant::now();
                let reply = client.create_transfers(request).await?.into_inner();
                outcome.latencies.record(sent.elapsed());
                outcome.transfers += 1;
                if reply
                    .results
                    .first()
                    .is_none_or(|result| result.result != proto::CreateTransferResult::Created as i32)
                {
                    outcome.errors += 1;
                }
            }
            anyhow::Ok(outcome)
        });
    }
    let mut total = Outcome::default();
    while let Some(outcome) = tasks.join_next().await {
        total.add(outcome??);
    }
    let elapsed = bench.started.elapsed();
    bench.note("connections", CONNECTIONS);
    bench.note("loop", "closed");
    Ok(bench.report(&total, elapsed))
}

async fn growth(args: &BenchArgs) -> Result<Report> {
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

async fn memory(args: &BenchArgs) -> Result<Report> {
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

async fn restart(args: &BenchArgs) -> Result<Report> {
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

async fn history(args: &BenchArgs) -> Result<Report> {
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

async fn report(args: &BenchArgs) -> Result<Report> {
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

/// The rules alone: no server, no journal; ids are forgotten as history would take them over.
fn engine(args: &BenchArgs) -> Result<Report> {
    use ledger::{ActorId, Command, CommandBody, Events, Ledger, NoArchive, RowNumber, TimestampNs};
    let transfers = args.transfers.unwrap_or(10_000_000);
    let mut ledger = Ledger::with_hash_seed(args.seed);
    let mut reply = ledger::Outcome::default();
    let events = (1..=ACCOUNTS).map(traffic::ledger_account).collect::<Vec<_>>();
    let command = |body| Command {
        actor: ActorId(0),
        body,
    };
    for chunk in events.chunks(BATCH) {
        let body = CommandBody::CreateAccounts(Events {
            events: chunk.to_vec(),
            metadata: Vec::new(),
        });
        ledger.apply(&NoArchive, TimestampNs(1), &command(body), &mut reply)?;
    }
    let mut traffic = Traffic::new(args.seed, 0, Shape::Uniform, Ids::Ordered);
    let (mut outcome, mut busy) = (Outcome::default(), Duration::ZERO);
    let mut batches = 0_u64;
    while outcome.transfers < transfers {
        let events: Vec<_> = (0..BATCH).map(|_| traffic.ledger_transfer()).collect();
        let body = CommandBody::CreateTransfers(Events {
            events,
            metadata: Vec::new(),
        });
        let command = command(body);
        reply.clear();
        let started = Instant::now();
        ledger.apply(&NoArchive, TimestampNs(1), &command, &mut reply)?;
        batches += 1;
        if batches.is_multiple_of(16) {
            ledger.forget_archived(RowNumber(ledger.rows().0));
        }
        let elapsed = started.elapsed();
        busy += elapsed;
        outcome.latencies.record(elapsed);
        outcome.transfers += reply.transfers.len() as u64;
        let created = ledger::CreateTransferResult::Created;
        outcome.errors += reply
            .transfers
            .iter()
            .filter(|reply| reply.result != created)
            .count() as u64;
    }
    let millions = outcome.transfers as f64 / 1e6;
    Ok(Report {
        workload: name(args.workload),
        transfers: outcome.transfers,
        transfers_per_second: outcome.transfers as f64 / busy.as_secs_f64(),
        latency: outcome.latencies.percentiles(),
        cpu_seconds_per_million: busy.as_secs_f64() / millions,
        client_cpu_seconds_per_million: 0.0,
        resident_bytes: 0,
        disk_bytes_per_transfer: 0.0,
        durability: "none: the rules alone, in memory",
        errors: outcome.errors,
        error_example: None,
        seed: args.seed,
        machine: Machine::this(),
        command: command_to_repeat(args),
        extra: serde_json::Map::new(),
    })
}
