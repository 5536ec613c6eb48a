//! What waits to be sent and what is under way. Owns: requests, those who wait for them, and their deadlines.

use crate::Error;
use ledger::{
    Account, AccountReply, DescribeLedgerResult, EVENTS_PER_REQUEST_MAX, LedgerDescription, Transfer,
    TransferFlags, TransferReply,
};
use prost::Message;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use wire::v1::{self, submit_request};
use wire::{REQUEST_BYTES_MAX, convert};

/// Metadata of the events that have some, by rising index.
pub(crate) type Metadata = Vec<(usize, String)>;
type Reply<T> = oneshot::Sender<Result<T, Error>>;
/// One who shares a request; `None` when its deadline passed.
pub(crate) type Sharer = Option<(Instant, Reply<TransferReply>)>;

/// What a call hands to the driver.
pub(crate) enum Work {
    /// One transfer, which may share a request with others.
    One {
        transfer: Transfer,
        deadline: Instant,
        reply: Reply<TransferReply>,
    },
    /// A request by itself.
    Whole {
        body: Body,
        waiters: Waiters,
        deadline: Instant,
    },
}

/// The content of a request.
#[derive(Debug)]
pub(crate) enum Body {
    Accounts(Vec<Account>, Metadata),
    Transfers(Vec<Transfer>, Metadata),
    Describe(LedgerDescription),
}

/// Who waits for the answer to a request.
pub(crate) enum Waiters {
    Accounts(Reply<Vec<AccountReply>>),
    Transfers(Reply<Vec<TransferReply>>),
    Described(Reply<DescribeLedgerResult>),
    /// One for each transfer.
    Shared(Vec<Sharer>),
    /// Nobody any more.
    Nobody,
}

/// A request that was formed.
pub(crate) struct Batch {
    /// Names it on the stream.
    pub sequence: u64,
    pub body: Body,
    pub waiters: Waiters,
    /// The latest of those who wait.
    pub deadline: Instant,
    /// It was sent at least once and no answer said that nothing was done: it may have been applied.
    pub doubtful: bool,
}

/// From 1 to 8,190 events, and metadata of events that are there.
pub(crate) fn check(events: usize, metadata: &Metadata) -> Result<(), Error> {
    if !(1..=EVENTS_PER_REQUEST_MAX).contains(&events) {
        return Err(Error::Invalid("events: from 1 to 8190 are needed".to_owned()));
    }
    let rising = metadata.windows(2).all(|pair| pair[0].0 < pair[1].0);
    if !rising || metadata.last().is_some_and(|(index, _)| *index >= events) {
        return Err(Error::Invalid(
            "metadata: indexes must rise and name events of the request".to_owned(),
        ));
    }
    Ok(())
}

impl Work {
    /// The moment at which the caller must have an answer.
    pub(crate) fn deadline(&self) -> Instant {
        match self {
            Self::One { deadline, .. } | Self::Whole { deadline, .. } => *deadline,
        }
    }

    /// Whether it may share a request.
    pub(crate) fn shares(&self) -> bool {
        let alone = TransferFlags::LINKED | TransferFlags::IMPORTED;
        matches!(self, Self::One { transfer, .. } if !transfer.flags.intersects(alone))
    }

    /// Tells the caller that nothing was done.
    pub(crate) fn refuse(self, error: &Error) {
        match self {
            Self::One { reply, .. } => {
                let _ = reply.send(Err(error.clone()));
            }
            Self::Whole { waiters, .. } => waiters.fail(error),
        }
    }

    /// As a request by itself.
    pub(crate) fn into_batch(self, sequence: u64) -> Batch {
        let deadline = self.deadline();
        let (body, waiters) = match self {
            Self::One {
                transfer,
                deadline,
                reply,
            } => (
                Body::Transfers(vec![transfer], Vec::new()),
                Waiters::Shared(vec![Some((deadline, reply))]),
            ),
            Self::Whole { body, waiters, .. } => (body, waiters),
        };
        Batch {
            sequence,
            body,
            waiters,
            deadline,
            doubtful: false,
        }
    }
}

impl Waiters {
    /// Tells everybody who still waits.
    pub(crate) fn fail(self, error: &Error) {
        match self {
            Self::Accounts(reply) => drop(reply.send(Err(error.clone()))),
            Self::Transfers(reply) => drop(reply.send(Err(error.clone()))),
            Self::Described(reply) => drop(reply.send(Err(error.clone()))),
            Self::Shared(waiters) => {
                for (_, reply) in waiters.into_iter().flatten() {
                    let _ = reply.send(Err(error.clone()));
                }
            }
            Self::Nobody => {}
        }
    }
}

impl Batch {
    /// Adds a transfer that may share.
    pub(crate) fn share(&mut self, work: Work) {
        let Work::One {
            transfer,
            deadline,
            reply,
        } = work
        else {
            unreachable!("only single transfers share requests")
        };
        let (Body::Transfers(transfers, _), Waiters::Shared(waiters)) = (&mut self.body, &mut self.waiters)
        else {
            unreachable!("only requests of single transfers are shared")
        };
        transfers.push(transfer);
        waiters.push(Some((deadline, reply)));
        self.deadline = self.deadline.max(deadline);
    }

    /// How many events it holds.
    pub(crate) fn events(&self) -> usize {
        match &self.body {
            Body::Accounts(accounts, _) => accounts.len(),
            Body::Transfers(transfers, _) => transfers.len(),
            Body::Describe(_) => 1,
        }
    }

    /// Whether single transfers share it.
    pub(crate) fn is_shared(&self) -> bool {
        matches!(self.waiters, Waiters::Shared(_))
    }

    /// Whether it may be larger than a node takes. Without metadata and names, 8,190 events have less than 2 MiB.
    fn may_be_large(&self) -> bool {
        match &self.body {
            Body::Accounts(_, metadata) | Body::Transfers(_, metadata) => !metadata.is_empty(),
            Body::Describe(_) => true,
        }
    }

    /// Why its message cannot be sent. A node ends the stream at one that is too large, and so the others on it.
    pub(crate) fn too_large(&self, message: &v1::SubmitRequest) -> Option<Error> {
        let bytes = if self.may_be_large() {
            message.encoded_len()
        } else {
            0
        };
        (bytes > REQUEST_BYTES_MAX).then(|| {
            Error::Invalid(format!(
                "the request has {bytes} bytes, a node takes at most {REQUEST_BYTES_MAX}"
            ))
        })
    }

    /// Tells those whose deadline has passed; `sent` says whether it is under way now.
    /// Gives back the earliest deadline of those who go on waiting; `None` when nobody does.
    pub(crate) fn expire(&mut self, now: Instant, sent: bool, reason: &str) -> Option<Instant> {
        let error = || {
            if sent || self.doubtful {
                Error::Unknown
            } else {
                Error::NotDone(reason.to_owned())
            }
        };
        match &mut self.waiters {
            Waiters::Nobody => None,
            Waiters::Shared(waiters) => {
                for waiter in waiters.iter_mut() {
                    if let Some((_, reply)) = waiter.take_if(|(deadline, _)| *deadline <= now) {
                        let _ = reply.send(Err(if sent || self.doubtful {
                            Error::Unknown
                        } else {
                            Error::NotDone(reason.to_owned())
                        }));
                    }
                }
                waiters.iter().flatten().map(|(deadline, _)| *deadline).min()
            }
            _ if self.deadline <= now => {
                let error = error();
                std::mem::replace(&mut self.waiters, Waiters::Nobody).fail(&error);
                None
            }
            _ => Some(self.deadline),
        }
    }

    /// Before a repeat: leaves out the transfers whose callers were told that nothing was, or may have been, done.
    /// Without this a transfer could be applied after its caller heard that it was not.
    pub(crate) fn forget_expired(&mut self) {
        if let (Body::Transfers(transfers, _), Waiters::Shared(waiters)) = (&mut self.body, &mut self.waiters)
        {
            let mut waiting = waiters.iter().map(Option::is_some);
            transfers.retain(|_| waiting.next().unwrap_or(false));
            waiters.retain(Option::is_some);
        }
    }

    /// As a message of the stream.
    pub(crate) fn message(&self, now: Instant) -> v1::SubmitRequest {
        let left = self
            .deadline
            .saturating_duration_since(now)
            .max(Duration::from_millis(1));
        let body = match &self.body {
            Body::Accounts(accounts, metadata) => {
                let mut accounts: Vec<_> = accounts.iter().map(convert::account_to_wire).collect();
                for (index, json) in metadata {
                    accounts[*index].metadata_json.clone_from(json);
                }
                submit_request::Body::Accounts(v1::CreateAccountsRequest { accounts })
            }
            Body::Transfers(transfers, metadata) => {
                let mut transfers: Vec<_> = transfers.iter().map(convert::transfer_to_wire).collect();
                for (index, json) in metadata {
                    transfers[*index].metadata_json.clone_from(json);
                }
                submit_request::Body::Transfers(v1::CreateTransfersRequest { transfers })
            }
            Body::Describe(description) => {
                let description = Some(convert::description_to_wire(description));
                submit_request::Body::Ledger(v1::DescribeLedgerRequest { description })
            }
        };
        v1::SubmitRequest {
            sequence: self.sequence,
            timeout_ms: u32::try_from(left.as_millis()).unwrap_or(u32::MAX),
            body: Some(body),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(id: u128, deadline: Instant) -> (Work, oneshot::Receiver<Result<TransferReply, Error>>) {
        let (reply, answer) = oneshot::channel();
        let transfer = Transfer {
            id: ledger::TransferId(id),
            ..Transfer::default()
        };
        (
            Work::One {
                transfer,
                deadline,
                reply,
            },
            answer,
        )
    }

    #[test]
    fn a_transfer_whose_caller_heard_that_nothing_was_done_is_never_sent_later() {
        let now = Instant::now();
        let (early, mut told) = one(1, now);
        let (late, _waits) = one(2, now + Duration::from_secs(9));
        let mut batch = early.into_batch(0);
        batch.share(late);
        assert_eq!(
            batch.expire(now, false, "no server"),
            Some(now + Duration::from_secs(9))
        );
        assert_eq!(
            told.try_recv().unwrap(),
            Err(Error::NotDone("no server".to_owned()))
        );
        batch.forget_expired();
        let Body::Transfers(transfers, _) = &batch.body else {
            panic!("it holds transfers")
        };
        assert_eq!(
            transfers.iter().map(|transfer| transfer.id.0).collect::<Vec<_>>(),
            [2]
        );
    }

    #[test]
    fn what_was_sent_once_is_unknown_when_its_deadline_passes() {
        let now = Instant::now();
        for (sent, doubtful) in [(true, false), (false, true)] {
            let (work, mut told) = one(1, now);
            let mut batch = work.into_batch(0);
            batch.doubtful = doubtful;
            assert_eq!(batch.expire(now, sent, ""), None);
            assert_eq!(told.try_recv().unwrap(), Err(Error::Unknown));
        }
    }

    #[test]
    fn linked_and_imported_transfers_never_share() {
        let deadline = Instant::now();
        for (flags, shares) in [
            (TransferFlags::empty(), true),
            (TransferFlags::PENDING, true),
            (TransferFlags::LINKED, false),
            (TransferFlags::IMPORTED | TransferFlags::PENDING, false),
        ] {
            let (reply, _answer) = oneshot::channel();
            let transfer = Transfer {
                flags,
                ..Transfer::default()
            };
            assert_eq!(
                Work::One {
                    transfer,
                    deadline,
                    reply
                }
                .shares(),
                shares,
                "{flags:?}"
            );
        }
    }

    #[test]
    fn a_full_request_without_metadata_is_never_too_large() {
        let all = u128::MAX;
        let transfer = Transfer {
            id: ledger::TransferId(all),
            debit_account_id: ledger::AccountId(all),
            credit_account_id: ledger::AccountId(all),
            amount: ledger::Amount(all),
            pending_id: ledger::TransferId(all),
            user_data_128: all,
            user_data_64: u64::MAX,
            user_data_32: u32::MAX,
            timeout: u32::MAX,
            ledger: ledger::LedgerId(u32::MAX),
            code: ledger::Code(u16::MAX),
            flags: TransferFlags::all(),
            timestamp: ledger::TimestampNs(u64::MAX),
        };
        let account = Account {
            id: ledger::AccountId(all),
            user_data_128: all,
            user_data_64: u64::MAX,
            user_data_32: u32::MAX,
            ledger: ledger::LedgerId(u32::MAX),
            code: ledger::Code(u16::MAX),
            flags: ledger::AccountFlags::all(),
            timestamp: ledger::TimestampNs(u64::MAX),
            balances: ledger::Balances {
                debits_pending: ledger::Amount(all),
                debits_posted: ledger::Amount(all),
                credits_pending: ledger::Amount(all),
                credits_posted: ledger::Amount(all),
            },
        };
        for body in [
            Body::Transfers(vec![transfer; EVENTS_PER_REQUEST_MAX], Vec::new()),
            Body::Accounts(vec![account; EVENTS_PER_REQUEST_MAX], Vec::new()),
        ] {
            let work = Work::Whole {
                body,
                waiters: Waiters::Nobody,
                deadline: Instant::now(),
            };
            let batch = work.into_batch(u64::MAX);
            assert!(!batch.may_be_large());
            let bytes = batch.message(Instant::now()).encoded_len();
            assert!(bytes < 2 << 20, "{bytes} bytes");
        }
    }

    #[test]
    fn metadata_names_events_of_the_request_in_order() {
        let metadata = |indexes: &[usize]| indexes.iter().map(|i| (*i, String::new())).collect::<Metadata>();
        assert_eq!(check(2, &metadata(&[0, 1])), Ok(()));
        assert!(check(2, &metadata(&[1, 0])).is_err());
        assert!(check(2, &metadata(&[2])).is_err());
        assert!(check(0, &metadata(&[])).is_err());
        assert!(check(8_191, &metadata(&[])).is_err());
    }
}
