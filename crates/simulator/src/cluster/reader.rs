//! Reading the journal from the fake servers. Owns: which blocks an outsider takes for final.

use super::ClusterCanary;
use super::journal::{Shared, open};
use super::wal::Server;
use journal::{Block, BlockReader, BlockScan, Head, JournalError};
use ledger::Height;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use storage::KeyRing;

/// See the module.
pub struct FakeReader {
    servers: Shared,
    node: usize,
    keys: KeyRing,
    final_height: AtomicU64,
    /// For the canary: whatever can be seen counts as final.
    is_credulous: bool,
}

impl FakeReader {
    /// A writer's: it knows what the writer knows.
    pub fn of_writer(servers: Shared, node: usize, keys: KeyRing) -> Self {
        Self {
            servers,
            node,
            keys,
            final_height: AtomicU64::new(0),
            is_credulous: false,
        }
    }

    /// One that must find out by itself.
    pub fn outsider(servers: Shared, node: usize, keys: KeyRing, canary: Option<ClusterCanary>) -> Self {
        Self {
            is_credulous: canary == Some(ClusterCanary::TentativeFollower),
            ..Self::of_writer(servers, node, keys)
        }
    }

    /// The writer's head is final.
    pub fn reached(&self, head: &Head) {
        self.final_height.fetch_max(head.height.0, Ordering::SeqCst);
    }

    /// An outsider looks at some server how far blocks are surely final.
    pub fn look(&self) -> Result<(), JournalError> {
        let found = self.with_server(|server| {
            Ok(match self.is_credulous {
                true => server.top().map_or(Height(0), |row| row.height),
                false => last_final(server),
            })
        })?;
        self.final_height.fetch_max(found.0, Ordering::SeqCst);
        Ok(())
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

    fn fetch(&self, height: Height) -> Result<Block, JournalError> {
        self.with_server(|server| {
            let row = server.row(height).ok_or_else(|| away("find a block at"))?;
            Ok(open(&self.keys, &row.sealed))
        })
    }
}

/// A block is final when one of its own term stands on it: its writer sent that only after it was.
fn last_final(server: &Server) -> Height {
    let mut above = server.top();
    while let Some(row) = above {
        let below = server.row(Height(row.height.0 - 1));
        if below.is_some_and(|below| (below.epoch, below.writer) == (row.epoch, row.writer)) {
            return Height(row.height.0 - 1);
        }
        above = below;
    }
    Height(0)
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
        Height(self.final_height.load(Ordering::SeqCst))
    }

    fn read(&self, height: Height) -> Result<Block, JournalError> {
        let head = self.head();
        if height.0 == 0 || height > head {
            return Err(JournalError::NoBlock { height, head });
        }
        self.fetch(height)
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
