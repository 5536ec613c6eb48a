//! What one group commit will hold (pure). Owns: the encoding of commands as they are applied.
//! Must not: know the chain, keys or files.

use crate::codec::{GROUP_EVENTS, Scratch, Target, kind, put_account, put_code, put_transfer};
use crate::merkle::Leaves;
use crate::{Entry, Results};
use ledger::{
    Account, AccountReply, ActorId, Command, CommandBody, EVENTS_PER_REQUEST_MAX, EventMetadata, Events,
    LedgerDescription, Outcome, Sealed, TimestampNs, Transfer, TransferId, TransferReply,
};

/// Collects entries in their encoded form; reused from block to block, with its buffers.
#[derive(Debug, Default)]
pub struct Draft {
    body: Vec<u8>,
    leaves: Leaves,
    entries: u32,
    events: u32,
    first: TimestampNs,
    last: TimestampNs,
}

impl Draft {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a command that was applied and what became of it. `timestamp` is that of its first event
    /// ([`Outcome::timestamp`]) and must be above that of the command before.
    ///
    /// # Panics
    /// When the outcome is not one of this command, or time does not rise: the block would be a lie.
    pub fn push(&mut self, timestamp: TimestampNs, command: &Command, outcome: &Outcome) {
        let start = self.begin(timestamp, command);
        match &command.body {
            CommandBody::BeginEpoch => self.leaves.group(start, 0),
            CommandBody::CreateAccounts(events) => {
                self.accounts(start, events, &outcome.accounts, |reply: &AccountReply| {
                    reply.result.code()
                });
            }
            CommandBody::CreateTransfers(events) => {
                self.transfers(start, events, &outcome.transfers, |reply: &TransferReply| {
                    reply.result.code()
                });
            }
            CommandBody::ExpirePending { limit } => self.expired(start, *limit, &outcome.expired),
            CommandBody::DescribeLedger(description) => {
                let result = outcome.described.expect("a description has a result");
                self.described(start, description, result.code());
            }
        }
    }

    /// Adds an entry as it was read from a block. For tools that copy blocks.
    ///
    /// # Panics
    /// As [`Draft::push`].
    pub fn push_entry(&mut self, entry: &Entry) {
        let start = self.begin(entry.timestamp, &entry.command);
        match (&entry.command.body, &entry.results) {
            (CommandBody::BeginEpoch, Results::None) => self.leaves.group(start, 0),
            (CommandBody::CreateAccounts(events), Results::Accounts(results)) => {
                self.accounts(start, events, results, |result| result.code());
            }
            (CommandBody::CreateTransfers(events), Results::Transfers(results)) => {
                self.transfers(start, events, results, |result| result.code());
            }
            (CommandBody::ExpirePending { limit }, Results::Expired(ids)) => self.expired(start, *limit, ids),
            (CommandBody::DescribeLedger(description), Results::Described(result)) => {
                self.described(start, description, result.code());
            }
            _ => panic!("the results are not of the entry's command"),
        }
    }

    /// Whether nothing was added.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries == 0
    }

    /// How many commands it holds.
    #[must_use]
    pub fn entries(&self) -> u32 {
        self.entries
    }

    /// How many accounts, transfers, expiries and descriptions it holds.
    #[must_use]
    pub fn events(&self) -> u32 {
        self.events
    }

    /// How many bytes the encoded body has; at most [`crate::BODY_BYTES_MAX`] can be appended.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.body.len()
    }

    /// Empties it and keeps the buffers.
    pub fn clear(&mut self) {
        self.body.clear();
        self.leaves.clear();
        self.entries = 0;
        self.events = 0;
        self.first = TimestampNs(0);
        self.last = TimestampNs(0);
    }

    /// Timestamp of the first entry.
    #[must_use]
    pub fn first_timestamp(&self) -> TimestampNs {
        self.first
    }

    /// Timestamp of the last entry.
    #[must_use]
    pub fn last_timestamp(&self) -> TimestampNs {
        self.last
    }

    /// The encoded body so far.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    pub(crate) fn root(&self) -> [u8; 32] {
        self.leaves.root(&self.body)
    }

    /// Begins an entry and says where it starts.
    fn begin(&mut self, timestamp: TimestampNs, command: &Command) -> usize {
        if self.entries == 0 {
            self.first = timestamp;
        }
        assert!(
            timestamp > self.last,
            "an entry at {timestamp} ns follows one at {} ns",
            self.last
        );
        self.last = timestamp;
        self.entries += 1;
        let start = self.body.len();
        let kind = match command.body {
            CommandBody::BeginEpoch => kind::BEGIN_EPOCH,
            CommandBody::CreateAccounts(_) => kind::CREATE_ACCOUNTS,
            CommandBody::CreateTransfers(_) => kind::CREATE_TRANSFERS,
            CommandBody::ExpirePending { .. } => kind::EXPIRE_PENDING,
            CommandBody::DescribeLedger(_) => kind::DESCRIBE_LEDGER,
        };
        if command.actor == ActorId(0) {
            self.body.push(kind);
        } else {
            self.body.push(kind | kind::ACTOR);
            self.body.put(&command.actor.0.to_le_bytes());
        }
        self.body.put_varint((timestamp.0 - self.first.0).into());
        start
    }

    fn accounts<R>(&mut self, start: usize, events: &Events<Account>, results: &[R], code: fn(&R) -> u16) {
        self.groups(start, events, results, code, put_account);
    }

    fn transfers<R>(&mut self, start: usize, events: &Events<Transfer>, results: &[R], code: fn(&R) -> u16) {
        self.groups(start, events, results, code, put_transfer);
    }

    fn groups<E, R>(
        &mut self,
        mut start: usize,
        events: &Events<E>,
        results: &[R],
        code: impl Fn(&R) -> u16,
        put: impl Fn(&mut Scratch, &E, Option<&Sealed>, &mut Vec<u8>),
    ) {
        let count = events.events.len();
        assert!(
            count == results.len(),
            "{count} events have {} results",
            results.len()
        );
        assert!(
            (1..=EVENTS_PER_REQUEST_MAX).contains(&count),
            "a request of {count} events was applied"
        );
        self.body.put_varint(count as u128);
        self.events += count as u32;
        let mut scratch = Scratch::new();
        let mut metadata = events.metadata.iter().peekable();
        let mut index = 0;
        let groups = events.events.chunks(GROUP_EVENTS);
        for (group, results) in groups.zip(results.chunks(GROUP_EVENTS)) {
            for event in group {
                let sealed = metadata.next_if(|next: &&EventMetadata| next.index == index);
                put(&mut scratch, event, sealed.map(|it| &it.sealed), &mut self.body);
                index += 1;
            }
            put_code(results.iter().map(&code), &mut self.body);
            self.leaves.group(start, group.len());
            start = self.body.len();
        }
        assert!(
            metadata.next().is_none(),
            "metadata must come by rising index of its request's events"
        );
    }

    fn expired(&mut self, mut start: usize, limit: u32, ids: &[TransferId]) {
        assert!(
            ids.len() <= limit as usize,
            "{} expired, at most {limit} were asked for",
            ids.len()
        );
        self.body.put_varint(limit.into());
        self.body.put_varint(ids.len() as u128);
        self.events += ids.len() as u32;
        if ids.is_empty() {
            self.leaves.group(start, 0);
        }
        for group in ids.chunks(GROUP_EVENTS) {
            for id in group {
                self.body.put(&id.0.to_le_bytes());
            }
            self.leaves.group(start, group.len());
            start = self.body.len();
        }
    }

    fn described(&mut self, start: usize, description: &LedgerDescription, code: u16) {
        self.body.put_varint(description.ledger.0.into());
        self.body.put_bytes(description.name.as_bytes());
        self.body.put_bytes(description.currency.as_bytes());
        self.body.push(description.scale);
        self.body.put_varint(code.into());
        self.events += 1;
        self.leaves.group(start, 1);
    }
}
