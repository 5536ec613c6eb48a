//! The member as the process sees it. Owns: its start, its end, and who is to answer a request.

use crate::clocks::Clocks;
use crate::feed::Feed;
use crate::freshness::Freshness;
use crate::hearing::Hearing;
use crate::lead::Lead;
use crate::reports::Reports;
use crate::{MemberError, follow};
use api::{Members, WriterPlace as Place};
use election::{BootTime, ElectionError, ElectionOptions, Elector, Leadership, MemberName};
use futures::FutureExt;
use futures::future::BoxFuture;
use journal::JournalError;
use journal_postgres::{PostgresOptions, PostgresReader};
use ledger::Height;
use node::{LostTerm, Node, NodeError, NodeOptions, Source};
use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use storage::KeyRing;
use tokio::sync::watch;

/// The pause before a journal that does not answer is tried again.
const PAUSE: Duration = Duration::from_millis(250);
/// For how long a member that has stopped leaves the election to others: longer than it takes to end.
const FOR_GOOD: Duration = Duration::from_hours(24);

/// How long the end of the process waits for etcd.
const RESIGN_PATIENCE: Duration = Duration::from_millis(300);

/// What a member is told.
#[derive(Clone, Debug)]
pub struct MemberOptions {
    /// Its data directory and bounds.
    pub node: NodeOptions,
    /// The ledger's key.
    pub keys: KeyRing,
    /// The journal.
    pub postgres: PostgresOptions,
    /// The election, and who this member is.
    pub election: ElectionOptions,
    /// All members, by name, as far as they are known beforehand: a majority is one of these and of those that were seen.
    pub expected: BTreeSet<String>,
}

/// How a member's part ended.
#[derive(Debug)]
pub enum Ended {
    /// It was told to.
    Stopped,
    /// It is not the writer any more: the process is to end, and follows when it is started again.
    Lost,
    /// The process is to stop: it never guesses.
    Fault(MemberError),
}

/// A running member.
pub struct Member {
    node: Node,
    whereabouts: Whereabouts,
    freshness: Arc<Freshness>,
    clocks: Arc<Clocks>,
    reports: Arc<Reports>,
    stopping: Arc<AtomicBool>,
    stopped: Arc<AtomicBool>,
    ended: watch::Receiver<Option<Arc<Ended>>>,
}

/// Who writes, as far as this member knows.
#[derive(Clone)]
pub(crate) struct Whereabouts {
    elector: Arc<Elector>,
    name: MemberName,
    writes_as: Arc<AtomicI64>,
}

impl Whereabouts {
    pub(crate) fn place(&self) -> Place {
        match self.elector.leadership() {
            // Elected again is not the same: the journal's term belongs to the election that it was begun for.
            Leadership::Leading { term_revision, .. }
                if term_revision.0 == self.writes_as.load(Ordering::SeqCst) =>
            {
                Place::Here
            }
            Leadership::Following { writer: Some(writer) } if writer.name != self.name => {
                Place::At(writer.name.to_string(), writer.grpc_address)
            }
            _ => Place::Nowhere,
        }
    }
}

impl Member {
    /// Recovers from the journal, waiting for it when it does not answer, and takes part from then on. `progress` is told
    /// height and head during a replay. Blocking.
    ///
    /// # Errors
    /// [`MemberError`].
    pub fn start(options: MemberOptions, progress: impl FnMut(Height, Height)) -> Result<Self, MemberError> {
        let MemberOptions {
            node,
            keys,
            postgres,
            mut election,
            expected,
        } = options;
        let name = election.member.name.clone();
        election.check()?;
        let blocks = Arc::new(open_reader(&postgres, &keys));
        let elector = Arc::new(OnceLock::<Arc<Elector>>::new());
        let elected = elector.clone();
        let lost_term: LostTerm = Arc::new(move || {
            // So that the next one need not wait until the lease runs out.
            if let Some(elector) = elected.get() {
                elector.resign_before_end(RESIGN_PATIENCE);
            }
        });
        let directory = node.directory.clone();
        let node = recover(&node, &blocks, &keys, &lost_term, progress)?;
        // The node has locked the directory: whoever had this instance before is gone.
        election.member.instance = instance(&directory)?;
        // Only now: who has not caught up should not be elected.
        let started = Arc::new(Elector::start(election)?);
        let elector = elector.get_or_init(|| started).clone();
        let (stopping, stopped) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let (end, ended) = watch::channel(None);
        let writes_as = Arc::new(AtomicI64::new(0));
        let reports = Arc::new(Reports::open(&directory, name.as_str())?);
        let clocks = Arc::new(Clocks::new(
            name.as_str(),
            &expected,
            node.clone(),
            elector.clone(),
            postgres.connect.clone(),
            stopping.clone(),
            reports.clone(),
        ));
        let lead = Lead {
            clocks: clocks.clone(),
            reports: reports.clone(),
            node: node.clone(),
            elector: elector.clone(),
            postgres,
            keys: keys.clone(),
            stopping: stopping.clone(),
            stopped: stopped.clone(),
            writes_as: writes_as.clone(),
        };
        let whereabouts = Whereabouts {
            elector: elector.clone(),
            name,
            writes_as,
        };
        let (is_live, freshness) = (Arc::new(AtomicBool::new(false)), Arc::new(Freshness::default()));
        let feed = Feed {
            node: node.clone(),
            keys,
            whereabouts: whereabouts.clone(),
            stopping: stopping.clone(),
            is_live: is_live.clone(),
            freshness: freshness.clone(),
        };
        let (follower, is_stopping) = (node.clone(), stopping.clone());
        spawn_part("follow", &end, move || {
            follow::run(&follower, &blocks, &is_live, &is_stopping).map_err(MemberError::from)
        })?;
        spawn_part("feed", &end, move || feed.run())?;
        let asking = clocks.clone();
        spawn_part("clocks", &end, move || asking.run())?;
        let hearing = Hearing {
            elector: elector.clone(),
            stopping: stopping.clone(),
        };
        spawn_part("hearing", &end, move || hearing.run())?;
        spawn("lead", move || {
            end.send_replace(Some(Arc::new(lead.run())));
        })?;
        Ok(Self {
            node,
            whereabouts,
            freshness,
            clocks,
            reports,
            stopping,
            stopped,
            ended,
        })
    }

    /// The node.
    #[must_use]
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// Waits until the member's part ends by itself; the process is then to end. Cancel safe.
    pub async fn ended(&self) -> Arc<Ended> {
        let mut ended = self.ended.clone();
        let found = ended.wait_for(Option::is_some).await;
        // The sender is dropped only after it told.
        found
            .ok()
            .and_then(|ended| ended.clone())
            .unwrap_or_else(|| Arc::new(Ended::Stopped))
    }

    /// Answers everything taken in, then gives leadership up if it is held, to the member named if there is one. The
    /// process is to stop the [node](Node::stop), which may take long, and end after it.
    ///
    /// # Errors
    /// [`MemberError::Election`].
    pub async fn hand_over(&self, to: Option<MemberName>) -> Result<(), MemberError> {
        if let Some(to) = &to {
            // Before the node stops, which cannot be taken back.
            let members = self.whereabouts.elector.members().await?;
            if *to == self.whereabouts.name || !members.iter().any(|present| present.member.name == *to) {
                let (name, reason) = (to.clone(), "it is not another member that is there");
                return Err(ElectionError::Handover { name, reason }.into());
            }
        }
        self.stopping.store(true, Ordering::Relaxed);
        let node = self.node.clone();
        // A panic there has stopped the process. Merges and snapshots that go on are no concern of the next writer's.
        let _ = tokio::task::spawn_blocking(move || node.stop_answering()).await;
        self.stopped.store(true, Ordering::Relaxed);
        // Nobody is left here who would begin a term.
        self.whereabouts.elector.stand_back(FOR_GOOD);
        if self.whereabouts.elector.is_leading_now() {
            self.whereabouts.elector.resign(to).await?;
        }
        Ok(())
    }
}

impl Members for Member {
    fn name(&self) -> &str {
        self.whereabouts.name.as_str()
    }

    fn place(&self) -> Place {
        self.whereabouts.place()
    }

    fn confirm(&self) -> BoxFuture<'_, bool> {
        async {
            // Of the election that the journal's term was begun for: what another one confirms says nothing of it.
            let confirmed = self.whereabouts.elector.confirm_leadership().await;
            confirmed.is_ok_and(|term| term.0 == self.whereabouts.writes_as.load(Ordering::SeqCst))
        }
        .boxed()
    }

    fn age(&self) -> Option<Duration> {
        self.freshness.age(BootTime::now())
    }

    fn lease_left(&self) -> Option<Duration> {
        self.whereabouts.elector.lease_left()
    }

    fn reports(&self) -> Vec<String> {
        self.reports.all()
    }

    fn reports_version(&self) -> u64 {
        self.reports.version()
    }

    fn primary(&self) -> Option<String> {
        let (writer, primary) = self.clocks.former();
        primary.filter(|_| writer.as_deref() == Some(self.whereabouts.name.as_str()))
    }

    fn handover(&self, to: Option<String>) -> BoxFuture<'_, Result<(), String>> {
        async {
            let to = to.map(MemberName::new).transpose();
            let to = to.map_err(|error| error.to_string())?;
            self.hand_over(to).await.map_err(|error| error.to_string())
        }
        .boxed()
    }
}

/// Opens the node, waiting while the journal does not answer or shows less than this node has seen of it.
fn recover(
    options: &NodeOptions,
    blocks: &Arc<PostgresReader>,
    keys: &KeyRing,
    lost_term: &LostTerm,
    mut progress: impl FnMut(Height, Height),
) -> Result<Node, MemberError> {
    let mut last = String::new();
    loop {
        let source = Source::of(blocks.clone(), keys.clone());
        let node = source.and_then(|source| Node::follow(options, &source, lost_term.clone(), &mut progress));
        match node {
            Err(NodeError::Journal(error @ JournalError::Io { .. })) => {
                tell_once(&mut last, &error);
                std::thread::sleep(PAUSE);
            }
            node => return Ok(node?),
        }
    }
}

/// The name of this data directory, made at the first start. The node must hold the directory's lock.
fn instance(directory: &Path) -> Result<String, MemberError> {
    let path = directory.join("instance");
    let failed = |source| MemberError::Instance {
        path: path.clone(),
        source,
    };
    match std::fs::read_to_string(&path) {
        Ok(name) if !name.trim().is_empty() => Ok(name.trim().to_owned()),
        Err(error) if error.kind() != ErrorKind::NotFound => Err(failed(error)),
        // None, or one that was cut off as it was made.
        _ => {
            let name = format!("{:032x}", rand::random::<u128>());
            std::fs::write(&path, &name).map_err(failed)?;
            Ok(name)
        }
    }
}

fn open_reader(postgres: &PostgresOptions, keys: &KeyRing) -> PostgresReader {
    let mut last = String::new();
    loop {
        match PostgresReader::open(postgres.connect.clone(), postgres.shard, keys.clone()) {
            Ok(reader) => return reader,
            Err(error) => {
                tell_once(&mut last, &error);
                std::thread::sleep(PAUSE);
            }
        }
    }
}

fn tell_once(last: &mut String, error: &dyn std::error::Error) {
    if is_news(last, error) {
        tracing::warn!(code = "MEM-0103", %error, "waiting for the journal");
    }
}

/// Whether an error is another one than the `last`, which it becomes: what is tried again and again is told once for each reason.
pub(crate) fn is_news(last: &mut String, error: &dyn std::error::Error) -> bool {
    let text = error.to_string();
    let is_new = *last != text;
    *last = text;
    is_new
}

/// Starts a part of the member that goes on until the process stops; a fault in it ends the member's part.
fn spawn_part(
    name: &str,
    end: &watch::Sender<Option<Arc<Ended>>>,
    body: impl FnOnce() -> Result<(), MemberError> + Send + 'static,
) -> Result<(), MemberError> {
    let end = end.clone();
    spawn(name, move || {
        if let Err(error) = body() {
            end.send_replace(Some(Arc::new(Ended::Fault(error))));
        }
    })
}

fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> Result<(), MemberError> {
    let builder = std::thread::Builder::new().name(name.to_owned());
    builder.spawn(body).map(drop).map_err(MemberError::Thread)
}
