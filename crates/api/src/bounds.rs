//! How long requests may take and how old an answer may be. Owns: these bounds, which may change while the listener runs.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What may be changed while the listener runs; it counts from the next request on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestBounds {
    /// How long a request may take when it names no deadline of its own, in ms.
    pub default_timeout_ms: u64,
    /// The longest time a request may ask for, in ms; longer ones count as this (gRPC) or are refused (REST).
    pub timeout_max_ms: u64,
    /// The greatest age that a bounded read may ask for, in ms; a greater one counts as this.
    pub bounded_age_max_ms: u64,
}

impl Default for RequestBounds {
    fn default() -> Self {
        Self {
            default_timeout_ms: 10_000,
            timeout_max_ms: 300_000,
            bounded_age_max_ms: 3_600_000,
        }
    }
}

/// The bounds as requests read them: without a lock, each for itself.
#[derive(Debug)]
pub struct LiveBounds {
    default_timeout_ms: AtomicU64,
    timeout_max_ms: AtomicU64,
    bounded_age_max_ms: AtomicU64,
}

impl Default for LiveBounds {
    fn default() -> Self {
        Self::new(&RequestBounds::default())
    }
}

impl LiveBounds {
    /// These.
    #[must_use]
    pub fn new(bounds: &RequestBounds) -> Self {
        Self {
            default_timeout_ms: AtomicU64::new(bounds.default_timeout_ms),
            timeout_max_ms: AtomicU64::new(bounds.timeout_max_ms),
            bounded_age_max_ms: AtomicU64::new(bounds.bounded_age_max_ms),
        }
    }

    /// These from now on.
    pub fn set(&self, bounds: &RequestBounds) {
        let pairs = [
            (&self.default_timeout_ms, bounds.default_timeout_ms),
            (&self.timeout_max_ms, bounds.timeout_max_ms),
            (&self.bounded_age_max_ms, bounds.bounded_age_max_ms),
        ];
        for (place, value) in pairs {
            place.store(value, Ordering::Relaxed);
        }
    }

    /// How long a request may take that asks for `asked`, or for nothing.
    pub(crate) fn timeout(&self, asked: Option<Duration>) -> Duration {
        let default = || Duration::from_millis(self.default_timeout_ms.load(Ordering::Relaxed));
        asked.unwrap_or_else(default).min(self.timeout_max())
    }

    /// The longest time a request may ask for.
    pub(crate) fn timeout_max(&self) -> Duration {
        Duration::from_millis(self.timeout_max_ms.load(Ordering::Relaxed))
    }

    /// The age that counts for a bounded read that asks for `asked`: fresher than asked for is never wrong.
    pub(crate) fn bounded_age(&self, asked: Duration) -> Duration {
        asked.min(Duration::from_millis(
            self.bounded_age_max_ms.load(Ordering::Relaxed),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_that_change_count_from_the_next_request_on() {
        let (second, live) = (Duration::from_secs(1), LiveBounds::default());
        assert_eq!(live.timeout(None), 10 * second);
        assert_eq!(live.timeout(Some(400 * second)), 300 * second);
        assert_eq!(live.bounded_age(5 * second), 5 * second);
        live.set(&RequestBounds {
            default_timeout_ms: 3_000,
            timeout_max_ms: 2_000,
            bounded_age_max_ms: 1_000,
        });
        assert_eq!(live.timeout(None), 2 * second, "never longer than the longest");
        assert_eq!(live.timeout(Some(second)), second);
        assert_eq!(live.bounded_age(5 * second), second);
    }
}
