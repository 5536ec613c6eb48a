//! Opening balances from CSV. Owns: the columns `account`, `currency`, `amount`, and that an account has one opening
//! balance a currency, for ever. `clearing:NAME` names a clearing account; a leading minus debits the account.

use crate::csv_in::{Table, decimal};
use crate::import::{Accounts, calls, describe_ledgers, same_count};
use crate::mapping::{Currency, MappedAccount, Mapping, Unmapped};
use crate::model::{Issue, Reason};
use crate::port::{LedgerPort, NewTransfer};
use crate::progress::{Progress, Stage};
use crate::report::{self, Outcome};
use crate::{AccountRef, PaymentsError, ids};
use ledger::{Amount, CreateTransferResult, Transfer, TransferId};
use std::collections::HashMap;

const COLUMNS: &[&str] = &["account", "currency", "amount"];

/// One opening balance and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpeningReport {
    /// Where it stands in the file.
    pub line: u64,
    /// As given.
    pub account: String,
    /// As given.
    pub currency: String,
    /// What became of it.
    pub outcome: Outcome,
}

struct Planned {
    row: usize,
    account: MappedAccount,
    opening: MappedAccount,
    new: NewTransfer,
}

/// Books opening balances; repeating it changes nothing, and a changed amount is refused.
///
/// # Errors
/// When the file cannot be read as a whole, or the ledger does not answer.
pub fn import_opening_balances(
    bytes: &[u8],
    mapping: &Mapping,
    port: &mut dyn LedgerPort,
    progress: &mut dyn FnMut(Progress),
) -> Result<Vec<OpeningReport>, PaymentsError> {
    let mut table = Table::open(bytes, mapping.csv_encoding(), COLUMNS, COLUMNS.len())?;
    let mut reports = Vec::new();
    let mut planned = Vec::new();
    let mut seen: HashMap<TransferId, u64> = HashMap::new();
    while let Some(row) = table.next()? {
        let text = |column| row.get(column).unwrap_or("").to_owned();
        let (line, account, currency) = (row.line, text("account"), text("currency"));
        let plan = match &row.wrong {
            Some(wrong) => Err((Reason::FileFormat, "", wrong.clone())),
            None => plan(mapping, &account, &currency, &text("amount"), reports.len()),
        };
        let plan = plan.and_then(|plan| match seen.insert(plan.new.transfer.id, line) {
            None => Ok(plan),
            Some(first) => Err((
                Reason::Duplicate,
                "account",
                format!("its opening balance is already at line {first}"),
            )),
        });
        let outcome = match plan {
            Ok(plan) => {
                planned.push(plan);
                Outcome::Pending
            }
            Err((reason, column, text)) => Outcome::Refused(vec![row.issue(column, reason, text)]),
        };
        reports.push(OpeningReport {
            line,
            account,
            currency,
            outcome,
        });
    }
    book(mapping, planned, &mut reports, port, progress)?;
    Ok(reports)
}

type Wrong = (Reason, &'static str, String);

fn plan(mapping: &Mapping, name: &str, code: &str, amount: &str, row: usize) -> Result<Planned, Wrong> {
    let unknown = || {
        (
            Reason::UnknownCurrency,
            "currency",
            format!("currency {code:?} is not known here"),
        )
    };
    let currency = mapping.currency(code).ok_or_else(unknown)?;
    let account = named_account(mapping, name, currency)?;
    let (negative, digits) = match amount.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, amount),
    };
    let minor = decimal(digits, mapping.csv_decimal_comma())
        .and_then(|amount| amount.to_minor(currency.scale))
        .map_err(|error| (Reason::InvalidAmount, "amount", format!("{amount:?} {error}")))?;
    if minor == Amount(0) {
        return Err((
            Reason::ZeroAmount,
            "amount",
            "is zero; leave the row out".to_owned(),
        ));
    }
    let opening = mapping.opening_account(currency);
    let (debit, credit) = if negative {
        (account.id(), opening.id())
    } else {
        (opening.id(), account.id())
    };
    let transfer = Transfer {
        id: ids::transfer_id(&["opening", &account.id().0.to_string()]),
        debit_account_id: debit,
        credit_account_id: credit,
        amount: minor,
        ledger: currency.ledger,
        code: mapping.opening_code(),
        ..Transfer::default()
    };
    let metadata = Some("{\"remittance\":\"opening balance\"}".to_owned());
    Ok(Planned {
        row,
        account,
        opening,
        new: NewTransfer { transfer, metadata },
    })
}

fn named_account(mapping: &Mapping, name: &str, currency: &Currency) -> Result<MappedAccount, Wrong> {
    let wrong = |text: String| (Reason::IncorrectAccountNumber, "account", text);
    let found = match name.strip_prefix("clearing:") {
        Some(clearing) => mapping.clearing_by_name(clearing, currency),
        None => {
            let account = AccountRef::parse(name).map_err(|error| wrong(format!("{name:?} {error}")))?;
            mapping.own_account(&account, None, currency)
        }
    };
    found.map_err(|error| match error {
        Unmapped::NoRule => wrong(format!("{name:?} is not an account of this bank")),
        Unmapped::Currency | Unmapped::Differs => wrong(format!("{name:?} is not held in {}", currency.code)),
    })
}

fn book(
    mapping: &Mapping,
    planned: Vec<Planned>,
    reports: &mut [OpeningReport],
    port: &mut dyn LedgerPort,
    progress: &mut dyn FnMut(Progress),
) -> Result<(), PaymentsError> {
    describe_ledgers(mapping, port, planned.iter().map(|plan| plan.new.transfer.ledger))?;
    let mut accounts = Accounts::default();
    accounts.create(
        port,
        planned.iter().flat_map(|plan| [&plan.account, &plan.opening]),
    )?;
    let total = planned.len() as u64;
    let mut done = 0;
    let mut settle = |row: usize, refusal: Option<(Reason, String)>, result: CreateTransferResult| {
        let report = &mut reports[row];
        report.outcome = match refusal {
            None if result == CreateTransferResult::Exists => Outcome::AlreadySettled,
            None => Outcome::Settled,
            Some((reason, text)) => Outcome::Refused(vec![Issue {
                line: report.line,
                path: String::new(),
                reason,
                text,
            }]),
        };
    };
    let mut ready = Vec::new();
    for plan in planned {
        match accounts
            .bars(&plan.account)
            .or_else(|| accounts.bars(&plan.opening))
        {
            Some(text) => {
                let refusal = Some((Reason::Narrative, text.to_owned()));
                settle(plan.row, refusal, CreateTransferResult::LinkedEventFailed);
            }
            None => ready.push(plan),
        }
    }
    for call in calls(&ready, |plan| plan.new.metadata.as_deref()) {
        let transfers: Vec<NewTransfer> = call.iter().map(|plan| plan.new.clone()).collect();
        let replies = port.create_transfers(&transfers)?;
        same_count("transfers", transfers.len(), replies.len())?;
        for (plan, reply) in call.iter().zip(&replies) {
            settle(plan.row, report::refusal(reply.result), reply.result);
        }
        done += call.len() as u64;
        progress(Progress {
            stage: Stage::Booking,
            done,
            total,
        });
    }
    Ok(())
}
