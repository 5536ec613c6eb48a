//! How background work shares disk and processors with commits. Owns: when it rests, and how much it writes at once.

use history::Pace;
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Written at once while nothing hurries: a commit that comes meanwhile waits about as long again as it takes anyway.
const STEP_BYTES: usize = 64 << 10;
/// Written at once in a hurry: fewer syncs for the same bytes.
const HURRIED_STEP_BYTES: usize = 1 << 20;
/// Nothing hurries: so many times as long as a step took, the next one waits.
const REST: u32 = 8;
/// However long a step took.
const REST_MAX: Duration = Duration::from_millis(20);

/// Rests after each step, less the more work waits, and not at all when it piles up.
pub struct Rests<'a> {
    waiting: &'a AtomicUsize,
    /// How much work may wait before there is no rest.
    most: usize,
    stopping: &'a AtomicBool,
    working_since: Cell<Instant>,
}

impl<'a> Rests<'a> {
    /// For work of which `waiting` pieces wait; at `most` of them, or when the node is `stopping`, it no longer
    /// rests.
    pub fn new(waiting: &'a AtomicUsize, most: usize, stopping: &'a AtomicBool) -> Self {
        Self {
            waiting,
            most,
            stopping,
            working_since: Cell::new(Instant::now()),
        }
    }

    /// How many times the length of a step to rest.
    fn rest(&self) -> u32 {
        if self.stopping.load(Ordering::Relaxed) {
            return 0;
        }
        let waiting = self.waiting.load(Ordering::Relaxed);
        let left = self.most.saturating_sub(waiting);
        REST * u32::try_from(left).unwrap_or(0) / u32::try_from(self.most.max(1)).unwrap_or(1)
    }
}

impl Pace for Rests<'_> {
    fn step_bytes(&self) -> usize {
        match self.rest() {
            0 => HURRIED_STEP_BYTES,
            _ => STEP_BYTES,
        }
    }

    fn after_step(&self) {
        let rest = self.working_since.get().elapsed() * self.rest();
        if !rest.is_zero() {
            std::thread::sleep(rest.min(REST_MAX));
        }
        self.working_since.set(Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_rests_less_the_more_waits_and_then_not_at_all() {
        let waiting = AtomicUsize::new(0);
        let stopping = AtomicBool::new(false);
        let pace = Rests::new(&waiting, 4, &stopping);
        let mut rests = Vec::new();
        for count in 0..6 {
            waiting.store(count, Ordering::Relaxed);
            rests.push((pace.rest(), pace.step_bytes()));
        }
        assert_eq!(rests[0], (REST, STEP_BYTES));
        assert_eq!(rests[2], (REST / 2, STEP_BYTES));
        assert_eq!(rests[4], (0, HURRIED_STEP_BYTES));
        assert_eq!(rests[5], (0, HURRIED_STEP_BYTES));
        waiting.store(0, Ordering::Relaxed);
        stopping.store(true, Ordering::Relaxed);
        assert_eq!(pace.rest(), 0, "a stop waits for the work under way");
    }
}
