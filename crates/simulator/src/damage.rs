//! Bits that flip on a disk that lies still. Owns: which were flipped, and how they are flipped back.

use node::Layout;
use rand::Rng;
use rand::rngs::StdRng;
use std::path::PathBuf;
use storage::Storage;
use storage::faulty::FaultyStorage;

/// A flipped bit.
pub struct Flip {
    path: PathBuf,
    offset: usize,
    bit: u8,
    /// What the byte became.
    value: u8,
    /// Whether it is in the journal, which is not derived from anything.
    pub in_journal: bool,
}

impl Flip {
    /// Flips a bit in some file, preferring bytes that mean something; in none called `spared`. The storage must be
    /// quiet.
    pub fn draw(
        storage: &FaultyStorage,
        layout: &Layout,
        random: &mut StdRng,
        spared: Option<&str>,
    ) -> Option<Self> {
        let mut below = |end: usize| (random.next_u64() % end.max(1) as u64) as usize;
        let directory = [&layout.journal, &layout.history, &layout.snapshots][below(3)];
        let names = storage.list(directory).ok()?;
        let name = names.get(below(names.len()))?;
        if spared == Some(name) {
            return None;
        }
        let path = directory.join(name);
        let bytes = storage.read(&path).ok()?;
        let mut offset = below(bytes.len());
        for _ in 0..8 {
            if bytes.get(offset).is_some_and(|&byte| byte != 0) {
                break;
            }
            offset = below(bytes.len());
        }
        let bit = below(8) as u8;
        let value = bytes.get(offset)? ^ (1 << bit);
        storage.flip_bit(&path, offset, bit);
        Some(Self {
            in_journal: *directory == layout.journal,
            path,
            offset,
            bit,
            value,
        })
    }

    /// Whether it is in the file of that name.
    pub fn is_in(&self, name: &str) -> bool {
        self.path.ends_with(name)
    }

    /// Whether the byte is still as the flip left it. The storage must be quiet.
    pub fn stands(&self, storage: &FaultyStorage) -> bool {
        let byte = storage.read(&self.path).ok();
        byte.and_then(|bytes| bytes.get(self.offset).copied()) == Some(self.value)
    }

    /// Flips it back, unless the file was removed or the byte written again. The storage must be quiet.
    pub fn heal(&self, storage: &FaultyStorage) {
        if self.stands(storage) {
            storage.flip_bit(&self.path, self.offset, self.bit);
        }
    }
}

impl std::fmt::Display for Flip {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "bit {} of byte {} in {}",
            self.bit,
            self.offset,
            self.path.display()
        )
    }
}
