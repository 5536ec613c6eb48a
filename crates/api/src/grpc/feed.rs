//! The change feed. Owns: blocks in protobuf.

use crate::edge::Edge;
use crate::error::ApiError;
use futures::Stream;
use journal::{Block, Entry, Results};
use ledger::{CommandBody, Height};
use std::pin::Pin;
use std::time::Duration;
use tonic::Status;
use wire::convert;
use wire::v1::{self, feed_entry};

/// What the call answers with.
pub(crate) type Blocks = Pin<Box<dyn Stream<Item = Result<v1::FeedBlock, Status>> + Send>>;

/// From a height on, and then new blocks until the client leaves or the node stops.
pub(super) fn start(edge: &Edge, from: u64) -> Blocks {
    let feed = edge.node.feed(Height(from.max(1)));
    let state = Some((feed, edge.stopping.clone()));
    Box::pin(futures::stream::unfold(state, |state| async move {
        let (mut feed, mut stopping) = state?;
        let next = tokio::select! {
            next = feed.next() => next,
            _ = stopping.wait_for(|stop| *stop) => None,
        };
        match next {
            Some(Ok(block)) => Some((Ok(block_to_wire(&block)), Some((feed, stopping)))),
            Some(Err(error)) => Some((Err(ApiError::from(error).into()), None)),
            None => {
                // The end of a feed is never the end of the journal: the client goes on elsewhere or later.
                let stopped = ApiError::Unavailable {
                    retry_after: Duration::from_secs(1),
                };
                Some((Err(stopped.into()), None))
            }
        }
    }))
}

fn block_to_wire(block: &Block) -> v1::FeedBlock {
    v1::FeedBlock {
        shard: block.shard.0,
        height: block.height.0,
        epoch: block.epoch,
        writer: Some(block.writer.0.into()),
        timestamp: block.timestamp.0,
        rules_version: block.rules_version,
        previous_hash: block.previous.0.to_vec(),
        hash: block.hash.0.to_vec(),
        entries: block.entries.iter().map(entry_to_wire).collect(),
    }
}

fn entry_to_wire(entry: &Entry) -> v1::FeedEntry {
    let body = match (&entry.command.body, &entry.results) {
        (CommandBody::CreateAccounts(events), Results::Accounts(results)) => {
            feed_entry::Body::Accounts(v1::FeedAccounts {
                accounts: events.events.iter().map(convert::account_to_wire).collect(),
                results: results.iter().map(|result| i32::from(result.code())).collect(),
            })
        }
        (CommandBody::CreateTransfers(events), Results::Transfers(results)) => {
            feed_entry::Body::Transfers(v1::FeedTransfers {
                transfers: events.events.iter().map(convert::transfer_to_wire).collect(),
                results: results.iter().map(|result| i32::from(result.code())).collect(),
            })
        }
        (CommandBody::ExpirePending { .. }, Results::Expired(ids)) => {
            let pending_ids = ids.iter().map(|id| id.0.into()).collect();
            feed_entry::Body::Expiries(v1::FeedExpiries { pending_ids })
        }
        (CommandBody::DescribeLedger(description), Results::Described(result)) => {
            feed_entry::Body::Described(v1::FeedDescription {
                description: Some(convert::description_to_wire(description)),
                result: i32::from(result.code()),
            })
        }
        // The journal pairs commands with their results when it reads a block; nothing else is left.
        _ => feed_entry::Body::Epoch(v1::FeedEpoch {}),
    };
    v1::FeedEntry {
        timestamp: entry.timestamp.0,
        actor: Some(entry.command.actor.0.into()),
        body: Some(body),
    }
}
