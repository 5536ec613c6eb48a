//! A filter that says "surely not here" at the price of one cache line (pure).
//! Owns: 512-bit blocks, about 16 bits a key, one bit set in each of a block's eight words: about two false hits in a
//! thousand. One thread may fill it while others ask.

use std::sync::atomic::{AtomicU64, Ordering};

const BITS_PER_KEY: u64 = 16;
/// Bytes of a block on disk.
pub(crate) const BLOCK_BYTES: usize = 64;

#[derive(Default)]
#[repr(align(64))]
struct Block([AtomicU64; 8]);

pub(crate) struct Bloom {
    blocks: Box<[Block]>,
}

impl Bloom {
    pub fn for_keys(keys: u64) -> Self {
        let blocks = (keys * BITS_PER_KEY).div_ceil(512);
        Self {
            blocks: (0..blocks).map(|_| Block::default()).collect(),
        }
    }

    pub fn bytes_len(keys: u64) -> u64 {
        (keys * BITS_PER_KEY).div_ceil(512) * BLOCK_BYTES as u64
    }

    #[allow(
        clippy::cast_possible_truncation,
        reason = "the high half of the product is below the count"
    )]
    #[inline]
    fn block_of(&self, key: u64) -> usize {
        ((u128::from(key) * self.blocks.len() as u128) >> 64) as usize
    }

    /// The bit of each word. The high bits of the key choose the block, so these come from a product that mixes the
    /// low ones upwards.
    #[inline]
    fn bits(key: u64) -> [u64; 8] {
        let mixed = key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 16;
        std::array::from_fn(|word| 1 << ((mixed >> (6 * word)) & 63))
    }

    /// For the one filling thread.
    #[inline]
    pub fn insert(&self, key: u64) {
        let block = &self.blocks[self.block_of(key)];
        for (word, bit) in block.0.iter().zip(Self::bits(key)) {
            word.store(word.load(Ordering::Relaxed) | bit, Ordering::Relaxed);
        }
    }

    /// Without a branch that depends on a word: a mispredicted one would wait for its cache line before the next
    /// filter's is even asked for, and most answers are "no" from filter after filter.
    #[inline]
    pub fn may_contain(&self, key: u64) -> bool {
        let Some(block) = self.blocks.get(self.block_of(key)) else {
            return false;
        };
        let words = block.0.iter().zip(Self::bits(key));
        words.fold(0, |missing, (word, bit)| {
            missing | (bit & !word.load(Ordering::Relaxed))
        }) == 0
    }

    /// Begins to fetch a key's cache line. What it gives means nothing, but must be used.
    #[inline]
    pub fn touch(&self, key: u64) -> u64 {
        self.blocks
            .get(self.block_of(key))
            .map_or(0, |block| block.0[0].load(Ordering::Relaxed))
    }

    pub fn to_bytes(&self) -> impl ExactSizeIterator<Item = [u8; BLOCK_BYTES]> {
        self.blocks.iter().map(|block| {
            let mut bytes = [0; BLOCK_BYTES];
            for (chunk, word) in bytes.chunks_exact_mut(8).zip(&block.0) {
                chunk.copy_from_slice(&word.load(Ordering::Relaxed).to_le_bytes());
            }
            bytes
        })
    }

    /// From what [`Bloom::to_bytes`] gave, in pieces of any size that hold whole words.
    pub fn set_bytes(&self, offset: usize, bytes: &[u8]) {
        for (i, word) in bytes.chunks_exact(8).enumerate() {
            let at = offset / 8 + i;
            let word = u64::from_le_bytes(word.try_into().expect("chunks of 8"));
            self.blocks[at / 8].0[at % 8].store(word, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::{KeyHasher, Tag};

    #[test]
    fn nothing_that_was_inserted_is_denied_and_strangers_mostly_are() {
        let hasher = KeyHasher::new([5; 16]);
        let bloom = Bloom::for_keys(50_000);
        for id in 0..50_000 {
            bloom.insert(hasher.key(Tag::Id, id));
        }
        let copy = Bloom::for_keys(50_000);
        for (i, block) in bloom.to_bytes().enumerate() {
            copy.set_bytes(i * BLOCK_BYTES, &block);
        }
        for id in 0..50_000 {
            assert!(copy.may_contain(hasher.key(Tag::Id, id)));
        }
        let wrong = (50_000..150_000)
            .filter(|&id| copy.may_contain(hasher.key(Tag::Id, id)))
            .count();
        assert!(wrong < 400, "{wrong} of 100,000 strangers passed");
        assert!(!Bloom::for_keys(0).may_contain(1));
    }
}
