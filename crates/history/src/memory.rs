//! What was committed but is not in a run yet. Owns: records in pages, the tables of keys, metadata, account ids.
//! One thread fills it while readers look; a reader goes by the numbers that were published to it.

use crate::bloom::Bloom;
use crate::codec::BlobRef;
use crate::grow::{Grow, HashLevels};
use crate::page::RecordPage;
use ledger::{AccountId, AccountNumber, Sealed};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Records of one kind (rows or accounts) with their keys. Numbers within are relative to `first`.
pub(crate) struct MemTable {
    /// Number of the first record.
    pub first: u64,
    pages: Grow<OnceLock<RecordPage>>,
    page_count: AtomicUsize,
    /// Keys that lead to one record: value is its relative number + 1.
    unique: HashLevels,
    /// Small enough for the processor's cache, so that a key that is not here rarely costs a look into the table.
    unique_filter: Bloom,
    /// Keys that lead to many: value is the last posting's index + 1.
    postings: HashLevels,
    /// Relative number in the high half, index + 1 of the posting before it in the low half.
    chain: Grow<AtomicU64>,
    chain_count: AtomicUsize,
}

/// Where a key's chain hangs, so that the next record with the same key need not look for it.
#[derive(Clone, Copy, Default)]
pub(crate) struct LastKey {
    value: u64,
    key: u64,
}

fn low(value: u64) -> u32 {
    u32::try_from(value & u64::from(u32::MAX)).expect("masked")
}

impl MemTable {
    pub fn new(first: u64, records: usize) -> Self {
        Self {
            first,
            pages: Grow::default(),
            page_count: AtomicUsize::new(0),
            unique: HashLevels::for_keys(records),
            unique_filter: Bloom::for_keys((records + records / 4) as u64 + 1),
            postings: HashLevels::for_keys(records / 8),
            chain: Grow::default(),
            chain_count: AtomicUsize::new(0),
        }
    }

    /// Full pages so far. The page that is being filled is not among them.
    pub fn page_count(&self) -> usize {
        self.page_count.load(Ordering::Acquire)
    }

    pub fn page(&self, index: usize) -> &RecordPage {
        self.pages
            .get(index)
            .and_then(OnceLock::get)
            .expect("below the page count")
    }

    pub fn push_page(&self, page: RecordPage) {
        let index = self.page_count.load(Ordering::Relaxed);
        assert!(self.pages.make(index).set(page).is_ok(), "a page is pushed once");
        self.page_count.store(index + 1, Ordering::Release);
    }

    /// The full page that holds a number, if it is in a full one.
    pub fn page_of(&self, number: u64) -> Option<&RecordPage> {
        let (mut low, mut high) = (0, self.page_count());
        while low < high {
            let middle = usize::midpoint(low, high);
            if self.page(middle).first() <= number {
                low = middle + 1
            } else {
                high = middle
            }
        }
        let page = self.page(low.checked_sub(1)?);
        (number - page.first() < page.count()).then_some(page)
    }

    /// Adds a key that leads to one record.
    #[inline]
    pub fn insert_unique(&self, key: u64, relative: u32) {
        self.unique.insert(key, u64::from(relative) + 1);
        self.unique_filter.insert(key);
    }

    /// Calls back with the number of every record of a unique key until something is found.
    #[inline]
    pub fn find_unique<T, E>(
        &self,
        key: u64,
        mut check: impl FnMut(u64) -> Result<Option<T>, E>,
    ) -> Result<Option<T>, E> {
        if !self.unique_filter.may_contain(key) {
            return Ok(None);
        }
        self.unique.find(key, |value| check(self.first + value - 1))
    }

    /// See [`HashLevels::touch`], for a unique key.
    #[inline]
    pub fn touch_unique(&self, key: u64) -> u64 {
        self.unique.touch(key)
    }

    /// See [`HashLevels::touch`], for a key of postings.
    #[inline]
    pub fn touch_postings(&self, key: u64) -> u64 {
        self.postings.touch(key)
    }

    /// Adds a posting. Numbers rise.
    #[inline]
    pub fn post(&self, key: u64, relative: u32) {
        let index = self.chain_count.load(Ordering::Relaxed);
        self.chain_count.store(index + 1, Ordering::Relaxed);
        assert!(
            index < u32::MAX as usize,
            "a memtable has far less than 2^32 postings"
        );
        let entry = |before: u64| u64::from(relative) << 32 | before;
        if let Some(slot) = self.postings.slot(key) {
            self.chain
                .make(index)
                .store(entry(slot.value()), Ordering::Release);
            slot.set(index as u64 + 1);
        } else {
            self.chain.make(index).store(entry(0), Ordering::Release);
            self.postings.insert(key, index as u64 + 1);
        }
    }

    /// Where a key's chain begins: the newest posting; 0 for none.
    pub fn chain_head(&self, key: u64) -> u32 {
        self.postings.slot(key).map_or(0, |slot| low(slot.value()))
    }

    /// Relative number of a posting, and the one before it.
    #[inline]
    pub fn chain_entry(&self, link: u32) -> (u32, u32) {
        let entry = self
            .chain
            .get(link as usize - 1)
            .expect("a link leads to a posting")
            .load(Ordering::Acquire);
        (low(entry >> 32), low(entry))
    }

    /// All postings of a key, the oldest first.
    pub fn chain_from_oldest(&self, mut link: u32, numbers: &mut Vec<u64>) {
        numbers.clear();
        while link != 0 {
            let (relative, before) = self.chain_entry(link);
            numbers.push(self.first + u64::from(relative));
            link = before;
        }
        numbers.reverse();
    }

    /// All postings by rising key; for a table that is no longer filled. A counting sort in two passes over the
    /// chain as it lies: following each key's links would wait for memory at every step.
    pub fn sorted_postings(&self) -> SortedPostings {
        let count = self.chain_count.load(Ordering::Acquire);
        let entry = |index: usize| self.chain_entry(u32::try_from(index).expect("below 2^32") + 1);
        let mut ordinals: Vec<u32> = Vec::with_capacity(count);
        let mut ends: Vec<u32> = Vec::new();
        for index in 0..count {
            let (_, before) = entry(index);
            let ordinal = if before == 0 {
                ends.push(0);
                u32::try_from(ends.len() - 1).expect("below 2^32")
            } else {
                ordinals[before as usize - 1]
            };
            ends[ordinal as usize] += 1;
            ordinals.push(ordinal);
        }
        let mut keys = self.postings.entries();
        keys.sort_unstable();
        let mut start = 0;
        for (_, head) in &mut keys {
            let ordinal = ordinals[low(*head) as usize - 1] as usize;
            let length = ends[ordinal];
            ends[ordinal] = start;
            start += length;
            *head = u64::from(start);
        }
        let mut numbers = vec![0; count];
        for (index, &ordinal) in ordinals.iter().enumerate() {
            let at = &mut ends[ordinal as usize];
            numbers[*at as usize] = entry(index).0;
            *at += 1;
        }
        SortedPostings { keys, numbers }
    }

    /// Every unique key and its record's relative number + 1, by rising key.
    pub fn sorted_unique(&self) -> Vec<(u64, u64)> {
        let mut keys = self.unique.entries();
        keys.sort_unstable();
        keys
    }
}

/// Every key, and the relative numbers of its records.
pub(crate) struct SortedPostings {
    /// Key, and where in `numbers` its own end.
    keys: Vec<(u64, u64)>,
    numbers: Vec<u32>,
}

impl SortedPostings {
    /// By rising key and number.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &[u32])> {
        let mut start = 0;
        self.keys.iter().map(move |&(key, end)| {
            let numbers = &self.numbers[start..low(end) as usize];
            start = low(end) as usize;
            (key, numbers)
        })
    }
}

impl LastKey {
    /// The key of a value, hashed only when the value is not that of the last record.
    #[inline]
    pub fn key(&mut self, value: u64, hash: impl FnOnce() -> u64) -> u64 {
        if self.value != value || self.key == 0 {
            *self = Self { value, key: hash() };
        }
        self.key
    }
}

/// Everything of one flush.
pub(crate) struct Memory {
    pub rows: MemTable,
    pub accounts: MemTable,
    /// Offset of the first piece of metadata.
    pub blob_first: u64,
    blobs: Grow<OnceLock<(u64, Sealed)>>,
    blob_count: AtomicUsize,
}

impl Memory {
    pub fn new(first_row: u64, first_account: u64, blob_first: u64, rows: usize) -> Self {
        Self {
            rows: MemTable::new(first_row, rows),
            accounts: MemTable::new(first_account, 0),
            blob_first,
            blobs: Grow::default(),
            blob_count: AtomicUsize::new(0),
        }
    }

    pub fn push_blob(&self, offset: u64, blob: Sealed) {
        let index = self.blob_count.load(Ordering::Relaxed);
        assert!(
            self.blobs.make(index).set((offset, blob)).is_ok(),
            "metadata is pushed once"
        );
        self.blob_count.store(index + 1, Ordering::Release);
    }

    pub fn blobs(&self) -> impl Iterator<Item = &(u64, Sealed)> {
        (0..self.blob_count.load(Ordering::Acquire)).map(|index| self.blob_at(index))
    }

    fn blob_at(&self, index: usize) -> &(u64, Sealed) {
        self.blobs
            .get(index)
            .and_then(OnceLock::get)
            .expect("below the count")
    }

    pub fn blob(&self, blob: BlobRef) -> Option<Sealed> {
        let (mut low, mut high) = (0, self.blob_count.load(Ordering::Acquire));
        while low < high {
            let middle = usize::midpoint(low, high);
            if self.blob_at(middle).0 < blob.offset {
                low = middle + 1
            } else {
                high = middle
            }
        }
        if low >= self.blob_count.load(Ordering::Acquire) {
            return None;
        }
        let (offset, sealed) = self.blob_at(low);
        (*offset == blob.offset && sealed.len() == blob.length as usize).then(|| sealed.clone())
    }
}

/// The id of every account, by its number: 16 bytes each.
#[derive(Default)]
pub(crate) struct AccountIds {
    ids: Grow<[AtomicU64; 2]>,
}

impl AccountIds {
    #[allow(clippy::cast_possible_truncation, reason = "the id is kept in two halves")]
    pub fn set(&self, number: AccountNumber, id: AccountId) {
        let [low, high] = self.ids.make(number.0 as usize);
        low.store(id.0 as u64, Ordering::Relaxed);
        high.store((id.0 >> 64) as u64, Ordering::Relaxed);
    }

    /// `None` when no such account was ever there (no id is 0).
    #[inline]
    pub fn get(&self, number: AccountNumber) -> Option<AccountId> {
        let [low, high] = self.ids.get(number.0 as usize)?;
        let id = u128::from(low.load(Ordering::Relaxed)) | u128::from(high.load(Ordering::Relaxed)) << 64;
        (id != 0).then_some(AccountId(id))
    }
}
