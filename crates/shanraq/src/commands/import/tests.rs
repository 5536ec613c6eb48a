//! What becomes of files when one of them, or the ledger, fails.

use super::*;
use ledger::{
    AccountReply, Balances, CreateAccountResult, CreateTransferResult, DescribeLedgerResult,
    LedgerDescription, TransferReply,
};
use payments::{NewAccount, NewTransfer, PortError, demo};

/// Says yes to all, for so many calls of transfers.
struct Yes(usize);

impl LedgerPort for Yes {
    fn create_accounts(&mut self, accounts: &[NewAccount]) -> Result<Vec<AccountReply>, PortError> {
        let reply = AccountReply {
            result: CreateAccountResult::Created,
            timestamp: TimestampNs(1),
        };
        Ok(vec![reply; accounts.len()])
    }

    fn create_transfers(&mut self, transfers: &[NewTransfer]) -> Result<Vec<TransferReply>, PortError> {
        let Some(left) = self.0.checked_sub(1) else {
            return Err(PortError::new("no writer now", true));
        };
        self.0 = left;
        let reply = TransferReply {
            result: CreateTransferResult::Created,
            timestamp: TimestampNs(1),
            debit: Balances::default(),
            credit: Balances::default(),
        };
        Ok(vec![reply; transfers.len()])
    }

    fn describe_ledger(&mut self, _: &LedgerDescription) -> Result<DescribeLedgerResult, PortError> {
        Ok(DescribeLedgerResult::Described)
    }
}

const HEADER: &str = "payment_id,debtor_account,creditor_account,amount,currency,remittance\n";

fn own(number: u64) -> String {
    payments::make_iban("KZ", &format!("998{number:013}"))
}

fn row(id: &str) -> String {
    format!("{id},{},{},1.00,EUR,Rent\n", own(1), own(2))
}

/// A directory with these files, and the arguments that import them in that order.
fn inputs(files: &[(&str, String)]) -> (tempfile::TempDir, ImportArgs) {
    let directory = tempfile::tempdir().expect("a directory");
    let paths = files.iter().map(|(name, text)| {
        let path = directory.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        std::fs::write(&path, text).expect("written");
        path
    });
    let args = ImportArgs {
        remote: RemoteArgs {
            address: String::new(),
            json: false,
        },
        mapping: PathBuf::new(),
        opening: None,
        reports: None,
        files: paths.collect(),
    };
    (directory, args)
}

fn imported(args: &ImportArgs, port: &mut Yes) -> Vec<Summary> {
    let mapping = Mapping::parse(demo::MAPPING_TOML, "demo").expect("valid");
    import_all(args, &mapping, port)
}

fn errors(summaries: &[Summary]) -> Vec<String> {
    let error = |summary: &Summary| summary.to_json()["error"].as_str().unwrap_or("").to_owned();
    summaries.iter().map(error).collect()
}

#[test]
fn a_bad_file_does_not_keep_the_others_from_being_imported() {
    let (directory, mut args) = inputs(&[
        ("1.csv", format!("{HEADER}{}", row("A"))),
        ("2.xml", "<Document>".to_owned()),
        ("3.csv", format!("{HEADER}{}", row("B"))),
    ]);
    args.files.insert(2, directory.path().join("missing.xml"));
    let summaries = imported(&args, &mut Yes(9));
    let settled: Vec<u64> = summaries.iter().map(|summary| summary.settled).collect();
    assert_eq!(settled, [1, 0, 0, 1]);
    let errors = errors(&summaries);
    assert!(
        errors[1].contains("PAY-0003") && errors[2].contains("cannot read"),
        "{errors:?}"
    );
    assert!(errors[0].is_empty() && errors[3].is_empty());
    assert!(summaries[1].text().contains("\n    error: 2.xml is refused"));
}

#[test]
fn status_reports_among_the_files_are_passed_over() {
    let (directory, mut args) = inputs(&[("1.csv", format!("{HEADER}{}", row("A")))]);
    imported(&args, &mut Yes(9));
    let report = directory.path().join("1.csv.pain002.xml");
    assert!(report.exists());
    args.files.push(report);
    let summaries = imported(&args, &mut Yes(9));
    assert_eq!(errors(&summaries), ["", ""]);
    assert!(summaries[1].notes[0].contains("passed over"));
    let count = std::fs::read_dir(directory.path()).expect("there").count();
    assert_eq!(count, 2, "the same report is not written twice");
}

#[test]
fn files_of_the_same_name_have_a_report_each() {
    let (directory, mut args) = inputs(&[
        ("a/1.csv", format!("{HEADER}{}", row("A"))),
        ("b/1.csv", format!("{HEADER}{}", row("B"))),
    ]);
    args.reports = Some(directory.path().join("out"));
    let summaries = imported(&args, &mut Yes(9));
    let read = |summary: &Summary| {
        std::fs::read_to_string(summary.report.as_ref().expect("a report")).expect("there")
    };
    assert!(read(&summaries[0]).contains("<OrgnlInstrId>A<"));
    assert!(read(&summaries[1]).contains("<OrgnlInstrId>B<"));
}

#[test]
fn what_was_answered_is_reported_when_the_ledger_stops_answering() {
    let rows: String = (0..3_000)
        .map(|n| row(&format!("P{n}")).replace("Rent", &"x".repeat(3_000)))
        .collect();
    let (directory, args) = inputs(&[
        ("1.csv", format!("{HEADER}{rows}")),
        ("2.csv", format!("{HEADER}{}", row("B"))),
    ]);
    let summaries = imported(&args, &mut Yes(1));
    let first = &summaries[0];
    assert!(first.settled > 0 && first.pending > 0);
    assert_eq!(first.settled + first.pending, 3_000);
    let report = std::fs::read_to_string(first.report.as_ref().expect("a report")).expect("there");
    assert_eq!(report.matches("<TxSts>ACSC<").count() as u64, first.settled);
    assert_eq!(report.matches("<TxSts>PDNG<").count() as u64, first.pending);
    let errors = errors(&summaries);
    assert!(errors[0].contains("importing it again is safe") && errors[0].contains("PAY-0007"));
    assert_eq!(errors[1], "was not begun, since the ledger no longer answers");
    // The next import has another tale to tell, and leaves the first one standing.
    let summaries = imported(&args, &mut Yes(9));
    let second = directory.path().join("1.csv.2.pain002.xml");
    assert_eq!(summaries[0].report.as_deref(), Some(second.as_path()));
}

#[test]
fn every_opening_balance_that_is_refused_is_told() {
    let (_directory, mut args) = inputs(&[(
        "opening.csv",
        format!(
            "account,currency,amount\n{},EUR,0\n{},EUR,1\nCUST-UNKNOWN,EUR,1\n{},EUR,0\n",
            own(1),
            own(2),
            own(3)
        ),
    )]);
    args.opening = args.files.pop();
    let summaries = imported(&args, &mut Yes(9));
    let json = summaries[0].to_json();
    let lines: Vec<_> = json["refusals"]
        .as_array()
        .expect("all of them")
        .iter()
        .map(|one| &one["line"])
        .collect();
    assert_eq!(lines, [2, 4, 5]);
    let text = summaries[0].text();
    for told in [
        format!("    line 2: {} EUR: AM01 is zero", own(1)),
        "    line 4: CUST-UNKNOWN EUR: AC01 ".to_owned(),
        format!("    line 5: {} EUR: AM01 is zero", own(3)),
    ] {
        assert!(text.contains(&told), "{text}");
    }
}

#[test]
fn payments_wait_when_the_opening_balances_fail() {
    let (directory, mut args) = inputs(&[("1.csv", format!("{HEADER}{}", row("A")))]);
    args.opening = Some(directory.path().join("missing.csv"));
    let summaries = imported(&args, &mut Yes(9));
    assert_eq!(
        errors(&summaries)[1],
        "was not begun, since the opening balances failed"
    );
}
