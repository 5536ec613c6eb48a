//! Becoming the writer and ceasing to be it. Owns: the thread that watches over leadership, and the promotion.

use crate::Ended;
use crate::clocks::{Clocks, Refusal};
use crate::member::is_news;
use crate::reporter::{Reporter, Won};
use crate::reports::Reports;
use election::{ElectionError, Elector, TermRevision};
use journal_postgres::{AbortHandle, PostgresJournal, PostgresOptions, WritableServer, writable_server};
use node::{Node, NodeError};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};
use storage::KeyRing;

/// How often leadership is looked at; it costs a clock reading.
const LOOK: Duration = Duration::from_millis(5);
/// The pause after a journal that could not be taken over.
const PAUSE: Duration = Duration::from_millis(100);
/// How long a member may fail to take the journal over before it leaves that to others, who may reach a server that it
/// does not: longer than PostgreSQL takes to have another primary, which all wait for alike.
const TAKE_OVER_WITHIN: Duration = Duration::from_secs(5);
/// How long a term may take to begin. PostgreSQL keeps a session that waits for a standby, so this is not done often.
const TERM_WITHIN: Duration = Duration::from_secs(15);
/// After how long without success every server is heard out before one is chosen: the primary may be the one that is far.
const HEARS_ALL_OUT_AFTER: Duration = Duration::from_secs(2);
/// For how long a node that could not write leaves the election to others; repeated while it is so.
const STANDS_BACK: Duration = Duration::from_millis(500);
/// How long an append may go on while the process is to stop.
const STOP_WITHIN: Duration = Duration::from_secs(5);

/// After how long an append counts as hanging, and taking the journal over.
const HANGS_AFTER: Duration = Duration::from_millis(500);
/// How often it is seen whether one hangs.
const LOOK_AT_PRIMARY: Duration = Duration::from_millis(100);

/// How often the writer's time is held against the members' clocks.
const LOOK_AT_CLOCKS: Duration = Duration::from_millis(100);
/// How long one confirmation may take.
const CONFIRM_PATIENCE: Duration = Duration::from_secs(1);

/// What it takes to lead.
pub(crate) struct Lead {
    pub(crate) node: Node,
    pub(crate) elector: Arc<Elector>,
    pub(crate) postgres: PostgresOptions,
    pub(crate) keys: KeyRing,
    /// The process is to stop: nothing new is begun.
    pub(crate) stopping: Arc<AtomicBool>,
    /// The node has answered everything: no append is under way any more that would have to be ended.
    pub(crate) stopped: Arc<AtomicBool>,
    /// As whom this node writes; 0 until it does.
    pub(crate) writes_as: Arc<AtomicI64>,
    pub(crate) clocks: Arc<Clocks>,
    pub(crate) reports: Arc<Reports>,
}

/// Why the journal was not taken over.
enum NotTaken {
    /// It may be at the next attempt.
    Yet(Box<dyn std::error::Error>),
    /// The node cannot go on.
    Fault(NodeError),
}

impl From<NodeError> for NotTaken {
    fn from(error: NodeError) -> Self {
        match error.is_passing() {
            true => Self::Yet(Box::new(error)),
            false => Self::Fault(error),
        }
    }
}

impl Lead {
    /// Waits until this member is elected, takes the journal over, and watches until it leads no more, or `stopping`.
    pub(crate) fn run(&self) -> Ended {
        let mut told = String::new();
        let mut elected: Option<(TermRevision, Instant)> = None;
        while !self.is_stopping() {
            let Some(revision) = self.elector.term_now() else {
                if !self.node.can_write() {
                    self.elector.stand_back(STANDS_BACK);
                }
                std::thread::sleep(LOOK);
                continue;
            };
            let begun = Instant::now();
            let since = match elected {
                Some((known, since)) if known == revision => since,
                _ => begun,
            };
            elected = Some((revision, since));
            if !self.has_the_time(revision, since) || !self.has_the_room() {
                continue;
            }
            let had = self.node.supplied_head();
            match self.take_over(revision, since) {
                Ok(abort) => {
                    let won = Won::now(revision, &self.node, had, begun);
                    if !self.is_still_elected(revision) {
                        abort.abort();
                        return Ended::Lost;
                    }
                    self.writes_as.store(revision.0, Ordering::SeqCst);
                    tracing::info!(%revision, took_ms = begun.elapsed().as_millis() as u64, "this node is the writer");
                    self.report(won);
                    return self.watch(revision, &abort);
                }
                // It stays a follower, and the next attempt begins a term of its own.
                Err(NotTaken::Yet(error)) => {
                    // Said once for each reason.
                    if is_news(&mut told, &*error) {
                        tracing::warn!(code = "MEM-0102", %error, "the journal cannot be taken over yet");
                    }
                    self.wait_or_leave(since);
                }
                Err(NotTaken::Fault(error)) => return Ended::Fault(error.into()),
            }
        }
        Ended::Stopped
    }

    /// Waits before the next attempt, or leaves it to others after many.
    fn wait_or_leave(&self, since: Instant) {
        if since.elapsed() < TAKE_OVER_WITHIN {
            return std::thread::sleep(PAUSE);
        }
        tracing::warn!(
            code = "MEM-0115",
            "no term could be begun for {} s; another member may try",
            TAKE_OVER_WITHIN.as_secs()
        );
        self.elector.resign_before_end(CONFIRM_PATIENCE);
    }

    /// Has the change reported, beside the writing.
    fn report(&self, won: Won) {
        let reporter = Reporter {
            node: self.node.clone(),
            elector: self.elector.clone(),
            clocks: self.clocks.clone(),
            reports: self.reports.clone(),
            postgres: self.postgres.clone(),
            stopping: self.stopping.clone(),
        };
        let builder = std::thread::Builder::new().name("report".to_owned());
        if let Err(error) = builder.spawn(move || reporter.run(&won)) {
            tracing::error!(code = "MEM-0110", %error, "the change of the writer is not reported");
        }
    }

    /// Whether this node's clock lets it begin a term; leaves it to others if not, or if that cannot be known for long.
    fn has_the_time(&self, revision: TermRevision, since: Instant) -> bool {
        let refusal = self
            .clocks
            .begin_term(|| self.leads(revision) && !self.is_stopping());
        match refusal {
            Ok(()) => true,
            Err(Refusal::Ahead) => {
                self.elector.resign_before_end(CONFIRM_PATIENCE);
                false
            }
            Err(Refusal::Unknown) => {
                tracing::warn!(
                    code = "MEM-0109",
                    "no clock can be read to hold this node's against; it is tried again"
                );
                self.wait_or_leave(since);
                false
            }
        }
    }

    /// Whether this node could write, of its own disk and index; leaves it to others if not.
    fn has_the_room(&self) -> bool {
        let has_room = self.node.can_write();
        if !has_room {
            tracing::warn!(
                code = "MEM-0116",
                "this node's disk is full or its index is behind: another member may write"
            );
            self.elector.resign_before_end(CONFIRM_PATIENCE);
        }
        has_room
    }

    /// Opens the journal and promotes the node, elected at `since`; gives up as soon as leadership is lost.
    fn take_over(&self, revision: TermRevision, since: Instant) -> Result<AbortHandle, NotTaken> {
        let (abort, done) = (AbortHandle::default(), Arc::new(AtomicBool::new(false)));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let hangs = abort.begins_for().is_some_and(|time| time >= TERM_WITHIN);
                    if hangs || !self.leads(revision) || self.is_stopping() {
                        abort.abort();
                    }
                    std::thread::sleep(LOOK);
                }
            });
            let promoted = self.open_and_promote(since, &abort, &done);
            done.store(true, Ordering::Relaxed);
            promoted
        })?;
        Ok(abort)
    }

    fn open_and_promote(
        &self,
        since: Instant,
        abort: &AbortHandle,
        done: &Arc<AtomicBool>,
    ) -> Result<(), NotTaken> {
        let mut options = self.postgres.clone();
        options.connect.hears_all_out = since.elapsed() >= HEARS_ALL_OUT_AFTER;
        let opened = PostgresJournal::open_abortable(options, self.keys.clone(), abort.clone());
        let journal = opened.map_err(|error| NotTaken::Yet(Box::new(error)))?;
        // The term begins on the session that was opened, or there is no term.
        let server = journal.server().expect("it was just opened").clone();
        // A server that lost its place unawares takes the claim, and waits for ever for a standby.
        let begins = abort.clone();
        self.spawn_primary_watch(server.clone(), abort, done, move || begins.begins_for())?;
        self.node.promote(Box::new(journal))?;
        let node = self.node.clone();
        self.spawn_primary_watch(server, abort, &self.stopped, move || node.appends_for())?;
        Ok(())
    }

    /// Until `ended`, makes what `lasts` too long at a server give up when another one is the primary: a frozen one closes nothing. It
    /// has a thread of its own, as asking frozen servers takes its time.
    fn spawn_primary_watch(
        &self,
        server: WritableServer,
        abort: &AbortHandle,
        ended: &Arc<AtomicBool>,
        lasts: impl Fn() -> Option<Duration> + Send + 'static,
    ) -> Result<(), NodeError> {
        let (abort, ended, mut connect) = (abort.clone(), ended.clone(), self.postgres.connect.clone());
        let watch = move || {
            while !ended.load(Ordering::Relaxed) {
                std::thread::sleep(LOOK_AT_PRIMARY);
                let Some(time) = lasts().filter(|time| *time >= HANGS_AFTER) else {
                    continue;
                };
                connect.hears_all_out = time >= HEARS_ALL_OUT_AFTER;
                match writable_server(&connect) {
                    Ok(_) if ended.load(Ordering::Relaxed) => {}
                    Ok(other) if other.replaces(&server) => {
                        tracing::warn!(
                            code = "MEM-0104",
                            server = server.name,
                            other = other.name,
                            "what was asked hangs at a server that is not the primary any more"
                        );
                        return abort.abort();
                    }
                    Ok(_) => {}
                    Err(error) => tracing::debug!(%error, "a server hangs, and no primary is found"),
                }
            }
        };
        let builder = std::thread::Builder::new().name("primary".to_owned());
        builder.spawn(watch).map(drop).map_err(NodeError::Thread)
    }

    /// Terms could begin in the journal in another order than in etcd: a node whose key had gone without its knowledge would then
    /// write after one that was elected later. So nothing is answered before a majority has said that the key still stands.
    fn is_still_elected(&self, revision: TermRevision) -> bool {
        while self.leads(revision) && !self.is_stopping() {
            match self.elector.confirm_leadership_within(CONFIRM_PATIENCE) {
                Ok(confirmed) => return confirmed == revision,
                Err(ElectionError::Unreachable { .. }) => std::thread::sleep(PAUSE),
                Err(_) => return false,
            }
        }
        false
    }

    /// Until the node has answered everything, not only is to: an append that hangs then would hold it for ever.
    fn watch(&self, revision: TermRevision, abort: &AbortHandle) -> Ended {
        let mut looked = Instant::now();
        let mut stops_since = None;
        while !self.stopped.load(Ordering::Relaxed) {
            if self.is_stopping() && stops_since.get_or_insert_with(Instant::now).elapsed() > STOP_WITHIN {
                abort.abort();
            }
            if looked.elapsed() > LOOK_AT_CLOCKS {
                looked = Instant::now();
                if self.clocks.outran().is_some() {
                    abort.abort();
                    self.elector.resign_before_end(CONFIRM_PATIENCE);
                    return Ended::Lost;
                }
            }
            if !self.leads(revision) {
                // An append that is under way gives up: its outcome is the next writer's to settle.
                abort.abort();
                return if self.is_stopping() {
                    Ended::Stopped
                } else {
                    Ended::Lost
                };
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
