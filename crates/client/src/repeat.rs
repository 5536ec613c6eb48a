//! Reading the answer to a repeated chain. Owns: telling "done before" from "refused".
//!
//! A chain that had been applied answers `exists` on its first event and `linked_event_failed` on the others, since
//! `exists` breaks a chain. The others are looked up and compared: when all are there as asked, the chain is done, and every
//! event is reported as `exists`; when one differs, its reply says how. What is not there stays as the ledger answered.

use crate::Error;
use crate::reads::{AccountRecord, TransferRecord, account_record, transfer_record};
use crate::work::Metadata;
use ledger::{
    Account, AccountFlags, AccountId, AccountReply, Balances, CreateAccountResult, CreateTransferResult,
    EVENTS_PER_REQUEST_MAX, Transfer, TransferFlags, TransferReply,
};
use std::collections::HashMap;
use std::ops::Range;
use std::time::Duration;
use tonic::transport::Channel;
use wire::v1;
use wire::v1::ledger_client::LedgerClient;

/// How long a look-up may take, beyond the call's deadline if need be: the answer to the chain itself is there by then.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);

/// What accounts and transfers have in common here.
trait Event {
    fn is_linked(&self) -> bool;
    fn id(&self) -> u128;
}

impl Event for Transfer {
    fn is_linked(&self) -> bool {
        self.flags.contains(TransferFlags::LINKED)
    }
    fn id(&self) -> u128 {
        self.id.0
    }
}

impl Event for Account {
    fn is_linked(&self) -> bool {
        self.flags.contains(AccountFlags::LINKED)
    }
    fn id(&self) -> u128 {
        self.id.0
    }
}

/// What their replies have in common here.
trait Reply {
    type Code;
    fn exists(&self) -> bool;
    fn linked_event_failed(&self) -> bool;
    fn say(&mut self, code: Self::Code);
}

impl Reply for TransferReply {
    type Code = CreateTransferResult;
    fn exists(&self) -> bool {
        self.result == CreateTransferResult::Exists
    }
    fn linked_event_failed(&self) -> bool {
        self.result == CreateTransferResult::LinkedEventFailed
    }
    fn say(&mut self, code: CreateTransferResult) {
        self.result = code;
    }
}

impl Reply for AccountReply {
    type Code = CreateAccountResult;
    fn exists(&self) -> bool {
        self.result == CreateAccountResult::Exists
    }
    fn linked_event_failed(&self) -> bool {
        self.result == CreateAccountResult::LinkedEventFailed
    }
    fn say(&mut self, code: CreateAccountResult) {
        self.result = code;
    }
}

/// The chains among events: each from its first linked event to the one after its last linked event.
fn chains(linked: impl Iterator<Item = bool>) -> Vec<Range<usize>> {
    let mut chains = Vec::new();
    let mut start = None;
    let mut count = 0;
    for (index, linked) in linked.enumerate() {
        count = index + 1;
        match (start, linked) {
            (None, true) => start = Some(index),
            (Some(first), false) => {
                chains.push(first..index + 1);
                start = None;
            }
            _ => {}
        }
    }
    if let Some(first) = start {
        chains.push(first..count);
    }
    chains
}

/// The chains that answer as ones that were done before.
fn repeated<E: Event, R: Reply>(asked: &[E], replies: &[R]) -> Vec<Range<usize>> {
    let mut chains = chains(asked.iter().map(Event::is_linked));
    chains.retain(|chain| {
        let (first, others) = (&replies[chain.start], &replies[chain.start + 1..chain.end]);
        first.exists() && others.iter().all(Reply::linked_event_failed)
    });
    chains
}

/// What becomes of a chain once all of it was looked up.
enum Finding<C> {
    /// Stored as asked.
    Done,
    /// The event at this place is another one.
    Differs(usize, C),
    /// An event is not stored.
    Missing,
}

/// Compares a chain with what is stored, event by event, up to the first that is not as asked.
fn compare<S, C>(
    chain: &Range<usize>,
    stored: impl Fn(usize) -> Option<S>,
    difference: impl Fn(usize, S) -> Option<C>,
) -> Finding<C> {
    for at in chain.clone() {
        let Some(stored) = stored(at) else {
            return Finding::Missing;
        };
        if let Some(code) = difference(at, stored) {
            return Finding::Differs(at, code);
        }
    }
    Finding::Done
}

/// Gives each event of a chain that is done the reply that its stored form tells, and the first event of another chain under
/// the same ids the field that differs.
fn fill<'a, E: Event, S, R: Reply>(
    chains: Vec<Range<usize>>,
    asked: &[E],
    stored: &'a HashMap<u128, S>,
    replies: &mut [R],
    difference: impl Fn(usize, &S) -> Option<R::Code>,
    tell: impl Fn(&'a S) -> R,
) {
    for chain in chains {
        let of = |at: usize| stored.get(&asked[at].id());
        match compare(&chain, of, &difference) {
            Finding::Done => {
                for at in chain {
                    if let Some(stored) = of(at) {
                        replies[at] = tell(stored);
                    }
                }
            }
            Finding::Differs(at, code) => replies[at].say(code),
            Finding::Missing => {}
        }
    }
}

/// Whether the metadata of the event at a place is what is stored.
fn same_metadata(metadata: &Metadata, at: usize, stored: Option<&str>) -> bool {
    let given = metadata
        .binary_search_by_key(&at, |(index, _)| *index)
        .ok()
        .map(|place| metadata[place].1.as_str())
        .filter(|json| !json.is_empty());
    match (given, stored) {
        (Some(given), Some(stored)) => wire::metadata::compact(given).is_ok_and(|given| given == stored),
        (given, stored) => given.is_none() && stored.is_none(),
    }
}

/// Whether a chain answers as one that was done before.
pub(crate) fn has_repeated_chain(asked: &[Transfer], replies: &[TransferReply]) -> bool {
    !repeated(asked, replies).is_empty()
}

/// The same for accounts.
pub(crate) fn has_repeated_account_chain(asked: &[Account], replies: &[AccountReply]) -> bool {
    !repeated(asked, replies).is_empty()
}

/// Replies in which the events of chains that were done before say so.
pub(crate) async fn complete_chains(
    mut grpc: LedgerClient<Channel>,
    asked: &[Transfer],
    metadata: &Metadata,
    mut replies: Vec<TransferReply>,
) -> Result<Vec<TransferReply>, Error> {
    let chains = repeated(asked, &replies);
    let events = chains.iter().flat_map(Clone::clone).map(|at| &asked[at]);
    // What a post or void leaves out is told by the transfer that it resolves.
    let ids = events.flat_map(|event| [event.id.0, event.pending_id.0]);
    let stored = lookup_transfers(&mut grpc, distinct(ids)).await?;
    let moved = stored.values().map(|record| &record.transfer);
    let accounts = moved.flat_map(|transfer| [transfer.debit_account_id.0, transfer.credit_account_id.0]);
    let accounts = lookup_accounts(&mut grpc, distinct(accounts)).await?;
    let balances = |account: AccountId| {
        accounts
            .get(&account.0)
            .map_or_else(Balances::default, |record| record.account.balances)
    };
    let difference = |at: usize, record: &TransferRecord| {
        let pending = stored.get(&asked[at].pending_id.0).map(|record| &record.transfer);
        ledger::first_difference(&asked[at], &record.transfer, pending).or_else(|| {
            let same = same_metadata(metadata, at, record.metadata_json.as_deref());
            (!same).then_some(CreateTransferResult::ExistsWithDifferentMetadata)
        })
    };
    fill(chains, asked, &stored, &mut replies, difference, |record| {
        TransferReply {
            result: CreateTransferResult::Exists,
            timestamp: record.transfer.timestamp,
            debit: balances(record.transfer.debit_account_id),
            credit: balances(record.transfer.credit_account_id),
        }
    });
    Ok(replies)
}

/// The same for accounts.
pub(crate) async fn complete_account_chains(
    mut grpc: LedgerClient<Channel>,
    asked: &[Account],
    metadata: &Metadata,
    mut replies: Vec<AccountReply>,
) -> Result<Vec<AccountReply>, Error> {
    let chains = repeated(asked, &replies);
    let ids = chains.iter().flat_map(Clone::clone).map(|at| asked[at].id.0);
    let stored = lookup_accounts(&mut grpc, distinct(ids)).await?;
    let difference = |at: usize, record: &AccountRecord| {
        ledger::first_account_difference(&asked[at], &record.account).or_else(|| {
            let same = same_metadata(metadata, at, record.metadata_json.as_deref());
            (!same).then_some(CreateAccountResult::ExistsWithDifferentMetadata)
        })
    };
    fill(chains, asked, &stored, &mut replies, difference, |record| {
        AccountReply {
            result: CreateAccountResult::Exists,
            timestamp: record.account.timestamp,
        }
    });
    Ok(replies)
}

/// Each id once, without 0, which names nothing.
fn distinct(ids: impl Iterator<Item = u128>) -> Vec<u128> {
    let mut ids: Vec<u128> = ids.filter(|id| *id != 0).collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

async fn lookup_transfers(
    grpc: &mut LedgerClient<Channel>,
    ids: Vec<u128>,
) -> Result<HashMap<u128, TransferRecord>, Error> {
    let mut transfers = HashMap::with_capacity(ids.len());
    for ids in ids.chunks(EVENTS_PER_REQUEST_MAX) {
        let found = grpc.lookup_transfers(request(ids)).await;
        for item in found.map_err(|_| Error::Unknown)?.into_inner().transfers {
            let record = transfer_record(item)?;
            transfers.insert(record.transfer.id.0, record);
        }
    }
    Ok(transfers)
}

async fn lookup_accounts(
    grpc: &mut LedgerClient<Channel>,
    ids: Vec<u128>,
) -> Result<HashMap<u128, AccountRecord>, Error> {
    let mut accounts = HashMap::with_capacity(ids.len());
    for ids in ids.chunks(EVENTS_PER_REQUEST_MAX) {
        let found = grpc.lookup_accounts(request(ids)).await;
        for item in found.map_err(|_| Error::Unknown)?.into_inner().accounts {
            let record = account_record(item)?;
            accounts.insert(record.account.id.0, record);
        }
    }
    Ok(accounts)
}

fn request(ids: &[u128]) -> tonic::Request<v1::LookupRequest> {
    let ids = ids.iter().map(|id| (*id).into()).collect();
    let mut request = tonic::Request::new(v1::LookupRequest { ids });
    request.set_timeout(LOOKUP_TIMEOUT);
    request
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chains_end_with_the_first_event_that_is_not_linked() {
        let of = |text: &str| chains(text.chars().map(|c| c == 'L'));
        assert_eq!(of("..L.LL."), [2..4, 4..7]);
        assert_eq!(of("..."), []);
        assert_eq!(of(".LL"), vec![1..3]);
    }

    #[test]
    fn only_a_chain_that_begins_with_exists_was_done_before() {
        let linked = Transfer {
            flags: TransferFlags::LINKED,
            ..Transfer::default()
        };
        let asked = [linked, Transfer::default()];
        let reply = |result| TransferReply {
            result,
            timestamp: ledger::TimestampNs(0),
            debit: Balances::default(),
            credit: Balances::default(),
        };
        use CreateTransferResult::{ExceedsCredits, Exists, IdAlreadyFailed, LinkedEventFailed};
        assert!(has_repeated_chain(
            &asked,
            &[reply(Exists), reply(LinkedEventFailed)]
        ));
        assert!(!has_repeated_chain(
            &asked,
            &[reply(LinkedEventFailed), reply(ExceedsCredits)]
        ));
        assert!(!has_repeated_chain(
            &asked,
            &[reply(LinkedEventFailed), reply(IdAlreadyFailed)]
        ));
        assert!(!has_repeated_chain(
            &asked,
            &[reply(LinkedEventFailed), reply(Exists)]
        ));
    }

    #[test]
    fn a_repeated_account_chain_is_done_only_when_every_account_is_stored_as_asked() {
        let account = |id, flags| Account {
            id: AccountId(id),
            flags,
            ..Account::default()
        };
        let (linked, closed) = (AccountFlags::LINKED, AccountFlags::CLOSED);
        let asked = [account(1, linked), account(2, AccountFlags::empty())];
        let reply = |result| AccountReply {
            result,
            timestamp: ledger::TimestampNs(7),
        };
        use CreateAccountResult::{Exists, ExistsWithDifferentFlags, LinkedEventFailed};
        let results = |stored: &[Account]| {
            let stored = stored.iter().map(|account| (account.id.0, *account)).collect();
            let mut replies = [reply(Exists), reply(LinkedEventFailed)];
            let chains = repeated(&asked, &replies);
            let difference =
                |at: usize, stored: &Account| ledger::first_account_difference(&asked[at], stored);
            fill(chains, &asked, &stored, &mut replies, difference, |_| {
                reply(Exists)
            });
            replies.map(|reply| reply.result)
        };
        // The second was closed later, which is no difference.
        let done = [account(1, linked), account(2, closed)];
        assert_eq!(results(&done), [Exists, Exists]);
        let history = [account(1, linked), account(2, AccountFlags::HISTORY)];
        assert_eq!(results(&history), [Exists, ExistsWithDifferentFlags]);
        assert_eq!(
            results(&done[..1]),
            [Exists, LinkedEventFailed],
            "one is not stored"
        );
    }

    #[test]
    fn metadata_of_a_repeat_is_compared_in_the_form_in_which_it_is_kept() {
        let metadata = vec![(1, r#"{ "a": 1 }"#.to_owned()), (3, String::new())];
        assert!(same_metadata(&metadata, 1, Some(r#"{"a":1}"#)));
        assert!(!same_metadata(&metadata, 1, Some(r#"{"a":2}"#)));
        assert!(!same_metadata(&metadata, 1, None));
        assert!(same_metadata(&metadata, 2, None));
        assert!(same_metadata(&metadata, 3, None));
        assert!(!same_metadata(&metadata, 2, Some("{}")));
    }
}
