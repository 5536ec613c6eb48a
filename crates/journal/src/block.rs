//! A block: what one group commit makes durable.

use ledger::{
    Command, CreateAccountResult, CreateTransferResult, DescribeLedgerResult, Height, TimestampNs, TransferId,
};

/// Names a writer's term; random, so that two terms are never equal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct WriterId(pub u128);

/// SHA-256 of a block's canonical unencrypted encoding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct BlockHash(pub [u8; 32]);

/// Which of many journals; 0 until there are several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ShardId(pub u32);

/// A block in clear.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// Which journal.
    pub shard: ShardId,
    /// Position: 1, 2, 3 …
    pub height: Height,
    /// The writer's term, rising.
    pub epoch: u64,
    /// Who wrote it.
    pub writer: WriterId,
    /// Of its first command.
    pub timestamp: TimestampNs,
    /// Under which rules it was applied.
    pub rules_version: u32,
    /// Hash of the block before; zeros for the first.
    pub previous: BlockHash,
    /// What was asked, in order, and what became of it.
    pub entries: Vec<Entry>,
    /// Over all of the above.
    pub hash: BlockHash,
}

impl Block {
    /// Timestamp of its last event; the next block's first must be above it, since replay gives it none below.
    #[must_use]
    pub fn last_event_timestamp(&self) -> TimestampNs {
        self.entries.last().map_or(self.timestamp, |entry| {
            let events = entry.results.events().max(1);
            TimestampNs(entry.timestamp.0 + events as u64 - 1)
        })
    }
}

/// A command and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Timestamp of its first event.
    pub timestamp: TimestampNs,
    /// What was asked, and by whom.
    pub command: Command,
    /// What became of it.
    pub results: Results,
}

/// What became of a command's events, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Results {
    /// Of `BeginEpoch`.
    None,
    /// Of `CreateAccounts`.
    Accounts(Vec<CreateAccountResult>),
    /// Of `CreateTransfers`.
    Transfers(Vec<CreateTransferResult>),
    /// Of `ExpirePending`: the pending transfers released.
    Expired(Vec<TransferId>),
    /// Of `DescribeLedger`.
    Described(DescribeLedgerResult),
}

impl Results {
    /// How many events they are of.
    #[must_use]
    pub fn events(&self) -> usize {
        match self {
            Self::None => 0,
            Self::Accounts(results) => results.len(),
            Self::Transfers(results) => results.len(),
            Self::Expired(ids) => ids.len(),
            Self::Described(_) => 1,
        }
    }
}
