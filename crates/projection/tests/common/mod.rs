//! What the tests share: servers with the projection's schema, journals with random histories, and what the model says
//! must stand in the tables.
#![allow(dead_code, reason = "each test binary uses a part")]

use journal::{Block, BlockHash, BlockReader, Draft, Journal, LocalJournal, LocalOptions, Term, WriterId};
use ledger::{Account, Height, Row, RowKind, TransferFlags};
use ledger_model::{Generator, Model, Shape};
use postgres_servers::{Options, SUPERUSER, Servers};
use projection::{
    Log, Metrics, ProjectionError, Projector, ReaderSource, Secret, ServerOptions, Source, migrate,
};
use std::num::NonZeroU64;
use std::path::Path;
use std::sync::Arc;
use storage::{DataKey, FileSystem, KeyId, KeyRing};

/// Of those who log in in tests.
pub const TEST_PASSWORD: &str = "only for tests";
pub const DATABASE: &str = "shanraq";

pub struct World {
    pub servers: Servers,
}

impl World {
    /// A server, and roles that log in.
    pub fn start() -> Self {
        Self::with(Options {
            standbys: 0,
            ..Options::default()
        })
    }

    pub fn with(options: Options) -> Self {
        let world = Self {
            servers: Servers::start(&options),
        };
        world.create(DATABASE, 10);
        for role in ["projection", "projection_reader"] {
            world.sql(&format!(
                "create role test_{role} login password '{TEST_PASSWORD}' in role shanraq_{role}"
            ));
        }
        world
    }

    /// A database with the schema, its partitions so small that tests cross them.
    pub fn create(&self, database: &str, partition_s: u64) {
        let _ = self.servers.primary.sql(&format!("create database {database}"));
        let admin = self.admin(database);
        assert_eq!(migrate(&admin, NonZeroU64::new(partition_s)).unwrap(), 0);
    }

    pub fn admin(&self, database: &str) -> ServerOptions {
        let password = std::fs::read_to_string(self.servers.password_file()).unwrap();
        ServerOptions {
            password: Some(Secret::new(password.trim())),
            ..ServerOptions::new("127.0.0.1", self.servers.primary.port, database, SUPERUSER)
        }
    }

    pub fn user(&self, database: &str, role: &str) -> ServerOptions {
        let port = self.servers.primary.port;
        ServerOptions {
            password: Some(Secret::new(TEST_PASSWORD)),
            ..ServerOptions::new("127.0.0.1", port, database, &format!("test_{role}"))
        }
    }

    pub fn sql(&self, sql: &str) -> String {
        self.servers.primary.sql_in(DATABASE, sql)
    }

    pub fn sql_in(&self, database: &str, sql: &str) -> String {
        self.servers.primary.sql_in(database, sql)
    }

    pub fn projector(&self, database: &str, history: &History) -> Projector {
        let source = Box::new(OverALine(ReaderSource(history.journal.reader())));
        let target = self.user(database, "projection");
        Projector::open(source, &target, Arc::new(Metrics::default())).unwrap()
    }

    /// Compares every row of every table with what the model says.
    pub fn assert_as_in(&self, database: &str, books: &Books, what: &str) {
        let lines = |sql: &str| -> Vec<String> {
            let text = self.sql_in(database, sql);
            text.lines().map(str::to_owned).collect()
        };
        assert_eq!(lines(TRANSFERS), books.transfer_lines(), "{what}: transfers");
        assert_eq!(lines(ACCOUNTS), books.account_lines(), "{what}: accounts");
        assert_eq!(lines(PENDINGS), books.pending_lines(), "{what}: open pendings");
        assert_eq!(lines(LEDGERS), books.ledger_lines(), "{what}: ledgers");
        let counted = "select p.transfers = (select count(*) from ledger.transfers) \
             and p.accounts = (select count(*) from ledger.accounts) from ledger.position p";
        assert_eq!(self.sql_in(database, counted), "t", "{what}: counts");
    }
}

/// As if standbys had to be waited for, on a line of which nothing is known: steps are written in pieces.
struct OverALine(ReaderSource);

impl Source for OverALine {
    fn refresh(&mut self) -> Result<Height, ProjectionError> {
        self.0.refresh()
    }

    fn reader(&self) -> &dyn BlockReader {
        self.0.reader()
    }

    fn newest(&mut self, known: Height) -> Result<Vec<Block>, ProjectionError> {
        self.0.newest(known)
    }

    fn log(&mut self) -> Result<Option<Log>, ProjectionError> {
        Ok(Some(Log {
            logged: 0,
            flushed: 0,
            carried: 0,
            checkpoints: 0,
        }))
    }
}

const TRANSFERS: &str = "select concat_ws(' ', timestamp_ns, coalesce(ledger.to_number(id), 0), kind, \
    ledger.to_number(debit_account_id), ledger.to_number(credit_account_id), amount, \
    coalesce(ledger.to_number(pending_id), 0), ledger, code, flags, coalesce(timeout_s, 0), \
    coalesce(ledger.to_number(user_data_128), 0), coalesce(user_data_64, 0), coalesce(user_data_32, 0), \
    debit_debits_pending, debit_debits_posted, debit_credits_pending, debit_credits_posted, \
    credit_debits_pending, credit_debits_posted, credit_credits_pending, credit_credits_posted) \
    from ledger.transfers order by timestamp_ns";
const ACCOUNTS: &str = "select concat_ws(' ', timestamp_ns, ledger.to_number(id), ledger, code, flags, debits_pending, \
    debits_posted, credits_pending, credits_posted, coalesce(ledger.to_number(user_data_128), 0), \
    coalesce(user_data_64, 0), coalesce(user_data_32, 0)) from ledger.accounts order by timestamp_ns";
const PENDINGS: &str = "select concat_ws(' ', timestamp_ns, ledger.to_number(id), \
    ledger.to_number(debit_account_id), ledger.to_number(credit_account_id), amount, coalesce(timeout_s, 0)) \
    from ledger.open_pendings order by timestamp_ns";
const LEDGERS: &str =
    "select concat_ws(' ', ledger, scale, currency, '<' || name || '>') from ledger.ledgers order by ledger";

/// What must stand in the tables.
#[derive(Clone, Default)]
pub struct Books {
    pub model: Model,
    pub rows: Vec<Row>,
}

impl Books {
    fn transfer_lines(&self) -> Vec<String> {
        self.rows
            .iter()
            .filter(|row| row.kind != RowKind::Burnt)
            .map(|row| {
                let (t, d, c) = (&row.transfer, &row.debit_balances, &row.credit_balances);
                let kind = match () {
                    () if row.kind == RowKind::Expired => "expiry",
                    () if t.flags.contains(TransferFlags::POST_PENDING_TRANSFER) => "post",
                    () if t.flags.contains(TransferFlags::VOID_PENDING_TRANSFER) => "void",
                    () if t.flags.contains(TransferFlags::PENDING) => "pending",
                    () => "transfer",
                };
                [
                    format!(
                        "{} {} {kind} {} {}",
                        t.timestamp, t.id, t.debit_account_id, t.credit_account_id
                    ),
                    format!(
                        "{} {} {} {} {}",
                        t.amount,
                        t.pending_id,
                        t.ledger,
                        t.code,
                        t.flags.bits()
                    ),
                    format!(
                        "{} {} {} {}",
                        t.timeout, t.user_data_128, t.user_data_64, t.user_data_32
                    ),
                    format!(
                        "{} {} {} {}",
                        d.debits_pending, d.debits_posted, d.credits_pending, d.credits_posted
                    ),
                    format!(
                        "{} {} {} {}",
                        c.debits_pending, c.debits_posted, c.credits_pending, c.credits_posted
                    ),
                ]
                .join(" ")
            })
            .collect()
    }

    fn account_lines(&self) -> Vec<String> {
        let ids = self.model.accounts.keys();
        let mut accounts: Vec<Account> = ids.filter_map(|&id| self.model.account(id)).collect();
        accounts.sort_by_key(|account| account.timestamp);
        let line = |a: &Account| {
            let b = &a.balances;
            [
                format!(
                    "{} {} {} {} {}",
                    a.timestamp,
                    a.id,
                    a.ledger,
                    a.code,
                    a.flags.bits()
                ),
                format!(
                    "{} {} {} {}",
                    b.debits_pending, b.debits_posted, b.credits_pending, b.credits_posted
                ),
                format!("{} {} {}", a.user_data_128, a.user_data_64, a.user_data_32),
            ]
            .join(" ")
        };
        accounts.iter().map(line).collect()
    }

    fn pending_lines(&self) -> Vec<String> {
        let open = self
            .model
            .open
            .iter()
            .map(|id| &self.model.transfers[id].transfer);
        let mut open: Vec<_> = open.collect();
        open.sort_by_key(|transfer| transfer.timestamp);
        open.iter()
            .map(|t| {
                let (debit, credit) = (t.debit_account_id, t.credit_account_id);
                format!(
                    "{} {} {debit} {credit} {} {}",
                    t.timestamp, t.id, t.amount, t.timeout
                )
            })
            .collect()
    }

    fn ledger_lines(&self) -> Vec<String> {
        let described = self.model.descriptions.values();
        described
            .map(|it| format!("{} {} {} <{}>", it.ledger, it.scale, it.currency, it.name))
            .collect()
    }
}

/// Commands that the model answers, in blocks.
pub struct Chapters {
    generator: Generator,
    pub books: Books,
    draft: Draft,
}

impl Chapters {
    pub fn new(seed: u64) -> Self {
        Self {
            generator: Generator::new(seed, Shape::default()),
            books: Books::default(),
            draft: Draft::new(),
        }
    }

    /// The draft that was made last, for somebody else.
    pub fn take_draft(&mut self) -> Draft {
        std::mem::take(&mut self.draft)
    }

    /// A draft of a few commands.
    pub fn next_draft(&mut self) -> &mut Draft {
        for _ in 0..1 + self.generator.below(6) {
            let (now, command) = self.generator.next_command(&self.books.model);
            let outcome = self.books.model.apply(now, &command);
            self.books.rows.extend_from_slice(&outcome.rows);
            self.draft.push(outcome.timestamp, &command, &outcome);
        }
        &mut self.draft
    }
}

pub fn keys() -> KeyRing {
    KeyRing::new(DataKey::new(KeyId(1), [42; 32]))
}

/// A random history in a journal of files.
pub struct History {
    pub journal: LocalJournal,
    pub chapters: Chapters,
    term: Term,
}

impl History {
    pub fn new(directory: &Path, seed: u64, writer: u128) -> Self {
        let options = LocalOptions {
            segment_bytes: 1 << 20,
            ..LocalOptions::default()
        };
        let (journal, _) = LocalJournal::open(Arc::new(FileSystem), directory, keys(), options).unwrap();
        Self {
            journal,
            chapters: Chapters::new(seed),
            term: Term {
                epoch: 1,
                writer: WriterId(writer),
            },
        }
    }

    pub fn grow(&mut self, blocks: u64) {
        for _ in 0..blocks {
            self.journal
                .append(self.term, self.chapters.next_draft())
                .unwrap();
        }
    }

    pub fn block(&self, height: u64) -> Block {
        self.journal.reader().read(ledger::Height(height)).unwrap()
    }

    pub fn hash(&self) -> BlockHash {
        self.journal.head().hash
    }
}
