//! The fence: run by Patroni's `pre_promote` on the candidate, which holds the leader key and is not promoted yet.
//!
//! Owns: looking at every server that could have acknowledged something or still could, pointing the standbys to the
//! candidate and the candidate to who is ahead of it, and letting the promotion through when nothing acknowledged can be lost by it. Must not: promote, touch a
//! key of Patroni's, or pass because something could not be seen.

mod judge;
mod options;
mod server;

pub use judge::{Position, Reason, Sight, Verdict, judge};
pub use options::{FenceOptions, FenceServer};

use crate::keys::{Paths, Snapshot, parse};
use crate::{Electorate, SentinelError, ServerName};
use etcd::proto::TxnRequest;
use etcd::{Client, compare_modified, put, under};
use serde::{Deserialize, Serialize};
use server::{Server, timeline};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Between two looks.
const POLL: Duration = Duration::from_millis(10);
/// How long one endpoint of etcd may take.
const ETCD_WITHIN: Duration = Duration::from_millis(700);
/// How old the last proof of the leader key may be when a standby is pointed elsewhere.
const PROOF_WITHIN: Duration = Duration::from_millis(500);
/// How long a standby is given to follow before it is pointed again.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// What the fence found when it let a promotion through.
#[derive(Clone, Debug)]
pub struct Passed {
    /// How long it took.
    pub took: Duration,
    /// The standbys that it had to point to the candidate itself.
    pub pointed: BTreeSet<ServerName>,
}

/// Who was let through under which electorate: it may lead, and acknowledge, before it writes its own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    /// `mod_revision` of `/sync`.
    sync_revision: i64,
    /// In order.
    passed: Vec<ServerName>,
}

/// One reading of etcd, with what is judged by it.
struct Ground {
    leader_revision: i64,
    sync_revision: i64,
    record_revision: i64,
    electorate: Electorate,
    /// All who may have acknowledged under it.
    primaries: BTreeSet<ServerName>,
    passed: Vec<ServerName>,
}

/// What the tasks that look share.
#[derive(Default)]
struct Shared {
    sights: BTreeMap<ServerName, Sight>,
    own: Option<Position>,
    /// When etcd last said that the leader key is ours: before the question was asked.
    proof: Option<Instant>,
    members: BTreeSet<ServerName>,
    pointed: BTreeSet<ServerName>,
    /// Who has what the candidate lacks.
    ahead: Option<ServerName>,
}

/// Waits until the promotion may go on; `tell` hears what it waits for.
///
/// # Errors
/// The promotion must not go on: somebody is ahead, the leader key is not ours any more, or it was waited long enough.
pub async fn run(options: &FenceOptions, tell: &mut dyn FnMut(&str)) -> Result<Passed, SentinelError> {
    let path = &options.password_file;
    let password = std::fs::read_to_string(path).map_err(|source| SentinelError::File {
        path: path.clone(),
        source,
    })?;
    let shared = Mutex::new(Shared::default());
    let looking = options.servers.iter();
    let looking = looking.map(|to| watch(options, Server::new(options, password.trim(), to), to, &shared));
    let fence = Fence {
        options,
        etcd: Client::new(&options.etcd, ETCD_WITHIN)?,
        paths: Paths::new(&options.scope),
        record: format!("/shanraq/{}/fence", options.scope),
        shared: &shared,
    };
    tokio::select! {
        done = fence.hold(tell) => done,
        never = all(looking) => match never {},
    }
}

/// Drives all tasks on this one.
async fn all(
    tasks: impl Iterator<Item = impl Future<Output = std::convert::Infallible>>,
) -> std::convert::Infallible {
    let mut tasks: Vec<_> = tasks.map(Box::pin).collect();
    std::future::poll_fn(move |context| {
        for task in &mut tasks {
            if let std::task::Poll::Ready(never) = task.as_mut().poll(context) {
                match never {}
            }
        }
        std::task::Poll::Pending
    })
    .await
}

/// Looks at one server again and again. Points a standby to the candidate when Patroni does not, and the candidate to
/// who is ahead of it.
async fn watch(
    options: &FenceOptions,
    mut server: Server<'_>,
    to: &FenceServer,
    shared: &Mutex<Shared>,
) -> std::convert::Infallible {
    let mut since: Option<Instant> = None;
    let mut wait = options.patience();
    loop {
        let sight = server.look().await;
        let source = shared.lock().expect("nobody panics").note(options, to, sight);
        match source {
            None => since = None,
            Some(source) if since.get_or_insert_with(Instant::now).elapsed() >= wait => {
                if server.stream_from(source).await.is_ok() {
                    shared
                        .lock()
                        .expect("nobody panics")
                        .pointed
                        .insert(to.name.clone());
                }
                since = None;
                wait = AGAIN_AFTER;
            }
            Some(_) => {}
        }
        tokio::time::sleep(POLL).await;
    }
}

impl Shared {
    /// Takes a look in; tells from whom the server should stream instead, if from another. Nothing is changed without a
    /// fresh proof that the leader key is ours.
    fn note<'a>(
        &mut self,
        options: &'a FenceOptions,
        to: &FenceServer,
        sight: Sight,
    ) -> Option<&'a FenceServer> {
        let is_own = to.name == options.name;
        let mut source = None;
        if let Sight::Standby {
            position,
            follows_candidate,
        } = &sight
        {
            if is_own {
                self.own = *position;
                let ahead = self.ahead.as_ref();
                source = options.servers.iter().find(|server| Some(&server.name) == ahead);
            } else if !follows_candidate && self.members.contains(&to.name) {
                source = Some(options.own());
            }
        }
        self.sights.insert(to.name.clone(), sight);
        let is_proved = self.proof.is_some_and(|at| at.elapsed() < PROOF_WITHIN);
        source.filter(|_| is_proved)
    }
}

struct Fence<'a> {
    options: &'a FenceOptions,
    etcd: Client,
    paths: Paths,
    record: String,
    shared: &'a Mutex<Shared>,
}

impl Fence<'_> {
    async fn hold(&self, tell: &mut dyn FnMut(&str)) -> Result<Passed, SentinelError> {
        let began = Instant::now();
        let mut leader_revision = None;
        let mut own_timeline = None;
        let mut ahead_since: Option<Instant> = None;
        let mut said = String::new();
        loop {
            let why = match self.step(&mut leader_revision, &mut own_timeline).await {
                Ok(Verdict::Pass) => {
                    let pointed = self.shared.lock().expect("nobody panics").pointed.clone();
                    let took = began.elapsed();
                    return Ok(Passed { took, pointed });
                }
                Ok(Verdict::Ahead(who)) => {
                    self.shared.lock().expect("nobody panics").ahead = Some(who.clone());
                    let since = *ahead_since.get_or_insert_with(Instant::now);
                    if since.elapsed() >= self.options.grace() {
                        return Err(SentinelError::Ahead {
                            who: who.to_string(),
                            candidate: self.options.name.to_string(),
                        });
                    }
                    format!("{who} is ahead")
                }
                Ok(Verdict::Wait(reason)) => {
                    ahead_since = None;
                    self.shared.lock().expect("nobody panics").ahead = None;
                    self.explain(&reason)
                }
                Err(error @ SentinelError::Superseded { .. }) => return Err(error),
                Err(error) => error.to_string(),
            };
            if began.elapsed() >= self.options.give_up() {
                let waited_s = began.elapsed().as_secs();
                return Err(SentinelError::GivenUp { waited_s, why });
            }
            if why != said {
                tell(&why);
                said = why;
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// One judgement; a pass is written down in etcd, where it holds only if the ground it stands on still does.
    async fn step(
        &self,
        leader_revision: &mut Option<i64>,
        own_timeline: &mut Option<u32>,
    ) -> Result<Verdict, SentinelError> {
        let ground = self.ground(*leader_revision).await?;
        *leader_revision = Some(ground.leader_revision);
        let timeline = match *own_timeline {
            Some(timeline) => timeline,
            None => *own_timeline.insert(timeline(self.options).await?),
        };
        let verdict = {
            let shared = self.shared.lock().expect("nobody panics");
            if shared.sights.get(&self.options.name) == Some(&Sight::Primary) {
                let reason = "it takes writes already".to_owned();
                return Err(SentinelError::Candidate(reason));
            }
            let own = shared
                .own
                .ok_or_else(|| SentinelError::Candidate("it does not answer yet".into()))?;
            let own = Position { timeline, ..own };
            let sights = &shared.sights;
            judge(
                &self.options.name,
                own,
                &ground.electorate,
                &ground.primaries,
                sights,
            )
        };
        if verdict == Verdict::Pass && !self.write_down(&ground).await? {
            // Something moved: judge anew.
            return Box::pin(self.step(leader_revision, own_timeline)).await;
        }
        Ok(verdict)
    }

    /// What etcd says now; an error where the leader key is not ours.
    async fn ground(&self, known: Option<i64>) -> Result<Ground, SentinelError> {
        let asked = Instant::now();
        let all = self
            .etcd
            .range("read Patroni's keys", &under(&self.paths.all))
            .await?;
        let seen = Snapshot::read(all);
        let leader_revision = seen.get(&self.paths.leader).map_or(0, |row| row.create_revision);
        let is_ours = seen.leader(&self.paths).as_ref() == Some(&self.options.name);
        if !is_ours || known.is_some_and(|known| known != leader_revision) {
            return Err(SentinelError::Superseded {
                candidate: self.options.name.to_string(),
            });
        }
        let unknown = |key: &str, reason: &str| SentinelError::Key {
            key: key.to_owned(),
            reason: reason.to_owned(),
        };
        if !seen.config(&self.paths)?.is_quorum() {
            return Err(unknown(&self.paths.config, "`synchronous_mode` is not `quorum`"));
        }
        let sync = &self.paths.sync;
        let electorate = seen.electorate(&self.paths)?;
        let electorate = electorate.ok_or_else(|| unknown(sync, "it names no leader"))?;
        let sync_revision = seen.get(sync).map_or(0, |row| row.mod_revision);
        let (record_revision, record) = self.read_record().await?;
        let passed = if record.sync_revision == sync_revision {
            record.passed
        } else {
            Vec::new()
        };
        let mut primaries: BTreeSet<ServerName> = passed.iter().cloned().collect();
        primaries.insert(electorate.leader.clone());
        let mut shared = self.shared.lock().expect("nobody panics");
        shared.proof = Some(asked);
        shared.members = electorate.members();
        shared.members.extend(passed.iter().cloned());
        drop(shared);
        Ok(Ground {
            leader_revision,
            sync_revision,
            record_revision,
            electorate,
            primaries,
            passed,
        })
    }

    async fn read_record(&self) -> Result<(i64, Record), SentinelError> {
        let answer = self
            .etcd
            .range("read the fence's key", &etcd::one(&self.record))
            .await?;
        match answer.kvs.first() {
            Some(row) => Ok((row.mod_revision, parse(&self.record, row)?)),
            None => Ok((0, Record::default())),
        }
    }

    async fn write_down(&self, ground: &Ground) -> Result<bool, SentinelError> {
        let mut passed = ground.passed.clone();
        if passed.last() != Some(&self.options.name) {
            passed.push(self.options.name.clone());
        }
        let record = Record {
            sync_revision: ground.sync_revision,
            passed,
        };
        let value = serde_json::to_vec(&record).expect("names and a number");
        let request = TxnRequest {
            compare: vec![
                etcd::compare_created(&self.paths.leader, ground.leader_revision),
                compare_modified(&self.paths.sync, ground.sync_revision),
                compare_modified(&self.record, ground.record_revision),
            ],
            success: vec![put(&self.record, value, None)],
        };
        let answer = self.etcd.txn("write down who is let through", request).await?;
        Ok(answer.succeeded)
    }

    fn explain(&self, reason: &Reason) -> String {
        let shared = self.shared.lock().expect("nobody panics");
        let mut text = reason.to_string();
        for name in &reason.missing {
            let seen = match shared.sights.get(name) {
                None => "not looked at".to_owned(),
                Some(Sight::Unseen(why)) => why.clone(),
                Some(Sight::Primary) => "takes writes".to_owned(),
                Some(Sight::Standby { position: None, .. }) => "reads its own log".to_owned(),
                Some(Sight::Standby { .. }) => "does not follow yet".to_owned(),
            };
            text += &format!("; {name}: {seen}");
        }
        text
    }
}
