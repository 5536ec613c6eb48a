//! Open loop: requests are due at their moments, whatever the answers do. Owns: `open-100k`, `two-phase` and `balance`.

use super::BenchArgs;
use super::histogram::Latencies;
use super::stalls::Stalls;
use super::stream::{self, Open, Outcome};
use super::traffic::{ACCOUNTS, Ids, Shape, Traffic};
use super::workloads::Bench;
use super::{Report, Workload};
use anyhow::Result;
use proto::ledger_client::LedgerClient;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tonic::transport::Channel;
use wire::v1 as proto;

/// Offered in open loop.
const OPEN_RATE: u64 = 100_000;
/// Not counted at the beginning of an open-loop run.
const WARM_UP: Duration = Duration::from_secs(5);

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

/// Requests of 32 at a fixed rate.
pub async fn open(args: &BenchArgs) -> Result<Report> {
    let stalls = tokio::task::block_in_place(Stalls::measure);
    let mut bench = Bench::start(args).await?;
    stalls.note(&mut bench);
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

/// Linearizable reads of balances beside that load.
pub async fn balance(args: &BenchArgs) -> Result<Report> {
    const READS_PER_SECOND: u64 = 2_000;
    let stalls = tokio::task::block_in_place(Stalls::measure);
    let mut bench = Bench::start(args).await?;
    stalls.note(&mut bench);
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
