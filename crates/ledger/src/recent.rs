//! Ids used by rows that are not yet in the archive for good (pure).
//!
//! Owns: the rows of the last two generations as far as a repeat, a post or a void needs them.
//! Must not: answer for rows below its first one; those are the archive's.
//! Why two generations: forgetting is then dropping a whole table, and a look-up probes at most two.

use crate::hash::IdHasher;
use crate::{Resolution, RowKind, RowNumber, Sealed, TimestampNs, Transfer, TransferFlags, TransferId, Used};
use hashbrown::HashTable;
use std::collections::BTreeMap;

/// A generation is not closed before it has so many rows: a small one is not worth a table of its own.
const GENERATION_ROWS_MIN: u32 = 4_096;

#[derive(Debug, Default)]
struct Generation {
    first: RowNumber,
    /// As in the row. A burnt one has code 0, which no transfer has; an expiry has id 0.
    rows: Vec<Transfer>,
    /// Offsets of rows by their id.
    ids: HashTable<u32>,
    /// Offsets of posts, voids and expiries by the id of what they resolve.
    resolutions: HashTable<u32>,
    /// By offset.
    metadata: BTreeMap<u32, Sealed>,
}

impl Generation {
    fn end(&self) -> RowNumber {
        RowNumber(self.first.0 + self.rows.len() as u64)
    }

    #[inline]
    fn find(&self, hash: u64, id: TransferId) -> Option<u32> {
        self.ids
            .find(hash, |&offset| self.rows[offset as usize].id == id)
            .copied()
    }

    fn used(&self, offset: u32) -> Used {
        let transfer = self.rows[offset as usize];
        if transfer.code.0 == 0 {
            return Used::Burnt;
        }
        Used::Applied {
            transfer,
            metadata: self.metadata.get(&offset).cloned(),
        }
    }

    fn resolution(&self, hash: u64, pending: TransferId) -> Option<Resolution> {
        let offset = self
            .resolutions
            .find(hash, |&offset| self.rows[offset as usize].pending_id == pending)?;
        let row = &self.rows[*offset as usize];
        Some(match row {
            row if row.id.0 == 0 => Resolution::Expired,
            row if row.flags.contains(TransferFlags::VOID_PENDING_TRANSFER) => Resolution::Voided,
            _ => Resolution::Posted,
        })
    }

    fn timestamp_taken(&self, timestamp: TimestampNs) -> bool {
        self.rows
            .binary_search_by_key(&timestamp, |row| row.timestamp)
            .is_ok()
    }

    fn push(&mut self, hasher: IdHasher, transfer: Transfer, sealed: Option<&Sealed>) {
        let offset = u32::try_from(self.rows.len()).unwrap_or(u32::MAX);
        assert!(offset != u32::MAX, "the archive has fallen behind by 2^32 rows");
        self.rows.push(transfer);
        let rows = &self.rows;
        if transfer.id.0 != 0 {
            self.ids
                .insert_unique(hasher.hash(transfer.id.0), offset, |&other| {
                    hasher.hash(rows[other as usize].id.0)
                });
        }
        if transfer.pending_id.0 != 0 {
            self.resolutions
                .insert_unique(hasher.hash(transfer.pending_id.0), offset, |&other| {
                    hasher.hash(rows[other as usize].pending_id.0)
                });
        }
        if let Some(sealed) = sealed {
            self.metadata.insert(offset, sealed.clone());
        }
    }

    fn pop(&mut self, hasher: IdHasher) {
        let Some(transfer) = self.rows.pop() else { return };
        let offset = self.rows.len() as u32;
        if let Ok(entry) = self
            .ids
            .find_entry(hasher.hash(transfer.id.0), |&other| other == offset)
        {
            entry.remove();
        }
        let hash = hasher.hash(transfer.pending_id.0);
        if let Ok(entry) = self.resolutions.find_entry(hash, |&other| other == offset) {
            entry.remove();
        }
        self.metadata.remove(&offset);
    }

    fn restart(&mut self, first: RowNumber) {
        self.first = first;
        self.rows.clear();
        self.ids.clear();
        self.resolutions.clear();
        self.metadata.clear();
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Recent {
    old: Generation,
    new: Generation,
    generation_rows_min: u32,
    hasher: IdHasher,
}

impl Recent {
    /// Holds nothing; the next row is `first`.
    pub(crate) fn starting_at(first: RowNumber, hasher: IdHasher) -> Self {
        let generation = || Generation {
            first,
            ..Generation::default()
        };
        Self {
            old: generation(),
            new: generation(),
            generation_rows_min: GENERATION_ROWS_MIN,
            hasher,
        }
    }

    /// The first row that it answers for.
    #[inline]
    pub(crate) fn first_row(&self) -> RowNumber {
        self.old.first
    }

    /// The number of the next row.
    #[inline]
    pub(crate) fn next_row(&self) -> RowNumber {
        self.new.end()
    }

    #[inline]
    pub(crate) fn find(&self, id: TransferId) -> Option<Used> {
        let hash = self.hasher.hash(id.0);
        if let Some(offset) = self.new.find(hash, id) {
            return Some(self.new.used(offset));
        }
        self.old.find(hash, id).map(|offset| self.old.used(offset))
    }

    pub(crate) fn resolution(&self, pending: TransferId) -> Option<Resolution> {
        let hash = self.hasher.hash(pending.0);
        self.new
            .resolution(hash, pending)
            .or_else(|| self.old.resolution(hash, pending))
    }

    /// Whether a row has that timestamp; `None` when it may be one before the first.
    pub(crate) fn timestamp_taken(&self, timestamp: TimestampNs) -> Option<bool> {
        let first = self.old.rows.first().or(self.new.rows.first());
        if self.first_row().0 > 0 && first.is_none_or(|row| timestamp < row.timestamp) {
            return None;
        }
        Some(self.old.timestamp_taken(timestamp) || self.new.timestamp_taken(timestamp))
    }

    #[inline]
    pub(crate) fn push(&mut self, kind: RowKind, transfer: &Transfer, sealed: Option<&Sealed>) {
        debug_assert!((kind == RowKind::Burnt) == (transfer.code.0 == 0));
        debug_assert!((kind == RowKind::Expired) == (transfer.id.0 == 0));
        self.new.push(self.hasher, *transfer, sealed);
    }

    /// Takes back the rows from that one on; they must be of the newest generation.
    pub(crate) fn truncate(&mut self, next: RowNumber) {
        assert!(
            next >= self.new.first,
            "only rows of the command at hand are taken back"
        );
        while self.next_row() > next {
            self.new.pop(self.hasher);
        }
    }

    /// See [`crate::Ledger::set_generation_rows_min`].
    pub(crate) fn set_generation_rows_min(&mut self, rows: u32) {
        self.generation_rows_min = rows.max(1);
    }

    /// Rows below are in the archive for good.
    pub(crate) fn forget(&mut self, below: RowNumber) {
        while below >= self.old.end() && self.new.rows.len() >= self.generation_rows_min as usize {
            let first = self.new.end();
            std::mem::swap(&mut self.old, &mut self.new);
            self.new.restart(first);
        }
    }
}
