//! Right inputs, made by the product's own writers (pure).

use journal::Draft;
use ledger::{
    Account, AccountFlags, AccountId, ActorId, Amount, Code, Command, CommandBody, Events, Ledger,
    LedgerDescription, LedgerId, NoArchive, Outcome, TimestampNs, Transfer, TransferFlags, TransferId,
};

/// When the commands are applied, if nothing else is said.
const NOW: TimestampNs = TimestampNs(1_700_000_000_000_000_000);

/// Accounts, a description, and transfers of every kind that leaves something behind.
fn commands(transfers: u32) -> Vec<Command> {
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

/// Commands with their outcomes, as the engine gives them, from the given time on.
fn applied(transfers: u32, begin: TimestampNs) -> (Ledger, Vec<(Command, Outcome)>) {
    let mut ledger = Ledger::new();
    let mut now = begin.0;
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

/// Blocks of several sizes.
pub fn blocks() -> Vec<Vec<u8>> {
    [0, 9, 300].map(block).to_vec()
}

/// Ledgers of several sizes.
pub fn snapshots() -> Vec<Vec<u8>> {
    [0, 300].map(snapshot).to_vec()
}

/// A body for each route, behind the number that chooses the route.
pub fn rest_bodies() -> Vec<Vec<u8>> {
    let bodies: [&str; 7] = [
        r#"{"accounts":[{"id":"1","ledger":1,"code":1,"flags":["linked","history"],"metadata":{"a":[1,null]}},
            {"id":2,"ledger":1,"code":1,"user_data_128":"7","user_data_64":8,"user_data_32":9}]}"#,
        r#"{"transfers":[{"id":"18446744073709551616","debit_account_id":"1","credit_account_id":2,"amount":"100",
            "ledger":1,"code":1,"flags":["pending"],"timeout":60},{"id":4,"pending_id":"3","flags":["post_pending_transfer"],
            "amount":"340282366920938463463374607431768211455"}]}"#,
        r#"{"ids":["1",2,"340282366920938463463374607431768211454"]}"#,
        r#"{"id":"1","code":1,"postings":[{"account_id":"1","side":"debit","amount":"5","ledger":1},
            {"account_id":"2","side":"credit","amount":"3","ledger":1},
            {"account_id":"3","side":"credit","amount":"2","ledger":1}]}"#,
        r#"{"ledger":1,"code":1,"timestamp_min":"1","timestamp_max":"2026-11-22T10:00:00Z","limit":10,
            "order":"oldest_first","page":"1","user_data_64":"5"}"#,
        r#"{"name":"Euro","currency":"EUR","scale":2}"#,
        "at=2026-11-22T10:00:00Z&limit=10",
    ];
    let numbered = |(kind, body): (usize, &str)| {
        let kind = u8::try_from(kind).expect("few routes");
        std::iter::once(kind).chain(body.bytes()).collect()
    };
    bodies.into_iter().enumerate().map(numbered).collect()
}

/// The oldest version of the message, the commonest and the newest.
pub fn pain001() -> Vec<Vec<u8>> {
    let files: [&[u8]; 3] = [
        include_bytes!("../../../payments/tests/golden/pain.001.001.03.xml"),
        include_bytes!("../../../payments/tests/golden/pain.001.001.09.xml"),
        include_bytes!("../../../payments/tests/golden/pain.001.001.13.xml"),
    ];
    files.map(<[u8]>::to_vec).to_vec()
}

/// A few lines of the demonstration's payments.
pub fn csv() -> Vec<Vec<u8>> {
    let lines = payments::demo::RENTS_CSV.split_inclusive(|byte| *byte == b'\n');
    vec![lines.take(12).flatten().copied().collect()]
}

/// The demonstration's mapping.
pub fn mappings() -> Vec<Vec<u8>> {
    vec![payments::demo::MAPPING_TOML.into()]
}

/// The body of a block with that many transfers, behind the counts that [`journal::fuzz_decode`] reads in front of it.
fn block(transfers: u32) -> Vec<u8> {
    // The decoder is told that the first entry stands here.
    let first = TimestampNs(1_000);
    let mut draft = Draft::new();
    for (command, outcome) in applied(transfers, first).1 {
        draft.push(outcome.timestamp, &command, &outcome);
    }
    let mut bytes = vec![u8::try_from(draft.entries()).expect("few entries")];
    bytes.extend_from_slice(&u16::try_from(draft.events()).expect("few events").to_le_bytes());
    bytes.extend_from_slice(draft.body());
    bytes
}

/// A ledger's state after that many transfers.
fn snapshot(transfers: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    applied(transfers, NOW)
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
    fn the_payment_files_are_what_their_readers_take() {
        let mapping =
            payments::Mapping::parse(payments::demo::MAPPING_TOML, "demo").expect("a right mapping");
        for file in pain001() {
            payments::read_pain001(&file, &mut |_| ()).expect("a right pain.001");
        }
        for file in csv() {
            payments::read_csv(&file, &mapping, &mut |_| ()).expect("a right file");
        }
    }

    #[test]
    fn the_blocks_are_what_the_decoder_takes() {
        assert!(journal::fuzz_decode(&block(0)) && journal::fuzz_decode(&block(300)));
    }

    #[test]
    fn the_seeds_hold_applied_refused_and_open_transfers() {
        let (mut ledger, done) = applied(90, NOW);
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
