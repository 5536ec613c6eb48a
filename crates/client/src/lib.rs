//! The Rust client of a Shanraq node.
//!
//! Owns: batching of concurrent calls, safe retries under a deadline, and saying *unknown* when it must.
//! Must not: make up an outcome.
#![allow(clippy::unused_async, unused_variables, reason = "the shape, for those who build on it")]

use std::time::Duration;

pub use ledger;
use ledger::{
    Account, AccountId, AccountReply, DescribeLedgerResult, LedgerDescription, Transfer, TransferId, TransferReply,
};

/// How a client behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// How long a call may take, repeats included.
    pub timeout: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(10) }
    }
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The deadline passed; it may have been applied or not. Repeating the same ids is safe.
    #[error("CLI-0001: the deadline passed; the outcome is unknown")]
    Unknown,
    /// The deadline passed and nothing was done.
    #[error("CLI-0002: the deadline passed; nothing was done: {0}")]
    NotDone(String),
    /// The request is refused as it stands. Nothing was done.
    #[error("CLI-0003: {0}")]
    Invalid(String),
    /// The endpoint is no valid address.
    #[error("CLI-0004: endpoint: {0}")]
    Endpoint(String),
    /// The server said what this client does not understand.
    #[error("CLI-0005: {0}")]
    Protocol(String),
}

/// An account and its metadata.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountRecord {
    /// As it stands.
    pub account: Account,
    /// JSON text, if it has some.
    pub metadata_json: Option<String>,
}

/// A row of history: a transfer, or the release of one that expired.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransferRecord {
    /// As stored.
    pub transfer: Transfer,
    /// Released by the engine: `transfer.pending_id` expired and `transfer.id` is 0.
    pub expired: bool,
    /// The debited account's totals after it.
    pub debit_balances: ledger::Balances,
    /// The credited account's totals after it.
    pub credit_balances: ledger::Balances,
    /// JSON text, if it has some.
    pub metadata_json: Option<String>,
}

/// A connection to a node; cheap to clone.
#[derive(Clone, Debug)]
pub struct Client {}

impl Client {
    /// Connects, for example to `http://127.0.0.1:7400`.
    ///
    /// # Errors
    /// [`Error::Endpoint`].
    pub async fn connect(endpoint: &str) -> Result<Self, Error> {
        Self::connect_with(endpoint, Options::default()).await
    }

    /// Connects with options.
    ///
    /// # Errors
    /// [`Error::Endpoint`].
    pub async fn connect_with(endpoint: &str, options: Options) -> Result<Self, Error> {
        panic!("under construction")
    }

    /// Creates accounts as one request, in order.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn submit_accounts(&self, accounts: Vec<Account>) -> Result<Vec<AccountReply>, Error> {
        panic!("under construction")
    }

    /// Creates transfers as one request, in order; at most 8,190.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn submit_transfers(&self, transfers: Vec<Transfer>) -> Result<Vec<TransferReply>, Error> {
        panic!("under construction")
    }

    /// Creates one transfer; concurrent calls share requests.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn transfer(&self, transfer: Transfer) -> Result<TransferReply, Error> {
        panic!("under construction")
    }

    /// Describes a ledger.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn describe_ledger(&self, description: LedgerDescription) -> Result<DescribeLedgerResult, Error> {
        panic!("under construction")
    }

    /// Accounts by id, missing ones left out.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn lookup_accounts(&self, ids: &[AccountId]) -> Result<Vec<AccountRecord>, Error> {
        panic!("under construction")
    }

    /// Transfers by id, missing ones left out.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn lookup_transfers(&self, ids: &[TransferId]) -> Result<Vec<TransferRecord>, Error> {
        panic!("under construction")
    }
}
