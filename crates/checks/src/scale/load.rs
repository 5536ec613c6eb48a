//! What the history is made of (pure). Same seed and stream, same requests.

use ledger::{Account, AccountFlags, AccountId, Amount, Code, LedgerId, Transfer, TransferFlags, TransferId};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::collections::VecDeque;

/// Accounts with ids from 1 on; two in three are of ledger 1, the others of ledger 2.
pub const ACCOUNTS: u128 = 600;
/// Transfers of the beginning of each stream, where linked ones are made: the naive model copies all it has for a chain.
const WITH_CHAINS: u64 = 300;
/// Pending transfers that a stream leaves open at most; the naive model looks at all of them for each transfer.
const OPEN_MAX: usize = 12;
/// Transfers remembered for repeats.
const REMEMBERED_MAX: usize = 64;

/// The ledger of an account.
fn ledger_of(account: u128) -> LedgerId {
    LedgerId(if account.is_multiple_of(3) { 2 } else { 1 })
}

/// The accounts, in requests small enough.
pub fn accounts() -> Vec<Account> {
    let account = |id: u128| Account {
        id: AccountId(id),
        user_data_128: id % 5,
        user_data_64: id as u64 % 7,
        user_data_32: id as u32 % 3,
        ledger: ledger_of(id),
        code: Code(1 + (id % 4) as u16),
        flags: if id.is_multiple_of(10) {
            AccountFlags::DEBITS_MUST_NOT_EXCEED_CREDITS
        } else {
            AccountFlags::empty()
        },
        ..Account::default()
    };
    (1..=ACCOUNTS).map(account).collect()
}

/// The metadata with which a transfer is always asked for; few have some. What resolves a pending transfer inherits its
/// user data and has none.
pub fn metadata_of(transfer: &Transfer) -> Option<String> {
    (transfer.user_data_32 == 999 && transfer.pending_id.0 == 0)
        .then(|| format!(r#"{{"note":"transfer {}"}}"#, transfer.id))
}

/// One stream of requests.
pub struct Load {
    random: StdRng,
    stream: u64,
    made: u64,
    ids: u64,
    open: VecDeque<Transfer>,
    plain: VecDeque<Transfer>,
}

impl Load {
    /// Of a seed and a stream's number, from 0.
    pub fn new(seed: u64, stream: u64) -> Self {
        Self {
            random: StdRng::seed_from_u64(seed ^ (stream + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15)),
            stream,
            made: 0,
            ids: 0,
            open: VecDeque::new(),
            plain: VecDeque::new(),
        }
    }

    /// The next request: mostly a batch, sometimes a few.
    pub fn next_request(&mut self) -> Vec<Transfer> {
        let count = if self.one_in(3) {
            self.below(20) + 1
        } else {
            self.below(1_500) + 1
        };
        let mut events: Vec<Transfer> = (0..count).map(|_| self.transfer()).collect();
        if self.made < WITH_CHAINS {
            for transfer in &mut events[..count as usize - 1] {
                let linked = self.random.random_range(0..6_u32) == 0;
                transfer.flags.set(TransferFlags::LINKED, linked);
            }
        }
        self.made += count;
        events
    }

    /// Voids what is open, so that history stands still once the short timeouts have passed.
    pub fn last_request(&mut self) -> Vec<Transfer> {
        let pending: Vec<Transfer> = self.open.drain(..).collect();
        let void = |pending: &Transfer| Transfer {
            id: self.next_id(),
            pending_id: pending.id,
            flags: TransferFlags::VOID_PENDING_TRANSFER,
            ..Transfer::default()
        };
        pending.iter().map(void).collect()
    }

    fn below(&mut self, end: u64) -> u64 {
        self.random.random_range(0..end)
    }

    fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }

    fn transfer(&mut self) -> Transfer {
        match self.below(100) {
            0..10 if self.open.len() < OPEN_MAX => self.pending(),
            10..25 if !self.open.is_empty() => self.resolving(),
            25..27 if !self.plain.is_empty() => {
                let index = self.below(self.plain.len() as u64) as usize;
                self.plain[index]
            }
            // Burns its id.
            27..29 => Transfer {
                credit_account_id: AccountId(ACCOUNTS + 1),
                ..self.moving()
            },
            // Refused, and leaves no trace.
            29 => Transfer {
                code: Code(0),
                ..self.moving()
            },
            _ => {
                let transfer = self.moving();
                if self.plain.len() == REMEMBERED_MAX {
                    self.plain.pop_front();
                }
                self.plain.push_back(transfer);
                transfer
            }
        }
    }

    /// Accounts are drawn unevenly: few have most of the history, many have little.
    fn account(&mut self) -> u128 {
        let range = [6, 60, ACCOUNTS as u64][self.below(3) as usize];
        u128::from(self.below(range)) + 1
    }

    fn moving(&mut self) -> Transfer {
        let debit = self.account();
        let credit = loop {
            let credit = self.account();
            if credit != debit && ledger_of(credit) == ledger_of(debit) {
                break credit;
            }
        };
        Transfer {
            id: self.next_id(),
            debit_account_id: AccountId(debit),
            credit_account_id: AccountId(credit),
            amount: Amount(self.below(1_000).into()),
            user_data_128: self.below(40).into(),
            user_data_64: self.below(1_000),
            user_data_32: if self.one_in(100) {
                999
            } else {
                self.below(10) as u32
            },
            ledger: ledger_of(debit),
            code: Code(1 + self.below(6) as u16),
            ..Transfer::default()
        }
    }

    /// Some are left to expire while the history grows.
    fn pending(&mut self) -> Transfer {
        let timeout = if self.one_in(4) { 1 } else { 60 };
        let transfer = Transfer {
            flags: TransferFlags::PENDING,
            timeout,
            ..self.moving()
        };
        if timeout > 1 {
            self.open.push_back(transfer);
        }
        transfer
    }

    fn resolving(&mut self) -> Transfer {
        let pending = self.open.pop_front().expect("the caller looked");
        let (flags, amount) = match self.below(3) {
            0 => (TransferFlags::VOID_PENDING_TRANSFER, Amount(0)),
            1 => (TransferFlags::POST_PENDING_TRANSFER, Amount::ALL),
            _ => (TransferFlags::POST_PENDING_TRANSFER, Amount(pending.amount.0 / 2)),
        };
        Transfer {
            id: self.next_id(),
            pending_id: pending.id,
            flags,
            amount,
            ..Transfer::default()
        }
    }

    /// Rising in even streams, random in odd ones.
    fn next_id(&mut self) -> TransferId {
        self.ids += 1;
        let low = u128::from(self.ids) << 40 | u128::from(self.below(1 << 32)) << 4 | u128::from(self.stream);
        let high = if self.stream.is_multiple_of(2) {
            0
        } else {
            u128::from(self.random.random::<u32>()) << 95
        };
        TransferId(high | low | 1 << 127)
    }
}
