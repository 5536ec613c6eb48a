//! Becoming the writer and ceasing to be it. Owns: the thread that watches over leadership, and the promotion.

use crate::Ended;
use election::{Elector, TermRevision};
use journal_postgres::{AbortHandle, PostgresJournal, PostgresOptions};
use node::{Node, NodeError};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use storage::KeyRing;

/// How often leadership is looked at; it costs a clock reading.
const LOOK: Duration = Duration::from_millis(5);
/// The pause after a journal that could not be taken over.
const PAUSE: Duration = Duration::from_millis(100);

/// What it takes to lead.
pub(crate) struct Lead {
    pub(crate) node: Node,
    pub(crate) elector: Arc<Elector>,
    pub(crate) postgres: PostgresOptions,
    pub(crate) keys: KeyRing,
    pub(crate) stopping: Arc<AtomicBool>,
}

impl Lead {
    /// Waits until this member is elected, takes the journal over, and watches until it leads no more, or `stopping`.
    pub(crate) fn run(&self) -> Ended {
        while !self.is_stopping() {
            let Some(revision) = self.elector.term_now() else {
                std::thread::sleep(LOOK);
                continue;
            };
            let begun = Instant::now();
            match self.take_over(revision) {
                Ok(abort) => {
                    tracing::info!(%revision, took_ms = begun.elapsed().as_millis() as u64, "this node is the writer");
                    return self.watch(revision, &abort);
                }
                Err(NodeError::Append(error)) => {
                    tracing::warn!(code = "MEM-0102", %error, "the journal cannot be taken over yet");
                    std::thread::sleep(PAUSE);
                }
                Err(error) => return Ended::Fault(error.into()),
            }
        }
        Ended::Stopped
    }

    /// Promotes the node; gives up as soon as leadership is lost.
    fn take_over(&self, revision: TermRevision) -> Result<AbortHandle, NodeError> {
        let opened = PostgresJournal::open(self.postgres.clone(), self.keys.clone());
        let journal = opened.map_err(|error| {
            tracing::debug!(%error, "the journal does not open");
            NodeError::Append(journal::AppendError::SteppedDown)
        })?;
        let (abort, done) = (journal.abort_handle(), AtomicBool::new(false));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    if !self.leads(revision) || self.is_stopping() {
                        abort.abort();
                    }
                    std::thread::sleep(LOOK);
                }
            });
            let promoted = self.node.promote(Box::new(journal));
            done.store(true, Ordering::Relaxed);
            promoted
        })?;
        Ok(abort)
    }

    fn watch(&self, revision: TermRevision, abort: &AbortHandle) -> Ended {
        while !self.is_stopping() {
            if !self.leads(revision) {
                // An append that is under way gives up: its outcome is the next writer's to settle.
                abort.abort();
                return Ended::Lost;
            }
            std::thread::sleep(LOOK);
        }
        Ended::Stopped
    }

    fn leads(&self, revision: TermRevision) -> bool {
        self.elector.term_now() == Some(revision)
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }
}
