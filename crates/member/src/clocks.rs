//! The members' clocks, as this one knows them. Owns: asking them, and whether a term may begin or go on by what they say.
//! The rule is `node::judge`.
//!
//! Every member asks every other one all the time, so that who is elected knows how its clock stands before its term begins,
//! also when nobody writes. What was heard is kept by our clock that never jumps, so it stays true when they fall silent.

use crate::MemberError;
use crate::asking::{connect_lazily, event_loop};
use crate::reports::Reports;
use election::{BootTime, Elector, Present};
use futures::future::join_all;
use journal_postgres::{ConnectOptions, look_at_primary};
use ledger::{Height, TimestampNs};
use node::{AHEAD_MAX, Clock, ClockRange, Ground, Node, SystemClock, Verdict, behind_by, judge};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tonic::transport::Channel;
use wire::members::members_client::MembersClient;
use wire::members::{ClockReply, ClockRequest, ReportsRequest};

/// How often the others are asked.
const ASK: Duration = Duration::from_millis(500);
/// Times that they are asked before etcd is asked again who is there.
const ROUNDS_A_LIST: u64 = 4;
/// How long one answer may take. Slower ones say too little.
const TIMEOUT: Duration = Duration::from_secs(1);
/// How long what was heard counts: clocks run apart.
const COUNTS_FOR: Duration = Duration::from_mins(10);
/// For how long at a time a member stays out of the election whose clock disagrees.
const STANDS_BACK: Duration = Duration::from_secs(2);
/// How long one that was elected waits for a majority's clocks.
const PATIENCE: Duration = Duration::from_secs(2);
const LOOK: Duration = Duration::from_millis(20);

/// See the module.
pub(crate) struct Clocks {
    pub(crate) name: String,
    pub(crate) node: Node,
    pub(crate) elector: Arc<Elector>,
    pub(crate) postgres: ConnectOptions,
    pub(crate) stopping: Arc<AtomicBool>,
    pub(crate) reports: Arc<Reports>,
    heard: Mutex<Heard>,
    /// What was told, so that it is told once.
    told: Mutex<Option<Told>>,
}

/// A clock as it was read: no less and no more than that at that moment of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Reading {
    least: u64,
    most: u64,
    at: BootTime,
}

#[derive(Default)]
struct Heard {
    /// All members that there are, as far as this one has heard of them.
    names: BTreeSet<String>,
    clocks: BTreeMap<String, Reading>,
    /// How far each has come.
    heights: BTreeMap<String, (Height, BootTime)>,
    ledger: Option<Reading>,
    /// Who wrote last.
    writer: Option<String>,
    /// The server of PostgreSQL that was written at last.
    primary: Option<String>,
    /// Which reports each had when it was asked for them.
    reports: BTreeMap<String, u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Ahead,
    Behind,
}

/// Why a term does not begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The clock is ahead; it was said of what.
    Ahead,
    /// Nobody's clock can be read, and the ledger's time is not known.
    Unknown,
}

impl Reading {
    /// Of an answer to a question that was put at `asked`; `says` was read in between.
    fn new(says: u64, asked: BootTime, answered: BootTime) -> Self {
        Self {
            least: says,
            most: says.saturating_add(answered.0.saturating_sub(asked.0)),
            at: answered,
        }
    }

    fn age(&self, now: BootTime) -> u64 {
        now.0.saturating_sub(self.at.0)
    }

    /// What it says now, less `time`.
    fn less(&self, time: u64, now: BootTime) -> ClockRange {
        let age = i128::from(self.age(now));
        ClockRange {
            least: i128::from(self.least) + age - i128::from(time),
            most: i128::from(self.most) + age - i128::from(time),
        }
    }
}

impl Clocks {
    /// Of a member and those `expected` beside it, by name; others count once they were seen.
    pub(crate) fn new(
        name: &str,
        expected: &BTreeSet<String>,
        node: Node,
        elector: Arc<Elector>,
        postgres: ConnectOptions,
        stopping: Arc<AtomicBool>,
        reports: Arc<Reports>,
    ) -> Self {
        let mut heard = Heard::default();
        heard.names.extend(expected.iter().cloned());
        heard.names.insert(name.to_owned());
        Self {
            name: name.to_owned(),
            node,
            elector,
            postgres,
            stopping,
            reports,
            heard: Mutex::new(heard),
            told: Mutex::new(None),
        }
    }

    /// Asks until the process stops.
    ///
    /// # Errors
    /// [`MemberError::Thread`] without an event loop.
    pub(crate) fn run(&self) -> Result<(), MemberError> {
        event_loop()?.block_on(async {
            let (mut present, mut channels) = (Vec::new(), BTreeMap::new());
            for round in 0_u64.. {
                if self.stopping.load(Ordering::Relaxed) {
                    break;
                }
                let is_time = round % ROUNDS_A_LIST == 0 || self.lock().clocks.is_empty();
                // Without etcd those that were there last are asked.
                if is_time
                    && let Ok(Ok(members)) = tokio::time::timeout(TIMEOUT, self.elector.members()).await
                {
                    present = members;
                }
                let others = present
                    .iter()
                    .filter(|present| present.member.name.as_str() != self.name);
                join_all(others.map(|other| self.ask(other, channel(&mut channels, other)))).await;
                self.look_after_own();
                tokio::time::sleep(ASK).await;
            }
        });
        Ok(())
    }

    async fn ask(&self, other: &Present, channel: Option<Channel>) {
        let name = other.member.name.as_str();
        self.lock().names.insert(name.to_owned());
        let Some(channel) = channel else {
            return;
        };
        let asked = BootTime::now();
        let mut client = MembersClient::new(channel);
        match tokio::time::timeout(TIMEOUT, client.clock(ClockRequest {})).await {
            Ok(Ok(reply)) => {
                let reply = reply.into_inner();
                self.hear(name, &reply, asked, BootTime::now());
                if self.lock().reports.get(name) != Some(&reply.reports) {
                    self.copy_reports(name, &mut client, reply.reports).await;
                }
            }
            Ok(Err(status)) => tracing::debug!(name, %status, "a member does not tell its clock"),
            Err(_) => tracing::debug!(name, "a member does not tell its clock in time"),
        }
    }

    /// Whoever writes next is to have them, too.
    async fn copy_reports(&self, name: &str, client: &mut MembersClient<Channel>, version: u64) {
        match tokio::time::timeout(TIMEOUT, client.reports(ReportsRequest {})).await {
            Ok(Ok(reply)) => {
                let reply = reply.into_inner();
                if reply.name == name && self.reports.merge(name, &reply.reports) {
                    self.lock().reports.insert(name.to_owned(), version);
                }
            }
            Ok(Err(status)) => tracing::debug!(name, %status, "a member does not give its reports"),
            Err(_) => tracing::debug!(name, "a member does not give its reports in time"),
        }
    }

    fn hear(&self, name: &str, reply: &ClockReply, asked: BootTime, answered: BootTime) {
        if reply.name != name {
            return;
        }
        let mut heard = self.lock();
        let reading = Reading::new(reply.clock_ns, asked, answered);
        heard.clocks.insert(name.to_owned(), reading);
        let height = (Height(reply.height), answered);
        heard.heights.insert(name.to_owned(), height);
        if reply.ledger_ns > 0 {
            heard.ledger = Some(Reading::new(reply.ledger_ns, asked, answered));
            heard.writer = Some(name.to_owned());
            if !reply.primary.is_empty() {
                heard.primary = Some(reply.primary.clone());
            }
        }
    }

    /// What is known, less the time that is judged. While this node writes, the ledger's time is its own.
    fn known(&self, time: TimestampNs, witness: Option<Reading>) -> node::Clocks {
        let (now, heard) = (BootTime::now(), self.lock());
        let counts = |reading: &&Reading| u128::from(reading.age(now)) <= COUNTS_FOR.as_nanos();
        let own = i128::from(SystemClock::wall().0) - i128::from(time.0);
        let mut known = vec![ClockRange {
            least: own,
            most: own,
        }];
        let others = heard.clocks.values().filter(counts);
        known.extend(others.map(|reading| reading.less(time.0, now)));
        node::Clocks {
            members: heard.names.len(),
            known,
            ledger: heard.ledger.map(|reading| reading.less(time.0, now)),
            witness: witness.map(|reading| reading.less(time.0, now)),
        }
    }

    /// Tells of a clock of our own that disagrees, and keeps out of the election with one that is ahead.
    fn look_after_own(&self) {
        if self.elector.is_leading_now() {
            return;
        }
        let clocks = self.known(SystemClock::wall(), None);
        match judge(&clocks) {
            Verdict::Ahead { ground, by } => {
                self.elector.stand_back(STANDS_BACK);
                self.tell_ahead(ground, by);
            }
            Verdict::Agrees {
                ground: Ground::Majority,
                ..
            } => self.tell_behind(behind_by(&clocks)),
            Verdict::Agrees { .. } | Verdict::Unknown => {}
        }
    }

    /// Whether this node's clock lets it begin a term; then its time is set for that. Waits for a majority's clocks, while
    /// `leads`; blocking.
    ///
    /// # Errors
    /// [`Refusal`]: leadership is to be given up.
    pub(crate) fn begin_term(&self, leads: impl Fn() -> bool) -> Result<(), Refusal> {
        let (began, mut witness) = (BootTime::now(), None);
        loop {
            let wall = SystemClock::wall();
            let verdict = judge(&self.known(wall, witness));
            let is_patient = BootTime::now().0 - began.0 < PATIENCE.as_nanos() as u64;
            let waits = is_patient && leads() && self.lock().names.len() > 1;
            match verdict {
                Verdict::Ahead { ground, by } => {
                    self.tell_ahead(ground, by);
                    self.elector.stand_back(STANDS_BACK);
                    return Err(Refusal::Ahead);
                }
                Verdict::Agrees { ground, earlier_ns } if ground == Ground::Majority || !waits => {
                    self.set_time(wall, earlier_ns, ground);
                    return Ok(());
                }
                Verdict::Unknown if !waits && witness.is_none() => witness = Some(self.witness()?),
                Verdict::Unknown if !waits => return Err(Refusal::Unknown),
                Verdict::Agrees { .. } | Verdict::Unknown => std::thread::sleep(LOOK),
            }
        }
    }

    fn set_time(&self, wall: TimestampNs, earlier_ns: u64, ground: Ground) {
        if earlier_ns > 0 {
            tracing::error!(
                code = "MEM-0107",
                behind_ms = earlier_ns / 1_000_000,
                ?ground,
                "the ledger's time is behind this node's clock; it goes on from where it is and catches up slowly"
            );
        }
        let latest = (earlier_ns > 0).then(|| TimestampNs(wall.0 - earlier_ns));
        self.node.clock().begin(latest);
    }

    /// PostgreSQL's clock.
    fn witness(&self) -> Result<Reading, Refusal> {
        let asked = BootTime::now();
        let view = look_at_primary(&self.postgres).map_err(|error| {
            tracing::debug!(%error, "the primary's clock cannot be read");
            Refusal::Unknown
        })?;
        Ok(Reading::new(view.clock.0, asked, BootTime::now()))
    }

    /// Whether the time with which this node stamps has left a majority's clocks behind: it is to step down.
    pub(crate) fn outran(&self) -> Option<Duration> {
        let clocks = self.known(self.node.clock().now(), None);
        match judge(&clocks) {
            Verdict::Ahead {
                ground: Ground::Majority,
                by,
            } => {
                tracing::error!(
                    code = "MEM-0106",
                    ahead_ms = by.as_millis() as u64,
                    "the ledger's time has left a majority's clocks behind: this node writes no more"
                );
                Some(by)
            }
            _ => {
                self.tell_behind(behind_by(&clocks));
                None
            }
        }
    }

    /// How far the other members have come, and how long ago each said so.
    pub(crate) fn heights(&self) -> Vec<(String, Height, Duration)> {
        let now = BootTime::now();
        let age = |at: BootTime| Duration::from_nanos(now.0.saturating_sub(at.0));
        let heard = self.lock();
        let heights = heard.heights.iter();
        heights
            .map(|(name, (height, at))| (name.clone(), *height, age(*at)))
            .collect()
    }

    /// All members that were expected or seen, this one included.
    pub(crate) fn names(&self) -> BTreeSet<String> {
        self.lock().names.clone()
    }

    /// Who wrote last, and at which server of PostgreSQL, as far as this member has heard.
    pub(crate) fn former(&self) -> (Option<String>, Option<String>) {
        let heard = self.lock();
        (heard.writer.clone(), heard.primary.clone())
    }

    /// This node writes, at that server.
    pub(crate) fn writes_at(&self, primary: &str) {
        let mut heard = self.lock();
        heard.writer = Some(self.name.clone());
        heard.primary = Some(primary.to_owned());
    }

    fn tell_ahead(&self, ground: Ground, by: Duration) {
        let mut told = self.told.lock().expect("no thread panics with it");
        if *told != Some(Told::Ahead) {
            tracing::error!(
                code = "MEM-0105",
                ahead_ms = by.as_millis() as u64,
                ?ground,
                "this node's clock is ahead: it does not become the writer until it agrees"
            );
        }
        *told = Some(Told::Ahead);
    }

    fn tell_behind(&self, by: Option<Duration>) {
        let mut told = self.told.lock().expect("no thread panics with it");
        match by {
            Some(by) if *told != Some(Told::Behind) => {
                let behind_ms = by.as_millis() as u64;
                tracing::warn!(
                    code = "MEM-0108",
                    behind_ms,
                    "this node's clock is behind a majority's"
                );
                *told = Some(Told::Behind);
            }
            None if told.is_some() => {
                let within_ms = AHEAD_MAX.as_millis() as u64;
                tracing::info!(within_ms, "this node's clock agrees with a majority's again");
                *told = None;
            }
            Some(_) | None => {}
        }
    }

    fn lock(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().expect("no thread panics with what was heard")
    }
}

/// The connection to a member; made when there is none.
fn channel(channels: &mut BTreeMap<String, Channel>, other: &Present) -> Option<Channel> {
    let address = &other.member.grpc_address;
    if !channels.contains_key(address) {
        channels.insert(address.clone(), connect_lazily(address, TIMEOUT)?);
    }
    channels.get(address).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_known_as_well_as_its_answer_was_quick_and_ages_with_ours() {
        let reading = Reading::new(1_000_000, BootTime(500), BootTime(900));
        assert_eq!(
            reading.less(1_000_000, BootTime(900)),
            ClockRange { least: 0, most: 400 }
        );
        assert_eq!(
            reading.less(1_000_100, BootTime(2_900)),
            ClockRange {
                least: 1_900,
                most: 2_300
            }
        );
    }
}
