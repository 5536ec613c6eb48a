//! The workloads in closed loop, and what all of them share. Owns: what each does and which figures it adds.

use super::histogram::Latencies;
use super::server::{Server, own_cpu_seconds};
use super::stream::{self, Closed, Outcome};
use super::traffic::{self, ACCOUNTS, Ids, Shape, Traffic};
use super::{BenchArgs, Machine, Report, Workload, engine, loaded, open};
use crate::config::{Config, DurabilityConfig};
use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressStyle};
use proto::ledger_client::LedgerClient;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tonic::transport::Channel;
use wire::v1 as proto;

/// The largest request.
pub const BATCH: usize = 8_190;

/// Runs a workload.
pub async fn run(args: &BenchArgs) -> Result<Report> {
    match args.workload {
        Workload::Batch => batch(args, Shape::Uniform, Ids::Ordered).await,
        Workload::BatchRandom => batch(args, Shape::Uniform, Ids::Random).await,
        Workload::Hot => batch(args, Shape::Hot, Ids::Ordered).await,
        Workload::Open100k | Workload::TwoPhase => open::open(args).await,
        Workload::Balance => open::balance(args).await,
        Workload::Calls => calls(args).await,
        Workload::Single => single(args).await,
        Workload::Unary => unary(args).await,
        Workload::Growth => loaded::growth(args).await,
        Workload::Memory => loaded::memory(args).await,
        Workload::Restart => loaded::restart(args).await,
        Workload::History => loaded::history(args).await,
        Workload::Report => loaded::report(args).await,
        Workload::Engine => tokio::task::block_in_place(|| engine::engine(args)),
    }
}

/// A server with accounts, and what is needed to make a report of a run on it.
pub struct Bench<'a> {
    /// As given.
    pub args: &'a BenchArgs,
    /// The server under test.
    pub server: Server,
    /// A connection to it.
    pub client: LedgerClient<Channel>,
    /// When the measured part began.
    pub started: Instant,
    /// CPU seconds of the server at that time.
    pub server_cpu: f64,
    /// CPU seconds of this process at that time.
    pub client_cpu: f64,
    disk: u64,
    durability: String,
    extra: serde_json::Map<String, serde_json::Value>,
}

impl<'a> Bench<'a> {
    /// Starts the server and creates its accounts.
    pub async fn start(args: &'a BenchArgs) -> Result<Self> {
        let durability = durability(args)?;
        let server = Server::start(args)?;
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
            durability,
            extra: serde_json::Map::new(),
        };
        bench.begin();
        Ok(bench)
    }

    /// The measured part begins.
    pub fn begin(&mut self) {
        self.disk = self.server.disk_bytes();
        self.server_cpu = self.server.cpu_seconds();
        self.client_cpu = own_cpu_seconds();
        self.started = Instant::now();
    }

    /// Adds a figure of this workload alone.
    pub fn note(&mut self, name: &str, value: impl Into<serde_json::Value>) {
        self.extra.insert(name.to_owned(), value.into());
    }

    /// Waits until history has indexed every durable block.
    pub async fn indexed(&mut self) -> Result<()> {
        loop {
            let status = self.client.status(proto::StatusRequest {}).await?.into_inner();
            if status.indexed >= status.height {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// The measured part took this long.
    pub fn report(self, outcome: &Outcome, elapsed: Duration) -> Report {
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
            durability: self.durability,
            errors: outcome.errors,
            error_example: outcome.example.clone(),
            seed: self.args.seed,
            machine: Machine::this(),
            command: command_to_repeat(self.args),
            extra: self.extra,
        }
    }
}

/// On what every answer rests.
fn durability(args: &BenchArgs) -> Result<String> {
    if args.address.is_some() {
        return Ok("as the server at that address is configured".to_owned());
    }
    let config = args.config.as_deref().map(Config::read).transpose()?;
    Ok(match config.and_then(|config| config.journal.postgres) {
        None => "written and fdatasync'ed to the local journal before the answer".to_owned(),
        Some(postgres) => match postgres.durability {
            DurabilityConfig::Local => "committed in PostgreSQL on one server before the answer".to_owned(),
            DurabilityConfig::Standbys => format!(
                "committed in PostgreSQL and flushed by {} of {} standbys before the answer",
                postgres.flushed,
                postgres.standbys.len()
            ),
        },
    })
}

/// As on the command line.
pub fn name(workload: Workload) -> String {
    workload
        .to_possible_value()
        .expect("no workload is hidden")
        .get_name()
        .to_owned()
}

/// What to run for the same again.
pub fn command_to_repeat(args: &BenchArgs) -> String {
    let mut command = format!(
        "shanraq bench --workload {} --seed {}",
        name(args.workload),
        args.seed
    );
    if let Some(transfers) = args.transfers {
        command += &format!(" --transfers {transfers}");
    }
    if let Some(config) = &args.config {
        command += &format!(" --config {}", config.display());
    }
    if args.seconds != 60 {
        command += &format!(" --seconds {}", args.seconds);
    }
    command
}

/// A progress bar on standard error.
pub fn bar(length: u64, message: &'static str) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg:<12} {bar:40} {human_pos}/{human_len} {per_sec} {eta}");
    let bar = ProgressBar::new(length).with_message(message);
    bar.with_style(style.expect("the template is well-formed"))
}

/// Creates the accounts from `first` on.
pub async fn create_accounts(client: &mut LedgerClient<Channel>, first: u64, count: u64) -> Result<()> {
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

/// Sends batches in closed loop over two streams.
pub async fn load(
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
