//! The change feed of one node. Owns: the order of blocks, where each is found, and waiting for the next one.

use super::queries::blocking;
use super::{JournalReader, Node};
use crate::ReadError;
use crate::recent::Recent;
use journal::{Block, HEADER_BYTES, Header, JournalError, Opener};
use ledger::Height;
use std::sync::Arc;
use std::time::Duration;
use storage::KeyRing;
use tokio::sync::watch;

/// The pause before a final block is looked for again that the journal does not show yet.
const PAUSE: Duration = Duration::from_millis(50);

/// Final blocks in order, waiting for new ones. Ends when the node stops.
pub struct Feed {
    places: Places,
    durable: watch::Receiver<Height>,
    next: Height,
}

/// Where blocks are found. A follower's journal shows a block as final only later, and the last one of a term not before the
/// next term, so what the node was supplied with comes first.
#[derive(Clone)]
struct Places {
    supplied: Arc<Recent<Arc<Block>>>,
    sealed: Arc<Recent<Arc<[u8]>>>,
    keys: KeyRing,
    /// Looked up for each block: a promotion puts another one there.
    journal: Arc<JournalReader>,
}

impl Node {
    /// Final blocks from a height on (1 is the first).
    #[must_use]
    pub fn feed(&self, from: Height) -> Feed {
        let shared = &self.inner.shared;
        let places = Places {
            supplied: shared.supplied.clone(),
            sealed: shared.recent.clone(),
            keys: self.inner.keys.clone(),
            journal: self.inner.journal.clone(),
        };
        Feed {
            places,
            durable: shared.durable.subscribe(),
            next: Height(from.0.max(1)),
        }
    }
}

impl Feed {
    /// The next block. Cancel safe.
    ///
    /// # Errors
    /// [`ReadError::Fault`] when the journal cannot be read; the next call tries the same block again.
    pub async fn next(&mut self) -> Option<Result<Arc<Block>, ReadError>> {
        let height = self.next;
        loop {
            self.durable.wait_for(|durable| *durable >= height).await.ok()?;
            let places = self.places.clone();
            match blocking(move || places.find(height)).await {
                // The node has ended, and nothing will show the block any more.
                Ok(None) if self.durable.has_changed().is_err() => return None,
                // The block is final, and this journal does not show it yet.
                Ok(None) => tokio::time::sleep(PAUSE).await,
                Ok(Some(block)) => {
                    self.next = Height(height.0 + 1);
                    return Some(Ok(block));
                }
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

impl Places {
    /// The block of that height; none when it is not to be had yet.
    fn find(&self, height: Height) -> Result<Option<Arc<Block>>, ReadError> {
        if let Some(block) = self.supplied.get(height).or_else(|| self.opened(height)) {
            return Ok(Some(block));
        }
        match self.journal.get().read(height) {
            Ok(block) => Ok(Some(Arc::new(block))),
            Err(JournalError::NoBlock { .. }) => Ok(None),
            Err(error) => {
                tracing::error!(%error, code = "NOD-0020", %height, "a block cannot be read");
                Err(ReadError::Fault)
            }
        }
    }

    /// One of this writer's own, opened; none when it is not at hand.
    fn opened(&self, height: Height) -> Option<Arc<Block>> {
        let sealed = self.sealed.get(height)?;
        let header = Header::decode(&sealed).ok()?;
        let mut ciphertext = sealed[HEADER_BYTES..].to_vec();
        let block = Opener::new(self.keys.clone()).open(&header, &mut ciphertext);
        block.ok().map(Arc::new)
    }
}
