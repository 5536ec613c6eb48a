//! The change feed of one node. Owns: the order of blocks, and waiting for the next one.

use super::queries::blocking;
use crate::ReadError;
use journal::{Block, BlockReader};
use ledger::Height;
use std::sync::Arc;
use tokio::sync::watch;

/// Final blocks in order, waiting for new ones. Ends when the node stops.
pub struct Feed {
    pub(super) blocks: Arc<dyn BlockReader>,
    pub(super) durable: watch::Receiver<Height>,
    pub(super) next: Height,
}

impl Feed {
    /// The next block. Cancel safe.
    ///
    /// # Errors
    /// [`ReadError::Fault`] when the journal cannot be read.
    pub async fn next(&mut self) -> Option<Result<Arc<Block>, ReadError>> {
        let height = self.next;
        self.durable.wait_for(|durable| *durable >= height).await.ok()?;
        let blocks = self.blocks.clone();
        let block = blocking(move || {
            blocks.read(height).map(Arc::new).map_err(|error| {
                tracing::error!(%error, code = "NOD-0020", %height, "a block cannot be read");
                ReadError::Fault
            })
        });
        let block = block.await;
        self.next = Height(height.0 + 1);
        Some(block)
    }
}
