//! The order of checks, as tables: each row names a result and what provokes it.
//!
//! Every row alone must give its result, and of every two rows that can be provoked together the earlier must answer.
//! Every result code must be reached.

mod accounts;
mod resolving;
mod table;
mod transfers;
mod world;

use ledger::{CreateAccountResult, CreateTransferResult};
use std::collections::HashSet;

#[test]
fn of_two_faults_of_an_account_the_earlier_check_answers() {
    let report = table::check(&accounts::rows(), accounts::run);
    assert!(
        report.pairs > 150,
        "only {} pairs could be provoked together",
        report.pairs
    );
}

#[test]
fn of_two_faults_of_a_plain_or_pending_transfer_the_earlier_check_answers() {
    let report = table::check(&transfers::rows(), |needs| world::run(needs, world::Kind::New));
    assert!(
        report.pairs > 1_000,
        "only {} pairs could be provoked together",
        report.pairs
    );
}

#[test]
fn of_two_faults_of_a_post_the_earlier_check_answers() {
    let report = table::check(&resolving::rows(world::Kind::Post), |needs| {
        world::run(needs, world::Kind::Post)
    });
    assert!(
        report.pairs > 600,
        "only {} pairs could be provoked together",
        report.pairs
    );
}

#[test]
fn of_two_faults_of_a_void_the_earlier_check_answers() {
    let report = table::check(&resolving::rows(world::Kind::Void), |needs| {
        world::run(needs, world::Kind::Void)
    });
    assert!(
        report.pairs > 600,
        "only {} pairs could be provoked together",
        report.pairs
    );
}

#[test]
fn every_result_of_an_account_is_reached() {
    let reached: HashSet<_> = accounts::rows()
        .iter()
        .map(|row| accounts::run(&row.needs))
        .collect();
    for code in CreateAccountResult::ALL {
        assert!(reached.contains(code), "no row reaches {code}");
    }
}

#[test]
fn every_result_of_a_transfer_is_reached() {
    let mut reached = HashSet::new();
    reached.extend(
        transfers::rows()
            .iter()
            .map(|row| world::run(&row.needs, world::Kind::New)),
    );
    for kind in [world::Kind::Post, world::Kind::Void] {
        reached.extend(
            resolving::rows(kind)
                .iter()
                .map(|row| world::run(&row.needs, kind)),
        );
    }
    for code in CreateTransferResult::ALL {
        assert!(reached.contains(code), "no row reaches {code}");
    }
}
