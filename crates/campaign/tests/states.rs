//! Several views of the same books: each way in which they can disagree must be seen and named.

use campaign::history::{NamedState, Observed, ObservedRow, Seal, Violation, check_states};
use ledger::{Account, AccountId, Amount, Balances, LedgerId, RowKind, TimestampNs, Transfer, TransferId};
use std::collections::HashSet;

fn debits(posted: u128) -> Balances {
    Balances {
        debits_posted: Amount(posted),
        ..Balances::default()
    }
}

fn credits(posted: u128) -> Balances {
    Balances {
        credits_posted: Amount(posted),
        ..Balances::default()
    }
}

fn row(id: u128, total: u128) -> ObservedRow {
    ObservedRow {
        kind: RowKind::Applied,
        transfer: Transfer {
            id: TransferId(id),
            debit_account_id: AccountId(1),
            credit_account_id: AccountId(2),
            amount: Amount(10),
            timestamp: TimestampNs(id as u64),
            ..Transfer::default()
        },
        debit: debits(total),
        credit: credits(total),
        metadata: None,
    }
}

fn books() -> Observed {
    let account = |id, balances| Account {
        id: AccountId(id),
        balances,
        ..Account::default()
    };
    Observed {
        rows: vec![row(1, 10), row(2, 20)],
        accounts: vec![account(1, debits(20)), account(2, credits(20))],
    }
}

fn state(name: &str, observed: Observed) -> NamedState {
    let totals = Some(Balances {
        debits_posted: Amount(20),
        credits_posted: Amount(20),
        ..Balances::default()
    });
    NamedState {
        name: name.to_owned(),
        observed,
        totals,
    }
}

fn found(wrong: impl FnOnce(&mut NamedState)) -> Vec<Violation> {
    let mut second = state("h2", books());
    wrong(&mut second);
    check_states(LedgerId(1), &[state("h1", books()), second])
}

#[test]
fn equal_views_are_right() {
    assert_eq!(found(|_| {}), []);
}

#[test]
fn money_that_was_made_is_seen_with_the_view_that_shows_it() {
    let found = found(|state| {
        state.observed.accounts[1].balances = credits(21);
        state.totals = None;
    });
    let made = |v: &Violation| matches!(v, Violation::MoneyMade(text) if text.contains("h2"));
    assert!(found.iter().any(made), "{found:?}");
}

#[test]
fn totals_that_are_not_the_sum_are_seen() {
    let found = found(|state| state.totals = Some(debits(20)));
    assert!(matches!(&found[..], [Violation::TotalsDiffer(text)] if text.contains("h2")));
}

#[test]
fn a_node_with_another_row_or_one_less_or_other_accounts_is_seen() {
    let wrongs: [fn(&mut NamedState); 4] = [
        |state| state.observed.rows[1].transfer.amount = Amount(11),
        |state| state.observed.rows[1].metadata = Some("{}".to_owned()),
        |state| drop(state.observed.rows.pop()),
        |state| state.observed.accounts[0].user_data_64 = 1,
    ];
    for wrong in wrongs {
        let found = found(wrong);
        let [Violation::StatesDiffer { first, second, .. }] = &found[..] else {
            panic!("{found:?}");
        };
        assert_eq!((first.as_str(), second.as_str()), ("h1", "h2"));
    }
}

#[test]
fn what_stood_at_the_end_of_a_round_must_stand_later() {
    let sealed = Seal::new(7, &books(), HashSet::from([TransferId(3)]));
    assert_eq!(sealed.check(&books()), None);
    let broken = |wrong: fn(&mut Observed)| {
        let mut later = books();
        wrong(&mut later);
        matches!(sealed.check(&later), Some(Violation::SealBroken { round: 7, .. }))
    };
    assert!(broken(|books| drop(books.rows.pop())), "a row is gone");
    assert!(
        broken(|books| books.rows[0].credit = credits(11)),
        "a balance is another"
    );
    assert!(
        broken(|books| books.rows.push(row(4, 30))),
        "a row that nobody waits for"
    );
}

#[test]
fn what_was_unknown_at_the_end_of_a_round_may_land_after_it() {
    let sealed = Seal::new(7, &books(), HashSet::from([TransferId(3)]));
    let mut later = books();
    later.rows.push(row(3, 30));
    let mut expiry = row(0, 30);
    expiry.kind = RowKind::Expired;
    later.rows.push(expiry);
    assert_eq!(sealed.check(&later), None);
}
