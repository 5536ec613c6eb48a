//! How much a node takes in before it refuses or waits. Owns: these bounds, which may change while it runs. Must not: hold
//! anything that the ledger's rules, its durability or the choice of the writer depend on.

use crate::NodeOptions;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What may be changed while a node runs; it counts from the next request on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Requests waiting before further ones are refused as overload.
    pub queue_requests_max: u64,
    /// Events waiting before further requests are refused as overload.
    pub queue_events_max: u64,
    /// When a client that was refused as overload is told to try again, in ms.
    pub overload_retry_ms: u64,
    /// Rows and accounts that the history index may be behind before writes wait for it.
    pub index_lag_rows_max: u64,
}

impl Bounds {
    /// As the options say.
    #[must_use]
    pub fn of(options: &NodeOptions) -> Self {
        Self {
            queue_requests_max: options.queue_requests_max as u64,
            queue_events_max: options.queue_events_max as u64,
            overload_retry_ms: options.overload_retry_ms,
            index_lag_rows_max: options.index_lag_rows_max,
        }
    }
}

/// The bounds as the threads read them: without a lock, each for itself.
pub struct LiveBounds {
    queue_requests_max: AtomicU64,
    queue_events_max: AtomicU64,
    overload_retry_ms: AtomicU64,
    index_lag_rows_max: AtomicU64,
}

impl LiveBounds {
    /// These.
    pub fn new(bounds: &Bounds) -> Self {
        Self {
            queue_requests_max: AtomicU64::new(bounds.queue_requests_max),
            queue_events_max: AtomicU64::new(bounds.queue_events_max),
            overload_retry_ms: AtomicU64::new(bounds.overload_retry_ms),
            index_lag_rows_max: AtomicU64::new(bounds.index_lag_rows_max),
        }
    }

    /// These from now on.
    pub fn set(&self, bounds: &Bounds) {
        let pairs = [
            (&self.queue_requests_max, bounds.queue_requests_max),
            (&self.queue_events_max, bounds.queue_events_max),
            (&self.overload_retry_ms, bounds.overload_retry_ms),
            (&self.index_lag_rows_max, bounds.index_lag_rows_max),
        ];
        for (place, value) in pairs {
            place.store(value, Ordering::Relaxed);
        }
    }

    /// Whether so many requests and events may not wait, one of `events` more included. One request is always taken into an
    /// empty queue, however many events it has.
    pub fn refuses(&self, queued_requests: usize, queued_events: usize, events: usize) -> bool {
        let requests_max = self.queue_requests_max.load(Ordering::Relaxed);
        let events_max = self.queue_events_max.load(Ordering::Relaxed);
        queued_requests as u64 >= requests_max
            || (queued_requests > 0 && (queued_events + events) as u64 > events_max)
    }

    /// When a client that was refused as overload is told to try again.
    pub fn overload_retry(&self) -> Duration {
        Duration::from_millis(self.overload_retry_ms.load(Ordering::Relaxed))
    }

    /// Whether an index that is so far behind holds writes up.
    pub fn holds_up(&self, index_lag_rows: u64) -> bool {
        index_lag_rows > self.index_lag_rows_max.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_that_change_count_from_the_next_request_on() {
        let options = NodeOptions::new("x");
        let live = LiveBounds::new(&Bounds::of(&options));
        assert!(!live.refuses(2, 10, 1) && !live.holds_up(5));
        assert_eq!(live.overload_retry(), Duration::from_millis(20));
        live.set(&Bounds {
            queue_requests_max: 2,
            queue_events_max: 8,
            overload_retry_ms: 700,
            index_lag_rows_max: 4,
        });
        assert!(live.refuses(2, 2, 1), "too many requests");
        assert!(live.refuses(1, 8, 1), "too many events");
        assert!(!live.refuses(1, 7, 1));
        assert!(!live.refuses(0, 0, 100), "one request is always taken");
        assert!(live.holds_up(5) && !live.holds_up(4));
        assert_eq!(live.overload_retry(), Duration::from_millis(700));
    }
}
