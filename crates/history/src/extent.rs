//! Records on disk. Owns: extents, each of which holds what one flush wrote to a store file: pages of rows, pages of
//! accounts, their directory, and metadata. A store file is only ever appended to, and no page is written twice.

use crate::codec::{BlobRef, Bytes};
use crate::file::{PageFile, PageWriter, read_stream};
use crate::memory::{MemTable, Memory};
use crate::page::{PAGE_BYTES, RecordPage};
use crate::{HistoryError, Pace};
use ledger::TimestampNs;
use std::sync::Arc;

/// Metadata is gathered up to this size before it is written.
const BLOB_WRITE_BYTES: usize = 256 << 10;

/// Where the pages of one kind are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PagesMeta {
    /// Number of the first record.
    pub first: u64,
    /// How many records.
    pub count: u64,
    /// The first page in the file.
    pub start_page: u64,
    /// How many pages.
    pub pages: u64,
}

/// What the manifest must know of an extent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ExtentMeta {
    /// Number of the store file.
    pub file: u64,
    pub rows: PagesMeta,
    pub accounts: PagesMeta,
    /// Where the directory's stream begins.
    pub directory_page: u64,
    /// Offset of the first piece of metadata, counted over all.
    pub blob_first: u64,
    pub blob_bytes: u64,
    /// Where the metadata begins.
    pub blob_page: u64,
}

/// Pages of one kind, with the first number and time of each.
pub(crate) struct Pages {
    pub meta: PagesMeta,
    numbers: Vec<u64>,
    times: Vec<u64>,
}

/// What one flush wrote.
pub(crate) struct Extent {
    pub meta: ExtentMeta,
    pub file: Arc<PageFile>,
    pub rows: Pages,
    pub accounts: Pages,
}

impl Pages {
    fn new(meta: PagesMeta) -> Self {
        Self {
            meta,
            numbers: Vec::new(),
            times: Vec::new(),
        }
    }

    /// The page that holds a number of this extent.
    pub fn page_of(&self, number: u64) -> u64 {
        (self.numbers.partition_point(|&first| first <= number) - 1) as u64
    }

    /// Whether the first record's time is before `time`, or at it too when `inclusive`; an extent without records
    /// says `None`.
    pub fn begins_before(&self, time: TimestampNs, inclusive: bool) -> Option<bool> {
        let first = *self.times.first()?;
        Some(first < time.0 || (inclusive && first == time.0))
    }

    /// The last page whose first record is so.
    pub fn last_page_before(&self, time: TimestampNs, inclusive: bool) -> Option<u64> {
        let pages = self
            .times
            .partition_point(|&first| first < time.0 || (inclusive && first == time.0));
        Some(pages.checked_sub(1)? as u64)
    }
}

impl Extent {
    pub fn open(file: Arc<PageFile>, meta: ExtentMeta) -> Result<Self, HistoryError> {
        let mut rows = Pages::new(meta.rows.clone());
        let mut accounts = Pages::new(meta.accounts.clone());
        let bytes = directory_bytes(&meta);
        let mut directory = Vec::with_capacity(usize::try_from(bytes).unwrap_or(0));
        read_stream(&file, meta.directory_page, bytes, |bytes| {
            directory.extend_from_slice(bytes)
        })?;
        let mut bytes = Bytes(&directory);
        for pages in [&mut rows, &mut accounts] {
            for _ in 0..pages.meta.pages {
                pages
                    .numbers
                    .push(bytes.u64().expect("the stream has its length"));
                pages.times.push(bytes.u64().expect("the stream has its length"));
            }
            let begins = pages.numbers.first().copied();
            if begins != (pages.meta.count > 0).then_some(pages.meta.first) {
                return Err(file.damaged(
                    meta.directory_page,
                    "its directory does not begin where it should",
                ));
            }
        }
        Ok(Self {
            meta,
            file,
            rows,
            accounts,
        })
    }

    /// Writes what is in memory to the end of a store file and makes it durable. Gives the extent and the
    /// file's next free page.
    pub fn write(
        file: &Arc<PageFile>,
        start_page: u64,
        memory: &Memory,
        pace: &dyn Pace,
    ) -> Result<(Self, u64), HistoryError> {
        let mut writer = PageWriter::new(file.clone(), start_page, pace);
        let rows = write_pages(&mut writer, &memory.rows)?;
        let accounts = write_pages(&mut writer, &memory.accounts)?;
        let directory_page = writer.next_page();
        for pages in [&rows, &accounts] {
            for (number, time) in pages.numbers.iter().zip(&pages.times) {
                writer.stream(&number.to_le_bytes())?;
                writer.stream(&time.to_le_bytes())?;
            }
        }
        writer.end_stream()?;
        writer.flush()?;
        let blob_page = writer.next_page();
        let blob_bytes = write_blobs(file, blob_page * PAGE_BYTES as u64, memory)?;
        writer.finish()?;
        let meta = ExtentMeta {
            file: file.stamp.number,
            rows: rows.meta.clone(),
            accounts: accounts.meta.clone(),
            directory_page,
            blob_first: memory.blob_first,
            blob_bytes,
            blob_page,
        };
        let next_page = blob_page + blob_bytes.div_ceil(PAGE_BYTES as u64);
        Ok((
            Self {
                meta,
                file: file.clone(),
                rows,
                accounts,
            },
            next_page,
        ))
    }

    /// Reads a page of records, by its place in `pages`.
    pub fn read(&self, pages: &Pages, index: u64) -> Result<RecordPage, HistoryError> {
        let number = pages.meta.start_page + index;
        let mut buffer = [0; PAGE_BYTES];
        self.file.read_page(number, &mut buffer)?;
        RecordPage::from_payload(&buffer).ok_or_else(|| self.file.damaged(number, "it is no page of records"))
    }

    /// Reads metadata; its checksum is the caller's to verify.
    pub fn read_blob(&self, blob: BlobRef) -> Result<Vec<u8>, HistoryError> {
        let start = self.meta.blob_page * PAGE_BYTES as u64;
        let end = blob.offset + u64::from(blob.length);
        if end > self.meta.blob_first + self.meta.blob_bytes {
            return Err(self
                .file
                .damaged(self.meta.blob_page, "metadata lies outside of its extent"));
        }
        let mut bytes = vec![0; blob.length as usize];
        self.file
            .read_raw(start + blob.offset - self.meta.blob_first, &mut bytes)?;
        Ok(bytes)
    }
}

fn directory_bytes(meta: &ExtentMeta) -> u64 {
    16 * (meta.rows.pages + meta.accounts.pages)
}

/// Writes all metadata from an offset of the file on; gives how much there is.
fn write_blobs(file: &PageFile, start: u64, memory: &Memory) -> Result<u64, HistoryError> {
    let mut buffer = Vec::new();
    let mut written = 0;
    for (_, blob) in memory.blobs() {
        buffer.extend_from_slice(blob);
        if buffer.len() >= BLOB_WRITE_BYTES {
            file.write_raw(start + written, &buffer)?;
            written += buffer.len() as u64;
            buffer.clear();
        }
    }
    if !buffer.is_empty() {
        file.write_raw(start + written, &buffer)?;
        written += buffer.len() as u64;
    }
    Ok(written)
}

fn write_pages(writer: &mut PageWriter, table: &MemTable) -> Result<Pages, HistoryError> {
    let mut pages = Pages::new(PagesMeta {
        first: table.first,
        count: 0,
        start_page: writer.next_page(),
        pages: table.page_count() as u64,
    });
    for index in 0..table.page_count() {
        let page = table.page(index);
        pages.numbers.push(page.first());
        pages.times.push(page.first_time().0);
        pages.meta.count += page.count();
        writer.push(page.payload())?;
    }
    Ok(pages)
}
