//! Holds a node's books against what its clients heard (pure).
//!
//! Invariant: whatever was acknowledged is there exactly once, as asked, with the timestamp and the balances that the
//! client was told; nothing is there that nobody asked for; the order agrees with real time; balances equal the sum of the rows.

use super::books::{After, Books};
use super::record::{Call, Heard, burns_id, metadata_of};
use super::violation::Violation;
use ledger::{
    Account, Amount, Balances, CreateTransferResult, RowKind, TimestampNs, Transfer, TransferFlags,
    TransferId, TransferReply,
};
use std::collections::HashMap;

/// What a node shows at the end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// Every transfer and expiry of the clients' world, the oldest first.
    pub rows: Vec<ObservedRow>,
    /// Every account of it.
    pub accounts: Vec<Account>,
}

/// A row of history as the node shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedRow {
    /// A transfer or an expiry.
    pub kind: RowKind,
    /// As stored.
    pub transfer: Transfer,
    /// The debited account's totals after it.
    pub debit: Balances,
    /// The credited account's totals after it.
    pub credit: Balances,
    /// JSON text, if it has some.
    pub metadata: Option<String>,
}

/// Everything that is wrong; nothing when all promises were kept.
#[must_use]
pub fn check(calls: &[Call], observed: &Observed) -> Vec<Violation> {
    let mut by_id: HashMap<TransferId, Vec<&Call>> = HashMap::new();
    for call in calls {
        by_id.entry(call.transfer.id).or_default().push(call);
    }
    let mut violations = Vec::new();
    let stored = replay(observed, &by_id, &mut violations);
    for (id, calls) in &mut by_id {
        calls.sort_by_key(|call| call.begun);
        check_id(*id, calls, stored.get(id), &mut violations);
    }
    check_chains(calls, &stored, &mut violations);
    check_real_time(calls, &mut violations);
    violations
}

/// A transfer as it is there, with both accounts' totals right after it.
struct Stored {
    transfer: Transfer,
    after: Option<After>,
}

/// Enters every row in books of our own and compares what comes out.
fn replay(
    observed: &Observed,
    by_id: &HashMap<TransferId, Vec<&Call>>,
    violations: &mut Vec<Violation>,
) -> HashMap<TransferId, Stored> {
    let mut books = Books::new(&observed.accounts);
    let mut stored: HashMap<TransferId, Stored> = HashMap::new();
    let mut last = TimestampNs(0);
    for row in &observed.rows {
        let (kind, transfer) = (row.kind, &row.transfer);
        if transfer.timestamp <= last {
            violations.push(Violation::OrderBroken(transfer.timestamp));
        }
        last = transfer.timestamp;
        let applied = kind == RowKind::Applied;
        if applied {
            violations.extend(check_cause(row, by_id, &books));
        }
        let after = books.enter(kind, transfer);
        if after.as_ref().is_ok_and(|after| {
            *after
                != (After {
                    debit: row.debit,
                    credit: row.credit,
                })
        }) {
            violations.push(Violation::RowBalancesDiffer(transfer.timestamp));
        }
        if let Err(why) = &after {
            violations.push(Violation::RowImpossible(transfer.id, why.clone()));
        }
        let entry = Stored {
            transfer: *transfer,
            after: after.ok(),
        };
        if applied && stored.insert(transfer.id, entry).is_some() {
            violations.push(Violation::Doubled(transfer.id));
        }
    }
    let differ = observed
        .accounts
        .iter()
        .filter(|a| books.balances(a.id) != Some(a.balances));
    violations.extend(differ.map(|account| Violation::BalanceDiffers(account.id)));
    stored
}

/// Whether somebody asked for a row, just so.
fn check_cause(
    row: &ObservedRow,
    by_id: &HashMap<TransferId, Vec<&Call>>,
    books: &Books,
) -> Option<Violation> {
    let id = row.transfer.id;
    let Some(calls) = by_id.get(&id) else {
        return Some(Violation::Invented(id));
    };
    let pending = books.open(row.transfer.pending_id);
    let differs = |call: &&Call| {
        let metadata = || (row.metadata != metadata_of(&call.transfer)).then_some("metadata");
        difference(&call.transfer, &row.transfer, pending).or_else(metadata)
    };
    let field = calls.iter().map(differs).min().flatten()?;
    Some(Violation::Changed(id, field))
}

/// The first field in which a stored transfer is not what was asked for; `pending` is the one that it resolves.
fn difference(asked: &Transfer, stored: &Transfer, pending: Option<&Transfer>) -> Option<&'static str> {
    let resolves = TransferFlags::POST_PENDING_TRANSFER | TransferFlags::VOID_PENDING_TRANSFER;
    let mut wanted = *asked;
    if let (true, Some(pending)) = (asked.flags.intersects(resolves), pending) {
        inherit(&mut wanted, pending);
    }
    let fields: [(&'static str, bool); 12] = [
        ("id", wanted.id == stored.id),
        (
            "debit_account_id",
            wanted.debit_account_id == stored.debit_account_id,
        ),
        (
            "credit_account_id",
            wanted.credit_account_id == stored.credit_account_id,
        ),
        ("amount", wanted.amount == stored.amount),
        ("pending_id", wanted.pending_id == stored.pending_id),
        ("user_data_128", wanted.user_data_128 == stored.user_data_128),
        ("user_data_64", wanted.user_data_64 == stored.user_data_64),
        ("user_data_32", wanted.user_data_32 == stored.user_data_32),
        ("timeout", wanted.timeout == stored.timeout),
        ("ledger", wanted.ledger == stored.ledger),
        ("code", wanted.code == stored.code),
        ("flags", wanted.flags == stored.flags),
    ];
    fields.into_iter().find(|(_, same)| !same).map(|(field, _)| field)
}

/// What a post or void leaves out is as in the pending transfer.
fn inherit(wanted: &mut Transfer, pending: &Transfer) {
    fn fill<T: Default + PartialEq + Copy>(field: &mut T, from: T) {
        if *field == T::default() {
            *field = from;
        }
    }
    fill(&mut wanted.debit_account_id, pending.debit_account_id);
    fill(&mut wanted.credit_account_id, pending.credit_account_id);
    fill(&mut wanted.user_data_128, pending.user_data_128);
    fill(&mut wanted.user_data_64, pending.user_data_64);
    fill(&mut wanted.user_data_32, pending.user_data_32);
    fill(&mut wanted.ledger, pending.ledger);
    fill(&mut wanted.code, pending.code);
    let void_of_all =
        wanted.flags.contains(TransferFlags::VOID_PENDING_TRANSFER) && wanted.amount == Amount(0);
    let post_of_all =
        wanted.flags.contains(TransferFlags::POST_PENDING_TRANSFER) && wanted.amount == Amount::ALL;
    if void_of_all || post_of_all {
        wanted.amount = pending.amount;
    }
}

/// What the calls under one id heard, in the order in which they began, against what is there.
fn check_id(id: TransferId, calls: &[&Call], stored: Option<&Stored>, violations: &mut Vec<Violation>) {
    use CreateTransferResult as R;
    let mut created = 0;
    for (index, call) in calls.iter().enumerate() {
        let Heard::Reply(reply) = call.heard else { continue };
        let used_before = |accept: fn(R) -> bool| {
            if call.may_have_repeated {
                return true;
            }
            let mut others = calls
                .iter()
                .enumerate()
                .filter(|(other, c)| *other != index && c.begun < call.ended);
            others.any(|(_, other)| match other.heard {
                Heard::Reply(reply) => accept(reply.result),
                Heard::Nothing => true,
                Heard::NotDone => false,
            })
        };
        if calls
            .iter()
            .any(|earlier| earlier.ended < call.begun && !agrees(earlier, reply.result))
        {
            violations.push(Violation::Forgotten(id, reply.result));
        }
        match reply.result {
            R::Created => {
                created += 1;
                check_acknowledged(id, &reply, stored, violations);
            }
            R::Exists => {
                if !used_before(|result| matches!(result, R::Created | R::Exists)) {
                    violations.push(Violation::NeverUsed(id, reply.result));
                }
                check_acknowledged(id, &reply, stored, violations);
            }
            R::IdAlreadyFailed if !used_before(|r| burns_id(r) || r == R::IdAlreadyFailed) => {
                violations.push(Violation::NeverUsed(id, reply.result));
            }
            // A chain that is repeated fails as a chain on its first event, which exists.
            R::LinkedEventFailed if used_before(|r| matches!(r, R::Created | R::Exists)) => {}
            refusal if stored.is_some() && (final_refusal(refusal) || index + 1 == calls.len()) => {
                violations.push(Violation::RefusedButApplied(id, refusal));
            }
            _ => {}
        }
    }
    if created > 1 {
        violations.push(Violation::Doubled(id));
    }
    let may_have_done = |call: &&Call| match call.heard {
        Heard::Reply(reply) => call.may_have_repeated || matches!(reply.result, R::Created | R::Exists),
        Heard::Nothing => true,
        Heard::NotDone => false,
    };
    if stored.is_some() && !calls.iter().any(may_have_done) {
        violations.push(Violation::DoneWithoutCause(id));
    }
}

/// Whether an answer can follow an earlier one under the same id, for the same transfer.
fn agrees(earlier: &Call, later: CreateTransferResult) -> bool {
    use CreateTransferResult as R;
    match earlier.heard.result() {
        // A chain that is repeated as a whole fails as a chain; its first event says that it exists.
        Some(R::Created | R::Exists) => later == R::Exists || later == R::LinkedEventFailed,
        Some(result) if final_refusal(result) => later == R::IdAlreadyFailed || later == R::LinkedEventFailed,
        _ => true,
    }
}

/// Whether nothing can be applied under the id after this answer.
fn final_refusal(result: CreateTransferResult) -> bool {
    burns_id(result) || result == CreateTransferResult::IdAlreadyFailed
}

fn check_acknowledged(
    id: TransferId,
    reply: &TransferReply,
    stored: Option<&Stored>,
    violations: &mut Vec<Violation>,
) {
    let Some(stored) = stored else {
        violations.push(Violation::Lost(id));
        return;
    };
    if stored.transfer.timestamp != reply.timestamp {
        let (told, there) = (reply.timestamp, stored.transfer.timestamp);
        violations.push(Violation::TimestampChanged { id, told, there });
    }
    let told = After {
        debit: reply.debit,
        credit: reply.credit,
    };
    let new = reply.result == CreateTransferResult::Created;
    if new && stored.after.is_some_and(|after| after != told) {
        violations.push(Violation::BalancesChanged(id));
    }
}

fn check_chains(calls: &[Call], stored: &HashMap<TransferId, Stored>, violations: &mut Vec<Violation>) {
    let mut there: HashMap<u64, bool> = HashMap::new();
    for call in calls {
        let Some(chain) = call.chain else { continue };
        let applied = stored.contains_key(&call.transfer.id);
        if *there.entry(chain).or_insert(applied) != applied {
            violations.push(Violation::ChainTorn(call.transfer.id));
        }
    }
}

/// What was answered before another was asked is stamped before it.
fn check_real_time(calls: &[Call], violations: &mut Vec<Violation>) {
    let created = |call: &&Call| call.heard.result() == Some(CreateTransferResult::Created);
    let stamp = |call: &Call| match call.heard {
        Heard::Reply(reply) => reply.timestamp,
        Heard::Nothing | Heard::NotDone => TimestampNs(0),
    };
    let mut by_begin: Vec<&Call> = calls.iter().filter(created).collect();
    let mut by_end = by_begin.clone();
    by_begin.sort_by_key(|call| call.begun);
    by_end.sort_by_key(|call| call.ended);
    let mut ended = by_end.into_iter().peekable();
    let mut latest: Option<&Call> = None;
    for call in by_begin {
        while let Some(other) = ended.next_if(|other| other.ended < call.begun) {
            if latest.is_none_or(|latest| stamp(other) > stamp(latest)) {
                latest = Some(other);
            }
        }
        if let Some(first) = latest.filter(|first| stamp(first) >= stamp(call)) {
            violations.push(Violation::RealTimeBroken {
                first: first.transfer.id,
                second: call.transfer.id,
            });
        }
    }
}
