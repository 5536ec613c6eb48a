//! The sentinel: sees that the PostgreSQL primary is dead long before Patroni's lease runs out, and ends that lease's term.
//!
//! Owns: looking at the primary, telling the other nodes what was seen, and the two things that are ever done: removing
//! Patroni's leader key in one transaction, and stopping a PostgreSQL on this host that takes no sessions. Must not: choose
//! a primary (Patroni does), end a lease (the member key hangs on it), or be needed: without it Patroni heals by itself.

mod apart;
mod decide;
mod options;
mod probe;
mod scene;
mod stop;
mod window;

pub use decide::{Decision, Heard, Scene, Why, decide};
pub use options::SentinelOptions;
pub use window::{Condition, Look, Row, Term, Window};

use crate::{SentinelError, ServerName};
use apart::Apart;
use etcd::proto::{KeyValue, TxnRequest};
use etcd::{Client, LeaseId, compare_absent, compare_modified, compare_value, delete, one, put, under};
use scene::{Reading, SentinelPaths, Statement};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::time::timeout;

/// How long etcd keeps what a node states; longer than etcd's shortest lease.
const STATEMENT_S: u32 = 3;
/// How long a lease is used before another is taken: nothing that is stated may hang on one that runs out.
const LEASE_USED: Duration = Duration::from_secs(1);
/// How long no second key is removed.
const DAMPING_S: u32 = 30;

/// What the sentinel has done and sees.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// How often this node removed the leader key.
    pub keys_removed: u64,
    /// How often this node stopped its PostgreSQL.
    pub servers_stopped: u64,
    /// How often this node moved etcd's leadership off the primary's host.
    pub leaders_moved: u64,
    /// What it sees that is wrong, and for how long.
    pub sees: Option<(Condition, Duration)>,
    /// Why it does nothing; none before the first round, and where it did something.
    pub why: Option<Why>,
    /// Why etcd could not be read in the last round.
    pub trouble: Option<String>,
}

/// A running sentinel; it ends when this is dropped.
#[derive(Debug)]
pub struct Sentinel {
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
    report: Arc<Mutex<Report>>,
}

impl Sentinel {
    /// Starts it on a thread with an event loop of its own, so that a busy server does not make it late. `acknowledged`
    /// tells when the last append was acknowledged, as far as this node knows; a follower may say when it last heard of a
    /// new block.
    ///
    /// # Errors
    /// An option cannot be used, or the system gives no thread.
    pub fn start(
        options: SentinelOptions,
        acknowledged: impl Fn() -> Option<Instant> + Send + 'static,
    ) -> Result<Self, SentinelError> {
        options.check()?;
        let failed = |action| move |source| SentinelError::System { action, source };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(failed("start an event loop"))?;
        let report = Arc::new(Mutex::new(Report::default()));
        let mut watcher = {
            let _within = runtime.enter();
            Watcher::new(options, Box::new(acknowledged), report.clone())?
        };
        let (stop, mut stopped) = watch::channel(false);
        let thread = std::thread::Builder::new()
            .name("sentinel".into())
            .spawn(move || {
                runtime.block_on(async move {
                    tokio::select! {
                        never = watcher.run() => match never {},
                        _ = stopped.changed() => {}
                    }
                });
            });
        Ok(Self {
            stop,
            thread: Some(thread.map_err(failed("start a thread"))?),
            report,
        })
    }

    /// What it has done and sees.
    ///
    /// # Panics
    /// When its thread panicked.
    #[must_use]
    pub fn report(&self) -> Report {
        self.report.lock().expect("the sentinel lives").clone()
    }
}

impl Drop for Sentinel {
    fn drop(&mut self) {
        let _ = self.stop.send(true);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Watcher {
    options: SentinelOptions,
    acknowledged: Box<dyn Fn() -> Option<Instant> + Send>,
    report: Arc<Mutex<Report>>,
    etcd: Client,
    paths: SentinelPaths,
    window: Window,
    reading: Option<Reading>,
    /// By node: the revision of its statement, and what that proves.
    heard: BTreeMap<ServerName, (i64, Heard)>,
    lease: Option<(LeaseId, Instant)>,
    has_stated: bool,
    vetoed: Option<Instant>,
    apart: Apart,
}

impl Watcher {
    fn new(
        options: SentinelOptions,
        acknowledged: Box<dyn Fn() -> Option<Instant> + Send>,
        report: Arc<Mutex<Report>>,
    ) -> Result<Self, SentinelError> {
        Ok(Self {
            etcd: Client::new(&options.etcd, options.etcd_within())?,
            paths: SentinelPaths::new(&options.scope),
            window: Window::default(),
            reading: None,
            heard: BTreeMap::new(),
            lease: None,
            has_stated: false,
            vetoed: None,
            apart: Apart::default(),
            options,
            acknowledged,
            report,
        })
    }

    async fn run(&mut self) -> std::convert::Infallible {
        loop {
            let began = Instant::now();
            let done = self.round().await;
            let trouble = done.err().map(|error| error.to_string());
            self.tell(trouble);
            let rest = self.options.every().saturating_sub(began.elapsed());
            tokio::time::sleep(rest).await;
        }
    }

    fn tell(&self, trouble: Option<String>) {
        let mut report = self.report.lock().expect("nobody panics");
        if trouble.is_some() && report.trouble.is_none() {
            tracing::warn!(trouble, "the sentinel cannot do its round");
        }
        report.trouble = trouble;
        report.sees = self.window.row().map(|row| (row.condition, row.covers()));
    }

    /// Looks at who led when etcd was last read, says so, then reads what the others say: the term is always known before
    /// the look, and the statements are as young as they can be.
    async fn round(&mut self) -> Result<(), SentinelError> {
        let before = self.reading.as_ref().map(|it| it.began);
        match self.look().await {
            Some(look) => self.window.note(look, self.options.gap()),
            None => self.window = Window::default(),
        }
        self.state().await?;
        let reading = self.read().await?;
        self.hear(&reading, before);
        self.reading = Some(reading);
        self.act().await?;
        self.keep_apart().await;
        Ok(())
    }

    /// Moves etcd's leader off this host if the primary is here and well.
    async fn keep_apart(&mut self) {
        let Some(member) = &self.options.local_etcd else {
            return;
        };
        let scene = self.reading.as_ref().map(|reading| &reading.scene);
        let is_here = scene.is_some_and(|scene| {
            let leads = scene
                .term
                .as_ref()
                .is_some_and(|term| term.leader == self.options.name);
            leads && !scene.off && self.window.row().is_none()
        });
        if !self.apart.is_due(is_here, Instant::now()) {
            return;
        }
        match self.etcd.move_leader_from(member).await {
            Ok(true) => {
                tracing::info!("etcd's leadership was moved off the primary's host");
                self.report.lock().expect("nobody panics").leaders_moved += 1;
            }
            Ok(false) => {}
            Err(error) => tracing::debug!(%error, "whether etcd's leader is here is not known"),
        }
    }

    async fn look(&self) -> Option<Look> {
        let reading = self.reading.as_ref()?;
        let term = reading.scene.term.clone()?;
        let member = reading.members.get(&term.leader)?;
        let within = self.options.look_within();
        let began = Instant::now();
        let (answered, reported) = tokio::join!(
            probe::postgres_answers(&member.postgres, within),
            probe::reports_primary(&member.patroni, within)
        );
        Some(Look {
            term,
            began,
            ended: Instant::now(),
            answered,
            reported,
            acknowledged: (self.acknowledged)(),
        })
    }

    async fn read(&self) -> Result<Reading, SentinelError> {
        let began = Instant::now();
        let patroni = self
            .etcd
            .range("read Patroni's keys", &under(&self.paths.patroni.all))
            .await?;
        let own = self
            .etcd
            .range("read the sentinel's keys", &under(&self.paths.all))
            .await?;
        let mut reading = Reading::new(&self.paths, began, patroni, own)?;
        // Who was known and has lost his member key is looked at all the same.
        if let Some(last) = &self.reading {
            for (name, member) in &last.members {
                reading
                    .members
                    .entry(name.clone())
                    .or_insert_with(|| member.clone());
            }
        }
        Ok(reading)
    }

    /// Turns the others' statements into our clock, to their disadvantage: a statement that was not there in the reading
    /// before was made after that one began, and says how long its row was.
    fn hear(&mut self, reading: &Reading, before: Option<Instant>) {
        let now = Instant::now();
        let Some(before) = before else { return };
        self.heard.retain(|name, _| reading.statements.contains_key(name));
        for (name, (revision, statement)) in &reading.statements {
            if self.heard.get(name).is_some_and(|(known, _)| known == revision) {
                continue;
            }
            let since = now
                .checked_sub(Duration::from_millis(statement.for_ms))
                .unwrap_or(now);
            let row = Row {
                term: statement.term(),
                condition: statement.condition,
                since,
                until: before.max(since),
                // It does not say; it has enough of its own to judge by.
                looks: 0,
            };
            self.heard.insert(name.clone(), (*revision, Heard { row }));
        }
        let newest = self.options.window() + self.options.gap();
        self.heard
            .retain(|_, (_, heard)| now.saturating_duration_since(heard.row.until) < newest);
    }

    /// Tells the others what this node sees, takes it back when it is over, and vetoes what it knows to be wrong.
    async fn state(&mut self) -> Result<(), SentinelError> {
        let path = self.paths.statement(&self.options.name);
        let row = self
            .window
            .row()
            .filter(|row| row.covers() >= self.options.state_after());
        match row.map(Statement::of) {
            Some(statement) => {
                let value = serde_json::to_vec(&statement).expect("words and numbers");
                self.has_stated = true;
                let lease = self.lease().await?;
                self.change("state what is seen", vec![put(&path, value, Some(lease))])
                    .await?;
            }
            None if self.has_stated => {
                self.change("take back what was seen", vec![delete(&path)])
                    .await?;
                self.has_stated = false;
            }
            None => {}
        }
        let is_due = self.vetoed.is_none_or(|at| at.elapsed() >= LEASE_USED);
        if is_due && self.knows_better() {
            let lease = self.lease().await?;
            let veto = put(
                &self.paths.veto,
                self.options.name.to_string().into(),
                Some(lease),
            );
            self.change("veto", vec![veto]).await?;
            self.vetoed = Some(Instant::now());
        }
        Ok(())
    }

    /// Whether an append was acknowledged while another node saw no life. One from before says nothing: the last before a death
    /// is as young as that.
    fn knows_better(&self) -> bool {
        let Some(acknowledged) = (self.acknowledged)() else {
            return false;
        };
        let mut others = self.heard.iter().filter(|(name, _)| **name != self.options.name);
        acknowledged.elapsed() < self.options.window()
            && others.any(|(_, (_, heard))| acknowledged >= heard.row.since)
    }

    async fn change(
        &self,
        action: &'static str,
        success: Vec<etcd::proto::RequestOp>,
    ) -> Result<(), SentinelError> {
        let request = TxnRequest {
            compare: Vec::new(),
            success,
        };
        self.etcd.txn(action, request).await?;
        Ok(())
    }

    async fn lease(&mut self) -> Result<LeaseId, SentinelError> {
        if let Some((lease, since)) = self.lease
            && since.elapsed() < LEASE_USED
        {
            return Ok(lease);
        }
        let since = Instant::now();
        let (lease, _) = self.etcd.grant(STATEMENT_S).await?;
        self.lease = Some((lease, since));
        Ok(lease)
    }

    fn decide(&self, reading: &Reading, voters: Option<&BTreeSet<ServerName>>) -> Decision {
        let others: BTreeMap<_, _> = self
            .heard
            .iter()
            .map(|(name, (_, heard))| (name.clone(), heard.clone()))
            .collect();
        let SentinelOptions { name, nodes, .. } = &self.options;
        decide(
            name,
            nodes,
            self.window.row(),
            &others,
            &reading.scene,
            voters,
            self.options.window(),
        )
    }

    async fn act(&mut self) -> Result<(), SentinelError> {
        let Some(reading) = &self.reading else {
            return Ok(());
        };
        let mut decision = self.decide(reading, None);
        if decision == Decision::AskVoters {
            let voters = self.running_voters(reading).await;
            decision = self.decide(reading, Some(&voters));
        }
        let why = match decision {
            Decision::Leave(why) => Some(why),
            _ => None,
        };
        self.report.lock().expect("nobody panics").why = why;
        match decision {
            Decision::RemoveKey => {
                let removed = self.remove_key(reading).await?;
                self.window = Window::default();
                self.report.lock().expect("nobody panics").keys_removed += u64::from(removed);
            }
            Decision::StopPostgres => self.stop_postgres().await?,
            Decision::Leave(_) | Decision::AskVoters => {}
        }
        Ok(())
    }

    async fn running_voters(&self, reading: &Reading) -> BTreeSet<ServerName> {
        let mut running = BTreeSet::new();
        let within = self.options.look_within();
        let electorate = reading.scene.electorate.iter();
        for name in electorate.flat_map(|it| &it.voters) {
            if let Some(member) = reading.members.get(name)
                && probe::reports_standby(&member.patroni, within).await
            {
                running.insert(name.clone());
            }
        }
        running
    }

    /// One transaction: whatever moved since it was read, nothing is removed. Two sentinels remove one key.
    async fn remove_key(&self, reading: &Reading) -> Result<bool, SentinelError> {
        let (damping, _) = self.etcd.grant(DAMPING_S).await?;
        let patroni = &self.paths.patroni;
        let revision = |row: &Option<KeyValue>| row.as_ref().map_or(0, |row| row.mod_revision);
        let leader = reading.leader.clone().unwrap_or_default();
        let request = TxnRequest {
            compare: vec![
                compare_value(&patroni.leader, &leader.value),
                compare_modified(&patroni.leader, leader.mod_revision),
                compare_modified(&patroni.sync, revision(&reading.sync)),
                compare_modified(&patroni.config, revision(&reading.config)),
                compare_absent(&self.paths.failover),
                compare_absent(&self.paths.damping),
                compare_absent(&self.paths.veto),
                compare_absent(&self.paths.off),
            ],
            success: vec![
                delete(&patroni.leader),
                put(
                    &self.paths.damping,
                    self.options.name.to_string().into(),
                    Some(damping),
                ),
            ],
        };
        let mut removed = self
            .etcd
            .txn("remove Patroni's leader key", request)
            .await?
            .succeeded;
        if !removed {
            // An answer may have been lost, and the question repeated by the client: what hangs on our lease we put there.
            let key = one(&self.paths.damping);
            let answer = self.etcd.range("read the damping key", &key).await?;
            removed = answer.kvs.iter().any(|row| row.lease == damping.0);
        }
        let leader = String::from_utf8_lossy(&leader.value).into_owned();
        if removed {
            tracing::warn!(leader, "the primary is dead: its key in etcd was removed");
        } else {
            // Somebody else did, or something moved. The lease with nothing on it runs out if this fails.
            let _ = timeout(self.options.etcd_within(), self.etcd.revoke(damping)).await;
        }
        Ok(removed)
    }

    async fn stop_postgres(&mut self) -> Result<(), SentinelError> {
        self.window = Window::default();
        let Some(data) = &self.options.local_postgres else {
            tracing::error!("this host's PostgreSQL takes no sessions and it is not known where it is");
            return Ok(());
        };
        if stop::stop_at_once(data).await? {
            tracing::warn!("this host's PostgreSQL took no sessions and was stopped");
            self.report.lock().expect("nobody panics").servers_stopped += 1;
        }
        Ok(())
    }
}
