//! What the projection counts, as Prometheus reads it. Owns: names. Must not: hold an account, person or tenant.

use crate::Position;
use ledger::Height;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Shared by the projection and whoever shows it.
#[derive(Debug, Default)]
pub struct Metrics {
    height: AtomicU64,
    journal_height: AtomicU64,
    last_event_ns: AtomicU64,
    transfers: AtomicU64,
    accounts: AtomicU64,
    blocks: AtomicU64,
    steps: AtomicU64,
    step_ns: AtomicU64,
    failures: AtomicU64,
    /// When all final blocks were in the tables, in ns since the epoch; 0: never yet.
    level_ns: AtomicU64,
    /// Whether it has the turn.
    moves_tables: AtomicBool,
    /// When a sign of life must have come.
    due: Mutex<Option<Instant>>,
}

impl Metrics {
    pub(crate) fn stands_at(&self, position: &Position) {
        self.height.store(position.height.0, Relaxed);
        self.last_event_ns.store(position.timestamp.0, Relaxed);
        self.transfers.store(position.transfers, Relaxed);
        self.accounts.store(position.accounts, Relaxed);
    }

    pub(crate) fn stepped(&self, position: &Position, head: Height, blocks: u64, took: Duration) {
        self.stands_at(position);
        self.journal_height.store(head.0, Relaxed);
        if position.height >= head {
            self.level_ns.store(now_ns(), Relaxed);
        }
        if blocks > 0 {
            self.blocks.fetch_add(blocks, Relaxed);
            self.steps.fetch_add(1, Relaxed);
            self.step_ns.fetch_add(took.as_nanos() as u64, Relaxed);
        }
    }

    pub(crate) fn failed(&self) {
        self.failures.fetch_add(1, Relaxed);
    }

    pub(crate) fn moves_tables(&self, does: bool) {
        self.moves_tables.store(does, Relaxed);
    }

    pub(crate) fn is_due_within(&self, time: Duration) {
        *self.due.lock().expect("nobody panics with it") = Some(Instant::now() + time);
    }

    /// Whether the projection hangs: what it does should have ended long ago. A server that is frozen keeps its
    /// connections and says nothing; who runs this process ends it then, and starts it again.
    #[must_use]
    pub fn is_overdue(&self) -> bool {
        let due = *self.due.lock().expect("nobody panics with it");
        due.is_some_and(|due| Instant::now() > due)
    }

    /// Final blocks that are not in the tables yet, as far as is known.
    #[must_use]
    pub fn lag_blocks(&self) -> u64 {
        let journal = self.journal_height.load(Relaxed);
        journal.saturating_sub(self.height.load(Relaxed))
    }

    /// Seconds since the tables held all that was final; none when they never did.
    #[must_use]
    pub fn lag_s(&self) -> Option<f64> {
        match self.level_ns.load(Relaxed) {
            0 => None,
            level => Some(now_ns().saturating_sub(level) as f64 / 1e9),
        }
    }

    /// In Prometheus' text format.
    #[must_use]
    pub fn render(&self) -> String {
        let get = |value: &AtomicU64| value.load(Relaxed) as f64;
        let seconds = |value: &AtomicU64| get(value) / 1e9;
        let lag_s = self.lag_s().unwrap_or(f64::INFINITY);
        let lines: [(&str, &str, &str, f64); 12] = [
            (
                "active",
                "gauge",
                "1 while this projection moves the tables, 0 while it waits for its turn.",
                f64::from(u8::from(self.moves_tables.load(Relaxed))),
            ),
            (
                "height",
                "gauge",
                "The last block that is in the tables.",
                get(&self.height),
            ),
            (
                "journal_height",
                "gauge",
                "The last final block that was seen.",
                get(&self.journal_height),
            ),
            (
                "lag_blocks",
                "gauge",
                "Final blocks that are not in the tables yet.",
                self.lag_blocks() as f64,
            ),
            (
                "lag_seconds",
                "gauge",
                "Since the tables held all that was final.",
                lag_s,
            ),
            (
                "last_event_timestamp_seconds",
                "gauge",
                "Time of the last event that is in the tables.",
                seconds(&self.last_event_ns),
            ),
            (
                "transfers",
                "gauge",
                "Rows of the table of transfers.",
                get(&self.transfers),
            ),
            (
                "accounts",
                "gauge",
                "Rows of the table of accounts.",
                get(&self.accounts),
            ),
            (
                "blocks_total",
                "counter",
                "Blocks taken in since the start.",
                get(&self.blocks),
            ),
            (
                "steps_total",
                "counter",
                "Transactions since the start.",
                get(&self.steps),
            ),
            (
                "step_seconds_total",
                "counter",
                "Spent in those.",
                seconds(&self.step_ns),
            ),
            (
                "failures_total",
                "counter",
                "Attempts given up since the start.",
                get(&self.failures),
            ),
        ];
        let mut text = String::new();
        for (name, kind, help, value) in lines {
            let name = format!("shanraq_projection_{name}");
            let value = if value.is_infinite() {
                "+Inf".to_owned()
            } else {
                value.to_string()
            };
            text += &format!("# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n");
        }
        text
    }
}

fn now_ns() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| now.as_nanos() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_hangs_is_overdue_until_there_is_a_sign_of_life() {
        let metrics = Metrics::default();
        assert!(!metrics.is_overdue(), "nothing is under way");
        metrics.is_due_within(Duration::ZERO);
        while !metrics.is_overdue() {
            std::thread::yield_now();
        }
        metrics.is_due_within(Duration::from_secs(3_600));
        assert!(!metrics.is_overdue());
    }
}
