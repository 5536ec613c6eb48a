//! A history made at random, and the naive answers to compare with.

use history::{Filter, Order, Position, Reader, Writer};
use ledger::{
    Account, AccountFlags, AccountId, AccountNumber, Amount, Balances, Code, Height, LedgerId, Outcome,
    Resolution, Row, RowKind, RowNumber, Sealed, TimestampNs, Transfer, TransferFlags, TransferId,
};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::sync::Arc;
use storage::{DataKey, KeyId, KeyRing};

pub fn keys() -> KeyRing {
    KeyRing::new(DataKey::new(KeyId(3), [9; 32]))
}

/// Everything that was ever fed, and where blocks end.
pub struct Model {
    pub random: StdRng,
    pub rows: Vec<Row>,
    pub metadata: Vec<Option<Sealed>>,
    pub accounts: Vec<Account>,
    pub account_metadata: Vec<Option<Sealed>>,
    /// Block i has height i + 1; several outcomes each.
    pub blocks: Vec<Vec<Outcome>>,
    open: Vec<TransferId>,
    time: u64,
}

fn balances(random: &mut StdRng) -> Balances {
    let mut amount = || Amount(random.random::<u128>() >> random.random_range(0..128));
    Balances {
        debits_pending: amount(),
        debits_posted: amount(),
        credits_pending: amount(),
        credits_posted: amount(),
    }
}

fn hash(height: usize) -> [u8; 32] {
    [height as u8; 32]
}

impl Model {
    pub fn new(seed: u64) -> Self {
        println!("seed {seed}");
        Self {
            random: StdRng::seed_from_u64(seed),
            rows: Vec::new(),
            metadata: Vec::new(),
            accounts: Vec::new(),
            account_metadata: Vec::new(),
            blocks: Vec::new(),
            open: Vec::new(),
            time: 1_000,
        }
    }

    fn sealed(&mut self) -> Option<Sealed> {
        if self.random.random_range(0..6) > 0 {
            return None;
        }
        let length = [0, 1, 30, 900, 5_000][self.random.random_range(0..5)];
        Some((0..length).map(|_| self.random.random::<u8>()).collect())
    }

    fn account(&mut self) -> Account {
        self.time += self.random.random_range(1..1_000);
        Account {
            id: AccountId(self.random.random::<u128>() | 1),
            balances: Balances::default(),
            user_data_128: u128::from(self.random.random_range(0..4_u32)) << 90,
            user_data_64: self.random.random_range(0..3),
            user_data_32: self.random.random_range(0..3),
            ledger: LedgerId(self.random.random_range(1..3)),
            code: Code(self.random.random_range(1..5)),
            flags: AccountFlags::HISTORY,
            timestamp: TimestampNs(self.time),
        }
    }

    fn row(&mut self) -> Row {
        let kind = match self.random.random_range(0..20) {
            0 => RowKind::Burnt,
            1 if !self.open.is_empty() => RowKind::Expired,
            _ => RowKind::Applied,
        };
        // A burnt row may share the time of the row before it.
        let step = if kind == RowKind::Burnt {
            self.random.random_range(0..2)
        } else {
            self.random.random_range(1..1 << 30)
        };
        self.time += step;
        let mut transfer = Transfer {
            id: TransferId(self.random.random::<u128>() | 1),
            timestamp: TimestampNs(self.time),
            ..Transfer::default()
        };
        let random = &mut self.random;
        if kind == RowKind::Burnt {
            return Row {
                kind,
                transfer,
                debit: AccountNumber::NONE,
                credit: AccountNumber::NONE,
                debit_balances: Balances::default(),
                credit_balances: Balances::default(),
            };
        }
        // A few busy accounts and many quiet ones.
        let count = self.accounts.len() as u32;
        let busy = random.random_range(0..3) > 0;
        let debit = random.random_range(0..if busy { 2.min(count) } else { count });
        let credit = (debit + random.random_range(1..count)) % count;
        transfer.debit_account_id = self.accounts[debit as usize].id;
        transfer.credit_account_id = self.accounts[credit as usize].id;
        transfer.amount = Amount(random.random::<u128>() >> random.random_range(0..128));
        transfer.user_data_128 = u128::from(random.random_range(0..40_u32)) << 100;
        transfer.user_data_64 = u64::from(random.random_range(0..5_u32)) << 40;
        transfer.user_data_32 = random.random_range(0..3);
        transfer.ledger = LedgerId(random.random_range(1..3));
        transfer.code = Code(random.random_range(1..4));
        if kind == RowKind::Expired {
            transfer.id = TransferId(0);
        } else if random.random_range(0..4) == 0 {
            transfer.flags = TransferFlags::PENDING;
            transfer.timeout = random.random_range(0..9);
            self.open.push(transfer.id);
        }
        let resolves =
            kind == RowKind::Expired || (transfer.flags.is_empty() && random.random_range(0..4) == 0);
        if resolves && !self.open.is_empty() {
            let at = random.random_range(0..self.open.len());
            transfer.pending_id = self.open.swap_remove(at);
            if kind == RowKind::Applied {
                let post = random.random_range(0..2) == 0;
                transfer.flags = if post {
                    TransferFlags::POST_PENDING_TRANSFER
                } else {
                    TransferFlags::VOID_PENDING_TRANSFER
                };
            }
        }
        Row {
            kind,
            transfer,
            debit: AccountNumber(debit),
            credit: AccountNumber(credit),
            debit_balances: balances(random),
            credit_balances: balances(random),
        }
    }

    fn outcome(&mut self, rows: usize) -> Outcome {
        let mut outcome = Outcome {
            first_row: RowNumber(self.rows.len() as u64),
            first_account: AccountNumber(self.accounts.len() as u32),
            ..Outcome::default()
        };
        let accounts = if self.accounts.is_empty() {
            5
        } else {
            self.random.random_range(0..3)
        };
        for index in 0..accounts {
            let account = self.account();
            let sealed = self.sealed();
            outcome
                .account_metadata
                .extend(sealed.clone().map(|sealed| (index, sealed)));
            outcome.new_accounts.push(account);
            self.accounts.push(account);
            self.account_metadata.push(sealed);
        }
        for index in 0..rows as u32 {
            let row = self.row();
            let sealed = if row.kind == RowKind::Burnt {
                None
            } else {
                self.sealed()
            };
            outcome
                .row_metadata
                .extend(sealed.clone().map(|sealed| (index, sealed)));
            outcome.rows.push(row);
            self.rows.push(row);
            self.metadata.push(sealed);
        }
        outcome
    }

    /// Makes a block and feeds it.
    pub fn block(&mut self, writer: &mut Writer) {
        let outcomes = (0..self.random.random_range(1..4))
            .map(|_| {
                let rows = self.random.random_range(0..40);
                self.outcome(rows)
            })
            .collect();
        self.blocks.push(outcomes);
        self.feed(writer, self.blocks.len());
    }

    /// Feeds all blocks from a height on.
    pub fn feed(&self, writer: &mut Writer, from: usize) {
        for height in from..=self.blocks.len() {
            for outcome in &self.blocks[height - 1] {
                writer.append(outcome).unwrap();
            }
            writer.commit(Height(height as u64), hash(height)).unwrap();
        }
    }

    pub fn position(&self) -> Position {
        Position {
            height: Height(self.blocks.len() as u64),
            hash: hash(self.blocks.len()),
            rows: RowNumber(self.rows.len() as u64),
            accounts: AccountNumber(self.accounts.len() as u32),
        }
    }

    fn some_time(&mut self) -> TimestampNs {
        match self.random.random_range(0..8) {
            0 => TimestampNs(0),
            1 => TimestampNs(u64::MAX >> 1),
            _ => {
                let at = self.random.random_range(0..self.rows.len());
                TimestampNs(
                    (self.rows[at].transfer.timestamp.0 + self.random.random_range(0..3)).saturating_sub(1),
                )
            }
        }
    }

    pub fn filter(&mut self, of_rows: bool) -> Filter {
        let random = &mut self.random;
        let mut sometimes = |value: u128| if random.random_range(0..4) == 0 { value } else { 0 };
        let mut filter = Filter {
            user_data_128: sometimes(if of_rows { 3 << 100 } else { 1 << 90 }),
            user_data_64: sometimes(if of_rows { 1 << 40 } else { 2 }) as u64,
            user_data_32: sometimes(2) as u32,
            ledger: LedgerId(sometimes(1) as u32),
            code: Code(sometimes(3) as u16),
            limit: [1, 3, 10, 100, 8_190][random.random_range(0..5)],
            order: [Order::NewestFirst, Order::OldestFirst][random.random_range(0..2)],
            ..Filter::default()
        };
        if of_rows && random.random_range(0..2) == 0 {
            let sides = random.random_range(1..4);
            filter.account = Some(history::AccountSide {
                account: AccountNumber(random.random_range(0..self.accounts.len() as u32 + 1)),
                debits: sides & 1 != 0,
                credits: sides & 2 != 0,
            });
        }
        if self.random.random_range(0..3) == 0 {
            filter.timestamp_min = self.some_time();
        }
        if self.random.random_range(0..3) == 0 {
            filter.timestamp_max = self.some_time();
            if filter.timestamp_max < filter.timestamp_min {
                std::mem::swap(&mut filter.timestamp_min, &mut filter.timestamp_max);
            }
        }
        if self.random.random_range(0..4) == 0 {
            filter.after = Some(RowNumber(self.random.random_range(0..self.rows.len() as u64 + 3)));
        }
        filter
    }

    fn matching(filter: &Filter, count: usize, matches: impl Fn(usize) -> bool) -> (Vec<u64>, bool) {
        let mut numbers: Vec<u64> = (0..count).filter(|&i| matches(i)).map(|i| i as u64).collect();
        if filter.order == Order::NewestFirst {
            numbers.reverse();
        }
        if let Some(after) = filter.after {
            numbers.retain(|&number| match filter.order {
                Order::NewestFirst => number < after.0,
                Order::OldestFirst => number > after.0,
            });
        }
        let more = numbers.len() > filter.limit as usize;
        numbers.truncate(filter.limit as usize);
        (numbers, more)
    }

    pub fn matching_rows(&self, filter: &Filter) -> (Vec<u64>, bool) {
        Self::matching(filter, self.rows.len(), |i| {
            let row = &self.rows[i];
            let transfer = &row.transfer;
            row.kind != RowKind::Burnt
                && filter.account.is_none_or(|side| {
                    side.debits && row.debit == side.account || side.credits && row.credit == side.account
                })
                && [0, transfer.user_data_128].contains(&filter.user_data_128)
                && [0, transfer.user_data_64].contains(&filter.user_data_64)
                && [0, transfer.user_data_32].contains(&filter.user_data_32)
                && [0, transfer.ledger.0].contains(&filter.ledger.0)
                && [0, transfer.code.0].contains(&filter.code.0)
                && in_time(filter, transfer.timestamp)
        })
    }

    pub fn matching_accounts(&self, filter: &Filter) -> (Vec<u64>, bool) {
        Self::matching(filter, self.accounts.len(), |i| {
            let account = &self.accounts[i];
            [0, account.user_data_128].contains(&filter.user_data_128)
                && [0, account.user_data_64].contains(&filter.user_data_64)
                && [0, account.user_data_32].contains(&filter.user_data_32)
                && [0, account.ledger.0].contains(&filter.ledger.0)
                && [0, account.code.0].contains(&filter.code.0)
                && in_time(filter, account.timestamp)
        })
    }

    pub fn resolution(&self, pending: TransferId, before: u64) -> Option<Resolution> {
        let before = (before as usize).min(self.rows.len());
        let row = self.rows[..before]
            .iter()
            .find(|row| row.transfer.pending_id == pending)?;
        Some(match row.kind {
            RowKind::Expired => Resolution::Expired,
            _ if row.transfer.flags.contains(TransferFlags::POST_PENDING_TRANSFER) => Resolution::Posted,
            _ => Resolution::Voided,
        })
    }

    pub fn balance_at(
        &self,
        account: AccountNumber,
        at: TimestampNs,
    ) -> Option<(RowNumber, TimestampNs, Balances)> {
        let touches = |row: &Row| row.debit == account || row.credit == account;
        let at = self
            .rows
            .iter()
            .rposition(|row| row.transfer.timestamp <= at && touches(row))?;
        let row = &self.rows[at];
        let balances = if row.debit == account {
            row.debit_balances
        } else {
            row.credit_balances
        };
        Some((RowNumber(at as u64), row.transfer.timestamp, balances))
    }

    /// Asks everything, some of it at random.
    pub fn check(&mut self, reader: &Reader) {
        assert_eq!(reader.published(), self.position());
        assert_eq!(reader.archived_below().0, self.rows.len() as u64);
        if self.rows.is_empty() {
            return;
        }
        for _ in 0..40 {
            let filter = self.filter(true);
            let found = reader.query_transfers(&filter).unwrap();
            let (numbers, more) = self.matching_rows(&filter);
            assert_eq!(found.more, more, "{filter:?}");
            assert_eq!(
                found.items.iter().map(|item| item.number.0).collect::<Vec<_>>(),
                numbers,
                "{filter:?}"
            );
            for item in found.items {
                let number = item.number.0 as usize;
                assert_eq!(
                    (item.row, item.metadata),
                    (self.rows[number], self.metadata[number].clone())
                );
            }
            let filter = self.filter(false);
            let found = reader.query_accounts(&filter).unwrap();
            let (numbers, more) = self.matching_accounts(&filter);
            assert_eq!(found.more, more, "{filter:?}");
            assert_eq!(
                found
                    .items
                    .iter()
                    .map(|item| u64::from(item.0))
                    .collect::<Vec<_>>(),
                numbers,
                "{filter:?}"
            );
            let account = AccountNumber(self.random.random_range(0..self.accounts.len() as u32));
            let at = self.some_time();
            assert_eq!(
                reader.balance_at(account, at).unwrap(),
                self.balance_at(account, at),
                "{account:?} {at:?}"
            );
            let sealed = reader.account_metadata(account).unwrap();
            assert_eq!(sealed, self.account_metadata[account.0 as usize]);
        }
        self.check_ids(reader);
    }

    fn check_ids(&mut self, reader: &Reader) {
        use ledger::{Archive, Used};
        for _ in 0..100 {
            let at = self.random.random_range(0..self.rows.len());
            let row = self.rows[at];
            let before = match self.random.random_range(0..3) {
                0 => u64::MAX,
                1 => at as u64 + self.random.random_range(0..2),
                _ => self.random.random_range(0..self.rows.len() as u64 + 1),
            };
            if row.kind != RowKind::Expired {
                let id = row.transfer.id;
                let used = (before > at as u64).then(|| match row.kind {
                    RowKind::Burnt => Used::Burnt,
                    _ => Used::Applied {
                        transfer: row.transfer,
                        metadata: self.metadata[at].clone(),
                    },
                });
                assert_eq!(
                    reader.find(id, RowNumber(before)).unwrap(),
                    used,
                    "row {at} before {before}"
                );
                let found = reader.transfers(&[TransferId(id.0 ^ 2), id]).unwrap();
                assert_eq!(found[0], None);
                assert_eq!(
                    found[1].as_ref().map(|stored| stored.row),
                    (row.kind == RowKind::Applied).then_some(row)
                );
                let resolution = reader.resolution(id, RowNumber(before)).unwrap();
                assert_eq!(resolution, self.resolution(id, before));
            }
            let pending = row.transfer.pending_id;
            if pending.0 != 0 {
                let resolution = reader.resolution(pending, RowNumber(before)).unwrap();
                assert_eq!(resolution, self.resolution(pending, before));
                assert_eq!(resolution.is_some(), before > at as u64);
            }
            let time = TimestampNs(row.transfer.timestamp.0 + self.random.random_range(0..2));
            let taken = self.rows[..(before as usize).min(self.rows.len())]
                .iter()
                .any(|row| row.kind != RowKind::Burnt && row.transfer.timestamp == time);
            assert_eq!(reader.timestamp_taken(time, RowNumber(before)).unwrap(), taken);
            let stranger = TransferId(self.random.random::<u128>() & !1 | 2);
            assert_eq!(reader.find(stranger, RowNumber(u64::MAX)).unwrap(), None);
        }
    }
}

fn in_time(filter: &Filter, time: TimestampNs) -> bool {
    time >= filter.timestamp_min && (filter.timestamp_max.0 == 0 || time <= filter.timestamp_max)
}

/// Runs all the work that there is.
pub fn run_jobs(writer: &mut Writer) {
    while let Some(job) = writer.next_job() {
        let done = job.run(&history::FullSpeed).unwrap();
        writer.install(done).unwrap();
    }
}

pub fn file_system() -> Arc<dyn storage::Storage> {
    Arc::new(storage::FileSystem)
}
