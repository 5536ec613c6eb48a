//! The node as the edges see it.

use crate::{
    AccountEntries, AccountView, BalanceAt, Page, ReadError, Reply, Request, Status, SubmitError,
    TransferView, TrialBalance,
};
use history::Filter;
use journal::Block;
use ledger::{AccountId, Height, LedgerDescription, LedgerId, Sealed, TimestampNs, TransferId};
use std::sync::Arc;
use tokio::sync::oneshot;

/// A running node; cheap to clone.
#[derive(Clone)]
pub struct Node {}

/// Final blocks in order, waiting for new ones. Ends when the node stops.
pub struct Feed {}

impl Feed {
    /// The next block. Cancel safe.
    ///
    /// # Errors
    /// [`ReadError::Fault`] when the journal cannot be read.
    pub async fn next(&mut self) -> Option<Result<Arc<Block>, ReadError>> {
        panic!("under construction")
    }
}

/// Everything here panics until the node lands; the signatures stand.
#[allow(clippy::unused_async, unused_variables)]
impl Node {
    /// Enqueues a request; the order of calls is the order of commands. The receiver gets the answer
    /// once it is final.
    ///
    /// # Errors
    /// What refuses it at once: [`SubmitError::Overloaded`], `Unavailable`, `StorageFull`, `Expired`, `Invalid`.
    pub fn submit(
        &self,
        request: Request,
    ) -> Result<oneshot::Receiver<Result<Reply, SubmitError>>, SubmitError> {
        panic!("under construction")
    }

    /// [`Node::submit`] and the wait for its answer, up to the deadline.
    ///
    /// # Errors
    /// [`SubmitError`].
    pub async fn call(&self, request: Request) -> Result<Reply, SubmitError> {
        panic!("under construction")
    }

    /// Encrypts metadata (JSON text of at most 4 KiB) deterministically under the metadata key.
    #[must_use]
    pub fn seal_metadata(&self, json: &[u8]) -> Sealed {
        panic!("under construction")
    }

    /// Accounts in the order asked, missing ones left out. Linearizable.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn accounts(&self, ids: Vec<AccountId>) -> Result<Vec<AccountView>, ReadError> {
        panic!("under construction")
    }

    /// Transfers in the order asked, missing ones left out.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn transfers(&self, ids: Vec<TransferId>) -> Result<Vec<TransferView>, ReadError> {
        panic!("under construction")
    }

    /// Transfers and expiries that match; `of` narrows them to an account (`filter.account` is left `None`).
    ///
    /// # Errors
    /// [`ReadError`]; `NoAccount` when `of` names one that is not there.
    pub async fn query_transfers(
        &self,
        of: Option<AccountEntries>,
        filter: Filter,
    ) -> Result<Page<TransferView>, ReadError> {
        panic!("under construction")
    }

    /// Accounts that match.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn query_accounts(&self, filter: Filter) -> Result<Page<AccountView>, ReadError> {
        panic!("under construction")
    }

    /// An account's totals as of a moment (after everything stamped at or before it).
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn balance_at(&self, account: AccountId, at: TimestampNs) -> Result<BalanceAt, ReadError> {
        panic!("under construction")
    }

    /// The totals of a ledger at one consistent height.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn trial_balance(&self, ledger: LedgerId) -> Result<TrialBalance, ReadError> {
        panic!("under construction")
    }

    /// Every ledger that was described or has an account, by rising id.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn ledgers(&self) -> Result<Vec<LedgerDescription>, ReadError> {
        panic!("under construction")
    }

    /// Final blocks from a height on (1 is the first).
    #[must_use]
    pub fn feed(&self, from: Height) -> Feed {
        panic!("under construction")
    }

    /// How the node is.
    #[must_use]
    pub fn status(&self) -> Status {
        panic!("under construction")
    }

    /// All metrics in Prometheus' text format, version 0.0.4.
    #[must_use]
    pub fn metrics_text(&self) -> String {
        panic!("under construction")
    }
}
