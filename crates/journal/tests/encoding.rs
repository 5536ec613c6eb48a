//! The canonical encoding: one way there, the same way back, and nothing else accepted.

mod common;

use common::{TERM, draft, keys, request};
use journal::{
    Block, BlockHash, Damage, DecodeError, Draft, Entry, HEADER_BYTES, Head, Header, Opener, Problem,
    Results, Sealer, ShardId, fuzz_decode,
};
use ledger::*;
use proptest::prelude::*;

fn number(max: u128) -> impl Strategy<Value = u128> {
    prop_oneof![2 => Just(0), 2 => 0..=max.min(300), 1 => Just(max), 1 => 0..=max]
}

fn u64s() -> impl Strategy<Value = u64> {
    number(u64::MAX.into()).prop_map(|value| value as u64)
}

fn u32s() -> impl Strategy<Value = u32> {
    number(u32::MAX.into()).prop_map(|value| value as u32)
}

fn u16s() -> impl Strategy<Value = u16> {
    number(u16::MAX.into()).prop_map(|value| value as u16)
}

fn sealed() -> impl Strategy<Value = Option<Sealed>> {
    proptest::option::weighted(
        0.2,
        proptest::collection::vec(any::<u8>(), 0..40).prop_map(Into::into),
    )
}

fn transfers() -> impl Strategy<Value = Transfer> {
    let ids = [(); 5].map(|()| number(u128::MAX));
    (
        ids,
        number(u128::MAX),
        u64s(),
        [u32s(), u32s(), u32s()],
        [u16s(), u16s()],
        u64s(),
    )
        .prop_map(
            |(
                [id, debit, credit, pending, data],
                amount,
                data_64,
                [data_32, timeout, ledger],
                [code, flags],
                time,
            )| {
                Transfer {
                    id: TransferId(id),
                    debit_account_id: AccountId(debit),
                    credit_account_id: AccountId(credit),
                    amount: Amount(amount),
                    pending_id: TransferId(pending),
                    user_data_128: data,
                    user_data_64: data_64,
                    user_data_32: data_32,
                    timeout,
                    ledger: LedgerId(ledger),
                    code: Code(code),
                    flags: TransferFlags::from_bits_retain(flags),
                    timestamp: TimestampNs(time),
                }
            },
        )
}

fn accounts() -> impl Strategy<Value = Account> {
    let wide = [(); 6].map(|()| number(u128::MAX));
    (wide, u64s(), [u32s(), u32s()], [u16s(), u16s()], u64s()).prop_map(
        |([id, dp, do_, cp, co, data], data_64, [data_32, ledger], [code, flags], time)| Account {
            id: AccountId(id),
            balances: Balances {
                debits_pending: Amount(dp),
                debits_posted: Amount(do_),
                credits_pending: Amount(cp),
                credits_posted: Amount(co),
            },
            user_data_128: data,
            user_data_64: data_64,
            user_data_32: data_32,
            ledger: LedgerId(ledger),
            code: Code(code),
            flags: AccountFlags::from_bits_retain(flags),
            timestamp: TimestampNs(time),
        },
    )
}

/// Events with their metadata and the index of a result each.
fn events<E: Clone + std::fmt::Debug>(
    event: impl Strategy<Value = E> + 'static,
) -> impl Strategy<Value = (Events<E>, Vec<usize>)> {
    let code = prop_oneof![3 => Just(0), 1 => 0..69_usize];
    let length = prop_oneof![4 => 1..5_usize, 1 => 1..200_usize];
    length
        .prop_flat_map({
            let event = event.boxed();
            move |length| proptest::collection::vec((event.clone(), sealed(), code.clone()), length)
        })
        .prop_map(|all| {
            let mut events = Vec::new();
            let mut metadata = Vec::new();
            let mut codes = Vec::new();
            for (index, (event, sealed, code)) in all.into_iter().enumerate() {
                events.push(event);
                metadata.extend(sealed.map(|sealed| EventMetadata {
                    index: index as u32,
                    sealed,
                }));
                codes.push(code);
            }
            (Events { events, metadata }, codes)
        })
}

fn bodies() -> impl Strategy<Value = (CommandBody, Results)> {
    let of = |codes: &[usize], all: usize| -> Vec<usize> { codes.iter().map(|code| code % all).collect() };
    prop_oneof![
        Just((CommandBody::BeginEpoch, Results::None)),
        events(accounts()).prop_map(move |(events, codes)| {
            let all = CreateAccountResult::ALL;
            let results = of(&codes, all.len()).into_iter().map(|i| all[i]).collect();
            (CommandBody::CreateAccounts(events), Results::Accounts(results))
        }),
        events(transfers()).prop_map(move |(events, codes)| {
            let all = CreateTransferResult::ALL;
            let results = of(&codes, all.len()).into_iter().map(|i| all[i]).collect();
            (CommandBody::CreateTransfers(events), Results::Transfers(results))
        }),
        (proptest::collection::vec(number(u128::MAX), 0..150), 0..5_u32).prop_map(|(ids, more)| {
            let limit = ids.len() as u32 + more;
            let ids = ids.into_iter().map(TransferId).collect();
            (CommandBody::ExpirePending { limit }, Results::Expired(ids))
        }),
        (u32s(), ".{0,40}", ".{0,5}", any::<u8>(), 0..8_usize).prop_map(
            |(ledger, name, currency, scale, i)| {
                let result = DescribeLedgerResult::ALL[i];
                let description = LedgerDescription {
                    ledger: LedgerId(ledger),
                    name,
                    currency,
                    scale,
                };
                (
                    CommandBody::DescribeLedger(description),
                    Results::Described(result),
                )
            }
        ),
    ]
}

fn entries() -> impl Strategy<Value = Vec<Entry>> {
    let entry = (bodies(), number(u128::MAX), 1..1_000_000_000_000_u64);
    (u64s(), proptest::collection::vec(entry, 1..6)).prop_map(|(start, entries)| {
        let mut time = start >> 2;
        entries
            .into_iter()
            .map(|((body, results), actor, step)| {
                time += step;
                let command = Command {
                    actor: ActorId(actor),
                    body,
                };
                Entry {
                    timestamp: TimestampNs(time),
                    command,
                    results,
                }
            })
            .collect()
    })
}

fn drafted(entries: &[Entry]) -> Draft {
    let mut draft = Draft::new();
    entries.iter().for_each(|entry| draft.push_entry(entry));
    draft
}

fn sealed_and_opened(draft: &Draft) -> Result<Block, Damage> {
    let mut bytes = Vec::new();
    Sealer::new(&keys(), ShardId(3)).seal(&Head::default(), TERM, draft, &mut bytes);
    let header = Header::decode(&bytes).unwrap();
    Opener::new(keys()).open(&header, &mut bytes[HEADER_BYTES..])
}

/// What [`fuzz_decode`] takes: the counts, then the body.
fn fuzz_input(draft: &Draft) -> Vec<u8> {
    let mut bytes = vec![draft.entries() as u8];
    bytes.extend((draft.events() as u16).to_le_bytes());
    bytes.extend(draft.body());
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_sealed_opens_as_it_was(entries in entries()) {
        let draft = drafted(&entries);
        let block = sealed_and_opened(&draft).unwrap();
        prop_assert_eq!(&block.entries, &entries);
        prop_assert_eq!(block.timestamp, entries[0].timestamp);
        prop_assert_eq!((block.shard, block.height, block.epoch), (ShardId(3), Height(1), 1));
        prop_assert!(fuzz_decode(&fuzz_input(&draft)));
    }

    #[test]
    fn changed_bytes_never_panic_and_never_decode_to_something_that_encodes_differently(
        entries in entries(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..4_u8), 1..4),
    ) {
        let mut bytes = fuzz_input(&drafted(&entries));
        for (index, byte, kind) in changes {
            let at = index.index(bytes.len());
            match kind {
                0 => bytes[at] = byte,
                1 => bytes[at] ^= 1 << (byte % 8),
                2 => bytes.insert(at, byte),
                _ => bytes.truncate(at.max(1)),
            }
        }
        let _ = fuzz_decode(&bytes);
    }
}

#[test]
fn an_ordinary_transfer_takes_less_than_sixty_bytes() {
    let draft = draft(1, 8_190);
    assert_eq!((draft.entries(), draft.events()), (1, 8_190));
    let each = draft.bytes() / 8_190;
    assert!(each < 60, "{each} bytes");
}

#[test]
fn pushing_a_command_and_pushing_its_entry_give_the_same_bytes() {
    let (command, outcome) = request(5, 200);
    let mut one = Draft::new();
    one.push(TimestampNs(7), &command, &outcome);
    let results = Results::Transfers(outcome.transfers.iter().map(|reply| reply.result).collect());
    let two = drafted(&[Entry {
        timestamp: TimestampNs(7),
        command,
        results,
    }]);
    assert_eq!(one.body(), two.body());
}

#[test]
fn a_cleared_draft_is_as_good_as_new() {
    let mut reused = draft(1, 100);
    reused.clear();
    assert!(reused.is_empty());
    let (command, outcome) = request(2 << 32, 70);
    reused.push(common::time(2), &command, &outcome);
    let fresh = draft(2, 70);
    let hash = |draft| sealed_and_opened(draft).unwrap().hash;
    assert_eq!(hash(&reused), hash(&fresh));
}

#[test]
#[should_panic(expected = "2 events have 1 results")]
fn a_draft_refuses_an_outcome_that_is_not_the_commands() {
    let (command, _) = request(1, 2);
    let (_, outcome) = request(1, 1);
    Draft::new().push(TimestampNs(1), &command, &outcome);
}

/// Pins the format: if this fails, old journals can no longer be verified. Never change the expected values;
/// a new format gets a new version.
#[test]
fn the_first_version_of_the_format_stands() {
    let mut draft = Draft::new();
    let entry = |time, actor, body, results| Entry {
        timestamp: TimestampNs(time),
        command: Command {
            actor: ActorId(actor),
            body,
        },
        results,
    };
    draft.push_entry(&entry(1_000, 0, CommandBody::BeginEpoch, Results::None));
    let description = LedgerDescription {
        ledger: LedgerId(1),
        name: "Euro".into(),
        currency: "EUR".into(),
        scale: 2,
    };
    let described = Results::Described(DescribeLedgerResult::Described);
    draft.push_entry(&entry(
        1_001,
        5,
        CommandBody::DescribeLedger(description),
        described,
    ));
    let transfer = Transfer {
        id: TransferId(1),
        debit_account_id: AccountId(2),
        credit_account_id: AccountId(3),
        amount: Amount(300),
        ledger: LedgerId(1),
        code: Code(10),
        ..Transfer::default()
    };
    let metadata = vec![EventMetadata {
        index: 1,
        sealed: [0xee; 3].into(),
    }];
    let events = Events {
        events: vec![transfer; 2],
        metadata,
    };
    let results = Results::Transfers(vec![CreateTransferResult::Created, CreateTransferResult::Exists]);
    draft.push_entry(&entry(1_300, 5, CommandBody::CreateTransfers(events), results));
    draft.push_entry(&entry(
        2_000,
        0,
        CommandBody::ExpirePending { limit: 200 },
        Results::Expired(vec![TransferId(1)]),
    ));
    let block = sealed_and_opened(&draft).unwrap();
    assert_eq!(hex(draft.body()), include_str!("golden/body-1.hex").trim());
    assert_eq!(hex(&block.hash.0), include_str!("golden/hash-1.hex").trim());
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Seals bytes that no draft would hold, and says how they are refused.
fn refused(body: &[u8], entries: u32, events: u32) -> DecodeError {
    // Under the same key and with a true tag: only the decoder stands between these bytes and the ledger.
    let key = keys()
        .current()
        .derive(b"journal block \0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
    let mut header = Header {
        body_version: 1,
        rules_version: 1,
        shard: ShardId(0),
        key: key.id(),
        height: Height(1),
        epoch: 1,
        writer: TERM.writer,
        timestamp: TimestampNs(1_000),
        entries,
        events,
        body_bytes: body.len() as u32,
        nonce: [0; 12],
        salt: [0; 16],
        previous: BlockHash::default(),
        hash: BlockHash::default(),
        tag: [0; 16],
    };
    let mut bytes = body.to_vec();
    header.tag = key.seal(header.nonce, &header.encode()[..176], &mut bytes);
    match Opener::new(keys()).open(&header, &mut bytes) {
        Err(Damage::Body(error)) => error,
        other => panic!("{body:02x?} was not refused by the decoder: {other:?}"),
    }
}

#[test]
fn what_is_not_canonical_is_refused() {
    let problem = |body: &[u8], entries, events| refused(body, entries, events).problem;
    // Kind, time; for transfers: count, bitmap, fields, runs.
    assert_eq!(problem(&[], 0, 0), Problem::Count);
    assert_eq!(problem(&[], 1, 0), Problem::End);
    assert_eq!(problem(&[1, 0, 0], 1, 0), Problem::Trailing);
    assert_eq!(problem(&[0, 0], 1, 0), Problem::Kind(0));
    assert_eq!(problem(&[6, 0], 1, 0), Problem::Kind(6));
    assert_eq!(problem(&[1, 0x80, 0], 1, 0), Problem::Number);
    assert_eq!(problem(&[1, 1], 1, 0), Problem::Time);
    assert_eq!(problem(&[1, 0, 1, 0], 2, 0), Problem::Time);
    assert_eq!(problem(&[3, 0, 0], 1, 0), Problem::Count);
    assert_eq!(problem(&[3, 0, 0xff, 0x3f], 1, 8_191), Problem::Count);
    assert_eq!(problem(&[3, 0, 1, 0, 0x40], 1, 1), Problem::Fields(0x4000));
    assert_eq!(problem(&[2, 0, 1, 0, 0x20], 1, 1), Problem::Fields(0x2000));
    assert_eq!(problem(&[3, 0, 1, 8, 0, 0, 1, 1], 1, 1), Problem::Zero);
    assert_eq!(
        problem(&[3, 0, 1, 0, 4, 0x80, 0x80, 0x04, 1, 1], 1, 1),
        Problem::Number
    );
    assert_eq!(problem(&[3, 0, 2, 0, 0, 0, 0, 1, 1, 1, 1], 1, 2), Problem::Run);
    assert_eq!(problem(&[3, 0, 1, 0, 0, 2, 1], 1, 1), Problem::Run);
    assert_eq!(problem(&[3, 0, 1, 0, 0, 0, 1, 1, 1], 1, 1), Problem::Run);
    assert_eq!(problem(&[3, 0, 1, 0, 0, 1, 70], 1, 1), Problem::Result(70));
    assert_eq!(
        problem(&[3, 0, 1, 0, 0, 1, 1], 1, 2),
        Problem::Events { header: 2, body: 1 }
    );
    assert_eq!(problem(&[3, 0, 1, 0, 0x20, 5, 1], 1, 1), Problem::End);
    assert_eq!(problem(&[4, 0, 1, 2], 1, 2), Problem::Count);
    assert_eq!(problem(&[5, 0, 1, 1, 0xff, 0, 0, 1], 1, 1), Problem::Text);
    let mut zero_actor = vec![0x81];
    zero_actor.extend([0; 17]);
    assert_eq!(problem(&zero_actor, 1, 0), Problem::Zero);
}

#[test]
fn a_count_that_the_input_does_not_justify_reserves_nothing() {
    // A body of a few bytes that promises 4 billion expiries and entries.
    let body = [4, 0, 0xff, 0xff, 0xff, 0xff, 0x0f, 0xff, 0xff, 0xff, 0xff, 0x0f];
    assert_eq!(refused(&body, u32::MAX, u32::MAX).problem, Problem::End);
}
