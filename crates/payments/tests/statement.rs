//! Statements and status reports: what they say, and that they parse again with every element in its place.

mod support;

use ledger::{AccountId, Code, LedgerId, TimestampNs, Transfer, TransferFlags, TransferId};
use payments::{
    AccountKind, AccountRef, PaymentsError, StatementFormat, StatementRequest, StatusReportHeader,
    account_id, write_statement, write_status_report,
};
use quick_xml::Reader;
use quick_xml::events::Event;
use support::{MemoryLedger, START, fund, import_xml, own, pain001, pay, quiet};

fn id(number: u64) -> AccountId {
    account_id(AccountKind::Own, &AccountRef::Iban(own(number)), "EUR")
}

fn ledger_with_entries() -> MemoryLedger {
    let mut port = MemoryLedger::default();
    fund(
        &mut port,
        &[(&own(1), "EUR", "1000.00"), (&own(2), "EUR", "50.00")],
    );
    let mut odd = pay("E2", "20.50", "EUR", &own(3));
    odd.extra = "<RmtInf><Ustrd>=1+1 &amp; \"more\"</Ustrd><Ustrd>line two</Ustrd></RmtInf>".to_owned();
    import_xml(
        &mut port,
        &pain001("M1", &own(1), &[pay("E1", "100", "EUR", &own(2)), odd]),
    )
    .expect("imports");
    import_xml(
        &mut port,
        &pain001("M2", &own(2), &[pay("E1", "149.99", "EUR", &own(1))]),
    )
    .expect("imports");
    port
}

fn reserve(port: &mut MemoryLedger, number: u128, flags: TransferFlags, pending: u128, amount: u128) {
    let transfer = Transfer {
        id: TransferId(number),
        debit_account_id: id(1),
        credit_account_id: id(2),
        amount: ledger::Amount(amount),
        pending_id: TransferId(pending),
        ledger: LedgerId(978),
        code: Code(7),
        flags,
        ..Transfer::default()
    };
    assert_eq!(
        port.transfer(transfer).result,
        ledger::CreateTransferResult::Created
    );
}

fn request(number: u64, port: &MemoryLedger) -> StatementRequest {
    StatementRequest {
        account: id(number),
        identification: AccountRef::parse(&own(number)).ok(),
        currency: "EUR".to_owned(),
        scale: 2,
        owner: Some("Steppe & Co".to_owned()),
        servicer_bic: Some("TULPKZKA".to_owned()),
        from: TimestampNs(START),
        to: TimestampNs(port.now),
        created: TimestampNs(port.now),
        statement_id: "ST-1".to_owned(),
        with_pending: false,
    }
}

fn written(port: &mut MemoryLedger, request: &StatementRequest, format: StatementFormat) -> String {
    let mut out = Vec::new();
    write_statement(port, request, format, &mut out, &mut quiet()).expect("writes");
    String::from_utf8(out).expect("UTF-8")
}

/// Paths with texts, in order; fails when the text is not well-formed.
fn leaves(xml: &str) -> Vec<(String, String)> {
    let mut reader = Reader::from_str(xml);
    let (mut path, mut found): (Vec<String>, Vec<(String, String)>) = (Vec::new(), Vec::new());
    let mut text = String::new();
    loop {
        match reader.read_event().expect("well-formed") {
            Event::Start(start) => {
                path.push(start.local_name().into_inner().to_owned());
                text.clear();
            }
            Event::End(_) => {
                if !text.trim().is_empty() {
                    found.push((path.join("/"), text.trim().to_owned()));
                }
                text.clear();
                path.pop();
            }
            Event::Text(part) => text.push_str(&part.xml10_content()),
            Event::GeneralRef(reference) => text.push_str(&format!("&{};", reference.xml10_content())),
            Event::Eof => break,
            _ => {}
        }
    }
    assert!(path.is_empty(), "unclosed: {path:?}");
    found
}

fn agrees_with_golden(name: &str, text: &str) {
    let path = format!("{}/tests/golden/{name}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, text).expect("written");
    }
    let expected = std::fs::read_to_string(&path).expect("a golden file for every version");
    assert_eq!(text, expected, "UPDATE_GOLDEN=1 writes it anew");
}

fn texts<'a>(leaves: &'a [(String, String)], end: &str) -> Vec<&'a str> {
    leaves
        .iter()
        .filter(|(path, _)| path.ends_with(end))
        .map(|(_, text)| text.as_str())
        .collect()
}

#[test]
fn camt053_has_balances_and_entries_that_agree_with_the_ledger() {
    let mut port = ledger_with_entries();
    let request = request(1, &port);
    for (format, version) in [
        (StatementFormat::Camt053V08, "08"),
        (StatementFormat::Camt053V02, "02"),
    ] {
        let xml = written(&mut port, &request, format);
        assert!(xml.contains(&format!(
            "xmlns=\"urn:iso:std:iso:20022:tech:xsd:camt.053.001.{version}\""
        )));
        agrees_with_golden(&format!("camt.053.001.{version}.xml"), &xml);
        let leaves = leaves(&xml);
        assert_eq!(texts(&leaves, "Stmt/Acct/Id/IBAN"), [own(1)]);
        assert_eq!(texts(&leaves, "Bal/Tp/CdOrPrtry/Cd"), ["OPBD", "CLBD"]);
        assert_eq!(texts(&leaves, "Bal/Amt"), ["0.00", "1029.49"]);
        assert_eq!(
            texts(&leaves, "Ntry/Amt"),
            ["1000.00", "100.00", "20.50", "149.99"]
        );
        assert_eq!(texts(&leaves, "Ntry/CdtDbtInd"), ["CRDT", "DBIT", "DBIT", "CRDT"]);
        assert_eq!(texts(&leaves, "TtlCdtNtries/Sum"), ["1149.99"]);
        assert_eq!(texts(&leaves, "TtlDbtNtries/Sum"), ["120.50"]);
        assert_eq!(texts(&leaves, "Refs/EndToEndId"), ["E1", "E2", "E1"]);
        let debtor = if version == "08" {
            "RltdPties/Dbtr/Pty/Nm"
        } else {
            "RltdPties/Dbtr/Nm"
        };
        assert_eq!(texts(&leaves, debtor).len(), 3);
        assert_eq!(
            texts(&leaves, "RmtInf/Ustrd"),
            ["opening balance", "=1+1 &amp; &quot;more&quot;", "line two"]
        );
        let status = if version == "08" {
            "Ntry/Sts/Cd"
        } else {
            "Ntry/Sts"
        };
        assert_eq!(texts(&leaves, status), ["BOOK"; 4]);
    }
}

#[test]
fn a_statement_of_a_part_begins_with_the_balance_before_it() {
    let mut port = ledger_with_entries();
    let mut request = request(1, &port);
    let last = port.rows.last().expect("a row").0.transfer.timestamp;
    request.from = last;
    let leaves = leaves(&written(&mut port, &request, StatementFormat::Camt053V08));
    assert_eq!(texts(&leaves, "Bal/Amt"), ["879.50", "1029.49"]);
    assert_eq!(texts(&leaves, "Ntry/Amt"), ["149.99"]);
    request.from = TimestampNs(last.0 + 1);
    request.to = TimestampNs(last.0 + 2);
    let csv = written(&mut port, &request, StatementFormat::Csv);
    assert_eq!(csv.lines().count(), 1, "no entries: {csv}");
}

#[test]
fn csv_and_json_carry_the_same_entries() {
    let mut port = ledger_with_entries();
    let request = request(1, &port);
    let csv = written(&mut port, &request, StatementFormat::Csv);
    let rows: Vec<csv::StringRecord> = csv::Reader::from_reader(csv.as_bytes())
        .records()
        .map(|row| row.expect("a row"))
        .collect();
    let column = |at: usize| rows.iter().map(|row| row[at].to_owned()).collect::<Vec<_>>();
    assert_eq!(column(3), ["1000.00", "100.00", "20.50", "149.99"]);
    assert_eq!(column(5), ["1000.00", "900.00", "879.50", "1029.49"]);
    assert_eq!(
        &rows[2][11], "'=1+1 & \"more\" line two",
        "what looks like a formula is made harmless"
    );
    let json: serde_json::Value =
        serde_json::from_str(&written(&mut port, &request, StatementFormat::Json)).expect("JSON");
    assert_eq!(json["closing_balance"], "1029.49");
    let amounts: Vec<_> = json["entries"]
        .as_array()
        .expect("entries")
        .iter()
        .map(|e| e["amount"].clone())
        .collect();
    assert_eq!(amounts, column(3));
    assert_eq!(json["entries"][0]["timestamp"], "2026-01-01T00:00:03.000000000Z");
}

#[test]
fn reservations_are_listed_only_when_asked_for_and_only_while_they_last() {
    let mut port = ledger_with_entries();
    reserve(&mut port, 1, TransferFlags::PENDING, 0, 1_000);
    reserve(&mut port, 2, TransferFlags::PENDING, 0, 2_000);
    reserve(&mut port, 3, TransferFlags::PENDING, 0, 3_000);
    reserve(&mut port, 4, TransferFlags::POST_PENDING_TRANSFER, 1, 400);
    reserve(&mut port, 5, TransferFlags::VOID_PENDING_TRANSFER, 2, 0);
    let mut request = request(1, &port);
    let plain = leaves(&written(&mut port, &request, StatementFormat::Camt053V08));
    assert_eq!(
        texts(&plain, "Ntry/Amt"),
        ["1000.00", "100.00", "20.50", "149.99", "4.00"]
    );
    request.with_pending = true;
    let leaves = leaves(&written(&mut port, &request, StatementFormat::Camt053V08));
    assert_eq!(
        texts(&leaves, "Ntry/Amt"),
        ["1000.00", "100.00", "20.50", "149.99", "4.00", "30.00"]
    );
    assert_eq!(texts(&leaves, "Ntry/Sts/Cd").last(), Some(&"PDNG"));
    assert_eq!(
        texts(&leaves, "Bal/Amt"),
        ["0.00", "1025.49"],
        "the closing balance is the booked one"
    );
}

#[test]
fn an_overdrawn_account_shows_its_debit_balance() {
    let mut port = MemoryLedger::default();
    fund(&mut port, &[("clearing:DEUT-EUR", "EUR", "-12.34")]);
    let account = account_id(
        AccountKind::Clearing,
        &AccountRef::parse("DEUT-EUR").expect("a name"),
        "EUR",
    );
    let mut request = request(1, &port);
    request.account = account;
    request.identification = None;
    let json: serde_json::Value =
        serde_json::from_str(&written(&mut port, &request, StatementFormat::Json)).expect("JSON");
    assert_eq!(json["closing_balance"], "-12.34");
    let leaves = leaves(&written(&mut port, &request, StatementFormat::Camt053V08));
    assert_eq!(texts(&leaves, "Bal/CdtDbtInd"), ["CRDT", "DBIT"]);
}

#[test]
fn long_remittance_lines_go_on_in_the_next_element() {
    let mut port = MemoryLedger::default();
    fund(&mut port, &[(&own(1), "EUR", "10.00")]);
    let line: String = ('a'..='z').cycle().take(300).collect();
    let mut long = pay("E1", "1", "EUR", &own(2));
    long.extra = format!("<RmtInf><Ustrd>{line}</Ustrd><Ustrd>short</Ustrd></RmtInf>");
    import_xml(&mut port, &pain001("M1", &own(1), &[long])).expect("imports");
    let request = request(2, &port);
    let leaves = leaves(&written(&mut port, &request, StatementFormat::Camt053V08));
    let found = texts(&leaves, "RmtInf/Ustrd");
    assert_eq!(found, [&line[..140], &line[140..280], &line[280..], "short"]);
}

#[test]
fn amounts_that_camt053_cannot_hold_fail_the_statement() {
    for (amount, fits) in [("9999999999999999.99", true), ("10000000000000000.00", false)] {
        let mut port = MemoryLedger::default();
        fund(&mut port, &[(&own(1), "EUR", amount)]);
        let request = request(1, &port);
        for format in [StatementFormat::Camt053V08, StatementFormat::Camt053V02] {
            let done = write_statement(&mut port, &request, format, &mut Vec::new(), &mut quiet());
            assert_eq!(done.is_ok(), fits, "{amount}");
            if let Err(error) = done {
                let error = error.to_string();
                assert!(
                    error.starts_with("PAY-0009: camt.053 holds amounts of at most 18 digits"),
                    "{error}"
                );
            }
        }
        assert!(written(&mut port, &request, StatementFormat::Json).contains(amount));
    }
}

#[test]
fn what_is_booked_while_a_statement_is_written_is_not_in_it() {
    let busy = || {
        let mut port = ledger_with_entries();
        port.meanwhile = Some(Transfer {
            id: TransferId(1_000),
            debit_account_id: id(1),
            credit_account_id: id(2),
            amount: ledger::Amount(1),
            ledger: LedgerId(978),
            code: Code(7),
            ..Transfer::default()
        });
        port
    };
    let mut port = busy();
    let mut request = request(1, &port);
    let later = TimestampNs(port.now + 3_600_000_000_000);
    request.to = later;
    let json: serde_json::Value =
        serde_json::from_str(&written(&mut port, &request, StatementFormat::Json)).expect("JSON");
    assert!(port.rows.len() > 6, "there was something meanwhile");
    assert_eq!(json["closing_balance"], "1029.48");
    assert_eq!(json["entries"].as_array().map(Vec::len), Some(5));
    // A time that is all to come holds nothing yet.
    let mut port = busy();
    (request.from, request.to) = (later, TimestampNs(later.0 + 1));
    let json: serde_json::Value =
        serde_json::from_str(&written(&mut port, &request, StatementFormat::Json)).expect("JSON");
    assert_eq!(json["opening_balance"], json["closing_balance"]);
    assert_eq!(json["entries"].as_array().map(Vec::len), Some(0));
}

#[test]
fn a_statement_that_does_not_add_up_fails() {
    let mut port = ledger_with_entries();
    let at = port.rows.len() - 1;
    port.rows[at].0.transfer.amount.0 += 1;
    let request = request(1, &port);
    let error = write_statement(
        &mut port,
        &request,
        StatementFormat::Json,
        &mut Vec::new(),
        &mut quiet(),
    );
    assert!(matches!(error, Err(PaymentsError::Statement(_))), "{error:?}");
}

#[test]
fn statements_that_make_no_sense_are_refused() {
    let mut port = ledger_with_entries();
    let good = request(1, &port);
    let mut none = good.clone();
    none.account = AccountId(12_345);
    let mut backwards = good.clone();
    backwards.to = TimestampNs(1);
    let mut fine = good.clone();
    fine.scale = 8;
    let mut asset = good.clone();
    asset.currency = "POINTS".to_owned();
    for (request, said) in [
        (none, "does not exist"),
        (backwards, "not after to"),
        (fine, "at most 5"),
        (asset, "three letters"),
    ] {
        let error = write_statement(
            &mut port,
            &request,
            StatementFormat::Camt053V08,
            &mut Vec::new(),
            &mut quiet(),
        )
        .expect_err("refused")
        .to_string();
        assert!(error.starts_with("PAY-0009") && error.contains(said), "{error}");
    }
}

#[test]
fn status_reports_go_back_in_the_version_that_belongs_to_the_file() {
    let folder = format!("{}/tests/golden", env!("CARGO_MANIFEST_DIR"));
    let reports = [
        (3, 3),
        (4, 4),
        (5, 5),
        (6, 6),
        (7, 7),
        (8, 8),
        (9, 10),
        (10, 11),
        (11, 12),
        (12, 14),
        (13, 15),
    ];
    for (initiation, report) in reports {
        let xml =
            std::fs::read_to_string(format!("{folder}/pain.001.001.{initiation:02}.xml")).expect("golden");
        let mut port = MemoryLedger::default();
        fund(&mut port, &[(&own(1), "EUR", "4500.00")]);
        let imported = import_xml(&mut port, &xml).expect("imports");
        let header = StatusReportHeader {
            message_id: "STATUS-1".to_owned(),
            created: TimestampNs(START),
            agent_bic: Some("TULPKZKA".to_owned()),
        };
        let out = write_status_report(&imported, &header, Vec::new()).expect("writes");
        let text = String::from_utf8(out).expect("UTF-8");
        agrees_with_golden(&format!("pain.002.001.{report:02}.xml"), &text);
        let leaves = leaves(&text);
        assert_eq!(
            texts(&leaves, "OrgnlMsgNmId"),
            [format!("pain.001.001.{initiation:02}")]
        );
        assert_eq!(texts(&leaves, "GrpSts"), ["PART"]);
        assert_eq!(texts(&leaves, "PmtInfSts"), ["PART", "RJCT"]);
        assert_eq!(texts(&leaves, "TxSts"), ["ACSC", "RJCT", "RJCT"]);
        assert_eq!(texts(&leaves, "TxInfAndSts/StsRsnInf/Rsn/Cd"), ["AM04", "AM04"]);
        assert_eq!(
            texts(&leaves, "TxInfAndSts/OrgnlUETR").len(),
            usize::from(report >= 10)
        );
    }
}

#[test]
fn a_file_that_is_refused_as_a_whole_has_reasons_at_every_level() {
    let folder = format!("{}/tests/golden", env!("CARGO_MANIFEST_DIR"));
    let xml = std::fs::read_to_string(format!("{folder}/pain.001.001.11.xml")).expect("golden");
    let xml = xml
        .replacen("<ns0:NbOfTxs>3<", "<ns0:NbOfTxs>99999999999999999<", 1)
        .replacen(">4550.755<", ">4550.7550000000000000001<", 1)
        .replacen(">2500.75<", ">2500.7500001<", 1)
        .replacen(">2000<", ">123456789012345678901<", 1)
        .replace(
            "DEUTDEFF",
            "<![CDATA[<&> a very long thing that is not a bank ]]>",
        )
        .replace("Ccy=\"KWD\"", "Ccy=\"kwd&quot;\"");
    let imported = import_xml(&mut MemoryLedger::default(), &xml).expect("imports");
    let header = StatusReportHeader {
        message_id: "STATUS-1".to_owned(),
        created: TimestampNs(START),
        agent_bic: None,
    };
    let out = write_status_report(&imported, &header, Vec::new()).expect("writes");
    let text = String::from_utf8(out).expect("UTF-8");
    agrees_with_golden("refused.pain.002.001.12.xml", &text);
    let leaves = leaves(&text);
    assert_eq!(texts(&leaves, "GrpSts"), ["RJCT"]);
    assert_eq!(
        texts(&leaves, "OrgnlGrpInfAndSts/StsRsnInf/Rsn/Cd"),
        ["AM18", "AM10"]
    );
    assert_eq!(texts(&leaves, "OrgnlPmtInfAndSts/StsRsnInf/Rsn/Cd"), ["AM10"]);
    assert!(
        texts(&leaves, "OrgnlTxRef/Amt/InstdAmt").is_empty(),
        "what the standard cannot hold is left out"
    );
}
