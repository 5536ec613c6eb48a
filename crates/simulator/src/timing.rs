//! Simulated time, and entropy by seed. Owns: the only clock and the only "random" salts of a run.

use ledger::TimestampNs;
use node::Clock;
use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A clock that moves when it is told to.
pub struct SimClock {
    start: u64,
    /// What `start` is on the monotonic clock; only differences are ever looked at.
    origin: Instant,
    now: AtomicU64,
}

impl SimClock {
    /// Stands at `start`.
    pub fn new(start: TimestampNs) -> Self {
        Self {
            start: start.0,
            origin: Instant::now(),
            now: AtomicU64::new(start.0),
        }
    }

    /// Moves on.
    pub fn advance(&self, nanoseconds: u64) {
        self.now.fetch_add(nanoseconds, Ordering::Relaxed);
    }

    /// Moves on to a time, unless it is there already.
    pub fn advance_to(&self, time: TimestampNs) {
        self.now.fetch_max(time.0, Ordering::Relaxed);
    }
}

impl Clock for SimClock {
    fn now(&self) -> TimestampNs {
        TimestampNs(self.now.load(Ordering::Relaxed))
    }

    fn instant(&self) -> Instant {
        self.origin + Duration::from_nanos(self.now.load(Ordering::Relaxed) - self.start)
    }
}

thread_local! {
    static ENTROPY: Cell<u64> = const { Cell::new(0) };
}

/// Begins a new sequence of entropy on this thread.
pub fn seed_entropy(seed: u64) {
    ENTROPY.set(seed);
}

/// What history takes for random: numbers that are never the same in one run, and the same in every run of a seed.
pub fn entropy() -> [u8; 16] {
    let next = ENTROPY.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
    ENTROPY.set(next);
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&next.to_le_bytes());
    bytes[8..].copy_from_slice(
        &next
            .rotate_left(32)
            .wrapping_mul(0xbf58_476d_1ce4_e5b9)
            .to_le_bytes(),
    );
    bytes
}
