//! Look-ups and queries. Owns: what they give back, and their repeats (reading again is always safe).

use crate::{Client, Error};
use ledger::{
    Account, AccountId, Balances, Code, Height, LedgerDescription, LedgerId, TimestampNs, Transfer,
    TransferId,
};
use std::future::Future;
use std::time::{Duration, Instant};
use tonic::transport::Channel;
use tonic::{Request, Response, Status};
use wire::convert;
use wire::v1;
use wire::v1::ledger_client::LedgerClient;

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
    pub debit_balances: Balances,
    /// The credited account's totals after it.
    pub credit_balances: Balances,
    /// JSON text, if it has some.
    pub metadata_json: Option<String>,
}

/// One page of results.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// In the order asked.
    pub items: Vec<T>,
    /// Give this as `page` for the next one; `None` when there is no more.
    pub next_page: Option<String>,
}

/// Which transfers of an account are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sides {
    /// The account.
    pub account: AccountId,
    /// Those that debit it.
    pub debits: bool,
    /// Those that credit it.
    pub credits: bool,
}

/// Conditions that must all hold; zero means any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// Transfers only: those of an account.
    pub of: Option<Sides>,
    /// Equal to.
    pub user_data_128: u128,
    /// Equal to.
    pub user_data_64: u64,
    /// Equal to.
    pub user_data_32: u32,
    /// Equal to.
    pub ledger: LedgerId,
    /// Equal to.
    pub code: Code,
    /// The earliest, inclusive.
    pub timestamp_min: TimestampNs,
    /// The latest, inclusive.
    pub timestamp_max: TimestampNs,
    /// From 1 to 8,190.
    pub limit: u32,
    /// Oldest first instead of newest first.
    pub oldest_first: bool,
    /// `next_page` of the page before.
    pub page: Option<String>,
}

impl Default for Query {
    /// The newest 100 of everything.
    fn default() -> Self {
        Self {
            of: None,
            user_data_128: 0,
            user_data_64: 0,
            user_data_32: 0,
            ledger: LedgerId(0),
            code: Code(0),
            timestamp_min: TimestampNs(0),
            timestamp_max: TimestampNs(0),
            limit: 100,
            oldest_first: false,
            page: None,
        }
    }
}

/// The totals of a ledger at one height.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrialBalance {
    /// Which ledger.
    pub description: LedgerDescription,
    /// The height at which all of it stands.
    pub height: Height,
    /// Timestamp of the last event at that height.
    pub timestamp: TimestampNs,
    /// Sums over all accounts.
    pub totals: Balances,
    /// How many accounts the ledger has.
    pub accounts: u64,
    /// Sums by code, by rising code.
    pub by_code: Vec<TrialBalanceLine>,
}

/// The totals of all accounts with one code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrialBalanceLine {
    /// Which code.
    pub code: u32,
    /// How many accounts have it.
    pub accounts: u64,
    /// Their sums.
    pub balances: Balances,
}

fn protocol(error: convert::ConvertError) -> Error {
    Error::Protocol(error.to_string())
}

fn json(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

pub(crate) fn account_record(wire: v1::Account) -> Result<AccountRecord, Error> {
    Ok(AccountRecord {
        account: convert::account_from_wire(&wire).map_err(protocol)?,
        metadata_json: json(wire.metadata_json),
    })
}

pub(crate) fn transfer_record(wire: v1::StoredTransfer) -> Result<TransferRecord, Error> {
    let transfer = wire
        .transfer
        .ok_or_else(|| Error::Protocol("transfer: is missing".to_owned()))?;
    Ok(TransferRecord {
        transfer: convert::transfer_from_wire(&transfer).map_err(protocol)?,
        expired: wire.expired,
        debit_balances: convert::balances_from_wire(wire.debit_balances.as_ref()),
        credit_balances: convert::balances_from_wire(wire.credit_balances.as_ref()),
        metadata_json: json(transfer.metadata_json),
    })
}

fn account_page(page: v1::AccountPage) -> Result<Page<AccountRecord>, Error> {
    let items = page
        .accounts
        .into_iter()
        .map(account_record)
        .collect::<Result<_, _>>()?;
    Ok(Page {
        items,
        next_page: json(page.next_page),
    })
}

fn transfer_page(page: v1::TransferPage) -> Result<Page<TransferRecord>, Error> {
    let items = page
        .transfers
        .into_iter()
        .map(transfer_record)
        .collect::<Result<_, _>>()?;
    Ok(Page {
        items,
        next_page: json(page.next_page),
    })
}

impl Query {
    fn message(&self) -> v1::QueryRequest {
        let order = if self.oldest_first {
            v1::Order::OldestFirst
        } else {
            v1::Order::NewestFirst
        };
        v1::QueryRequest {
            user_data_128: Some(self.user_data_128.into()),
            user_data_64: self.user_data_64,
            user_data_32: self.user_data_32,
            ledger: self.ledger.0,
            code: u32::from(self.code.0),
            timestamp_min: self.timestamp_min.0,
            timestamp_max: self.timestamp_max.0,
            limit: self.limit,
            order: order.into(),
            page: self.page.clone().unwrap_or_default(),
            of: self.of.map(|of| v1::AccountSides {
                account_id: Some(of.account.0.into()),
                debits: of.debits,
                credits: of.credits,
            }),
        }
    }
}

/// Between repeats of a read that the server could not answer and gave no delay for.
const READ_PAUSE: Duration = Duration::from_millis(50);

impl Client {
    /// Asks until there is an answer, a refusal, or no time left.
    async fn read<M: Clone, T, F>(
        &self,
        message: M,
        call: impl Fn(LedgerClient<Channel>, Request<M>) -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let deadline = self.deadline();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let mut request = Request::new(message.clone());
            request.set_timeout(left);
            let answer = match tokio::time::timeout(left, call(self.grpc.clone(), request)).await {
                Ok(answer) => answer,
                Err(_) => return Err(Error::NotDone("the server did not answer".to_owned())),
            };
            let status = match answer {
                Ok(response) => return Ok(response.into_inner()),
                Err(status) => status,
            };
            match status.code() {
                tonic::Code::InvalidArgument | tonic::Code::OutOfRange => {
                    return Err(Error::Invalid(status.message().to_owned()));
                }
                tonic::Code::NotFound => return Err(Error::NotFound(status.message().to_owned())),
                tonic::Code::Unimplemented => return Err(Error::Protocol(status.message().to_owned())),
                _ => {}
            }
            let asked = status
                .metadata()
                .get(wire::RETRY_AFTER_MS)
                .and_then(|value| value.to_str().ok()?.parse().ok())
                .map_or(READ_PAUSE, Duration::from_millis);
            if Instant::now() + asked >= deadline {
                return Err(Error::NotDone(status.message().to_owned()));
            }
            tokio::time::sleep(asked).await;
        }
    }

    /// Accounts by id, in the order asked, missing ones left out; at most 8,190.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn lookup_accounts(&self, ids: &[AccountId]) -> Result<Vec<AccountRecord>, Error> {
        let message = v1::LookupRequest {
            ids: ids.iter().map(|id| id.0.into()).collect(),
        };
        let page = self
            .read(message, |mut grpc, request| async move {
                grpc.lookup_accounts(request).await
            })
            .await?;
        Ok(account_page(page)?.items)
    }

    /// Transfers by id, in the order asked, missing ones left out; at most 8,190.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn lookup_transfers(&self, ids: &[TransferId]) -> Result<Vec<TransferRecord>, Error> {
        let message = v1::LookupRequest {
            ids: ids.iter().map(|id| id.0.into()).collect(),
        };
        let page = self
            .read(message, |mut grpc, request| async move {
                grpc.lookup_transfers(request).await
            })
            .await?;
        Ok(transfer_page(page)?.items)
    }

    /// Accounts that match.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the query makes no sense.
    pub async fn query_accounts(&self, query: &Query) -> Result<Page<AccountRecord>, Error> {
        let call =
            |mut grpc: LedgerClient<Channel>, request| async move { grpc.query_accounts(request).await };
        account_page(self.read(query.message(), call).await?)
    }

    /// Transfers and expiries that match.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the query makes no sense; [`Error::NotFound`] when it names an account that is not there.
    pub async fn query_transfers(&self, query: &Query) -> Result<Page<TransferRecord>, Error> {
        let call =
            |mut grpc: LedgerClient<Channel>, request| async move { grpc.query_transfers(request).await };
        transfer_page(self.read(query.message(), call).await?)
    }

    /// An account's totals, now or as of a moment.
    ///
    /// # Errors
    /// [`Error::NotFound`] when the account is not there.
    pub async fn balance(&self, account: AccountId, at: Option<TimestampNs>) -> Result<Balances, Error> {
        let message = v1::AccountBalanceRequest {
            account_id: Some(account.0.into()),
            at: at.map_or(0, |at| at.0),
        };
        let call =
            |mut grpc: LedgerClient<Channel>, request| async move { grpc.account_balance(request).await };
        let reply = self.read(message, call).await?;
        Ok(convert::balances_from_wire(reply.balances.as_ref()))
    }

    /// The totals of a ledger at one consistent height.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn trial_balance(&self, ledger: LedgerId) -> Result<TrialBalance, Error> {
        let message = v1::TrialBalanceRequest { ledger: ledger.0 };
        let call =
            |mut grpc: LedgerClient<Channel>, request| async move { grpc.trial_balance(request).await };
        let reply = self.read(message, call).await?;
        let line = |line: &v1::TrialBalanceLine| TrialBalanceLine {
            code: line.code,
            accounts: line.accounts,
            balances: convert::balances_from_wire(line.balances.as_ref()),
        };
        Ok(TrialBalance {
            description: convert::description_from_wire(reply.description.unwrap_or_default())
                .map_err(protocol)?,
            height: Height(reply.height),
            timestamp: TimestampNs(reply.timestamp),
            totals: convert::balances_from_wire(reply.totals.as_ref()),
            accounts: reply.accounts,
            by_code: reply.by_code.iter().map(line).collect(),
        })
    }

    /// Every ledger that was described or has an account.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn ledgers(&self) -> Result<Vec<LedgerDescription>, Error> {
        let call = |mut grpc: LedgerClient<Channel>, request| async move { grpc.list_ledgers(request).await };
        let reply = self.read(v1::ListLedgersRequest {}, call).await?;
        reply
            .ledgers
            .into_iter()
            .map(|wire| convert::description_from_wire(wire).map_err(protocol))
            .collect()
    }
}
