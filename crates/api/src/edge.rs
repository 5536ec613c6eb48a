//! What both protocols do alike: deadlines, the call into the node, metadata, transactions.
//! Must not: know of JSON, protobuf or HTTP.

use crate::error::{ApiError, Place};
use crate::metrics::Metrics;
use crate::placement::Cluster;
use crate::server::ApiConfig;
use ledger::{
    AccountId, AccountReply, ActorId, Balances, CreateTransferResult, DescribeLedgerResult,
    EVENTS_PER_REQUEST_MAX, EventMetadata, Events, LedgerDescription, Posting, TransactionError,
    TransactionHead, TransactionOutcome, Transfer, TransferId, TransferReply,
};
use node::{Node, Reply, Request, RequestBody, SubmitError};
use std::collections::{BTreeSet, HashMap};
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{oneshot, watch};
use wire::derive_leg_id;

/// Who calls, put into every request by the listener. Until users arrive everyone is [`Caller::LOCAL`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caller {
    pub actor: ActorId,
}

impl Caller {
    /// Anonymous and local: the node listens on the loopback interface unless told otherwise.
    pub(crate) const LOCAL: Self = Self { actor: ActorId(0) };
}

/// Shared by all handlers.
#[derive(Clone)]
pub(crate) struct Edge {
    pub node: Node,
    pub config: Arc<ApiConfig>,
    pub metrics: Arc<Metrics>,
    /// Turns true when the listener stops; long streams end then.
    pub stopping: watch::Receiver<bool>,
    /// Where the node is a member of one.
    pub cluster: Option<Cluster>,
}

/// An answer that is under way.
pub(crate) struct Pending {
    receiver: oneshot::Receiver<Result<Reply, SubmitError>>,
    deadline: Instant,
}

impl Pending {
    /// Waits for the answer, up to the deadline.
    pub(crate) async fn answer(self) -> Result<Reply, ApiError> {
        match tokio::time::timeout_at(self.deadline.into(), self.receiver).await {
            Ok(Ok(answer)) => Ok(answer?),
            // The node went away with the request, or time ran out: either way it may have been applied.
            Ok(Err(_)) | Err(_) => Err(ApiError::Unknown),
        }
    }
}

/// A transaction's answer.
pub(crate) struct TransactionReply {
    pub outcome: TransactionOutcome,
    pub transfers: Vec<Transfer>,
    pub replies: Vec<TransferReply>,
}

impl Edge {
    /// The moment at which a request that asks for `timeout` must be answered.
    pub(crate) fn deadline(&self, timeout: Option<Duration>) -> Instant {
        Instant::now() + self.config.bounds.timeout(timeout)
    }

    /// Hands a request to the node; the order of calls is the order of commands.
    pub(crate) fn submit(
        &self,
        caller: Caller,
        body: RequestBody,
        deadline: Instant,
    ) -> Result<Pending, ApiError> {
        let request = Request {
            actor: caller.actor,
            body,
            deadline: Some(deadline),
        };
        Ok(Pending {
            receiver: self.node.submit(request)?,
            deadline,
        })
    }

    async fn call(&self, caller: Caller, body: RequestBody, deadline: Instant) -> Result<Reply, ApiError> {
        self.submit(caller, body, deadline)?.answer().await
    }

    pub(crate) async fn create_accounts(
        &self,
        caller: Caller,
        events: Events<ledger::Account>,
        deadline: Instant,
    ) -> Result<Vec<AccountReply>, ApiError> {
        match self
            .call(caller, RequestBody::CreateAccounts(events), deadline)
            .await?
        {
            Reply::Accounts(replies) => Ok(replies),
            other => Err(mismatch(&other)),
        }
    }

    pub(crate) async fn create_transfers(
        &self,
        caller: Caller,
        events: Events<Transfer>,
        deadline: Instant,
    ) -> Result<Vec<TransferReply>, ApiError> {
        match self
            .call(caller, RequestBody::CreateTransfers(events), deadline)
            .await?
        {
            Reply::Transfers(replies) => Ok(replies),
            other => Err(mismatch(&other)),
        }
    }

    pub(crate) async fn describe_ledger(
        &self,
        caller: Caller,
        description: LedgerDescription,
        deadline: Instant,
    ) -> Result<DescribeLedgerResult, ApiError> {
        match self
            .call(caller, RequestBody::DescribeLedger(description), deadline)
            .await?
        {
            Reply::Described(result) => Ok(result),
            other => Err(mismatch(&other)),
        }
    }

    /// Metadata goes with the first transfer of the chain.
    pub(crate) async fn create_transaction(
        &self,
        caller: Caller,
        head: &TransactionHead,
        postings: &[Posting],
        metadata: Option<String>,
        deadline: Instant,
    ) -> Result<TransactionReply, ApiError> {
        let transfers = ledger::split(head, postings, derive_leg_id).map_err(|error| {
            ApiError::NoTransaction(match error {
                // An id that was not given is 0 by now.
                TransactionError::NoId => {
                    "id: is missing and there is no Idempotency-Key, or it is 0 or 2^128 - 1".to_owned()
                }
                error => error.to_string(),
            })
        })?;
        let metadata = metadata.map(|json| (0, json)).into_iter().collect();
        let events = self.events(transfers.clone(), metadata);
        let mut replies = self.create_transfers(caller, events, deadline).await?;
        if replies.len() != transfers.len() {
            return Err(ApiError::Fault);
        }
        let results: Vec<CreateTransferResult> = replies.iter().map(|reply| reply.result).collect();
        let outcome = if ledger::is_open(&results) {
            // The ledger has decided: a look-up that fails leaves the caller without knowing what.
            let compared = self.compare_repeat(&transfers, &mut replies, deadline).await;
            compared.map_err(|_| ApiError::Unknown)?
        } else {
            ledger::committed(&results)
        };
        Ok(TransactionReply {
            outcome,
            transfers,
            replies,
        })
    }

    /// A transaction whose first transfer exists: whether all of it does, as asked. Its replies then say so; otherwise the
    /// one of the first transfer that differs says how.
    async fn compare_repeat(
        &self,
        transfers: &[Transfer],
        replies: &mut [TransferReply],
        deadline: Instant,
    ) -> Result<TransactionOutcome, ApiError> {
        let ids = transfers.iter().map(|transfer| transfer.id).collect();
        let found = self.read(deadline, self.node.transfers(ids)).await?;
        let stored: HashMap<TransferId, Transfer> = found
            .iter()
            .map(|view| (view.row.transfer.id, view.row.transfer))
            .collect();
        if let Some((index, result)) = ledger::first_unlike_stored(transfers, |id| stored.get(&id)) {
            replies[index].result = result;
            return Ok(TransactionOutcome::Refused { index, result });
        }
        let balances = self.balances_of(stored.values(), deadline).await?;
        let of = |account: AccountId| balances.get(&account).copied().ok_or(ApiError::Fault);
        for (reply, transfer) in replies.iter_mut().zip(transfers) {
            *reply = TransferReply {
                result: CreateTransferResult::Exists,
                timestamp: stored[&transfer.id].timestamp,
                debit: of(transfer.debit_account_id)?,
                credit: of(transfer.credit_account_id)?,
            };
        }
        Ok(TransactionOutcome::AlreadyCommitted)
    }

    /// The balances now of all accounts that the transfers move money of.
    async fn balances_of(
        &self,
        transfers: impl Iterator<Item = &Transfer>,
        deadline: Instant,
    ) -> Result<HashMap<AccountId, Balances>, ApiError> {
        let accounts: BTreeSet<AccountId> = transfers
            .flat_map(|transfer| [transfer.debit_account_id, transfer.credit_account_id])
            .collect();
        let accounts: Vec<AccountId> = accounts.into_iter().collect();
        let mut balances = HashMap::with_capacity(accounts.len());
        for ids in accounts.chunks(EVENTS_PER_REQUEST_MAX) {
            let views = self.read(deadline, self.node.accounts(ids.to_vec())).await?;
            balances.extend(views.iter().map(|view| (view.account.id, view.account.balances)));
        }
        Ok(balances)
    }

    /// Events with their metadata sealed; `metadata` is by rising index and in the form in which it is kept.
    pub(crate) fn events<E>(&self, events: Vec<E>, metadata: Vec<(u32, String)>) -> Events<E> {
        let metadata = metadata
            .into_iter()
            .map(|(index, json)| EventMetadata {
                index,
                sealed: self.node.seal_metadata(json.as_bytes()),
            })
            .collect();
        Events { events, metadata }
    }

    /// A read, up to its deadline.
    pub(crate) async fn read<T, E: Into<ApiError>>(
        &self,
        deadline: Instant,
        read: impl Future<Output = Result<T, E>>,
    ) -> Result<T, ApiError> {
        match tokio::time::timeout_at(deadline.into(), read).await {
            Ok(answer) => answer.map_err(Into::into),
            Err(_) => Err(ApiError::NotDone),
        }
    }
}

/// The node answered another question than was asked.
fn mismatch(reply: &Reply) -> ApiError {
    tracing::error!(?reply, "the node's reply is of another kind than the request");
    ApiError::Fault
}

/// From 1 to 8,190 events.
pub(crate) fn check_count(count: usize, place: impl FnOnce() -> Place) -> Result<(), ApiError> {
    if (1..=ledger::EVENTS_PER_REQUEST_MAX).contains(&count) {
        return Ok(());
    }
    Err(ApiError::field(place(), "from 1 to 8190 are needed"))
}
