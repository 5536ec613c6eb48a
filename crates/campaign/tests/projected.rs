//! The tables of the SQL projection against the writer's books: each way in which they can be wrong must be seen and named.

use campaign::history::{Observed, ObservedRow, Projected, Violation, check_projected, projection_question};
use ledger::{
    Account, AccountId, Amount, Balances, Code, LedgerId, RowKind, TimestampNs, Transfer, TransferFlags,
    TransferId,
};

const LEDGER: LedgerId = LedgerId(7);
const HEIGHT: u64 = 40;

fn debits(pending: u128, posted: u128) -> Balances {
    Balances {
        debits_pending: Amount(pending),
        debits_posted: Amount(posted),
        ..Balances::default()
    }
}

fn credits(pending: u128, posted: u128) -> Balances {
    Balances {
        credits_pending: Amount(pending),
        credits_posted: Amount(posted),
        ..Balances::default()
    }
}

fn row(id: u128, at: u64, flags: TransferFlags, pending_id: u128, after: (u128, u128)) -> ObservedRow {
    ObservedRow {
        kind: RowKind::Applied,
        transfer: Transfer {
            id: TransferId(id),
            debit_account_id: AccountId(1),
            credit_account_id: AccountId(2),
            amount: Amount(10),
            pending_id: TransferId(pending_id),
            ledger: LEDGER,
            code: Code(3),
            flags,
            timestamp: TimestampNs(at),
            ..Transfer::default()
        },
        debit: debits(after.0, after.1),
        credit: credits(after.0, after.1),
        metadata: None,
    }
}

/// One of each kind: a plain one, two pending ones of which one is posted and one expires, and one that stays open.
fn books() -> Observed {
    let (none, pending) = (TransferFlags::empty(), TransferFlags::PENDING);
    let account = |id: u128, balances| Account {
        id: AccountId(id),
        ledger: LEDGER,
        code: Code(1),
        balances,
        timestamp: TimestampNs(id as u64),
        ..Account::default()
    };
    let mut expiry = row(0, 107, none, 12, (10, 20));
    expiry.kind = RowKind::Expired;
    let mut plain = row(10, 101, none, 0, (0, 10));
    plain.metadata = Some("{}".to_owned());
    Observed {
        rows: vec![
            plain,
            row(11, 102, pending, 0, (10, 10)),
            row(12, 103, pending, 0, (20, 10)),
            row(13, 104, TransferFlags::POST_PENDING_TRANSFER, 11, (10, 20)),
            row(14, 106, pending, 0, (20, 20)),
            expiry,
        ],
        accounts: vec![account(1, debits(10, 20)), account(2, credits(10, 20))],
    }
}

fn tables() -> Projected {
    let mut observed = books();
    observed.rows[0].metadata = None;
    let kinds = ["transfer", "pending", "pending", "post", "pending", "expiry"];
    Projected {
        height: HEIGHT,
        observed,
        kinds: kinds.map(str::to_owned).to_vec(),
        open: [TransferId(14)].into(),
        totals: Balances {
            debits_pending: Amount(10),
            debits_posted: Amount(20),
            credits_pending: Amount(10),
            credits_posted: Amount(20),
        },
    }
}

fn found(wrong: impl FnOnce(&mut Projected)) -> Vec<Violation> {
    let mut projected = tables();
    wrong(&mut projected);
    check_projected(LEDGER, HEIGHT, &books(), &projected)
}

#[test]
fn tables_that_show_what_the_writer_shows_are_right_and_may_be_ahead() {
    assert_eq!(found(|_| {}), []);
    assert_eq!(found(|projected| projected.height += 1), []);
}

#[test]
fn tables_that_have_not_reached_the_ledger_are_named_with_both_heights() {
    let behind = Violation::ProjectionBehind {
        projected: HEIGHT - 1,
        height: HEIGHT,
    };
    assert_eq!(found(|projected| projected.height -= 1), [behind]);
}

#[test]
fn a_row_that_is_missing_doubled_invented_or_other_is_seen() {
    type Wrong = fn(&mut Projected);
    let wrongs: [Wrong; 11] = [
        |it| {
            it.observed.rows.remove(3);
            it.kinds.remove(3);
        },
        |it| {
            let last = it.observed.rows[5].clone();
            it.observed.rows.push(last);
            it.kinds.push("expiry".to_owned());
        },
        |it| it.observed.rows[0].transfer.id = TransferId(99),
        |it| it.observed.rows[0].transfer.amount = Amount(11),
        |it| it.observed.rows[0].transfer.timestamp = TimestampNs(100),
        |it| it.observed.rows[1].transfer.timeout = 1,
        |it| it.observed.rows[3].transfer.pending_id = TransferId(12),
        |it| it.observed.rows[3].credit = credits(10, 21),
        |it| it.observed.rows.swap(1, 2),
        |it| it.kinds[3] = "void".to_owned(),
        |it| it.kinds[0] = "pending".to_owned(),
    ];
    for (number, wrong) in wrongs.into_iter().enumerate() {
        let found = found(wrong);
        let [Violation::StatesDiffer { second, .. }] = &found[..] else {
            panic!("wrong {number}: {found:?}");
        };
        assert_eq!(second, "the SQL projection");
    }
}

#[test]
fn an_account_with_another_balance_is_seen_with_the_money_that_it_makes() {
    let found = found(|it| it.observed.accounts[1].balances = credits(10, 21));
    let made =
        |it: &Violation| matches!(it, Violation::MoneyMade(text) if text.contains("the SQL projection"));
    let differs = |it: &Violation| matches!(it, Violation::StatesDiffer { .. });
    assert!(found.iter().any(made) && found.iter().any(differs), "{found:?}");
}

#[test]
fn a_trial_balance_that_is_not_the_sum_is_seen() {
    let found = found(|it| it.totals.debits_posted = Amount(21));
    assert!(matches!(&found[..], [Violation::TotalsDiffer(_)]), "{found:?}");
}

#[test]
fn a_pending_transfer_that_is_open_in_one_place_only_is_seen() {
    for (wrong, word) in [
        ((|it| it.open.clear()) as fn(&mut Projected), "14} are missing"),
        (
            |it| {
                it.open.insert(TransferId(12));
            },
            "12} are settled",
        ),
    ] {
        let found = found(wrong);
        let [Violation::StatesDiffer { at, .. }] = &found[..] else {
            panic!("{found:?}");
        };
        let word = word.split('}').next().unwrap();
        assert!(at.contains(word), "{at}");
    }
}

#[test]
fn an_answer_of_the_tables_is_read_in_whatever_order_it_comes() {
    let answer = r#"account {"id":"00000000-0000-0000-0000-000000000002","ledger":7,"code":1,"flags":0,"user_data_128":null,"user_data_64":null,"user_data_32":null,"timestamp_ns":2,"balances":["0","0","0","340282366920938463463374607431768211455"]}
account {"id":"00000000-0000-0000-0000-000000000001","ledger":7,"code":1,"flags":2,"user_data_128":"00000000-0000-0000-0000-000000000009","user_data_64":"18446744073709551615","user_data_32":5,"timestamp_ns":1,"balances":["1","2","3","4"]}
transfer {"timestamp_ns":107,"id":null,"kind":"expiry","debit_account_id":"00000000-0000-0000-0000-000000000001","credit_account_id":"00000000-0000-0000-0000-000000000002","amount":"10","pending_id":"00000000-0000-0000-0000-00000000000c","ledger":7,"code":3,"flags":0,"timeout_s":null,"user_data_128":null,"user_data_64":null,"user_data_32":null,"debit":["10","20","0","0"],"credit":["0","0","10","20"]}
position {"height":40}
transfer {"timestamp_ns":101,"id":"00000000-0000-0000-0000-00000000000a","kind":"transfer","debit_account_id":"00000000-0000-0000-0000-000000000001","credit_account_id":"00000000-0000-0000-0000-000000000002","amount":"10","pending_id":null,"ledger":7,"code":3,"flags":0,"timeout_s":null,"user_data_128":null,"user_data_64":null,"user_data_32":null,"debit":["0","10","0","0"],"credit":["0","0","0","10"]}
pending {"id":"00000000-0000-0000-0000-00000000000e"}
totals {"balances":["1","2","3","4"]}
totals {"balances":["1","0","0","0"]}"#;
    let read = Projected::read(answer).unwrap();
    let books = books();
    assert_eq!(read.height, 40);
    assert_eq!(read.observed.rows[1], books.rows[5]);
    assert_eq!(read.observed.rows[0].transfer, books.rows[0].transfer);
    assert_eq!(read.kinds, ["transfer", "expiry"]);
    assert_eq!(read.open, [TransferId(14)].into());
    assert_eq!(read.totals.debits_pending, Amount(2));
    let [first, second] = &read.observed.accounts[..] else {
        panic!("{read:?}");
    };
    assert_eq!((first.user_data_64, first.user_data_128), (u64::MAX, 9));
    assert_eq!(second.balances.credits_posted, Amount(u128::MAX));
    let error = Projected::read("transfer {\"amount\":\"-1\"}").unwrap_err();
    assert!(error.contains("-1"), "{error}");
    assert!(projection_question(LEDGER).contains("where ledger = 7"));
}
