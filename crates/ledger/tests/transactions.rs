//! Transactions of several postings: how they are split, and how the replies of their chain are read.

use ledger::{
    Account, AccountId, ActorId, Amount, Code, Command, CommandBody, CreateTransferResult as R, Events,
    Ledger, LedgerId, NoArchive, Outcome, Posting, Side, TimestampNs, TransactionError, TransactionHead,
    TransactionOutcome, Transfer, TransferFlags, committed, first_unlike_stored, is_open, split,
};

const HEAD: TransactionHead = TransactionHead {
    id: 7,
    code: Code(4),
    user_data_128: 1,
    user_data_64: 2,
    user_data_32: 3,
};

fn derive(id: u128, index: u32) -> u128 {
    id * 1_000 + u128::from(index) + 1
}

fn posting(side: Side, account: u128, ledger: u32, amount: u128) -> Posting {
    Posting {
        account: AccountId(account),
        ledger: LedgerId(ledger),
        side,
        amount: Amount(amount),
    }
}

fn debit(account: u128, amount: u128) -> Posting {
    posting(Side::Debit, account, 1, amount)
}

fn credit(account: u128, amount: u128) -> Posting {
    posting(Side::Credit, account, 1, amount)
}

fn legs(transfers: &[Transfer]) -> Vec<(u128, u128, u128)> {
    transfers
        .iter()
        .map(|t| (t.debit_account_id.0, t.credit_account_id.0, t.amount.0))
        .collect()
}

#[test]
fn postings_are_split_in_their_order() {
    let postings = [
        debit(1, 70),
        credit(10, 50),
        debit(2, 30),
        credit(11, 20),
        credit(12, 30),
    ];
    let transfers = split(&HEAD, &postings, derive).unwrap();
    assert_eq!(legs(&transfers), [(1, 10, 50), (1, 11, 20), (2, 12, 30)]);
    assert_eq!(
        transfers.iter().map(|t| t.id.0).collect::<Vec<_>>(),
        [7_001, 7_002, 7_003]
    );
    for (index, transfer) in transfers.iter().enumerate() {
        assert_eq!(
            transfer.flags.contains(TransferFlags::LINKED),
            index < 2,
            "all but the last are linked"
        );
        assert_eq!((transfer.code, transfer.user_data_128), (Code(4), 1));
        assert_eq!((transfer.user_data_64, transfer.user_data_32), (2, 3));
    }
}

#[test]
fn ledgers_balance_each_for_itself() {
    let postings = [
        posting(Side::Debit, 1, 1, 5),
        posting(Side::Credit, 20, 2, 9),
        posting(Side::Credit, 2, 1, 5),
        posting(Side::Debit, 21, 2, 9),
    ];
    let transfers = split(&HEAD, &postings, derive).unwrap();
    assert_eq!(legs(&transfers), [(1, 2, 5), (21, 20, 9)]);
    let crossed = [posting(Side::Debit, 1, 1, 5), posting(Side::Credit, 20, 2, 5)];
    let error = TransactionError::Unbalanced { ledger: LedgerId(1) };
    assert_eq!(split(&HEAD, &crossed, derive), Err(error));
}

#[test]
fn many_ledgers_are_split_as_if_each_were_split_alone() {
    // Ledger 1 + i % 500 in an order that is not theirs; several debits and credits each, which do not meet in pairs.
    let mut postings = Vec::new();
    for step in 0..2_000_u32 {
        let ledger = 1 + (step * 7) % 500;
        let account = u128::from(step) + 1;
        let amount = u128::from(step / 500) + 1;
        postings.push(posting(Side::Debit, account, ledger, amount));
        postings.push(posting(Side::Credit, account + 10_000, ledger, 5 - amount));
    }
    let mut ledgers: Vec<LedgerId> = Vec::new();
    for posting in &postings {
        if !ledgers.contains(&posting.ledger) {
            ledgers.push(posting.ledger);
        }
    }
    assert_eq!(ledgers.len(), 500);
    let naive: Vec<_> = ledgers
        .iter()
        .flat_map(|ledger| {
            let own = postings.iter().filter(|posting| posting.ledger == *ledger);
            let own: Vec<Posting> = own.copied().collect();
            legs(&split(&HEAD, &own, derive).unwrap())
        })
        .collect();
    assert_eq!(legs(&split(&HEAD, &postings, derive).unwrap()), naive);
}

#[test]
fn senseless_postings_are_refused_by_name() {
    assert_eq!(split(&HEAD, &[], derive), Err(TransactionError::Empty));
    for id in [0, u128::MAX] {
        let nameless = TransactionHead { id, ..HEAD };
        let refused = split(&nameless, &[debit(1, 5), credit(2, 5)], |_, index| {
            u128::from(index)
        });
        assert_eq!(refused, Err(TransactionError::NoId));
    }
    let error = split(&HEAD, &[debit(1, 5), credit(2, 0)], derive).unwrap_err();
    assert_eq!(error, TransactionError::ZeroAmount { index: 1 });
    assert!(error.to_string().contains("postings[1].amount"));
    let huge = [debit(1, u128::MAX), debit(2, 1), credit(3, 1)];
    assert_eq!(
        split(&HEAD, &huge, derive),
        Err(TransactionError::Overflow { ledger: LedgerId(1) })
    );
    let mut many = vec![debit(1, 8_191)];
    many.extend((0..8_191).map(|account| credit(account + 10, 1)));
    assert_eq!(split(&HEAD, &many, derive), Err(TransactionError::TooMany));
    many.pop();
    many[0].amount = Amount(8_190);
    assert_eq!(
        split(&HEAD, &many, derive).map(|transfers| transfers.len()),
        Ok(8_190)
    );
}

#[test]
fn a_repeated_transaction_is_open_until_its_other_transfers_are_compared() {
    let mut ledger = Ledger::new();
    let mut outcome = Outcome::default();
    let mut send = |now, body| {
        let command = Command {
            actor: ActorId(1),
            body,
        };
        ledger
            .apply(&NoArchive, TimestampNs(now), &command, &mut outcome)
            .unwrap();
        results(&outcome)
    };
    let account = |id| Account {
        id: AccountId(id),
        ledger: LedgerId(1),
        code: Code(1),
        ..Account::default()
    };
    let events = vec![account(1), account(2), account(3)];
    send(
        1,
        CommandBody::CreateAccounts(Events {
            events,
            metadata: Vec::new(),
        }),
    );
    let request = |postings: &[Posting]| {
        let events = split(&HEAD, postings, derive).unwrap();
        CommandBody::CreateTransfers(Events {
            events,
            metadata: Vec::new(),
        })
    };
    let good = request(&[debit(1, 10), credit(2, 4), credit(3, 6)]);
    assert_eq!(
        send(2, good.clone()),
        [R::Created, R::Created],
        "all of it is applied"
    );
    let again = send(3, good);
    assert_eq!(again, [R::Exists, R::LinkedEventFailed]);
    assert!(is_open(&again), "the second transfer was not looked at");
    let different = request(&[debit(1, 10), credit(2, 5), credit(3, 5)]);
    let refused = TransactionOutcome::Refused {
        index: 0,
        result: R::ExistsWithDifferentAmount,
    };
    assert_eq!(committed(&send(4, different)), refused);
}

#[test]
fn another_transaction_under_a_used_id_is_told_by_its_first_transfer_that_differs() {
    let split = |postings: &[Posting]| split(&HEAD, postings, derive).unwrap();
    let three = split(&[debit(1, 10), credit(2, 4), credit(3, 6)]);
    let compare =
        |asked: &[Transfer]| first_unlike_stored(asked, |id| three.iter().find(|transfer| transfer.id == id));
    assert_eq!(compare(&three), None);
    let shares_a_leg = split(&[debit(1, 1_000), credit(2, 4), credit(4, 996)]);
    assert_eq!(
        compare(&shares_a_leg),
        Some((1, R::ExistsWithDifferentCreditAccountId))
    );
    let more = split(&[debit(1, 11), credit(2, 4), credit(3, 6), credit(4, 1)]);
    assert_eq!(compare(&more), Some((1, R::ExistsWithDifferentFlags)));
    let fewer = split(&[debit(1, 4), credit(2, 4)]);
    assert_eq!(compare(&fewer), Some((0, R::ExistsWithDifferentFlags)));
    let mut unknown = three.clone();
    unknown[1].id.0 += 77;
    assert_eq!(compare(&unknown), Some((1, R::LinkedEventFailed)));
}

#[test]
fn a_transaction_stands_only_when_every_transfer_of_it_exists() {
    assert_eq!(
        committed(&[R::Exists, R::Exists]),
        TransactionOutcome::AlreadyCommitted
    );
    let refused = |index, result| TransactionOutcome::Refused { index, result };
    let differs = [R::Exists, R::LinkedEventFailed, R::ExistsWithDifferentAmount];
    assert_eq!(committed(&differs), refused(2, R::ExistsWithDifferentAmount));
    let missing = [R::Exists, R::LinkedEventFailed, R::LinkedEventFailed];
    assert_eq!(committed(&missing), refused(1, R::LinkedEventFailed));
    assert!(is_open(&missing) && !is_open(&differs) && !is_open(&[R::Exists]));
}

fn results(outcome: &Outcome) -> Vec<R> {
    outcome.transfers.iter().map(|reply| reply.result).collect()
}

#[test]
fn the_culprit_of_a_refused_transaction_is_named() {
    let results = [R::LinkedEventFailed, R::ExceedsCredits, R::LinkedEventFailed];
    let refused = TransactionOutcome::Refused {
        index: 1,
        result: R::ExceedsCredits,
    };
    assert_eq!(committed(&results), refused);
}
