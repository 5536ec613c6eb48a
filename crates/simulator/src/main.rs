//! `simulator`: runs schedules by seed. Owns: the command line. Exit code 0: every promise held; 1: one was broken.

use clap::Parser;
use simulator::{Canary, Options, Statistics, kept_seeds, run};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Runs the node's logic on a simulated disk and clock, a schedule a seed, and checks every answer.
#[derive(Parser)]
struct Arguments {
    /// How many schedules, after those kept in seeds.txt.
    #[arg(long, default_value_t = 200)]
    seeds: u64,
    /// The first seed; the others follow it.
    #[arg(long, default_value_t = 1)]
    first_seed: u64,
    /// Steps of a schedule.
    #[arg(long, default_value_t = Options::default().steps)]
    steps: u64,
    /// How many of the last steps to tell of after a failure.
    #[arg(long, default_value_t = Options::default().trace_lines)]
    trace_lines: usize,
    /// A bug on purpose, which must be found.
    #[arg(long, value_enum)]
    canary: Option<Canary>,
    /// Go on from seed to seed for so many seconds instead of `--seeds`.
    #[arg(long)]
    seconds: Option<u64>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let options = Options {
        steps: arguments.steps,
        canary: arguments.canary,
        trace_lines: arguments.trace_lines,
    };
    let began = Instant::now();
    let end = arguments
        .seconds
        .map(|seconds| began + Duration::from_secs(seconds));
    let count = if end.is_some() { u64::MAX } else { arguments.seeds };
    let kept = if arguments.canary.is_some() {
        Vec::new()
    } else {
        kept_seeds()
    };
    let seeds = kept
        .into_iter()
        .chain((0..count).map(|index| arguments.first_seed.wrapping_add(index)));
    let mut total = Statistics::default();
    for seed in seeds {
        if end.is_some_and(|end| Instant::now() >= end) {
            break;
        }
        match run(seed, options) {
            Ok(statistics) => total += statistics,
            Err(failed) => {
                for line in &failed.trace {
                    println!("{line}");
                }
                println!("{total}\nFAILED {failed}");
                println!(
                    "again: cargo run -p simulator -- --first-seed {seed} --seeds 1 --steps {}",
                    options.steps
                );
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
