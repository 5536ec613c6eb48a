//! Random histories: commands that are mostly sensible, often repeated, and sometimes wrong in one field.
//!
//! Owns: the shape of histories. Same seed and same answers give the same history.

use crate::Model;
use ledger::{
    Account, AccountFlags as A, AccountId, ActorId, Amount, Code, Command, CommandBody, EventMetadata,
    Events, LedgerDescription, LedgerId, Sealed, TimestampNs, Transfer, TransferFlags as F, TransferId,
};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

const SECOND: u64 = 1_000_000_000;

/// How a history looks.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Ids of accounts run from 1 to this.
    pub accounts: u128,
    /// One transfer in some takes an id among so many of the latest, so that ids are used again.
    pub ids_back: u128,
    /// The most events in a request.
    pub events_max: usize,
    /// The first clock reading.
    pub start: TimestampNs,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            accounts: 12,
            ids_back: 400,
            events_max: 12,
            start: TimestampNs(1_000 * SECOND),
        }
    }
}

/// An endless history.
pub struct Generator {
    random: StdRng,
    shape: Shape,
    clock: u64,
    next_id: u128,
    accounts: Vec<(Account, Option<Sealed>)>,
    transfers: Vec<(Transfer, Option<Sealed>)>,
    sealed: Vec<Sealed>,
}

impl Generator {
    /// A history of that shape.
    #[must_use]
    pub fn new(seed: u64, shape: Shape) -> Self {
        let sealed = [&b"a"[..], &[7; 31], &[8; 32], &[9; 90], &[10; 200]];
        Self {
            random: StdRng::seed_from_u64(seed),
            shape,
            clock: shape.start.0,
            next_id: 1,
            accounts: Vec::new(),
            transfers: Vec::new(),
            sealed: sealed.into_iter().map(Sealed::from).collect(),
        }
    }

    /// A whole number below `end`, from the history's own source of randomness.
    pub fn below(&mut self, end: u64) -> u64 {
        self.random.random_range(0..end)
    }

    /// The next command and the clock reading that it meets; `model` is the state that it will be applied to.
    pub fn next_command(&mut self, model: &Model) -> (TimestampNs, Command) {
        let step = match self.below(10) {
            0..4 => self.below(1_000),
            4..8 => self.below(SECOND),
            8 => self.below(4 * SECOND),
            _ => 0,
        };
        self.clock = (self.clock + step).min(i64::MAX as u64 - 1_000 * SECOND);
        let body = if model.accounts.len() < 4 {
            self.create_accounts(model)
        } else {
            match self.below(100) {
                0..10 => self.create_accounts(model),
                10..84 => self.create_transfers(model),
                84..93 => CommandBody::ExpirePending {
                    limit: self.below(4) as u32 + 1,
                },
                93..98 => CommandBody::DescribeLedger(self.description()),
                _ => CommandBody::BeginEpoch,
            }
        };
        (
            TimestampNs(self.clock),
            Command {
                actor: ActorId(self.below(3).into()),
                body,
            },
        )
    }

    fn chance(&mut self, one_in: u64) -> bool {
        self.below(one_in) == 0
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        let index = self.below(from.len() as u64) as usize;
        from[index]
    }

    fn metadata(&mut self) -> Option<Sealed> {
        if !self.chance(5) {
            return None;
        }
        let index = self.below(self.sealed.len() as u64) as usize;
        Some(self.sealed[index].clone())
    }

    fn create_accounts(&mut self, model: &Model) -> CommandBody {
        let imported = self.chance(4);
        if imported {
            self.clock += SECOND / 10;
        }
        let count = self.below(self.shape.events_max as u64) + 1;
        let linked = self.pick(&[2, 5, 1_000]);
        let mut time = model.account_times.last().map_or(0, |last| last.0);
        let mut events = Events::default();
        for index in 0..count {
            let (mut account, sealed) = self.account();
            account.flags.set(A::LINKED, self.chance(linked));
            account.flags.set(A::IMPORTED, imported != self.chance(20));
            if account.flags.contains(A::IMPORTED) {
                time = self.import_time(model, time);
                account.timestamp = TimestampNs(time);
            }
            if self.chance(15) {
                self.spoil_account(&mut account);
            }
            self.accounts.push((
                Account {
                    timestamp: TimestampNs(0),
                    ..account
                },
                sealed.clone(),
            ));
            events.events.push(account);
            events.metadata.extend(sealed.map(|sealed| EventMetadata {
                index: index as u32,
                sealed,
            }));
        }
        CommandBody::CreateAccounts(events)
    }

    fn account(&mut self) -> (Account, Option<Sealed>) {
        if !self.accounts.is_empty() && self.chance(3) {
            let index = self.below(self.accounts.len() as u64) as usize;
            let (mut account, mut sealed) = self.accounts[index].clone();
            if self.chance(4) {
                self.spoil_account(&mut account);
            }
            if self.chance(8) {
                sealed = self.metadata();
            }
            return (account, sealed);
        }
        let none = A::empty();
        let limits = [
            none,
            none,
            A::DEBITS_MUST_NOT_EXCEED_CREDITS,
            A::CREDITS_MUST_NOT_EXCEED_DEBITS,
        ];
        let mut flags = self.pick(&limits);
        flags.set(A::HISTORY, self.chance(3));
        flags.set(A::CLOSED, self.chance(25));
        let account = Account {
            id: AccountId(self.random.random_range(1..=self.shape.accounts)),
            user_data_128: self.below(3).into(),
            user_data_64: self.below(3),
            user_data_32: self.below(3) as u32,
            ledger: LedgerId(if self.chance(8) { 2 } else { 1 }),
            code: Code(self.below(3) as u16 + 1),
            flags,
            ..Account::default()
        };
        (account, self.metadata())
    }

    fn spoil_account(&mut self, account: &mut Account) {
        match self.below(14) {
            0 => account.flags ^= self.pick(&[A::HISTORY, A::CLOSED, A::LINKED, A::IMPORTED]),
            1 => account.user_data_128 ^= 1,
            2 => account.user_data_64 ^= 1,
            3 => account.user_data_32 ^= 1,
            4 => account.ledger.0 ^= 1,
            5 => account.code.0 ^= 1,
            6 => account.flags |= A::from_bits_retain(1 << 9),
            7 => account.id = AccountId(self.pick(&[0, u128::MAX])),
            8 => account.timestamp = TimestampNs(self.pick(&[0, 5, u64::MAX, 1 << 63])),
            9 => account.flags |= A::DEBITS_MUST_NOT_EXCEED_CREDITS | A::CREDITS_MUST_NOT_EXCEED_DEBITS,
            10 => account.balances.debits_pending.0 = 1,
            11 => account.balances.debits_posted.0 = 1,
            12 => account.balances.credits_pending.0 = 1,
            _ => account.balances.credits_posted.0 = 1,
        }
    }

    /// A time after `last` and mostly before now; sometimes exactly that of another event.
    fn import_time(&mut self, model: &Model, last: u64) -> u64 {
        match self.below(20) {
            0 => last,
            1 => model
                .transfer_times
                .iter()
                .find(|time| time.0 > last)
                .map_or(last + 1, |time| time.0),
            2 => model
                .account_times
                .iter()
                .find(|time| time.0 > last)
                .map_or(last + 1, |time| time.0),
            3 => self.clock,
            4 => self.clock.saturating_sub(1),
            _ => last + 1 + self.below(8),
        }
    }

    fn create_transfers(&mut self, model: &Model) -> CommandBody {
        let imported = self.chance(10);
        if imported {
            // Time passes, so that there is room for events of the past.
            self.clock += SECOND / 10;
        }
        let count = self.below(self.shape.events_max as u64) + 1;
        let linked = self.pick(&[2, 5, 1_000, 1_000]);
        let mut time = model.transfer_times.last().map_or(0, |last| last.0);
        if self.chance(3) {
            time = time.max(model.account_times.last().map_or(0, |last| last.0));
        }
        let mut events = Events::default();
        for index in 0..count {
            let (mut transfer, sealed) = self.transfer(model, &events.events);
            let last = index + 1 == count;
            transfer
                .flags
                .set(F::LINKED, self.chance(linked) && (!last || self.chance(4)));
            transfer.flags.set(F::IMPORTED, imported != self.chance(30));
            if transfer.flags.contains(F::IMPORTED) {
                time = self.import_time(model, time);
                transfer.timestamp = TimestampNs(time);
                if !self.chance(10) {
                    transfer.timeout = 0;
                }
            }
            if self.chance(25) {
                self.spoil_transfer(&mut transfer);
            }
            self.transfers.push((
                Transfer {
                    timestamp: TimestampNs(0),
                    ..transfer
                },
                sealed.clone(),
            ));
            events.events.push(transfer);
            events.metadata.extend(sealed.map(|sealed| EventMetadata {
                index: index as u32,
                sealed,
            }));
        }
        CommandBody::CreateTransfers(events)
    }

    fn transfer(&mut self, model: &Model, earlier: &[Transfer]) -> (Transfer, Option<Sealed>) {
        if !self.transfers.is_empty() && self.chance(6) {
            // Mostly a late one, since those are likely to be of some consequence still.
            let len = self.transfers.len() as u64;
            let back = if self.chance(2) {
                self.below(len)
            } else {
                self.below(len.min(30))
            };
            let (mut transfer, mut sealed) = self.transfers[(len - 1 - back) as usize].clone();
            if self.chance(3) {
                self.spoil_transfer(&mut transfer);
            }
            if self.chance(8) {
                sealed = self.metadata();
            }
            return (transfer, sealed);
        }
        let mut transfer = if self.chance(3) {
            self.resolving(model, earlier)
        } else {
            self.moving(model)
        };
        transfer.id = self.transfer_id();
        if self.chance(3) {
            transfer.user_data_128 = self.below(3).into();
            transfer.user_data_64 = self.below(3);
            transfer.user_data_32 = self.below(3) as u32;
        }
        (transfer, self.metadata())
    }

    fn transfer_id(&mut self) -> TransferId {
        if self.chance(8) {
            let lowest = self.next_id.saturating_sub(self.shape.ids_back).max(1);
            return TransferId(self.random.random_range(lowest..=self.next_id + 3));
        }
        self.next_id += 1;
        TransferId(self.next_id)
    }

    fn amount(&mut self) -> u128 {
        match self.below(60) {
            0 => u128::MAX,
            1 => u128::MAX - u128::from(self.below(50)),
            2 => u128::MAX / 2,
            3..8 => 0,
            _ => self.below(60).into(),
        }
    }

    /// A plain or pending transfer.
    fn moving(&mut self, model: &Model) -> Transfer {
        let ids: Vec<AccountId> = model.accounts.keys().copied().collect();
        let mut flags = F::empty();
        let mut timeout = 0;
        if self.chance(2) {
            flags |= F::PENDING;
            timeout = self.pick(&[0, 0, 1, 1, 2, 5, u32::MAX]);
            flags.set(F::CLOSING_DEBIT, self.chance(30));
            flags.set(F::CLOSING_CREDIT, self.chance(30));
        }
        flags.set(F::BALANCING_DEBIT, self.chance(10));
        flags.set(F::BALANCING_CREDIT, self.chance(10));
        let debit = self.pick(&ids);
        let mut credit = self.pick(&ids);
        for _ in 0..3 {
            let same = |id| model.accounts[&id].given.ledger == model.accounts[&debit].given.ledger;
            if credit == debit || !same(credit) {
                credit = self.pick(&ids);
            }
        }
        Transfer {
            debit_account_id: debit,
            credit_account_id: credit,
            amount: Amount(self.amount()),
            timeout,
            ledger: if self.chance(30) {
                LedgerId(2)
            } else {
                model.accounts[&debit].given.ledger
            },
            code: Code(self.below(2) as u16 + 1),
            flags,
            ..Transfer::default()
        }
    }

    /// A post or void.
    fn resolving(&mut self, model: &Model, earlier: &[Transfer]) -> Transfer {
        let pending = match earlier.last() {
            Some(event) if self.chance(3) => *event,
            _ if !model.open.is_empty() && !self.chance(6) => {
                let index = self.below(model.open.len() as u64) as usize;
                model
                    .open
                    .iter()
                    .nth(index)
                    .map(|id| model.transfers[id].transfer)
                    .unwrap_or_default()
            }
            _ if !self.transfers.is_empty() => {
                let index = self.below(self.transfers.len() as u64) as usize;
                self.transfers[index].0
            }
            _ => Transfer {
                id: TransferId(1),
                ..Transfer::default()
            },
        };
        let post = self.chance(2);
        let all = if post { u128::MAX } else { 0 };
        let amount = match self.below(6) {
            0 => pending.amount.0,
            1 => u128::from(self.below(20)),
            2 => pending.amount.0.saturating_sub(1),
            _ => all,
        };
        let mut transfer = Transfer {
            amount: Amount(amount),
            pending_id: pending.id,
            flags: if post {
                F::POST_PENDING_TRANSFER
            } else {
                F::VOID_PENDING_TRANSFER
            },
            ..Transfer::default()
        };
        if self.chance(4) {
            transfer.debit_account_id = pending.debit_account_id;
            transfer.credit_account_id = pending.credit_account_id;
            transfer.ledger = pending.ledger;
            transfer.code = pending.code;
        }
        transfer
    }

    fn spoil_transfer(&mut self, transfer: &mut Transfer) {
        let edge = self.pick(&[0, u128::MAX, 999]);
        match self.below(15) {
            0 => transfer.flags ^= F::from_bits_retain(1 << self.below(10)),
            1 => transfer.pending_id = TransferId(self.pick(&[0, u128::MAX, transfer.id.0, 3])),
            2 => transfer.timeout ^= 1,
            3 => transfer.debit_account_id = AccountId(edge),
            4 => transfer.credit_account_id = AccountId(edge),
            5 => transfer.amount.0 ^= 1,
            6 => transfer.user_data_128 ^= 1,
            7 => transfer.user_data_64 ^= 1,
            8 => transfer.user_data_32 ^= 1,
            9 => transfer.ledger.0 ^= 1,
            10 => transfer.code.0 ^= 1,
            11 => transfer.id = TransferId(self.pick(&[0, u128::MAX])),
            12 => transfer.timestamp = TimestampNs(self.pick(&[0, 5, u64::MAX, 1 << 63])),
            13 => transfer.amount = Amount(self.amount()),
            _ => std::mem::swap(&mut transfer.debit_account_id, &mut transfer.credit_account_id),
        }
    }

    fn description(&mut self) -> LedgerDescription {
        let long = self.pick(&[3, 3, 3, 16, 17]);
        LedgerDescription {
            ledger: LedgerId(self.below(4) as u32),
            name: "n".repeat(self.pick(&[0, 1, 2, 128, 129])),
            currency: if self.chance(3) {
                String::new()
            } else {
                "E".repeat(long)
            },
            scale: self.pick(&[0, 2, 2, 2, 18, 19]),
        }
    }
}
