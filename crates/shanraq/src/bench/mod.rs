//! `shanraq bench`: figures that anybody can repeat. Owns: the workloads' names and the report.
//!
//! Every workload drives a real server process over loopback, unless it says otherwise, and prints the machine, the
//! command and the seed beside its figures.

mod engine;
mod histogram;
mod loaded;
mod open;
mod server;
mod stalls;
mod stream;
mod traffic;
mod workloads;

use anyhow::Result;
use clap::{Args, ValueEnum};
use histogram::Percentiles;
use serde::Serialize;
use std::path::PathBuf;

/// Measure this machine.
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// What to measure.
    #[arg(long, value_enum)]
    pub workload: Workload,
    /// A server that runs already, host:port; default: one of its own in a temporary directory.
    #[arg(long)]
    pub address: Option<String>,
    /// Configuration of the server of its own, such as for a journal in PostgreSQL (then a fresh database for each run).
    #[arg(long, conflicts_with = "address")]
    pub config: Option<PathBuf>,
    /// Where the temporary directory is made; it must be on the disk to be measured.
    #[arg(long)]
    pub directory: Option<PathBuf>,
    /// Gives the same traffic again.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Transfers to make, in workloads of a fixed number (default: the workload's own).
    #[arg(long)]
    pub transfers: Option<u64>,
    /// Seconds of offered load, in open-loop workloads.
    #[arg(long, default_value_t = 60)]
    pub seconds: u64,
    /// Print one JSON object on stdout and nothing else.
    #[arg(long)]
    pub json: bool,
}

/// The workloads; docs/benchmarks.md says what each is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Workload {
    /// Batches of 8,190 over 10,000 accounts, until all are durable and indexed.
    Batch,
    /// The same with random ids.
    BatchRandom,
    /// The same, every transfer touching one account.
    Hot,
    /// 100,000 transfers a second offered in requests of 32 from 64 streams.
    #[value(name = "open-100k")]
    Open100k,
    /// The same load as pending transfers, each then posted or voided.
    TwoPhase,
    /// Linearizable balance reads during open-100k.
    Balance,
    /// One transfer a call, 1,024 concurrent calls through the client library.
    Calls,
    /// One client, one transfer a call.
    Single,
    /// gRPC unary calls of one transfer from 64 connections.
    Unary,
    /// Throughput at the first and the 20-millionth transfer, random ids.
    Growth,
    /// Memory of accounts and of history.
    Memory,
    /// Time from the start of a killed server with 10 million transfers until it serves.
    Restart,
    /// 100 newest transfers of an account, and balances as of a time, at 10 million transfers.
    History,
    /// Trial balance and a year's entries of an account at 10 million transfers.
    Report,
    /// The rules alone, on one core, without a server.
    Engine,
}

/// What every workload tells; further figures of a workload are in `extra`.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Name.
    pub workload: String,
    /// Transfers answered in the measured part.
    pub transfers: u64,
    /// Over the measured part.
    pub transfers_per_second: f64,
    /// Per request, at the client.
    #[serde(flatten)]
    pub latency: Percentiles,
    /// CPU of the server for a million transfers, in seconds.
    pub cpu_seconds_per_million: f64,
    /// The same for the client.
    pub client_cpu_seconds_per_million: f64,
    /// Memory of the server at the end.
    pub resident_bytes: u64,
    /// Space on the disk for each transfer, preallocated segments included.
    pub disk_bytes_per_transfer: f64,
    /// What was durable when an answer came.
    pub durability: String,
    /// Answers other than expected.
    pub errors: u64,
    /// An example of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_example: Option<String>,
    /// Gives the same traffic again.
    pub seed: u64,
    /// Of the machine.
    pub machine: Machine,
    /// To repeat it.
    pub command: String,
    /// Further figures.
    #[serde(flatten)]
    pub extra: serde_json::Map<String, serde_json::Value>,
}

/// The machine that was measured.
#[derive(Debug, Serialize)]
pub struct Machine {
    /// As the processor names itself.
    pub processor: String,
    /// Cores that this process may use.
    pub cores: usize,
    /// Memory in all.
    pub memory_bytes: u64,
    /// Kernel release.
    pub kernel: String,
}

impl Machine {
    fn this() -> Self {
        let read = |path| std::fs::read_to_string(path).unwrap_or_default();
        let field = |text: &str, name: &str| {
            let line = text
                .lines()
                .find(|line| line.starts_with(name))
                .unwrap_or_default();
            line.split_once(':')
                .map_or_else(String::new, |(_, value)| value.trim().to_owned())
        };
        let memory = field(&read("/proc/meminfo"), "MemTotal");
        let kilobytes = memory.split(' ').next().and_then(|n| n.parse::<u64>().ok());
        Self {
            processor: field(&read("/proc/cpuinfo"), "model name"),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_bytes: kilobytes.unwrap_or(0) * 1_024,
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
        }
    }
}

/// Runs a workload and prints its report; false when there were errors.
pub fn run(args: &BenchArgs) -> Result<bool> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .on_thread_start(|| node::Priority::Critical.apply())
        .enable_all()
        .build()?;
    let report = runtime.block_on(workloads::run(args))?;
    if args.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        print_table(&report)?;
    }
    Ok(report.errors == 0)
}

fn print_table(report: &Report) -> Result<()> {
    let serde_json::Value::Object(fields) = serde_json::to_value(report)? else {
        unreachable!("a report is an object")
    };
    for (name, value) in fields {
        match value {
            serde_json::Value::Object(inner) => {
                for (part, value) in inner {
                    println!("{:<34} {value}", format!("{name}.{part}"));
                }
            }
            serde_json::Value::Number(number) if number.is_f64() => {
                println!("{name:<34} {:.2}", number.as_f64().unwrap_or_default());
            }
            value => println!("{name:<34} {value}"),
        }
    }
    Ok(())
}
