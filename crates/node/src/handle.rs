//! What the edges (API, command line) may ask of a node. Owns: requests, replies and their errors.

use history::FilterError;
use ledger::{
    Account, AccountId, AccountReply, ActorId, Balances, DescribeLedgerResult, Events, Height,
    LedgerDescription, Row, RowNumber, TimestampNs, Transfer, TransferReply,
};
use std::time::{Duration, Instant};

/// A request that changes the ledger.
#[derive(Debug)]
pub struct Request {
    /// Who asks, as authenticated at the edge.
    pub actor: ActorId,
    /// What is asked; at most [`ledger::EVENTS_PER_REQUEST_MAX`] events, at least one.
    pub body: RequestBody,
    /// Past this moment the answer is [`SubmitError::Unknown`], or [`SubmitError::Expired`] when nothing was done.
    pub deadline: Option<Instant>,
}

/// What is asked.
#[derive(Debug)]
pub enum RequestBody {
    /// Create accounts, in order.
    CreateAccounts(Events<Account>),
    /// Create transfers, in order.
    CreateTransfers(Events<Transfer>),
    /// Describe a ledger.
    DescribeLedger(LedgerDescription),
}

/// The answer; it left only after the block that it rests on was durable.
#[derive(Debug)]
pub enum Reply {
    /// One per account, in order.
    Accounts(Vec<AccountReply>),
    /// One per transfer, in order.
    Transfers(Vec<TransferReply>),
    /// Of a description.
    Described(DescribeLedgerResult),
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// The queue is full. Nothing was done.
    #[error("overloaded; retry in {} ms", .retry_after.as_millis())]
    Overloaded {
        /// When to try again.
        retry_after: Duration,
    },
    /// The node takes no writes now (it stops, or has no leadership). Nothing was done.
    #[error("no writer now; retry in {} ms", .retry_after.as_millis())]
    Unavailable {
        /// When to try again.
        retry_after: Duration,
    },
    /// The disk is full. Nothing was done; reads go on; writing resumes by itself when there is room.
    #[error("storage is full; writes are refused until there is room")]
    StorageFull {
        /// When to try again.
        retry_after: Duration,
    },
    /// The deadline passed before anything was done.
    #[error("the deadline passed before the request was taken up; nothing was done")]
    Expired,
    /// The deadline passed while the request was under way. Repeating the same ids is always safe.
    #[error("the deadline passed; the outcome is unknown")]
    Unknown,
    /// The request has no events or too many.
    #[error("{0}")]
    Invalid(&'static str),
}

/// Why something cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The filter makes no sense.
    #[error(transparent)]
    Filter(#[from] FilterError),
    /// More ids than one request may hold, or none.
    #[error("ids: from 1 to 8190 are needed")]
    Ids,
    /// The account is not there.
    #[error("account {0} does not exist")]
    NoAccount(AccountId),
    /// The node is stopping or overloaded.
    #[error("reads are unavailable now")]
    Unavailable,
    /// The node cannot read its own files.
    #[error("the node cannot read its history")]
    Fault,
}

/// An account with its metadata in clear.
#[derive(Clone, Debug)]
pub struct AccountView {
    /// As it stands, closed flag included.
    pub account: Account,
    /// JSON text as given.
    pub metadata: Option<Vec<u8>>,
}

/// A row of history with its metadata in clear.
#[derive(Clone, Debug)]
pub struct TransferView {
    /// Its number, for paging.
    pub number: RowNumber,
    /// Of kind `Applied` or `Expired`.
    pub row: Row,
    /// JSON text as given.
    pub metadata: Option<Vec<u8>>,
}

/// An account's totals at a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BalanceAt {
    /// When the last entry at or before the moment was made; 0 when there was none.
    pub timestamp: TimestampNs,
    /// The totals.
    pub balances: Balances,
}

/// One page of results.
#[derive(Clone, Debug)]
pub struct Page<T> {
    /// In the order asked.
    pub items: Vec<T>,
    /// Give this as `after` for the next page; `None` when there is no more.
    pub next: Option<RowNumber>,
}

/// The totals of a ledger at one height.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrialBalance {
    /// Which ledger, with its description (empty when never described).
    pub description: LedgerDescription,
    /// The height at which all of it stands.
    pub height: Height,
    /// Timestamp of the last event at that height.
    pub timestamp: TimestampNs,
    /// Sums over all accounts of the ledger.
    pub totals: Balances,
    /// Sums by code, by rising code.
    pub by_code: Vec<TrialBalanceLine>,
    /// How many accounts the ledger has.
    pub accounts: u64,
}

/// The totals of one code in a trial balance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrialBalanceLine {
    /// Which code.
    pub code: ledger::Code,
    /// How many accounts have it.
    pub accounts: u64,
    /// Their sums.
    pub balances: Balances,
}

/// How the node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Whether it takes writes.
    pub writable: bool,
    /// Why not, for people; empty when it does.
    pub reason: String,
    /// The last final block.
    pub height: Height,
    /// The last block that history has indexed.
    pub indexed: Height,
    /// Whether it follows another writer.
    pub follows: bool,
    /// The writer's term, as far as this node knows.
    pub epoch: u64,
}

/// Which sides of an account's transfers are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccountEntries {
    /// The account.
    pub account: AccountId,
    /// Those that debit it.
    pub debits: bool,
    /// Those that credit it.
    pub credits: bool,
}
