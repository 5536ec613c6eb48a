//! The numbers and names of result codes are on wires and disks: they never change, and new ones come at the end.

use ledger::{CreateAccountResult, CreateTransferResult, DescribeLedgerResult};
use std::fmt::Write;

const GOLDEN: &str = include_str!("golden/result_codes.txt");

fn listed() -> String {
    let mut text = String::new();
    for code in CreateAccountResult::ALL {
        writeln!(text, "account {} {code}", code.code()).unwrap();
    }
    for code in CreateTransferResult::ALL {
        writeln!(text, "transfer {} {code}", code.code()).unwrap();
    }
    for code in DescribeLedgerResult::ALL {
        writeln!(text, "ledger {} {code}", code.code()).unwrap();
    }
    text
}

#[test]
fn every_result_code_keeps_its_number_and_name() {
    assert_eq!(listed(), GOLDEN);
}

#[test]
fn codes_are_found_by_number_and_by_name() {
    for &code in CreateTransferResult::ALL {
        assert_eq!(CreateTransferResult::from_code(code.code()), Some(code));
        assert_eq!(CreateTransferResult::from_name(code.name()), Some(code));
    }
    for &code in CreateAccountResult::ALL {
        assert_eq!(CreateAccountResult::from_code(code.code()), Some(code));
        assert_eq!(CreateAccountResult::from_name(code.name()), Some(code));
    }
    assert_eq!(CreateTransferResult::from_code(0), None);
    assert_eq!(CreateTransferResult::from_code(70), None);
}

#[test]
fn seven_failures_burn_the_id() {
    let burning: Vec<_> = CreateTransferResult::ALL
        .iter()
        .filter(|code| code.burns_id())
        .map(|code| code.name())
        .collect();
    assert_eq!(
        burning,
        [
            "debit_account_not_found",
            "credit_account_not_found",
            "pending_transfer_not_found",
            "debit_account_already_closed",
            "credit_account_already_closed",
            "exceeds_credits",
            "exceeds_debits",
        ]
    );
}
