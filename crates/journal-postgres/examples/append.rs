//! Measures appends to the PostgreSQL journal: starts servers on this machine, appends blocks of some sizes one after
//! the other, each final before the next, and prints how long they took, with machine and settings.
//!
//! `cargo run --release -p journal-postgres --example append -- [--servers 1|3] [--blocks N] [--chunks N,N,…] [--dir DIR]`

use journal::{Draft, Journal, ShardId, WriterId};
use journal_postgres::{
    CHUNK_BYTES, ConnectOptions, Durability, Password, PostgresJournal, PostgresOptions, migrate,
};
use ledger::{
    AccountId, ActorId, Amount, Balances, Code, Command, CommandBody, CreateTransferResult, Events, LedgerId,
    Outcome, TimestampNs, Transfer, TransferId, TransferReply,
};
use postgres_servers::{Options, SUPERUSER, Servers};
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use storage::{DataKey, KeyId, KeyRing};

/// What an ordinary transfer takes in a block.
const TRANSFER_BYTES: usize = 56;

/// WAL segments made before anything is measured, as a cluster makes them when it is set up.
const SEGMENTS: u32 = 24;

struct Arguments {
    servers: usize,
    blocks: usize,
    chunks: Vec<usize>,
    directory: Option<PathBuf>,
}

fn main() {
    let arguments = parse();
    let settings = [
        "shared_buffers = 1GB",
        "wal_buffers = 64MB",
        "min_wal_size = 4GB",
        "max_wal_size = 16GB",
        "checkpoint_timeout = 15min",
        "checkpoint_completion_target = 0.9",
        "wal_recycle = on",
        "wal_init_zero = on",
    ];
    let servers = Servers::start(&Options {
        standbys: arguments.servers - 1,
        wal_segment_mib: 64,
        settings: settings.map(str::to_owned).into(),
        directory: arguments.directory.clone(),
    });
    servers.recycle_wal(SEGMENTS);
    let mut journal = open(&servers);
    print_conditions(&arguments, &servers, &settings);
    let term = journal
        .begin_term(WriterId(1), TimestampNs(1))
        .expect("the term begins");
    println!("chunks  bytes/block  blocks/s    MB/s   P50 ms   P99 ms   max ms");
    for &chunks in &arguments.chunks {
        // The first tenth prepares statements, extends files and is not counted.
        let warm = arguments.blocks / 10;
        let mut times = Vec::with_capacity(arguments.blocks);
        let transfers = (chunks * CHUNK_BYTES - 400) / TRANSFER_BYTES;
        let mut bytes = 0;
        for i in 0..warm + arguments.blocks {
            let mut draft = draft(journal.head().height.0 + 1, transfers);
            bytes = draft.bytes();
            let started = Instant::now();
            journal.append(term, &mut draft).expect("nothing fails here");
            if i >= warm {
                times.push(started.elapsed());
            }
        }
        print(chunks, bytes, times);
    }
}

fn print(chunks: usize, bytes: usize, mut times: Vec<Duration>) {
    let total: Duration = times.iter().sum();
    times.sort();
    let ms = |part: f64| times[((times.len() - 1) as f64 * part) as usize].as_secs_f64() * 1e3;
    let rate = times.len() as f64 / total.as_secs_f64();
    println!(
        "{chunks:>6}  {bytes:>11}  {rate:>8.0}  {:>6.1}  {:>7.3}  {:>7.3}  {:>7.3}",
        rate * bytes as f64 / 1e6,
        ms(0.5),
        ms(0.99),
        ms(1.0)
    );
}

fn print_conditions(arguments: &Arguments, servers: &Servers, settings: &[&str]) {
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus.lines().find(|line| line.starts_with("model name"));
    let cores = cpus.lines().filter(|line| line.starts_with("processor")).count();
    println!(
        "machine: {cores} cores,{}",
        model.and_then(|line| line.split(':').nth(1)).unwrap_or(" ?")
    );
    println!(
        "command: append --servers {} --blocks {} --chunks {:?} (each block final before the next is sent)",
        arguments.servers, arguments.blocks, arguments.chunks
    );
    println!("server: {}", servers.primary.sql("select version()"));
    println!(
        "settings: 64 MiB WAL segments, {SEGMENTS} of them recycled before, {}",
        settings.join(", ")
    );
    let names = servers.primary.sql("show synchronous_standby_names");
    println!("synchronous_standby_names = '{names}', synchronous_commit = on");
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!("load before: {}", load.trim());
}

fn open(servers: &Servers) -> PostgresJournal {
    let _ = servers.primary.sql("create database shanraq");
    let password = Password::from_file(&servers.password_file()).expect("the servers made it");
    let connect = ConnectOptions {
        password: Some(password),
        ..ConnectOptions::new("127.0.0.1", servers.primary.port, SUPERUSER)
    };
    migrate(&connect, None).expect("the schema can be made");
    let names = servers.standbys.iter().map(|standby| standby.name.as_str());
    let durability = match servers.standbys.len() {
        0 => Durability::Local,
        _ => Durability::any_of(names),
    };
    let shard = ShardId(0);
    let keys = KeyRing::new(DataKey::new(KeyId(1), [42; 32]));
    let options = PostgresOptions {
        connect,
        durability,
        shard,
    };
    PostgresJournal::open(options, keys).expect("the journal opens")
}

fn draft(height: u64, transfers: usize) -> Draft {
    let transfer = |i: u128| Transfer {
        id: TransferId((u128::from(height) << 64) + i),
        debit_account_id: AccountId(u128::MAX / 3 + i),
        credit_account_id: AccountId(u128::MAX / 5 + i),
        amount: Amount(10_000 + i),
        ledger: LedgerId(1),
        code: Code(700),
        ..Transfer::default()
    };
    let reply = TransferReply {
        result: CreateTransferResult::Created,
        timestamp: TimestampNs(0),
        debit: Balances::default(),
        credit: Balances::default(),
    };
    let outcome = Outcome {
        transfers: vec![reply; transfers],
        ..Outcome::default()
    };
    let body = CommandBody::CreateTransfers(Events {
        events: (0..transfers as u128).map(transfer).collect(),
        metadata: Vec::new(),
    });
    let actor = ActorId(1);
    let mut draft = Draft::new();
    draft.push(
        TimestampNs(1_000_000 + height * 1_000_000),
        &Command { actor, body },
        &outcome,
    );
    draft
}

fn parse() -> Arguments {
    let mut arguments = Arguments {
        servers: 3,
        blocks: 4_000,
        chunks: vec![1, 4, 16],
        directory: None,
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let value = words.next().unwrap_or_else(|| panic!("{word} needs a value"));
        let number = || -> usize {
            value
                .parse()
                .unwrap_or_else(|_| panic!("{word} needs a number, not {value}"))
        };
        match word.as_str() {
            "--servers" => arguments.servers = number().max(1),
            "--blocks" => arguments.blocks = number().max(10),
            "--chunks" => {
                let sizes = value
                    .split(',')
                    .map(|it| it.parse().expect("--chunks needs numbers"));
                arguments.chunks = sizes.collect();
                assert!(
                    arguments.chunks.iter().all(|chunks| (1..=50).contains(chunks)),
                    "--chunks: 1 to 50"
                );
            }
            "--dir" => arguments.directory = Some(PathBuf::from(&value)),
            _ => panic!("{word} is not known"),
        }
    }
    arguments
}
