//! What clients ask for (pure). Same seed, world and client: same requests, as long as the answers are the same.

use ledger::{
    Account, AccountFlags, AccountId, Amount, Code, CreateTransferResult, LedgerId, Transfer, TransferFlags,
    TransferId,
};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// Few enough that clients meet on them.
const ACCOUNTS: u128 = 40;
/// Every fourth account may not be overdrawn.
const LIMITED_EVERY: u128 = 4;
/// Transfers remembered for posts, voids and repeats.
const REMEMBERED_MAX: usize = 256;

/// Accounts and ids that no other world has, so that one node can be asked for the history of one world alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct World(pub u32);

impl World {
    /// The one ledger of its accounts.
    #[must_use]
    pub fn ledger(self) -> LedgerId {
        LedgerId(self.0 + 1)
    }

    /// Its accounts, as they are asked for.
    #[must_use]
    pub fn accounts(self) -> Vec<Account> {
        let flags = |number| match number % LIMITED_EVERY {
            0 => AccountFlags::DEBITS_MUST_NOT_EXCEED_CREDITS,
            _ => AccountFlags::empty(),
        };
        let account = |number| Account {
            id: self.account(number),
            ledger: self.ledger(),
            code: Code(1),
            flags: flags(number),
            ..Account::default()
        };
        (1..=ACCOUNTS).map(account).collect()
    }

    /// One account, drawn.
    pub fn draw_account(self, random: &mut StdRng) -> AccountId {
        self.account(random.random_range(1..=ACCOUNTS))
    }

    fn account(self, number: u128) -> AccountId {
        AccountId(u128::from(self.0) << 32 | number)
    }
}

/// One client's stream of requests.
pub struct Load {
    world: World,
    random: StdRng,
    client: u64,
    sent: u64,
    open: Vec<Transfer>,
    settled: Vec<Transfer>,
}

/// One request; `chain` says that its events are linked.
#[derive(Clone, Debug)]
pub struct Request {
    /// In order.
    pub transfers: Vec<Transfer>,
    /// A number that no other chain has.
    pub chain: Option<u64>,
}

impl Load {
    /// Of a world, a seed and a client's number, from 0.
    #[must_use]
    pub fn new(world: World, seed: u64, client: u64) -> Self {
        let random = StdRng::seed_from_u64(seed ^ (client + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        Self {
            world,
            random,
            client,
            sent: 0,
            open: Vec::new(),
            settled: Vec::new(),
        }
    }

    /// The next request.
    pub fn next_request(&mut self) -> Request {
        if self.random.random_range(0..10u32) == 0 {
            return self.chain();
        }
        // Mostly single calls; now and then a batch that fills a block.
        let count = match self.random.random_range(0..20u32) {
            0 => self.random.random_range(100..500u32),
            1..=6 => self.random.random_range(2..20u32),
            _ => 1,
        };
        Request {
            transfers: (0..count).map(|_| self.transfer()).collect(),
            chain: None,
        }
    }

    /// Learns from an answer what can be posted, voided or repeated later.
    pub fn learn(&mut self, transfer: &Transfer, result: CreateTransferResult) {
        let done = matches!(
            result,
            CreateTransferResult::Created | CreateTransferResult::Exists
        );
        // A linked one would drag its neighbours in another request into its chain.
        if !done || transfer.flags.contains(TransferFlags::LINKED) {
            return;
        }
        let list = if transfer.flags.contains(TransferFlags::PENDING) {
            &mut self.open
        } else {
            &mut self.settled
        };
        if list.len() == REMEMBERED_MAX {
            list.swap_remove(0);
        }
        list.push(*transfer);
    }

    /// Whether a request without an answer is given up instead of tried again.
    pub fn gives_up(&mut self) -> bool {
        self.random.random_range(0..5u32) == 0
    }

    fn transfer(&mut self) -> Transfer {
        match self.random.random_range(0..100u32) {
            0..15 => self.pending(),
            15..30 if !self.open.is_empty() => self.resolving(),
            30..35 if !self.settled.is_empty() => {
                self.settled[self.random.random_range(0..self.settled.len())]
            }
            35..38 => Transfer {
                credit_account_id: self.world.account(ACCOUNTS + 1),
                ..self.plain()
            },
            _ => self.plain(),
        }
    }

    fn plain(&mut self) -> Transfer {
        let debit = self.random.random_range(1..=ACCOUNTS);
        let other = self.random.random_range(1..ACCOUNTS);
        Transfer {
            id: self.next_id(),
            debit_account_id: self.world.account(debit),
            credit_account_id: self.world.account(if other >= debit { other + 1 } else { other }),
            amount: Amount(self.random.random_range(0..1_000u128)),
            user_data_128: u128::from(self.random.random_range(0..2u64)),
            user_data_64: self.sent,
            user_data_32: self.random.random_range(0..1_000u32),
            ledger: self.world.ledger(),
            code: Code(self.random.random_range(1..10u16)),
            ..Transfer::default()
        }
    }

    /// Some expire while the campaign runs, the node dead or alive.
    fn pending(&mut self) -> Transfer {
        let timeout = [0, 0, 1, 60][self.random.random_range(0..4usize)];
        Transfer {
            flags: TransferFlags::PENDING,
            timeout,
            ..self.plain()
        }
    }

    fn resolving(&mut self) -> Transfer {
        let index = self.random.random_range(0..self.open.len());
        let pending = self.open.swap_remove(index);
        let (flags, amount) = match self.random.random_range(0..3u32) {
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

    fn chain(&mut self) -> Request {
        let count = self.random.random_range(2..6usize);
        let mut transfers: Vec<Transfer> = (0..count).map(|_| self.plain()).collect();
        for transfer in &mut transfers[..count - 1] {
            transfer.flags |= TransferFlags::LINKED;
        }
        Request {
            transfers,
            chain: Some(self.sent << 8 | self.client),
        }
    }

    /// Rising within a client; random in the middle for one client of two, so that both kinds of ids are tried.
    fn next_id(&mut self) -> TransferId {
        self.sent += 1;
        let random = if self.client.is_multiple_of(2) {
            0
        } else {
            u128::from(self.random.random::<u32>())
        };
        let world = u128::from(self.world.0) << 64;
        TransferId(random << 96 | world | u128::from(self.sent) << 16 | u128::from(self.client + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn worlds_share_neither_accounts_nor_ids() {
        let (mut accounts, mut ids) = (HashSet::new(), HashSet::new());
        for world in [World(0), World(1), World(77)] {
            assert!(world.accounts().iter().all(|account| accounts.insert(account.id)));
            let mut load = Load::new(world, 1, 0);
            for request in (0..200).map(|_| load.next_request()) {
                assert!(request.transfers.iter().all(|transfer| ids.insert(transfer.id)));
            }
        }
    }

    #[test]
    fn ids_come_once_unless_a_settled_transfer_is_repeated_as_it_was() {
        let mut seen = HashSet::new();
        for client in 0..4 {
            let mut load = Load::new(World::default(), 1, client);
            for _ in 0..500 {
                let request = load.next_request();
                assert!(request.transfers.iter().all(|transfer| seen.insert(transfer.id)));
            }
        }
    }

    #[test]
    fn with_answers_every_kind_of_request_is_made() {
        let mut load = Load::new(World::default(), 1, 0);
        let (mut flags, mut repeats, mut chains) = (TransferFlags::empty(), 0, 0);
        let mut seen = HashSet::new();
        for _ in 0..500 {
            let request = load.next_request();
            chains += usize::from(request.chain.is_some());
            let linked = request
                .transfers
                .iter()
                .any(|transfer| transfer.flags.contains(TransferFlags::LINKED));
            assert_eq!(
                linked,
                request.chain.is_some(),
                "linked events come in chains and nowhere else"
            );
            for transfer in &request.transfers {
                flags |= transfer.flags;
                repeats += usize::from(!seen.insert(transfer.id));
                load.learn(transfer, CreateTransferResult::Created);
            }
        }
        let wanted = TransferFlags::LINKED
            | TransferFlags::PENDING
            | TransferFlags::POST_PENDING_TRANSFER
            | TransferFlags::VOID_PENDING_TRANSFER;
        assert_eq!(flags, wanted);
        assert!(repeats > 0 && chains > 0);
    }
}
