//! Pages of records (pure). Owns: how records of rising number and time are packed into one page.
//! Layout: first number u64, first time u64, count u16, records; from the end backwards the start of each record, u16.

use crate::codec::{Bytes, put_varint64};
use ledger::TimestampNs;

/// Bytes of a page on disk.
pub(crate) const PAGE_BYTES: usize = 4096;
/// Bytes of a page that hold content; the rest authenticates it.
pub(crate) const PAYLOAD_BYTES: usize = PAGE_BYTES - storage::TAG_BYTES;

const HEADER_BYTES: usize = 18;

/// Records with successive numbers.
#[derive(Clone)]
pub(crate) struct RecordPage {
    bytes: Box<[u8]>,
}

impl RecordPage {
    /// Takes the content of a page that was read.
    pub fn from_payload(bytes: &[u8]) -> Option<Self> {
        let page = Self {
            bytes: bytes.get(..PAYLOAD_BYTES)?.into(),
        };
        (page.count() > 0 && HEADER_BYTES + 2 * page.count() as usize <= PAYLOAD_BYTES).then_some(page)
    }

    pub fn payload(&self) -> &[u8] {
        &self.bytes
    }

    /// Number of the first record.
    pub fn first(&self) -> u64 {
        u64::from_le_bytes(self.bytes[..8].try_into().expect("8 bytes"))
    }

    /// Time of the first record.
    pub fn first_time(&self) -> TimestampNs {
        TimestampNs(u64::from_le_bytes(self.bytes[8..16].try_into().expect("8 bytes")))
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        u64::from(u16::from_le_bytes([self.bytes[16], self.bytes[17]]))
    }

    /// Time and content of a record; `None` when the page makes no sense.
    pub fn record(&self, index: u64) -> Option<(TimestampNs, Bytes<'_>)> {
        if index >= self.count() {
            return None;
        }
        let at = PAYLOAD_BYTES - 2 * (usize::try_from(index).ok()? + 1);
        let start = usize::from(u16::from_le_bytes([self.bytes[at], self.bytes[at + 1]]));
        let mut bytes = Bytes(self.bytes.get(start..at)?);
        let time = self.first_time().0.checked_add(bytes.varint64()?)?;
        Some((TimestampNs(time), bytes))
    }

    /// How many of the first records have a time before `time`, or at it too when `inclusive`.
    pub fn count_before(&self, time: TimestampNs, inclusive: bool) -> Option<u64> {
        for index in 0..self.count() {
            let (found, _) = self.record(index)?;
            if found > time || (found == time && !inclusive) {
                return Some(index);
            }
        }
        Some(self.count())
    }
}

/// Fills a page.
pub(crate) struct PageBuilder {
    first_time: u64,
    count: u16,
    bytes: Vec<u8>,
    time: Vec<u8>,
}

impl PageBuilder {
    pub fn new() -> Self {
        Self {
            first_time: 0,
            count: 0,
            bytes: Vec::with_capacity(PAYLOAD_BYTES),
            time: Vec::with_capacity(10),
        }
    }

    /// Adds a record; `false` when there is no room, and then nothing was done.
    pub fn push(&mut self, number: u64, time: TimestampNs, record: &[u8]) -> bool {
        if self.count == 0 {
            self.first_time = time.0;
            self.bytes.clear();
            self.bytes.extend_from_slice(&number.to_le_bytes());
            self.bytes.extend_from_slice(&time.0.to_le_bytes());
            self.bytes.extend_from_slice(&[0; PAYLOAD_BYTES - 16]);
            self.bytes.truncate(PAYLOAD_BYTES);
            self.end(HEADER_BYTES);
        }
        let start = self.start();
        self.time.clear();
        put_varint64(&mut self.time, time.0 - self.first_time);
        let end = start + self.time.len() + record.len();
        let slot = PAYLOAD_BYTES - 2 * (usize::from(self.count) + 1);
        // Two bytes more are kept for the start of the record after this one.
        if end + 2 > slot {
            return false;
        }
        self.bytes[start..start + self.time.len()].copy_from_slice(&self.time);
        self.bytes[start + self.time.len()..end].copy_from_slice(record);
        self.count += 1;
        self.bytes[16..18].copy_from_slice(&self.count.to_le_bytes());
        self.end(end);
        true
    }

    /// The start of the next record stands where its slot will be.
    fn start(&self) -> usize {
        let slot = PAYLOAD_BYTES - 2 * (usize::from(self.count) + 1);
        usize::from(u16::from_le_bytes([self.bytes[slot], self.bytes[slot + 1]]))
    }

    fn end(&mut self, end: usize) {
        let slot = PAYLOAD_BYTES - 2 * (usize::from(self.count) + 1);
        self.bytes[slot..slot + 2].copy_from_slice(&u16::try_from(end).expect("below 4096").to_le_bytes());
    }

    /// A copy as it stands; `None` when empty.
    pub fn snapshot(&self) -> Option<RecordPage> {
        (self.count > 0).then(|| RecordPage {
            bytes: self.bytes.as_slice().into(),
        })
    }

    /// The page, leaving the builder empty.
    pub fn finish(&mut self) -> Option<RecordPage> {
        let page = self.snapshot();
        self.count = 0;
        page
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_gives_back_what_it_took_until_it_is_full() {
        for length in [0_usize, 1, 60, 1000, 4000] {
            let mut builder = PageBuilder::new();
            let mut count = 0;
            while builder.push(
                100 + count,
                TimestampNs(1_000 + count * 300),
                &vec![count as u8; length],
            ) {
                count += 1;
            }
            assert!(count >= 1, "length {length}");
            let page = builder.finish().unwrap();
            let page = RecordPage::from_payload(page.payload()).unwrap();
            assert_eq!(
                (page.first(), page.count(), page.first_time()),
                (100, count, TimestampNs(1_000))
            );
            for i in 0..count {
                let (time, bytes) = page.record(i).unwrap();
                assert_eq!(time, TimestampNs(1_000 + i * 300));
                assert_eq!(bytes.0[..length], vec![i as u8; length]);
            }
            assert!(page.record(count).is_none());
            assert_eq!(page.count_before(TimestampNs(1_000), false), Some(0));
            assert_eq!(page.count_before(TimestampNs(1_000), true), Some(1));
            assert_eq!(page.count_before(TimestampNs(u64::MAX), true), Some(count));
            assert!(builder.snapshot().is_none());
        }
    }
}
