//! Measures the journal alone: encoding, appending and replaying ordinary transfers. Prints JSON.
//!
//! `cargo run --release -p journal --example journal -- <directory> <transfers per block> <blocks>`

use journal::{Draft, Journal, LocalJournal, LocalOptions, Term, WriterId};
use ledger::{
    AccountId, ActorId, Amount, Balances, Code, Command, CommandBody, CreateTransferResult, Events, Height,
    LedgerId, Outcome, TimestampNs, Transfer, TransferId, TransferReply,
};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use storage::{DataKey, FileSystem, KeyId, KeyRing};

fn main() {
    let mut arguments = std::env::args().skip(1);
    let usage = "usage: journal <directory> <transfers per block> <blocks>";
    let directory = PathBuf::from(arguments.next().expect(usage));
    let count: usize = arguments.next().expect(usage).parse().expect(usage);
    let blocks: u64 = arguments.next().expect(usage).parse().expect(usage);

    let (command, outcome) = request(count);
    let keys = KeyRing::new(DataKey::new(KeyId(1), [1; 32]));
    let options = LocalOptions::default();
    let (mut journal, recovered) =
        LocalJournal::open(Arc::new(FileSystem), &directory, keys, options).expect("the journal opens");
    let preparer = journal.preparer();
    preparer.step().expect("a segment is made");
    let term = Term {
        epoch: recovered.head.epoch + 1,
        writer: WriterId(recovered.head.height.0.into()),
    };

    let mut draft = Draft::new();
    let mut now = recovered.head.timestamp.0;
    let mut encoding = Duration::ZERO;
    let mut appends = Vec::with_capacity(blocks as usize);
    for _ in 0..blocks {
        now += 1 + count as u64;
        let start = Instant::now();
        draft.push(TimestampNs(now), &command, &outcome);
        encoding += start.elapsed();
        let start = Instant::now();
        journal.append(term, &mut draft).expect("the block is appended");
        appends.push(start.elapsed());
        // In the node a thread does this beside the appends.
        preparer.step().expect("a segment is made");
    }
    appends.sort();
    let total: Duration = appends.iter().sum();

    let start = Instant::now();
    let from = Height(recovered.head.height.0 + 1);
    let replayed = journal.reader().scan(from).filter(Result::is_ok).count() as u64;
    let replay = start.elapsed();
    assert!(replayed == blocks, "{replayed} of {blocks} blocks were read back");

    let transfers = (blocks * count as u64) as f64;
    let micros = |duration: Duration| duration.as_secs_f64() * 1e6;
    println!(
        "{{\"workload\":\"journal\",\"transfers_per_block\":{count},\"blocks\":{blocks},\
         \"encode_per_second\":{:.0},\"append_per_second\":{:.0},\"append_p50_us\":{:.1},\
         \"append_p99_us\":{:.1},\"replay_per_second\":{:.0}}}",
        transfers / encoding.as_secs_f64(),
        transfers / total.as_secs_f64(),
        micros(appends[appends.len() / 2]),
        micros(appends[appends.len() * 99 / 100]),
        transfers / replay.as_secs_f64(),
    );
}

fn request(count: usize) -> (Command, Outcome) {
    // Ids as clients make them: time in the upper half, chance in the lower.
    let id = |i: usize| {
        0x0192_3f4e_0000_0000_0000_0000_0000_0000 + (i as u128).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    };
    let events = (0..count)
        .map(|i| Transfer {
            id: TransferId(id(i)),
            debit_account_id: AccountId(id(i * 7)),
            credit_account_id: AccountId(id(i * 13 + 1)),
            amount: Amount(100 + i as u128),
            ledger: LedgerId(1),
            code: Code(700),
            ..Transfer::default()
        })
        .collect();
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
    (
        Command {
            actor: ActorId(9),
            body,
        },
        outcome,
    )
}
