//! One fake PostgreSQL server: its log, and who sees which row of it. Owns: what is visible, and when a commit is done.
//!
//! A commit that waits for its standbys is in the log and invisible; a server that comes back after a crash shows all of
//! its log; a standby shows what it received. Must not: know the other servers.

use journal::WriterId;
use ledger::Height;
use std::sync::Arc;

/// How many servers there are.
pub const SERVERS: usize = 3;

/// A block as a row.
#[derive(Clone, Debug)]
pub struct Row {
    /// Where it stands.
    pub height: Height,
    /// Under which term.
    pub epoch: u64,
    /// By whom.
    pub writer: WriterId,
    /// Header and ciphertext.
    pub sealed: Arc<[u8]>,
}

/// What a commit put into the log.
#[derive(Clone, Debug)]
pub enum Record {
    /// The end of a recovery: a new timeline begins.
    Promoted,
    /// Who may append.
    Claim {
        /// Above all before.
        epoch: u64,
        /// Of the term.
        writer: WriterId,
    },
    /// A row of the journal.
    Block(Row),
}

/// A record in its place. Two logs are of one lineage as far as their entries have the same ids.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Unique over all servers.
    pub id: u64,
    /// In which timeline it was written.
    pub timeline: u32,
    /// What it says.
    pub record: Record,
}

/// A commit that waits for a standby.
#[derive(Clone, Copy, Debug)]
struct Commit {
    /// Its place in the log.
    index: usize,
    /// Whom to tell.
    statement: u64,
}

/// See the module.
#[derive(Debug)]
pub struct Server {
    /// Whether its process runs.
    pub is_up: bool,
    /// Whether it takes writes.
    pub is_primary: bool,
    /// From whom it streams.
    pub upstream: Option<usize>,
    /// What its disk holds.
    pub log: Vec<Entry>,
    /// How far each of the others says that its disk holds this log.
    pub reported: [usize; SERVERS],
    /// The standbys of which one must confirm a commit.
    pub names: Vec<usize>,
    /// Somebody emptied `synchronous_standby_names`.
    pub is_loosened: bool,
    /// Rises when every session with it ends.
    pub life: u64,
    waiting: Vec<Commit>,
}

impl Server {
    /// An empty standby.
    pub fn new() -> Self {
        Self {
            is_up: true,
            is_primary: false,
            upstream: None,
            log: Vec::new(),
            reported: [0; SERVERS],
            names: Vec::new(),
            is_loosened: false,
            life: 0,
            waiting: Vec::new(),
        }
    }

    /// How far its log reaches: timeline, then length.
    pub fn position(&self) -> (u32, usize) {
        (self.log.last().map_or(0, |entry| entry.timeline), self.log.len())
    }

    /// Whether its log is the beginning of the other's.
    pub fn is_prefix_of(&self, other: &Self) -> bool {
        self.log.len() == self.common_with(other)
    }

    /// How much both logs have in common.
    pub fn common_with(&self, other: &Self) -> usize {
        let pairs = self.log.iter().zip(&other.log);
        pairs.take_while(|(ours, theirs)| ours.id == theirs.id).count()
    }

    /// Every session and commit under way ends; what is in the log stays and is seen by whoever asks later.
    pub fn end_sessions(&mut self) {
        self.life += 1;
        self.waiting.clear();
        self.reported = [0; SERVERS];
    }

    /// Writes a record that waits for standbys from now on.
    pub fn write(&mut self, entry: Entry, statement: u64) {
        let index = self.log.len();
        self.log.push(entry);
        self.waiting.push(Commit { index, statement });
    }

    /// The statements whose commits are done by now.
    pub fn done(&mut self) -> Vec<u64> {
        let Self {
            waiting,
            reported,
            names,
            is_loosened,
            ..
        } = self;
        let mut done = Vec::new();
        waiting.retain(|commit| {
            let waits = !*is_loosened && !names.iter().any(|name| reported[*name] > commit.index);
            if !waits {
                done.push(commit.statement);
            }
            waits
        });
        done
    }

    /// Somebody cancels the wait of the `nth` commit: it is visible from now on, wherever it is.
    pub fn cancel(&mut self, nth: usize) -> Option<u64> {
        (!self.waiting.is_empty()).then(|| {
            let nth = nth % self.waiting.len();
            self.waiting.remove(nth).statement
        })
    }

    /// Whether a standby that counts holds everything up to `position`.
    pub fn is_flushed(&self, position: usize) -> bool {
        self.names.iter().any(|name| self.reported[*name] >= position)
    }

    fn is_visible(&self, index: usize) -> bool {
        self.waiting.iter().all(|commit| commit.index != index)
    }

    fn visible(&self) -> impl Iterator<Item = &Record> {
        let entries = self.log.iter().enumerate().rev();
        entries
            .filter(|(index, _)| self.is_visible(*index))
            .map(|(_, entry)| &entry.record)
    }

    /// The row of that height that can be seen.
    pub fn row(&self, height: Height) -> Option<&Row> {
        self.visible().find_map(|record| match record {
            Record::Block(row) if row.height == height => Some(row),
            _ => None,
        })
    }

    /// The highest row that can be seen.
    pub fn top(&self) -> Option<&Row> {
        let rows = self.visible().filter_map(|record| match record {
            Record::Block(row) => Some(row),
            _ => None,
        });
        rows.max_by_key(|row| row.height)
    }

    /// The claim that can be seen.
    pub fn claim(&self) -> Option<(u64, WriterId)> {
        self.visible().find_map(|record| match record {
            Record::Claim { epoch, writer } => Some((*epoch, *writer)),
            _ => None,
        })
    }

    /// Whether a commit that cannot be seen yet holds the claim or, with a height, the key of a row.
    pub fn is_locked(&self, height: Option<Height>) -> bool {
        self.waiting
            .iter()
            .any(|commit| match (&self.log[commit.index].record, height) {
                (Record::Claim { .. }, None) => true,
                (Record::Block(row), Some(height)) => row.height == height,
                _ => false,
            })
    }
}
