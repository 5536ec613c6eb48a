//! The table of accounts, in the order of the checks, and the world in which they are asked.

use crate::table::{Key as K, Needs, Row, row};
use crate::world::account;
use ledger::{
    Account, AccountFlags as A, AccountId, ActorId, Amount, Code, Command, CommandBody,
    CreateAccountResult as R, EventMetadata, Events, Ledger, LedgerId, NoArchive, Outcome, Sealed,
    TimestampNs, Transfer, TransferId,
};

const EVENT_ID: i128 = 9;

fn imported(timestamp: i128, more: &[(K, i128)]) -> Vec<(K, i128)> {
    let mut needs = vec![
        (K::RequestImported, 1),
        (K::EventImported, 1),
        (K::Timestamp, timestamp),
    ];
    needs.extend(more);
    needs
}

/// The event is the one that was created, but for the field.
fn repeat(different: &[(K, i128)]) -> Vec<(K, i128)> {
    let mut needs = vec![
        (K::Stored, 1),
        (K::BothLimits, 0),
        (K::DebitsPending, 0),
        (K::DebitsPosted, 0),
        (K::CreditsPending, 0),
        (K::CreditsPosted, 0),
        (K::Ledger, 1),
        (K::Code, 1),
    ];
    needs.extend(different);
    needs
}

pub fn rows() -> Vec<Row<R>> {
    vec![
        row(R::LinkedEventChainOpen, &[(K::LinkedLast, 1)]),
        row(R::LinkedEventFailed, &[(K::AfterFailure, 1)]),
        row(
            R::ImportedEventExpected,
            &[(K::RequestImported, 1), (K::EventImported, 0)],
        ),
        row(
            R::ImportedEventNotExpected,
            &[(K::RequestImported, 0), (K::EventImported, 1)],
        ),
        row(
            R::TimestampMustBeZero,
            &[(K::RequestImported, 0), (K::EventImported, 0), (K::Timestamp, 7)],
        ),
        row(R::ImportedEventTimestampOutOfRange, &imported(1 << 63, &[])),
        row(R::ImportedEventTimestampMustNotAdvance, &imported(10_000, &[])),
        row(R::ReservedFlag, &[(K::ReservedFlag, 1)]),
        row(R::IdMustNotBeZero, &[(K::Id, 0)]),
        row(R::IdMustNotBeIntMax, &[(K::Id, -1)]),
        row(R::ExistsWithDifferentFlags, &repeat(&[(K::DifferentFlags, 1)])),
        row(
            R::ExistsWithDifferentUserData128,
            &repeat(&[(K::DifferentUserData128, 1)]),
        ),
        row(
            R::ExistsWithDifferentUserData64,
            &repeat(&[(K::DifferentUserData64, 1)]),
        ),
        row(
            R::ExistsWithDifferentUserData32,
            &repeat(&[(K::DifferentUserData32, 1)]),
        ),
        row(R::ExistsWithDifferentLedger, &repeat(&[(K::DifferentLedger, 1)])),
        row(R::ExistsWithDifferentCode, &repeat(&[(K::DifferentCode, 1)])),
        row(
            R::ExistsWithDifferentMetadata,
            &repeat(&[(K::DifferentMetadata, 1)]),
        ),
        row(R::Exists, &repeat(&[])),
        row(R::FlagsAreMutuallyExclusive, &[(K::BothLimits, 1)]),
        row(R::DebitsPendingMustBeZero, &[(K::DebitsPending, 1)]),
        row(R::DebitsPostedMustBeZero, &[(K::DebitsPosted, 1)]),
        row(R::CreditsPendingMustBeZero, &[(K::CreditsPending, 1)]),
        row(R::CreditsPostedMustBeZero, &[(K::CreditsPosted, 1)]),
        row(R::LedgerMustNotBeZero, &[(K::Ledger, 0)]),
        row(R::CodeMustNotBeZero, &[(K::Code, 0)]),
        row(R::ImportedEventTimestampMustNotRegress, &imported(100, &[])),
        row(
            R::ImportedEventTimestampMustNotRegress,
            &imported(1_500, &[(K::LateTransfer, 1)]),
        ),
        row(R::Created, &[]),
        row(R::Created, &imported(1_500, &[(K::LateTransfer, 0)])),
        row(R::Created, &imported(1_499, &[(K::LateTransfer, 1)])),
    ]
}

/// The result of the account that the needs describe. The request's time is 10,000; other accounts were created at
/// 100, a transfer of exactly 1,500 exists when there is a late one, and the stored account is of 1,600.
pub fn run(needs: &Needs) -> R {
    let or = |key: K, default: i128| needs.get(&key).copied().unwrap_or(default);
    let is = |key: K| or(key, 0) == 1;
    let mut ledger = Ledger::new();
    let mut outcome = Outcome::default();
    let mut apply = |now, body| {
        let command = Command {
            actor: ActorId(1),
            body,
        };
        ledger
            .apply(&NoArchive, TimestampNs(now), &command, &mut outcome)
            .expect("nothing is archived");
        outcome.clone()
    };
    let helpers = vec![account(50, 1, A::empty()), account(51, 1, A::empty())];
    apply(
        100,
        CommandBody::CreateAccounts(Events {
            events: helpers,
            metadata: Vec::new(),
        }),
    );
    if is(K::LateTransfer) {
        let transfer = Transfer {
            id: TransferId(1),
            debit_account_id: AccountId(50),
            credit_account_id: AccountId(51),
            amount: Amount(1),
            ledger: LedgerId(1),
            code: Code(1),
            ..Transfer::default()
        };
        apply(
            1_500,
            CommandBody::CreateTransfers(Events {
                events: vec![transfer],
                metadata: Vec::new(),
            }),
        );
    }
    let mut event = account(EVENT_ID as u128, 1, A::HISTORY);
    event
        .flags
        .set(A::IMPORTED, or(K::EventImported, or(K::RequestImported, 0)) == 1);
    let metadata = |index, bytes: &[u8]| {
        vec![EventMetadata {
            index,
            sealed: Sealed::from(bytes),
        }]
    };
    if is(K::Stored) {
        let imported = event.flags.contains(A::IMPORTED);
        let stored = Account {
            timestamp: TimestampNs(if imported { 1_600 } else { 0 }),
            ..event
        };
        let request = Events {
            events: vec![stored],
            metadata: metadata(0, b"metadata"),
        };
        let stored = apply(1_700, CommandBody::CreateAccounts(request));
        assert_eq!(stored.accounts[0].result, R::Created, "the account is stored");
    }
    spoil(&mut event, or);
    let mut leader = account(0, 1, A::empty());
    leader.flags.set(A::LINKED, is(K::AfterFailure));
    leader.flags.set(A::IMPORTED, is(K::RequestImported));
    leader.timestamp = TimestampNs(u64::from(is(K::RequestImported)));
    let metadata = metadata(
        1,
        if is(K::DifferentMetadata) {
            b"other"
        } else {
            b"metadata"
        },
    );
    let request = Events {
        events: vec![leader, event],
        metadata,
    };
    apply(10_000, CommandBody::CreateAccounts(request)).accounts[1].result
}

fn spoil(event: &mut Account, or: impl Fn(K, i128) -> i128) {
    let is = |key: K| or(key, 0) == 1;
    event.id = AccountId(if or(K::Id, EVENT_ID) == -1 {
        u128::MAX
    } else {
        or(K::Id, EVENT_ID) as u128
    });
    let time = if event.flags.contains(A::IMPORTED) {
        1_499
    } else {
        0
    };
    event.timestamp = TimestampNs(or(K::Timestamp, time) as u64);
    event.flags.set(A::LINKED, is(K::LinkedLast));
    event.flags.set(A::from_bits_retain(1 << 12), is(K::ReservedFlag));
    if is(K::BothLimits) {
        event.flags |= A::DEBITS_MUST_NOT_EXCEED_CREDITS | A::CREDITS_MUST_NOT_EXCEED_DEBITS;
    }
    if is(K::DifferentFlags) {
        event.flags ^= A::CLOSED;
    }
    event.user_data_128 += u128::from(is(K::DifferentUserData128));
    event.user_data_64 += u64::from(is(K::DifferentUserData64));
    event.user_data_32 += u32::from(is(K::DifferentUserData32));
    event.ledger = LedgerId(or(K::Ledger, 1) as u32 + u32::from(is(K::DifferentLedger)));
    event.code = Code(or(K::Code, 1) as u16 + u16::from(is(K::DifferentCode)));
    event.balances.debits_pending = Amount(u128::from(is(K::DebitsPending)));
    event.balances.debits_posted = Amount(u128::from(is(K::DebitsPosted)));
    event.balances.credits_pending = Amount(u128::from(is(K::CreditsPending)));
    event.balances.credits_posted = Amount(u128::from(is(K::CreditsPosted)));
}
