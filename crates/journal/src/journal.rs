//! The seam between the node and its journal. Owns: the traits. Nothing above knows which journal is behind them.

use crate::{AppendError, Block, BlockHash, Draft, JournalError, WriterId};
use ledger::{Height, TimestampNs};
use std::sync::Arc;

/// The last durable block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// Its height; 0 when there is none.
    pub height: Height,
    /// Its hash; zeros when there is none.
    pub hash: BlockHash,
    /// Its term; 0 when there is none.
    pub epoch: u64,
    /// Its writer.
    pub writer: WriterId,
    /// Timestamp of its last entry; 0 when there is none.
    pub timestamp: TimestampNs,
}

/// Under which term a block is written. The node chooses an epoch above the head's and a fresh random writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Term {
    /// Rises from term to term.
    pub epoch: u64,
    /// Random, so that two terms are never equal.
    pub writer: WriterId,
}

/// Where one writer makes blocks durable, one after the other.
pub trait Journal: Send {
    /// The last durable block.
    fn head(&self) -> Head;

    /// Appends the draft as the block at head + 1 and returns when it is durable; the draft is then empty.
    /// On any error the draft is as it was. Blocks the thread.
    ///
    /// # Errors
    /// [`AppendError`]; after `Fatal` every later append answers `Fatal` as well.
    fn append(&mut self, term: Term, draft: &mut Draft) -> Result<Head, AppendError>;

    /// Reads what is durable, from any thread, also while blocks are appended.
    fn reader(&self) -> Arc<dyn BlockReader>;
}

/// Reads durable blocks. Everything it gives out was decrypted, decoded and checked against its hash.
pub trait BlockReader: Send + Sync {
    /// The last durable block; 0 when there is none.
    fn head(&self) -> Height;

    /// One block.
    ///
    /// # Errors
    /// [`JournalError::NoBlock`] above the head or at 0; `Damaged`, `Io` when it cannot be read.
    fn read(&self, height: Height) -> Result<Block, JournalError>;

    /// The blocks from `from` (at least 1) to the head as of now, in order, each checked against the one before.
    /// Ends after the first error.
    fn scan(&self, from: Height) -> BlockScan<'_>;
}

/// Blocks in order.
pub type BlockScan<'a> = Box<dyn Iterator<Item = Result<Block, JournalError>> + Send + 'a>;
