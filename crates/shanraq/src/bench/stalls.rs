//! The machine itself. Owns: how long its cores are away while nothing of ours asks for them, so that a tail can be read
//! against what no program on this machine could avoid.

use super::workloads::Bench;
use std::time::{Duration, Instant};

/// How long the cores are watched.
const WATCH: Duration = Duration::from_secs(3);
/// A gap that counts.
const STALL: Duration = Duration::from_millis(1);

/// What was seen before the load.
#[derive(Clone, Copy, Default)]
pub struct Stalls {
    /// The share of time in gaps of a millisecond or more, over all cores.
    share: f64,
    longest: Duration,
}

impl Stalls {
    /// Keeps every core busy with reading the clock, and counts the gaps.
    pub fn measure() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let watching: Vec<_> = (0..cores).map(|_| std::thread::spawn(watch)).collect();
        let mut stalls = Self::default();
        for core in watching {
            let (stalled, longest) = core.join().expect("reading the clock does not panic");
            stalls.share += stalled.as_secs_f64() / WATCH.as_secs_f64() / cores as f64;
            stalls.longest = stalls.longest.max(longest);
        }
        stalls
    }

    /// Puts it into the report.
    pub fn note(&self, bench: &mut Bench<'_>) {
        bench.note("idle_machine_stalled_over_1ms_percent", self.share * 100.0);
        bench.note("idle_machine_longest_stall_us", self.longest.as_micros() as u64);
    }
}

fn watch() -> (Duration, Duration) {
    let end = Instant::now() + WATCH;
    let (mut stalled, mut longest) = (Duration::ZERO, Duration::ZERO);
    let mut last = Instant::now();
    while last < end {
        let now = Instant::now();
        let gap = now - last;
        if gap >= STALL {
            stalled += gap;
        }
        longest = longest.max(gap);
        last = now;
    }
    (stalled, longest)
}
