//! Reading the answer to a repeated chain. Owns: telling "done before" from "refused".
//!
//! A chain that had been applied answers `exists` on its first event and `linked_event_failed` on the others, since
//! `exists` breaks a chain. The others are looked up: when all are there as asked, the chain is done, and every event is
//! reported as `exists`.

use crate::Error;
use crate::reads::{account_record, transfer_record};
use api::wire::v1;
use api::wire::v1::ledger_client::LedgerClient;
use ledger::{
    Account, AccountFlags, AccountReply, Balances, CreateAccountResult, CreateTransferResult, Transfer,
    TransferFlags, TransferReply,
};
use std::collections::HashMap;
use std::ops::Range;
use std::time::Duration;
use tonic::transport::Channel;

/// How long the look-up may take; the outcome is known by then, only its details are not.
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
    fn exists(&self) -> bool;
    fn linked_event_failed(&self) -> bool;
}

impl Reply for TransferReply {
    fn exists(&self) -> bool {
        self.result == CreateTransferResult::Exists
    }
    fn linked_event_failed(&self) -> bool {
        self.result == CreateTransferResult::LinkedEventFailed
    }
}

impl Reply for AccountReply {
    fn exists(&self) -> bool {
        self.result == CreateAccountResult::Exists
    }
    fn linked_event_failed(&self) -> bool {
        self.result == CreateAccountResult::LinkedEventFailed
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

/// The ids of all events of the chains.
fn ids<E: Event>(chains: &[Range<usize>], asked: &[E]) -> Vec<v1::Uint128> {
    let places = chains.iter().flat_map(Clone::clone);
    places.map(|at| asked[at].id().into()).collect()
}

/// Gives each event of a chain whose events are all stored the reply that its stored form tells.
fn fill<E: Event, R>(
    chains: Vec<Range<usize>>,
    asked: &[E],
    stored: &HashMap<u128, E>,
    replies: &mut [R],
    tell: impl Fn(&E) -> R,
) {
    for chain in chains {
        let all: Option<Vec<&E>> = chain.clone().map(|at| stored.get(&asked[at].id())).collect();
        let Some(all) = all else { continue };
        for (reply, event) in replies[chain].iter_mut().zip(all) {
            *reply = tell(event);
        }
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
    mut replies: Vec<TransferReply>,
) -> Result<Vec<TransferReply>, Error> {
    let chains = repeated(asked, &replies);
    let found = grpc
        .lookup_transfers(request(ids(&chains, asked)))
        .await
        .map_err(|_| Error::Unknown)?;
    let mut stored = HashMap::new();
    for item in found.into_inner().transfers {
        let transfer = transfer_record(item)?.transfer;
        stored.insert(transfer.id.0, transfer);
    }
    let mut accounts: Vec<u128> = stored
        .values()
        .flat_map(|transfer| [transfer.debit_account_id.0, transfer.credit_account_id.0])
        .collect();
    accounts.sort_unstable();
    accounts.dedup();
    let mut balances: HashMap<u128, Balances> = HashMap::new();
    for ids in accounts.chunks(ledger::EVENTS_PER_REQUEST_MAX) {
        let ids = ids.iter().map(|id| (*id).into()).collect();
        let accounts = lookup_accounts(&mut grpc, ids).await?;
        balances.extend(accounts.values().map(|account| (account.id.0, account.balances)));
    }
    let of = |account: u128| balances.get(&account).copied().unwrap_or_default();
    fill(chains, asked, &stored, &mut replies, |transfer| TransferReply {
        result: CreateTransferResult::Exists,
        timestamp: transfer.timestamp,
        debit: of(transfer.debit_account_id.0),
        credit: of(transfer.credit_account_id.0),
    });
    Ok(replies)
}

/// The same for accounts.
pub(crate) async fn complete_account_chains(
    mut grpc: LedgerClient<Channel>,
    asked: &[Account],
    mut replies: Vec<AccountReply>,
) -> Result<Vec<AccountReply>, Error> {
    let chains = repeated(asked, &replies);
    let stored = lookup_accounts(&mut grpc, ids(&chains, asked)).await?;
    fill(chains, asked, &stored, &mut replies, |account| AccountReply {
        result: CreateAccountResult::Exists,
        timestamp: account.timestamp,
    });
    Ok(replies)
}

async fn lookup_accounts(
    grpc: &mut LedgerClient<Channel>,
    ids: Vec<v1::Uint128>,
) -> Result<HashMap<u128, Account>, Error> {
    let found = grpc
        .lookup_accounts(request(ids))
        .await
        .map_err(|_| Error::Unknown)?;
    let mut accounts = HashMap::new();
    for item in found.into_inner().accounts {
        let account = account_record(item)?.account;
        accounts.insert(account.id.0, account);
    }
    Ok(accounts)
}

fn request(ids: Vec<v1::Uint128>) -> tonic::Request<v1::LookupRequest> {
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
}
