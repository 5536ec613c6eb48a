//! What the journal's tests share: commands that look ordinary, and journals in memory.
#![allow(dead_code, reason = "each test binary uses a part")]

use journal::{
    Block, Draft, Head, Journal, JournalError, LocalJournal, LocalOptions, Recovered, ShardId, Term, WriterId,
};
use ledger::{
    AccountId, ActorId, Amount, Balances, Code, Command, CommandBody, CreateTransferResult, Events, Height,
    LedgerId, Outcome, TimestampNs, Transfer, TransferId, TransferReply,
};
use std::path::Path;
use std::sync::Arc;
use storage::faulty::FaultyStorage;
use storage::{DataKey, KeyId, KeyRing, Storage};

/// Segments so small that a few blocks fill one.
pub const OPTIONS: LocalOptions = LocalOptions {
    shard: ShardId(0),
    segment_bytes: 4 * 4096,
};

pub const TERM: Term = Term {
    epoch: 1,
    writer: WriterId(77),
};

pub fn keys() -> KeyRing {
    KeyRing::new(DataKey::new(KeyId(1), [42; 32]))
}

pub fn directory() -> &'static Path {
    Path::new("/data/journal")
}

/// An ordinary transfer.
pub fn transfer(id: u128) -> Transfer {
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

/// A request of ordinary transfers, and that all of them were created.
pub fn request(first_id: u128, count: usize) -> (Command, Outcome) {
    let events: Vec<Transfer> = (0..count as u128).map(|i| transfer(first_id + i)).collect();
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

/// A draft for the block at `height` that holds `count` transfers; the same for the same arguments.
pub fn draft(height: u64, count: usize) -> Draft {
    let mut draft = Draft::new();
    let (command, outcome) = request(u128::from(height) << 32, count);
    draft.push(time(height), &command, &outcome);
    draft
}

pub fn time(height: u64) -> TimestampNs {
    TimestampNs(1_000_000_000 + height * 1_000_000)
}

/// Whether a block holds what [`draft`] gave for its height.
pub fn is_as_written(block: &Block, count: usize) -> bool {
    let (command, _) = request(u128::from(block.height.0) << 32, count);
    block.entries.len() == 1
        && block.entries[0].command == command
        && block.entries[0].timestamp == time(block.height.0)
}

pub fn memory(seed: u64) -> Arc<FaultyStorage> {
    Arc::new(FaultyStorage::new(seed))
}

pub fn open(storage: &Arc<FaultyStorage>) -> Result<(LocalJournal, Recovered), JournalError> {
    let storage: Arc<dyn Storage> = storage.clone();
    LocalJournal::open(storage, directory(), keys(), OPTIONS)
}

/// Appends blocks of one transfer each until the head has that height.
pub fn fill(journal: &mut LocalJournal, until: u64) -> Head {
    while journal.head().height < Height(until) {
        let height = journal.head().height.0 + 1;
        journal.append(TERM, &mut draft(height, 1)).unwrap();
    }
    journal.head()
}
