//! Payments from CSV, and mapping files with mistakes.

mod support;

use payments::{Mapping, PaymentsError, read_csv};
use support::{MAPPING, MemoryLedger, foreign, fund, mapping, own, quiet, statuses};

fn import(port: &mut MemoryLedger, csv: &[u8]) -> Result<Vec<String>, PaymentsError> {
    let file = read_csv(csv, &mapping(), &mut quiet())?;
    let report = payments::import_payments(&mapping(), &file, port, &mut quiet())?;
    Ok(statuses(&report))
}

fn funded() -> MemoryLedger {
    let mut port = MemoryLedger::default();
    fund(
        &mut port,
        &[(&own(1), "EUR", "1000.00"), (&own(2), "EUR", "1000.00")],
    );
    port
}

fn sample(delimiter: char) -> String {
    let rows = [
        "payment_id,debtor_account,creditor_account,amount,currency,creditor_agent,remittance".to_owned(),
        format!("A1,{},{},10.50,EUR,,Rent", own(1), own(3)),
        format!("A2,{},{},1,EUR,DEUTDEFF,", own(1), foreign(1)),
        format!("A3,{},{},2000,EUR,,\"too much\"", own(2), own(3)),
        format!("A1,{},{},3,EUR,,again", own(2), own(3)),
        format!(",{},{},3,EUR,,no id", own(2), own(3)),
        format!("A5,{},{},3,EUR,,short", own(2), own(3)).replace(",,short", ""),
        format!("A6,{},DE00,x,CHF,NOBIC,", own(2)),
    ];
    rows.join("\n").replace(',', &delimiter.to_string()) + "\n"
}

#[test]
fn every_delimiter_gives_the_same_outcome_and_repeating_changes_nothing() {
    let mut port = funded();
    for (round, delimiter) in [',', ';', '\t'].into_iter().enumerate() {
        let before = port.fingerprint();
        let got = import(&mut port, sample(delimiter).as_bytes()).expect("imports");
        let done = if round == 0 { "ACSC" } else { "again" };
        let funds = if round == 0 { "AM04" } else { "NARR" };
        assert_eq!(got, [done, done, funds, "AM05", "FF01", "FF01", "AM12+RC04+AM03"]);
        assert_eq!(port.fingerprint() == before, round > 0);
    }
}

#[test]
fn the_file_name_and_row_order_do_not_enter_the_ids() {
    let mut port = funded();
    let csv = sample(',');
    import(&mut port, csv.as_bytes()).expect("imports");
    let mut lines: Vec<&str> = csv.lines().collect();
    lines.swap(1, 2);
    let got = import(&mut port, lines.join("\r\n").as_bytes()).expect("imports");
    assert_eq!(got[..2], ["again", "again"]);
}

#[test]
fn columns_that_are_missing_unknown_or_twice_refuse_the_file() {
    for (csv, said) in [
        (
            "payment_id,debtor_account,creditor_account,amount\n",
            "line 1: currency: this column is missing",
        ),
        (
            "payment_id,debtor_account,creditor_account,amount,currency,amount\n",
            "line 1: amount: this column is there twice",
        ),
        (
            "payment_id,debtor_account,creditor_account,amount,currency,colour\n",
            "line 1: colour: unknown column",
        ),
        ("", "payment_id: this column is missing"),
    ] {
        let error = read_csv(csv.as_bytes(), &mapping(), &mut quiet())
            .expect_err("refused")
            .to_string();
        assert!(error.starts_with("PAY-0005") && error.contains(said), "{error}");
    }
    let csv = format!(
        "payment_id,debtor_account,creditor_account,amount,currency\nA,{},{},\"1,EUR\nB,a,b,2,EUR\n",
        own(1),
        own(2)
    );
    let error = read_csv(csv.as_bytes(), &mapping(), &mut quiet())
        .expect_err("an open quote")
        .to_string();
    assert!(
        error.contains("line 2: amount: a line break inside a field"),
        "{error}"
    );
}

#[test]
fn decimal_commas_and_encodings_are_as_the_mapping_says() {
    let text = MAPPING.replace(
        "[transfer_codes]",
        "[csv]\nencoding = \"windows-1252\"\ndecimal_comma = true\n[transfer_codes]",
    );
    let german = Mapping::parse(&text, "mapping.toml").expect("valid");
    let csv = format!(
        "payment_id;debtor_account;creditor_account;amount;currency;creditor_name\nA;{};{};10,50;EUR;M\u{fc}ller\nB;{};{};1.000,50;EUR;x\n",
        own(1),
        own(2),
        own(1),
        own(2)
    );
    let bytes: Vec<u8> = csv
        .chars()
        .map(|c| u8::try_from(u32::from(c)).expect("one byte"))
        .collect();
    let file = read_csv(&bytes, &german, &mut quiet()).expect("reads");
    let payments = &file.batches[0].payments;
    assert_eq!(payments[0].creditor.name.as_deref(), Some("Müller"));
    assert_eq!(payments[0].amount, payments::Decimal::parse("10.50").ok());
    assert_eq!(
        payments[1].issues.len(),
        1,
        "thousands' separators are not guessed"
    );
    let plain = read_csv(csv.as_bytes(), &mapping(), &mut quiet()).expect("reads");
    assert_eq!(
        plain.batches[0].payments[0].issues.len(),
        1,
        "a comma is no point unless the mapping says so"
    );
    let error = read_csv(&bytes, &mapping(), &mut quiet())
        .expect_err("not UTF-8")
        .to_string();
    assert!(error.starts_with("PAY-0001: line 2"), "{error}");
}

#[test]
fn mistakes_in_mapping_files_are_named_by_file_line_and_field() {
    for (from, to, said) in [
        ("code = 2010", "code = 0", "own[0].code: must not be 0"),
        ("code = 2010", "code = 70000", "code: "),
        ("code = 2010", "kode = 2010", "kode"),
        (
            "iban_prefix = \"KZ??998\"",
            "iban_prefix = \"KZ\"",
            "own[0].iban_prefix: needs country",
        ),
        (
            "scheme = \"CUST\"\nid_prefix = \"\"",
            "scheme = \"CUST\"",
            "own[1].iban_prefix: exactly one",
        ),
        (
            "currencies = [\"EUR\"]",
            "currencies = [\"CHF\"]",
            "own[1].currencies: \"CHF\" is not among",
        ),
        (
            "currency = \"EUR\"",
            "currency = \"CHF\"",
            "clearing[0].currency: \"CHF\" is not among",
        ),
        (
            "code = \"KWD\"",
            "code = \"ABC\"",
            "currency[2].ledger: ABC is not in ISO 4217",
        ),
        (
            "code = \"KWD\"",
            "code = \"EUR\"",
            "currency[2].ledger: ledger 978 already has a currency",
        ),
        (
            "code = \"KWD\"",
            "code = \"KWD\"\nscale = 19",
            "currency[2].scale",
        ),
        ("TULPKZKA", "TULP", "bank.bics: \"TULP\" is not a BIC"),
        ("debits_must_not_exceed_credits\"]", "linked\"]", "flags"),
        ("[bank]", "[bank", "mapping.toml: line 4"),
        (
            "overdraft = [",
            "overdraft = [\"CUST:1\", \"77\",\n",
            "line 2: overdraft[1]: \"77\" is no account that a rule of [[own]] takes",
        ),
        (
            "overdraft = [",
            "overdraft = [\"KZ499980000000000001\", ",
            "line 2: overdraft[0]: \"KZ499980000000000001\" has wrong check digits",
        ),
    ] {
        assert!(MAPPING.contains(from), "{from}");
        let error = Mapping::parse(&MAPPING.replacen(from, to, 1), "mapping.toml")
            .expect_err(to)
            .to_string();
        assert!(
            error.starts_with("PAY-0006: mapping.toml: ") && error.contains(said),
            "{error}\nfor {to}"
        );
        let has_line = error.contains(": line ") || error.contains("bank.bics");
        assert!(has_line, "{error}");
    }
}

#[test]
fn rows_are_named_by_the_line_on_which_they_begin() {
    let header = "payment_id,debtor_account,creditor_account,amount,currency";
    let row = format!("A,{},{},x,EUR", own(1), own(2));
    for newline in ["\n", "\r\n"] {
        for (lines, expected) in [
            (vec![header, &row, &row, &row], [2, 3, 4]),
            (vec![header, "", "", &row, &row, "", &row, ""], [4, 5, 7]),
            (vec!["", header, &row, &row, &row], [3, 4, 5]),
            (
                vec![&format!("{header},\"x_two{newline}lines\""), &row, &row, &row],
                [3, 4, 5],
            ),
        ] {
            let csv = lines.join(newline);
            let file = read_csv(csv.as_bytes(), &mapping(), &mut quiet()).expect("reads");
            let payments: Vec<_> = file.batches.iter().flat_map(|batch| &batch.payments).collect();
            let lines: Vec<u64> = payments.iter().map(|payment| payment.line).collect();
            assert_eq!(lines, expected, "{csv:?}");
            assert!(
                payments
                    .iter()
                    .all(|payment| payment.issues.iter().all(|issue| issue.line == payment.line)),
                "{csv:?}"
            );
        }
        let quoted = [header, &row, "", &format!("A,\"b{newline}b\",c,1,EUR")].join(newline);
        let error = read_csv(quoted.as_bytes(), &mapping(), &mut quiet())
            .expect_err("a line break inside a field")
            .to_string();
        assert!(
            error.starts_with("PAY-0005: line 4: debtor_account: a line break"),
            "{error}"
        );
    }
}

#[test]
fn a_blank_line_before_the_header_does_not_decide_the_delimiter() {
    let csv = format!("\n{}", sample(';'));
    let got = import(&mut funded(), csv.as_bytes()).expect("imports");
    assert_eq!(got[0], "ACSC");
}
