//! Counts and latencies of requests. Owns: the edges' own metrics, in Prometheus' text format.
//! Must not: put an id, a person or a tenant into a label.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of the latency buckets, in microseconds.
const BUCKETS_US: [u64; 14] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    5_000_000,
];

/// HTTP statuses that are counted one by one; others count as `other`.
const STATUSES: [&str; 14] = [
    "200", "400", "404", "405", "413", "415", "422", "429", "500", "503", "504", "401", "403", "other",
];

/// gRPC codes by number.
const GRPC_CODES: [&str; 17] = [
    "ok",
    "cancelled",
    "unknown",
    "invalid_argument",
    "deadline_exceeded",
    "not_found",
    "already_exists",
    "permission_denied",
    "resource_exhausted",
    "failed_precondition",
    "aborted",
    "out_of_range",
    "unimplemented",
    "internal",
    "unavailable",
    "data_loss",
    "unauthenticated",
];

/// REST operations, as `method path`; the last stands for what has no path.
pub(crate) const REST: [&str; 22] = [
    "POST /v1/accounts",
    "POST /v1/transfers",
    "POST /v1/transactions",
    "POST /v1/accounts/lookup",
    "POST /v1/transfers/lookup",
    "POST /v1/accounts/query",
    "POST /v1/transfers/query",
    "GET /v1/accounts/{id}",
    "GET /v1/accounts/{id}/transfers",
    "GET /v1/accounts/{id}/balance",
    "GET /v1/ledgers",
    "PUT /v1/ledgers/{ledger}",
    "GET /v1/ledgers/{ledger}/trial-balance",
    "GET /openapi.json",
    "GET /healthz",
    "GET /readyz",
    "GET /status",
    "POST /cluster/handover",
    "GET /cluster/reports",
    "GET /cluster/reports/latest",
    "GET /metrics",
    "other",
];

/// gRPC methods; `Submit` counts the requests of its streams.
pub(crate) const GRPC: [&str; 14] = [
    "CreateAccounts",
    "CreateTransfers",
    "CreateTransaction",
    "DescribeLedger",
    "Submit",
    "LookupAccounts",
    "LookupTransfers",
    "QueryAccounts",
    "QueryTransfers",
    "AccountBalance",
    "TrialBalance",
    "ListLedgers",
    "Status",
    "Feed",
];

struct Series<const CODES: usize> {
    by_code: [AtomicU64; CODES],
    buckets: [AtomicU64; BUCKETS_US.len() + 1],
    sum_us: AtomicU64,
}

impl<const CODES: usize> Series<CODES> {
    fn new() -> Self {
        Self {
            by_code: std::array::from_fn(|_| AtomicU64::new(0)),
            buckets: std::array::from_fn(|_| AtomicU64::new(0)),
            sum_us: AtomicU64::new(0),
        }
    }

    fn observe(&self, code: usize, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = BUCKETS_US.partition_point(|&bound| bound < us);
        self.by_code[code].fetch_add(1, Ordering::Relaxed);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum_us.fetch_add(us, Ordering::Relaxed);
    }
}

/// All of them.
pub(crate) struct Metrics {
    rest: [Series<{ STATUSES.len() }>; REST.len()],
    grpc: [Series<{ GRPC_CODES.len() }>; GRPC.len()],
    /// Connections open now.
    pub connections: AtomicU64,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        Self {
            rest: std::array::from_fn(|_| Series::new()),
            grpc: std::array::from_fn(|_| Series::new()),
            connections: AtomicU64::new(0),
        }
    }

    /// Counts one REST request; `operation` is `method path` with the path as the router names it.
    pub(crate) fn rest(&self, method: &str, path: &str, status: u16, took: Duration) {
        let same = |name: &&str| {
            name.strip_prefix(method)
                .is_some_and(|rest| rest.strip_prefix(' ') == Some(path))
        };
        let operation = REST.iter().position(same).unwrap_or(REST.len() - 1);
        let mut digits = [0; 3];
        for (digit, power) in digits.iter_mut().zip([100, 10, 1]) {
            *digit = b'0' + u8::try_from(status / power % 10).unwrap_or(0);
        }
        let code = STATUSES
            .iter()
            .position(|s| s.as_bytes() == digits)
            .unwrap_or(STATUSES.len() - 1);
        self.rest[operation].observe(code, took);
    }

    /// Counts one gRPC request.
    pub(crate) fn grpc(&self, method: usize, code: tonic::Code, took: Duration) {
        self.grpc[method].observe(code as usize, took);
    }

    /// Adds them to a text in Prometheus' format. Series that never counted stay out.
    pub(crate) fn write(&self, out: &mut String) {
        head(
            out,
            "shanraq_api_requests_total",
            "counter",
            "Requests by protocol, operation and status.",
        );
        for (name, series) in REST.iter().zip(&self.rest) {
            write_codes(out, "rest", name, &series.by_code, &STATUSES);
        }
        for (name, series) in GRPC.iter().zip(&self.grpc) {
            write_codes(out, "grpc", name, &series.by_code, &GRPC_CODES);
        }
        head(
            out,
            "shanraq_api_request_seconds",
            "histogram",
            "Time from request to answer, the journal included.",
        );
        for (name, series) in REST.iter().zip(&self.rest) {
            write_buckets(out, "rest", name, &series.buckets, &series.sum_us);
        }
        for (name, series) in GRPC.iter().zip(&self.grpc) {
            write_buckets(out, "grpc", name, &series.buckets, &series.sum_us);
        }
        head(out, "shanraq_api_connections", "gauge", "Connections open now.");
        let _ = writeln!(
            out,
            "shanraq_api_connections {}",
            self.connections.load(Ordering::Relaxed)
        );
    }
}

fn head(out: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

fn write_codes(out: &mut String, protocol: &str, operation: &str, counts: &[AtomicU64], names: &[&str]) {
    for (code, count) in names.iter().zip(counts) {
        let count = count.load(Ordering::Relaxed);
        if count > 0 {
            let _ = writeln!(
                out,
                "shanraq_api_requests_total{{protocol=\"{protocol}\",operation=\"{operation}\",code=\"{code}\"}} {count}"
            );
        }
    }
}

fn write_buckets(
    out: &mut String,
    protocol: &str,
    operation: &str,
    buckets: &[AtomicU64],
    sum_us: &AtomicU64,
) {
    let counts: Vec<u64> = buckets
        .iter()
        .map(|bucket| bucket.load(Ordering::Relaxed))
        .collect();
    let total: u64 = counts.iter().sum();
    if total == 0 {
        return;
    }
    let labels = format!("protocol=\"{protocol}\",operation=\"{operation}\"");
    let mut cumulative = 0;
    for (count, bound) in counts.iter().zip(BUCKETS_US) {
        cumulative += count;
        let _ = writeln!(
            out,
            "shanraq_api_request_seconds_bucket{{{labels},le=\"{}.{:06}\"}} {cumulative}",
            bound / 1_000_000,
            bound % 1_000_000
        );
    }
    let _ = writeln!(
        out,
        "shanraq_api_request_seconds_bucket{{{labels},le=\"+Inf\"}} {total}"
    );
    let sum = sum_us.load(Ordering::Relaxed);
    let _ = writeln!(
        out,
        "shanraq_api_request_seconds_sum{{{labels}}} {}.{:06}",
        sum / 1_000_000,
        sum % 1_000_000
    );
    let _ = writeln!(out, "shanraq_api_request_seconds_count{{{labels}}} {total}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_cumulative_buckets_are_written_by_operation() {
        let metrics = Metrics::new();
        metrics.rest("POST", "/v1/transfers", 200, Duration::from_micros(90));
        metrics.rest("POST", "/v1/transfers", 200, Duration::from_micros(300));
        metrics.rest("POST", "/v1/transfers", 418, Duration::from_secs(9));
        metrics.rest("GET", "/nowhere", 404, Duration::ZERO);
        metrics.grpc(4, tonic::Code::Ok, Duration::from_millis(1));
        let mut text = String::new();
        metrics.write(&mut text);
        let has = |line: &str| assert!(text.lines().any(|l| l == line), "{line} is not in:\n{text}");
        let labels = "protocol=\"rest\",operation=\"POST /v1/transfers\"";
        has(&format!("shanraq_api_requests_total{{{labels},code=\"200\"}} 2"));
        has(&format!(
            "shanraq_api_requests_total{{{labels},code=\"other\"}} 1"
        ));
        has("shanraq_api_requests_total{protocol=\"rest\",operation=\"other\",code=\"404\"} 1");
        has("shanraq_api_requests_total{protocol=\"grpc\",operation=\"Submit\",code=\"ok\"} 1");
        has(&format!(
            "shanraq_api_request_seconds_bucket{{{labels},le=\"0.000100\"}} 1"
        ));
        has(&format!(
            "shanraq_api_request_seconds_bucket{{{labels},le=\"0.000500\"}} 2"
        ));
        has(&format!(
            "shanraq_api_request_seconds_bucket{{{labels},le=\"+Inf\"}} 3"
        ));
        has(&format!("shanraq_api_request_seconds_sum{{{labels}}} 9.000390"));
    }
}
