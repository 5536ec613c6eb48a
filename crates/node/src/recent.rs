//! The last blocks of this writer, as they were sealed, for those who follow it. Owns: how many are kept, and the wait for
//! the next one. Every block here is final.

use ledger::Height;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use tokio::sync::watch;

/// What is kept at most, beside the newest block: a follower that is further behind reads the journal.
const BYTES_MAX: usize = 32 << 20;

/// See the module.
#[derive(Default)]
pub struct Recent {
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    /// Of rising height, without a gap.
    blocks: VecDeque<(Height, Arc<[u8]>)>,
    bytes: usize,
}

impl Recent {
    /// Keeps a block that is final.
    pub fn keep(&self, height: Height, sealed: &[u8]) {
        let block: Arc<[u8]> = sealed.into();
        let mut kept = self.lock();
        if kept.blocks.back().is_some_and(|(last, _)| last.0 + 1 != height.0) {
            kept.blocks.clear();
            kept.bytes = 0;
        }
        kept.bytes += block.len();
        kept.blocks.push_back((height, block));
        while kept.bytes > BYTES_MAX && kept.blocks.len() > 1 {
            let (_, oldest) = kept.blocks.pop_front().expect("there are two");
            kept.bytes -= oldest.len();
        }
    }

    fn get(&self, height: Height) -> Option<Arc<[u8]>> {
        let kept = self.lock();
        let first = kept.blocks.front()?.0;
        let place = height.0.checked_sub(first.0)?;
        kept.blocks.get(place as usize).map(|(_, block)| block.clone())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.kept.lock().expect("no thread panics with the blocks")
    }
}

/// Sealed blocks in order, waiting for new ones.
pub struct SealedFeed {
    recent: Arc<Recent>,
    durable: watch::Receiver<Height>,
    next: Height,
}

impl SealedFeed {
    pub(crate) fn new(recent: Arc<Recent>, durable: watch::Receiver<Height>, from: Height) -> Self {
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
        recent.keep(Height(5), &[5]);
        recent.keep(Height(6), &[6]);
        assert_eq!(recent.get(Height(5)).as_deref(), Some(&[5][..]));
        assert_eq!(recent.get(Height(6)).as_deref(), Some(&[6][..]));
        for missing in [4, 7] {
            assert!(recent.get(Height(missing)).is_none(), "{missing}");
        }
        recent.keep(Height(9), &[9]);
        assert!(recent.get(Height(6)).is_none(), "another term went between");
        let large = vec![0; BYTES_MAX / 2 + 1];
        recent.keep(Height(10), &large);
        recent.keep(Height(11), &large);
        assert!(recent.get(Height(10)).is_none(), "the bound");
        assert_eq!(recent.get(Height(11)).map(|block| block.len()), Some(large.len()));
    }
}
