//! `PmtInf` and `CdtTrfTxInf`: a debtor's payments (pure).

use super::{Claims, account, agent, declared, id_into, issue, party};
use crate::PaymentsError;
use crate::model::{Batch, Issue, Payment, Reason};
use crate::money::Decimal;
use crate::xml::Cursor;
use jiff::civil::Date;

/// What a `PmtInf` has at most once, as far as it is read.
const BATCH_ONCE: &[&str] = &[
    "PmtInfId",
    "PmtMtd",
    "NbOfTxs",
    "CtrlSum",
    "PmtTpInf",
    "ReqdExctnDt",
    "Dbtr",
    "DbtrAcct",
    "DbtrAgt",
];

/// What a `CdtTrfTxInf` has at most once, as far as it is read.
const PAYMENT_ONCE: &[&str] = &[
    "PmtId", "PmtTpInf", "Amt", "CdtrAgt", "Cdtr", "CdtrAcct", "Purp", "RmtInf",
];

/// After how many payments progress is told.
const PROGRESS_EVERY: usize = 1_000;

pub(super) fn batch(
    cur: &mut Cursor<'_>,
    number: usize,
    at: &mut dyn FnMut(u64),
) -> Result<Batch, PaymentsError> {
    let mut batch = Batch {
        line: cur.line(),
        ..Batch::default()
    };
    let (mut id, mut method) = (None, None);
    let mut claims = Claims::default();
    cur.children_once(BATCH_ONCE, |cur, tag| {
        match tag.name() {
            "PmtInfId" => id_into(cur, &mut id)?,
            "PmtMtd" => cur.text_into(&mut method)?,
            "NbOfTxs" => claims.count(cur)?,
            "CtrlSum" => claims.sum(cur)?,
            "PmtTpInf" => batch.category_purpose = category_purpose(cur)?,
            "ReqdExctnDt" => batch.execution_date = execution_date(cur, &mut batch.issues)?,
            "Dbtr" => batch.debtor = party(cur)?,
            "DbtrAcct" => {
                batch.debtor_account = account(cur, Reason::InvalidDebtorAccount, &mut batch.issues)?;
            }
            "DbtrAgt" => batch.debtor_agent = agent(cur, Reason::DebtorAgent, &mut batch.issues)?,
            "CdtTrfTxInf" => {
                let number = batch.payments.len() + 1;
                cur.number(number);
                batch.payments.push(payment(cur, number)?);
                if batch.payments.len() % PROGRESS_EVERY == 1 {
                    at(cur.position());
                }
            }
            _ => {}
        }
        Ok(())
    })?;
    // The element is closed by now, so the path no longer has it.
    let here = format!("PmtInf[{number}]");
    batch.declared = declared(cur, &here, claims, &mut batch.issues);
    batch.id = id.ok_or_else(|| {
        cur.content_in(
            &here,
            "PmtInfId is missing: payments cannot be told apart without it",
        )
    })?;
    if let Some(method) = method
        && !matches!(method.as_str(), "TRF" | "TRA")
    {
        let text = format!("payment method {method:?}: only transfers (TRF, TRA) are booked");
        let problem = issue(cur, &format!("{here}/PmtMtd"), Reason::NotSupported, text);
        batch.issues.push(problem);
    }
    if batch.payments.is_empty() {
        return Err(cur.content_in(&here, "CdtTrfTxInf is missing: there is nothing to pay"));
    }
    Ok(batch)
}

fn category_purpose(cur: &mut Cursor<'_>) -> Result<Option<String>, PaymentsError> {
    let mut purpose = None;
    cur.children_once(&["CtgyPurp"], |cur, tag| match tag.name() {
        "CtgyPurp" => cur.children_once(&["Cd", "Prtry"], |cur, tag| match tag.name() {
            "Cd" | "Prtry" => cur.text_into(&mut purpose),
            _ => Ok(()),
        }),
        _ => Ok(()),
    })?;
    Ok(purpose)
}

/// A plain date in older versions, a choice of `Dt` and `DtTm` from 08 on.
fn execution_date(cur: &mut Cursor<'_>, issues: &mut Vec<Issue>) -> Result<Option<Date>, PaymentsError> {
    let line = cur.line();
    let path = cur.path().to_owned();
    let text = cur.text_or_child(&["Dt", "DtTm"])?;
    if text.is_empty() {
        return Ok(None);
    }
    let date = text.get(..10).and_then(|day| day.parse::<Date>().ok());
    let rest_is_fine = text
        .get(10..)
        .is_some_and(|rest| matches!(rest.chars().next(), None | Some('T' | 'Z' | '+' | '-')));
    match date {
        Some(date) if rest_is_fine => Ok(Some(date)),
        _ => {
            let text = format!("{text:?} is no date");
            issues.push(Issue {
                line,
                path,
                reason: Reason::InvalidDate,
                text,
            });
            Ok(None)
        }
    }
}

fn payment(cur: &mut Cursor<'_>, number: usize) -> Result<Payment, PaymentsError> {
    let mut payment = Payment {
        line: cur.line(),
        ..Payment::default()
    };
    let mut has_amount = false;
    let mut category = None;
    cur.children_once(PAYMENT_ONCE, |cur, tag| {
        match tag.name() {
            "PmtId" => {
                cur.children_once(&["InstrId", "EndToEndId", "UETR"], |cur, tag| match tag.name() {
                    "InstrId" => id_into(cur, &mut payment.instruction_id),
                    "EndToEndId" => id_into(cur, &mut payment.end_to_end_id),
                    "UETR" => cur.text_into(&mut payment.uetr),
                    _ => Ok(()),
                })?
            }
            "PmtTpInf" => category = category_purpose(cur)?,
            "Amt" => {
                has_amount = true;
                amount(cur, &mut payment)?;
            }
            "CdtrAgt" => payment.creditor_agent = agent(cur, Reason::CreditorAgent, &mut payment.issues)?,
            "Cdtr" => payment.creditor = party(cur)?,
            "CdtrAcct" => {
                payment.creditor_account = account(cur, Reason::InvalidCreditorAccount, &mut payment.issues)?;
            }
            "Purp" => cur.children_once(&["Cd", "Prtry"], |cur, tag| match tag.name() {
                "Cd" | "Prtry" => cur.text_into(&mut payment.purpose),
                _ => Ok(()),
            })?,
            "RmtInf" => remittance(cur, &mut payment.remittance)?,
            _ => {}
        }
        Ok(())
    })?;
    if !has_amount {
        let problem = issue(
            cur,
            &format!("CdtTrfTxInf[{number}]/Amt"),
            Reason::InvalidAmount,
            "is missing".to_owned(),
        );
        payment.issues.push(problem);
    }
    if payment.purpose.is_none() {
        payment.purpose = category;
    }
    Ok(payment)
}

fn amount(cur: &mut Cursor<'_>, payment: &mut Payment) -> Result<(), PaymentsError> {
    let mut given = None;
    cur.children_once(&["InstdAmt", "EqvtAmt"], |cur, tag| match tag.name() {
        "InstdAmt" => {
            payment.currency = tag.attribute("Ccy").filter(|ccy| !ccy.is_empty());
            cur.text_into(&mut given)
        }
        "EqvtAmt" => {
            let text = "equivalent amounts need an exchange of currencies, which is not done here";
            let problem = issue(cur, "", Reason::NotSupported, text.to_owned());
            payment.issues.push(problem);
            cur.children_once(&["Amt"], |cur, tag| match tag.name() {
                "Amt" => {
                    payment.currency = tag.attribute("Ccy");
                    cur.text_into(&mut given)
                }
                _ => Ok(()),
            })
        }
        _ => Ok(()),
    })?;
    let mut refuse = |reason, text| {
        let problem = issue(cur, "Amt/InstdAmt", reason, text);
        payment.issues.push(problem);
    };
    match given.as_deref().map(Decimal::parse) {
        None => refuse(Reason::InvalidAmount, "is missing".to_owned()),
        Some(Err(error)) => {
            let text = given.unwrap_or_default();
            refuse(Reason::InvalidAmount, format!("{text:?} {error}"));
        }
        Some(Ok(amount)) => payment.amount = Some(amount),
    }
    if payment.currency.is_none() {
        let text = "InstdAmt has no currency (attribute Ccy)".to_owned();
        let problem = issue(cur, "Amt/InstdAmt", Reason::UnknownCurrency, text);
        payment.issues.push(problem);
    }
    Ok(())
}

/// Unstructured lines, and the references of structured ones.
fn remittance(cur: &mut Cursor<'_>, lines: &mut Vec<String>) -> Result<(), PaymentsError> {
    let mut add = |text: String| {
        if !text.is_empty() {
            lines.push(text);
        }
    };
    cur.children(|cur, tag| match tag.name() {
        "Ustrd" => {
            add(cur.text()?);
            Ok(())
        }
        "Strd" => cur.children(|cur, tag| match tag.name() {
            "CdtrRefInf" => cur.children(|cur, tag| match tag.name() {
                "Ref" => {
                    add(cur.text()?);
                    Ok(())
                }
                _ => Ok(()),
            }),
            "RfrdDocInf" => cur.children(|cur, tag| match tag.name() {
                "Nb" => {
                    add(cur.text()?);
                    Ok(())
                }
                _ => Ok(()),
            }),
            "AddtlRmtInf" => {
                add(cur.text()?);
                Ok(())
            }
            _ => Ok(()),
        }),
        _ => Ok(()),
    })
}
