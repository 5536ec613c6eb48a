//! The Rust client of a Shanraq node.
//!
//! Owns: batching of concurrent calls, safe repeats under a deadline, and saying *unknown* when it must.
//! Must not: make up an outcome, or choose an id (the caller's ids are what makes repeating safe).
//!
//! A task in the background keeps one Submit stream and repeats what a broken connection left in doubt. A repeat of
//! what had been applied answers `exists`: it is done, whether by this call or an earlier one.

mod driver;
mod error;
mod feed;
mod reads;
mod repeat;
mod work;

pub use error::Error;
pub use feed::{Block, Change, Entry, Feed};
pub use ledger;
pub use reads::{AccountRecord, Page, Query, Sides, TransferRecord, TrialBalance, TrialBalanceLine};

use ledger::{
    Account, AccountReply, DescribeLedgerResult, LedgerDescription, Posting, TransactionHead,
    TransactionOutcome, Transfer, TransferReply,
};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};
use tonic::transport::{Channel, Endpoint};
use wire::derive_leg_id;
use wire::v1::ledger_client::LedgerClient;
use work::{Body, Waiters, Work};

/// How a client behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// How long a call may take, repeats included.
    pub timeout: Duration,
    /// How many shared requests may be under way before further calls wait and share the next one.
    /// 1 makes the largest batches, more hide the network's delay.
    pub shared_requests: usize,
    /// How many requests may be under way in all.
    pub requests: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(10),
            shared_requests: 2,
            requests: 64,
        }
    }
}

/// How long to wait for a connection before trying again.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// The largest answer: a page of 8,190 transfers with full metadata.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// A connection to a node; cheap to clone. Ends in the background when the last clone is dropped and all calls
/// are answered.
#[derive(Clone, Debug)]
pub struct Client {
    work: mpsc::UnboundedSender<Work>,
    grpc: LedgerClient<Channel>,
    timeout: Duration,
}

impl Client {
    /// Prepares a connection, for example to `http://127.0.0.1:7400`. It is opened by the first call, and again
    /// whenever it breaks. Needs a tokio runtime, on which the background task lives.
    ///
    /// # Errors
    /// [`Error::Endpoint`] when the address makes no sense.
    pub async fn connect(endpoint: &str) -> Result<Self, Error> {
        Self::connect_with(endpoint, Options::default()).await
    }

    /// [`Client::connect`] with options.
    ///
    /// # Errors
    /// [`Error::Endpoint`].
    #[allow(
        clippy::unused_async,
        reason = "says that a runtime is needed, and leaves room for name look-ups"
    )]
    pub async fn connect_with(endpoint: &str, options: Options) -> Result<Self, Error> {
        let channel = Endpoint::from_shared(endpoint.to_owned())
            .map_err(|error| Error::Endpoint(error.to_string()))?
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .initial_stream_window_size(8 << 20)
            .initial_connection_window_size(16 << 20)
            .http2_keep_alive_interval(Duration::from_secs(2))
            .keep_alive_timeout(Duration::from_secs(2))
            .keep_alive_while_idle(true)
            .connect_lazy();
        let grpc = LedgerClient::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX);
        let (work, queue) = mpsc::unbounded_channel();
        tokio::spawn(driver::run(grpc.clone(), queue, options.clone()));
        Ok(Self {
            work,
            grpc,
            timeout: options.timeout,
        })
    }

    /// The same connection with another timeout.
    #[must_use]
    pub fn with_timeout(&self, timeout: Duration) -> Self {
        Self {
            timeout,
            ..self.clone()
        }
    }

    fn deadline(&self) -> Instant {
        Instant::now() + self.timeout
    }

    async fn whole<T>(
        &self,
        body: Body,
        waiters: impl FnOnce(oneshot::Sender<Result<T, Error>>) -> Waiters,
    ) -> Result<T, Error> {
        let (reply, answer) = oneshot::channel();
        let deadline = self.deadline();
        self.work
            .send(Work::Whole {
                body,
                waiters: waiters(reply),
                deadline,
            })
            .map_err(|_| Error::NotDone(GONE.to_owned()))?;
        answer.await.unwrap_or(Err(Error::Unknown))
    }

    /// Creates accounts as one request, in order; at most 8,190. Dropping the call does not undo it.
    ///
    /// # Errors
    /// [`Error`]; a refusal by the ledger is a result.
    pub async fn submit_accounts(&self, accounts: Vec<Account>) -> Result<Vec<AccountReply>, Error> {
        self.submit_accounts_with_metadata(accounts, Vec::new()).await
    }

    /// [`Client::submit_accounts`] with metadata (JSON objects) for those that have some, by rising index.
    ///
    /// # Errors
    /// As [`Client::submit_accounts`].
    pub async fn submit_accounts_with_metadata(
        &self,
        accounts: Vec<Account>,
        metadata: Vec<(usize, String)>,
    ) -> Result<Vec<AccountReply>, Error> {
        work::check(accounts.len(), &metadata)?;
        self.whole(Body::Accounts(accounts, metadata), Waiters::Accounts)
            .await
    }

    /// Creates transfers as one request, in order; at most 8,190. Never merged with others.
    ///
    /// # Errors
    /// [`Error`]; a refusal by the ledger is a result.
    pub async fn submit_transfers(&self, transfers: Vec<Transfer>) -> Result<Vec<TransferReply>, Error> {
        self.submit_transfers_with_metadata(transfers, Vec::new()).await
    }

    /// [`Client::submit_transfers`] with metadata (JSON objects) for those that have some, by rising index.
    ///
    /// # Errors
    /// As [`Client::submit_transfers`].
    pub async fn submit_transfers_with_metadata(
        &self,
        transfers: Vec<Transfer>,
        metadata: Vec<(usize, String)>,
    ) -> Result<Vec<TransferReply>, Error> {
        work::check(transfers.len(), &metadata)?;
        self.whole(Body::Transfers(transfers, metadata), Waiters::Transfers)
            .await
    }

    /// Creates one transfer. Concurrent calls share requests, unless they are linked or imported.
    ///
    /// # Errors
    /// [`Error`]; a refusal by the ledger is a result.
    pub async fn transfer(&self, transfer: Transfer) -> Result<TransferReply, Error> {
        let (reply, answer) = oneshot::channel();
        let deadline = self.deadline();
        self.work
            .send(Work::One {
                transfer,
                deadline,
                reply,
            })
            .map_err(|_| Error::NotDone(GONE.to_owned()))?;
        answer.await.unwrap_or(Err(Error::Unknown))
    }

    /// Moves money between any number of accounts, all or nothing. Another transaction under the same id is refused.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the postings make no transaction or its id is 0 or 2^128 − 1; otherwise as
    /// [`Client::submit_transfers`].
    pub async fn transaction(
        &self,
        head: &TransactionHead,
        postings: &[Posting],
    ) -> Result<TransactionOutcome, Error> {
        self.transaction_with_metadata(head, postings, None).await
    }

    /// [`Client::transaction`] with metadata (a JSON object), which is kept with its first transfer.
    ///
    /// # Errors
    /// As [`Client::transaction`].
    pub async fn transaction_with_metadata(
        &self,
        head: &TransactionHead,
        postings: &[Posting],
        metadata: Option<String>,
    ) -> Result<TransactionOutcome, Error> {
        let transfers = ledger::split(head, postings, derive_leg_id)
            .map_err(|error| Error::Invalid(error.to_string()))?;
        let metadata: Vec<(usize, String)> = metadata.map(|json| (0, json)).into_iter().collect();
        let deadline = self.deadline();
        let mut replies = self
            .submit_transfers_with_metadata(transfers.clone(), metadata.clone())
            .await?;
        if repeat::has_repeated_chain(&transfers, &replies) {
            let grpc = self.grpc.clone();
            let completed = repeat::complete_chains(grpc, &transfers, &metadata, replies);
            replies = tokio::time::timeout_at(deadline.into(), completed)
                .await
                .unwrap_or(Err(Error::Unknown))?;
        }
        let results: Vec<_> = replies.iter().map(|reply| reply.result).collect();
        Ok(ledger::committed(&results))
    }

    /// Gives a ledger its name, currency and scale.
    ///
    /// # Errors
    /// [`Error`]; a refusal by the ledger is a result.
    pub async fn describe_ledger(
        &self,
        description: LedgerDescription,
    ) -> Result<DescribeLedgerResult, Error> {
        self.whole(Body::Describe(description), Waiters::Described).await
    }
}

const GONE: &str = "the runtime on which the client was made has stopped";
