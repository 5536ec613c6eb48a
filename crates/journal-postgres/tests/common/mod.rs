//! What the tests share: servers with the schema and its users, and drafts that look ordinary.
#![allow(dead_code, reason = "each test binary uses a part")]

pub mod proxy;

use journal::{Block, Draft, Journal, ShardId, Term, WriterId};
use journal_postgres::{
    ConnectOptions, Durability, Password, PostgresJournal, PostgresOptions, PostgresReader, migrate,
};
use ledger::{
    AccountId, ActorId, Amount, Balances, Code, Command, CommandBody, CreateTransferResult, Events, LedgerId,
    Outcome, TimestampNs, Transfer, TransferId, TransferReply,
};
use postgres_servers::{Options, SUPERUSER, Server, Servers};
use std::num::NonZeroU64;
use std::time::{Duration, Instant};
use storage::{DataKey, KeyId, KeyRing};

pub const SHARD: ShardId = ShardId(0);
pub const DATABASE: &str = "shanraq";
/// Of those who log in in tests.
const TEST_PASSWORD: &str = "only for tests";

/// Servers with the schema in place, and partitions so small that tests cross them.
pub struct World {
    pub servers: Servers,
}

impl World {
    pub fn start(standbys: usize) -> Self {
        let world = Self::empty(standbys);
        assert_eq!(migrate(&world.admin(), NonZeroU64::new(8)).unwrap(), 0);
        for role in ["writer", "reader", "owner"] {
            world.sql(&format!(
                "create role test_{role} login password '{TEST_PASSWORD}' in role shanraq_{role}"
            ));
        }
        world
    }

    /// Without the schema.
    pub fn empty(standbys: usize) -> Self {
        let options = Options {
            standbys,
            ..Options::default()
        };
        let servers = Servers::start(&options);
        let _ = servers.primary.sql(&format!("create database {DATABASE}"));
        Self { servers }
    }

    pub fn sql(&self, sql: &str) -> String {
        self.servers.primary.sql_in(DATABASE, sql)
    }

    pub fn wait_for(&self, sql: &str, expected: &str) {
        self.servers.primary.wait_for_in(DATABASE, sql, expected);
    }

    pub fn connect(&self, server: &Server, user: &str, password: Password) -> ConnectOptions {
        ConnectOptions {
            password: Some(password),
            ..ConnectOptions::new("127.0.0.1", server.port, user)
        }
    }

    pub fn admin(&self) -> ConnectOptions {
        let password = Password::from_file(&self.servers.password_file()).unwrap();
        self.connect(&self.servers.primary, SUPERUSER, password)
    }

    pub fn user(&self, role: &str) -> ConnectOptions {
        self.user_at(&self.servers.primary, role)
    }

    pub fn user_at(&self, server: &Server, role: &str) -> ConnectOptions {
        self.connect(server, &format!("test_{role}"), Password::new(TEST_PASSWORD))
    }

    pub fn options(&self) -> PostgresOptions {
        let names = self.servers.standbys.iter().map(|it| it.name.as_str());
        PostgresOptions {
            connect: self.user("writer"),
            durability: if self.servers.standbys.is_empty() {
                Durability::Local
            } else {
                Durability::any_of(names)
            },
            shard: SHARD,
        }
    }

    pub fn open(&self) -> PostgresJournal {
        PostgresJournal::open(self.options(), keys()).unwrap()
    }

    /// A journal whose term has begun.
    pub fn writer(&self, id: u128) -> Writer {
        let mut journal = self.open();
        let term = journal.begin_term(WriterId(id), TimestampNs(1)).unwrap();
        Writer { journal, term }
    }

    pub fn reader(&self) -> PostgresReader {
        PostgresReader::open(self.user("reader"), SHARD, keys()).unwrap()
    }

    /// Waits until a session of the writer waits for its standbys.
    pub fn wait_until_a_commit_waits(&self) {
        self.wait_for(WAITING, "1");
    }

    /// Makes a standby deaf and mute: it acknowledges nothing until thawed.
    pub fn freeze_standbys(&self) {
        for standby in &self.servers.standbys {
            standby.freeze();
        }
    }

    pub fn thaw_standbys(&self) {
        for standby in &self.servers.standbys {
            standby.thaw();
        }
    }
}

/// How many sessions wait for a standby in a commit.
pub const WAITING: &str = "select count(*) from pg_stat_activity where wait_event = 'SyncRep'";

pub struct Writer {
    pub journal: PostgresJournal,
    pub term: Term,
}

impl Writer {
    /// Appends a block of `count` transfers after the head.
    pub fn append(&mut self, count: usize) -> Result<journal::Head, journal::AppendError> {
        self.journal
            .append(self.term, &mut next_draft(&self.journal, count))
    }

    pub fn fill(&mut self, until: u64) {
        while self.journal.head().height.0 < until {
            self.append(1).unwrap();
        }
    }
}

pub fn keys() -> KeyRing {
    KeyRing::new(DataKey::new(KeyId(1), [42; 32]))
}

/// A draft for the block after the head; the same for the same height and count.
pub fn next_draft(journal: &PostgresJournal, count: usize) -> Draft {
    let head = journal.head();
    draft(head.height.0 + 1, count)
}

/// Far enough apart that a block's last event is before the next block's first.
pub fn time(height: u64) -> TimestampNs {
    TimestampNs(1_000_000_000 + height * 1_000_000)
}

pub fn draft(height: u64, count: usize) -> Draft {
    let (command, outcome) = request(u128::from(height) << 32, count);
    let mut draft = Draft::new();
    draft.push(time(height), &command, &outcome);
    draft
}

/// Fills a draft for the block at `height` with so many requests of so many transfers, and gives their number.
pub fn draft_of_requests(height: u64, requests: usize, count: usize, draft: &mut Draft) -> usize {
    for i in 0..requests as u64 {
        let (command, outcome) = request((u128::from(height) << 32) + (u128::from(i) << 20), count);
        let apart = i * count as u64;
        draft.push(TimestampNs(time(height).0 + apart), &command, &outcome);
    }
    requests
}

/// Whether a block is the one of [`draft`].
pub fn is_as_written(block: &Block, count: usize) -> bool {
    let (command, _) = request(u128::from(block.height.0) << 32, count);
    block.entries.len() == 1
        && block.entries[0].command == command
        && block.entries[0].timestamp == time(block.height.0)
}

fn request(first_id: u128, count: usize) -> (Command, Outcome) {
    let events = (0..count as u128).map(|i| transfer(first_id + i)).collect();
    let reply = TransferReply {
        result: CreateTransferResult::Created,
        timestamp: TimestampNs(0),
        debit: Balances::default(),
        credit: Balances::default(),
    };
    let outcome = Outcome {
        transfers: vec![reply; count],
        ..Outcome::default()
    };
    let body = CommandBody::CreateTransfers(Events {
        events,
        metadata: Vec::new(),
    });
    let actor = ActorId(9);
    (Command { actor, body }, outcome)
}

fn transfer(id: u128) -> Transfer {
    Transfer {
        id: TransferId(0x1234_5678_9abc_def0_0000_0000_0000_0000 + id),
        debit_account_id: AccountId(u128::MAX / 3 + id),
        credit_account_id: AccountId(u128::MAX / 5 + id),
        amount: Amount(10_000 + id),
        ledger: LedgerId(1),
        code: Code(700),
        ..Transfer::default()
    }
}

/// Waits for what must come about, at most a minute.
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(120);
    while !is_so() {
        assert!(Instant::now() < deadline, "{what} never came about");
        std::thread::sleep(Duration::from_millis(5));
    }
}
