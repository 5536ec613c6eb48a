//! Hashing of ids for the tables in memory (pure). Owns: the hash function and its secret.
//!
//! Must not: decide anything that can be seen; tables hashed with it are only ever asked for one id at a time, so the
//! secret never influences a result or an order.
//! Clients choose ids, hence a secret: without one, ids could be crafted to collide.

/// Hashes ids of 128 bits to 64, two folded multiplications deep.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IdHasher {
    low: u64,
    high: u64,
    last: u64,
}

impl IdHasher {
    pub(crate) fn new(seed: u64) -> Self {
        let mut state = seed;
        Self {
            low: split_mix(&mut state),
            high: split_mix(&mut state),
            last: split_mix(&mut state) | 1,
        }
    }

    #[inline]
    pub(crate) fn hash(&self, id: u128) -> u64 {
        let mixed = fold(id as u64 ^ self.low, (id >> 64) as u64 ^ self.high);
        fold(mixed ^ self.high, self.last)
    }
}

#[inline]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
