//! The checker of reads must see every kind of wrong read, and must not cry at a right one.

use campaign::history::{
    Call, Consistency, Heard, Moment, Observed, ObservedRow, Read, Violation, check_reads,
};
use ledger::{
    Account, AccountId, Amount, Balances, Code, CreateTransferResult, LedgerId, RowKind, TimestampNs,
    Transfer, TransferId, TransferReply,
};

const A: AccountId = AccountId(1);
const B: AccountId = AccountId(2);
const C: AccountId = AccountId(3);

/// Debits of A and credits of B after `posted` was moved.
fn debited(posted: u128) -> Balances {
    Balances {
        debits_posted: Amount(posted),
        ..Balances::default()
    }
}

fn credited(posted: u128) -> Balances {
    Balances {
        credits_posted: Amount(posted),
        ..Balances::default()
    }
}

fn transfer(id: u128, debit: AccountId, credit: AccountId) -> Transfer {
    Transfer {
        id: TransferId(id),
        debit_account_id: debit,
        credit_account_id: credit,
        amount: Amount(10),
        ledger: LedgerId(1),
        code: Code(1),
        timestamp: TimestampNs(id as u64),
        ..Transfer::default()
    }
}

fn call(transfer: Transfer, begun: u64, ended: u64, answered: bool) -> Call {
    let reply = TransferReply {
        result: CreateTransferResult::Created,
        timestamp: transfer.timestamp,
        debit: Balances::default(),
        credit: Balances::default(),
    };
    Call {
        transfer,
        begun: Moment(begun),
        ended: Moment(ended),
        heard: if answered {
            Heard::Reply(reply)
        } else {
            Heard::Nothing
        },
        may_have_repeated: false,
        chain: None,
    }
}

fn read(account: AccountId, consistency: Consistency, begun: u64, seen: Balances) -> Read {
    Read {
        account,
        consistency,
        begun: Moment(begun),
        ended: Moment(begun + 5),
        seen,
    }
}

/// Three transfers: 10 to 20 (A to B), 40 to 50 (C to B), 70 to 80 (A to B); the last one was never answered.
fn history() -> (Vec<Call>, Observed) {
    let transfers = [transfer(1, A, B), transfer(2, C, B), transfer(3, A, B)];
    let calls = vec![
        call(transfers[0], 10, 20, true),
        call(transfers[1], 40, 50, true),
        call(transfers[2], 70, 80, false),
    ];
    let row = |transfer, debit, credit| ObservedRow {
        kind: RowKind::Applied,
        transfer,
        debit,
        credit,
        metadata: None,
    };
    let rows = vec![
        row(transfers[0], debited(10), credited(10)),
        row(transfers[1], debited(10), credited(20)),
        row(transfers[2], debited(20), credited(30)),
    ];
    let account = |id| Account {
        id,
        ..Account::default()
    };
    let accounts = [A, B, C].map(account).to_vec();
    (calls, Observed { rows, accounts })
}

fn found(reads: &[Read]) -> Vec<Violation> {
    let (calls, observed) = history();
    check_reads(&calls, reads, &observed)
}

use Consistency::{Any, Bounded, Linearizable};

#[test]
fn reads_that_fit_the_order_are_right() {
    let reads = [
        read(A, Linearizable, 1, debited(0)),
        read(A, Linearizable, 12, debited(0)),
        read(B, Linearizable, 21, credited(10)),
        read(B, Linearizable, 42, credited(20)),
        read(B, Linearizable, 55, credited(20)),
        read(B, Any, 60, credited(0)),
        read(B, Bounded(35), 61, credited(10)),
    ];
    assert_eq!(found(&reads), []);
}

#[test]
fn an_unanswered_transfer_may_be_seen_or_not_until_it_is_seen() {
    assert_eq!(found(&[read(A, Linearizable, 90, debited(10))]), []);
    let after = read(A, Linearizable, 100, debited(20));
    assert_eq!(found(&[read(A, Linearizable, 90, debited(10)), after]), []);
}

#[test]
fn a_linearizable_read_that_misses_what_was_acknowledged_is_seen() {
    let stale = read(B, Linearizable, 21, credited(0));
    assert_eq!(found(&[stale]), [Violation::ReadStale(stale)]);
}

#[test]
fn a_read_of_one_account_is_stale_when_another_account_shows_how_far_the_books_were() {
    // B was read with the second transfer, after which C can no longer be as before it.
    let b = read(B, Linearizable, 42, credited(20));
    let c = read(C, Linearizable, 48, debited(0));
    assert_eq!(found(&[b, c]), [Violation::ReadWentBack(c)]);
}

#[test]
fn a_read_that_goes_back_behind_an_earlier_one_is_seen() {
    let reads = [
        read(A, Linearizable, 90, debited(20)),
        read(A, Linearizable, 100, debited(10)),
    ];
    assert_eq!(found(&reads), [Violation::ReadWentBack(reads[1])]);
    let at_once = [reads[0], read(A, Linearizable, 93, debited(10))];
    assert_eq!(found(&at_once), [], "neither ended before the other began");
}

#[test]
fn totals_that_never_were_are_seen_at_every_consistency() {
    for consistency in [Linearizable, Bounded(1_000), Any] {
        let dirty = read(B, consistency, 90, credited(15));
        assert_eq!(found(&[dirty]), [Violation::ReadInvented(dirty)]);
    }
}

#[test]
fn a_bounded_read_that_is_older_than_its_bound_is_seen() {
    let old = read(B, Bounded(30), 55, credited(0));
    assert_eq!(found(&[old]), [Violation::ReadStale(old)]);
    assert_eq!(found(&[read(B, Bounded(40), 55, credited(0))]), []);
}

#[test]
fn a_read_that_shows_what_was_asked_for_only_later_is_seen() {
    for consistency in [Linearizable, Any] {
        let ahead = read(B, consistency, 60, credited(30));
        assert_eq!(found(&[ahead]), [Violation::ReadAhead(ahead)]);
    }
}

#[test]
fn totals_that_come_back_fit_wherever_they_stood() {
    let (calls, mut observed) = history();
    // The third row gives B the totals that it had after the first.
    observed.rows[2].credit = credited(10);
    let early = read(B, Linearizable, 21, credited(10));
    let late = read(B, Linearizable, 90, credited(10));
    assert_eq!(check_reads(&calls, &[early, late], &observed), []);
    let between = read(B, Linearizable, 60, credited(10));
    assert_eq!(
        check_reads(&calls, &[between], &observed),
        [Violation::ReadAhead(between)]
    );
}
