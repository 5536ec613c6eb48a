//! Keys of postings (pure). Owns: the keyed hash of (kind, value), so that ids chosen by clients cannot be made
//! to collide. A hit is always verified against the record itself.

/// What a key stands for. Part of the disk format, never renumbered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Tag {
    /// A transfer's id.
    Id = 1,
    /// The pending transfer that a row posts, voids or expires.
    Resolution = 2,
    /// The debited account's number.
    Debit = 3,
    /// The credited account's number.
    Credit = 4,
    /// User data.
    UserData128 = 5,
    /// User data.
    UserData64 = 6,
    /// User data.
    UserData32 = 7,
    /// The ledger.
    Ledger = 8,
    /// The code.
    Code = 9,
}

/// SipHash-1-3 under a secret seed.
#[derive(Clone, Copy)]
pub(crate) struct KeyHasher {
    k0: u64,
    k1: u64,
}

struct Sip([u64; 4]);

impl Sip {
    #[inline]
    fn round(&mut self) {
        let [v0, v1, v2, v3] = &mut self.0;
        *v0 = v0.wrapping_add(*v1);
        *v2 = v2.wrapping_add(*v3);
        *v1 = v1.rotate_left(13) ^ *v0;
        *v3 = v3.rotate_left(16) ^ *v2;
        *v0 = v0.rotate_left(32);
        *v2 = v2.wrapping_add(*v1);
        *v0 = v0.wrapping_add(*v3);
        *v1 = v1.rotate_left(17) ^ *v2;
        *v3 = v3.rotate_left(21) ^ *v0;
        *v2 = v2.rotate_left(32);
    }

    #[inline]
    fn word(&mut self, word: u64) {
        self.0[3] ^= word;
        self.round();
        self.0[0] ^= word;
    }

    #[inline]
    fn finish(mut self) -> u64 {
        self.0[2] ^= 0xff;
        self.round();
        self.round();
        self.round();
        self.0[0] ^ self.0[1] ^ self.0[2] ^ self.0[3]
    }
}

impl KeyHasher {
    pub fn new(seed: [u8; 16]) -> Self {
        let seed = u128::from_le_bytes(seed);
        Self {
            k0: low(seed),
            k1: low(seed >> 64),
        }
    }

    #[inline]
    fn start(self) -> Sip {
        Sip([
            self.k0 ^ 0x736f_6d65_7073_6575,
            self.k1 ^ 0x646f_7261_6e64_6f6d,
            self.k0 ^ 0x6c79_6765_6e65_7261,
            self.k1 ^ 0x7465_6462_7974_6573,
        ])
    }

    /// The key of a value; never 0, which means "no key".
    #[inline]
    pub fn key(self, tag: Tag, value: u128) -> u64 {
        let mut sip = self.start();
        sip.word(low(value));
        sip.word(low(value >> 64));
        sip.word(u64::from(tag as u8) | 17 << 56);
        sip.finish().max(1)
    }

    /// A keyed checksum of bytes.
    pub fn checksum(self, bytes: &[u8]) -> u64 {
        let mut sip = self.start();
        let mut words = bytes.chunks_exact(8);
        for word in &mut words {
            sip.word(u64::from_le_bytes(word.try_into().expect("chunks of 8")));
        }
        let mut last = [0; 8];
        last[..words.remainder().len()].copy_from_slice(words.remainder());
        sip.word(u64::from_le_bytes(last));
        sip.word(bytes.len() as u64);
        sip.finish()
    }
}

#[allow(
    clippy::cast_possible_truncation,
    reason = "the low half is what is asked for"
)]
#[inline]
const fn low(value: u128) -> u64 {
    value as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_differ_by_kind_value_and_seed() {
        let hasher = KeyHasher::new([7; 16]);
        let mut keys: Vec<u64> = (0..1000).map(|value| hasher.key(Tag::Id, value << 60)).collect();
        keys.push(hasher.key(Tag::Debit, 5 << 60));
        keys.push(KeyHasher::new([8; 16]).key(Tag::Id, 5 << 60));
        let count = keys.len();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), count);
    }

    #[test]
    fn a_checksum_sees_every_bit_and_the_length() {
        let hasher = KeyHasher::new([1; 16]);
        let bytes = [3_u8; 21];
        let right = hasher.checksum(&bytes);
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes;
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(hasher.checksum(&changed), right, "bit {bit}");
        }
        assert_ne!(hasher.checksum(&[0; 3]), hasher.checksum(&[0; 4]));
    }
}
