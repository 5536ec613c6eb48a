//! What the node counts. Owns: names and their text form. No account, person or tenant in a label.

use ledger::{CreateAccountResult, CreateTransferResult, Outcome};
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of the buckets of every duration, in microseconds.
const BOUNDS_US: [u64; 16] = [
    50, 75, 100, 150, 200, 300, 500, 750, 1_000, 2_000, 5_000, 10_000, 50_000, 100_000, 1_000_000, 10_000_000,
];

/// A histogram of durations.
#[derive(Debug, Default)]
pub struct Durations {
    buckets: [AtomicU64; BOUNDS_US.len()],
    count: AtomicU64,
    sum_ns: AtomicU64,
}

impl Durations {
    /// Counts one.
    pub fn record(&self, duration: Duration) {
        let us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS_US.partition_point(|bound| *bound < us);
        if let Some(bucket) = self.buckets.get(bucket) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        self.count.fetch_add(1, Ordering::Relaxed);
        self.sum_ns.fetch_add(
            u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX),
            Ordering::Relaxed,
        );
    }

    fn render(&self, text: &mut String, name: &str, help: &str) {
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} histogram");
        let mut cumulative = 0;
        for (bound, bucket) in BOUNDS_US.iter().zip(&self.buckets) {
            cumulative += bucket.load(Ordering::Relaxed);
            let _ = writeln!(
                text,
                "{name}_bucket{{le=\"{}\"}} {cumulative}",
                *bound as f64 / 1e6
            );
        }
        let count = self.count.load(Ordering::Relaxed).max(cumulative);
        let sum = self.sum_ns.load(Ordering::Relaxed) as f64 / 1e9;
        let _ = writeln!(
            text,
            "{name}_bucket{{le=\"+Inf\"}} {count}\n{name}_sum {sum}\n{name}_count {count}"
        );
    }
}

/// Everything the node counts; all of it is monotonic or a gauge of this moment.
#[derive(Debug)]
pub struct Metrics {
    /// Time from handing a block to the journal until it was durable.
    pub append: Durations,
    transfers: Vec<AtomicU64>,
    accounts: Vec<AtomicU64>,
    expired: AtomicU64,
    /// Last durable block.
    pub height: AtomicU64,
    /// Last block in the history index.
    pub indexed: AtomicU64,
    /// Rows of history.
    pub rows: AtomicU64,
    /// Accounts.
    pub accounts_total: AtomicU64,
}

impl Default for Metrics {
    fn default() -> Self {
        let counters = |count: usize| (0..=count).map(|_| AtomicU64::new(0)).collect();
        Self {
            append: Durations::default(),
            transfers: counters(CreateTransferResult::ALL.len()),
            accounts: counters(CreateAccountResult::ALL.len()),
            expired: AtomicU64::new(0),
            height: AtomicU64::new(0),
            indexed: AtomicU64::new(0),
            rows: AtomicU64::new(0),
            accounts_total: AtomicU64::new(0),
        }
    }
}

impl Metrics {
    /// Counts the answers of one request.
    pub fn count(&self, reply: &crate::Reply) {
        match reply {
            crate::Reply::Accounts(replies) => {
                add_runs(&self.accounts, replies.iter().map(|reply| reply.result.code()));
            }
            crate::Reply::Transfers(replies) => {
                add_runs(&self.transfers, replies.iter().map(|reply| reply.result.code()));
            }
            crate::Reply::Described(_) => {}
        }
    }

    /// Counts what a durable block did beside its answers.
    pub fn count_outcome(&self, outcome: &Outcome) {
        if !outcome.expired.is_empty() {
            self.expired
                .fetch_add(outcome.expired.len() as u64, Ordering::Relaxed);
        }
        if !outcome.new_accounts.is_empty() {
            self.accounts_total
                .fetch_add(outcome.new_accounts.len() as u64, Ordering::Relaxed);
        }
    }

    /// All of it in Prometheus' text format, with the rows and accounts that the index is behind.
    #[must_use]
    pub fn render(&self, index_lag_rows: &AtomicU64) -> String {
        let mut text = String::new();
        self.append.render(
            &mut text,
            "shanraq_journal_append_seconds",
            "Time from handing a block to the journal until it was durable.",
        );
        let _ = writeln!(
            text,
            "# HELP shanraq_transfers_total Transfers answered, by result.\n# TYPE shanraq_transfers_total counter"
        );
        for (result, counter) in CreateTransferResult::ALL.iter().zip(&self.transfers[1..]) {
            line(&mut text, "shanraq_transfers_total", result.name(), counter);
        }
        let _ = writeln!(
            text,
            "# HELP shanraq_accounts_total Accounts answered, by result.\n# TYPE shanraq_accounts_total counter"
        );
        for (result, counter) in CreateAccountResult::ALL.iter().zip(&self.accounts[1..]) {
            line(&mut text, "shanraq_accounts_total", result.name(), counter);
        }
        let plain = [
            (
                "shanraq_expired_total",
                "counter",
                "Pending transfers released at their timeout.",
                &self.expired,
            ),
            ("shanraq_height", "gauge", "Last durable block.", &self.height),
            (
                "shanraq_indexed_height",
                "gauge",
                "Last block in the history index.",
                &self.indexed,
            ),
            (
                "shanraq_index_lag_rows",
                "gauge",
                "Rows and accounts that the history index is behind.",
                index_lag_rows,
            ),
            ("shanraq_history_rows", "gauge", "Rows of history.", &self.rows),
            (
                "shanraq_accounts",
                "gauge",
                "Accounts in the ledger.",
                &self.accounts_total,
            ),
        ];
        for (name, kind, help, value) in plain {
            let value = value.load(Ordering::Relaxed);
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}");
        }
        text
    }
}

fn line(text: &mut String, name: &str, result: &str, counter: &AtomicU64) {
    let value = counter.load(Ordering::Relaxed);
    if value > 0 {
        let _ = writeln!(text, "{name}{{result=\"{result}\"}} {value}");
    }
}

/// Adds codes to their counters, one addition for each run of equal ones.
fn add_runs(counters: &[AtomicU64], codes: impl Iterator<Item = u16>) {
    let mut run = (0, 0);
    for code in codes {
        if code != run.0 {
            counters[usize::from(run.0)].fetch_add(run.1, Ordering::Relaxed);
            run = (code, 0);
        }
        run.1 += 1;
    }
    counters[usize::from(run.0)].fetch_add(run.1, Ordering::Relaxed);
}
