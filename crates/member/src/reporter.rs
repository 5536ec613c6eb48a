//! Makes the report of a change of the writer, beside the writing. Owns: what is asked for it, and for how long.

use crate::clocks::Clocks;
use crate::report::{self, Beginning, ChainCheck, Check, Outcome, Report};
use crate::reports::Reports;
use election::{Elector, Farewell, TermRevision};
use journal::Head;
use journal_postgres::{Durability, PostgresOptions, look_at_primary};
use ledger::{Height, TimestampNs};
use node::{Clock, Node, Priority};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Blocks before the seam that are read back and checked.
const BLOCKS_BEFORE: u64 = 128;
/// The most blocks that are read back, of a node that had much to take in before it could write.
const BLOCKS_MAX: u64 = 4_096;
/// How often it is looked again.
const LOOK: Duration = Duration::from_secs(1);
/// After which it is told what is still not as it should be.
const PATIENCE: Duration = Duration::from_mins(5);
/// How long etcd may take to tell what the former writer left behind.
const FAREWELL_PATIENCE: Duration = Duration::from_secs(2);

/// See the module.
pub(crate) struct Reporter {
    pub(crate) node: Node,
    pub(crate) elector: Arc<Elector>,
    pub(crate) clocks: Arc<Clocks>,
    pub(crate) reports: Arc<Reports>,
    pub(crate) postgres: PostgresOptions,
    pub(crate) stopping: Arc<AtomicBool>,
}

/// What is known at the moment in which a term has begun.
pub(crate) struct Won {
    revision: TermRevision,
    had: Head,
    first: Head,
    final_at: TimestampNs,
    took: Duration,
    since: Instant,
}

impl Won {
    /// Now, as `revision`; `had` is where the node stood before, and `begun` when it had been elected.
    pub(crate) fn now(revision: TermRevision, node: &Node, had: Head, begun: Instant) -> Self {
        Self {
            revision,
            had,
            first: node.supplied_head(),
            final_at: node.clock().now(),
            took: begun.elapsed(),
            since: Instant::now(),
        }
    }
}

impl Reporter {
    /// Until the report is complete, or this node writes no more.
    pub(crate) fn run(&self, won: &Won) {
        Priority::Background.apply();
        let beginning = self.beginning(won);
        let (chain, before) = self.read_chain(&beginning);
        let mut report = Report::new(&beginning, chain, before);
        let (names, needed) = standbys(&self.postgres);
        report.books = match self.node.check_books() {
            Ok(check) => report::books(&check),
            // The node stops.
            Err(_) => return,
        };
        loop {
            match look_at_primary(&self.postgres.connect) {
                Ok(view) => {
                    self.clocks.writes_at(&view.address);
                    let before = beginning.primary_before.clone();
                    report.saw_primary(report::primary(&view, before, &names, needed));
                }
                Err(error) => {
                    tracing::debug!(%error, "the primary cannot be asked for the report");
                    report.lost_primary();
                }
            }
            self.look_at_followers(&mut report);
            report.judge(&names, won.since.elapsed(), PATIENCE);
            if !self.keep(&report) || report.outcome != Outcome::Open {
                return;
            }
            let looked = Instant::now();
            while looked.elapsed() < LOOK {
                if self.stopping.load(Ordering::Relaxed) {
                    return;
                }
                std::thread::sleep(LOOK / 20);
            }
        }
    }

    fn beginning(&self, won: &Won) -> Beginning {
        let (_, primary_before) = self.clocks.former();
        let farewell = self.farewell();
        let said = farewell.as_ref().map(|farewell| farewell.name.clone());
        let former_node = said.or_else(|| self.elector.writer_before(won.revision));
        Beginning {
            node: self.clocks.name.clone(),
            had: won.had,
            first: won.first,
            final_at: won.final_at,
            took: won.took,
            former_node: former_node.map(|name| name.to_string()),
            stepped_down: farewell.map(|farewell| farewell.stepped_down),
            primary_before,
        }
    }

    fn farewell(&self) -> Option<Farewell> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build();
        let asked = runtime.map(|runtime| {
            runtime.block_on(async {
                tokio::time::timeout(FAREWELL_PATIENCE, self.elector.take_farewell()).await
            })
        });
        match asked {
            Ok(Ok(Ok(farewell))) => farewell,
            unknown => {
                tracing::debug!(?unknown, "what the former writer left behind is not known");
                None
            }
        }
    }

    /// Reads the journal back from before the seam until the term's first block.
    fn read_chain(&self, beginning: &Beginning) -> (Check, Option<Head>) {
        let (first, had) = (beginning.first, beginning.had);
        let from = had.height.0.saturating_sub(BLOCKS_BEFORE);
        let from = from.max(first.height.0.saturating_sub(BLOCKS_MAX)).max(1);
        let wanted: Vec<Head> = [had, first]
            .into_iter()
            .filter(|head| head.height.0 >= from)
            .collect();
        let mut chain = ChainCheck::default();
        let blocks = self.node.blocks();
        for block in blocks.scan(Height(from)) {
            match block {
                Ok(block) if block.height > first.height => break,
                Ok(block) => chain.take(&block, &wanted, first.epoch),
                Err(error) => {
                    chain.fail(error.to_string());
                    break;
                }
            }
        }
        chain.finish(&wanted)
    }

    fn look_at_followers(&self, report: &mut Report) {
        let height = self.node.status().height;
        let heights = self.clocks.heights();
        let names = self.clocks.names();
        let others = names.iter().filter(|name| **name != self.clocks.name);
        let followers = others.map(|name| {
            let said = heights.iter().find(|(of, ..)| of == name);
            report::follower(name, said.map(|(_, at, age)| (*at, *age)), height)
        });
        report.followers = followers.collect();
    }

    /// Keeps it as it stands, and tells what it came to. False when this node writes no more.
    fn keep(&self, report: &Report) -> bool {
        if self.stopping.load(Ordering::Relaxed) {
            return false;
        }
        let text = serde_json::to_string(report).expect("text and numbers always encode");
        if let Err(error) = self.reports.keep(report.epoch, text) {
            tracing::error!(code = "MEM-0110", %error, "the report of the change of the writer cannot be kept");
        }
        let (epoch, reason) = (report.epoch, report.reason);
        let degraded = report.degraded.join("; ");
        match report.outcome {
            Outcome::Open => {}
            Outcome::Completed => {
                let (gap_ms, watched_ms) = (report.gap_ms, report.watched_ms);
                tracing::info!(
                    epoch,
                    ?reason,
                    gap_ms,
                    watched_ms,
                    "the change of the writer is complete"
                );
            }
            Outcome::StillDegraded => {
                tracing::warn!(
                    code = "MEM-0113",
                    epoch,
                    degraded,
                    "after the change of the writer not all is well"
                );
            }
            Outcome::Failed => {
                tracing::error!(
                    code = "MEM-0114",
                    epoch,
                    degraded,
                    "after the change of the writer the ledger is not as it must be"
                );
            }
        }
        true
    }
}

/// The topology's standbys, and how many of them a commit needs.
fn standbys(postgres: &PostgresOptions) -> (Vec<String>, u32) {
    match &postgres.durability {
        Durability::Local => (Vec::new(), 0),
        Durability::Standbys { names, flushed } => (names.clone(), flushed.get()),
    }
}
