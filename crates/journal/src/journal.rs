//! The seam between the node and its journal. Owns: the traits. Nothing above knows which journal is behind them.

use crate::{AppendError, Block, BlockHash, Draft, JournalError, WriterId};
use ledger::{ActorId, Command, CommandBody, Height, Outcome, TimestampNs};
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

    /// Begins a writer's term: appends the *epoch block*, which holds `BeginEpoch` and nothing else, at head + 1 under an
    /// epoch above every one before, and returns the term when that block is durable. From then on the head moves only
    /// by our own appends, and all that stands below it is final: whatever of the outcomes before was unknown is settled.
    /// The block's time is the greater of `now` and the first instant that may follow the block before it, so the head
    /// may have moved since it was last looked at: read on to the new head before the first append of the term.
    ///
    /// `writer` must be fresh and random. Also what opens a journal again after [`AppendError::SteppedDown`] and
    /// [`AppendError::Unknown`], where it can be opened again. Blocks the thread.
    ///
    /// # Errors
    /// [`AppendError`]: `SteppedDown` when surely nothing was written, `Unknown` when the epoch block may stand.
    fn begin_term(&mut self, writer: WriterId, now: TimestampNs) -> Result<Term, AppendError> {
        let head = self.head();
        let last = match head.height {
            Height(0) => None,
            height => Some(self.reader().read(height).map_err(AppendError::Fatal)?),
        };
        let epoch = head.epoch + 1;
        let term = Term { epoch, writer };
        self.append(term, &mut epoch_draft(now, last.as_ref()))?;
        Ok(term)
    }

    /// Appends the draft as the block at head + 1 and returns when it is durable; the draft is then empty.
    /// On any error the draft is as it was. Blocks the thread.
    ///
    /// # Errors
    /// [`AppendError`]; after `Fatal` every later append answers `Fatal` as well.
    fn append(&mut self, term: Term, draft: &mut Draft) -> Result<Head, AppendError>;

    /// The block that was appended last, as it was sealed: its header, then its ciphertext. For those who follow the writer;
    /// none where nobody can.
    fn sealed(&self) -> Option<&[u8]> {
        None
    }

    /// Reads what is durable, from any thread, also while blocks are appended.
    fn reader(&self) -> Arc<dyn BlockReader>;
}

/// The draft of an epoch block at the first time from `now` on that may follow `last`.
#[must_use]
pub fn epoch_draft(now: TimestampNs, last: Option<&Block>) -> Draft {
    let command = Command {
        actor: ActorId(0),
        body: CommandBody::BeginEpoch,
    };
    let first = TimestampNs(last.map_or(1, |block| block.last_event_timestamp().0 + 1));
    let mut draft = Draft::new();
    draft.push(now.max(first), &command, &Outcome::default());
    draft
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

    /// Whether the block at that height, from 1, is the one with that hash, which the caller knows to have been final once. A
    /// reader that did not know it may learn it from this.
    ///
    /// # Errors
    /// As [`BlockReader::read`], also when this reader's journal does not reach so far *yet*.
    fn holds_final(&self, height: Height, hash: BlockHash) -> Result<bool, JournalError> {
        if height > self.head() {
            return Ok(false);
        }
        Ok(self.read(height)?.hash == hash)
    }

    /// The blocks from `from` (at least 1) to the head as of now, in order, each checked against the one before.
    /// Ends after the first error.
    fn scan(&self, from: Height) -> BlockScan<'_>;
}

/// Blocks in order.
pub type BlockScan<'a> = Box<dyn Iterator<Item = Result<Block, JournalError>> + Send + 'a>;
