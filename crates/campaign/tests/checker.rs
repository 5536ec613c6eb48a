//! The checker must see every kind of wrong books; a checker that finds nothing proves nothing.

use campaign::history::{Call, Heard, Moment, Observed, ObservedRow, Violation, check};
use ledger::{
    Account, AccountFlags, AccountId, Amount, Balances, Code, CreateTransferResult, LedgerId, RowKind,
    TimestampNs, Transfer, TransferFlags, TransferId, TransferReply,
};

const A: AccountId = AccountId(1);
const B: AccountId = AccountId(2);

fn transfer(id: u128, amount: u128) -> Transfer {
    Transfer {
        id: TransferId(id),
        debit_account_id: A,
        credit_account_id: B,
        amount: Amount(amount),
        ledger: LedgerId(1),
        code: Code(1),
        ..Transfer::default()
    }
}

fn stamped(transfer: Transfer, timestamp: u64) -> Transfer {
    Transfer {
        timestamp: TimestampNs(timestamp),
        ..transfer
    }
}

fn reply(result: CreateTransferResult, timestamp: u64, debit: Balances, credit: Balances) -> Heard {
    Heard::Reply(TransferReply {
        result,
        timestamp: TimestampNs(timestamp),
        debit,
        credit,
    })
}

fn call(transfer: Transfer, begun: u64, ended: u64, heard: Heard) -> Call {
    Call {
        transfer,
        begun: Moment(begun),
        ended: Moment(ended),
        heard,
        may_have_repeated: false,
        chain: None,
    }
}

fn debit(pending: u128, posted: u128) -> Balances {
    Balances {
        debits_pending: Amount(pending),
        debits_posted: Amount(posted),
        ..Balances::default()
    }
}

fn credit(pending: u128, posted: u128) -> Balances {
    Balances {
        credits_pending: Amount(pending),
        credits_posted: Amount(posted),
        ..Balances::default()
    }
}

fn row(kind: RowKind, transfer: Transfer, debit: Balances, credit: Balances) -> ObservedRow {
    ObservedRow {
        kind,
        transfer,
        debit,
        credit,
        metadata: None,
    }
}

fn applied(transfer: Transfer, debit: Balances, credit: Balances) -> ObservedRow {
    row(RowKind::Applied, transfer, debit, credit)
}

fn refused(result: CreateTransferResult) -> Heard {
    reply(result, 0, Balances::default(), Balances::default())
}

/// Four transfers: a plain one, a pending one, its post in part, and one whose first answer was lost.
fn right() -> (Vec<Call>, Observed) {
    let created = CreateTransferResult::Created;
    let pending = Transfer {
        flags: TransferFlags::PENDING,
        timeout: 60,
        ..transfer(11, 50)
    };
    let post = Transfer {
        id: TransferId(12),
        amount: Amount(20),
        pending_id: TransferId(11),
        flags: TransferFlags::POST_PENDING_TRANSFER,
        ..Transfer::default()
    };
    let posted = Transfer {
        debit_account_id: A,
        credit_account_id: B,
        ledger: LedgerId(1),
        code: Code(1),
        ..stamped(post, 30)
    };
    let calls = vec![
        call(
            transfer(10, 100),
            1,
            2,
            reply(created, 10, debit(0, 100), credit(0, 100)),
        ),
        call(pending, 3, 4, reply(created, 20, debit(50, 100), credit(50, 100))),
        call(post, 5, 6, reply(created, 30, debit(0, 120), credit(0, 120))),
        call(transfer(13, 5), 7, 8, Heard::Nothing),
        call(
            transfer(13, 5),
            9,
            10,
            reply(CreateTransferResult::Exists, 40, debit(0, 125), credit(0, 125)),
        ),
        call(
            transfer(14, 5),
            11,
            12,
            refused(CreateTransferResult::ExceedsCredits),
        ),
        call(transfer(15, 7), 13, 14, Heard::Nothing),
    ];
    let rows = vec![
        applied(stamped(transfer(10, 100), 10), debit(0, 100), credit(0, 100)),
        applied(stamped(pending, 20), debit(50, 100), credit(50, 100)),
        applied(posted, debit(0, 120), credit(0, 120)),
        applied(stamped(transfer(13, 5), 40), debit(0, 125), credit(0, 125)),
    ];
    let account = |id, balances| Account {
        id,
        balances,
        ..Account::default()
    };
    let accounts = vec![account(A, debit(0, 125)), account(B, credit(0, 125))];
    (calls, Observed { rows, accounts })
}

/// What the checker finds after the right history was made wrong.
fn found(wrong: impl FnOnce(&mut Vec<Call>, &mut Observed)) -> Vec<Violation> {
    let (mut calls, mut observed) = right();
    wrong(&mut calls, &mut observed);
    check(&calls, &observed)
}

fn id(id: u128) -> TransferId {
    TransferId(id)
}

#[test]
fn right_books_have_no_violation() {
    assert_eq!(found(|_, _| {}), []);
}

#[test]
fn an_unanswered_transfer_may_be_there_as_well_as_not() {
    let found = found(|_, observed| {
        observed.rows.push(applied(
            stamped(transfer(15, 7), 50),
            debit(0, 132),
            credit(0, 132),
        ));
        observed.accounts[0].balances = debit(0, 132);
        observed.accounts[1].balances = credit(0, 132);
    });
    assert_eq!(found, []);
}

#[test]
fn an_acknowledged_transfer_that_is_gone_is_seen() {
    let found = found(|_, observed| {
        observed.rows.remove(3);
    });
    assert!(found.contains(&Violation::Lost(id(13))), "{found:?}");
    assert!(found.contains(&Violation::BalanceDiffers(A)), "{found:?}");
}

#[test]
fn a_loss_is_seen_even_when_the_balances_agree_with_it() {
    let found = found(|_, observed| {
        observed.rows.remove(3);
        observed.accounts[0].balances = debit(0, 120);
        observed.accounts[1].balances = credit(0, 120);
    });
    assert_eq!(found, [Violation::Lost(id(13))]);
}

#[test]
fn a_transfer_that_is_there_twice_is_seen() {
    let found = found(|_, observed| {
        observed.rows.push(applied(
            stamped(transfer(13, 5), 60),
            debit(0, 130),
            credit(0, 130),
        ));
        observed.accounts[0].balances = debit(0, 130);
        observed.accounts[1].balances = credit(0, 130);
    });
    assert!(found.contains(&Violation::Doubled(id(13))), "{found:?}");
}

#[test]
fn a_transfer_acknowledged_as_new_twice_is_seen() {
    let found = found(|calls, _| {
        calls.push(Call {
            begun: Moment(20),
            ended: Moment(21),
            ..calls[0]
        })
    });
    assert!(found.contains(&Violation::Doubled(id(10))), "{found:?}");
    assert!(
        found.contains(&Violation::Forgotten(id(10), CreateTransferResult::Created)),
        "{found:?}"
    );
}

#[test]
fn every_changed_field_is_seen_and_named() {
    type Change = (&'static str, fn(&mut Transfer));
    let changes: [Change; 11] = [
        ("debit_account_id", |t| t.debit_account_id = B),
        ("credit_account_id", |t| t.credit_account_id = A),
        ("amount", |t| t.amount = Amount(6)),
        ("pending_id", |t| t.pending_id = TransferId(1)),
        ("user_data_128", |t| t.user_data_128 = 1),
        ("user_data_64", |t| t.user_data_64 = 1),
        ("user_data_32", |t| t.user_data_32 = 1),
        ("timeout", |t| t.timeout = 1),
        ("ledger", |t| t.ledger = LedgerId(2)),
        ("code", |t| t.code = Code(2)),
        ("flags", |t| t.flags = TransferFlags::BALANCING_DEBIT),
    ];
    for (field, change) in changes {
        let found = found(|_, observed| change(&mut observed.rows[3].transfer));
        assert!(
            found.contains(&Violation::Changed(id(13), field)),
            "{field}: {found:?}"
        );
    }
}

#[test]
fn metadata_that_is_lost_or_made_up_is_seen() {
    let made_up = found(|_, observed| observed.rows[3].metadata = Some("{}".into()));
    assert_eq!(made_up, [Violation::Changed(id(13), "metadata")]);
    let lost = found(|calls, observed| {
        for call in calls.iter_mut().filter(|call| call.transfer.id == id(13)) {
            call.transfer.user_data_32 = 7;
        }
        observed.rows[3].transfer.user_data_32 = 7;
    });
    assert_eq!(lost, [Violation::Changed(id(13), "metadata")]);
}

#[test]
fn another_timestamp_than_the_client_was_told_is_seen() {
    let found = found(|_, observed| observed.rows[3].transfer.timestamp = TimestampNs(41));
    let (told, there) = (TimestampNs(40), TimestampNs(41));
    assert_eq!(
        found,
        [Violation::TimestampChanged {
            id: id(13),
            told,
            there
        }]
    );
}

#[test]
fn other_balances_than_the_client_was_told_are_seen() {
    let found = found(|calls, _| {
        calls[1].heard = reply(CreateTransferResult::Created, 20, debit(49, 100), credit(50, 100));
    });
    assert_eq!(found, [Violation::BalancesChanged(id(11))]);
}

#[test]
fn other_balances_in_a_row_than_its_history_gives_are_seen() {
    let found = found(|_, observed| observed.rows[1].credit = credit(51, 100));
    assert_eq!(found, [Violation::RowBalancesDiffer(TimestampNs(20))]);
}

#[test]
fn a_transfer_that_nobody_asked_for_is_seen() {
    let found = found(|_, observed| {
        observed.rows.push(applied(
            stamped(transfer(99, 0), 60),
            debit(0, 125),
            credit(0, 125),
        ));
    });
    assert_eq!(found, [Violation::Invented(id(99))]);
}

#[test]
fn a_refused_transfer_that_is_there_is_seen() {
    let found = found(|_, observed| {
        observed.rows.push(applied(
            stamped(transfer(14, 5), 60),
            debit(0, 130),
            credit(0, 130),
        ));
    });
    let result = CreateTransferResult::ExceedsCredits;
    assert!(
        found.contains(&Violation::RefusedButApplied(id(14), result)),
        "{found:?}"
    );
}

#[test]
fn a_burnt_id_that_is_applied_by_a_later_call_is_seen() {
    let found = found(|calls, observed| {
        let heard = reply(CreateTransferResult::Created, 60, debit(0, 130), credit(0, 130));
        calls.push(call(transfer(14, 5), 20, 21, heard));
        observed.rows.push(applied(
            stamped(transfer(14, 5), 60),
            debit(0, 130),
            credit(0, 130),
        ));
        observed.accounts[0].balances = debit(0, 130);
        observed.accounts[1].balances = credit(0, 130);
    });
    let (created, refused) = (
        CreateTransferResult::Created,
        CreateTransferResult::ExceedsCredits,
    );
    assert!(
        found.contains(&Violation::RefusedButApplied(id(14), refused)),
        "{found:?}"
    );
    assert!(
        found.contains(&Violation::Forgotten(id(14), created)),
        "{found:?}"
    );
}

#[test]
fn a_burnt_id_that_is_decided_again_is_seen() {
    let result = CreateTransferResult::ExceedsCredits;
    let found = found(|calls, _| calls.push(call(transfer(14, 5), 20, 21, refused(result))));
    assert_eq!(found, [Violation::Forgotten(id(14), result)]);
}

#[test]
fn a_transfer_that_is_there_though_the_client_was_told_that_nothing_was_done_is_seen() {
    let found = found(|calls, observed| {
        calls[6].heard = Heard::NotDone;
        observed.rows.push(applied(
            stamped(transfer(15, 7), 50),
            debit(0, 132),
            credit(0, 132),
        ));
        observed.accounts[0].balances = debit(0, 132);
        observed.accounts[1].balances = credit(0, 132);
    });
    assert_eq!(found, [Violation::DoneWithoutCause(id(15))]);
}

#[test]
fn an_answer_that_claims_an_earlier_use_without_one_is_seen() {
    let exists = CreateTransferResult::Exists;
    let found_exists = found(|calls, _| {
        calls.remove(3);
    });
    assert_eq!(found_exists, [Violation::NeverUsed(id(13), exists)]);
    let failed = CreateTransferResult::IdAlreadyFailed;
    let found_failed = found(|calls, _| calls.push(call(transfer(16, 1), 20, 21, refused(failed))));
    assert_eq!(found_failed, [Violation::NeverUsed(id(16), failed)]);
}

#[test]
fn rows_out_of_order_are_seen() {
    let found = found(|_, observed| observed.rows.swap(2, 3));
    assert!(
        found.contains(&Violation::OrderBroken(TimestampNs(30))),
        "{found:?}"
    );
}

#[test]
fn a_transfer_stamped_before_one_that_was_answered_earlier_is_seen() {
    let found = found(|calls, _| {
        calls[0].begun = Moment(30);
        calls[0].ended = Moment(31);
    });
    assert_eq!(
        found,
        [Violation::RealTimeBroken {
            first: id(12),
            second: id(10)
        }]
    );
}

#[test]
fn a_broken_limit_is_seen() {
    let found = found(|_, observed| {
        observed.accounts[0].flags = AccountFlags::DEBITS_MUST_NOT_EXCEED_CREDITS;
    });
    assert!(
        matches!(found.first(), Some(Violation::RowImpossible(TransferId(10), _))),
        "{found:?}"
    );
}

#[test]
fn an_expiry_of_something_not_open_is_seen() {
    let expiry = Transfer {
        id: TransferId(0),
        pending_id: TransferId(11),
        ..stamped(transfer(0, 50), 70)
    };
    let found = found(|_, observed| {
        observed
            .rows
            .push(row(RowKind::Expired, expiry, debit(0, 125), credit(0, 125)))
    });
    assert!(
        matches!(found.as_slice(), [Violation::RowImpossible(_, why)] if why.contains("is open")),
        "{found:?}"
    );
}

#[test]
fn an_expiry_releases_what_was_pending() {
    let found = found(|calls, observed| {
        let pending = Transfer {
            flags: TransferFlags::PENDING,
            timeout: 1,
            ..transfer(17, 9)
        };
        calls.push(call(
            pending,
            20,
            21,
            reply(CreateTransferResult::Created, 60, debit(9, 125), credit(9, 125)),
        ));
        let expiry = Transfer {
            id: TransferId(0),
            pending_id: TransferId(17),
            ..stamped(pending, 70)
        };
        observed
            .rows
            .push(applied(stamped(pending, 60), debit(9, 125), credit(9, 125)));
        observed
            .rows
            .push(row(RowKind::Expired, expiry, debit(0, 125), credit(0, 125)));
    });
    assert_eq!(found, []);
}

#[test]
fn a_chain_of_which_only_a_part_is_there_is_seen() {
    let found = found(|calls, _| {
        calls[4].chain = Some(1);
        calls[6].chain = Some(1);
    });
    assert_eq!(found, [Violation::ChainTorn(id(15))]);
}

#[test]
fn a_client_that_may_have_repeated_by_itself_may_hear_that_the_id_was_used() {
    let found = found(|calls, _| {
        calls.remove(3);
        calls[3].may_have_repeated = true;
    });
    assert_eq!(found, []);
}
