//! Imports against the real ledger: what is booked, what is refused and why, and that repeating changes nothing.

mod support;

use ledger::{AccountFlags, Transfer, TransferFlags, TransferId};
use payments::{AccountKind, AccountRef, Outcome, account_id};
use support::{MemoryLedger, foreign, fund, import_xml, mapping, own, pain001, pay, quiet, statuses};

fn own_id(iban: &str, currency: &str) -> ledger::AccountId {
    account_id(AccountKind::Own, &AccountRef::Iban(iban.to_owned()), currency)
}

fn net(port: &MemoryLedger, id: ledger::AccountId) -> i128 {
    let balances = port.balances(id).unwrap_or_default();
    balances.credits_posted.0 as i128 - balances.debits_posted.0 as i128
}

fn clearing(name: &str, currency: &str) -> ledger::AccountId {
    account_id(
        AccountKind::Clearing,
        &AccountRef::parse(name).expect("a name"),
        currency,
    )
}

#[test]
fn payments_move_money_between_own_accounts_and_through_clearing() {
    let mut port = MemoryLedger::default();
    fund(&mut port, &[(&own(1), "EUR", "1000.00")]);
    let mut to_deut = pay("E2", "200.50", "EUR", &foreign(5));
    to_deut.bic = Some("DEUTDEFF".to_owned());
    let other = pay("E3", "1.01", "EUR", &foreign(6));
    let xml = pain001("M1", &own(1), &[pay("E1", "100", "EUR", &own(2)), to_deut, other]);
    let report = import_xml(&mut port, &xml).expect("imports");
    assert_eq!(statuses(&report), ["ACSC", "ACSC", "ACSC"]);
    assert_eq!(
        net(&port, own_id(&own(1), "EUR")),
        100_000 - 10_000 - 20_050 - 101
    );
    assert_eq!(net(&port, own_id(&own(2), "EUR")), 10_000);
    assert_eq!(net(&port, clearing("DEUT-EUR", "EUR")), 20_050);
    assert_eq!(net(&port, clearing("CORRESPONDENTS", "EUR")), 101);
    let transfer = &port.rows.last().expect("a row").0.transfer;
    assert_eq!(transfer.user_data_32, 20_261_122);
    assert_eq!(transfer.user_data_128, payments::payment_reference("E3"));
    assert_eq!(transfer.user_data_64, payments::file_reference("Steppe Co", "M1"));
}

#[test]
fn importing_twice_changes_nothing() {
    let mut port = MemoryLedger::default();
    fund(&mut port, &[(&own(1), "EUR", "150.00")]);
    let payments = [pay("E1", "100", "EUR", &own(2)), pay("E2", "100", "EUR", &own(3))];
    let xml = pain001("M1", &own(1), &payments);
    assert_eq!(
        statuses(&import_xml(&mut port, &xml).expect("imports")),
        ["ACSC", "AM04"]
    );
    let before = port.fingerprint();
    let report = import_xml(&mut port, &xml).expect("imports");
    // What was refused for funds stays refused, even if there were funds now: its id is burnt.
    assert_eq!(statuses(&report), ["again", "NARR"]);
    assert_eq!(port.fingerprint(), before);
    fund(&mut port, &[(&own(1), "EUR", "150.00")]);
    assert_eq!(port.fingerprint(), before);
}

#[test]
fn an_import_that_broke_off_is_completed_by_the_next_one() {
    let payments: Vec<_> = (0..20)
        .map(|n| pay(&format!("E{n}"), "1.00", "EUR", &own(100 + n)))
        .collect();
    let xml = pain001("M1", &own(1), &payments);
    let mut whole = MemoryLedger::default();
    fund(&mut whole, &[(&own(1), "EUR", "100")]);
    let start = whole.requests;
    import_xml(&mut whole, &xml).expect("imports");
    let requests = whole.requests - start;
    assert!(requests >= 3, "{requests}");
    for fail_at in 1..=requests {
        let mut port = MemoryLedger::default();
        fund(&mut port, &[(&own(1), "EUR", "100")]);
        port.fail_at = Some(port.requests + fail_at);
        import_xml(&mut port, &xml).expect_err("the ledger did not answer");
        let report = import_xml(&mut port, &xml).expect("imports");
        assert_eq!(report.totals().accepted(), 20, "failed at {fail_at}");
        assert_eq!(net(&port, own_id(&own(1), "EUR")), 8_000);
    }
}

/// Payments with so much text that a few of them fill a call.
fn wordy(count: u64) -> Vec<support::Pay> {
    (0..count)
        .map(|n| {
            let mut pay = pay(&format!("E{n}"), "0.01", "EUR", &own(2));
            pay.extra = format!("<RmtInf><Ustrd>{}</Ustrd></RmtInf>", "x".repeat(3_000));
            pay
        })
        .collect()
}

#[test]
fn calls_are_bounded_in_bytes_and_the_order_of_payments_is_kept() {
    let mut port = MemoryLedger::default();
    fund(&mut port, &[(&own(1), "EUR", "100")]);
    let (before, first) = (port.requests, port.rows.len());
    let report = import_xml(&mut port, &pain001("M1", &own(1), &wordy(3_000))).expect("imports");
    assert_eq!(report.totals().settled, 3_000);
    let transfers = 3;
    let accounts_and_ledger = 2;
    assert_eq!(port.requests - before, accounts_and_ledger + transfers);
    let booked: Vec<_> = port.rows[first..]
        .iter()
        .map(|(row, _)| row.transfer.id)
        .collect();
    let planned: Vec<_> = report.batches[0]
        .payments
        .iter()
        .filter_map(|payment| payment.transfer)
        .collect();
    assert_eq!(booked, planned);
}

#[test]
fn an_import_that_broke_off_tells_what_was_answered() {
    let xml = pain001("M1", &own(1), &wordy(3_000));
    let file = payments::read_pain001(xml.as_bytes(), &mut quiet()).expect("reads");
    let mut port = MemoryLedger::default();
    fund(&mut port, &[(&own(1), "EUR", "5.00")]);
    // The ledger, the accounts, one call of transfers, and then no answer.
    port.fail_at = Some(port.requests + 4);
    let failure =
        payments::import_payments(&mapping(), &file, &mut port, &mut quiet()).expect_err("no answer");
    assert_eq!(failure.error.code(), "PAY-0007");
    let report = failure.report.expect("booking had begun");
    let totals = report.totals();
    assert_eq!((totals.settled, totals.all()), (500, 3_000));
    assert!(totals.refused > 0 && totals.pending > 0, "{totals:?}");
    let header = payments::StatusReportHeader {
        message_id: "S".to_owned(),
        created: ledger::TimestampNs(support::START),
        agent_bic: None,
    };
    let out = payments::write_status_report(&report, &header, Vec::new()).expect("writes");
    let text = String::from_utf8(out).expect("UTF-8");
    assert_eq!(text.matches("<TxSts>ACSC</TxSts>").count() as u64, totals.settled);
    assert_eq!(text.matches("<TxSts>RJCT</TxSts>").count() as u64, totals.refused);
    assert_eq!(text.matches("<TxSts>PDNG</TxSts>").count() as u64, totals.pending);
    assert!(text.contains("<GrpSts>PART</GrpSts>") && text.contains("<DtldSts>PDNG</DtldSts>"));
    assert!(text.contains("the import broke off before the ledger answered"));
    // Before booking there is nothing to tell.
    let mut port = MemoryLedger {
        fail_at: Some(1),
        ..MemoryLedger::default()
    };
    let failure =
        payments::import_payments(&mapping(), &file, &mut port, &mut quiet()).expect_err("no answer");
    assert!(failure.report.is_none());
}

#[test]
fn changed_contents_under_the_same_identification_are_refused() {
    let mut port = MemoryLedger::default();
    fund(
        &mut port,
        &[(&own(1), "EUR", "1000.00"), (&own(9), "EUR", "1000.00")],
    );
    let original = pay("E1", "100", "EUR", &own(2));
    import_xml(
        &mut port,
        &pain001("M1", &own(1), std::slice::from_ref(&original)),
    )
    .expect("imports");
    let before = port.fingerprint().0;
    let mut remittance = original.clone();
    remittance.extra = "<RmtInf><Ustrd>another text</Ustrd></RmtInf>".to_owned();
    for (debtor, changed) in [
        (own(1), pay("E1", "101", "EUR", &own(2))),
        (own(1), pay("E1", "100", "EUR", &own(3))),
        (own(9), original.clone()),
        (own(1), remittance),
    ] {
        let report = import_xml(&mut port, &pain001("M1", &debtor, &[changed])).expect("imports");
        assert_eq!(statuses(&report), ["AM05"]);
    }
    assert_eq!(port.fingerprint().0, before, "no transfer was made");
    // Under another message it is another payment.
    let report = import_xml(&mut port, &pain001("M2", &own(1), &[original])).expect("imports");
    assert_eq!(statuses(&report), ["ACSC"]);
}

#[test]
fn duplicates_inside_a_file_are_refused_and_never_merged() {
    let mut port = MemoryLedger::default();
    fund(&mut port, &[(&own(1), "EUR", "1000.00")]);
    let payments = [
        pay("E1", "1", "EUR", &own(2)),
        pay("E1", "2", "EUR", &own(2)),
        pay("E1", "1", "EUR", &own(2)),
        pay("NOTPROVIDED", "5", "EUR", &own(2)),
        pay("NOTPROVIDED", "5", "EUR", &own(2)),
    ];
    let report = import_xml(&mut port, &pain001("M1", &own(1), &payments)).expect("imports");
    // Payments that say nothing of themselves are two payments.
    assert_eq!(statuses(&report), ["ACSC", "AM05", "AM05", "ACSC", "ACSC"]);
    assert_eq!(net(&port, own_id(&own(2), "EUR")), 1_100);
    let Outcome::Refused(issues) = &report.batches[0].payments[1].outcome else {
        panic!("refused")
    };
    assert_eq!(
        (issues[0].line, issues[0].text.as_str()),
        (7, "the same identification as the payment at line 6")
    );
}

#[test]
fn not_provided_identifies_nothing_wherever_it_stands() {
    let mut port = MemoryLedger::default();
    fund(&mut port, &[(&own(1), "EUR", "1000.00")]);
    let nothing = pay("NOTPROVIDED", "5", "EUR", &own(2));
    let xml = pain001("M1", &own(1), &[nothing.clone(), nothing.clone(), nothing]).replace(
        "<PmtId>",
        "<PmtId><InstrId>NOTPROVIDED</InstrId><UETR>NOTPROVIDED</UETR>",
    );
    let report = import_xml(&mut port, &xml).expect("imports");
    assert_eq!(statuses(&report), ["ACSC", "ACSC", "ACSC"]);
    let again = import_xml(&mut port, &xml).expect("imports");
    assert_eq!(statuses(&again), ["again", "again", "again"]);
    // One that is identified keeps the id that it always had, whatever else is not provided.
    let xml = pain001("M2", &own(1), &[pay("E1", "5", "EUR", &own(2))])
        .replace("<PmtId>", "<PmtId><InstrId>NOTPROVIDED</InstrId>");
    let report = import_xml(&mut port, &xml).expect("imports");
    let parts = ["pain.001", "Steppe Co", "M2", "P1", "NOTPROVIDED", "E1", "", ""];
    assert_eq!(
        report.batches[0].payments[0].transfer,
        Some(payments::transfer_id(&parts))
    );
}

#[test]
fn a_second_batch_of_the_same_name_is_refused_as_a_whole() {
    let mut port = MemoryLedger::default();
    fund(&mut port, &[(&own(1), "EUR", "1000.00")]);
    let xml = pain001("M1", &own(1), &[pay("E1", "1", "EUR", &own(2))]);
    let (from, to) = (
        xml.find("<PmtInf>").expect("there"),
        xml.find("</CstmrCdtTrfInitn>").expect("there"),
    );
    let again = xml[from..to].replace("E1", "E2");
    let xml = format!("{}{again}{}", &xml[..to], &xml[to..]);
    let report = import_xml(&mut port, &xml).expect("imports");
    assert_eq!(statuses(&report), ["ACSC", "AM05"]);
}

#[test]
fn every_refusal_says_why() {
    let mut port = MemoryLedger::default();
    fund(
        &mut port,
        &[
            (&own(1), "EUR", "100.00"),
            (&own(1), "JPY", "5000"),
            (&own(1), "KWD", "10.500"),
        ],
    );
    let mut bad_bic = pay("E13", "1", "EUR", &foreign(1));
    bad_bic.bic = Some("NOTABIC".to_owned());
    let mut ours = pay("E14", "1", "EUR", &foreign(1));
    ours.bic = Some("TULPKZKAXXX".to_owned());
    let payments = [
        (pay("E1", "1000", "EUR", &own(2)), "AM04"),
        (pay("E2", "1", "XTS", &own(2)), "AM03"),
        (pay("E3", "1", "", &own(2)), "AM03"),
        (pay("E4", "1.001", "EUR", &own(2)), "AM12"),
        (pay("E5", "100.0", "JPY", &own(2)), "AM12"),
        (pay("E6", "1.2345", "KWD", &own(2)), "AM12"),
        (pay("E7", "0.00", "EUR", &own(2)), "AM01"),
        (pay("E8", "-5", "EUR", &own(2)), "AM12"),
        (pay("E9", "five", "EUR", &own(2)), "AM12"),
        (pay("E10", "1", "EUR", "DE00370400440532013000"), "AC03"),
        (pay("E11", "1", "EUR", ""), "AC03"),
        (pay("E12", "1", "EUR", &own(1)), "AC03"),
        (bad_bic, "RC04"),
        (ours, "AC03"),
        (pay("E15", "2500", "JPY", &own(2)), "ACSC"),
        (pay("E16", "10.499", "KWD", &own(2)), "ACSC"),
    ];
    let given: Vec<_> = payments.iter().map(|(pay, _)| pay.clone()).collect();
    let report = import_xml(&mut port, &pain001("M1", &own(1), &given)).expect("imports");
    let expected: Vec<_> = payments.iter().map(|(_, code)| *code).collect();
    assert_eq!(statuses(&report), expected);
    assert_eq!(net(&port, own_id(&own(1), "KWD")), 1);
    assert_eq!(net(&port, own_id(&own(1), "JPY")), 2_500);
    let json = report.to_json();
    assert_eq!(json["refusals"][0]["reasons"][0]["code"], "AM04");
    assert_eq!((&json["settled"], &json["refused"]), (&2.into(), &14.into()));
}

#[test]
fn closed_accounts_are_told_apart_by_side() {
    let mut port = MemoryLedger::default();
    fund(
        &mut port,
        &[(&own(1), "EUR", "100.00"), (&own(2), "EUR", "100.00")],
    );
    let close = Transfer {
        id: TransferId(1),
        debit_account_id: own_id(&own(2), "EUR"),
        credit_account_id: own_id(&own(1), "EUR"),
        ledger: ledger::LedgerId(978),
        code: ledger::Code(9),
        flags: TransferFlags::PENDING | TransferFlags::CLOSING_DEBIT,
        ..Transfer::default()
    };
    assert_eq!(port.transfer(close).result, ledger::CreateTransferResult::Created);
    let to_closed = pain001("M1", &own(1), &[pay("E1", "1", "EUR", &own(2))]);
    assert_eq!(
        statuses(&import_xml(&mut port, &to_closed).expect("imports")),
        ["AC07"]
    );
    let from_closed = pain001("M2", &own(2), &[pay("E1", "1", "EUR", &own(1))]);
    assert_eq!(
        statuses(&import_xml(&mut port, &from_closed).expect("imports")),
        ["AC04"]
    );
}

#[test]
fn debtors_elsewhere_are_refused_with_their_whole_batch() {
    let mut port = MemoryLedger::default();
    let xml = pain001(
        "M1",
        &foreign(1),
        &[pay("E1", "1", "EUR", &own(2)), pay("E2", "1", "EUR", &own(3))],
    );
    let report = import_xml(&mut port, &xml).expect("imports");
    assert_eq!(statuses(&report), ["AC02", "AC02"]);
    assert_eq!(report.batches[0].issues.len(), 1);
    assert_eq!(port.fingerprint().1, 0, "no account was made");
}

#[test]
fn a_file_meant_for_another_bank_is_refused() {
    let mut port = MemoryLedger::default();
    fund(&mut port, &[(&own(1), "EUR", "100.00")]);
    let xml = pain001("M1", &own(1), &[pay("E1", "1", "EUR", &own(2))]);
    for (bic, expected) in [("DEUTDEFF", "RC03"), ("TULPKZKAXXX", "ACSC")] {
        let agent = format!("</DbtrAcct><DbtrAgt><FinInstnId><BICFI>{bic}</BICFI></FinInstnId></DbtrAgt>");
        let report = import_xml(&mut port, &xml.replace("</DbtrAcct>", &agent)).expect("imports");
        assert_eq!(statuses(&report), [expected]);
    }
}

#[test]
fn foreign_debtors_come_in_through_clearing_where_the_mapping_says_so() {
    let text = support::MAPPING.replace("bics = [", "accept_foreign_debtors = true\nbics = [");
    let mapping = payments::Mapping::parse(&text, "mapping.toml").expect("valid");
    let mut port = MemoryLedger::default();
    let payments = [pay("E1", "7", "EUR", &own(2)), pay("E2", "7", "EUR", &foreign(3))];
    let xml = pain001("M1", &foreign(1), &payments);
    let file = payments::read_pain001(xml.as_bytes(), &mut quiet()).expect("reads");
    let report = payments::import_payments(&mapping, &file, &mut port, &mut quiet()).expect("imports");
    // Both ends at other banks, both through the same clearing account.
    assert_eq!(statuses(&report), ["ACSC", "AC03"]);
    assert_eq!(net(&port, clearing("CORRESPONDENTS", "EUR")), -700);
}

#[test]
fn claims_that_do_not_hold_bar_all_that_they_are_about() {
    let payments = [
        pay("E1", "1.50", "EUR", &own(2)),
        pay("E2", "2.25", "EUR", &own(3)),
    ];
    let xml = pain001("M1", &own(1), &payments);
    let group = |claims: &str| xml.replace("<CreDtTm>", &format!("{claims}<CreDtTm>"));
    let batch = |claims: &str| xml.replace("<PmtMtd>TRF</PmtMtd>", &format!("<PmtMtd>TRF</PmtMtd>{claims}"));
    for (xml, expected) in [
        (group("<NbOfTxs>2</NbOfTxs><CtrlSum>3.750</CtrlSum>"), "ACSC"),
        (group("<NbOfTxs>3</NbOfTxs>"), "AM18"),
        (group("<CtrlSum>3.74</CtrlSum>"), "AM10"),
        (group("<CtrlSum>much</CtrlSum>"), "AM10"),
        (group("<NbOfTxs>two</NbOfTxs>"), "AM18"),
        (batch("<NbOfTxs>2</NbOfTxs><CtrlSum>3.75</CtrlSum>"), "ACSC"),
        (batch("<NbOfTxs>1</NbOfTxs><CtrlSum>3.76</CtrlSum>"), "AM18+AM10"),
        (batch("<CtrlSum>3.75</CtrlSum>").replace("2.25", "2.2.5"), "AM10"),
    ] {
        let mut port = MemoryLedger::default();
        fund(&mut port, &[(&own(1), "EUR", "100.00")]);
        let report = import_xml(&mut port, &xml).expect("imports");
        let statuses = statuses(&report);
        assert!(
            statuses.iter().all(|status| status.starts_with(expected)),
            "{statuses:?} for {expected}"
        );
        let booked = net(&port, own_id(&own(1), "EUR")) != 10_000;
        assert_eq!(booked, expected == "ACSC", "{expected}");
    }
}

#[test]
fn claims_that_do_not_hold_are_told_by_their_line() {
    let xml = pain001("M1", &own(1), &[pay("E1", "1.50", "EUR", &own(2))])
        .replace(
            "<CreDtTm>",
            "\n<NbOfTxs>2</NbOfTxs>\n<CtrlSum>3</CtrlSum><CreDtTm>",
        )
        .replace(
            "<PmtMtd>",
            "\n<NbOfTxs>two</NbOfTxs>\n<CtrlSum>4</CtrlSum><PmtMtd>",
        );
    let report = import_xml(&mut MemoryLedger::default(), &xml).expect("imports");
    let lines = |issues: &[payments::Issue]| {
        let told = issues
            .iter()
            .filter(|issue| issue.path.contains("NbOfTxs") || issue.path.contains("CtrlSum"));
        told.map(|issue| (issue.reason.code(), issue.line))
            .collect::<Vec<_>>()
    };
    assert_eq!(lines(&report.issues), [("AM18", 4), ("AM10", 5)]);
    assert_eq!(lines(&report.batches[0].issues), [("AM18", 7), ("AM10", 8)]);
    for (number, line) in (1..).zip(xml.lines()) {
        let claims = line.contains("NbOfTxs") || line.contains("CtrlSum");
        assert_eq!(claims, [4, 5, 7, 8].contains(&number), "line {number}: {line}");
    }
}

#[test]
fn an_account_named_in_another_currency_is_refused_unless_it_holds_one_each() {
    let mut port = MemoryLedger::default();
    fund(&mut port, &[(&own(1), "EUR", "10"), ("CUST:77", "EUR", "10")]);
    let xml = pain001("M1", &own(1), &[pay("E1", "1", "EUR", &own(2))]).replacen(
        "</DbtrAcct>",
        "<Ccy>USD</Ccy></DbtrAcct>",
        1,
    );
    assert_eq!(statuses(&import_xml(&mut port, &xml).expect("imports")), ["ACSC"]);
    let cust = "<Othr><Id>77</Id><SchmeNm><Prtry>CUST</Prtry></SchmeNm></Othr>";
    let iban = format!("<IBAN>{}</IBAN>", own(1));
    let usd = xml.replacen(&iban, cust, 1).replace("<MsgId>M1", "<MsgId>M2");
    assert_eq!(statuses(&import_xml(&mut port, &usd).expect("imports")), ["AC10"]);
    let eur = usd.replace("<Ccy>USD</Ccy>", "<Ccy>EUR</Ccy>");
    assert_eq!(statuses(&import_xml(&mut port, &eur).expect("imports")), ["ACSC"]);
    let jpy = eur
        .replace("Ccy=\"EUR\"", "Ccy=\"JPY\"")
        .replace("<Ccy>EUR</Ccy>", "")
        .replace("M2", "M3");
    assert_eq!(statuses(&import_xml(&mut port, &jpy).expect("imports")), ["AC10"]);
}

#[test]
fn ledgers_are_described_and_a_contradiction_stops_before_anything_is_booked() {
    let mut port = MemoryLedger::default();
    fund(&mut port, &[(&own(1), "KWD", "10")]);
    let description = port
        .ledger
        .description(ledger::LedgerId(414))
        .expect("described")
        .clone();
    assert_eq!((description.currency.as_str(), description.scale), ("KWD", 3));
    let text = support::MAPPING.replace("code = \"KWD\"", "code = \"KWD\"\nscale = 2");
    let wrong = payments::Mapping::parse(&text, "mapping.toml").expect("valid");
    let xml = pain001("M1", &own(1), &[pay("E1", "1.00", "KWD", &own(2))]);
    let file = payments::read_pain001(xml.as_bytes(), &mut quiet()).expect("reads");
    let before = port.fingerprint();
    let error = payments::import_payments(&wrong, &file, &mut port, &mut quiet()).expect_err("contradiction");
    assert!(
        error
            .to_string()
            .starts_with("PAY-0012: ledger 414: cannot hold KWD with 2 decimals"),
        "{error}"
    );
    assert_eq!(port.fingerprint(), before);
}

#[test]
fn accounts_that_exist_otherwise_are_used_as_they_are_and_told() {
    let mut port = MemoryLedger::default();
    fund(&mut port, &[(&own(1), "EUR", "10")]);
    let text = support::MAPPING.replace("code = 2010", "code = 2011");
    let changed = payments::Mapping::parse(&text, "mapping.toml").expect("valid");
    let xml = pain001("M1", &own(1), &[pay("E1", "1.00", "EUR", &own(2))]);
    let file = payments::read_pain001(xml.as_bytes(), &mut quiet()).expect("reads");
    let report = payments::import_payments(&changed, &file, &mut port, &mut quiet()).expect("imports");
    assert_eq!(statuses(&report), ["ACSC"]);
    assert_eq!(report.notes.len(), 1);
    assert!(
        report.notes[0].contains("exists_with_different_code"),
        "{:?}",
        report.notes
    );
}

#[test]
fn overdrafts_are_for_those_who_have_one() {
    let text = support::MAPPING.replace(support::OVERDRAWN, &own(5));
    let mapping = payments::Mapping::parse(&text, "mapping.toml").expect("valid");
    for (debtor, expected) in [(own(5), "ACSC"), (own(6), "AM04")] {
        let mut port = MemoryLedger::default();
        let xml = pain001("M1", &debtor, &[pay("E1", "1.00", "EUR", &own(2))]);
        let file = payments::read_pain001(xml.as_bytes(), &mut quiet()).expect("reads");
        let report = payments::import_payments(&mapping, &file, &mut port, &mut quiet()).expect("imports");
        assert_eq!(statuses(&report), [expected]);
        let (_, account) = port.ledger.account(own_id(&debtor, "EUR")).expect("made");
        let limited = account
            .flags
            .contains(AccountFlags::DEBITS_MUST_NOT_EXCEED_CREDITS);
        assert_eq!(limited, expected == "AM04");
    }
}

#[test]
fn overdrafts_are_found_however_the_account_is_written() {
    let iban = own(5).to_lowercase();
    let grouped = format!("{} {}", &iban[..4], &iban[4..]);
    let text = support::MAPPING
        .replace(support::OVERDRAWN, &format!("{grouped}\", \"CUST:77"))
        .replace(
            "currencies = [\"EUR\"]",
            "flags = [\"debits_must_not_exceed_credits\"]",
        );
    let mapping = payments::Mapping::parse(&text, "mapping.toml").expect("valid");
    let euro = mapping.currency("EUR").expect("there");
    for (account, limited) in [
        (own(5).as_str(), false),
        (own(6).as_str(), true),
        ("CUST:77", false),
        ("CUST:7", true),
    ] {
        let account = AccountRef::parse(account).expect("an account");
        let mapped = mapping.own_account(&account, None, euro).expect("ours");
        let flags = mapped.new.account.flags;
        assert_eq!(
            flags.contains(AccountFlags::DEBITS_MUST_NOT_EXCEED_CREDITS),
            limited,
            "{account}"
        );
    }
}

#[test]
fn clearing_is_found_by_either_identification_of_a_bank() {
    let text = support::MAPPING.replace(
        "[[clearing]]\naccount = \"CORRESPONDENTS\"",
        "[[clearing]]\nagent = \"37040044\"\naccount = \"GERMANY\"\ncode = 1130\n\n\
         [[clearing]]\naccount = \"CORRESPONDENTS\"",
    );
    let mapping = payments::Mapping::parse(&text, "mapping.toml").expect("valid");
    let euro = mapping.currency("EUR").expect("there");
    for (bic, member_id, name) in [
        (Some("COBADEFF"), Some("37040044"), "GERMANY"),
        (None, Some("37040044"), "GERMANY"),
        (Some("COBADEFF"), None, "CORRESPONDENTS"),
        (Some("DEUTDEFF"), Some("99999999"), "DEUT-EUR"),
        // Both fit: the longer of the two rules' agents decides.
        (Some("DEUTDEFF"), Some("37040044"), "GERMANY"),
    ] {
        let agent = payments::Agent {
            bic: bic.map(str::to_owned),
            member_id: member_id.map(str::to_owned),
        };
        let found = mapping.clearing_account(&agent, None, euro).expect("a way");
        assert_eq!(found.id(), clearing(name, "EUR"), "{bic:?} {member_id:?}");
    }
}

#[test]
fn opening_balances_are_booked_once_and_for_ever() {
    let mut port = MemoryLedger::default();
    let csv = format!(
        "Account;Currency;Amount;x_note\n{};EUR;100.50;\nclearing:DEUT-EUR;EUR;-5000;nostro\n{};EUR;0;\n{};EUR;1.001;\n\
         {};EUR;7;\nDE00;XTS;1;\nclearing:NOBODY;EUR;1;\n{};EUR;1;1;1\n",
        own(1),
        own(2),
        own(3),
        own(1),
        own(4)
    );
    let mapping = mapping();
    let run = |port: &mut MemoryLedger, csv: &str| {
        let reports =
            payments::import_opening_balances(csv.as_bytes(), &mapping, port, &mut quiet()).expect("reads");
        reports
            .iter()
            .map(|report| match &report.outcome {
                Outcome::Refused(issues) => issues[0].reason.code(),
                Outcome::Settled => "ACSC",
                Outcome::AlreadySettled => "again",
                Outcome::Pending => "PDNG",
            })
            .collect::<Vec<_>>()
    };
    let expected = ["ACSC", "ACSC", "AM01", "AM12", "AM05", "AM03", "AC01", "FF01"];
    assert_eq!(run(&mut port, &csv), expected);
    assert_eq!(net(&port, own_id(&own(1), "EUR")), 10_050);
    assert_eq!(net(&port, clearing("DEUT-EUR", "EUR")), -500_000);
    let before = port.fingerprint();
    assert_eq!(run(&mut port, &csv)[..2], ["again", "again"]);
    let changed = run(&mut port, &csv.replace("100.50", "200.50"));
    assert_eq!(changed[0], "AM05");
    assert_eq!(port.fingerprint(), before);
}

#[test]
fn long_remittance_is_cut_but_a_change_behind_the_cut_is_still_seen() {
    let mut port = MemoryLedger::default();
    fund(&mut port, &[(&own(1), "EUR", "10")]);
    let lines: String = (0..100).map(|n| format!("<Ustrd>{n:0>120}</Ustrd>")).collect();
    let mut long = pay("E1", "1", "EUR", &own(2));
    long.extra = format!("<RmtInf>{lines}</RmtInf>");
    let xml = pain001("M1", &own(1), &[long]);
    assert_eq!(statuses(&import_xml(&mut port, &xml).expect("imports")), ["ACSC"]);
    assert_eq!(
        statuses(&import_xml(&mut port, &xml).expect("imports")),
        ["again"]
    );
    let changed = xml.replace(&format!("{:0>120}", 99), &format!("{:0>120}", 98));
    assert_eq!(
        statuses(&import_xml(&mut port, &changed).expect("imports")),
        ["AM05"]
    );
}
