//! `camt.053.001.08` and `.02`. Owns: the message's structure.

use super::{Direction, Entry, Form, Frame, net};
use crate::pain002::{base36, date, date_time, fits};
use crate::xml_out::{XmlWriter, clip};
use crate::{AccountRef, PaymentsError};
use ledger::{Balances, TimestampNs};
use std::io::{self, Write};

pub(super) struct Camt053<'w> {
    xml: XmlWriter<&'w mut dyn Write>,
    version: u8,
}

impl<'w> Camt053<'w> {
    pub(super) fn begin(
        out: &'w mut dyn Write,
        frame: &Frame<'_>,
        version: u8,
    ) -> Result<Self, PaymentsError> {
        let request = frame.request;
        let namespace = format!("urn:iso:std:iso:20022:tech:xsd:camt.053.001.{version:02}");
        let mut xml = XmlWriter::document(out, &namespace)?;
        xml.open("BkToCstmrStmt")?;
        xml.open("GrpHdr")?;
        xml.leaf("MsgId", clip(&request.statement_id, 35))?;
        xml.leaf("CreDtTm", &date_time(request.created))?;
        xml.close()?;
        xml.open("Stmt")?;
        xml.leaf("Id", clip(&request.statement_id, 35))?;
        xml.leaf("CreDtTm", &date_time(request.created))?;
        xml.open("FrToDt")?;
        xml.leaf("FrDtTm", &date_time(request.from))?;
        xml.leaf("ToDtTm", &date_time(request.to))?;
        xml.close()?;
        let mut form = Self { xml, version };
        form.account(frame)?;
        form.balance(frame, "OPBD", frame.opening, request.from)?;
        form.balance(frame, "CLBD", frame.closing, request.to)?;
        form.summary(frame)?;
        Ok(form)
    }

    fn account(&mut self, frame: &Frame<'_>) -> io::Result<()> {
        let request = frame.request;
        self.xml.open("Acct")?;
        match &request.identification {
            Some(AccountRef::Iban(iban)) => self.xml.nested(&["Id", "IBAN"], iban)?,
            Some(AccountRef::Other { id, .. }) => self.xml.nested(&["Id", "Othr", "Id"], clip(id, 34))?,
            None => self
                .xml
                .nested(&["Id", "Othr", "Id"], &base36(request.account.0))?,
        }
        self.xml.leaf("Ccy", &request.currency)?;
        if let Some(owner) = &request.owner {
            self.xml.nested(&["Ownr", "Nm"], clip(owner, 140))?;
        }
        if let Some(bic) = &request.servicer_bic {
            let element = if self.version == 2 { "BIC" } else { "BICFI" };
            self.xml.nested(&["Svcr", "FinInstnId", element], bic)?;
        }
        self.xml.close()
    }

    fn balance(
        &mut self,
        frame: &Frame<'_>,
        kind: &str,
        balances: Balances,
        at: TimestampNs,
    ) -> Result<(), PaymentsError> {
        let net = net(balances);
        let amount = amount_text(frame, net.minor)?;
        self.xml.open("Bal")?;
        self.xml.nested(&["Tp", "CdOrPrtry", "Cd"], kind)?;
        self.xml.amount("Amt", &frame.request.currency, &amount)?;
        self.xml.leaf("CdtDbtInd", indicator(net.direction))?;
        self.xml.nested(&["Dt", "DtTm"], &date_time(at))?;
        self.xml.close()?;
        Ok(())
    }

    /// Sums are known before the entries, since they are differences of balances; counts are not.
    fn summary(&mut self, frame: &Frame<'_>) -> Result<(), PaymentsError> {
        let credits = amount_text(frame, frame.credits())?;
        let debits = amount_text(frame, frame.debits())?;
        self.xml.open("TxsSummry")?;
        self.xml.nested(&["TtlCdtNtries", "Sum"], &credits)?;
        self.xml.nested(&["TtlDbtNtries", "Sum"], &debits)?;
        self.xml.close()?;
        Ok(())
    }

    fn references(&mut self, entry: &Entry<'_>) -> io::Result<()> {
        let details = &entry.details;
        let xml = &mut self.xml;
        xml.open("Refs")?;
        let short = |text: &'_ Option<String>| text.as_deref().map(|text| clip(text, 35).to_owned());
        xml.optional("MsgId", short(&details.message_id).as_deref())?;
        xml.leaf("AcctSvcrRef", &base36(entry.row.transfer.id.0))?;
        xml.optional("PmtInfId", short(&details.payment_information_id).as_deref())?;
        xml.optional("InstrId", short(&details.instruction_id).as_deref())?;
        xml.optional("EndToEndId", short(&details.end_to_end_id).as_deref())?;
        if self.version > 2 {
            xml.optional(
                "UETR",
                details
                    .uetr
                    .as_deref()
                    .filter(|uetr| crate::pain002::is_uetr(uetr)),
            )?;
        }
        xml.close()
    }

    /// An element holds 140 characters; a longer line goes on in the next one.
    fn remittance_line(&mut self, line: &str) -> io::Result<()> {
        let mut rest = line;
        while !rest.is_empty() {
            let piece = clip(rest, 140);
            self.xml.optional("Ustrd", Some(piece))?;
            rest = &rest[piece.len()..];
        }
        Ok(())
    }

    fn parties(&mut self, entry: &Entry<'_>) -> io::Result<()> {
        let details = &entry.details;
        let sides = [
            ("Dbtr", "DbtrAcct", &details.debtor_name, &details.debtor_account),
            (
                "Cdtr",
                "CdtrAcct",
                &details.creditor_name,
                &details.creditor_account,
            ),
        ];
        if sides
            .iter()
            .all(|(_, _, name, account)| name.is_none() && account.is_none())
        {
            return Ok(());
        }
        let wrapped = self.version > 2;
        let xml = &mut self.xml;
        xml.open("RltdPties")?;
        for (party, account_element, name, account) in sides {
            if let Some(name) = name {
                let path: &[&'static str] = if wrapped {
                    &[party, "Pty", "Nm"]
                } else {
                    &[party, "Nm"]
                };
                xml.nested(path, clip(name, 140))?;
            }
            match account.as_deref().map(AccountRef::parse) {
                Some(Ok(AccountRef::Iban(iban))) => xml.nested(&[account_element, "Id", "IBAN"], &iban)?,
                Some(Ok(AccountRef::Other { id, .. })) => {
                    xml.nested(&[account_element, "Id", "Othr", "Id"], clip(&id, 34))?;
                }
                Some(Err(_)) | None => {}
            }
        }
        xml.close()
    }
}

impl Form for Camt053<'_> {
    fn entry(&mut self, frame: &Frame<'_>, entry: &Entry<'_>) -> Result<(), PaymentsError> {
        let transfer = &entry.row.transfer;
        let amount = amount_text(frame, transfer.amount.0)?;
        let reference = base36(transfer.id.0);
        let status = if entry.booked { "BOOK" } else { "PDNG" };
        self.xml.open("Ntry")?;
        self.xml.leaf("NtryRef", &entry.row.number.to_string())?;
        self.xml.amount("Amt", &frame.request.currency, &amount)?;
        self.xml.leaf("CdtDbtInd", indicator(entry.direction))?;
        if self.version == 2 {
            self.xml.leaf("Sts", status)?;
        } else {
            self.xml.nested(&["Sts", "Cd"], status)?;
        }
        if entry.booked {
            self.xml
                .nested(&["BookgDt", "DtTm"], &date_time(transfer.timestamp))?;
        }
        self.xml.nested(&["ValDt", "Dt"], &date(transfer.timestamp))?;
        self.xml.leaf("AcctSvcrRef", &reference)?;
        self.xml.open("BkTxCd")?;
        self.xml.open("Domn")?;
        self.xml.leaf("Cd", "PMNT")?;
        self.xml.open("Fmly")?;
        self.xml.leaf(
            "Cd",
            if entry.direction == Direction::Credit {
                "RCDT"
            } else {
                "ICDT"
            },
        )?;
        self.xml.leaf("SubFmlyCd", "NTAV")?;
        self.xml.close()?;
        self.xml.close()?;
        self.xml.nested(&["Prtry", "Cd"], &transfer.code.to_string())?;
        self.xml.close()?;
        self.xml.open("NtryDtls")?;
        self.xml.open("TxDtls")?;
        self.references(entry)?;
        if self.version > 2 {
            self.xml.amount("Amt", &frame.request.currency, &amount)?;
            self.xml.leaf("CdtDbtInd", indicator(entry.direction))?;
        }
        self.parties(entry)?;
        if let Some(remittance) = &entry.details.remittance {
            self.xml.open("RmtInf")?;
            for line in remittance.lines() {
                self.remittance_line(line)?;
            }
            self.xml.close()?;
        }
        for _ in 0..3 {
            self.xml.close()?;
        }
        Ok(())
    }

    fn finish(self: Box<Self>, _: &Frame<'_>) -> Result<(), PaymentsError> {
        self.xml.finish()?;
        Ok(())
    }
}

/// The standard's decimals have at most 18 digits; a statement that no reader takes is worse than none.
fn amount_text(frame: &Frame<'_>, minor: u128) -> Result<String, PaymentsError> {
    let text = frame.amount(minor);
    if fits(&text, 5) {
        return Ok(text);
    }
    Err(PaymentsError::Statement(format!(
        "camt.053 holds amounts of at most 18 digits, but there is {text}; use CSV or JSON for this account"
    )))
}

fn indicator(direction: Direction) -> &'static str {
    match direction {
        Direction::Credit => "CRDT",
        Direction::Debit => "DBIT",
    }
}
