//! Taking records in. Owns: the memory that is being filled, and checking what the ledger promises of its records.

use crate::HistoryError;
use crate::codec::{BlobRef, put_account, put_row};
use crate::cover::Covers;
use crate::hash::{KeyHasher, Tag};
use crate::memory::{AccountIds, LastKey, MemTable, Memory};
use crate::page::{PageBuilder, RecordPage};
use crate::run::Bounds;
use ledger::{Account, AccountNumber, Row, RowKind, Sealed, TimestampNs};
use std::hint::black_box;
use std::sync::Arc;

/// How many rows are looked ahead, so that their look-ups overlap.
pub(crate) const ROWS_AHEAD: usize = 16;

/// The keys of a row that stand at random places.
#[derive(Clone, Copy, Default)]
pub(crate) struct RowKeys {
    id: u64,
    debit: u64,
    credit: u64,
}

/// Fills one [`Memory`].
pub(crate) struct Appender {
    pub memory: Arc<Memory>,
    hasher: KeyHasher,
    account_ids: Arc<AccountIds>,
    pub covers: Covers,
    row_page: PageBuilder,
    account_page: PageBuilder,
    pub row_time: TimestampNs,
    pub account_time: TimestampNs,
    pub next_row: u64,
    pub next_account: u64,
    pub next_blob: u64,
    pub ids: Bounds,
    pub pendings: Bounds,
    last_row_ledger: LastKey,
    last_row_code: LastKey,
    record: Vec<u8>,
}

impl Appender {
    pub fn new(memory: Arc<Memory>, hasher: KeyHasher, account_ids: Arc<AccountIds>, covers: Covers) -> Self {
        Self {
            hasher,
            account_ids,
            covers,
            row_page: PageBuilder::new(),
            account_page: PageBuilder::new(),
            row_time: TimestampNs(0),
            account_time: TimestampNs(0),
            next_row: memory.rows.first,
            next_account: memory.accounts.first,
            next_blob: memory.blob_first,
            ids: Bounds::default(),
            pendings: Bounds::default(),
            last_row_ledger: LastKey::default(),
            last_row_code: LastKey::default(),
            record: Vec::with_capacity(512),
            memory,
        }
    }

    /// Goes on with an empty memory for about so many rows; gives the full one with its bounds of ids and of pending
    /// transfers.
    pub fn turn(&mut self, rows: usize) -> (Arc<Memory>, (Bounds, Bounds)) {
        self.end_pages();
        let bounds = (std::mem::take(&mut self.ids), std::mem::take(&mut self.pendings));
        self.covers.turn(self.next_row, bounds);
        let next = Memory::new(self.next_row, self.next_account, self.next_blob, rows);
        let full = std::mem::replace(&mut self.memory, Arc::new(next));
        (full, bounds)
    }

    pub fn rows(&self) -> u64 {
        self.next_row - self.memory.rows.first
    }

    pub fn accounts(&self) -> u64 {
        self.next_account - self.memory.accounts.first
    }

    pub fn blob_bytes(&self) -> u64 {
        self.next_blob - self.memory.blob_first
    }

    /// The pages that are being filled: of rows, of accounts.
    pub fn tails(&self) -> (Option<Arc<RecordPage>>, Option<Arc<RecordPage>>) {
        (
            self.row_page.snapshot().map(Arc::new),
            self.account_page.snapshot().map(Arc::new),
        )
    }

    /// Ends both pages, so that the memory holds all of it.
    fn end_pages(&mut self) {
        if let Some(page) = self.row_page.finish() {
            self.memory.rows.push_page(page);
        }
        if let Some(page) = self.account_page.finish() {
            self.memory.accounts.push_page(page);
        }
    }

    fn blob(&mut self, sealed: Option<&Sealed>) -> Option<BlobRef> {
        let sealed = sealed?;
        let blob = BlobRef {
            offset: self.next_blob,
            length: u32::try_from(sealed.len()).expect("metadata has a few KiB"),
            check: self.hasher.checksum(sealed),
        };
        if !sealed.is_empty() {
            self.memory.push_blob(self.next_blob, sealed.clone());
        }
        self.next_blob += sealed.len() as u64;
        Some(blob)
    }

    pub fn account(&mut self, account: &Account, metadata: Option<&Sealed>) -> Result<(), HistoryError> {
        let number = self.next_account;
        let wrong = |reason| Err(HistoryError::Inconsistent { number, reason });
        if account.timestamp < self.account_time {
            return wrong("an account's timestamp goes back");
        }
        if account.id.0 == 0 {
            return wrong("an account has no id");
        }
        let Some(own) = u32::try_from(number)
            .ok()
            .map(AccountNumber)
            .filter(|own| *own < AccountNumber::NONE)
        else {
            return Err(HistoryError::Full("account numbers are used up"));
        };
        self.account_ids.set(own, account.id);
        let blob = self.blob(metadata);
        self.record.clear();
        put_account(&mut self.record, account, blob);
        let table = &self.memory.accounts;
        push(
            &mut self.account_page,
            table,
            number,
            account.timestamp,
            &self.record,
        );
        let relative = relative(number, table);
        let hasher = self.hasher;
        for (tag, value) in [
            (Tag::UserData128, account.user_data_128),
            (Tag::UserData64, u128::from(account.user_data_64)),
            (Tag::UserData32, u128::from(account.user_data_32)),
            (Tag::Ledger, u128::from(account.ledger.0)),
            (Tag::Code, u128::from(account.code.0)),
        ] {
            if value != 0 {
                table.post(hasher.key(tag, value), relative);
            }
        }
        self.account_time = account.timestamp;
        self.next_account += 1;
        Ok(())
    }

    /// Hashes the keys of rows that come next, and begins to fetch what they lead to.
    pub fn look_ahead(&self, rows: &[Row]) -> [RowKeys; ROWS_AHEAD] {
        let mut keys = [RowKeys::default(); ROWS_AHEAD];
        let table = &self.memory.rows;
        for (row, keys) in rows.iter().zip(&mut keys) {
            keys.id = self.hasher.key(Tag::Id, row.transfer.id.0);
            keys.debit = self.hasher.key(Tag::Debit, u128::from(row.debit.0));
            keys.credit = self.hasher.key(Tag::Credit, u128::from(row.credit.0));
            let touched = table.touch_unique(keys.id) ^ self.covers.touch(keys.id);
            black_box(touched ^ table.touch_postings(keys.debit) ^ table.touch_postings(keys.credit));
        }
        keys
    }

    pub fn row(&mut self, row: &Row, keys: &RowKeys, metadata: Option<&Sealed>) -> Result<(), HistoryError> {
        self.check_row(row)?;
        let number = self.next_row;
        let blob = if row.kind == RowKind::Burnt {
            None
        } else {
            self.blob(metadata)
        };
        self.record.clear();
        put_row(&mut self.record, row, blob);
        push(
            &mut self.row_page,
            &self.memory.rows,
            number,
            row.transfer.timestamp,
            &self.record,
        );
        self.post_row(row, keys, relative(number, &self.memory.rows));
        self.row_time = row.transfer.timestamp;
        self.next_row += 1;
        Ok(())
    }

    fn check_row(&self, row: &Row) -> Result<(), HistoryError> {
        let number = self.next_row;
        let wrong = |reason| Err(HistoryError::Inconsistent { number, reason });
        if row.transfer.timestamp < self.row_time {
            return wrong("a row's timestamp goes back");
        }
        if row.kind != RowKind::Expired && row.transfer.id.0 == 0 {
            return wrong("a transfer has no id");
        }
        if row.kind == RowKind::Expired && row.transfer.id.0 != 0 {
            return wrong("an expiry has an id");
        }
        if row.kind != RowKind::Burnt
            && (self.account_ids.get(row.debit) != Some(row.transfer.debit_account_id)
                || self.account_ids.get(row.credit) != Some(row.transfer.credit_account_id))
        {
            return wrong("its accounts are not those of its numbers");
        }
        Ok(())
    }

    fn post_row(&mut self, row: &Row, keys: &RowKeys, relative: u32) {
        let (hasher, transfer, table) = (self.hasher, &row.transfer, &self.memory.rows);
        if row.kind != RowKind::Expired {
            table.insert_unique(keys.id, relative);
            self.covers.insert(keys.id);
            self.ids.add(transfer.id.0);
        }
        if row.kind == RowKind::Burnt {
            return;
        }
        if transfer.pending_id.0 != 0 {
            let key = hasher.key(Tag::Resolution, transfer.pending_id.0);
            table.insert_unique(key, relative);
            self.covers.insert(key);
            self.pendings.add(transfer.pending_id.0);
        }
        table.post(keys.debit, relative);
        table.post(keys.credit, relative);
        if transfer.user_data_128 != 0 {
            table.post(hasher.key(Tag::UserData128, transfer.user_data_128), relative);
        }
        if transfer.user_data_64 != 0 {
            table.post(
                hasher.key(Tag::UserData64, u128::from(transfer.user_data_64)),
                relative,
            );
        }
        if transfer.user_data_32 != 0 {
            table.post(
                hasher.key(Tag::UserData32, u128::from(transfer.user_data_32)),
                relative,
            );
        }
        let ledger = u64::from(transfer.ledger.0);
        table.post(
            self.last_row_ledger
                .key(ledger, || hasher.key(Tag::Ledger, u128::from(ledger))),
            relative,
        );
        let code = u64::from(transfer.code.0);
        table.post(
            self.last_row_code
                .key(code, || hasher.key(Tag::Code, u128::from(code))),
            relative,
        );
    }
}

fn relative(number: u64, table: &MemTable) -> u32 {
    u32::try_from(number - table.first).expect("a memtable holds far less than 2^32 records")
}

fn push(page: &mut PageBuilder, table: &MemTable, number: u64, time: TimestampNs, record: &[u8]) {
    if page.push(number, time, record) {
        return;
    }
    table.push_page(page.finish().expect("a page that has no room has records"));
    assert!(page.push(number, time, record), "a record fits in an empty page");
}
