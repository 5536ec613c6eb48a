//! What must be true of a node that has just come back. Owns: the comparison of journal, ledger and index with the
//! truth, as a whole.

use crate::truth::Truth;
use crate::{Broken, ensure};
use history::{Filter, HistoryError, Order, Reader};
use journal::{Head, ShardId};
use ledger::{AccountNumber, Ledger, RowKind, TransferId};
use node::Layout;
use std::collections::BTreeSet;
use std::ops::ControlFlow;
use storage::{KeyRing, Storage};

/// Walks the journal: every block that was acknowledged must be there as it was; at most `extra` blocks that were under
/// way may have landed, and are taken in. Gives the problems that the walk found.
pub fn check_journal(
    truth: &mut Truth,
    storage: &dyn Storage,
    layout: &Layout,
    keys: &KeyRing,
    head: Head,
    extra: u64,
) -> Result<Vec<String>, Broken> {
    let mut problems = Vec::new();
    let mut found = Vec::new();
    let summary = journal::walk(storage, &layout.journal, keys, ShardId(0), &mut |report| {
        if let Some(problem) = report.problem {
            problems.push(problem.to_string());
        } else if let Some(block) = report.block {
            found.push(block.clone());
        }
        ControlFlow::Continue(())
    });
    let summary = summary.map_err(|error| Broken(format!("the journal cannot be walked: {error}")))?;
    ensure!(
        summary.problems == problems.len() as u64,
        "the walk counts {} problems and tells of {}",
        summary.problems,
        problems.len()
    );
    ensure!(
        head.height >= truth.head(),
        "acknowledged block {} is lost: the journal ends at {}",
        truth.head(),
        head.height
    );
    ensure!(
        head.height.0 <= truth.head().0 + extra,
        "the journal ends at {}, but only {} and {extra} under way were written",
        head.height,
        truth.head()
    );
    if problems.is_empty() {
        ensure!(
            summary.head == head && found.len() as u64 == head.height.0,
            "the walk ends at {:?}, the node at {head:?}",
            summary.head
        );
    }
    for block in found.iter().filter(|block| block.height <= truth.head()) {
        ensure!(
            truth.known(block.height).hash == block.hash.0,
            "block {} is another one than was acknowledged",
            block.height
        );
    }
    for block in found {
        if block.height.0 == truth.head().0 + 1 {
            truth.adopt(&block)?;
        }
    }
    ensure!(
        truth.head() == head.height && truth.known(head.height).hash == head.hash.0,
        "the node goes on from {head:?}, the truth ends at {}",
        truth.head()
    );
    Ok(problems)
}

/// The ledger must be what the model is.
pub fn check_ledger(truth: &Truth, ledger: &Ledger) -> Result<(), Broken> {
    let model = &truth.model;
    let violations = ledger.check_invariants();
    ensure!(violations.is_empty(), "invariants are broken: {violations:?}");
    ensure!(
        (
            ledger.rows().0,
            ledger.accounts_len() as usize,
            ledger.last_timestamp()
        ) == (model.rows, truth.accounts.len(), model.last_timestamp),
        "the ledger has {} rows, {} accounts and stands at {}; the model {}, {} and {}",
        ledger.rows(),
        ledger.accounts_len(),
        ledger.last_timestamp(),
        model.rows,
        truth.accounts.len(),
        model.last_timestamp
    );
    for (number, page) in truth.accounts.iter().enumerate() {
        let number = AccountNumber(number as u32);
        let expected = truth.number_at(number, truth.now());
        ensure!(
            Some(*ledger.account_at(number)) == expected,
            "account {}: {:?} stands, {expected:?} is right",
            page.id,
            ledger.account_at(number)
        );
        ensure!(
            ledger.account(page.id).map(|(number, _)| number) == Some(number)
                && ledger.account_has_metadata(number) == page.metadata.is_some(),
            "account {} has another number or lost its metadata",
            page.id
        );
    }
    ensure!(
        ledger.open_pendings() == model.open.len() && ledger.next_expiry() == model.next_expiry(),
        "{} holds are open, the next due {:?}; the model says {}, {:?}",
        ledger.open_pendings(),
        ledger.next_expiry(),
        model.open.len(),
        model.next_expiry()
    );
    for id in &model.open {
        ensure!(
            ledger.open_pending(*id) == Some(&model.transfers[id].transfer),
            "hold {id} is {:?}",
            ledger.open_pending(*id)
        );
    }
    ensure!(
        ledger.descriptions().eq(model.descriptions.values()),
        "descriptions of ledgers differ"
    );
    Ok(())
}

/// The index must hold every row and account, up to the last block. Where its files were `damaged` it may say that
/// it cannot be read; it must not say anything else.
pub fn check_index(truth: &Truth, reader: &Reader, damaged: bool) -> Result<(), Broken> {
    let position = reader.published();
    let known = truth.known(truth.head());
    ensure!(
        (
            position.height,
            position.hash,
            position.rows.0,
            position.accounts.0
        ) == (truth.head(), known.hash, known.rows, known.accounts),
        "the index stands at {position:?}, the truth at {} {known:?}",
        truth.head()
    );
    let checked = check_rows(truth, reader)
        .and_then(|()| check_metadata(truth, reader))
        .and_then(|()| check_ids(truth, reader));
    match checked {
        Ok(()) => Ok(()),
        Err(Unlike::Read(_)) if damaged => Ok(()),
        Err(Unlike::Read(error)) => Err(Broken(format!("the index cannot be read: {error}"))),
        Err(Unlike::Right(broken)) => Err(broken),
    }
}

/// Why the index is not as it must be.
enum Unlike {
    Read(HistoryError),
    Right(Broken),
}

impl From<HistoryError> for Unlike {
    fn from(error: HistoryError) -> Self {
        Self::Read(error)
    }
}

impl From<Broken> for Unlike {
    fn from(broken: Broken) -> Self {
        Self::Right(broken)
    }
}

fn check_rows(truth: &Truth, reader: &Reader) -> Result<(), Unlike> {
    let mut filter = Filter {
        limit: 97,
        order: Order::OldestFirst,
        ..Filter::default()
    };
    let mut expected = expected_rows(truth);
    loop {
        let page = reader.query_transfers(&filter)?;
        for stored in &page.items {
            let next = expected.next();
            let matches = next.is_some_and(|(number, (row, metadata))| {
                number as u64 == stored.number.0 && *row == stored.row && *metadata == stored.metadata
            });
            same(matches, || {
                format!("the index holds {stored:?}, right is {next:?}")
            })?;
        }
        match page.items.last().filter(|_| page.more) {
            Some(last) => filter.after = Some(last.number),
            None => break,
        }
    }
    same(expected.next().is_none(), || {
        "rows are missing at the index's end".to_owned()
    })
}

fn check_metadata(truth: &Truth, reader: &Reader) -> Result<(), Unlike> {
    for (number, page) in truth.accounts.iter().enumerate() {
        let metadata = reader.account_metadata(AccountNumber(number as u32))?;
        same(metadata == page.metadata, || {
            format!("metadata of account {} differs", page.id)
        })?;
    }
    Ok(())
}

fn check_ids(truth: &Truth, reader: &Reader) -> Result<(), Unlike> {
    let ids: Vec<TransferId> = truth.rows.iter().map(|(row, _)| row.transfer.id).collect();
    for (id, found) in ids.iter().zip(reader.transfers(&ids)?) {
        let expected = truth.model.transfers.get(id).map(|stored| stored.transfer);
        same(
            found.as_ref().map(|stored| stored.row.transfer) == expected,
            || format!("transfer {id} is found as {found:?}, right is {expected:?}"),
        )?;
    }
    Ok(())
}

fn same(right: bool, what: impl FnOnce() -> String) -> Result<(), Unlike> {
    if right { Ok(()) } else { Err(Broken(what()).into()) }
}

type NumberedRow<'a> = (usize, &'a (ledger::Row, Option<ledger::Sealed>));

fn expected_rows(truth: &Truth) -> impl Iterator<Item = NumberedRow<'_>> {
    truth
        .rows
        .iter()
        .enumerate()
        .filter(|(_, (row, _))| row.kind != RowKind::Burnt)
}

/// Whatever was acknowledged is in the truth, which is now what the journal holds.
pub fn check_acknowledged(truth: &Truth, acknowledged: &BTreeSet<u128>) -> Result<(), Broken> {
    let lost = acknowledged
        .iter()
        .find(|request| !truth.applied.contains_key(request));
    ensure!(lost.is_none(), "request {lost:?} was acknowledged and is lost");
    Ok(())
}
