//! Sorted runs: immutable files that lead from keys to records. Owns: their format, look-ups in them, making them.
//! Layout, in sealed pages: unique keys (12 bytes each, by key); postings (chunks by key and first number);
//! a stream of the directories of both and the filter over the unique keys. Numbers are relative to the run's first.

use crate::bloom::{BLOCK_BYTES, Bloom};
use crate::codec::{Bytes, put_varint64};
use crate::file::{FileStamp, PageFile, PageWriter, Place, read_stream};
use crate::page::{PAGE_BYTES, PAYLOAD_BYTES};
use crate::{HistoryError, Pace};
use std::ops::RangeInclusive;
use std::sync::Arc;

/// Bytes of a unique key on disk.
const UNIQUE_BYTES: usize = 12;
/// Unique keys in a page.
pub(crate) const UNIQUE_PER_PAGE: usize = PAYLOAD_BYTES / UNIQUE_BYTES;
/// The most bytes that a chunk's header takes.
const CHUNK_HEADER_BYTES: usize = 18;

/// What the manifest must know of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RunMeta {
    pub file: FileStamp,
    /// How often what is in it was merged.
    pub tier: u8,
    /// Number of the first record that it covers.
    pub first: u64,
    /// How many it covers.
    pub count: u64,
    /// How many unique keys it has.
    pub unique: u64,
    /// How many pages of postings it has.
    pub posting_pages: u64,
    /// Bounds of the ids among the unique keys.
    pub ids: Bounds,
    /// Bounds of the pending transfers among the unique keys.
    pub pendings: Bounds,
}

/// The least and the greatest of some ids. Ids that rise with time are refused by this alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bounds {
    pub least: u128,
    pub greatest: u128,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            least: u128::MAX,
            greatest: 0,
        }
    }
}

impl Bounds {
    pub fn add(&mut self, id: u128) {
        self.least = self.least.min(id);
        self.greatest = self.greatest.max(id);
    }

    pub fn join(self, other: Self) -> Self {
        Self {
            least: self.least.min(other.least),
            greatest: self.greatest.max(other.greatest),
        }
    }

    #[inline]
    pub fn contains(&self, id: u128) -> bool {
        self.least <= id && id <= self.greatest
    }
}

impl RunMeta {
    fn unique_pages(&self) -> u64 {
        self.unique.div_ceil(UNIQUE_PER_PAGE as u64)
    }

    /// Number after the last record that it covers.
    pub fn end(&self) -> u64 {
        self.first + self.count
    }
}

/// A run that can be looked into.
pub(crate) struct Run {
    pub meta: RunMeta,
    pub file: Arc<PageFile>,
    unique_first: Vec<u64>,
    posting_keys: Vec<u64>,
    posting_numbers: Vec<u32>,
    filter: Bloom,
}

/// A part of a key's postings: relative numbers, rising.
pub(crate) struct Chunk<'p> {
    pub key: u64,
    pub first: u32,
    pub count: u32,
    deltas: Bytes<'p>,
}

impl Chunk<'_> {
    /// Calls back with each number.
    pub fn numbers(mut self, mut visit: impl FnMut(u32)) -> Option<()> {
        let mut number = self.first;
        visit(number);
        for _ in 1..self.count {
            number = number.checked_add(self.deltas.small()?)?;
            visit(number);
        }
        Some(())
    }
}

/// The next chunk of a page of postings; `Some(None)` at its end.
pub(crate) fn next_chunk<'p>(bytes: &mut Bytes<'p>) -> Option<Option<Chunk<'p>>> {
    if bytes.0.len() < 8 {
        return Some(None);
    }
    let key = bytes.u64()?;
    if key == 0 {
        return Some(None);
    }
    let count: u32 = bytes.small()?;
    let first = bytes.small()?;
    let mut deltas = Bytes(&[]);
    if count > 1 {
        let length = usize::from(u16::from_le_bytes(bytes.take()?));
        let (head, tail) = bytes.0.split_at_checked(length)?;
        deltas = Bytes(head);
        bytes.0 = tail;
    }
    (count > 0).then_some(Some(Chunk {
        key,
        first,
        count,
        deltas,
    }))
}

/// A unique key of a page, by its place.
pub(crate) fn unique_at(page: &[u8], index: usize) -> (u64, u32) {
    let at = index * UNIQUE_BYTES;
    (
        u64::from_le_bytes(page[at..at + 8].try_into().expect("8 bytes")),
        u32::from_le_bytes(page[at + 8..at + 12].try_into().expect("4 bytes")),
    )
}

impl Run {
    pub fn open(place: &Place, meta: RunMeta) -> Result<Self, HistoryError> {
        let file = place.open(meta.file)?;
        let unique_bytes = usize::try_from(meta.unique_pages() * 8).expect("a directory fits in memory");
        let posting_bytes = usize::try_from(meta.posting_pages * 12).expect("a directory fits in memory");
        let mut directories = Vec::with_capacity(unique_bytes + posting_bytes);
        let filter = Bloom::for_keys(meta.unique);
        let mut filter_at = 0;
        let wanted = unique_bytes + posting_bytes;
        // Pages hold whole words, so that the filter can be taken in as it comes.
        let bytes = wanted.next_multiple_of(8) as u64 + Bloom::bytes_len(meta.unique);
        read_stream(
            &file,
            meta.unique_pages() + meta.posting_pages,
            bytes,
            |mut bytes| {
                let missing = wanted.next_multiple_of(8) - directories.len();
                let (now, later) = bytes.split_at(missing.min(bytes.len()));
                directories.extend_from_slice(now);
                bytes = later;
                filter.set_bytes(filter_at, bytes);
                filter_at += bytes.len();
            },
        )?;
        let mut bytes = Bytes(&directories);
        let unique_first = (0..meta.unique_pages()).map_while(|_| bytes.u64()).collect();
        let (mut posting_keys, mut posting_numbers) = (Vec::new(), Vec::new());
        for _ in 0..meta.posting_pages {
            posting_keys.push(bytes.u64().expect("the stream has its length"));
            posting_numbers.push(
                bytes
                    .take()
                    .map(u32::from_le_bytes)
                    .expect("the stream has its length"),
            );
        }
        Ok(Self {
            meta,
            file,
            unique_first,
            posting_keys,
            posting_numbers,
            filter,
        })
    }

    pub fn first_posting_page(&self) -> u64 {
        self.meta.unique_pages()
    }

    /// Whether the unique key may be here; one cache line.
    #[inline]
    pub fn may_contain(&self, key: u64) -> bool {
        self.filter.may_contain(key)
    }

    /// Calls back with the number of every record of a unique key until something is found.
    pub fn find<T>(
        &self,
        key: u64,
        mut check: impl FnMut(u64) -> Result<Option<T>, HistoryError>,
    ) -> Result<Option<T>, HistoryError> {
        let after = self.unique_first.partition_point(|&first| first < key);
        let mut buffer = [0; PAGE_BYTES];
        for page in after.saturating_sub(1)..self.unique_first.len() {
            if self.unique_first[page] > key {
                break;
            }
            self.file.read_page(page as u64, &mut buffer)?;
            let left = self.meta.unique - (page * UNIQUE_PER_PAGE) as u64;
            let count = usize::try_from(left).map_or(UNIQUE_PER_PAGE, |left| left.min(UNIQUE_PER_PAGE));
            let (mut low, mut high) = (0, count);
            while low < high {
                let middle = usize::midpoint(low, high);
                if unique_at(&buffer, middle).0 < key {
                    low = middle + 1
                } else {
                    high = middle
                }
            }
            for index in low..count {
                let (found, relative) = unique_at(&buffer, index);
                if found != key {
                    return Ok(None);
                }
                if let Some(answer) = check(self.meta.first + u64::from(relative))? {
                    return Ok(Some(answer));
                }
            }
        }
        Ok(None)
    }

    /// The first chunk of a key that has a number at or after `target`.
    pub fn chunk_from(&self, key: u64, target: u64, numbers: &mut Vec<u64>) -> Result<bool, HistoryError> {
        let target = u32::try_from(target.saturating_sub(self.meta.first)).unwrap_or(u32::MAX);
        for page in self.page_at(key, target).unwrap_or(0)..self.posting_keys.len() {
            if self.posting_keys[page] > key {
                break;
            }
            let found = self.scan(page, |chunk| {
                if chunk.key == key {
                    self.read_chunk(chunk, numbers)?;
                    if numbers
                        .last()
                        .is_some_and(|&last| last >= self.meta.first + u64::from(target))
                    {
                        return Some(true);
                    }
                }
                Some(false)
            })?;
            if found {
                return Ok(true);
            }
        }
        numbers.clear();
        Ok(false)
    }

    /// The last chunk of a key that has a number at or before `target`.
    pub fn chunk_until(&self, key: u64, target: u64, numbers: &mut Vec<u64>) -> Result<bool, HistoryError> {
        numbers.clear();
        let Some(target) = target.checked_sub(self.meta.first) else {
            return Ok(false);
        };
        let target = u32::try_from(target).unwrap_or(u32::MAX);
        let Some(page) = self.page_at(key, target) else {
            return Ok(false);
        };
        self.scan(page, |chunk| {
            if (chunk.key, chunk.first) > (key, target) {
                return Some(true);
            }
            if chunk.key == key {
                self.read_chunk(chunk, numbers)?;
            }
            Some(false)
        })?;
        Ok(!numbers.is_empty())
    }

    fn read_chunk(&self, chunk: Chunk<'_>, numbers: &mut Vec<u64>) -> Option<()> {
        numbers.clear();
        chunk.numbers(|number| numbers.push(self.meta.first + u64::from(number)))
    }

    /// The last page that begins at or before (key, number).
    fn page_at(&self, key: u64, number: u32) -> Option<usize> {
        let keys_below = self.posting_keys.partition_point(|&first| first < key);
        let keys_until = keys_below + self.posting_keys[keys_below..].partition_point(|&first| first <= key);
        let same = &self.posting_numbers[keys_below..keys_until];
        (keys_below + same.partition_point(|&first| first <= number)).checked_sub(1)
    }

    /// Calls back with the chunks of a page until one says `true`.
    fn scan(
        &self,
        page: usize,
        mut visit: impl FnMut(Chunk<'_>) -> Option<bool>,
    ) -> Result<bool, HistoryError> {
        let mut buffer = [0; PAGE_BYTES];
        let number = self.first_posting_page() + page as u64;
        self.file.read_page(number, &mut buffer)?;
        let mut bytes = Bytes(&buffer[..PAYLOAD_BYTES]);
        let malformed = || self.file.damaged(number, "its postings make no sense");
        while let Some(chunk) = next_chunk(&mut bytes).ok_or_else(malformed)? {
            if visit(chunk).ok_or_else(malformed)? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Writes a run: first all unique keys, then all postings, each in order.
pub(crate) struct RunBuilder<'p> {
    file: Arc<PageFile>,
    pages: PageWriter<'p>,
    meta: RunMeta,
    filter: Bloom,
    unique_first: Vec<u64>,
    posting_keys: Vec<u64>,
    posting_numbers: Vec<u32>,
    page: Vec<u8>,
    chunk: OpenChunk,
}

#[derive(Default)]
struct OpenChunk {
    key: u64,
    first: u32,
    last: u32,
    count: u32,
    deltas: Vec<u8>,
}

impl<'p> RunBuilder<'p> {
    /// `unique_most` bounds the number of unique keys; it sizes the filter and must be exact in the end.
    pub fn new(
        place: &Place,
        file: FileStamp,
        tier: u8,
        covers: RangeInclusive<u64>,
        unique_most: u64,
        pace: &'p dyn Pace,
    ) -> Result<Self, HistoryError> {
        let file = place.create(file)?;
        Ok(Self {
            pages: PageWriter::new(file.clone(), 0, pace),
            meta: RunMeta {
                file: file.stamp,
                tier,
                first: *covers.start(),
                count: *covers.end() - *covers.start() + 1,
                unique: 0,
                posting_pages: 0,
                ids: Bounds::default(),
                pendings: Bounds::default(),
            },
            file,
            filter: Bloom::for_keys(unique_most),
            unique_first: Vec::new(),
            posting_keys: Vec::new(),
            posting_numbers: Vec::new(),
            page: Vec::with_capacity(PAYLOAD_BYTES),
            chunk: OpenChunk::default(),
        })
    }

    pub fn first(&self) -> u64 {
        self.meta.first
    }

    pub fn set_bounds(&mut self, ids: Bounds, pendings: Bounds) {
        self.meta.ids = ids;
        self.meta.pendings = pendings;
    }

    /// Keys come in rising order.
    pub fn unique(&mut self, key: u64, relative: u32) -> Result<(), HistoryError> {
        if self.page.is_empty() {
            self.unique_first.push(key);
        }
        self.page.extend_from_slice(&key.to_le_bytes());
        self.page.extend_from_slice(&relative.to_le_bytes());
        self.filter.insert(key);
        self.meta.unique += 1;
        if self.page.len() == UNIQUE_PER_PAGE * UNIQUE_BYTES {
            self.end_page()
        } else {
            Ok(())
        }
    }

    /// After the last unique key, before the first posting.
    pub fn end_unique(&mut self) -> Result<(), HistoryError> {
        if self.page.is_empty() {
            Ok(())
        } else {
            self.end_page()
        }
    }

    fn end_page(&mut self) -> Result<(), HistoryError> {
        self.pages.push(&self.page)?;
        self.page.clear();
        Ok(())
    }

    /// Postings come by rising key, and those of a key by rising number.
    #[inline]
    pub fn posting(&mut self, key: u64, relative: u32) -> Result<(), HistoryError> {
        let chunk = &mut self.chunk;
        let room = self.page.len() + CHUNK_HEADER_BYTES + chunk.deltas.len() + 5 <= PAYLOAD_BYTES;
        if chunk.key == key && chunk.count > 0 && room {
            // Two keys of one record may have the same hash.
            if chunk.last == relative {
                return Ok(());
            }
            assert!(chunk.last < relative, "postings of a key rise");
            put_varint64(&mut chunk.deltas, u64::from(relative - chunk.last));
            chunk.last = relative;
            chunk.count += 1;
            return Ok(());
        }
        self.end_chunk();
        if self.page.len() + CHUNK_HEADER_BYTES > PAYLOAD_BYTES {
            self.meta.posting_pages += 1;
            self.end_page()?;
        }
        if self.page.is_empty() {
            self.posting_keys.push(key);
            self.posting_numbers.push(relative);
        }
        self.chunk.key = key;
        self.chunk.first = relative;
        self.chunk.last = relative;
        self.chunk.count = 1;
        Ok(())
    }

    fn end_chunk(&mut self) {
        let chunk = &mut self.chunk;
        if chunk.count == 0 {
            return;
        }
        self.page.extend_from_slice(&chunk.key.to_le_bytes());
        put_varint64(&mut self.page, u64::from(chunk.count));
        put_varint64(&mut self.page, u64::from(chunk.first));
        if chunk.count > 1 {
            let length = u16::try_from(chunk.deltas.len()).expect("deltas fit in a page");
            self.page.extend_from_slice(&length.to_le_bytes());
            self.page.extend_from_slice(&chunk.deltas);
        }
        chunk.deltas.clear();
        chunk.count = 0;
    }

    /// Writes the rest and makes it durable.
    pub fn finish(mut self) -> Result<Run, HistoryError> {
        self.end_chunk();
        if !self.page.is_empty() {
            self.meta.posting_pages += 1;
            self.end_page()?;
        }
        let mut directories = Vec::new();
        for first in &self.unique_first {
            directories.extend_from_slice(&first.to_le_bytes());
        }
        for (key, number) in self.posting_keys.iter().zip(&self.posting_numbers) {
            directories.extend_from_slice(&key.to_le_bytes());
            directories.extend_from_slice(&number.to_le_bytes());
        }
        directories.resize(directories.len().next_multiple_of(8), 0);
        self.pages.stream(&directories)?;
        assert_eq!(
            Bloom::bytes_len(self.meta.unique),
            self.filter.to_bytes().len() as u64 * BLOCK_BYTES as u64,
            "the number of unique keys was told right"
        );
        for block in self.filter.to_bytes() {
            self.pages.stream(&block)?;
        }
        self.pages.finish()?;
        Ok(Run {
            meta: self.meta,
            file: self.file,
            unique_first: self.unique_first,
            posting_keys: self.posting_keys,
            posting_numbers: self.posting_numbers,
            filter: self.filter,
        })
    }
}
