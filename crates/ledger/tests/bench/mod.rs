//! A ledger on a workbench: short forms for what tests do to it.
#![allow(dead_code, reason = "each test binary uses its own part")]

use ledger::{
    Account, AccountFlags, AccountId, ActorId, Amount, Balances, Code, Command, CommandBody,
    CreateAccountResult, CreateTransferResult, DescribeLedgerResult, Events, Ledger, LedgerDescription,
    LedgerId, NoArchive, Outcome, Row, TimestampNs, Transfer, TransferFlags, TransferId,
};

pub struct Bench {
    pub ledger: Ledger,
    pub outcome: Outcome,
    pub all_rows: Vec<Row>,
    pub now: u64,
}

pub fn account(id: u128) -> Account {
    Account {
        id: AccountId(id),
        ledger: LedgerId(1),
        code: Code(1),
        ..Account::default()
    }
}

pub trait With {
    fn with(self, flags: AccountFlags) -> Self;
}

impl With for Account {
    fn with(self, flags: AccountFlags) -> Self {
        Self { flags, ..self }
    }
}

pub fn transfer(id: u128, debit: u128, credit: u128, amount: u128) -> Transfer {
    Transfer {
        id: TransferId(id),
        debit_account_id: AccountId(debit),
        credit_account_id: AccountId(credit),
        amount: Amount(amount),
        ledger: LedgerId(1),
        code: Code(1),
        ..Transfer::default()
    }
}

pub fn pending(id: u128, debit: u128, credit: u128, amount: u128, timeout: u32) -> Transfer {
    Transfer {
        timeout,
        flags: TransferFlags::PENDING,
        ..transfer(id, debit, credit, amount)
    }
}

pub fn post(id: u128, pending: u128) -> Transfer {
    let flags = TransferFlags::POST_PENDING_TRANSFER;
    let pending_id = TransferId(pending);
    Transfer {
        id: TransferId(id),
        pending_id,
        amount: Amount::ALL,
        flags,
        ..Transfer::default()
    }
}

pub fn void(id: u128, pending: u128) -> Transfer {
    let flags = TransferFlags::VOID_PENDING_TRANSFER;
    Transfer {
        amount: Amount(0),
        flags,
        ..post(id, pending)
    }
}

impl Bench {
    pub fn with_accounts(accounts: &[Account]) -> Self {
        let (ledger, outcome) = (Ledger::new(), Outcome::default());
        let mut bench = Self {
            ledger,
            outcome,
            all_rows: Vec::new(),
            now: 1_000,
        };
        let results = bench.accounts(accounts);
        assert!(
            results
                .iter()
                .all(|&result| result == CreateAccountResult::Created)
        );
        bench
    }

    fn apply(&mut self, body: CommandBody) {
        let command = Command {
            actor: ActorId(1),
            body,
        };
        let now = TimestampNs(self.now);
        self.ledger
            .apply(&NoArchive, now, &command, &mut self.outcome)
            .expect("nothing is archived");
        self.all_rows.extend(&self.outcome.rows);
        assert_eq!(self.ledger.check_invariants(), []);
    }

    pub fn accounts(&mut self, accounts: &[Account]) -> Vec<CreateAccountResult> {
        let events = accounts.to_vec();
        self.apply(CommandBody::CreateAccounts(Events {
            events,
            metadata: Vec::new(),
        }));
        self.outcome.accounts.iter().map(|reply| reply.result).collect()
    }

    pub fn transfers(&mut self, transfers: &[Transfer]) -> Vec<CreateTransferResult> {
        let events = transfers.to_vec();
        self.apply(CommandBody::CreateTransfers(Events {
            events,
            metadata: Vec::new(),
        }));
        self.outcome.transfers.iter().map(|reply| reply.result).collect()
    }

    pub fn expire(&mut self, limit: u32) -> Vec<u128> {
        self.apply(CommandBody::ExpirePending { limit });
        self.outcome.expired.iter().map(|id| id.0).collect()
    }

    pub fn describe(&mut self, description: LedgerDescription) -> DescribeLedgerResult {
        self.apply(CommandBody::DescribeLedger(description));
        self.outcome.described.expect("a description is answered")
    }

    pub fn account(&self, id: u128) -> Account {
        *self.ledger.account(AccountId(id)).expect("the account exists").1
    }

    pub fn balances(&self, id: u128) -> Balances {
        self.account(id).balances
    }

    pub fn encoded(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.ledger
            .snapshot()
            .encode(&mut bytes)
            .expect("memory takes everything");
        bytes
    }
}
