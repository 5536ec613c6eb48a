//! Statements as CSV and JSON. Owns: the columns and keys, described in `docs/payments.md`.

use super::{Direction, Entry, Form, Frame, net};
use crate::PaymentsError;
use jiff::Timestamp;
use ledger::{Balances, TimestampNs};
use std::io::Write;

/// One line an entry, with the balance after it.
pub(super) struct CsvForm<'w> {
    out: csv::Writer<&'w mut dyn Write>,
    running: Option<Balances>,
}

const COLUMNS: &[&str] = &[
    "timestamp",
    "status",
    "direction",
    "amount",
    "currency",
    "balance",
    "transfer_id",
    "code",
    "end_to_end_id",
    "other_name",
    "other_account",
    "remittance",
];

impl<'w> CsvForm<'w> {
    pub(super) fn begin(out: &'w mut dyn Write) -> Result<Self, PaymentsError> {
        let mut out = csv::Writer::from_writer(out);
        out.write_record(COLUMNS).map_err(write_error)?;
        Ok(Self { out, running: None })
    }
}

impl Form for CsvForm<'_> {
    fn entry(&mut self, frame: &Frame<'_>, entry: &Entry<'_>) -> Result<(), PaymentsError> {
        let transfer = &entry.row.transfer;
        let running = self.running.get_or_insert(frame.opening);
        if entry.booked {
            let side = match entry.direction {
                Direction::Credit => &mut running.credits_posted,
                Direction::Debit => &mut running.debits_posted,
            };
            side.0 = side.0.saturating_add(transfer.amount.0);
        }
        let (name, account) = other(entry);
        self.out
            .write_record([
                time(transfer.timestamp).as_str(),
                status(entry),
                side(entry.direction),
                &frame.amount(transfer.amount.0),
                &frame.request.currency,
                &signed(frame, *running),
                &transfer.id.to_string(),
                &transfer.code.to_string(),
                &defused(entry.details.end_to_end_id.as_deref().unwrap_or("")),
                &defused(name.unwrap_or("")),
                &defused(account.unwrap_or("")),
                &defused(
                    &entry
                        .details
                        .remittance
                        .as_deref()
                        .unwrap_or("")
                        .replace('\n', " "),
                ),
            ])
            .map_err(write_error)
    }

    fn finish(mut self: Box<Self>, _: &Frame<'_>) -> Result<(), PaymentsError> {
        self.out.flush()?;
        Ok(())
    }
}

/// Spreadsheets run text that begins like a formula; what payers write must not.
fn defused(text: &str) -> String {
    if text.starts_with(['=', '+', '-', '@', '\t', '\r']) {
        format!("'{text}")
    } else {
        text.to_owned()
    }
}

/// One object; entries are written as they come.
pub(super) struct JsonForm<'w> {
    out: &'w mut dyn Write,
    first: bool,
}

impl<'w> JsonForm<'w> {
    pub(super) fn begin(out: &'w mut dyn Write, frame: &Frame<'_>) -> Result<Self, PaymentsError> {
        let request = frame.request;
        let head = serde_json::json!({
            "account_id": request.account.to_string(),
            "account": request.identification.as_ref().map(ToString::to_string),
            "owner": request.owner,
            "currency": request.currency,
            "scale": request.scale,
            "from": time(request.from),
            "to": time(request.to),
            "created": time(request.created),
            "opening_balance": signed(frame, frame.opening),
            "closing_balance": signed(frame, frame.closing),
            "total_credits": frame.amount(frame.credits()),
            "total_debits": frame.amount(frame.debits()),
        })
        .to_string();
        // The head's closing brace gives way to the entries.
        out.write_all(&head.as_bytes()[..head.len() - 1])?;
        out.write_all(b",\"entries\":[")?;
        Ok(Self { out, first: true })
    }
}

impl Form for JsonForm<'_> {
    fn entry(&mut self, frame: &Frame<'_>, entry: &Entry<'_>) -> Result<(), PaymentsError> {
        let transfer = &entry.row.transfer;
        let (name, account) = other(entry);
        let line = serde_json::json!({
            "timestamp": time(transfer.timestamp),
            "status": status(entry),
            "direction": side(entry.direction),
            "amount": frame.amount(transfer.amount.0),
            "transfer_id": transfer.id.to_string(),
            "code": transfer.code.0,
            "end_to_end_id": entry.details.end_to_end_id,
            "other_name": name,
            "other_account": account,
            "remittance": entry.details.remittance,
        });
        if !self.first {
            self.out.write_all(b",")?;
        }
        self.first = false;
        writeln!(self.out)?;
        self.out.write_all(line.to_string().as_bytes())?;
        Ok(())
    }

    fn finish(self: Box<Self>, _: &Frame<'_>) -> Result<(), PaymentsError> {
        self.out.write_all(b"\n]}\n")?;
        self.out.flush()?;
        Ok(())
    }
}

/// Who is on the other side.
fn other<'a>(entry: &'a Entry<'_>) -> (Option<&'a str>, Option<&'a str>) {
    let details = &entry.details;
    match entry.direction {
        Direction::Credit => (details.debtor_name.as_deref(), details.debtor_account.as_deref()),
        Direction::Debit => (
            details.creditor_name.as_deref(),
            details.creditor_account.as_deref(),
        ),
    }
}

fn status(entry: &Entry<'_>) -> &'static str {
    if entry.booked { "booked" } else { "pending" }
}

fn side(direction: Direction) -> &'static str {
    match direction {
        Direction::Credit => "credit",
        Direction::Debit => "debit",
    }
}

/// A balance as a decimal, negative when overdrawn.
fn signed(frame: &Frame<'_>, balances: Balances) -> String {
    let net = net(balances);
    let sign = if net.direction == Direction::Debit {
        "-"
    } else {
        ""
    };
    format!("{sign}{}", frame.amount(net.minor))
}

/// RFC 3339 with all nine digits, so that it can be asked for again exactly.
fn time(at: TimestampNs) -> String {
    format!(
        "{:.9}",
        Timestamp::from_nanosecond(i128::from(at.0)).unwrap_or(Timestamp::MAX)
    )
}

fn write_error(error: csv::Error) -> PaymentsError {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => PaymentsError::Write(error),
        other => PaymentsError::Write(std::io::Error::other(format!("{other:?}"))),
    }
}
