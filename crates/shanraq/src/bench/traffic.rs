//! What a benchmark asks for (pure). Owns: accounts and transfers by seed.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use wire::v1 as proto;

/// Accounts that most workloads use.
pub const ACCOUNTS: u64 = 10_000;

/// Where transfers go and how their ids run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Any two of [`ACCOUNTS`].
    Uniform,
    /// Every transfer touches account 1.
    Hot,
}

/// How ids are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ids {
    /// Rising, as time-ordered ids are.
    Ordered,
    /// Uniform over 128 bits.
    Random,
}

/// Makes transfers; one generator a stream, never two with the same seed and stream.
pub struct Traffic {
    random: StdRng,
    shape: Shape,
    ids: Ids,
    stream: u64,
    next: u64,
}

impl Traffic {
    /// Of a seed and a stream's number.
    pub fn new(seed: u64, stream: u64, shape: Shape, ids: Ids) -> Self {
        let random = StdRng::seed_from_u64(seed ^ (stream + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        Self {
            random,
            shape,
            ids,
            stream,
            next: 0,
        }
    }

    /// The next transfer.
    pub fn transfer(&mut self) -> proto::Transfer {
        self.next += 1;
        let (id_high, id) = match self.ids {
            Ids::Ordered => (self.next, self.stream + 1),
            Ids::Random => (self.random.random::<u64>() >> 1, self.random.random::<u64>() | 1),
        };
        let (debit, credit) = self.accounts();
        proto::Transfer {
            id,
            id_high,
            debit_account_id: debit,
            credit_account_id: credit,
            amount: self.random.random_range(1..10_000),
            ledger: 1,
            code: 1,
            ..proto::Transfer::default()
        }
    }

    /// A request's worth.
    pub fn transfers(&mut self, count: usize) -> Vec<proto::Transfer> {
        (0..count).map(|_| self.transfer()).collect()
    }

    fn accounts(&mut self) -> (u64, u64) {
        let other = |random: &mut StdRng| random.random_range(2..=ACCOUNTS);
        match self.shape {
            Shape::Hot if self.next.is_multiple_of(2) => (1, other(&mut self.random)),
            Shape::Hot => (other(&mut self.random), 1),
            Shape::Uniform => {
                let debit = self.random.random_range(1..=ACCOUNTS);
                let credit = self.random.random_range(1..ACCOUNTS);
                (debit, if credit >= debit { credit + 1 } else { credit })
            }
        }
    }
}

/// An account of the workloads.
pub fn account(id: u64) -> proto::Account {
    proto::Account {
        id,
        ledger: 1,
        code: 1,
        ..proto::Account::default()
    }
}

/// The same account in the ledger's own type.
pub fn ledger_account(id: u64) -> ledger::Account {
    ledger::Account {
        id: ledger::AccountId(u128::from(id)),
        ledger: ledger::LedgerId(1),
        code: ledger::Code(1),
        ..ledger::Account::default()
    }
}

impl Traffic {
    /// The next transfer in the ledger's own type.
    pub fn ledger_transfer(&mut self) -> ledger::Transfer {
        let transfer = self.transfer();
        ledger::Transfer {
            id: ledger::TransferId(u128::from(transfer.id_high) << 64 | u128::from(transfer.id)),
            debit_account_id: ledger::AccountId(u128::from(transfer.debit_account_id)),
            credit_account_id: ledger::AccountId(u128::from(transfer.credit_account_id)),
            amount: ledger::Amount(u128::from(transfer.amount)),
            ledger: ledger::LedgerId(1),
            code: ledger::Code(1),
            ..ledger::Transfer::default()
        }
    }
}
