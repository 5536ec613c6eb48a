//! Answers from a view. Owns: what each question means in keys, numbers and verification of every hit.

use crate::hash::{KeyHasher, Tag};
use crate::postings::{AnyOf, Candidates, Postings};
use crate::run::Bounds;
use crate::view::{Of, Records, View};
use crate::{Filter, HistoryError, Matches, Order, StoredRow};
use ledger::{
    Account, AccountNumber, Balances, Resolution, Row, RowKind, RowNumber, TimestampNs, TransferFlags,
    TransferId,
};

/// The row that used an id, among the rows below `before`.
pub(crate) fn find_id(view: &View, id: TransferId, before: u64) -> Result<Option<StoredRow>, HistoryError> {
    let key = view.hasher.key(Tag::Id, id.0);
    let is_it = |row: &Row| row.transfer.id == id && row.kind != RowKind::Expired;
    find_unique(view, key, before, |ids, _| ids.contains(id.0), is_it)
}

/// The row that resolved a pending transfer, among the rows below `before`.
pub(crate) fn find_resolution(
    view: &View,
    pending: TransferId,
    before: u64,
) -> Result<Option<Resolution>, HistoryError> {
    let key = view.hasher.key(Tag::Resolution, pending.0);
    let is_it = |row: &Row| row.transfer.pending_id == pending && resolution_of(row).is_some();
    let in_bounds = |_: &Bounds, pendings: &Bounds| pendings.contains(pending.0);
    let found = find_unique(view, key, before, in_bounds, is_it)?;
    Ok(found.and_then(|stored| resolution_of(&stored.row)))
}

fn resolution_of(row: &Row) -> Option<Resolution> {
    let flags = row.transfer.flags;
    match row.kind {
        RowKind::Expired => Some(Resolution::Expired),
        RowKind::Applied if flags.contains(TransferFlags::POST_PENDING_TRANSFER) => Some(Resolution::Posted),
        RowKind::Applied if flags.contains(TransferFlags::VOID_PENDING_TRANSFER) => Some(Resolution::Voided),
        RowKind::Applied | RowKind::Burnt => None,
    }
}

/// Called for every new transfer: what is not there costs a cache line of each cover, and of each run older than these.
#[inline]
fn find_unique(
    view: &View,
    key: u64,
    before: u64,
    in_bounds: impl Fn(&Bounds, &Bounds) -> bool,
    is_it: impl Fn(&Row) -> bool,
) -> Result<Option<StoredRow>, HistoryError> {
    let before = before.min(view.end(Of::Rows));
    let check = |number: u64| -> Result<Option<StoredRow>, HistoryError> {
        if number >= before {
            return Ok(None);
        }
        let (row, blob) = Records::new(view, Of::Rows).row(number)?;
        if !is_it(&row) {
            return Ok(None);
        }
        let metadata = blob.map(|blob| view.blob(blob)).transpose()?;
        Ok(Some(StoredRow {
            number: RowNumber(number),
            row,
            metadata,
        }))
    };
    // All of them, whatever the first ones say, so that their cache lines are fetched side by side.
    let covered = view.covers.iter().fold(false, |covered, cover| {
        covered | cover.may_contain(key, &in_bounds)
    });
    let searched = match covered {
        true => before,
        false => before.min(view.covers.first().map_or(u64::MAX, |oldest| oldest.first)),
    };
    for memory in view
        .memories
        .iter()
        .rev()
        .filter(|memory| memory.rows.first < searched)
    {
        if let Some(found) = memory.rows.find_unique(key, check)? {
            return Ok(Some(found));
        }
    }
    for run in view.durable.row_runs.iter().rev() {
        if run.meta.first < searched
            && in_bounds(&run.meta.ids, &run.meta.pendings)
            && run.may_contain(key)
            && let Some(found) = run.find(key, check)?
        {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// Whether a row of a transfer or an expiry below `before` has exactly this time.
pub(crate) fn has_time(view: &View, time: TimestampNs, before: u64) -> Result<bool, HistoryError> {
    let mut rows = Records::new(view, Of::Rows);
    let first = view.count_before(Of::Rows, time, false)?;
    for number in first..before.min(view.end(Of::Rows)) {
        let (row, _) = rows.row(number)?;
        if row.transfer.timestamp != time {
            break;
        }
        if row.kind != RowKind::Burnt {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Rows of kind applied and expired that match.
pub(crate) fn query_rows(view: &View, filter: &Filter) -> Result<Matches<StoredRow>, HistoryError> {
    filter.validate()?;
    let mut groups = common_groups(view, Of::Rows, filter);
    if let Some(side) = filter.account {
        groups.insert(
            0,
            account_group(view, side.account, side.debits, side.credits, filter.order),
        );
    }
    let (low, high) = range(view, Of::Rows, filter)?;
    let mut candidates = Candidates::new(groups, filter.order, low, high);
    let mut rows = Records::new(view, Of::Rows);
    let mut items = Vec::new();
    while let Some(number) = candidates.next()? {
        let (row, blob) = rows.row(number)?;
        if !row_matches(&row, filter) {
            continue;
        }
        if items.len() == filter.limit as usize {
            return Ok(Matches { items, more: true });
        }
        let metadata = blob.map(|blob| view.blob(blob)).transpose()?;
        items.push(StoredRow {
            number: RowNumber(number),
            row,
            metadata,
        });
    }
    Ok(Matches { items, more: false })
}

/// Numbers of the accounts that match.
pub(crate) fn query_accounts(view: &View, filter: &Filter) -> Result<Matches<AccountNumber>, HistoryError> {
    filter.validate()?;
    let groups = common_groups(view, Of::Accounts, filter);
    let (low, high) = range(view, Of::Accounts, filter)?;
    let mut candidates = Candidates::new(groups, filter.order, low, high);
    let mut accounts = Records::new(view, Of::Accounts);
    let mut items = Vec::new();
    while let Some(number) = candidates.next()? {
        let (account, _) = accounts.account(number)?;
        if !account_matches(&account, filter) {
            continue;
        }
        if items.len() == filter.limit as usize {
            return Ok(Matches { items, more: true });
        }
        items.push(AccountNumber(
            u32::try_from(number).expect("account numbers have 32 bits"),
        ));
    }
    Ok(Matches { items, more: false })
}

/// The last entry of an account at or before a time.
pub(crate) fn balance_at(
    view: &View,
    account: AccountNumber,
    at: TimestampNs,
) -> Result<Option<(RowNumber, TimestampNs, Balances)>, HistoryError> {
    let high = view.count_before(Of::Rows, at, true)?;
    let group = account_group(view, account, true, true, Order::NewestFirst);
    let mut candidates = Candidates::new(vec![group], Order::NewestFirst, 0, high);
    let mut rows = Records::new(view, Of::Rows);
    while let Some(number) = candidates.next()? {
        let (row, _) = rows.row(number)?;
        let balances = if row.debit == account {
            row.debit_balances
        } else if row.credit == account {
            row.credit_balances
        } else {
            continue;
        };
        if row.kind != RowKind::Burnt {
            return Ok(Some((RowNumber(number), row.transfer.timestamp, balances)));
        }
    }
    Ok(None)
}

fn account_group(
    view: &View,
    account: AccountNumber,
    debits: bool,
    credits: bool,
    order: Order,
) -> AnyOf<'_> {
    let postings = |tag| Postings::new(view, Of::Rows, view.hasher.key(tag, u128::from(account.0)), order);
    let sides = [(debits, Tag::Debit), (credits, Tag::Credit)];
    AnyOf(
        sides
            .into_iter()
            .filter(|(wanted, _)| *wanted)
            .map(|(_, tag)| postings(tag))
            .collect(),
    )
}

/// The rarest kinds of keys first: they decide how far the others must be read.
fn common_groups<'v>(view: &'v View, of: Of, filter: &Filter) -> Vec<AnyOf<'v>> {
    let keys = filter_keys(view.hasher, filter);
    keys.map(|key| AnyOf(vec![Postings::new(view, of, key, filter.order)]))
        .collect()
}

fn filter_keys(hasher: KeyHasher, filter: &Filter) -> impl Iterator<Item = u64> {
    let values = [
        (Tag::UserData128, filter.user_data_128),
        (Tag::UserData64, u128::from(filter.user_data_64)),
        (Tag::UserData32, u128::from(filter.user_data_32)),
        (Tag::Code, u128::from(filter.code.0)),
        (Tag::Ledger, u128::from(filter.ledger.0)),
    ];
    values
        .into_iter()
        .filter(|(_, value)| *value != 0)
        .map(move |(tag, value)| hasher.key(tag, value))
}

fn range(view: &View, of: Of, filter: &Filter) -> Result<(u64, u64), HistoryError> {
    let mut low = view.count_before(of, filter.timestamp_min, false)?;
    let mut high = view.end(of);
    if filter.timestamp_max.0 != 0 {
        high = high.min(view.count_before(of, filter.timestamp_max, true)?);
    }
    if let Some(after) = filter.after {
        match filter.order {
            Order::NewestFirst => high = high.min(after.0),
            Order::OldestFirst => low = low.max(after.0.saturating_add(1)),
        }
    }
    Ok((low, high))
}

fn row_matches(row: &Row, filter: &Filter) -> bool {
    let transfer = &row.transfer;
    let side_matches = filter.account.is_none_or(|side| {
        (side.debits && row.debit == side.account) || (side.credits && row.credit == side.account)
    });
    row.kind != RowKind::Burnt
        && side_matches
        && (filter.user_data_128 == 0 || filter.user_data_128 == transfer.user_data_128)
        && (filter.user_data_64 == 0 || filter.user_data_64 == transfer.user_data_64)
        && (filter.user_data_32 == 0 || filter.user_data_32 == transfer.user_data_32)
        && (filter.ledger.0 == 0 || filter.ledger == transfer.ledger)
        && (filter.code.0 == 0 || filter.code == transfer.code)
}

fn account_matches(account: &Account, filter: &Filter) -> bool {
    (filter.user_data_128 == 0 || filter.user_data_128 == account.user_data_128)
        && (filter.user_data_64 == 0 || filter.user_data_64 == account.user_data_64)
        && (filter.user_data_32 == 0 || filter.user_data_32 == account.user_data_32)
        && (filter.ledger.0 == 0 || filter.ledger == account.ledger)
        && (filter.code.0 == 0 || filter.code == account.code)
}
