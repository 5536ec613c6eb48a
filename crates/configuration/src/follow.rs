//! How a node follows the settings. Owns: when they are read, what is applied, what the node says of it, and the copy. Must
//! not: apply what is not accepted, hold anything up when etcd does not answer, or go back by itself.
//!
//! A watch only tells that something changed; what counts is read then, linearizably. So nothing is missed where a watch broke
//! or etcd compacted its history, two changes in quick succession may be applied as one, and never an older one after a newer.

use crate::keys::Keys;
use crate::store::read;
use crate::{Applied, ConfigurationError, Document, NodeState, Origin, Rejected, Revision, Settings, copy};
use etcd::proto::{KeyValue, TxnRequest};
use etcd::{Client, EtcdError, LeaseId, keep_alive, one, put};
use rand::RngExt as _;
use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

/// How often the settings are read without being told of a change: a watch that fell silent costs no more.
const EVERY: Duration = Duration::from_millis(500);
/// How long one endpoint of etcd may take to answer.
const ATTEMPT: Duration = Duration::from_millis(500);
/// How long what a node says outlives it.
const LEASE_S: u32 = 5;
/// How long to leave etcd alone after trouble; drawn at random between these, in ms.
const PAUSE_MS: std::ops::Range<u64> = 100..300;
/// How long the end of a node waits for etcd.
const LEAVE: Duration = Duration::from_millis(300);

/// What [`Follower::start`] needs to know.
#[derive(Clone, Debug)]
pub struct FollowOptions {
    /// etcd's client addresses, `http://host:port`.
    pub etcd: Vec<String>,
    /// The ledger's name.
    pub ledger: String,
    /// The node's name, unique in the ledger.
    pub name: String,
    /// The file of the last good document.
    pub copy: PathBuf,
}

/// A node's part in it; it ends when this is dropped.
#[derive(Debug)]
pub struct Follower {
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

impl Follower {
    /// Applies the copy if there is one, and follows etcd from then on, on a thread with an event loop of its own. Does not
    /// wait for etcd. `changed` is told of every change of what the node says, with the settings that are to be applied then;
    /// the first time before this returns.
    ///
    /// # Errors
    /// An option cannot be used, or the system gives no thread.
    pub fn start(
        options: FollowOptions,
        changed: impl FnMut(&NodeState, &Settings) + Send + 'static,
    ) -> Result<Self, ConfigurationError> {
        let keys = Keys::new(&options.ledger)?;
        let (stop, stopped) = watch::channel(false);
        let (sender, begun) = mpsc::channel();
        let failed = |reason: String| ConfigurationError::System {
            action: "start the thread that follows the settings",
            reason,
        };
        let body = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = match runtime {
                Ok(runtime) => runtime,
                Err(error) => {
                    let _ = sender.send(Err(failed(error.to_string())));
                    return;
                }
            };
            runtime.block_on(async move {
                match Watcher::begin(options, keys, Box::new(changed)) {
                    Ok(watcher) => {
                        let _ = sender.send(Ok(()));
                        watcher.run(stopped).await;
                    }
                    Err(error) => {
                        let _ = sender.send(Err(error));
                    }
                }
            });
        };
        let builder = std::thread::Builder::new().name("settings".into());
        let thread = builder.spawn(body).map_err(|error| failed(error.to_string()))?;
        begun.recv().map_err(|error| failed(error.to_string()))??;
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let _ = self.stop.send(true);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Who is told of changes.
type Told = Box<dyn FnMut(&NodeState, &Settings) + Send>;

struct Watcher {
    options: FollowOptions,
    keys: Keys,
    etcd: Client,
    changed: Told,
    settings: Settings,
    state: NodeState,
    /// The revision of what was looked at last, and none where there was nothing; none before the first look.
    looked_at: Option<Option<Revision>>,
    lease: Option<LeaseId>,
    is_in_trouble: bool,
}

impl Watcher {
    fn begin(options: FollowOptions, keys: Keys, changed: Told) -> Result<Self, ConfigurationError> {
        let mut watcher = Self {
            etcd: Client::new(&options.etcd, ATTEMPT)?,
            options,
            keys,
            changed,
            settings: Settings::default(),
            state: NodeState::BEFORE,
            looked_at: None,
            lease: None,
            is_in_trouble: false,
        };
        match copy::read(&watcher.options.copy) {
            Ok(Some(document)) => {
                let version = document.version.0;
                tracing::info!(version, "settings of this node's copy count until etcd answers");
                watcher.take(document, Origin::Copy, None);
            }
            Ok(None) => {
                tracing::info!("there is no copy of settings: this node's own file counts until etcd answers")
            }
            Err(error) => {
                tracing::error!(code = error.code(), %error, "this node's own file counts until etcd answers");
            }
        }
        watcher.tell();
        Ok(watcher)
    }

    async fn run(mut self, mut stopped: watch::Receiver<bool>) {
        tokio::select! {
            never = self.follow() => match never {},
            // An error means that the follower is gone.
            _ = stopped.changed() => {}
        }
        if let Some(lease) = self.lease {
            // What is left of it runs out by itself.
            let _ = timeout(LEAVE, self.etcd.revoke(lease)).await;
        }
    }

    async fn follow(&mut self) -> Infallible {
        let mut moves = self.etcd.moves();
        loop {
            // Before the watch, so that a move made during its making is not missed.
            moves.mark_unchanged();
            match self
                .etcd
                .watch("watch the settings", &one(&self.keys.current))
                .await
            {
                Ok(mut events) => loop {
                    self.round().await;
                    let is_alive = tokio::select! {
                        event = events.message() => matches!(event, Ok(Some(event)) if !event.canceled),
                        _ = moves.changed() => false,
                        () = sleep(EVERY) => true,
                    };
                    if !is_alive {
                        break;
                    }
                },
                // A watch is only the quicker way.
                Err(_) => self.round().await,
            }
            let pause = rand::rng().random_range(PAUSE_MS);
            sleep(Duration::from_millis(pause)).await;
        }
    }

    async fn round(&mut self) {
        let done = self.look_and_tell().await;
        let was_in_trouble = std::mem::replace(&mut self.is_in_trouble, done.is_err());
        match done {
            Err(error) if !was_in_trouble => {
                let version = self.state.applied.version;
                tracing::warn!(code = "CFG-0005", %error, version, "settings cannot be followed; what is applied stays");
            }
            Ok(()) if was_in_trouble => tracing::info!("settings are followed again"),
            _ => {}
        }
    }

    async fn look_and_tell(&mut self) -> Result<(), EtcdError> {
        let answer = self
            .etcd
            .range("read the settings", &one(&self.keys.current))
            .await?;
        self.consider(answer.kvs.first());
        self.publish().await
    }

    /// Decides what to do with what stands in etcd.
    fn consider(&mut self, row: Option<&KeyValue>) {
        let revision = row.map(|row| Revision(row.mod_revision));
        if self.looked_at == Some(revision) {
            return;
        }
        self.looked_at = Some(revision);
        match row.map(read) {
            Some(Ok(document)) => {
                self.take(document.clone(), Origin::Etcd, revision);
                self.tell();
                // After it, so that a slow disk holds nothing up.
                if let Err(error) = copy::write(&self.options.copy, &document) {
                    tracing::warn!(code = error.code(), %error, "a start without etcd would not know these settings");
                }
            }
            Some(Err(error)) => self.reject(&error, revision),
            None if self.state.applied.origin == Origin::File => {
                self.state.rejected = None;
                self.tell();
            }
            None => {
                let key = self.keys.current.clone();
                self.reject(&ConfigurationError::Gone { key }, None);
            }
        }
    }

    fn take(&mut self, document: Document, origin: Origin, revision: Option<Revision>) {
        let differences = self.settings.differences(&document.settings);
        let changed: Vec<_> = differences.iter().map(|(name, _, _)| *name).collect();
        let version = document.version.0;
        tracing::info!(version, ?origin, ?changed, "settings are applied");
        self.settings = document.settings;
        self.state = NodeState {
            applied: Applied {
                origin,
                version: Some(version),
                revision,
            },
            rejected: None,
        };
    }

    fn reject(&mut self, error: &ConfigurationError, revision: Option<Revision>) {
        let kept = self.state.applied.version;
        tracing::error!(code = error.code(), %error, kept, "settings are not accepted; what was applied stays");
        self.state.rejected = Some(Rejected {
            code: error.code().to_owned(),
            reason: error.to_string(),
            revision,
        });
        self.tell();
    }

    fn tell(&mut self) {
        (self.changed)(&self.state, &self.settings);
    }

    /// Makes this node's key say what is so, on a lease that lives.
    async fn publish(&mut self) -> Result<(), EtcdError> {
        let (key, value) = (self.keys.node(&self.options.name), self.state.encode());
        if let Some(lease) = self.lease {
            let kept = self.etcd.call("keep a lease", |it| keep_alive(it, lease)).await?;
            if kept.ttl <= 0 {
                self.lease = None;
            }
        }
        let lease = match self.lease {
            Some(lease) => lease,
            None => self.etcd.grant(LEASE_S).await?.0,
        };
        self.lease = Some(lease);
        let found = self.etcd.range("read this node's key", &one(&key)).await?;
        let is_told = |row: &KeyValue| row.value == value && row.lease == lease.0;
        if found.kvs.first().is_some_and(is_told) {
            return Ok(());
        }
        let request = TxnRequest {
            compare: Vec::new(),
            success: vec![put(&key, value, Some(lease))],
        };
        self.etcd.txn("tell what is applied", request).await?;
        Ok(())
    }
}
