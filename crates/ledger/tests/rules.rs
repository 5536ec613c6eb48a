//! Rules that reach over several events, each as a sentence.

mod bench;

use bench::{Bench, With, account, pending, post, transfer, void};
use ledger::{
    AccountFlags, Amount, CreateAccountResult as A, CreateTransferResult as R, DescribeLedgerResult,
    LedgerDescription, LedgerId, RowKind, RowNumber, TimestampNs, Transfer, TransferFlags as F, TransferId,
};

const SECOND: u64 = 1_000_000_000;

fn linked(transfer: Transfer) -> Transfer {
    Transfer {
        flags: transfer.flags | F::LINKED,
        ..transfer
    }
}

#[test]
fn a_failed_chain_leaves_nothing_but_its_burnt_culprit() {
    let mut bench = Bench::with_accounts(&[account(1), account(2)]);
    let before = bench.encoded();
    let chain = [
        linked(pending(10, 1, 2, 5, 0)),
        linked(post(11, 10)),
        linked(transfer(12, 1, 404, 1)),
        transfer(13, 1, 2, 1),
    ];
    let results = bench.transfers(&chain);
    assert_eq!(
        results,
        [
            R::LinkedEventFailed,
            R::LinkedEventFailed,
            R::CreditAccountNotFound,
            R::LinkedEventFailed
        ]
    );
    assert_eq!(bench.outcome.rows.len(), 1);
    assert_eq!(
        (bench.outcome.rows[0].kind, bench.outcome.rows[0].transfer.id),
        (RowKind::Burnt, TransferId(12))
    );
    let replies = &bench.outcome.transfers;
    assert!(
        replies
            .windows(2)
            .all(|pair| pair[0].timestamp.0 + 1 == pair[1].timestamp.0),
        "own timestamps"
    );
    assert!(
        replies.iter().all(|reply| reply.debit == Default::default()),
        "no balances of what was taken back"
    );
    // Before byte 32 a snapshot has time and the number of rows, which did move.
    assert_eq!(
        bench.encoded()[32..],
        before[32..],
        "accounts and pendings are as before"
    );
    assert_eq!(bench.transfers(&[transfer(12, 1, 2, 1)]), [R::IdAlreadyFailed]);
    let ids_stay_free = [
        transfer(10, 1, 2, 1),
        transfer(11, 1, 2, 1),
        transfer(13, 1, 2, 1),
    ];
    assert_eq!(bench.transfers(&ids_stay_free), [R::Created; 3]);
}

#[test]
fn a_repeat_within_a_chain_breaks_it() {
    let mut bench = Bench::with_accounts(&[account(1), account(2)]);
    assert_eq!(bench.transfers(&[transfer(10, 1, 2, 5)]), [R::Created]);
    let chain = [linked(transfer(11, 1, 2, 5)), transfer(10, 1, 2, 5)];
    assert_eq!(bench.transfers(&chain), [R::LinkedEventFailed, R::Exists]);
    assert_eq!(bench.balances(1).debits_posted, Amount(5));
    assert_eq!(
        bench.outcome.transfers[1].debit.debits_posted,
        Amount(5),
        "exists carries the balances now"
    );
}

#[test]
fn what_a_chain_does_is_seen_within_it_at_once() {
    let limited = account(1).with(AccountFlags::DEBITS_MUST_NOT_EXCEED_CREDITS);
    let mut bench = Bench::with_accounts(&[limited, account(2)]);
    let chain = [
        linked(transfer(10, 2, 1, 5)),
        linked(pending(11, 1, 2, 5, 0)),
        post(12, 11),
    ];
    assert_eq!(bench.transfers(&chain), [R::Created; 3]);
    let after = bench
        .outcome
        .transfers
        .iter()
        .map(|reply| reply.credit.credits_posted.0)
        .collect::<Vec<_>>();
    assert_eq!(
        after,
        [5, 0, 5],
        "each reply carries the balances after its own event"
    );
}

#[test]
fn a_chain_of_accounts_fails_as_a_whole() {
    let mut bench = Bench::with_accounts(&[account(1)]);
    let first = account(2).with(AccountFlags::LINKED);
    assert_eq!(
        bench.accounts(&[first, account(0)]),
        [A::LinkedEventFailed, A::IdMustNotBeZero]
    );
    assert_eq!(
        (bench.ledger.accounts_len(), bench.outcome.new_accounts.len()),
        (1, 0)
    );
    assert_eq!(bench.accounts(&[account(2)]), [A::Created], "the id stayed free");
    assert_eq!(
        bench.ledger.account(account(2).id).map(|(number, _)| number.0),
        Some(1),
        "numbers stay dense"
    );
}

#[test]
fn a_balancing_transfer_takes_what_is_free_and_repeats_of_it_may_ask_for_more() {
    let mut bench = Bench::with_accounts(&[account(1), account(2), account(3)]);
    bench.transfers(&[transfer(10, 2, 1, 100), pending(11, 1, 2, 30, 0)]);
    let balancing = Transfer {
        flags: F::BALANCING_DEBIT,
        ..transfer(12, 1, 3, u128::MAX)
    };
    assert_eq!(bench.transfers(&[balancing]), [R::Created]);
    assert_eq!(bench.outcome.rows[0].transfer.amount, Amount(70));
    assert_eq!(
        bench.transfers(&[Transfer {
            amount: Amount(70),
            ..balancing
        }]),
        [R::Exists]
    );
    assert_eq!(
        bench.transfers(&[Transfer {
            amount: Amount(69),
            ..balancing
        }]),
        [R::ExistsWithDifferentAmount]
    );
    let nothing_left = Transfer {
        id: TransferId(13),
        ..balancing
    };
    assert_eq!(bench.transfers(&[nothing_left]), [R::Created], "zero is legal");
    assert_eq!(bench.outcome.rows[0].transfer.amount, Amount(0));
}

#[test]
fn posting_a_part_releases_the_rest() {
    let mut bench = Bench::with_accounts(&[account(1), account(2)]);
    bench.transfers(&[pending(10, 1, 2, 100, 0)]);
    assert_eq!(
        bench.transfers(&[Transfer {
            amount: Amount(40),
            ..post(11, 10)
        }]),
        [R::Created]
    );
    let balances = bench.balances(1);
    assert_eq!(
        (balances.debits_pending, balances.debits_posted),
        (Amount(0), Amount(40))
    );
    assert_eq!(
        bench.transfers(&[post(11, 10)]),
        [R::ExistsWithDifferentAmount],
        "all was 100, and 40 was posted"
    );
    assert_eq!(
        bench.transfers(&[Transfer {
            amount: Amount(40),
            ..post(11, 10)
        }]),
        [R::Exists]
    );
}

#[test]
fn a_pending_transfer_expires_by_the_clock_even_before_it_is_released() {
    let mut bench = Bench::with_accounts(&[account(1), account(2)]);
    bench.transfers(&[pending(10, 1, 2, 100, 1)]);
    let due = bench.ledger.next_expiry().unwrap();
    bench.now = due.0 - 1;
    // One nanosecond before it is due, and exactly when it is.
    let chain = [
        Transfer {
            amount: Amount(101),
            ..post(11, 10)
        },
        void(12, 10),
    ];
    assert_eq!(
        bench.transfers(&chain),
        [R::ExceedsPendingTransferAmount, R::PendingTransferExpired]
    );
    assert_eq!(bench.balances(1).debits_pending, Amount(100), "not yet released");
    assert_eq!(bench.expire(10), [10]);
    assert_eq!(bench.balances(1).debits_pending, Amount(0));
    let row = bench.outcome.rows[0];
    assert_eq!(
        (row.kind, row.transfer.id.0, row.transfer.pending_id.0),
        (RowKind::Expired, 0, 10)
    );
    assert_eq!(
        (row.transfer.amount, row.transfer.timestamp),
        (Amount(100), bench.outcome.timestamp)
    );
    assert_eq!(
        bench.transfers(&[void(12, 10)]),
        [R::PendingTransferExpired],
        "and its id is not burnt"
    );
}

#[test]
fn the_oldest_due_are_released_first_and_by_id_when_due_together() {
    let mut bench = Bench::with_accounts(&[account(1), account(2)]);
    bench.now = 10 * SECOND;
    bench.transfers(&[pending(90, 1, 2, 1, 2)]);
    bench.now = 11 * SECOND;
    bench.transfers(&[
        pending(80, 1, 2, 1, 1),
        pending(70, 1, 2, 1, 3),
        pending(60, 1, 2, 1, 0),
    ]);
    bench.now = 12 * SECOND;
    assert_eq!(bench.expire(1), [80]);
    bench.now = 20 * SECOND;
    assert_eq!(bench.expire(9), [90, 70]);
    assert_eq!(bench.expire(9), [0u128; 0]);
    assert_eq!(bench.ledger.open_pendings(), 1, "one without timeout stays");
    let times: Vec<_> = bench.all_rows.iter().map(|row| row.transfer.timestamp).collect();
    assert!(times.is_sorted_by(|a, b| a < b), "each release has its own time");
}

#[test]
fn a_closed_account_admits_only_voids_and_expiries_which_open_it_again() {
    let mut bench = Bench::with_accounts(&[account(1), account(2)]);
    bench.transfers(&[
        pending(10, 1, 2, 7, 0),
        Transfer {
            flags: F::PENDING | F::CLOSING_DEBIT,
            ..pending(11, 1, 2, 0, 0)
        },
    ]);
    assert!(bench.account(1).flags.contains(AccountFlags::CLOSED));
    let attempts = [
        transfer(12, 1, 2, 1),
        transfer(13, 2, 1, 1),
        post(14, 10),
        post(15, 11),
    ];
    let closed = [R::DebitAccountAlreadyClosed, R::CreditAccountAlreadyClosed];
    let expected = [closed[0], closed[1], closed[0], closed[0]];
    assert_eq!(bench.transfers(&attempts), expected);
    assert_eq!(bench.transfers(&[void(16, 10)]), [R::Created]);
    assert!(
        bench.account(1).flags.contains(AccountFlags::CLOSED),
        "another void opens nothing"
    );
    assert_eq!(
        bench.accounts(&[account(1)]),
        [A::Exists],
        "closing is no difference to a repeat"
    );
    assert_eq!(bench.transfers(&[void(17, 11)]), [R::Created]);
    assert_eq!(bench.transfers(&[transfer(18, 1, 2, 1)]), [R::Created]);
    bench.transfers(&[Transfer {
        flags: F::PENDING | F::CLOSING_CREDIT,
        ..pending(19, 1, 2, 0, 1)
    }]);
    assert!(bench.account(2).flags.contains(AccountFlags::CLOSED));
    bench.now += 2 * SECOND;
    assert_eq!(bench.expire(1), [19]);
    assert!(
        !bench.account(2).flags.contains(AccountFlags::CLOSED),
        "expiry opens it too"
    );
}

#[test]
fn an_account_created_closed_stays_closed_for_ever() {
    let mut bench = Bench::with_accounts(&[account(1).with(AccountFlags::CLOSED), account(2)]);
    assert_eq!(
        bench.transfers(&[transfer(10, 1, 2, 0)]),
        [R::DebitAccountAlreadyClosed]
    );
    assert_eq!(bench.accounts(&[account(1)]), [A::ExistsWithDifferentFlags]);
    assert_eq!(
        bench.accounts(&[account(1).with(AccountFlags::CLOSED)]),
        [A::Exists]
    );
}

#[test]
fn posting_does_not_check_limits_again() {
    let limited = account(1).with(AccountFlags::DEBITS_MUST_NOT_EXCEED_CREDITS);
    let mut bench = Bench::with_accounts(&[limited, account(2)]);
    bench.transfers(&[transfer(10, 2, 1, 5), pending(11, 1, 2, 5, 0)]);
    assert_eq!(
        bench.transfers(&[transfer(12, 1, 2, 1)]),
        [R::ExceedsCredits],
        "reserved money is not free"
    );
    assert_eq!(bench.transfers(&[post(13, 11)]), [R::Created]);
}

#[test]
fn a_burnt_row_repeats_the_time_before_it_so_that_imports_still_find_rising_times() {
    let mut bench = Bench::with_accounts(&[account(1), account(2)]);
    bench.now = 5_000;
    assert_eq!(
        bench.transfers(&[transfer(10, 1, 404, 1)]),
        [R::CreditAccountNotFound]
    );
    assert_eq!(
        bench.outcome.rows[0].transfer.timestamp,
        TimestampNs(0),
        "there was no transfer before"
    );
    bench.now = 9_000;
    let import = |id, at| Transfer {
        flags: F::IMPORTED,
        timestamp: TimestampNs(at),
        ..transfer(id, 1, 2, 1)
    };
    assert_eq!(
        bench.transfers(&[import(11, 4_000), import(12, 4_001), import(13, 404)]),
        [R::Created, R::Created, R::ImportedEventTimestampMustNotRegress]
    );
    let times: Vec<_> = bench
        .all_rows
        .iter()
        .map(|row| row.transfer.timestamp.0)
        .collect();
    assert_eq!(times, [0, 4_000, 4_001]);
    assert_eq!(bench.ledger.rows(), RowNumber(3));
}

#[test]
fn a_ledger_keeps_its_currency_and_scale() {
    let mut bench = Bench::with_accounts(&[]);
    let description = |name: &str, currency: &str, scale| LedgerDescription {
        ledger: LedgerId(1),
        name: name.to_owned(),
        currency: currency.to_owned(),
        scale,
    };
    assert_eq!(
        bench.describe(description("Euro", "", 2)),
        DescribeLedgerResult::Described
    );
    assert_eq!(
        bench.describe(description("Euro", "EUR", 2)),
        DescribeLedgerResult::Described
    );
    assert_eq!(
        bench.describe(description("Euro", "EUR", 2)),
        DescribeLedgerResult::Unchanged
    );
    assert_eq!(
        bench.describe(description("Euros", "EUR", 2)),
        DescribeLedgerResult::Described
    );
    assert_eq!(
        bench.describe(description("Euros", "USD", 2)),
        DescribeLedgerResult::CurrencyMustNotChange
    );
    assert_eq!(
        bench.describe(description("Euros", "EUR", 3)),
        DescribeLedgerResult::ScaleMustNotChange
    );
    assert_eq!(
        bench.describe(description("Euros", "EUR", 19)),
        DescribeLedgerResult::ScaleOutOfRange
    );
    assert_eq!(
        bench.describe(description(&"e".repeat(129), "EUR", 2)),
        DescribeLedgerResult::NameTooLong
    );
    assert_eq!(
        bench.describe(description("Euros", &"E".repeat(17), 2)),
        DescribeLedgerResult::CurrencyTooLong
    );
    let nameless = LedgerDescription {
        ledger: LedgerId(0),
        ..description("Euros", "EUR", 2)
    };
    assert_eq!(
        bench.describe(nameless),
        DescribeLedgerResult::LedgerMustNotBeZero
    );
    assert_eq!(
        bench.ledger.description(LedgerId(1)).map(|d| d.name.as_str()),
        Some("Euros")
    );
}
