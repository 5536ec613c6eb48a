//! What a reader sees. Owns: the immutable view (files, memory, published position) and reading records by number
//! and by time in it.

use crate::codec::{BlobRef, Bytes, take_account, take_row};
use crate::cover::Cover;
use crate::extent::{Extent, Pages};
use crate::hash::KeyHasher;
use crate::memory::{AccountIds, MemTable, Memory};
use crate::page::RecordPage;
use crate::run::Run;
use crate::{HistoryError, Position};
use ledger::{Account, Row, Sealed, TimestampNs};
use std::sync::Arc;

/// Which records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Of {
    /// Rows of transfers.
    Rows,
    /// Accounts.
    Accounts,
}

impl Of {
    pub fn memory(self, memory: &Memory) -> &MemTable {
        match self {
            Self::Rows => &memory.rows,
            Self::Accounts => &memory.accounts,
        }
    }

    pub fn pages(self, extent: &Extent) -> &Pages {
        match self {
            Self::Rows => &extent.rows,
            Self::Accounts => &extent.accounts,
        }
    }
}

/// What is in files, as the manifest has it.
#[derive(Clone, Default)]
pub(crate) struct Durable {
    pub position: Position,
    pub extents: Vec<Arc<Extent>>,
    pub row_runs: Vec<Arc<Run>>,
    pub account_runs: Vec<Arc<Run>>,
}

impl Durable {
    pub fn runs(&self, of: Of) -> &Vec<Arc<Run>> {
        match of {
            Of::Rows => &self.row_runs,
            Of::Accounts => &self.account_runs,
        }
    }

    pub fn runs_mut(&mut self, of: Of) -> &mut Vec<Arc<Run>> {
        match of {
            Of::Rows => &mut self.row_runs,
            Of::Accounts => &mut self.account_runs,
        }
    }
}

/// History up to a block.
pub(crate) struct View {
    pub position: Position,
    pub durable: Arc<Durable>,
    /// The oldest first; the last one is being filled.
    pub memories: Vec<Arc<Memory>>,
    /// The oldest first, without a gap up to the end; at least one.
    pub covers: Vec<Arc<Cover>>,
    /// The page of rows that is being filled, as of the position.
    pub row_tail: Option<Arc<RecordPage>>,
    /// The page of accounts that is being filled, as of the position.
    pub account_tail: Option<Arc<RecordPage>>,
    pub hasher: KeyHasher,
    pub account_ids: Arc<AccountIds>,
}

impl View {
    /// Number after the last record that is seen.
    pub fn end(&self, of: Of) -> u64 {
        match of {
            Of::Rows => self.position.rows.0,
            Of::Accounts => u64::from(self.position.accounts.0),
        }
    }

    fn tail(&self, of: Of) -> Option<&RecordPage> {
        match of {
            Of::Rows => self.row_tail.as_deref(),
            Of::Accounts => self.account_tail.as_deref(),
        }
    }

    /// How many records that are seen have a time before `time`, or at it too when `inclusive`.
    pub fn count_before(&self, of: Of, time: TimestampNs, inclusive: bool) -> Result<u64, HistoryError> {
        let before = |page: &RecordPage| page.first_time() < time || (inclusive && page.first_time() == time);
        let count = |page: &RecordPage| {
            let count = page.count_before(time, inclusive).ok_or_else(malformed)?;
            Ok((page.first() + count).min(self.end(of)))
        };
        if let Some(tail) = self.tail(of)
            && before(tail)
        {
            return count(tail);
        }
        for memory in self.memories.iter().rev() {
            let table = of.memory(memory);
            let (mut low, mut high) = (0, table.page_count());
            while low < high {
                let middle = usize::midpoint(low, high);
                if before(table.page(middle)) {
                    low = middle + 1
                } else {
                    high = middle
                }
            }
            if low > 0 {
                return count(table.page(low - 1));
            }
        }
        // Extents without records of this kind are passed over to the one before them.
        let extents = &self.durable.extents;
        let (mut low, mut high) = (0, extents.len());
        while low < high {
            let middle = usize::midpoint(low, high);
            let known = extents[low..=middle]
                .iter()
                .enumerate()
                .rev()
                .find_map(|(i, extent)| Some((low + i, of.pages(extent).begins_before(time, inclusive)?)));
            match known {
                Some((at, false)) => high = at,
                _ => low = middle + 1,
            }
        }
        for extent in extents[..low].iter().rev() {
            let pages = of.pages(extent);
            if let Some(page) = pages.last_page_before(time, inclusive) {
                return count(&extent.read(pages, page)?);
            }
        }
        Ok(0)
    }

    fn locate(&self, of: Of, number: u64) -> Result<Held<'_>, HistoryError> {
        if let Some(tail) = self.tail(of)
            && tail.first() <= number
        {
            return Ok(Held::Shared(tail));
        }
        let after = self
            .memories
            .partition_point(|memory| of.memory(memory).first <= number);
        if after > 0 {
            let page = of
                .memory(&self.memories[after - 1])
                .page_of(number)
                .ok_or_else(malformed)?;
            return Ok(Held::Shared(page));
        }
        let extents = &self.durable.extents;
        let after = extents.partition_point(|extent| of.pages(extent).meta.first <= number);
        let extent = &extents[after.checked_sub(1).ok_or_else(malformed)?];
        let pages = of.pages(extent);
        if number - pages.meta.first >= pages.meta.count {
            return Err(malformed());
        }
        Ok(Held::Read(extent.read(pages, pages.page_of(number))?))
    }

    /// Metadata that a record names.
    pub fn blob(&self, blob: BlobRef) -> Result<Sealed, HistoryError> {
        if blob.length == 0 {
            return Ok(Sealed::from([]));
        }
        let after = self
            .memories
            .partition_point(|memory| memory.blob_first <= blob.offset);
        if after > 0 {
            return self.memories[after - 1].blob(blob).ok_or_else(malformed);
        }
        let extents = &self.durable.extents;
        let after = extents.partition_point(|extent| extent.meta.blob_first <= blob.offset);
        let extent = &extents[after.checked_sub(1).ok_or_else(malformed)?];
        let bytes = extent.read_blob(blob)?;
        if self.hasher.checksum(&bytes) != blob.check {
            return Err(extent
                .file
                .damaged(extent.meta.blob_page, "metadata does not match its checksum"));
        }
        Ok(bytes.into())
    }
}

/// Numbers, directories and pages contradict each other.
fn malformed() -> HistoryError {
    HistoryError::Damaged {
        file: "records".to_owned(),
        page: 0,
        reason: "a record is not where it should be".to_owned(),
    }
}

enum Held<'v> {
    Shared(&'v RecordPage),
    Read(RecordPage),
}

/// Reads records by number and keeps the last page at hand.
pub(crate) struct Records<'v> {
    view: &'v View,
    of: Of,
    held: Option<Held<'v>>,
}

impl<'v> Records<'v> {
    pub fn new(view: &'v View, of: Of) -> Self {
        Self { view, of, held: None }
    }

    fn page(&self) -> Option<&RecordPage> {
        match self.held.as_ref()? {
            Held::Shared(page) => Some(page),
            Held::Read(page) => Some(page),
        }
    }

    fn record(&mut self, number: u64) -> Result<(TimestampNs, Bytes<'_>), HistoryError> {
        let covers = |page: &RecordPage| page.first() <= number && number - page.first() < page.count();
        if !self.page().is_some_and(covers) {
            self.held = Some(self.view.locate(self.of, number)?);
        }
        let page = self.page().ok_or_else(malformed)?;
        let index = number.checked_sub(page.first()).ok_or_else(malformed)?;
        page.record(index).ok_or_else(malformed)
    }

    pub fn row(&mut self, number: u64) -> Result<(Row, Option<BlobRef>), HistoryError> {
        let ids = &*self.view.account_ids;
        let (time, mut bytes) = self.record(number)?;
        take_row(&mut bytes, time, |account| ids.get(account)).ok_or_else(malformed)
    }

    pub fn account(&mut self, number: u64) -> Result<(Account, Option<BlobRef>), HistoryError> {
        let (time, mut bytes) = self.record(number)?;
        take_account(&mut bytes, time).ok_or_else(malformed)
    }
}
