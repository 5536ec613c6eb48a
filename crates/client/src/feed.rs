//! The change feed. Owns: blocks in the ledger's types.

use crate::{Client, Error};
use ledger::{
    Account, ActorId, CreateAccountResult, CreateTransferResult, DescribeLedgerResult, Height,
    LedgerDescription, TimestampNs, Transfer, TransferId,
};
use tonic::Streaming;
use wire::convert;
use wire::v1::{self, feed_entry};

/// A final block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// Position: 1, 2, 3 …
    pub height: Height,
    /// The writer's term.
    pub epoch: u64,
    /// Of its first command.
    pub timestamp: TimestampNs,
    /// Hash of the block before; zeros for the first.
    pub previous_hash: [u8; 32],
    /// Its own.
    pub hash: [u8; 32],
    /// What was asked, in order, and what became of it.
    pub entries: Vec<Entry>,
}

/// A command and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Of its first event; event i has this plus i, imported ones their own.
    pub timestamp: TimestampNs,
    /// Who asked.
    pub actor: ActorId,
    /// What for.
    pub change: Change,
}

/// What was asked and what became of it, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A term of a writer began.
    Epoch,
    /// Accounts were to be created.
    Accounts(Vec<(Account, CreateAccountResult)>),
    /// Transfers were to be created.
    Transfers(Vec<(Transfer, CreateTransferResult)>),
    /// Pending transfers were due and released.
    Expired(Vec<TransferId>),
    /// A ledger was described.
    Described(LedgerDescription, DescribeLedgerResult),
}

/// Blocks in order, waiting for new ones.
#[derive(Debug)]
pub struct Feed {
    stream: Streaming<v1::FeedBlock>,
}

impl Feed {
    /// The next block. Cancel safe. After an error the feed has ended; ask again from the height after the last block.
    ///
    /// # Errors
    /// [`Error::NotDone`] when the connection ended, [`Error::Protocol`] when a block cannot be read.
    pub async fn next(&mut self) -> Result<Block, Error> {
        match self.stream.message().await {
            Ok(Some(block)) => read(block),
            Ok(None) => Err(Error::NotDone("the server ended the feed".to_owned())),
            Err(status) => Err(Error::NotDone(status.to_string())),
        }
    }
}

impl Client {
    /// Final blocks from a height on (1 is the first), then new ones.
    ///
    /// # Errors
    /// [`Error::NotDone`] when the server cannot be reached.
    pub async fn feed(&self, from: Height) -> Result<Feed, Error> {
        let request = v1::FeedRequest { from_height: from.0 };
        match self.grpc.clone().feed(request).await {
            Ok(response) => Ok(Feed {
                stream: response.into_inner(),
            }),
            Err(status) => Err(Error::NotDone(status.to_string())),
        }
    }
}

fn unreadable(what: &str) -> Error {
    Error::Protocol(format!("block: {what} cannot be read"))
}

fn hash(bytes: &[u8]) -> Result<[u8; 32], Error> {
    bytes.try_into().map_err(|_| unreadable("hash"))
}

fn read(block: v1::FeedBlock) -> Result<Block, Error> {
    Ok(Block {
        height: Height(block.height),
        epoch: block.epoch,
        timestamp: TimestampNs(block.timestamp),
        previous_hash: hash(&block.previous_hash)?,
        hash: hash(&block.hash)?,
        entries: block.entries.into_iter().map(entry).collect::<Result<_, _>>()?,
    })
}

fn entry(entry: v1::FeedEntry) -> Result<Entry, Error> {
    let change = match entry.body.ok_or_else(|| unreadable("entry"))? {
        feed_entry::Body::Epoch(_) => Change::Epoch,
        feed_entry::Body::Accounts(body) => Change::Accounts(pairs(
            &body.accounts,
            &body.results,
            convert::account_from_wire,
            CreateAccountResult::from_code,
        )?),
        feed_entry::Body::Transfers(body) => Change::Transfers(pairs(
            &body.transfers,
            &body.results,
            convert::transfer_from_wire,
            CreateTransferResult::from_code,
        )?),
        feed_entry::Body::Expiries(body) => Change::Expired(
            body.pending_ids
                .into_iter()
                .map(|id| TransferId(id.into()))
                .collect(),
        ),
        feed_entry::Body::Described(body) => {
            let description = body.description.ok_or_else(|| unreadable("description"))?;
            let description =
                convert::description_from_wire(description).map_err(|e| Error::Protocol(e.to_string()))?;
            let result = code(body.result, DescribeLedgerResult::from_code)?;
            Change::Described(description, result)
        }
    };
    Ok(Entry {
        timestamp: TimestampNs(entry.timestamp),
        actor: ActorId(convert::number(entry.actor)),
        change,
    })
}

fn code<R>(code: i32, known: impl Fn(u16) -> Option<R>) -> Result<R, Error> {
    u16::try_from(code)
        .ok()
        .and_then(known)
        .ok_or_else(|| unreadable("result"))
}

fn pairs<W, E, R>(
    events: &[W],
    results: &[i32],
    convert: impl Fn(&W) -> Result<E, convert::ConvertError>,
    known: impl Fn(u16) -> Option<R>,
) -> Result<Vec<(E, R)>, Error> {
    if events.len() != results.len() {
        return Err(unreadable("entry"));
    }
    let pair = |(event, result): (&W, &i32)| {
        let event = convert(event).map_err(|error| Error::Protocol(error.to_string()))?;
        Ok((event, code(*result, &known)?))
    };
    events.iter().zip(results).map(pair).collect()
}
