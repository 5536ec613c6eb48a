//! A filter that says "surely not here" at the price of one cache line (pure).
//! Owns: 512-bit blocks, about 16 bits a key, 7 bits set in one block: about one false hit in a thousand.

const BITS_PER_KEY: u64 = 16;
/// Bytes of a block on disk.
pub(crate) const BLOCK_BYTES: usize = 64;

#[derive(Clone, Copy)]
#[repr(align(64))]
struct Block([u64; 8]);

pub(crate) struct Bloom {
    blocks: Vec<Block>,
}

impl Bloom {
    pub fn for_keys(keys: u64) -> Self {
        let blocks = (keys * BITS_PER_KEY).div_ceil(512);
        Self {
            blocks: vec![Block([0; 8]); usize::try_from(blocks).expect("a filter fits in memory")],
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

    /// Seven positions of nine bits each.
    #[inline]
    fn positions(key: u64) -> impl Iterator<Item = (usize, u64)> {
        // The high bits choose the block, so the positions come from a product that mixes the low ones upwards.
        let mixed = key.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (key >> 29);
        (0..7).map(move |i| {
            let bit = (mixed >> (9 * i)) & 511;
            ((bit >> 6) as usize, 1 << (bit & 63))
        })
    }

    pub fn insert(&mut self, key: u64) {
        let block = self.block_of(key);
        for (word, bit) in Self::positions(key) {
            self.blocks[block].0[word] |= bit;
        }
    }

    #[inline]
    pub fn may_contain(&self, key: u64) -> bool {
        let Some(block) = self.blocks.get(self.block_of(key)) else {
            return false;
        };
        Self::positions(key).all(|(word, bit)| block.0[word] & bit != 0)
    }

    pub fn to_bytes(&self) -> impl ExactSizeIterator<Item = [u8; BLOCK_BYTES]> {
        self.blocks.iter().map(|block| {
            let mut bytes = [0; BLOCK_BYTES];
            for (chunk, word) in bytes.chunks_exact_mut(8).zip(block.0) {
                chunk.copy_from_slice(&word.to_le_bytes());
            }
            bytes
        })
    }

    /// From what [`Bloom::to_bytes`] gave, in pieces of any size that hold whole words.
    pub fn set_bytes(&mut self, offset: usize, bytes: &[u8]) {
        for (i, word) in bytes.chunks_exact(8).enumerate() {
            let at = offset / 8 + i;
            self.blocks[at / 8].0[at % 8] = u64::from_le_bytes(word.try_into().expect("chunks of 8"));
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
        let mut bloom = Bloom::for_keys(50_000);
        for id in 0..50_000 {
            bloom.insert(hasher.key(Tag::Id, id));
        }
        let mut copy = Bloom::for_keys(50_000);
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
