//! The last blocks that became final here, in memory: as they were sealed, for those who follow this writer, and as they were
//! supplied, for a follower's own feed. Owns: how many are kept, and the wait for the next one. Every block here is final.

use journal::{Block, Entry};
use ledger::{Account, CommandBody, EventMetadata, Height, Transfer};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use tokio::sync::watch;

/// What is kept at most, beside the newest block: whoever is further behind reads the journal.
const BYTES_MAX: usize = 32 << 20;
/// The same as a number of blocks, since a small one costs more than its bytes.
const BLOCKS_MAX: usize = 4_096;

/// See the module.
pub struct Recent<B> {
    kept: Mutex<Kept<B>>,
}

struct Kept<B> {
    /// Of rising height, without a gap, each with its bytes.
    blocks: VecDeque<(Height, B, usize)>,
    bytes: usize,
}

impl<B> Default for Recent<B> {
    fn default() -> Self {
        let (blocks, bytes) = (VecDeque::new(), 0);
        Self {
            kept: Mutex::new(Kept { blocks, bytes }),
        }
    }
}

impl<B: Clone> Recent<B> {
    /// Keeps a block that is final and takes so many bytes.
    pub fn keep(&self, height: Height, block: B, bytes: usize) {
        let mut kept = self.lock();
        if kept
            .blocks
            .back()
            .is_some_and(|(last, ..)| last.0 + 1 != height.0)
        {
            kept.blocks.clear();
            kept.bytes = 0;
        }
        kept.bytes += bytes;
        kept.blocks.push_back((height, block, bytes));
        while (kept.bytes > BYTES_MAX || kept.blocks.len() > BLOCKS_MAX) && kept.blocks.len() > 1 {
            let (.., oldest) = kept.blocks.pop_front().expect("there are two");
            kept.bytes -= oldest;
        }
    }

    /// The block of that height, if it is kept.
    pub fn get(&self, height: Height) -> Option<B> {
        let kept = self.lock();
        let first = kept.blocks.front()?.0;
        let place = height.0.checked_sub(first.0)?;
        kept.blocks
            .get(usize::try_from(place).ok()?)
            .map(|(_, block, _)| block.clone())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Kept<B>> {
        self.kept.lock().expect("no thread panics with the blocks")
    }
}

/// About how much memory a block takes, in bytes.
pub fn memory_bytes(block: &Block) -> usize {
    let metadata_bytes = |metadata: &[EventMetadata]| -> usize {
        let bytes = metadata
            .iter()
            .map(|of| of.sealed.len() + size_of::<EventMetadata>());
        bytes.sum()
    };
    let entry_bytes = |entry: &Entry| {
        let metadata = match &entry.command.body {
            CommandBody::CreateAccounts(events) => metadata_bytes(&events.metadata),
            CommandBody::CreateTransfers(events) => metadata_bytes(&events.metadata),
            _ => 0,
        };
        let event = size_of::<Account>().max(size_of::<Transfer>());
        size_of::<Entry>() + entry.results.events() * event + metadata
    };
    size_of::<Block>() + block.entries.iter().map(entry_bytes).sum::<usize>()
}

/// Sealed blocks in order, waiting for new ones.
pub struct SealedFeed {
    recent: Arc<Recent<Arc<[u8]>>>,
    durable: watch::Receiver<Height>,
    next: Height,
}

impl SealedFeed {
    pub(crate) fn new(
        recent: Arc<Recent<Arc<[u8]>>>,
        durable: watch::Receiver<Height>,
        from: Height,
    ) -> Self {
        Self {
            recent,
            durable,
            next: Height(from.0.max(1)),
        }
    }

    /// The next block: its header, then its ciphertext. None when it is no longer, or never was, at hand here: whoever
    /// follows reads it from the journal. Cancel safe.
    pub async fn next(&mut self) -> Option<Arc<[u8]>> {
        let height = self.next;
        self.durable.wait_for(|durable| *durable >= height).await.ok()?;
        let block = self.recent.get(height)?;
        self.next = Height(height.0 + 1);
        Some(block)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_has_no_gap_and_a_bound() {
        let recent = Recent::default();
        assert!(recent.get(Height(1)).is_none());
        recent.keep(Height(5), "five", 1);
        recent.keep(Height(6), "six", 1);
        assert_eq!(recent.get(Height(5)), Some("five"));
        assert_eq!(recent.get(Height(6)), Some("six"));
        for missing in [4, 7] {
            assert!(recent.get(Height(missing)).is_none(), "{missing}");
        }
        recent.keep(Height(9), "nine", 1);
        assert!(recent.get(Height(6)).is_none(), "another term went between");
        recent.keep(Height(10), "ten", BYTES_MAX / 2 + 1);
        recent.keep(Height(11), "eleven", BYTES_MAX / 2 + 1);
        assert!(recent.get(Height(10)).is_none(), "the bound of bytes");
        assert_eq!(recent.get(Height(11)), Some("eleven"));
        for height in 12..12 + BLOCKS_MAX as u64 {
            recent.keep(Height(height), "small", 1);
        }
        assert!(recent.get(Height(11)).is_none(), "the bound of blocks");
        assert_eq!(recent.get(Height(12)), Some("small"));
    }
}
