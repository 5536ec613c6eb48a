//! One function an operation. Owns: the order read parameters, read body, ask the node, write the answer.

use super::page::Kind;
use super::requests::{self, Batch};
use super::{openapi, params, views};
use crate::edge::{Caller, Edge};
use crate::error::ApiError;
use crate::placement::Place as WriterPlace;
use axum::Extension;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Path, RawQuery, Request, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;
use ledger::{AccountId, LedgerId, TimestampNs, TransactionOutcome, TransferId};
use node::{AccountEntries, Page};
use serde::Serialize;
use std::time::Instant;
use wire::derive_id;

type Answer = Result<Response, ApiError>;

fn json(value: &impl Serialize) -> Answer {
    let body = serde_json::to_vec(value).map_err(|error| {
        tracing::error!(%error, "an answer cannot be written as JSON");
        ApiError::Fault
    })?;
    Ok(typed(Body::from(body), "application/json"))
}

fn typed(body: Body, kind: &'static str) -> Response {
    let mut response = Response::new(body);
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// What every operation with a body needs of its request.
struct Input {
    headers: HeaderMap,
    body: Bytes,
    deadline: Instant,
}

impl Input {
    async fn read(edge: &Edge, request: Request) -> Result<Self, ApiError> {
        let (parts, body) = request.into_parts();
        params::query(parts.uri.query(), &[])?;
        let deadline = deadline(edge, &parts.headers)?;
        if !params::is_json(&parts.headers) {
            return Err(ApiError::MediaType);
        }
        let limit_bytes = edge.config.max_request_bytes;
        let read = tokio::time::timeout_at(deadline.into(), to_bytes(body, limit_bytes)).await;
        // Either the body is too large or the connection broke; in the second case nobody reads the answer.
        let body = read
            .map_err(|_| ApiError::NotDone)?
            .map_err(|_| ApiError::TooLarge { limit_bytes })?;
        Ok(Self {
            headers: parts.headers,
            body,
            deadline,
        })
    }

    /// Gives ids to the events that name none, when there is a key to make them from; gives back those.
    /// Without a key the id is 0, which the ledger refuses by name.
    fn fill_ids<E>(
        &self,
        caller: Caller,
        batch: &mut Batch<E>,
        set: impl Fn(&mut E, u128),
    ) -> Result<Vec<Option<u128>>, ApiError> {
        let mut derived = vec![None; batch.events.len()];
        let Some(key) = params::idempotency_key(&self.headers)? else {
            return Ok(derived);
        };
        for &index in &batch.without_id {
            let at = index as usize;
            let id = derive_id(caller.actor, key, index);
            set(&mut batch.events[at], id);
            derived[at] = Some(id);
        }
        Ok(derived)
    }
}

fn deadline(edge: &Edge, headers: &HeaderMap) -> Result<Instant, ApiError> {
    Ok(edge.deadline(params::timeout(headers, edge.config.bounds.timeout_max())?))
}

pub(super) async fn create_accounts(
    State(edge): State<Edge>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Answer {
    let input = Input::read(&edge, request).await?;
    let mut batch = requests::accounts(&input.body)?;
    let ids = input.fill_ids(caller, &mut batch, |account, id| account.id = AccountId(id))?;
    let events = edge.events(batch.events, batch.metadata);
    let replies = edge.create_accounts(caller, events, input.deadline).await?;
    let results = replies
        .iter()
        .zip(ids)
        .map(|(reply, id)| views::account_result(reply, id))
        .collect();
    json(&views::Results { results })
}

pub(super) async fn create_transfers(
    State(edge): State<Edge>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Answer {
    let input = Input::read(&edge, request).await?;
    let mut batch = requests::transfers(&input.body)?;
    let ids = input.fill_ids(caller, &mut batch, |transfer, id| transfer.id = TransferId(id))?;
    let events = edge.events(batch.events, batch.metadata);
    let replies = edge.create_transfers(caller, events, input.deadline).await?;
    let results = replies
        .iter()
        .zip(ids)
        .map(|(reply, id)| views::transfer_result(reply, id))
        .collect();
    json(&views::Results { results })
}

pub(super) async fn create_transaction(
    State(edge): State<Edge>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Answer {
    let input = Input::read(&edge, request).await?;
    let mut read = requests::transaction(&input.body)?;
    let key = params::idempotency_key(&input.headers)?;
    if let (false, Some(key)) = (read.has_id, key) {
        read.head.id = derive_id(caller.actor, key, 0);
    }
    let reply = edge
        .create_transaction(caller, &read.head, &read.postings, read.metadata, input.deadline)
        .await?;
    let (result, failed_transfer) = match reply.outcome {
        TransactionOutcome::Committed => ("committed", None),
        TransactionOutcome::AlreadyCommitted => ("already_committed", None),
        TransactionOutcome::Refused { index, result } => (result.name(), Some(index)),
    };
    let legs = reply.replies.iter().zip(&reply.transfers);
    json(&views::TransactionResult {
        result,
        id: views::Text(read.head.id),
        failed_transfer,
        transfers: legs
            .map(|(reply, transfer)| views::transfer_result(reply, Some(transfer.id.0)))
            .collect(),
    })
}

pub(super) async fn lookup_accounts(State(edge): State<Edge>, request: Request) -> Answer {
    let input = Input::read(&edge, request).await?;
    let ids = requests::lookup(&input.body)?
        .into_iter()
        .map(AccountId)
        .collect();
    let items = edge.read(input.deadline, edge.node.accounts(ids)).await?;
    json(&views::accounts(Page { items, next: None })?)
}

pub(super) async fn lookup_transfers(State(edge): State<Edge>, request: Request) -> Answer {
    let input = Input::read(&edge, request).await?;
    let ids = requests::lookup(&input.body)?
        .into_iter()
        .map(TransferId)
        .collect();
    let items = edge.read(input.deadline, edge.node.transfers(ids)).await?;
    json(&views::transfers(Page { items, next: None })?)
}

pub(super) async fn query_accounts(State(edge): State<Edge>, request: Request) -> Answer {
    let input = Input::read(&edge, request).await?;
    let filter = requests::query(&input.body, Kind::Accounts)?;
    json(&views::accounts(
        edge.read(input.deadline, edge.node.query_accounts(filter))
            .await?,
    )?)
}

pub(super) async fn query_transfers(State(edge): State<Edge>, request: Request) -> Answer {
    let input = Input::read(&edge, request).await?;
    let filter = requests::query(&input.body, Kind::Transfers)?;
    json(&views::transfers(
        edge.read(input.deadline, edge.node.query_transfers(None, filter))
            .await?,
    )?)
}

pub(super) async fn account(
    State(edge): State<Edge>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Answer {
    let id = AccountId(params::id(&id)?);
    params::query(query.as_deref(), &[])?;
    let found = edge
        .read(deadline(&edge, &headers)?, edge.node.accounts(vec![id]))
        .await?;
    let view = found.into_iter().next().ok_or(ApiError::NoAccount)?;
    json(&views::account(view)?)
}

pub(super) async fn account_transfers(
    State(edge): State<Edge>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Answer {
    let account = AccountId(params::id(&id)?);
    let (debits, credits, filter) = params::entries(query.as_deref())?;
    let of = Some(AccountEntries {
        account,
        debits,
        credits,
    });
    let page = edge
        .read(deadline(&edge, &headers)?, edge.node.query_transfers(of, filter))
        .await?;
    json(&views::transfers(page)?)
}

pub(super) async fn account_balance(
    State(edge): State<Edge>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Answer {
    let id = params::id(&id)?;
    let [at] = params::query(query.as_deref(), &["at"])?;
    let at = params::moment("at", at.as_deref())?.unwrap_or(TimestampNs(u64::MAX));
    let deadline = deadline(&edge, &headers)?;
    let balance = edge
        .read(deadline, edge.node.balance_at(AccountId(id), at))
        .await?;
    json(&views::balance(id, &balance))
}

pub(super) async fn ledgers(
    State(edge): State<Edge>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Answer {
    params::query(query.as_deref(), &[])?;
    let ledgers = edge.read(deadline(&edge, &headers)?, edge.node.ledgers()).await?;
    json(&views::Ledgers {
        ledgers: ledgers.into_iter().map(Into::into).collect(),
    })
}

pub(super) async fn describe_ledger(
    State(edge): State<Edge>,
    Extension(caller): Extension<Caller>,
    Path(ledger): Path<String>,
    request: Request,
) -> Answer {
    let ledger = LedgerId(params::narrow("ledger", &ledger, u32::MAX)?);
    let input = Input::read(&edge, request).await?;
    let description = requests::description(ledger, &input.body)?;
    let result = edge.describe_ledger(caller, description, input.deadline).await?;
    json(&views::Described {
        result: result.name(),
    })
}

pub(super) async fn trial_balance(
    State(edge): State<Edge>,
    Path(ledger): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Answer {
    let ledger = LedgerId(params::narrow("ledger", &ledger, u32::MAX)?);
    params::query(query.as_deref(), &[])?;
    let trial = edge
        .read(deadline(&edge, &headers)?, edge.node.trial_balance(ledger))
        .await?;
    json(&views::Trial::from(trial))
}

pub(super) async fn openapi() -> Response {
    typed(Body::from(openapi::text()), "application/json")
}

/// Alive: the process answers.
pub(super) async fn health() -> Response {
    typed(Body::from(r#"{"status":"ok"}"#), "application/json")
}

/// Whether a request can be answered here or passed on; with `role=writer`, whether this node is the writer; with
/// `role=reader`, whether it answers reads of its own state, which needs no writer.
pub(super) async fn ready(State(edge): State<Edge>, RawQuery(raw): RawQuery) -> Answer {
    let [role] = params::query(raw.as_deref(), &["role"])?;
    let status = edge.node.status();
    let place = edge.cluster.as_ref().map(|cluster| cluster.members.place());
    let is_ready = match (role.as_deref(), place) {
        (Some("reader"), _) | (None, Some(WriterPlace::At(..))) => !edge.node.is_stopping(),
        (None | Some("writer"), None | Some(WriterPlace::Here)) => status.writable,
        (None | Some("writer"), _) => false,
        (Some(_), _) => {
            let reason = "must be writer or reader, or not be given";
            return Err(ApiError::parameter("role", reason));
        }
    };
    if !is_ready || *edge.stopping.borrow() {
        return Err(ApiError::Unavailable {
            retry_after: std::time::Duration::from_secs(1),
        });
    }
    json(&views::Ready::from(&status))
}

pub(super) async fn status(State(edge): State<Edge>) -> Answer {
    let members = edge.cluster.as_ref().map(|cluster| &cluster.members);
    let place = members.map_or(WriterPlace::Here, |members| members.place());
    let name = members.map(|members| members.name());
    json(&views::NodeStatus::new(
        &edge.node.status(),
        name,
        &place,
        edge.config.settings.get(),
    ))
}

/// Answered when leadership is given up; the node's process then ends.
pub(super) async fn handover(State(edge): State<Edge>, RawQuery(raw): RawQuery) -> Answer {
    let [to] = params::query(raw.as_deref(), &["to"])?;
    let Some(cluster) = &edge.cluster else {
        return Err(ApiError::NoSuchPath);
    };
    let handed = cluster.members.handover(to.map(std::borrow::Cow::into_owned));
    handed.await.map_err(|reason| ApiError::parameter("to", reason))?;
    json(&views::NodeStatus::new(
        &edge.node.status(),
        Some(cluster.members.name()),
        &cluster.members.place(),
        edge.config.settings.get(),
    ))
}

/// What each change of the writer came to, the newest first.
pub(super) async fn reports(State(edge): State<Edge>, RawQuery(raw): RawQuery) -> Answer {
    params::query(raw.as_deref(), &[])?;
    let Some(cluster) = &edge.cluster else {
        return Err(ApiError::NoSuchPath);
    };
    let reports = cluster.members.reports().join(",");
    Ok(typed(
        Body::from(format!("{{\"reports\":[{reports}]}}")),
        "application/json",
    ))
}

/// The same of the last one; there is none before the first change.
pub(super) async fn latest_report(State(edge): State<Edge>, RawQuery(raw): RawQuery) -> Answer {
    params::query(raw.as_deref(), &[])?;
    let cluster = edge.cluster.as_ref().ok_or(ApiError::NoSuchPath)?;
    let latest = cluster.members.reports().into_iter().next();
    let latest = latest.ok_or(ApiError::NoSuchPath)?;
    Ok(typed(Body::from(latest), "application/json"))
}

pub(super) async fn metrics(State(edge): State<Edge>) -> Response {
    let mut text = edge.node.metrics_text();
    edge.metrics.write(&mut text);
    typed(Body::from(text), "text/plain; version=0.0.4; charset=utf-8")
}
