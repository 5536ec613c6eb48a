//! How the index does at scale: loads rows, asks questions whose answers are known, prints figures as JSON.
//!
//! `cargo run --release -p history --example history_scale -- [rows] [random|ordered] [accounts] [directory]`

use history::{AccountSide, Filter, Options, Order, Reader, Writer};
use ledger::{
    Account, AccountId, AccountNumber, Amount, Archive, Balances, Code, Height, LedgerId, Outcome, Row,
    RowKind, RowNumber, TimestampNs, Transfer, TransferId,
};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::collections::BTreeMap;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::time::Instant;
use storage::{DataKey, KeyId, KeyRing};

const BATCH: u64 = 8_190;
const WATCHED: u32 = 64;

/// Nanoseconds that this thread was on a core.
fn cpu_ns() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux has it");
    text.split(' ')
        .next()
        .and_then(|field| field.parse().ok())
        .expect("its first field is a number")
}

fn resident_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").expect("Linux has it");
    let line = text
        .lines()
        .find(|line| line.starts_with("VmRSS"))
        .expect("it has the line");
    line.split_whitespace()
        .nth(1)
        .and_then(|field| field.parse::<u64>().ok())
        .expect("a number")
        * 1024
}

fn disk_bytes(directory: &Path) -> u64 {
    let entries = std::fs::read_dir(directory).expect("the directory is there");
    entries
        .map(|entry| {
            entry
                .and_then(|entry| entry.metadata())
                .map_or(0, |metadata| metadata.len())
        })
        .sum()
}

/// Makes rows, and remembers what is to be known of some.
struct Source {
    random: StdRng,
    ordered: bool,
    balances: Vec<Balances>,
    next: u64,
    ids: Vec<(TransferId, u64)>,
    entries: BTreeMap<u32, Vec<(u64, Balances)>>,
}

impl Source {
    fn id(&mut self, number: u64) -> TransferId {
        let low: u64 = self.random.random();
        let high = if self.ordered {
            number
        } else {
            self.random.random()
        };
        TransferId(u128::from(high) << 64 | u128::from(low) | 1)
    }

    fn fill(&mut self, outcome: &mut Outcome, rows: u64) {
        outcome.clear();
        outcome.first_row = RowNumber(self.next);
        for _ in 0..rows {
            let id = self.id(self.next);
            if self.next.is_multiple_of(997) {
                self.ids.push((id, self.next));
            }
            let count = self.balances.len() as u32;
            let debit = self.random.random_range(0..count);
            let credit = (debit + self.random.random_range(1..count)) % count;
            let amount = Amount(self.random.random_range(1..100_000));
            self.balances[debit as usize].debits_posted.0 += amount.0;
            self.balances[credit as usize].credits_posted.0 += amount.0;
            for number in [debit, credit].into_iter().filter(|number| *number < WATCHED) {
                self.entries
                    .entry(number)
                    .or_default()
                    .push((self.next, self.balances[number as usize]));
            }
            outcome.rows.push(Row {
                kind: RowKind::Applied,
                transfer: Transfer {
                    id,
                    debit_account_id: account_id(debit),
                    credit_account_id: account_id(credit),
                    amount,
                    ledger: LedgerId(1),
                    code: Code(10 + (self.next / 100 % 4) as u16),
                    timestamp: time(self.next),
                    ..Transfer::default()
                },
                debit: AccountNumber(debit),
                credit: AccountNumber(credit),
                debit_balances: self.balances[debit as usize],
                credit_balances: self.balances[credit as usize],
            });
            self.next += 1;
        }
    }
}

fn account_id(number: u32) -> AccountId {
    AccountId(u128::from(number) + 1_000)
}

fn time(number: u64) -> TimestampNs {
    TimestampNs(1_700_000_000_000_000_000 + number * 5_000)
}

fn accounts(count: u32) -> Outcome {
    let account = |number| Account {
        id: account_id(number),
        ledger: LedgerId(1),
        code: Code(7),
        timestamp: TimestampNs(1 + u64::from(number)),
        ..Account::default()
    };
    Outcome {
        new_accounts: (0..count).map(account).collect(),
        ..Outcome::default()
    }
}

struct Load {
    writer_ns: u64,
    jobs_ns: u64,
    wall_s: f64,
    peak_bytes: u64,
}

/// Feeds the rows while another thread does the jobs.
fn load(writer: &mut Writer, source: &mut Source, rows: u64) -> Load {
    let (to_worker, jobs) = mpsc::channel::<history::Job>();
    let (to_writer, results) = mpsc::channel();
    let worker = std::thread::spawn(move || {
        for job in jobs {
            to_writer
                .send(job.run(&history::FullSpeed).expect("the disk works"))
                .expect("the writer waits");
        }
        cpu_ns()
    });
    let start = Instant::now();
    let (mut writer_ns, mut peak_bytes, mut height, mut outcome) = (0, 0, 0, Outcome::default());
    let mut under_way = 0;
    while source.next < rows || under_way > 0 {
        let batch = BATCH.min(rows - source.next);
        source.fill(&mut outcome, batch);
        let before = cpu_ns();
        if batch > 0 {
            height += 1;
            writer.append(&outcome).expect("rows follow");
            writer.commit(Height(height), [0; 32]).expect("blocks follow");
        }
        while let Some(job) = writer.next_job() {
            under_way += 1;
            to_worker.send(job).expect("the worker runs");
        }
        let wait = writer.backlog() > 1 || batch == 0;
        writer_ns += cpu_ns() - before;
        let received = if wait && under_way > 0 {
            results.recv().ok()
        } else {
            results.try_recv().ok()
        };
        if let Some(done) = received {
            under_way -= 1;
            peak_bytes = peak_bytes.max(resident_bytes());
            let before = cpu_ns();
            writer.install(done).expect("the disk works");
            while let Some(job) = writer.next_job() {
                under_way += 1;
                to_worker.send(job).expect("the worker runs");
            }
            writer_ns += cpu_ns() - before;
        }
    }
    let wall_s = start.elapsed().as_secs_f64();
    drop(to_worker);
    Load {
        writer_ns,
        jobs_ns: worker.join().expect("the worker ends"),
        wall_s,
        peak_bytes,
    }
}

/// Mean CPU nanoseconds of a call.
fn timed(count: u64, mut call: impl FnMut(u64)) -> f64 {
    let before = cpu_ns();
    for i in 0..count {
        call(i);
    }
    (cpu_ns() - before) as f64 / count as f64
}

fn questions(reader: &Reader, source: &mut Source, rows: u64) -> [(&'static str, f64); 6] {
    let strangers: Vec<_> = (0..500_000).map(|i| source.id(rows + i)).collect();
    let every = RowNumber(u64::MAX);
    let miss = timed(500_000, |i| {
        assert!(
            black_box(reader.find(strangers[i as usize], every))
                .expect("it reads")
                .is_none()
        );
    });
    let ids = source.ids.clone();
    let hit = timed(5_000, |i| {
        let (id, number) = ids[(i as usize * 7_919) % ids.len()];
        let found = reader.transfers(&[id]).expect("it reads");
        assert_eq!(found[0].as_ref().expect("it is there").number.0, number);
    });
    let balance = timed(5_000, |i| {
        let account = i as u32 % WATCHED;
        let row = i.wrapping_mul(0x9e37_79b9_7f4a_7c15) % rows;
        let found = reader
            .balance_at(AccountNumber(account), time(row))
            .expect("it reads");
        let entries = &source.entries[&account];
        let known = entries
            .partition_point(|(number, _)| *number <= row)
            .checked_sub(1)
            .map(|at| entries[at]);
        assert_eq!(found.map(|(number, _, balances)| (number.0, balances)), known);
    });
    let page = |order, code| {
        timed(500, |i| {
            let account = i as u32 % WATCHED;
            let side = AccountSide {
                account: AccountNumber(account),
                debits: true,
                credits: true,
            };
            let filter = Filter {
                account: Some(side),
                code: Code(code),
                limit: 100,
                order,
                ..Filter::default()
            };
            let found = reader.query_transfers(&filter).expect("it reads");
            let mut known: Vec<u64> = source.entries[&account]
                .iter()
                .map(|(number, _)| *number)
                .collect();
            known.retain(|number| code == 0 || number / 100 % 4 == 1);
            if order == Order::NewestFirst {
                known.reverse();
            }
            known.truncate(100);
            assert_eq!(
                found.items.iter().map(|item| item.number.0).collect::<Vec<_>>(),
                known
            );
        })
    };
    [
        ("find_miss_ns", miss),
        ("find_hit_us", hit / 1e3),
        ("balance_at_us", balance / 1e3),
        ("account_100_newest_us", page(Order::NewestFirst, 0) / 1e3),
        ("account_100_oldest_us", page(Order::OldestFirst, 0) / 1e3),
        (
            "account_and_code_100_newest_us",
            page(Order::NewestFirst, 11) / 1e3,
        ),
    ]
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let rows: u64 = arguments
        .first()
        .map_or(1_000_000, |text| text.parse().expect("rows is a number"));
    let ordered = arguments.get(1).is_some_and(|text| text == "ordered");
    let count: u32 = arguments
        .get(2)
        .map_or(10_000, |text| text.parse().expect("accounts is a number"));
    let temporary = tempfile::tempdir().expect("a temporary directory");
    let directory = arguments
        .get(3)
        .map_or_else(|| temporary.path().join("history"), PathBuf::from);
    let keys = KeyRing::new(DataKey::new(KeyId(1), [1; 32]));
    let open = || {
        Writer::open(
            Arc::new(storage::FileSystem),
            &directory,
            &keys,
            Options::default(),
        )
        .expect("the index opens")
    };
    let (mut writer, reader) = open();
    writer.append(&accounts(count)).expect("accounts follow");
    let mut source = Source {
        random: StdRng::seed_from_u64(1),
        ordered,
        balances: vec![Balances::default(); count as usize],
        next: 0,
        ids: Vec::new(),
        entries: BTreeMap::new(),
    };
    let empty = resident_bytes();
    let load = load(&mut writer, &mut source, rows);
    let loaded = resident_bytes();
    let answers = questions(&reader, &mut source, rows);
    let disk = disk_bytes(&directory);
    drop((writer, reader));
    let start = Instant::now();
    let (writer, _reader) = open();
    let open_ms = start.elapsed().as_secs_f64() * 1e3;
    assert!(writer.durable().rows.0 <= rows);
    println!("{{");
    println!(
        "  \"rows\": {rows}, \"ids\": \"{}\", \"accounts\": {count},",
        if ordered { "ordered" } else { "random" }
    );
    println!(
        "  \"writer_cpu_ns_per_row\": {:.0},",
        load.writer_ns as f64 / rows as f64
    );
    println!(
        "  \"jobs_cpu_ns_per_row\": {:.0},",
        load.jobs_ns as f64 / rows as f64
    );
    println!("  \"wall_s\": {:.2},", load.wall_s);
    for (name, value) in answers {
        println!("  \"{name}\": {value:.1},");
    }
    println!("  \"resident_before_bytes\": {empty},");
    println!("  \"resident_peak_bytes\": {},", load.peak_bytes);
    println!("  \"resident_after_bytes\": {loaded},");
    println!("  \"disk_bytes_per_row\": {:.1},", disk as f64 / rows as f64);
    println!("  \"open_ms\": {open_ms:.0}");
    println!("}}");
}
