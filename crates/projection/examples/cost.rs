//! What the projection costs at a steady rate: `cargo run --release -p projection --example cost [RATE] [SECONDS]
//! [ACCOUNTS]`. A journal of files grows by RATE transfers a second in blocks of 200, a projection follows into a
//! PostgreSQL of its own, and the CPU time of the projection's thread and of all of the server's processes is told.

use journal::{Draft, Journal, LocalJournal, LocalOptions, Term, WriterId};
use ledger::{
    Account, AccountId, ActorId, Amount, Code, Command, CommandBody, Events, Ledger, LedgerId, NoArchive,
    Outcome, TimestampNs, Transfer, TransferId,
};
use postgres_servers::{Options, SUPERUSER, Servers};
use projection::{Metrics, Pace, ReaderSource, Secret, ServerOptions, Source, migrate, run};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use storage::{DataKey, FileSystem, KeyId, KeyRing};

const BLOCK: u64 = 200;

fn main() {
    let number = |at: usize, default: u64| {
        let word = std::env::args().nth(at);
        word.map_or(default, |word| word.parse().expect("a whole number"))
    };
    let (rate, seconds, accounts) = (number(1, 20_000), number(2, 30), number(3, 10_000));
    let servers = Servers::start(&Options {
        standbys: 0,
        wal_segment_mib: 64,
        settings: [
            "shared_buffers = 512MB",
            "max_wal_size = 8GB",
            "min_wal_size = 2GB",
            "wal_compression = lz4",
        ]
        .map(str::to_owned)
        .into(),
        directory: None,
    });
    let password = std::fs::read_to_string(servers.password_file()).expect("it was written");
    let target = ServerOptions {
        password: Some(Secret::new(password.trim())),
        ..ServerOptions::new("127.0.0.1", servers.primary.port, "postgres", SUPERUSER)
    };
    let _ = migrate(&target, None).expect("the schema is made");
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut writer = Writer::new(directory.path(), accounts);
    let blocks = writer.journal.reader();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let projection = scope.spawn(|| {
            let source = || Ok(Box::new(ReaderSource(blocks.clone())) as Box<dyn Source>);
            let wait = |time| {
                std::thread::sleep(time);
                !is_over.load(Ordering::SeqCst)
            };
            let metrics = Arc::new(Metrics::default());
            run(source, &target, Pace::default(), &metrics, wait, |_| {}).expect("it follows");
        });
        writer.transfers_at(rate, 2);
        let (server, ours, started) = (server_ms(&servers), own_ms(), Instant::now());
        writer.transfers_at(rate, seconds);
        let (server, ours) = (server_ms(&servers) - server, own_ms() - ours);
        let took_ms = started.elapsed().as_millis() as f64;
        let percent = |ms: u64| ms as f64 * 100.0 / took_ms;
        let rows = servers.primary.sql("select transfers from ledger.position");
        println!(
            "{rate}/s, {accounts} accounts, {seconds} s: server {:.1} % of a core, ",
            percent(server)
        );
        println!(
            "projection {:.1} %; {} of {} rows in the tables",
            percent(ours),
            rows,
            writer.next_id - 1
        );
        is_over.store(true, Ordering::SeqCst);
        projection.join().expect("it ends");
    });
}

struct Writer {
    journal: LocalJournal,
    ledger: Ledger,
    outcome: Outcome,
    draft: Draft,
    accounts: u64,
    next_id: u64,
}

impl Writer {
    fn new(directory: &std::path::Path, accounts: u64) -> Self {
        let keys = KeyRing::new(DataKey::new(KeyId(1), [42; 32]));
        let storage = Arc::new(FileSystem);
        let (journal, _) =
            LocalJournal::open(storage, directory, keys, LocalOptions::default()).expect("it opens");
        let mut writer = Self {
            journal,
            ledger: Ledger::new(),
            outcome: Outcome::default(),
            draft: Draft::new(),
            accounts,
            next_id: 1,
        };
        for first in (1..=accounts).step_by(1_000) {
            let account = |id: u64| Account {
                id: AccountId(id.into()),
                ledger: LedgerId(1),
                code: Code(1),
                ..Account::default()
            };
            let events = (first..=accounts.min(first + 999)).map(account).collect();
            writer.block(CommandBody::CreateAccounts(Events {
                events,
                metadata: Vec::new(),
            }));
        }
        writer
    }

    fn block(&mut self, body: CommandBody) {
        let command = Command {
            actor: ActorId(1),
            body,
        };
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let now = TimestampNs(now.expect("after 1970").as_nanos() as u64);
        self.ledger
            .apply(&NoArchive, now, &command, &mut self.outcome)
            .expect("no archive is asked");
        self.ledger.forget_archived(self.ledger.rows());
        self.draft.push(self.outcome.timestamp, &command, &self.outcome);
        let term = Term {
            epoch: 1,
            writer: WriterId(1),
        };
        let _ = self
            .journal
            .append(term, &mut self.draft)
            .expect("it is appended");
    }

    fn transfers_at(&mut self, rate: u64, seconds: u64) {
        let started = Instant::now();
        let blocks = rate * seconds / BLOCK;
        for number in 0..blocks {
            let due = Duration::from_secs_f64(number as f64 * BLOCK as f64 / rate as f64);
            std::thread::sleep(due.saturating_sub(started.elapsed()));
            let events = (0..BLOCK).map(|_| self.transfer()).collect();
            self.block(CommandBody::CreateTransfers(Events {
                events,
                metadata: Vec::new(),
            }));
        }
    }

    fn transfer(&mut self) -> Transfer {
        let id = self.next_id;
        self.next_id += 1;
        // Spread over all accounts; ids as random ones are.
        let mixed = u128::from(id).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
        let account = |salt: u64| u128::from((id.wrapping_mul(2_654_435_761) + salt) % self.accounts + 1);
        Transfer {
            id: TransferId(mixed),
            debit_account_id: AccountId(account(0)),
            credit_account_id: AccountId(account(self.accounts / 2)),
            amount: Amount(u128::from(id % 100_000 + 1)),
            ledger: LedgerId(1),
            code: Code(1),
            ..Transfer::default()
        }
    }
}

/// User and system time of a `stat` file, in ms; the kernel counts in hundredths of a second.
fn stat_ms(path: &str) -> u64 {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let fields: Vec<&str> = text.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|it| it.parse::<u64>().ok()).unwrap_or(0);
    (ticks(11) + ticks(12)) * 10
}

/// Of all processes of the server that live; those that end in between are few.
fn server_ms(servers: &Servers) -> u64 {
    let pids = servers
        .primary
        .sql("select pid from pg_stat_activity where pid <> pg_backend_pid()");
    pids.lines()
        .map(|pid| stat_ms(&format!("/proc/{pid}/stat")))
        .sum()
}

/// Of the threads of ours other than the first, which writes.
fn own_ms() -> u64 {
    let own = std::process::id();
    let tasks = std::fs::read_dir("/proc/self/task").expect("Linux");
    tasks
        .filter_map(|task| task.ok()?.file_name().into_string().ok())
        .filter(|task| *task != own.to_string())
        .map(|task| stat_ms(&format!("/proc/self/task/{task}/stat")))
        .sum()
}
