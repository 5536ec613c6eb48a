//! Right inputs, made by the product's own writers (pure).

use ledger::{
    Account, AccountFlags, AccountId, ActorId, Amount, Code, Command, CommandBody, Events, Ledger,
    LedgerDescription, LedgerId, NoArchive, Outcome, TimestampNs, Transfer, TransferFlags, TransferId,
};

/// Accounts, a description, and transfers of every kind that leaves something behind.
pub fn commands(transfers: u32) -> Vec<Command> {
    let account = |id: u32| Account {
        id: AccountId(u128::from(id)),
        ledger: LedgerId(1),
        code: Code(u16::try_from(id % 500 + 1).expect("small")),
        user_data_64: u64::from(id),
        flags: if id == 3 {
            AccountFlags::DEBITS_MUST_NOT_EXCEED_CREDITS
        } else {
            AccountFlags::empty()
        },
        ..Account::default()
    };
    let description = LedgerDescription {
        ledger: LedgerId(1),
        name: "Euro".into(),
        currency: "EUR".into(),
        scale: 2,
    };
    let bodies = vec![
        CommandBody::BeginEpoch,
        CommandBody::CreateAccounts(Events {
            events: (1..=20).map(account).collect(),
            metadata: Vec::new(),
        }),
        CommandBody::DescribeLedger(description),
        CommandBody::CreateTransfers(Events {
            events: (1..=transfers).map(transfer).collect(),
            metadata: Vec::new(),
        }),
        CommandBody::ExpirePending { limit: 10 },
    ];
    let named = |body| Command {
        actor: ActorId(7),
        body,
    };
    bodies
        .into_iter()
        .filter(|body| !is_empty(body))
        .map(named)
        .collect()
}

fn is_empty(body: &CommandBody) -> bool {
    matches!(body, CommandBody::CreateTransfers(events) if events.events.is_empty())
}

/// Every third is pending, every ninth posts the pending one before it, every fifth has user data.
fn transfer(number: u32) -> Transfer {
    let n = u128::from(number);
    let plain = Transfer {
        id: TransferId(n << 64 | n),
        debit_account_id: AccountId(n % 20 + 1),
        credit_account_id: AccountId((n + 7) % 20 + 1),
        amount: Amount(n * 100),
        ledger: LedgerId(1),
        code: Code(1),
        ..Transfer::default()
    };
    match number % 9 {
        0 => Transfer {
            id: plain.id,
            pending_id: TransferId((n - 3) << 64 | (n - 3)),
            amount: Amount::ALL,
            flags: TransferFlags::POST_PENDING_TRANSFER,
            ..Transfer::default()
        },
        3 | 6 => Transfer {
            flags: TransferFlags::PENDING,
            timeout: number % 2 * 60,
            ..plain
        },
        5 => Transfer {
            user_data_128: n,
            user_data_64: 5,
            user_data_32: 6,
            ..plain
        },
        _ => plain,
    }
}

/// Commands with their outcomes, as the engine gives them.
pub fn applied(transfers: u32) -> (Ledger, Vec<(Command, Outcome)>) {
    let mut ledger = Ledger::new();
    let mut now = 1_700_000_000_000_000_000;
    let mut done = Vec::new();
    for command in commands(transfers) {
        let mut outcome = Outcome::default();
        ledger
            .apply(&NoArchive, TimestampNs(now), &command, &mut outcome)
            .expect("nothing to look up fails");
        done.push((command, outcome));
        now += 1_000_000_000;
    }
    (ledger, done)
}

/// A ledger's state after that many transfers.
pub fn snapshot(transfers: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    applied(transfers)
        .0
        .snapshot()
        .encode(&mut bytes)
        .expect("memory takes everything");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use ledger::CreateTransferResult;

    #[test]
    fn the_seeds_hold_applied_refused_and_open_transfers() {
        let (mut ledger, done) = applied(90);
        let results: Vec<_> = done
            .iter()
            .flat_map(|(_, outcome)| &outcome.transfers)
            .map(|r| r.result)
            .collect();
        let count = |result| results.iter().filter(|other| **other == result).count();
        let (created, refused) = (
            count(CreateTransferResult::Created),
            count(CreateTransferResult::ExceedsCredits),
        );
        assert_eq!(created + refused, 90, "{results:?}");
        assert!(created > 80 && refused > 0, "{results:?}");
        assert!(ledger.snapshot().open_pendings().count() > 0);
    }
}
