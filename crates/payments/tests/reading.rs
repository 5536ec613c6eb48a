//! Reading pain.001: every version, the encodings that banks use, and what must be refused.

mod support;

use payments::{
    AccountRef, Decimal, Initiation, Pain001Version, PaymentsError, Reason, Source, read_pain001,
};
use support::{foreign, own, pain001, pay, quiet};

fn read(bytes: &[u8]) -> Result<Initiation, PaymentsError> {
    read_pain001(bytes, &mut quiet())
}

fn golden(version: Pain001Version) -> String {
    let path = format!(
        "{}/tests/golden/{}.xml",
        env!("CARGO_MANIFEST_DIR"),
        version.message_name()
    );
    std::fs::read_to_string(path).expect("a golden file for every version")
}

fn refusal(xml: &str) -> String {
    read(xml.as_bytes()).expect_err("must be refused").to_string()
}

#[test]
fn every_version_says_the_same() {
    for version in Pain001Version::all() {
        let file = read(golden(version).as_bytes()).unwrap_or_else(|error| panic!("{version:?}: {error}"));
        assert_eq!(file.source, Source::Pain001(version));
        assert_eq!(file.message_id, format!("STEPPE-2026-11-{:02}", version.number()));
        assert_eq!(file.created.as_deref(), Some("2026-11-20T17:45:00"));
        assert_eq!(file.initiator.name.as_deref(), Some("Steppe & Söhne"));
        assert_eq!(file.initiator.id.as_deref(), Some("STEPKZKA"));
        assert_eq!(file.declared.count, Some(3));
        assert_eq!(file.declared.sum, Decimal::parse("4550.755").ok());
        assert_eq!(file.issues, []);
        let [salaries, supplier] = &file.batches[..] else {
            panic!("two batches")
        };
        assert_eq!(
            (salaries.id.as_str(), salaries.line, salaries.declared.count),
            ("SALARIES", 15, Some(2))
        );
        assert_eq!(salaries.execution_date, "2026-11-25".parse().ok());
        assert_eq!(supplier.execution_date, "2026-11-26".parse().ok());
        assert_eq!(salaries.category_purpose.as_deref(), Some("SALA"));
        assert_eq!(salaries.debtor_account.account, Some(AccountRef::Iban(own(1))));
        assert_eq!(salaries.debtor_account.currency.as_deref(), Some("EUR"));
        assert_eq!(salaries.debtor_agent.bic.as_deref(), Some("TULPKZKA"));
        assert_eq!(supplier.debtor_agent.member_id.as_deref(), Some("998"));
        let [first, second] = &salaries.payments[..] else {
            panic!("two payments")
        };
        assert_eq!(first.instruction_id.as_deref(), Some("S-1"));
        assert_eq!(first.end_to_end_id.as_deref(), Some("SAL-11-0001"));
        assert_eq!(first.uetr.is_some(), version.number() >= 9);
        assert_eq!(first.amount, Decimal::parse("2500.75").ok());
        assert_eq!(first.currency.as_deref(), Some("EUR"));
        assert_eq!(first.remittance, ["Salary November", "thank you"]);
        assert_eq!(second.creditor.name.as_deref(), Some("Jörg & Partner"));
        assert_eq!(second.creditor_agent.bic.as_deref(), Some("DEUTDEFF"));
        assert_eq!(
            second.creditor_account.account,
            Some(AccountRef::Iban(foreign(7)))
        );
        assert_eq!(second.purpose.as_deref(), Some("BONU"));
        assert_eq!(second.remittance, ["RF18539007547034"]);
        let parts = AccountRef::other("BBAN", "0007-123").ok();
        assert_eq!(supplier.payments[0].creditor_account.account, parts);
    }
}

#[test]
fn versions_and_messages_that_are_not_read_are_named() {
    let xml = golden(Pain001Version::LAST);
    for (uri, said) in [
        (
            "urn:iso:std:iso:20022:tech:xsd:pain.001.001.02",
            "version pain.001.001.02 is not read; 03 to 13 are",
        ),
        (
            "urn:iso:std:iso:20022:tech:xsd:pain.001.001.14",
            "version pain.001.001.14 is not read; 03 to 13 are",
        ),
        (
            "urn:iso:std:iso:20022:tech:xsd:pain.001.001.009",
            "version pain.001.001.009 is not read; 03 to 13 are",
        ),
        (
            "urn:iso:std:iso:20022:tech:xsd:pain.008.001.02",
            "is not pain.001.001.03 to .13",
        ),
        (
            "urn:iso:std:iso:20022:tech:xsd:pain.001.003.03",
            "is not pain.001.001.03 to .13",
        ),
        ("urn:example", "is not pain.001.001.03 to .13"),
    ] {
        let error = refusal(&xml.replace("urn:iso:std:iso:20022:tech:xsd:pain.001.001.13", uri));
        assert!(
            error.starts_with("PAY-0003: line 3: ") && error.contains(said),
            "{error}"
        );
    }
    let error = refusal("<html><body/></html>");
    assert_eq!(
        error,
        "PAY-0003: line 1: root element \"html\" is not a pain.001 Document"
    );
    assert!(refusal("").contains("there is no Document element"));
    assert!(refusal("<Document><CstmrCdtTrfInitn/></Document>").contains("has no namespace"));
    let error = refusal(&xml.replace("CstmrCdtTrfInitn", "CstmrDrctDbtInitn"));
    assert!(
        error.contains("\"CstmrDrctDbtInitn\" where one CstmrCdtTrfInitn is expected"),
        "{error}"
    );
}

#[test]
fn odd_namespaces_and_envelopes_are_understood() {
    let xml = pain001("M1", &own(1), &[pay("E1", "1", "EUR", &own(2))]);
    let bank = xml.replace(
        "urn:iso:std:iso:20022:tech:xsd:pain.001.001.09",
        "http://www.bank.example/de/pain.001.001.03.ch.02.xsd",
    );
    assert_eq!(
        read(bank.as_bytes()).expect("reads").source,
        Source::Pain001(Pain001Version::FIRST)
    );
    let hint = xml.replace(
        "xmlns=\"urn:iso:std:iso:20022:tech:xsd:pain.001.001.09\"",
        "xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" xsi:noNamespaceSchemaLocation=\"pain.001.001.05.xsd\"",
    );
    assert_eq!(
        read(hint.as_bytes()).expect("reads").source,
        Source::Pain001(Pain001Version::new(5).expect("5"))
    );
    let (declaration, document) = xml.split_once("?>").expect("a declaration");
    let wrapped = format!("{declaration}?><Envelope><AppHdr><To>x</To></AppHdr>{document}</Envelope>");
    assert_eq!(
        read(wrapped.as_bytes()).expect("reads"),
        read(xml.as_bytes()).expect("reads")
    );
}

#[test]
fn every_encoding_gives_the_same_payments() {
    let xml = golden(Pain001Version::FIRST);
    let plain = read(xml.as_bytes()).expect("reads");
    let mut marked = vec![0xef, 0xbb, 0xbf];
    marked.extend(xml.as_bytes());
    let mut files = vec![marked];
    for big in [false, true] {
        let utf16 = xml.replace("encoding=\"UTF-8\"", "encoding=\"UTF-16\"");
        let mut bytes = if big { vec![0xfe, 0xff] } else { vec![0xff, 0xfe] };
        bytes.extend(
            utf16
                .encode_utf16()
                .flat_map(|u| if big { u.to_be_bytes() } else { u.to_le_bytes() }),
        );
        files.push(bytes);
    }
    for label in ["ISO-8859-1", "iso-8859-15", "windows-1252"] {
        let text = xml.replace("UTF-8", label);
        files.push(
            text.chars()
                .map(|c| u8::try_from(u32::from(c)).expect("one byte"))
                .collect(),
        );
    }
    files.push(xml.replace('\n', "\r\n").into_bytes());
    for bytes in files {
        assert_eq!(read(&bytes).expect("reads"), plain);
    }
    let wrong: Vec<u8> = xml
        .chars()
        .map(|c| u8::try_from(u32::from(c)).expect("one byte"))
        .collect();
    let error = read(&wrong)
        .expect_err("declared as UTF-8, but is not")
        .to_string();
    assert!(
        error.starts_with("PAY-0001: line 11: bytes that are not UTF-8"),
        "{error}"
    );
}

#[test]
fn missing_optional_groups_do_no_harm() {
    let xml = "<Document xmlns='urn:iso:std:iso:20022:tech:xsd:pain.001.001.03'><CstmrCdtTrfInitn>\
               <GrpHdr><MsgId>M</MsgId></GrpHdr><PmtInf><PmtInfId>P</PmtInfId><CdtTrfTxInf>\
               <Amt><InstdAmt Ccy='EUR'>1</InstdAmt></Amt></CdtTrfTxInf></PmtInf></CstmrCdtTrfInitn></Document>";
    let file = read(xml.as_bytes()).expect("reads");
    assert_eq!(file.batches[0].payments[0].amount, Decimal::parse("1").ok());
    assert_eq!(file.batches[0].execution_date, None);
    assert_eq!(file.batches[0].payments[0].issues, []);
}

#[test]
fn what_would_make_identities_doubtful_refuses_the_file_by_line_and_path() {
    let xml = pain001("M1", &own(1), &[pay("E1", "1", "EUR", &own(2))]);
    let changed = |from: &str, to: &str| {
        assert!(xml.contains(from), "{from}");
        refusal(&xml.replacen(from, to, 1))
    };
    for (from, to, expected) in [
        ("<MsgId>M1</MsgId>", "", "GrpHdr/MsgId is missing"),
        ("<MsgId>M1</MsgId>", "<MsgId> </MsgId>", "GrpHdr/MsgId is missing"),
        (
            "<MsgId>M1</MsgId>",
            "<MsgId>A</MsgId><MsgId>B</MsgId>",
            "line 3: Document/CstmrCdtTrfInitn/GrpHdr/MsgId: occurs twice",
        ),
        (
            "<MsgId>M1",
            "<MsgId>0123456789012345678901234567890123456789",
            "GrpHdr/MsgId: is longer than 35 characters",
        ),
        ("<PmtInfId>P1</PmtInfId>", "", "PmtInf[1]: PmtInfId is missing"),
        (
            "<Amt>",
            "<Amt><InstdAmt Ccy=\"EUR\">9</InstdAmt>",
            "CdtTrfTxInf[1]/Amt/InstdAmt: occurs twice",
        ),
        (
            "<EndToEndId>E1</EndToEndId>",
            "<EndToEndId><b/></EndToEndId>",
            "an element where text is expected",
        ),
    ] {
        let error = changed(from, to);
        assert!(error.contains(expected), "{error}\nfor {to}");
    }
    let error = changed("</PmtInf>", "</PmtInf><GrpHdr/>");
    assert!(
        error.starts_with("PAY-0004: line 7: Document/CstmrCdtTrfInitn/GrpHdr: occurs twice"),
        "{error}"
    );
}

#[test]
fn document_types_and_entities_are_refused() {
    let xml = pain001("M1", &own(1), &[pay("E1", "1", "EUR", &own(2))]);
    let bomb = "?>\n<!DOCTYPE lol [<!ENTITY a \"aaaaaaaa\"><!ENTITY b \"&a;&a;&a;&a;\">]>";
    let error = refusal(&xml.replacen("?>", bomb, 1).replace("M1", "&b;"));
    assert!(
        error.starts_with("PAY-0002: line 2: a document type (DTD) is not allowed"),
        "{error}"
    );
    let outside = "?><!DOCTYPE x SYSTEM \"file:///etc/passwd\">";
    assert!(refusal(&xml.replacen("?>", outside, 1)).contains("document type"));
    assert!(refusal(&xml.replace("M1", "&unknown;")).contains("entity &unknown; is not allowed"));
    let file = read(xml.replace("M1", "&lt;M&#x31;&gt;").as_bytes()).expect("the five and numbers are fine");
    assert_eq!(file.message_id, "<M1>");
    assert!(refusal(&xml.replace("M1", "&#1;")).contains("U+0001 is not allowed in XML"));
}

#[test]
fn truncated_and_malformed_files_are_refused_wherever_they_break() {
    let xml = golden(Pain001Version::FIRST);
    let end = xml.trim_end().len();
    for at in (0..end).step_by(7).chain(end - 20..end) {
        if xml.is_char_boundary(at) {
            read(&xml.as_bytes()[..at]).expect_err("cut short");
        }
    }
    assert!(refusal(&xml.replacen("</MsgId>", "</MsgIdx>", 1)).starts_with("PAY-0002: line 6"));
    assert!(refusal(&format!("{xml}<Document/>")).contains("a second root element"));
    assert!(refusal(&format!("{xml}tail")).contains("text between elements"));
    assert!(refusal(&xml.replacen("<GrpHdr>", "stray<GrpHdr>", 1)).contains("line 5"));
}

#[test]
fn nesting_and_text_are_bounded() {
    let deep = "<a>".repeat(100_000);
    assert!(refusal(&deep).contains("nest more than 40 deep"));
    let xml = pain001("M1", &own(1), &[pay("E1", "1", "EUR", &own(2))]);
    let deep = xml.replacen("<PmtInf>", &format!("<PmtInf>{}", "<x>".repeat(100)), 1);
    assert!(refusal(&deep).contains("nest more than 40 deep"));
    let long = xml.replace("<Nm>Creditor</Nm>", &format!("<Nm>{}</Nm>", "x".repeat(70_000)));
    assert!(refusal(&long).contains("more than 65536 bytes of text"));
}

#[test]
fn problems_of_one_payment_are_its_own_and_carry_line_and_path() {
    let mut equivalent = pay("E2", "1", "EUR", &own(2));
    equivalent.extra = String::new();
    let xml = pain001(
        "M1",
        &own(1),
        &[
            pay("E1", "1.x", "EUR", &own(2)),
            equivalent,
            pay("E3", "3", "EUR", &own(2)),
        ],
    )
    .replacen(
        "<InstdAmt Ccy=\"EUR\">1</InstdAmt>",
        "<EqvtAmt><Amt Ccy=\"EUR\">1</Amt><CcyOfTrf>USD</CcyOfTrf></EqvtAmt>",
        1,
    );
    let file = read(xml.as_bytes()).expect("reads");
    let [first, second, third] = &file.batches[0].payments[..] else {
        panic!("three")
    };
    assert_eq!(
        (first.issues[0].line, first.issues[0].reason),
        (6, Reason::InvalidAmount)
    );
    assert_eq!(
        first.issues[0].path,
        "Document/CstmrCdtTrfInitn/PmtInf[1]/CdtTrfTxInf[1]/Amt/InstdAmt"
    );
    assert_eq!(
        first.issues[0].text,
        "\"1.x\" is not a decimal number (digits, at most one point, no sign, no exponent)"
    );
    assert_eq!(
        (second.issues[0].line, second.issues[0].reason),
        (7, Reason::NotSupported)
    );
    assert_eq!(
        second.amount,
        Decimal::parse("1").ok(),
        "it still counts for the control sum"
    );
    assert_eq!(third.issues, []);
}

#[test]
fn cheques_and_invalid_dates_bar_their_batch() {
    let xml = pain001("M1", &own(1), &[pay("E1", "1", "EUR", &own(2))]);
    let cheque = read(xml.replace("TRF", "CHK").as_bytes()).expect("reads");
    assert_eq!(cheque.batches[0].issues[0].reason, Reason::NotSupported);
    for date in ["2026-02-30", "22.11.2026", "2026-11-22x"] {
        let file = read(xml.replace("<Dt>2026-11-22", &format!("<Dt>{date}")).as_bytes()).expect("reads");
        assert_eq!(file.batches[0].issues[0].reason, Reason::InvalidDate, "{date}");
    }
    let zoned = read(xml.replace("<Dt>2026-11-22", "<Dt>2026-11-22+05:00").as_bytes()).expect("reads");
    assert_eq!(zoned.batches[0].issues, []);
}

#[test]
fn progress_goes_to_the_end_of_the_work_and_never_back() {
    let payments: Vec<_> = (0..2_500)
        .map(|n| pay(&format!("E{n}"), "1", "EUR", &own(2)))
        .collect();
    let xml = pain001("M1", &own(1), &payments);
    let mut seen = Vec::new();
    read_pain001(xml.as_bytes(), &mut |progress| seen.push(progress.done)).expect("reads");
    assert_eq!(seen.len(), 3);
    assert!(seen.is_sorted() && seen.iter().all(|done| *done <= xml.len() as u64));
}

#[test]
fn a_second_document_refuses_the_file_wherever_it_stands() {
    let xml = pain001("M1", &own(1), &[pay("E1", "1", "EUR", &own(2))]);
    let (declaration, document) = xml.split_once("?>").expect("a declaration");
    let document = document.trim();
    let wrapped = |inside: &str| format!("{declaration}?>\n<Envelope>\n{inside}</Envelope>");
    let error = refusal(&wrapped(&format!("{document}\n{document}\n")));
    assert!(
        error.starts_with("PAY-0002: line 9: Envelope/Document: a second Document"),
        "{error}"
    );
    for hidden in [
        format!("{document}\n<Body>{document}</Body>\n"),
        format!("<Body>{document}</Body>\n{document}\n"),
    ] {
        let error = refusal(&wrapped(&hidden));
        assert!(
            error.contains("Envelope/Body/Document: a Document too deep"),
            "{error}"
        );
    }
    // What is called so but holds no payments does no harm.
    let header = "<AppHdr><Document>pain.001</Document></AppHdr>\n";
    assert_eq!(
        read(wrapped(&format!("{header}{document}")).as_bytes()).expect("reads"),
        read(wrapped(&format!("<AppHdr/>\n{document}")).as_bytes()).expect("reads")
    );
}

#[test]
fn prefixes_that_are_not_declared_are_malformed() {
    let xml = pain001("M1", &own(1), &[pay("E1", "1", "EUR", &own(2))]);
    for (from, to) in [
        ("<MsgId>M1</MsgId>", "<x:MsgId>M1</x:MsgId>"),
        ("<PmtMtd>TRF</PmtMtd>", "<x:PmtMtd>TRF</x:PmtMtd>"),
        (
            "<Nm>Steppe Co</Nm></InitgPty>",
            "<x:Nm>Steppe Co</x:Nm></InitgPty>",
        ),
    ] {
        let error = refusal(&xml.replacen(from, to, 1));
        let line = 1 + xml[..xml.find(from).expect("there")].matches('\n').count();
        assert!(
            error.starts_with(&format!("PAY-0002: line {line}: ")) && error.contains("\"x\" is not declared"),
            "{error}"
        );
    }
}

#[test]
fn attributes_that_are_twice_there_or_cannot_be_read_are_malformed() {
    let xml = pain001("M1", &own(1), &[pay("E1", "1", "EUR", &own(2))]);
    for attributes in [
        "Ccy=\"EUR\" Ccy=\"JPY\"",
        "x=\"1\" x=\"2\" Ccy=\"EUR\"",
        "Ccy=\"&e;\"",
    ] {
        let error = refusal(&xml.replacen("Ccy=\"EUR\"", attributes, 1));
        assert!(
            error.starts_with("PAY-0002: line 6: ") && error.contains("Amt/InstdAmt: "),
            "{error}\nfor {attributes}"
        );
    }
}

#[test]
fn nothing_that_is_read_may_occur_twice() {
    let agent = |name: &str| format!("<{name}><FinInstnId><BICFI>DEUTDEFF</BICFI></FinInstnId></{name}>");
    let (debtor_agent, creditor_agent) = (agent("DbtrAgt"), agent("CdtrAgt"));
    let mut full = pay("E1", "1", "EUR", &own(2));
    full.bic = Some("DEUTDEFF".to_owned());
    full.extra = "<Purp><Cd>SALA</Cd></Purp><RmtInf><Ustrd>x</Ustrd></RmtInf>".to_owned();
    let xml = pain001("M1", &own(1), &[full])
        .replacen("<Dbtr>", &format!("<PmtTpInf/>{debtor_agent}<Dbtr>"), 1)
        .replacen(
            "<Amt>",
            "<PmtTpInf><CtgyPurp><Cd>SALA</Cd></CtgyPurp></PmtTpInf><Amt>",
            1,
        );
    read(xml.as_bytes()).expect("once is fine");
    let account = |iban: &str| format!("<Id><IBAN>{iban}</IBAN></Id>");
    let (debtor, creditor) = (account(&own(1)), account(&own(2)));
    for (element, path) in [
        ("<InitgPty><Nm>Steppe Co</Nm></InitgPty>", "GrpHdr/InitgPty"),
        ("<Nm>Steppe Co</Nm>", "InitgPty/Nm"),
        ("<CreDtTm>2026-11-22T10:00:00</CreDtTm>", "GrpHdr/CreDtTm"),
        ("<PmtTpInf/>", "PmtInf[1]/PmtTpInf"),
        (
            "<ReqdExctnDt><Dt>2026-11-22</Dt></ReqdExctnDt>",
            "PmtInf[1]/ReqdExctnDt",
        ),
        ("<Dbtr><Nm>Steppe Co</Nm></Dbtr>", "PmtInf[1]/Dbtr"),
        (&format!("<DbtrAcct>{debtor}</DbtrAcct>"), "PmtInf[1]/DbtrAcct"),
        (&debtor, "DbtrAcct/Id"),
        (&debtor_agent, "PmtInf[1]/DbtrAgt"),
        (
            "<PmtId><EndToEndId>E1</EndToEndId></PmtId>",
            "CdtTrfTxInf[1]/PmtId",
        ),
        (
            "<PmtTpInf><CtgyPurp><Cd>SALA</Cd></CtgyPurp></PmtTpInf>",
            "CdtTrfTxInf[1]/PmtTpInf",
        ),
        ("<CtgyPurp><Cd>SALA</Cd></CtgyPurp>", "PmtTpInf/CtgyPurp"),
        (
            "<Amt><InstdAmt Ccy=\"EUR\">1</InstdAmt></Amt>",
            "CdtTrfTxInf[1]/Amt",
        ),
        (&creditor_agent, "CdtTrfTxInf[1]/CdtrAgt"),
        (
            "<FinInstnId><BICFI>DEUTDEFF</BICFI></FinInstnId>",
            "DbtrAgt/FinInstnId",
        ),
        ("<Cdtr><Nm>Creditor</Nm></Cdtr>", "CdtTrfTxInf[1]/Cdtr"),
        (
            &format!("<CdtrAcct>{creditor}</CdtrAcct>"),
            "CdtTrfTxInf[1]/CdtrAcct",
        ),
        ("<Purp><Cd>SALA</Cd></Purp>", "CdtTrfTxInf[1]/Purp"),
        ("<RmtInf><Ustrd>x</Ustrd></RmtInf>", "CdtTrfTxInf[1]/RmtInf"),
    ] {
        assert!(xml.contains(element), "{element}");
        let error = refusal(&xml.replacen(element, &format!("{element}{element}"), 1));
        assert!(
            error.starts_with("PAY-0004: line ") && error.ends_with(&format!("{path}: occurs twice")),
            "{error}\nfor {element}"
        );
    }
    let error = refusal(&xml.replacen("<MsgId>M1</MsgId>", "<MsgId/><MsgId>M1</MsgId>", 1));
    assert!(
        error.contains("GrpHdr/MsgId: occurs twice"),
        "an empty one counts: {error}"
    );
    let error = refusal(&xml.replacen("<Dt>2026", "<Dt/><Dt>2026", 1));
    assert!(error.contains("not expected here"), "{error}");
}
