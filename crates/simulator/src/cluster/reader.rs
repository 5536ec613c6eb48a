//! Reading the journal from the fake servers. Owns: which blocks an outsider takes for final.

use super::ClusterCanary;
use super::journal::{Shared, open};
use super::wal::{Row, Server};
use journal::{Block, BlockHash, BlockReader, BlockScan, Head, JournalError, WriterId};
use ledger::Height;
use std::io;
use std::sync::{Mutex, MutexGuard};
use storage::KeyRing;

/// A block and whose it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Mark {
    height: Height,
    epoch: u64,
    writer: WriterId,
}

impl Mark {
    fn of(row: &Row) -> Self {
        Self {
            height: row.height,
            epoch: row.epoch,
            writer: row.writer,
        }
    }
}

/// See the module.
pub struct FakeReader {
    servers: Shared,
    node: usize,
    keys: KeyRing,
    /// The last block that is known to be final.
    known: Mutex<Mark>,
    /// For the canary: whatever can be seen counts as final.
    is_credulous: bool,
    /// For the canary: what is known to be final is taken from whichever server is asked.
    is_trusting: bool,
}

impl FakeReader {
    /// A writer's: it knows what the writer knows.
    pub fn of_writer(servers: Shared, node: usize, keys: KeyRing, canary: Option<ClusterCanary>) -> Self {
        Self {
            servers,
            node,
            keys,
            known: Mutex::default(),
            is_trusting: canary == Some(ClusterCanary::AnyServer),
            is_credulous: false,
        }
    }

    /// One that must find out by itself.
    pub fn outsider(servers: Shared, node: usize, keys: KeyRing, canary: Option<ClusterCanary>) -> Self {
        Self {
            is_credulous: canary == Some(ClusterCanary::TentativeFollower),
            ..Self::of_writer(servers, node, keys, canary)
        }
    }

    /// The writer's head is final.
    pub fn reached(&self, head: &Head) {
        self.advance(Mark {
            height: head.height,
            epoch: head.epoch,
            writer: head.writer,
        });
    }

    /// An outsider looks at some server how far blocks are surely final.
    pub fn look(&self) -> Result<(), JournalError> {
        let found = self.with_server(|server| {
            Ok(match self.is_credulous {
                true => server.top().map(Mark::of),
                false => last_final(server),
            })
        })?;
        self.advance(found.unwrap_or_default());
        Ok(())
    }

    fn advance(&self, mark: Mark) {
        let mut known = self.known();
        if mark.height > known.height {
            *known = mark;
        }
    }

    fn known(&self) -> MutexGuard<'_, Mark> {
        self.known.lock().expect("one thread")
    }

    fn with_server<T>(
        &self,
        question: impl FnOnce(&Server) -> Result<T, JournalError>,
    ) -> Result<T, JournalError> {
        let mut servers = self.servers.lock().expect("one thread");
        match servers.connect(self.node, false) {
            Some(session) => question(&servers.all[session.server]),
            None => Err(away("connect to")),
        }
    }

    /// A block that is known to be final, from a server that surely has that one and not another there.
    fn fetch(&self, height: Height) -> Result<Block, JournalError> {
        let known = *self.known();
        self.with_server(|server| {
            let has_known = server.row(known.height).map(Mark::of) == Some(known);
            let surely = last_final(server).map_or(Height(0), |mark| mark.height);
            if !(has_known || height <= surely || self.is_trusting) {
                return Err(away("find what is final at"));
            }
            let row = server.row(height).ok_or_else(|| away("find a block at"))?;
            Ok(open(&self.keys, &row.sealed))
        })
    }
}

/// A block is final when one of its own term stands on it: its writer sent that only after it was.
fn last_final(server: &Server) -> Option<Mark> {
    let mut above = server.top();
    while let Some(row) = above {
        let below = server.row(Height(row.height.0 - 1));
        if let Some(below) = below.filter(|below| (below.epoch, below.writer) == (row.epoch, row.writer)) {
            return Some(Mark::of(below));
        }
        above = below;
    }
    None
}

fn away(action: &'static str) -> JournalError {
    JournalError::Io {
        action,
        path: "a server".into(),
        source: io::ErrorKind::NotConnected.into(),
    }
}

impl BlockReader for FakeReader {
    fn head(&self) -> Height {
        self.known().height
    }

    fn read(&self, height: Height) -> Result<Block, JournalError> {
        let head = self.head();
        if height.0 == 0 || height > head {
            return Err(JournalError::NoBlock { height, head });
        }
        self.fetch(height)
    }

    fn holds_final(&self, height: Height, hash: BlockHash) -> Result<bool, JournalError> {
        let mark = self.with_server(|server| {
            let row = server.row(height).ok_or_else(|| away("find a block at"))?;
            Ok((open(&self.keys, &row.sealed).hash == hash).then(|| Mark::of(row)))
        })?;
        self.advance(mark.unwrap_or_default());
        Ok(mark.is_some())
    }

    fn scan(&self, from: Height) -> BlockScan<'_> {
        let mut until = self.head().0;
        let mut next = from.0.max(1);
        Box::new(std::iter::from_fn(move || {
            let height = Height(next);
            let block = (next <= until).then(|| self.fetch(height))?;
            next += 1;
            if block.is_err() {
                // Nothing after a fault is worth trusting.
                until = 0;
            }
            Some(block)
        }))
    }
}
