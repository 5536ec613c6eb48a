//! Containers that one thread fills while others read, without locks and without `unsafe` (pure).
//! Owns: [`Grow`], a vector whose elements never move, and [`HashLevels`], an open-addressing table.
//! A reader may meet elements that are newer than what it was told of; it ignores them by their number.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

const BASE_BITS: u32 = 8;
const LEVELS: usize = 25;

/// A vector in pieces of doubling size. Elements are made with `Default` and filled through shared references.
pub(crate) struct Grow<T> {
    levels: [OnceLock<Box<[T]>>; LEVELS],
}

impl<T> Default for Grow<T> {
    fn default() -> Self {
        Self {
            levels: [const { OnceLock::new() }; LEVELS],
        }
    }
}

impl<T: Default> Grow<T> {
    #[inline]
    fn place(index: usize) -> (usize, usize) {
        let shifted = index + (1 << BASE_BITS);
        let level = shifted.ilog2();
        ((level - BASE_BITS) as usize, shifted - (1 << level))
    }

    /// The element, if its piece was made.
    #[inline]
    pub fn get(&self, index: usize) -> Option<&T> {
        let (level, offset) = Self::place(index);
        Some(&self.levels.get(level)?.get()?[offset])
    }

    /// The element; its piece is made where missing. For the one filling thread.
    #[inline]
    pub fn make(&self, index: usize) -> &T {
        let (level, offset) = Self::place(index);
        let piece = self.levels[level].get_or_init(|| {
            (0..1_usize << (level + BASE_BITS as usize))
                .map(|_| T::default())
                .collect()
        });
        &piece[offset]
    }
}

/// A key and what it leads to. A key of 0 is a free slot.
#[derive(Default)]
pub(crate) struct Slot {
    key: AtomicU64,
    value: AtomicU64,
}

impl Slot {
    /// What the key leads to; 0 when nothing was set yet.
    #[inline]
    pub fn value(&self) -> u64 {
        self.value.load(Ordering::Acquire)
    }

    /// Makes everything written before visible to who reads this value.
    #[inline]
    pub fn set(&self, value: u64) {
        self.value.store(value, Ordering::Release);
    }
}

/// A hash table of tables: when one is three quarters full, one of twice the size joins it, so that nothing moves.
pub(crate) struct HashLevels {
    levels: [OnceLock<Box<[Slot]>>; LEVELS],
    first_bits: u32,
    used_in_last: AtomicUsize,
    last: AtomicUsize,
}

impl HashLevels {
    /// A table that holds about so many keys before it grows.
    pub fn for_keys(keys: usize) -> Self {
        let slots = (keys.max(32) * 3 / 2).next_power_of_two();
        Self {
            levels: [const { OnceLock::new() }; LEVELS],
            first_bits: slots.ilog2(),
            used_in_last: AtomicUsize::new(0),
            last: AtomicUsize::new(0),
        }
    }

    #[inline]
    fn start(key: u64, slots: &[Slot]) -> usize {
        // The high bits: those in which sorted runs are ordered are as random as any.
        usize::try_from(key >> 20).expect("44 bits fit") & (slots.len() - 1)
    }

    /// Calls back with the value of every slot of that key until something is found.
    #[inline]
    pub fn find<T, E>(
        &self,
        key: u64,
        mut check: impl FnMut(u64) -> Result<Option<T>, E>,
    ) -> Result<Option<T>, E> {
        for slots in self.levels.iter().map_while(OnceLock::get) {
            let mut at = Self::start(key, slots);
            loop {
                let found = slots[at].key.load(Ordering::Acquire);
                if found == 0 {
                    break;
                }
                if found == key
                    && let Some(answer) = check(slots[at].value())?
                {
                    return Ok(Some(answer));
                }
                at = (at + 1) & (slots.len() - 1);
            }
        }
        Ok(None)
    }

    /// The slot of a key that stands once.
    #[inline]
    pub fn slot(&self, key: u64) -> Option<&Slot> {
        for slots in self.levels.iter().map_while(OnceLock::get) {
            let mut at = Self::start(key, slots);
            loop {
                let found = slots[at].key.load(Ordering::Acquire);
                if found == key {
                    return Some(&slots[at]);
                }
                if found == 0 {
                    break;
                }
                at = (at + 1) & (slots.len() - 1);
            }
        }
        None
    }

    /// Begins to fetch the slots where a key would be. Several of these overlap, where look-ups would wait one after
    /// the other. What it gives means nothing, but must be used, or the compiler leaves it out.
    #[inline]
    pub fn touch(&self, key: u64) -> u64 {
        let tables = self.levels.iter().map_while(OnceLock::get);
        tables.fold(0, |sum, slots| {
            sum ^ slots[Self::start(key, slots)].key.load(Ordering::Relaxed)
        })
    }

    /// Adds a slot, beside others of the same key if there are any. For the one filling thread.
    #[inline]
    pub fn insert(&self, key: u64, value: u64) -> &Slot {
        let mut last = self.last.load(Ordering::Relaxed);
        let mut used = self.used_in_last.load(Ordering::Relaxed);
        let capacity = 1_usize << (self.first_bits as usize + last);
        if used >= capacity / 4 * 3 {
            last += 1;
            used = 0;
            self.last.store(last, Ordering::Relaxed);
        }
        self.used_in_last.store(used + 1, Ordering::Relaxed);
        let slots = self.levels[last].get_or_init(|| {
            (0..1_usize << (self.first_bits as usize + last))
                .map(|_| Slot::default())
                .collect()
        });
        let mut at = Self::start(key, slots);
        while slots[at].key.load(Ordering::Relaxed) != 0 {
            at = (at + 1) & (slots.len() - 1);
        }
        slots[at].set(value);
        slots[at].key.store(key, Ordering::Release);
        &slots[at]
    }

    /// All keys and values, in no order. For a table that is no longer filled.
    pub fn entries(&self) -> Vec<(u64, u64)> {
        let mut entries = Vec::new();
        for slots in self.levels.iter().map_while(OnceLock::get) {
            for slot in slots {
                let key = slot.key.load(Ordering::Acquire);
                if key != 0 {
                    entries.push((key, slot.value()));
                }
            }
        }
        entries
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_stay_where_they_are_while_the_vector_grows() {
        let grow = Grow::<AtomicU64>::default();
        assert!(grow.get(0).is_none());
        for i in 0..10_000 {
            grow.make(i).store(i as u64 + 1, Ordering::Relaxed);
        }
        for i in 0..10_000 {
            assert_eq!(grow.get(i).unwrap().load(Ordering::Relaxed), i as u64 + 1);
        }
        assert!(grow.get(1 << 20).is_none());
    }

    #[test]
    fn every_key_is_found_again_when_the_table_outgrows_its_first_level() {
        let table = HashLevels::for_keys(10);
        let key = |i: u64| i.wrapping_mul(0x9e37_79b9_7f4a_7c15).max(1);
        for i in 1..5_000 {
            table.insert(key(i), i);
        }
        for i in 1..5_000 {
            assert_eq!(table.slot(key(i)).unwrap().value(), i);
        }
        assert!(table.slot(key(5_000)).is_none());
        assert_eq!(table.entries().len(), 4_999);
    }

    #[test]
    fn two_values_under_one_key_are_both_offered() {
        let table = HashLevels::for_keys(10);
        table.insert(9, 1);
        table.insert(9, 2);
        let found: Result<_, ()> = table.find(9, |value| Ok((value == 2).then_some(value)));
        assert_eq!(found, Ok(Some(2)));
        let found: Result<Option<u64>, ()> = table.find(9, |_| Ok(None));
        assert_eq!(found, Ok(None));
    }
}
