//! `simulator`: runs schedules by seed. Owns: the command line. Exit code 0: every promise held; 1: one was broken.

use clap::Parser;
use simulator::{
    Canary, ClusterCanary, ClusterOptions, ClusterStatistics, Failed, Options, Statistics,
    kept_cluster_seeds, kept_seeds, run, run_cluster,
};
use std::fmt::Display;
use std::ops::AddAssign;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Runs the node's logic on a simulated disk and clock, a schedule a seed, and checks every answer.
#[derive(Parser)]
struct Arguments {
    /// Three nodes on a faulty journal and a faulty election, instead of one node on a faulty disk.
    #[arg(long)]
    cluster: bool,
    /// How many schedules, after those that are kept because they failed once.
    #[arg(long, default_value_t = 200)]
    seeds: u64,
    /// The first seed; the others follow it.
    #[arg(long, default_value_t = 1)]
    first_seed: u64,
    /// Steps of a schedule; by default 600 of a node, 3,000 of a cluster.
    #[arg(long)]
    steps: Option<u64>,
    /// How many of the last steps to tell of after a failure.
    #[arg(long, default_value_t = Options::default().trace_lines)]
    trace_lines: usize,
    /// A bug on purpose, which must be found.
    #[arg(long, value_enum, conflicts_with = "cluster")]
    canary: Option<Canary>,
    /// The same in a cluster.
    #[arg(long, value_enum, requires = "cluster")]
    cluster_canary: Option<ClusterCanary>,
    /// Go on from seed to seed for so many seconds instead of `--seeds`.
    #[arg(long)]
    seconds: Option<u64>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.cluster {
        let defaults = ClusterOptions::default();
        let options = ClusterOptions {
            steps: arguments.steps.unwrap_or(defaults.steps),
            canary: arguments.cluster_canary,
            trace_lines: arguments.trace_lines,
        };
        let again = format!("--cluster --steps {}", options.steps);
        run_all::<ClusterStatistics>(&arguments, kept_cluster_seeds(), &again, |seed| {
            run_cluster(seed, options)
        })
    } else {
        let options = Options {
            steps: arguments.steps.unwrap_or(Options::default().steps),
            canary: arguments.canary,
            trace_lines: arguments.trace_lines,
        };
        let again = format!("--steps {}", options.steps);
        run_all::<Statistics>(&arguments, kept_seeds(), &again, |seed| run(seed, options))
    }
}

fn run_all<T: Default + AddAssign + Display>(
    arguments: &Arguments,
    kept: Vec<u64>,
    again: &str,
    run: impl Fn(u64) -> Result<T, Failed>,
) -> ExitCode {
    let began = Instant::now();
    let end = arguments
        .seconds
        .map(|seconds| began + Duration::from_secs(seconds));
    let count = if end.is_some() { u64::MAX } else { arguments.seeds };
    let has_canary = arguments.canary.is_some() || arguments.cluster_canary.is_some();
    let kept = if has_canary { Vec::new() } else { kept };
    let seeds = kept
        .into_iter()
        .chain((0..count).map(|index| arguments.first_seed.wrapping_add(index)));
    let mut total = T::default();
    for seed in seeds {
        if end.is_some_and(|end| Instant::now() >= end) {
            break;
        }
        match run(seed) {
            Ok(statistics) => total += statistics,
            Err(failed) => {
                for line in &failed.trace {
                    println!("{line}");
                }
                println!("{total}\nFAILED {failed}");
                println!("again: cargo run -p simulator -- --first-seed {seed} --seeds 1 {again}");
                return ExitCode::FAILURE;
            }
        }
    }
    println!(
        "{total}\nall promises held, in {:.1} s",
        began.elapsed().as_secs_f64()
    );
    ExitCode::SUCCESS
}
