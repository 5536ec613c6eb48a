//! Writes `pain.002` status reports. Owns: the message's structure in the version that goes with the pain.001.

use crate::PaymentsError;
use crate::model::{Declared, Issue, Pain001Version, Reason, Source};
use crate::money::Decimal;
use crate::report::{BatchReport, ImportReport, Outcome, PaymentReport, Totals};
use crate::xml_out::{XmlWriter, clip};
use jiff::Timestamp;
use ledger::TimestampNs;
use std::io::Write;

/// From this pain.002 version on the UETR is reported.
const UETR_SINCE: u8 = 10;

/// What a status report says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusReportHeader {
    /// Its own `MsgId`, at most 35 characters.
    pub message_id: String,
    /// When it is made.
    pub created: TimestampNs,
    /// The BIC of the bank that reports.
    pub agent_bic: Option<String>,
}

/// Writes the outcome of an import. The version is the one published with that of the pain.001; for CSV, the one that
/// goes with pain.001.001.09. Every payment is listed with its status: `ACSC`, `RJCT`, or `PDNG` where an import broke off.
///
/// # Errors
/// When writing fails.
pub fn write_status_report<W: Write>(
    report: &ImportReport,
    header: &StatusReportHeader,
    out: W,
) -> Result<W, PaymentsError> {
    let (version, original) = match report.source {
        Source::Pain001(version) => (version.status_report_number(), version.message_name()),
        Source::Csv => (
            Pain001Version::new(9).map_or(10, Pain001Version::status_report_number),
            "csv".to_owned(),
        ),
    };
    let namespace = format!("urn:iso:std:iso:20022:tech:xsd:pain.002.001.{version:02}");
    let mut xml = XmlWriter::document(out, &namespace)?;
    xml.open("CstmrPmtStsRpt")?;
    xml.open("GrpHdr")?;
    xml.leaf("MsgId", clip(&header.message_id, 35))?;
    xml.leaf("CreDtTm", &date_time(header.created))?;
    if let Some(bic) = &header.agent_bic {
        let element = if version <= 3 { "BIC" } else { "BICFI" };
        xml.nested(&["DbtrAgt", "FinInstnId", element], bic)?;
    }
    xml.close()?;
    let totals = report.totals();
    xml.open("OrgnlGrpInfAndSts")?;
    xml.leaf("OrgnlMsgId", clip(&report.message_id, 35))?;
    xml.leaf("OrgnlMsgNmId", &original)?;
    xml.optional(
        "OrgnlCreDtTm",
        report.created.as_deref().filter(|text| is_date_time(text)),
    )?;
    claims(&mut xml, report.declared)?;
    xml.leaf("GrpSts", group_status(totals))?;
    reasons(&mut xml, &report.issues)?;
    counts(&mut xml, totals)?;
    xml.close()?;
    for batch in &report.batches {
        write_batch(&mut xml, batch, version)?;
    }
    Ok(xml.finish()?)
}

fn write_batch<W: Write>(
    xml: &mut XmlWriter<W>,
    batch: &BatchReport,
    version: u8,
) -> Result<(), PaymentsError> {
    let totals = batch.totals();
    xml.open("OrgnlPmtInfAndSts")?;
    // The element must hold something, and a CSV file need not name its batches.
    xml.leaf(
        "OrgnlPmtInfId",
        if batch.id.is_empty() {
            "NOTPROVIDED"
        } else {
            clip(&batch.id, 35)
        },
    )?;
    claims(xml, batch.declared)?;
    xml.leaf("PmtInfSts", group_status(totals))?;
    reasons(xml, &batch.issues)?;
    counts(xml, totals)?;
    for payment in &batch.payments {
        write_payment(xml, payment, version)?;
    }
    xml.close()?;
    Ok(())
}

fn write_payment<W: Write>(
    xml: &mut XmlWriter<W>,
    payment: &PaymentReport,
    version: u8,
) -> Result<(), PaymentsError> {
    xml.open("TxInfAndSts")?;
    if let Some(id) = payment.transfer {
        // 128 bits in base 36 have at most 25 characters; a status identification may have 35.
        xml.leaf("StsId", &base36(id.0))?;
    }
    xml.optional(
        "OrgnlInstrId",
        payment.instruction_id.as_deref().map(|id| clip(id, 35)),
    )?;
    xml.optional(
        "OrgnlEndToEndId",
        payment.end_to_end_id.as_deref().map(|id| clip(id, 35)),
    )?;
    if version >= UETR_SINCE {
        xml.optional("OrgnlUETR", payment.uetr.as_deref().filter(|uetr| is_uetr(uetr)))?;
    }
    match &payment.outcome {
        Outcome::Settled | Outcome::AlreadySettled => xml.leaf("TxSts", "ACSC")?,
        Outcome::Refused(issues) => {
            xml.leaf("TxSts", "RJCT")?;
            reasons(xml, issues)?;
        }
        Outcome::Pending => {
            xml.leaf("TxSts", "PDNG")?;
            reasons(xml, &[not_answered()])?;
        }
    }
    let amount = payment.amount.map(Decimal::to_text).filter(|text| fits(text, 5));
    let currency = payment.currency.as_deref().filter(|code| is_currency(code));
    if let (Some(amount), Some(currency)) = (amount, currency) {
        xml.open("OrgnlTxRef")?;
        xml.open("Amt")?;
        xml.amount("InstdAmt", currency, &amount)?;
        xml.close()?;
        xml.close()?;
    }
    xml.close()?;
    Ok(())
}

fn not_answered() -> Issue {
    Issue {
        line: 0,
        path: String::new(),
        reason: Reason::Narrative,
        text: "the import broke off before the ledger answered; importing the file again is safe and tells"
            .to_owned(),
    }
}

fn group_status(totals: Totals) -> &'static str {
    match (totals.accepted(), totals.refused, totals.pending) {
        (_, 0, 0) => "ACCP",
        (0, _, 0) => "RJCT",
        (0, _, _) => "PDNG",
        _ => "PART",
    }
}

fn claims<W: Write>(xml: &mut XmlWriter<W>, declared: Declared) -> Result<(), PaymentsError> {
    let count = declared
        .count
        .map(|count| count.to_string())
        .filter(|text| text.len() <= 15);
    let sum = declared.sum.map(Decimal::to_text).filter(|text| fits(text, 17));
    xml.optional("OrgnlNbOfTxs", count.as_deref())?;
    xml.optional("OrgnlCtrlSum", sum.as_deref())?;
    Ok(())
}

fn reasons<W: Write>(xml: &mut XmlWriter<W>, issues: &[Issue]) -> Result<(), PaymentsError> {
    for issue in issues {
        xml.open("StsRsnInf")?;
        xml.nested(&["Rsn", "Cd"], issue.reason.code())?;
        let at = if issue.line > 0 {
            format!("line {}: ", issue.line)
        } else {
            String::new()
        };
        let path = issue.path.rsplit('/').next().unwrap_or("");
        let path = if path.is_empty() {
            String::new()
        } else {
            format!("{path} ")
        };
        let text = format!("{at}{path}{}", issue.text);
        // Each piece may have 105 characters.
        let letters: Vec<char> = text.chars().collect();
        for piece in letters.chunks(105).take(4) {
            xml.optional("AddtlInf", Some(&piece.iter().collect::<String>()))?;
        }
        xml.close()?;
    }
    Ok(())
}

fn counts<W: Write>(xml: &mut XmlWriter<W>, totals: Totals) -> Result<(), PaymentsError> {
    let statuses = [
        ("ACSC", totals.accepted()),
        ("RJCT", totals.refused),
        ("PDNG", totals.pending),
    ];
    for (status, count) in statuses {
        if count > 0 {
            xml.open("NbOfTxsPerSts")?;
            xml.leaf("DtldNbOfTxs", &count.to_string())?;
            xml.leaf("DtldSts", status)?;
            xml.close()?;
        }
    }
    Ok(())
}

/// UTC, to the second.
pub(crate) fn date_time(at: TimestampNs) -> String {
    timestamp(at).strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// The day, in UTC.
pub(crate) fn date(at: TimestampNs) -> String {
    timestamp(at).strftime("%Y-%m-%d").to_string()
}

/// The ledger's timestamps end in 2262, well within what a calendar has.
fn timestamp(at: TimestampNs) -> Timestamp {
    Timestamp::from_nanosecond(i128::from(at.0)).unwrap_or(Timestamp::MAX)
}

/// Whether it is an `xs:dateTime`, as the standard wants it; what is not is left out rather than repeated.
fn is_date_time(text: &str) -> bool {
    const FORM: &[u8] = b"0000-00-00T00:00:00";
    let has_form = |text: &str, form: &[u8]| {
        text.len() == form.len()
            && text.bytes().zip(form).all(|(byte, wanted)| match wanted {
                b'0' => byte.is_ascii_digit(),
                _ => byte == *wanted,
            })
    };
    let Some((moment, rest)) = text.split_at_checked(FORM.len()) else {
        return false;
    };
    // A calendar would take a second 60 for the last of its minute; the schema does not.
    let valid =
        has_form(moment, FORM) && !moment.ends_with(":60") && moment.parse::<jiff::civil::DateTime>().is_ok();
    let zone = match rest.strip_prefix('.') {
        None => rest,
        Some(fraction) => {
            let zone = fraction.trim_start_matches(|c: char| c.is_ascii_digit());
            if zone.len() == fraction.len() {
                return false;
            }
            zone
        }
    };
    let offset = zone.strip_prefix(['+', '-']);
    valid
        && match offset {
            None => matches!(zone, "" | "Z"),
            Some(offset) => has_form(offset, b"00:00") && offset <= "14:00" && &offset[3..] < "60",
        }
}

/// The standard's decimals have at most 18 digits.
pub(crate) fn fits(text: &str, decimals: usize) -> bool {
    let fraction = text.split_once('.').map_or(0, |(_, fraction)| fraction.len());
    text.bytes().filter(u8::is_ascii_digit).count() <= 18 && fraction <= decimals
}

fn is_currency(text: &str) -> bool {
    text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_uppercase())
}

/// Lower-case hexadecimal in groups of 8-4-4-4-12, version 4.
pub(crate) fn is_uetr(text: &str) -> bool {
    let groups: Vec<&str> = text.split('-').collect();
    let lengths: Vec<usize> = groups.iter().map(|group| group.len()).collect();
    lengths == [8, 4, 4, 4, 12]
        && text
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f' | b'-'))
        && groups[2].starts_with('4')
        && groups[3].starts_with(['8', '9', 'a', 'b'])
}

/// A number in the digits 0 to 9 and a to z.
pub(crate) fn base36(mut number: u128) -> String {
    let mut digits = Vec::new();
    loop {
        digits.push(char::from_digit((number % 36) as u32, 36).unwrap_or('0'));
        number /= 36;
        if number == 0 {
            return digits.iter().rev().collect();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_fit_where_the_standard_has_35_characters() {
        assert_eq!(base36(u128::MAX), "f5lxx1zz5pnorynqglhzmsp33");
        assert_eq!(base36(0), "0");
    }

    #[test]
    fn only_well_formed_values_are_repeated() {
        assert!(is_uetr("8a562c67-ca16-48ba-b074-65581be6f001"));
        assert!(!is_uetr("8A562C67-CA16-48BA-B074-65581BE6F001"));
        assert!(!is_uetr("8a562c67-ca16-18ba-b074-65581be6f001"));
    }

    #[test]
    fn moments_are_repeated_only_in_the_form_of_the_schema() {
        for good in [
            "2026-11-22T10:00:00",
            "2026-11-22T10:00:00Z",
            "2026-11-22T10:00:00.123+05:00",
            "2026-11-22T23:59:59-14:00",
        ] {
            assert!(is_date_time(good), "{good}");
        }
        for bad in [
            "2026-11-22",
            "yesterday",
            "2026-11-22T10:00",
            "2026-11-22T10",
            "20261122T100000",
            "2026-11-22t10:00:00",
            "2026-11-22 10:00:00",
            "2026-11-22T10:00:00,5",
            "2026-11-22T10:00:00.",
            "2026-11-22T10:00:00z",
            "2026-11-22T10:00:00+05",
            "2026-11-22T10:00:00+0500",
            "2026-11-22T10:00:00+14:01",
            "2026-11-22T10:00:00+05:60",
            "2026-11-22T10:00:00[Asia/Almaty]",
            "2026-11-22T10:00:00+05:00[Asia/Almaty]",
            "2026-02-30T10:00:00",
            "2026-11-22T23:59:60",
            "2026-11-22T25:00:00",
            "2026-11-22T10:00:0\u{0660}",
        ] {
            assert!(!is_date_time(bad), "{bad}");
        }
    }
}
