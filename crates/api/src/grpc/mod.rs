//! gRPC, `shanraq.v1`. Owns: reading messages into the ledger's types, and the answers; streams have their own files.

mod feed;
mod members;
mod reads;
mod submit;

use crate::edge::{Caller, Edge, check_count};
use crate::error::{ApiError, Place};
use crate::metrics;
use ledger::{
    Account, AccountId, Amount, Code, Events, LedgerDescription, LedgerId, Posting, Side, TransactionHead,
    TransactionOutcome, Transfer, TransferId,
};
use std::future::Future;
use std::time::{Duration, Instant};
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status};
use wire::derive_id;
use wire::v1::ledger_server::{Ledger, LedgerServer};
use wire::v1::{self, posting};
use wire::{convert, metadata};

type Answer<T> = Result<Response<T>, Status>;

pub(crate) use members::service as members_service;

/// The service, for the router.
pub(crate) fn service(edge: Edge) -> LedgerServer<Service> {
    let limit = edge.config.max_request_bytes;
    LedgerServer::new(Service { edge }).max_decoding_message_size(limit)
}

/// Answers the calls.
#[derive(Clone)]
pub(crate) struct Service {
    edge: Edge,
}

/// What every call carries beside its message.
struct Context {
    caller: Caller,
    deadline: Instant,
}

impl Service {
    fn context<T>(&self, request: &Request<T>) -> Result<Context, ApiError> {
        let caller = request
            .extensions()
            .get::<Caller>()
            .copied()
            .ok_or(ApiError::Fault)?;
        Ok(Context {
            caller,
            deadline: self.edge.deadline(grpc_timeout(request.metadata())?),
        })
    }

    /// Runs a call and counts it.
    async fn answer<T>(&self, method: &str, call: impl Future<Output = Result<T, ApiError>>) -> Answer<T> {
        let begun = Instant::now();
        let answer = call.await;
        let code = answer
            .as_ref()
            .map_or_else(ApiError::grpc_code, |_| tonic::Code::Ok);
        let index = metrics::GRPC.iter().position(|known| *known == method);
        self.edge.metrics.grpc(
            index.expect("every method is in the table"),
            code,
            begun.elapsed(),
        );
        answer.map(Response::new).map_err(Into::into)
    }
}

#[tonic::async_trait]
impl Ledger for Service {
    async fn create_accounts(
        &self,
        request: Request<v1::CreateAccountsRequest>,
    ) -> Answer<v1::CreateAccountsReply> {
        self.answer("CreateAccounts", async {
            let context = self.context(&request)?;
            let key = idempotency_key(request.metadata())?.map(<[u8]>::to_vec);
            let mut events = accounts(&self.edge, request.into_inner())?;
            for (index, account) in (0..).zip(&mut events.events) {
                fill_id(&mut account.id.0, context.caller, key.as_deref(), index);
            }
            let replies = self
                .edge
                .create_accounts(context.caller, events, context.deadline)
                .await?;
            Ok(accounts_reply(&replies))
        })
        .await
    }

    async fn create_transfers(
        &self,
        request: Request<v1::CreateTransfersRequest>,
    ) -> Answer<v1::CreateTransfersReply> {
        self.answer("CreateTransfers", async {
            let context = self.context(&request)?;
            let key = idempotency_key(request.metadata())?.map(<[u8]>::to_vec);
            let mut events = transfers(&self.edge, request.into_inner())?;
            for (index, transfer) in (0..).zip(&mut events.events) {
                fill_id(&mut transfer.id.0, context.caller, key.as_deref(), index);
            }
            let replies = self
                .edge
                .create_transfers(context.caller, events, context.deadline)
                .await?;
            Ok(transfers_reply(&replies))
        })
        .await
    }

    async fn create_transaction(
        &self,
        request: Request<v1::CreateTransactionRequest>,
    ) -> Answer<v1::CreateTransactionReply> {
        self.answer("CreateTransaction", async {
            let context = self.context(&request)?;
            let key = idempotency_key(request.metadata())?.map(<[u8]>::to_vec);
            let request = request.into_inner();
            let (mut head, postings) = transaction(&request)?;
            let metadata = compact(&request.metadata_json, || "metadata_json".to_owned())?;
            fill_id(&mut head.id, context.caller, key.as_deref(), 0);
            let reply = self
                .edge
                .create_transaction(context.caller, &head, &postings, metadata, context.deadline)
                .await?;
            let repeated = reply.outcome == TransactionOutcome::AlreadyCommitted;
            Ok(v1::CreateTransactionReply {
                committed: repeated || reply.outcome == TransactionOutcome::Committed,
                repeated,
                id: Some(head.id.into()),
                transfer_ids: reply
                    .transfers
                    .iter()
                    .map(|transfer| transfer.id.0.into())
                    .collect(),
                results: reply.replies.iter().map(convert::result_to_wire).collect(),
            })
        })
        .await
    }

    async fn describe_ledger(
        &self,
        request: Request<v1::DescribeLedgerRequest>,
    ) -> Answer<v1::DescribeLedgerReply> {
        self.answer("DescribeLedger", async {
            let context = self.context(&request)?;
            let description = description(request.into_inner())?;
            let result = self
                .edge
                .describe_ledger(context.caller, description, context.deadline)
                .await?;
            Ok(v1::DescribeLedgerReply {
                result: i32::from(result.code()),
            })
        })
        .await
    }

    type SubmitStream = submit::Replies;

    async fn submit(
        &self,
        request: Request<tonic::Streaming<v1::SubmitRequest>>,
    ) -> Answer<Self::SubmitStream> {
        let caller = self.context(&request)?.caller;
        Ok(Response::new(submit::start(
            self.edge.clone(),
            caller,
            request.into_inner(),
        )))
    }

    async fn lookup_accounts(&self, request: Request<v1::LookupRequest>) -> Answer<v1::AccountPage> {
        self.answer("LookupAccounts", self.read_accounts(request)).await
    }

    async fn lookup_transfers(&self, request: Request<v1::LookupRequest>) -> Answer<v1::TransferPage> {
        self.answer("LookupTransfers", self.read_transfers(request)).await
    }

    async fn query_accounts(&self, request: Request<v1::QueryRequest>) -> Answer<v1::AccountPage> {
        self.answer("QueryAccounts", self.find_accounts(request)).await
    }

    async fn query_transfers(&self, request: Request<v1::QueryRequest>) -> Answer<v1::TransferPage> {
        self.answer("QueryTransfers", self.find_transfers(request)).await
    }

    async fn account_balance(
        &self,
        request: Request<v1::AccountBalanceRequest>,
    ) -> Answer<v1::AccountBalanceReply> {
        self.answer("AccountBalance", self.read_balance(request)).await
    }

    async fn trial_balance(
        &self,
        request: Request<v1::TrialBalanceRequest>,
    ) -> Answer<v1::TrialBalanceReply> {
        self.answer("TrialBalance", self.read_trial_balance(request))
            .await
    }

    async fn list_ledgers(&self, request: Request<v1::ListLedgersRequest>) -> Answer<v1::ListLedgersReply> {
        self.answer("ListLedgers", self.read_ledgers(request)).await
    }

    async fn status(&self, _: Request<v1::StatusRequest>) -> Answer<v1::StatusReply> {
        self.answer("Status", async {
            let status = self.edge.node.status();
            Ok(v1::StatusReply {
                writable: status.writable,
                reason: status.reason,
                height: status.height.0,
                indexed: status.indexed.0,
                epoch: status.epoch,
            })
        })
        .await
    }

    type FeedStream = feed::Blocks;

    async fn feed(&self, request: Request<v1::FeedRequest>) -> Answer<Self::FeedStream> {
        self.answer("Feed", async {
            Ok(feed::start(&self.edge, request.into_inner().from_height))
        })
        .await
    }
}

/// A message's field at fault.
fn field(name: impl Into<String>, detail: impl Into<String>) -> ApiError {
    ApiError::field(Place::Field(name.into()), detail)
}

/// `grpc-timeout`: up to eight digits and a unit.
fn grpc_timeout(metadata: &MetadataMap) -> Result<Option<Duration>, ApiError> {
    let Some(value) = metadata.get("grpc-timeout") else {
        return Ok(None);
    };
    let bad = || {
        ApiError::field(
            Place::Header("grpc-timeout"),
            "must be digits and one of H, M, S, m, u, n",
        )
    };
    let text = value.to_str().map_err(|_| bad())?;
    let (digits, unit) = text
        .split_at_checked(text.len().saturating_sub(1))
        .ok_or_else(bad)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(bad());
    }
    let count: u64 = digits.parse().map_err(|_| bad())?;
    Ok(Some(match unit {
        "H" => Duration::from_secs(count * 3_600),
        "M" => Duration::from_secs(count * 60),
        "S" => Duration::from_secs(count),
        "m" => Duration::from_millis(count),
        "u" => Duration::from_micros(count),
        "n" => Duration::from_nanos(count),
        _ => return Err(bad()),
    }))
}

fn idempotency_key(metadata: &MetadataMap) -> Result<Option<&[u8]>, ApiError> {
    crate::rest::idempotency_key(metadata.as_ref())
}

/// In protobuf a missing id is 0.
fn fill_id(id: &mut u128, caller: Caller, key: Option<&[u8]>, index: u32) {
    if let (0, Some(key)) = (*id, key) {
        *id = derive_id(caller.actor, key, index);
    }
}

/// The events of a request with their metadata sealed.
fn events<W, E>(
    edge: &Edge,
    name: &str,
    wire: Vec<W>,
    convert: impl Fn(&W) -> Result<E, convert::ConvertError>,
    metadata_of: impl Fn(&W) -> &str,
) -> Result<Events<E>, ApiError> {
    check_count(wire.len(), || Place::Field(name.to_owned()))?;
    let mut events = Vec::with_capacity(wire.len());
    let mut kept = Vec::new();
    for (index, event) in (0u32..).zip(&wire) {
        let here = |field: &str| format!("{name}[{index}].{field}");
        events.push(convert(event).map_err(|error| field(here(error.field), error.detail))?);
        if let Some(json) = compact(metadata_of(event), || here("metadata_json"))? {
            kept.push((index, json));
        }
    }
    Ok(edge.events(events, kept))
}

/// Metadata in the form in which it is kept; in protobuf an empty text is none.
fn compact(json: &str, name: impl FnOnce() -> String) -> Result<Option<String>, ApiError> {
    if json.is_empty() {
        return Ok(None);
    }
    let kept = metadata::compact(json).map_err(|detail| field(name(), detail))?;
    Ok(Some(kept))
}

fn accounts(edge: &Edge, request: v1::CreateAccountsRequest) -> Result<Events<Account>, ApiError> {
    events(
        edge,
        "accounts",
        request.accounts,
        convert::account_from_wire,
        |event| &event.metadata_json,
    )
}

fn transfers(edge: &Edge, request: v1::CreateTransfersRequest) -> Result<Events<Transfer>, ApiError> {
    events(
        edge,
        "transfers",
        request.transfers,
        convert::transfer_from_wire,
        |event| &event.metadata_json,
    )
}

fn description(request: v1::DescribeLedgerRequest) -> Result<LedgerDescription, ApiError> {
    let wire = request
        .description
        .ok_or_else(|| field("description", "is missing"))?;
    convert::description_from_wire(wire).map_err(|error| field(error.field, error.detail))
}

fn accounts_reply(replies: &[ledger::AccountReply]) -> v1::CreateAccountsReply {
    v1::CreateAccountsReply {
        results: replies.iter().map(convert::account_result_to_wire).collect(),
    }
}

fn transfers_reply(replies: &[ledger::TransferReply]) -> v1::CreateTransfersReply {
    v1::CreateTransfersReply {
        results: replies.iter().map(convert::result_to_wire).collect(),
    }
}

fn transaction(request: &v1::CreateTransactionRequest) -> Result<(TransactionHead, Vec<Posting>), ApiError> {
    check_count(request.postings.len(), || Place::Field("postings".to_owned()))?;
    let code = u16::try_from(request.code).map_err(|_| field("code", "must be at most 65535"))?;
    let head = TransactionHead {
        id: convert::number(request.id),
        code: Code(code),
        user_data_128: convert::number(request.user_data_128),
        user_data_64: request.user_data_64,
        user_data_32: request.user_data_32,
    };
    let postings = request.postings.iter().enumerate().map(|(index, wire)| {
        let side = match wire.side() {
            posting::Side::Debit => Side::Debit,
            posting::Side::Credit => Side::Credit,
            posting::Side::Unspecified => {
                return Err(field(
                    format!("postings[{index}].side"),
                    "must be SIDE_DEBIT or SIDE_CREDIT",
                ));
            }
        };
        Ok(Posting {
            account: AccountId(convert::number(wire.account_id)),
            ledger: LedgerId(wire.ledger),
            side,
            amount: Amount(convert::number(wire.amount)),
        })
    });
    Ok((head, postings.collect::<Result<_, _>>()?))
}

fn account_ids(request: &v1::LookupRequest) -> Result<Vec<AccountId>, ApiError> {
    check_count(request.ids.len(), || Place::Field("ids".to_owned()))?;
    Ok(request.ids.iter().map(|id| AccountId((*id).into())).collect())
}

fn transfer_ids(request: &v1::LookupRequest) -> Result<Vec<TransferId>, ApiError> {
    Ok(account_ids(request)?
        .into_iter()
        .map(|id| TransferId(id.0))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_follow_the_grpc_grammar() {
        let read = |text: &'static str| {
            let mut metadata = MetadataMap::new();
            metadata.insert("grpc-timeout", text.parse().unwrap());
            grpc_timeout(&metadata)
        };
        assert_eq!(read("5S"), Ok(Some(Duration::from_secs(5))));
        assert_eq!(read("250m"), Ok(Some(Duration::from_millis(250))));
        assert_eq!(
            read("99999999H"),
            Ok(Some(Duration::from_secs(99_999_999 * 3_600)))
        );
        for bad in ["", "S", "5", "123456789S", "-1S", "5s"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_id_is_derived_only_where_none_is_given() {
        let (mut given, mut absent, mut without_key) = (9, 0, 0);
        fill_id(&mut given, Caller::LOCAL, Some(b"k"), 0);
        fill_id(&mut absent, Caller::LOCAL, Some(b"k"), 3);
        fill_id(&mut without_key, Caller::LOCAL, None, 0);
        assert_eq!((given, without_key), (9, 0));
        assert_eq!(absent, derive_id(Caller::LOCAL.actor, b"k", 3));
    }
}
