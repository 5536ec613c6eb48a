//! Latencies as the client saw them. Owns: how they are counted and told.

use hdrhistogram::Histogram;
use serde::Serialize;
use std::time::Duration;

/// Latencies of requests, from 1 us to 10 minutes with three digits.
pub struct Latencies(Histogram<u64>);

/// What is told of them, in microseconds.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Percentiles {
    /// Half of the requests were answered within this.
    pub p50_us: f64,
    /// 95 %.
    pub p95_us: f64,
    /// 99 %.
    pub p99_us: f64,
    /// 99.9 %.
    pub p999_us: f64,
    /// All of them.
    pub max_us: f64,
}

impl Default for Latencies {
    fn default() -> Self {
        Self(Histogram::new_with_bounds(100, 600_000_000_000, 3).expect("the bounds are in order"))
    }
}

impl Latencies {
    /// Counts one. In open loop the time runs from when the request was due, not from when it was sent.
    pub fn record(&mut self, latency: Duration) {
        self.0
            .saturating_record(u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Adds those of another.
    pub fn add(&mut self, other: &Self) {
        self.0.add(&other.0).expect("both have the same bounds");
    }

    /// How many were counted.
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// The figures to tell.
    pub fn percentiles(&self) -> Percentiles {
        let at = |quantile| self.0.value_at_quantile(quantile) as f64 / 1_000.0;
        let max_us = self.0.max() as f64 / 1_000.0;
        Percentiles {
            p50_us: at(0.5),
            p95_us: at(0.95),
            p99_us: at(0.99),
            p999_us: at(0.999),
            max_us,
        }
    }
}
