//! The Submit stream. Owns: pipelining within bounds.
//!
//! One task reads requests and hands them to the node at once, in order; the answers wait in a bounded queue, whose other
//! end is the stream of replies. When the queue is full, or too many events are under way, reading stops and HTTP/2's
//! flow control holds the client back. A refusal by the node is a reply like any other: the stream goes on.

use super::{accounts, accounts_reply, description, field, transfers, transfers_reply};
use crate::edge::{Caller, Edge, Pending};
use crate::error::ApiError;
use futures::Stream;
use ledger::EVENTS_PER_REQUEST_MAX;
use node::{Reply, RequestBody};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tonic::{Status, Streaming};
use wire::v1::{self, submit_reply, submit_request};

/// Requests of one stream under way at once.
const REQUESTS_MAX: usize = 1_024;
/// Events of one stream under way at once.
const EVENTS_MAX: usize = 16 * EVENTS_PER_REQUEST_MAX;

/// What the call answers with.
pub(crate) type Replies = Pin<Box<dyn Stream<Item = Result<v1::SubmitReply, Status>> + Send>>;

/// A request whose answer is awaited.
struct UnderWay {
    sequence: u64,
    begun: Instant,
    answer: Result<Pending, ApiError>,
    _events: OwnedSemaphorePermit,
}

pub(super) fn start(edge: Edge, caller: Caller, requests: Streaming<v1::SubmitRequest>) -> Replies {
    let (sender, receiver) = mpsc::channel(REQUESTS_MAX);
    let index = crate::metrics::GRPC
        .iter()
        .position(|name| *name == "Submit")
        .expect("Submit is in the table");
    let metrics = edge.metrics.clone();
    tokio::spawn(read(edge, caller, requests, sender));
    Box::pin(futures::stream::unfold(receiver, move |mut receiver| {
        let metrics = metrics.clone();
        async move {
            let item: Result<UnderWay, Status> = receiver.recv().await?;
            let reply = match item {
                Ok(under_way) => {
                    let begun = under_way.begun;
                    let (reply, code) = answer(under_way).await;
                    metrics.grpc(index, code, begun.elapsed());
                    Ok(reply)
                }
                Err(status) => Err(status),
            };
            Some((reply, receiver))
        }
    }))
}

/// Reads until the client ends the stream or breaks it, the node stops, or nobody takes the replies any more.
async fn read(
    edge: Edge,
    caller: Caller,
    mut requests: Streaming<v1::SubmitRequest>,
    sender: mpsc::Sender<Result<UnderWay, Status>>,
) {
    let events = Arc::new(Semaphore::new(EVENTS_MAX));
    let mut stopping = edge.stopping.clone();
    loop {
        let message = tokio::select! {
            biased;
            _ = stopping.wait_for(|stop| *stop) => return,
            message = requests.message() => message,
        };
        let request = match message {
            Ok(Some(request)) => request,
            Ok(None) => return,
            Err(status) => {
                // The client is gone, or the message cannot be read: what was taken in is still answered.
                let _ = sender.send(Err(status)).await;
                return;
            }
        };
        let permits = u32::try_from(count(&request).clamp(1, EVENTS_MAX)).expect("bounded");
        // First a place for the answer, so that nothing is submitted whose answer nobody will take.
        let Ok(place) = sender.reserve().await else { return };
        let Ok(permit) = events.clone().acquire_many_owned(permits).await else {
            return;
        };
        let sequence = request.sequence;
        let begun = Instant::now();
        let answer = submit(&edge, caller, request);
        place.send(Ok(UnderWay {
            sequence,
            begun,
            answer,
            _events: permit,
        }));
    }
}

fn count(request: &v1::SubmitRequest) -> usize {
    match &request.body {
        Some(submit_request::Body::Accounts(accounts)) => accounts.accounts.len(),
        Some(submit_request::Body::Transfers(transfers)) => transfers.transfers.len(),
        Some(submit_request::Body::Ledger(_)) | None => 1,
    }
}

fn submit(edge: &Edge, caller: Caller, request: v1::SubmitRequest) -> Result<Pending, ApiError> {
    let timeout = match request.timeout_ms {
        0 => None,
        ms => Some(Duration::from_millis(u64::from(ms))),
    };
    let deadline = edge.deadline(timeout);
    let body = match request.body {
        Some(submit_request::Body::Accounts(request)) => {
            RequestBody::CreateAccounts(accounts(edge, request)?)
        }
        Some(submit_request::Body::Transfers(request)) => {
            RequestBody::CreateTransfers(transfers(edge, request)?)
        }
        Some(submit_request::Body::Ledger(request)) => RequestBody::DescribeLedger(description(request)?),
        None => return Err(field("body", "is missing")),
    };
    edge.submit(caller, body, deadline)
}

async fn answer(under_way: UnderWay) -> (v1::SubmitReply, tonic::Code) {
    let answer = match under_way.answer {
        Ok(pending) => pending.answer().await,
        Err(error) => Err(error),
    };
    let (body, code) = match answer {
        Ok(Reply::Accounts(replies)) => (
            submit_reply::Body::Accounts(accounts_reply(&replies)),
            tonic::Code::Ok,
        ),
        Ok(Reply::Transfers(replies)) => (
            submit_reply::Body::Transfers(transfers_reply(&replies)),
            tonic::Code::Ok,
        ),
        Ok(Reply::Described(result)) => {
            let reply = v1::DescribeLedgerReply {
                result: i32::from(result.code()),
            };
            (submit_reply::Body::Ledger(reply), tonic::Code::Ok)
        }
        Err(error) => (submit_reply::Body::Failure(error.failure()), error.grpc_code()),
    };
    (
        v1::SubmitReply {
            sequence: under_way.sequence,
            body: Some(body),
        },
        code,
    )
}
