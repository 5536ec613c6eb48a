//! What a node's threads share with each other and with the edges: counters, bounds, and how far things have come.

use crate::NodeOptions;
use crate::bounds::{Bounds, LiveBounds};
use crate::inbox::{Inbox, Room};
use crate::metrics::Metrics;
use crate::reads::Read;
use crate::recent::Recent;
use crate::recovery::Recovered;
use journal::Block;
use ledger::Height;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// What the threads share with the edges.
pub struct Shared {
    /// To the sequencer.
    pub inbox: Inbox<Read>,
    /// Last durable block.
    pub durable: watch::Sender<Height>,
    /// Last indexed block.
    pub indexed: watch::Sender<Height>,
    /// Counters.
    pub metrics: Metrics,
    /// Rows and accounts handed to the indexer and not yet published.
    pub index_lag_rows: AtomicU64,
    /// Of the queue and of `index_lag_rows`.
    pub bounds: Arc<LiveBounds>,
    /// Parts of the index that are in memory and full, the one that is being written out included.
    pub index_backlog: AtomicUsize,
    /// Runs of the index that wait to be merged beyond those of the merge under way.
    pub merge_backlog: AtomicUsize,
    /// A full disk holds the index back, which has no more room in memory for long.
    pub index_waits_for_room: AtomicBool,
    /// The node stops: what is under way in the background is waited for.
    pub stopping: AtomicBool,
    /// The writer's term, as far as this node knows.
    pub epoch: AtomicU64,
    /// This writer's last blocks as they were sealed: for those who follow it.
    pub recent: Arc<Recent<Arc<[u8]>>>,
    /// The last blocks that this node was supplied with: for its change feed.
    pub supplied: Arc<Recent<Arc<Block>>>,
    /// When the last append was acknowledged, here or, by what was supplied, elsewhere.
    pub last_block: LastBlock,
    /// When the last append began.
    pub append_began: LastBlock,
}

/// A moment that one thread sets and others read.
pub struct LastBlock {
    origin: Instant,
    /// Nanoseconds after the origin; 0: never.
    after: AtomicU64,
}

impl LastBlock {
    fn new() -> Self {
        Self {
            origin: Instant::now(),
            after: AtomicU64::new(0),
        }
    }

    /// It is now.
    pub fn is_now(&self) {
        let after = u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.after.store(after.max(1), Ordering::Relaxed);
    }

    /// When it was; none before the first.
    pub fn get(&self) -> Option<Instant> {
        let after = self.after.load(Ordering::Relaxed);
        (after > 0).then(|| self.origin + Duration::from_nanos(after))
    }
}

/// Parts of the index that may wait in memory before writes wait for them: one is being written, one is next.
pub const INDEX_BACKLOG_MAX: usize = 2;
/// Runs that may wait to be merged before merging takes no rest: look-ups ask each of them.
pub const MERGE_BACKLOG_MAX: usize = 8;

impl Shared {
    /// For a node that goes on from what was recovered.
    pub fn new(options: &NodeOptions, recovered: &Recovered) -> Self {
        let height = recovered.head.height;
        let metrics = Metrics::default();
        metrics.height.store(height.0, Ordering::Relaxed);
        metrics.indexed.store(height.0, Ordering::Relaxed);
        metrics.rows.store(recovered.ledger.rows().0, Ordering::Relaxed);
        let accounts = u64::from(recovered.ledger.accounts_len());
        metrics.accounts_total.store(accounts, Ordering::Relaxed);
        let bounds = Arc::new(LiveBounds::new(&Bounds::of(options)));
        Self {
            inbox: Inbox::new(bounds.clone()),
            durable: watch::Sender::new(height),
            indexed: watch::Sender::new(height),
            metrics,
            index_lag_rows: AtomicU64::new(0),
            bounds,
            index_backlog: AtomicUsize::new(0),
            merge_backlog: AtomicUsize::new(0),
            index_waits_for_room: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            epoch: AtomicU64::new(recovered.head.epoch),
            recent: Arc::default(),
            supplied: Arc::default(),
            last_block: LastBlock::new(),
            append_began: LastBlock::new(),
        }
    }

    /// Why this node could take no writes now even if it were the writer: of its own disk, or its index; none when it could.
    pub fn obstacle(&self) -> Option<&'static str> {
        if self.inbox.is_full(Room::OwnDisk) || self.index_waits_for_room.load(Ordering::Relaxed) {
            Some("the node's own disk is full")
        } else if self.index_is_behind() {
            Some("the node's index is behind")
        } else {
            None
        }
    }

    /// Whether writes wait for the index.
    pub fn index_is_behind(&self) -> bool {
        self.bounds.holds_up(self.index_lag_rows.load(Ordering::Relaxed))
            || self.index_backlog.load(Ordering::Relaxed) > INDEX_BACKLOG_MAX
    }
}
