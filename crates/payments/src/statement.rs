//! Account statements. Owns: what a statement holds and that it adds up. Must not: hold a year of entries in memory;
//! they are read page by page and written as they come.
//!
//! The closing balance comes from the ledger, not from the entries: if both do not agree, the statement fails. It is
//! read first, and nothing after its last entry is looked at, so that what is booked meanwhile does no harm.

mod camt053;
mod plain;

use crate::money::format_minor;
use crate::port::{EntryRow, StatementPort};
use crate::progress::{Progress, Stage};
use crate::{AccountRef, PaymentsError};
use ledger::{AccountId, Balances, RowKind, TimestampNs, TransferFlags};
use std::collections::BTreeMap;
use std::io::Write;

/// In which form a statement is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatementFormat {
    /// camt.053.001.08.
    Camt053V08,
    /// camt.053.001.02, for older readers.
    Camt053V02,
    /// One line an entry.
    Csv,
    /// One object.
    Json,
}

/// Which statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatementRequest {
    /// The account.
    pub account: AccountId,
    /// What it is called outside; `None`: its id in the ledger.
    pub identification: Option<AccountRef>,
    /// Of its ledger.
    pub currency: String,
    /// Of its ledger.
    pub scale: u8,
    /// Of the holder.
    pub owner: Option<String>,
    /// Of the bank.
    pub servicer_bic: Option<String>,
    /// First moment, inclusive; at least 1.
    pub from: TimestampNs,
    /// Last moment, inclusive.
    pub to: TimestampNs,
    /// When the statement is made.
    pub created: TimestampNs,
    /// Its identification, at most 35 characters.
    pub statement_id: String,
    /// Whether amounts that are reserved at the end are listed.
    pub with_pending: bool,
}

/// Which way an entry goes, as the account's holder sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Money came.
    Credit,
    /// Money went.
    Debit,
}

/// What a statement had.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StatementSummary {
    /// Booked entries.
    pub entries: u64,
    /// Reserved ones that were listed.
    pub pending: u64,
}

/// A balance with its sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Net {
    pub(crate) direction: Direction,
    pub(crate) minor: u128,
}

pub(crate) fn net(balances: Balances) -> Net {
    let (credits, debits) = (balances.credits_posted.0, balances.debits_posted.0);
    if credits >= debits {
        Net {
            direction: Direction::Credit,
            minor: credits - debits,
        }
    } else {
        Net {
            direction: Direction::Debit,
            minor: debits - credits,
        }
    }
}

/// One line of a statement.
pub(crate) struct Entry<'a> {
    pub(crate) row: &'a EntryRow,
    pub(crate) direction: Direction,
    pub(crate) booked: bool,
    pub(crate) details: Details,
}

/// What the metadata of a transfer says, as far as a statement shows it.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(default)]
pub(crate) struct Details {
    pub(crate) creditor_account: Option<String>,
    pub(crate) creditor_name: Option<String>,
    pub(crate) debtor_account: Option<String>,
    pub(crate) debtor_name: Option<String>,
    pub(crate) end_to_end_id: Option<String>,
    pub(crate) instruction_id: Option<String>,
    pub(crate) message_id: Option<String>,
    pub(crate) payment_information_id: Option<String>,
    pub(crate) remittance: Option<String>,
    pub(crate) uetr: Option<String>,
}

/// The frame of a statement, known before its entries.
pub(crate) struct Frame<'a> {
    pub(crate) request: &'a StatementRequest,
    pub(crate) opening: Balances,
    pub(crate) closing: Balances,
    /// Of the last entry that the closing balance knows.
    pub(crate) until: TimestampNs,
}

impl Frame<'_> {
    pub(crate) fn amount(&self, minor: u128) -> String {
        format_minor(minor, self.request.scale)
    }

    /// Sum of the credits of the time between.
    pub(crate) fn credits(&self) -> u128 {
        self.closing
            .credits_posted
            .0
            .saturating_sub(self.opening.credits_posted.0)
    }

    /// Sum of the debits of the time between.
    pub(crate) fn debits(&self) -> u128 {
        self.closing
            .debits_posted
            .0
            .saturating_sub(self.opening.debits_posted.0)
    }
}

/// A form of statement: told the frame when made, then each entry in order, then the end.
pub(crate) trait Form {
    fn entry(&mut self, frame: &Frame<'_>, entry: &Entry<'_>) -> Result<(), PaymentsError>;
    fn finish(self: Box<Self>, frame: &Frame<'_>) -> Result<(), PaymentsError>;
}

/// Writes a statement. On an error part of it may have been written: write to a file of another name and rename it.
///
/// # Errors
/// When the account is not there, the ledger does not answer, writing fails, a form cannot hold the amounts, or the
/// entries do not lead from the opening to the closing balance.
pub fn write_statement(
    port: &mut dyn StatementPort,
    request: &StatementRequest,
    format: StatementFormat,
    out: &mut dyn Write,
    progress: &mut dyn FnMut(Progress),
) -> Result<StatementSummary, PaymentsError> {
    check(request, format)?;
    if port.account(request.account)?.is_none() {
        return Err(PaymentsError::Statement(format!(
            "account {} does not exist",
            request.account
        )));
    }
    let closing = port.balances_at(request.account, request.to)?;
    let before = closing.timestamp.min(TimestampNs(request.from.0 - 1));
    let opening = if before.0 == 0 {
        Balances::default()
    } else {
        port.balances_at(request.account, before)?.balances
    };
    let frame = Frame {
        request,
        opening,
        closing: closing.balances,
        until: closing.timestamp,
    };
    let mut form: Box<dyn Form + '_> = match format {
        StatementFormat::Camt053V08 => Box::new(camt053::Camt053::begin(out, &frame, 8)?),
        StatementFormat::Camt053V02 => Box::new(camt053::Camt053::begin(out, &frame, 2)?),
        StatementFormat::Csv => Box::new(plain::CsvForm::begin(out)?),
        StatementFormat::Json => Box::new(plain::JsonForm::begin(out, &frame)?),
    };
    let summary = write_entries(port, &frame, form.as_mut(), progress)?;
    form.finish(&frame)?;
    Ok(summary)
}

fn check(request: &StatementRequest, format: StatementFormat) -> Result<(), PaymentsError> {
    let wrong = |text: &str| Err(PaymentsError::Statement(text.to_owned()));
    if request.from.0 == 0 || request.from > request.to {
        return wrong("from must be at least 1 and not after to");
    }
    let camt = matches!(format, StatementFormat::Camt053V08 | StatementFormat::Camt053V02);
    if camt && request.scale > 5 {
        return wrong("camt.053 holds at most 5 decimals; use CSV or JSON for this ledger");
    }
    if camt && !(request.currency.len() == 3 && request.currency.bytes().all(|b| b.is_ascii_uppercase())) {
        return wrong("camt.053 needs a currency of three letters; use CSV or JSON for this ledger");
    }
    Ok(())
}

fn write_entries(
    port: &mut dyn StatementPort,
    frame: &Frame<'_>,
    form: &mut dyn Form,
    progress: &mut dyn FnMut(Progress),
) -> Result<StatementSummary, PaymentsError> {
    let request = frame.request;
    let mut summary = StatementSummary::default();
    let mut sums = Balances::default();
    let mut reserved: BTreeMap<u128, EntryRow> = BTreeMap::new();
    let mut after = None;
    let mut more = frame.until >= request.from;
    while more {
        let page = port.entries(request.account, request.from, frame.until, after)?;
        for row in &page.rows {
            if let Some(direction) = booked(request.account, row)? {
                add(&mut sums, direction, row)?;
                summary.entries += 1;
                let details = details(row);
                form.entry(
                    frame,
                    &Entry {
                        row,
                        direction,
                        booked: true,
                        details,
                    },
                )?;
            }
            if request.with_pending {
                track(&mut reserved, row);
            }
        }
        progress(Progress {
            stage: Stage::Writing,
            done: summary.entries,
            total: 0,
        });
        // A page that leads back would never end.
        if page.next.is_some() && page.next <= after {
            return Err(PaymentsError::Answer(
                "a page of entries that does not lead on".to_owned(),
            ));
        }
        after = page.next;
        more = after.is_some();
    }
    if sums.credits_posted.0 != frame.credits() || sums.debits_posted.0 != frame.debits() {
        let text = "the entries do not lead from the opening to the closing balance".to_owned();
        return Err(PaymentsError::Statement(text));
    }
    let mut rows: Vec<EntryRow> = reserved.into_values().collect();
    rows.sort_by_key(|row| row.number);
    for row in &rows {
        let direction = direction(request.account, row)?;
        summary.pending += 1;
        form.entry(
            frame,
            &Entry {
                row,
                direction,
                booked: false,
                details: details(row),
            },
        )?;
    }
    Ok(summary)
}

/// The direction of a row that moved posted money; `None` for reservations and their ends.
fn booked(account: AccountId, row: &EntryRow) -> Result<Option<Direction>, PaymentsError> {
    let not_posted = TransferFlags::PENDING | TransferFlags::VOID_PENDING_TRANSFER;
    if row.kind != RowKind::Applied || row.transfer.flags.intersects(not_posted) {
        return Ok(None);
    }
    direction(account, row).map(Some)
}

fn direction(account: AccountId, row: &EntryRow) -> Result<Direction, PaymentsError> {
    if row.transfer.credit_account_id == account {
        Ok(Direction::Credit)
    } else if row.transfer.debit_account_id == account {
        Ok(Direction::Debit)
    } else {
        Err(PaymentsError::Answer(format!(
            "an entry that is not of account {account}"
        )))
    }
}

fn add(sums: &mut Balances, direction: Direction, row: &EntryRow) -> Result<(), PaymentsError> {
    let side = match direction {
        Direction::Credit => &mut sums.credits_posted,
        Direction::Debit => &mut sums.debits_posted,
    };
    let sum = side.0.checked_add(row.transfer.amount.0);
    side.0 = sum.ok_or_else(|| PaymentsError::Answer("entries that add up beyond any balance".to_owned()))?;
    Ok(())
}

/// Keeps the reservations that nothing has ended yet.
fn track(reserved: &mut BTreeMap<u128, EntryRow>, row: &EntryRow) {
    if row.kind == RowKind::Applied && row.transfer.flags.contains(TransferFlags::PENDING) {
        reserved.insert(row.transfer.id.0, row.clone());
    } else if row.transfer.pending_id.0 != 0 {
        reserved.remove(&row.transfer.pending_id.0);
    }
}

/// Metadata of other writers may be of any form; then nothing of it is shown.
fn details(row: &EntryRow) -> Details {
    row.metadata
        .as_deref()
        .and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or_default()
}
