//! Measures the rules alone: plain transfers over 10,000 accounts, one thread, no disk, no network.
//!
//! `cargo run --release -p ledger --example engine -- --seed 1 --transfers 20000000`
//! With `--two-phase 1` half of the transfers are pending ones and the other half posts them.
//!
//! Only `Ledger::apply` and `Ledger::forget_archived` are timed; making the requests is not. The archive stands in for
//! history and has never seen an id, which is true here: ids are unique. At the end a snapshot is taken and encoded, so
//! that with `--accounts` one sees how long the ledger stands still for it. Output: one JSON object.

use ledger::{
    Account, AccountId, ActorId, Amount, Archive, ArchiveFault, Code, Command, CommandBody,
    CreateTransferResult, EVENTS_PER_REQUEST_MAX, Events, Ledger, LedgerId, Outcome, Resolution, RowNumber,
    TimestampNs, Transfer, TransferFlags, TransferId, Used,
};
use std::time::{Duration, Instant};

const ACCOUNTS_DEFAULT: u64 = 10_000;
/// How far history is behind: rows that stay in memory.
const ARCHIVE_LAG_ROWS: u64 = 65_536;

struct NeverSeen;

impl Archive for NeverSeen {
    fn find(&self, _: TransferId, _: RowNumber) -> Result<Option<Used>, ArchiveFault> {
        Ok(None)
    }

    fn resolution(&self, _: TransferId, _: RowNumber) -> Result<Option<Resolution>, ArchiveFault> {
        Ok(None)
    }

    fn timestamp_taken(&self, _: TimestampNs, _: RowNumber) -> Result<bool, ArchiveFault> {
        Ok(false)
    }
}

/// SplitMix64: enough for a workload, and no dependency.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

/// Time that this thread was on a processor; 0 where the system does not tell. Unlike the wall clock it does not count
/// what others on the machine took.
fn on_cpu() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanoseconds = text
        .split(' ')
        .next()
        .and_then(|first| first.parse().ok())
        .unwrap_or(0);
    Duration::from_nanos(nanoseconds)
}

fn argument(name: &str, default: u64) -> u64 {
    let mut arguments = std::env::args().skip_while(|argument| argument != name).skip(1);
    match arguments.next().map(|value| value.parse()) {
        None => default,
        Some(Ok(value)) => value,
        Some(Err(_)) => {
            eprintln!("{name}: a number is needed");
            std::process::exit(2);
        }
    }
}

fn accounts(first: u64, end: u64) -> Command {
    let events = (first..end)
        .map(|id| Account {
            id: AccountId(u128::from(id)),
            ledger: LedgerId(1),
            code: Code(1),
            ..Account::default()
        })
        .collect();
    Command {
        actor: ActorId(1),
        body: CommandBody::CreateAccounts(Events {
            events,
            metadata: Vec::new(),
        }),
    }
}

fn refill(events: &mut Vec<Transfer>, random: &mut Random, accounts: u64, first: u64, count: usize) {
    events.clear();
    for id in first..first + count as u64 {
        let debit = random.next() % accounts;
        let credit = (debit + 1 + random.next() % (accounts - 1)) % accounts;
        events.push(Transfer {
            // Time-ordered prefix, random tail: as clients are told to make them.
            id: TransferId(u128::from(id) << 64 | u128::from(random.next())),
            debit_account_id: AccountId(u128::from(debit + 1)),
            credit_account_id: AccountId(u128::from(credit + 1)),
            amount: Amount(u128::from(random.next() % 1_000_000 + 1)),
            ledger: LedgerId(1),
            code: Code(1),
            ..Transfer::default()
        });
    }
}

/// Turns a request of pending transfers that was applied into the request that posts them.
fn turn_into_posts(events: &mut [Transfer], first: u64) {
    for (id, event) in (first..).zip(events) {
        *event = Transfer {
            id: TransferId(u128::from(id) << 64),
            pending_id: event.id,
            amount: Amount::ALL,
            flags: TransferFlags::POST_PENDING_TRANSFER,
            ..Transfer::default()
        };
    }
}

fn main() -> Result<(), ArchiveFault> {
    let seed = argument("--seed", 1);
    let transfers = argument("--transfers", 10_000_000);
    let batch =
        (argument("--batch", EVENTS_PER_REQUEST_MAX as u64) as usize).clamp(1, EVENTS_PER_REQUEST_MAX);
    let mut random = Random(seed);
    let mut ledger = Ledger::with_hash_seed(random.next());
    let mut outcome = Outcome::default();
    let all = argument("--accounts", ACCOUNTS_DEFAULT).max(2);
    for first in (1..=all).step_by(EVENTS_PER_REQUEST_MAX) {
        let command = accounts(first, (all + 1).min(first + EVENTS_PER_REQUEST_MAX as u64));
        ledger.apply(&NeverSeen, TimestampNs(1), &command, &mut outcome)?;
    }

    let mut command = Command {
        actor: ActorId(1),
        body: CommandBody::CreateTransfers(Events::default()),
    };
    let (mut done, mut busy, mut cpu) = (0, Duration::ZERO, Duration::ZERO);
    let two_phase = argument("--two-phase", 0) == 1;
    let mut posts = false;
    while done < transfers {
        let count = batch.min(usize::try_from(transfers - done).unwrap_or(batch));
        if let CommandBody::CreateTransfers(request) = &mut command.body {
            if posts {
                request.events.truncate(count);
                turn_into_posts(&mut request.events, done + 1);
            } else {
                refill(&mut request.events, &mut random, all, done + 1, count);
                let flags = if two_phase {
                    TransferFlags::PENDING
                } else {
                    TransferFlags::empty()
                };
                request.events.iter_mut().for_each(|event| event.flags = flags);
            }
            posts = two_phase && !posts;
        }
        let (cpu_before, begin) = (on_cpu(), Instant::now());
        ledger.apply(&NeverSeen, TimestampNs(1), &command, &mut outcome)?;
        ledger.forget_archived(RowNumber(ledger.rows().0.saturating_sub(ARCHIVE_LAG_ROWS)));
        busy += begin.elapsed();
        cpu += on_cpu() - cpu_before;
        assert!(
            outcome
                .transfers
                .iter()
                .all(|reply| reply.result == CreateTransferResult::Created)
        );
        done += outcome.transfers.len() as u64;
    }
    let violations = ledger.check_invariants();
    assert!(violations.is_empty(), "{violations:?}");
    let begin = Instant::now();
    let snapshot = ledger.snapshot();
    let standstill = begin.elapsed();
    let mut bytes = Vec::new();
    let begin = Instant::now();
    snapshot.encode(&mut bytes).expect("memory takes everything");
    let encoding = begin.elapsed();
    let seconds = busy.as_secs_f64();
    println!(
        "{{\"workload\":\"engine\",\"seed\":{seed},\"transfers\":{done},\"accounts\":{all},\"batch\":{batch},\
         \"seconds\":{seconds:.3},\"transfers_per_second\":{:.0},\"ns_per_transfer\":{:.1},\"cpu_ns_per_transfer\":{:.1},\
         \"snapshot_standstill_us\":{},\"snapshot_encode_ms\":{},\"snapshot_bytes\":{}}}",
        done as f64 / seconds,
        seconds * 1e9 / done as f64,
        cpu.as_secs_f64() * 1e9 / done as f64,
        standstill.as_micros(),
        encoding.as_millis(),
        bytes.len()
    );
    Ok(())
}
