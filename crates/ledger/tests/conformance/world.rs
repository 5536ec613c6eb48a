//! Builds the state, request and transfer that some needs describe, and asks the ledger.
//!
//! Times: helpers 100, accounts 200, setup from 300, an imported event 1,500, late accounts 1,700, a late transfer after
//! 1,600, the stored event 1,800, the request itself 10,000 (later when something must have expired).

use crate::table::{Key as K, Needs};
use ledger::{
    Account, AccountFlags, AccountId, ActorId, Amount, Code, Command, CommandBody, CreateAccountResult,
    CreateTransferResult as R, EventMetadata, Events, Ledger, LedgerId, NoArchive, Outcome, Sealed,
    TimestampNs, Transfer, TransferFlags as F, TransferId,
};

/// What the event is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    New,
    Post,
    Void,
}

/// A pending transfer of 100 from account 1 to 2.
pub const PENDING_ID: i128 = 500;
/// A plain transfer between the same.
pub const PLAIN_ID: i128 = 600;

const EVENT_ID: i128 = 1_000;
const SECOND: u64 = 1_000_000_000;
/// Almost all that fits.
const BIG: u128 = u128::MAX - 5;

pub struct World {
    ledger: Ledger,
    outcome: Outcome,
    next_id: u128,
}

fn wide(value: i128) -> u128 {
    match value {
        -1 => u128::MAX,
        value => value.unsigned_abs(),
    }
}

pub fn account(id: u128, ledger: u32, flags: AccountFlags) -> Account {
    Account {
        id: AccountId(id),
        ledger: LedgerId(ledger),
        code: Code(1),
        flags,
        ..Account::default()
    }
}

impl World {
    fn apply(&mut self, now: u64, body: CommandBody) {
        let command = Command {
            actor: ActorId(1),
            body,
        };
        self.ledger
            .apply(&NoArchive, TimestampNs(now), &command, &mut self.outcome)
            .expect("nothing is archived");
    }

    fn create_accounts(&mut self, now: u64, events: Vec<Account>) {
        self.apply(
            now,
            CommandBody::CreateAccounts(Events {
                events,
                metadata: Vec::new(),
            }),
        );
        let all = self
            .outcome
            .accounts
            .iter()
            .all(|reply| reply.result == CreateAccountResult::Created);
        assert!(all, "the world is built as told: {:?}", self.outcome.accounts);
    }

    fn transfer(&mut self, now: u64, transfer: Transfer, sealed: Option<Sealed>) -> R {
        let metadata = sealed
            .map(|sealed| EventMetadata { index: 0, sealed })
            .into_iter()
            .collect();
        self.apply(
            now,
            CommandBody::CreateTransfers(Events {
                events: vec![transfer],
                metadata,
            }),
        );
        self.outcome.transfers[0].result
    }

    /// Something that must work.
    fn move_money(&mut self, now: u64, debit: u128, credit: u128, amount: u128, flags: F) {
        self.next_id += 1;
        let transfer = Transfer {
            id: TransferId(self.next_id),
            debit_account_id: AccountId(debit),
            credit_account_id: AccountId(credit),
            amount: Amount(amount),
            ledger: LedgerId(1),
            code: Code(1),
            flags,
            ..Transfer::default()
        };
        assert_eq!(
            self.transfer(now, transfer, None),
            R::Created,
            "the world is built as told"
        );
    }
}

/// The result of the event that the needs describe.
pub fn run(needs: &Needs, kind: Kind) -> R {
    let get = |key: K| needs.get(&key).copied().unwrap_or(0);
    let mut world = World {
        ledger: Ledger::new(),
        outcome: Outcome::default(),
        next_id: 10_000,
    };
    let late_accounts = build_accounts(&mut world, &get);
    if kind != Kind::New {
        build_pending(&mut world, &get);
    }
    build_balances(&mut world, &get);
    let late_closing = get(K::Stored) == 1;
    if !late_closing {
        close_accounts(&mut world, &get, 450);
    }
    if !late_accounts.is_empty() {
        world.create_accounts(1_700, late_accounts);
    }
    if get(K::LateTransfer) == 1 {
        world.move_money(1_600, 52, 53, 1, F::empty());
    }
    let (event, stored) = event(needs, kind);
    build_history_of_id(&mut world, &get, stored);
    if late_closing {
        close_accounts(&mut world, &get, 3_100);
    }
    let mut now = 10_000;
    if get(K::Resolved) >= 3 {
        now = 3 * SECOND;
    }
    if get(K::Resolved) == 3 {
        world.apply(2 * SECOND, CommandBody::ExpirePending { limit: 10 });
        assert_eq!(world.outcome.expired.len(), 1, "the pending transfer is released");
    }
    if get(K::EndOfTime) == 1 {
        now = i64::MAX as u64 - SECOND;
    }
    ask(&mut world, &get, now, event)
}

/// Returns the accounts that are to be created late.
fn build_accounts(world: &mut World, get: &impl Fn(K) -> i128) -> Vec<Account> {
    let none = AccountFlags::empty();
    world.create_accounts(100, (50..56).map(|id| account(id, 1, none)).collect());
    let side = |id, limited, flag, closed, big, ledger| {
        let mut flags = none;
        flags.set(flag, get(limited) == 1);
        // One that needs entries first is closed by a transfer.
        flags.set(
            AccountFlags::CLOSED,
            get(closed) == 1 && closed_at_creation(get, big),
        );
        account(id, ledger, flags)
    };
    let ledger = if get(K::CreditLedger) == 2 { 2 } else { 1 };
    let limits = [
        AccountFlags::DEBITS_MUST_NOT_EXCEED_CREDITS,
        AccountFlags::CREDITS_MUST_NOT_EXCEED_DEBITS,
    ];
    let debit = side(1, K::DebitLimited, limits[0], K::DebitClosed, K::DebitBig, 1);
    let credit = side(
        2,
        K::CreditLimited,
        limits[1],
        K::CreditClosed,
        K::CreditBig,
        ledger,
    );
    let (early, late): (Vec<_>, Vec<_>) = [(debit, K::DebitCreatedLate), (credit, K::CreditCreatedLate)]
        .into_iter()
        .partition(|(_, late)| get(*late) == 0);
    let only = |side: Vec<(Account, K)>| side.into_iter().map(|(account, _)| account).collect::<Vec<_>>();
    world.create_accounts(200, [vec![account(3, 1, none)], only(early)].concat());
    only(late)
}

fn closed_at_creation(get: &impl Fn(K) -> i128, big: K) -> bool {
    get(big) == 0 && get(K::Stored) != 1 && get(K::Resolved) == 0 && get(K::PendingId) != PENDING_ID
}

fn build_pending(world: &mut World, get: &impl Fn(K) -> i128) {
    let event = |id: i128, flags, timeout| Transfer {
        id: TransferId(wide(id)),
        debit_account_id: AccountId(1),
        credit_account_id: AccountId(2),
        amount: Amount(100),
        user_data_128: 1,
        user_data_64: 2,
        user_data_32: 3,
        timeout,
        ledger: LedgerId(1),
        code: Code(1),
        flags,
        ..Transfer::default()
    };
    let timeout = u32::from(get(K::Resolved) >= 3);
    assert_eq!(
        world.transfer(300, event(PENDING_ID, F::PENDING, timeout), None),
        R::Created
    );
    assert_eq!(
        world.transfer(310, event(PLAIN_ID, F::empty(), 0), None),
        R::Created
    );
    let (flags, amount) = match get(K::Resolved) {
        1 => (F::POST_PENDING_TRANSFER, Amount::ALL),
        2 => (F::VOID_PENDING_TRANSFER, Amount(0)),
        _ => return,
    };
    let pending_id = TransferId(wide(PENDING_ID));
    let resolving = Transfer {
        id: TransferId(700),
        pending_id,
        amount,
        flags,
        ..Transfer::default()
    };
    assert_eq!(world.transfer(320, resolving, None), R::Created);
}

fn build_balances(world: &mut World, get: &impl Fn(K) -> i128) {
    // The stored event takes its own part of what fits, and needs room under a limit.
    let stored = if get(K::Stored) == 1 { 10 } else { 0 };
    let flags = |big| if big == 1 { F::PENDING } else { F::empty() };
    if get(K::DebitLimited) == 1 && (stored > 0 || get(K::DebitBig) > 0) {
        let room = if get(K::DebitBig) > 0 { BIG } else { stored };
        world.move_money(400, 50, 1, room, F::empty());
    }
    if get(K::CreditLimited) == 1 && (stored > 0 || get(K::CreditBig) > 0) {
        let room = if get(K::CreditBig) > 0 { BIG } else { stored };
        world.move_money(400, 2, 51, room, F::empty());
    }
    if get(K::DebitBig) > 0 {
        world.move_money(410, 1, 52, BIG - stored, flags(get(K::DebitBig)));
    }
    if get(K::CreditBig) > 0 {
        world.move_money(410, 53, 2, BIG - stored, flags(get(K::CreditBig)));
    }
}

fn close_accounts(world: &mut World, get: &impl Fn(K) -> i128, now: u64) {
    if get(K::DebitClosed) == 1 && !closed_at_creation(get, K::DebitBig) {
        world.move_money(now, 1, 54, 0, F::PENDING | F::CLOSING_DEBIT);
    }
    if get(K::CreditClosed) == 1 && !closed_at_creation(get, K::CreditBig) {
        world.move_money(now, 54, 2, 0, F::PENDING | F::CLOSING_CREDIT);
    }
}

fn sealed(name: &[u8]) -> Option<Sealed> {
    Some(Sealed::from(name))
}

/// The event as it comes, and as it was stored before if it was.
fn event(needs: &Needs, kind: Kind) -> ((Transfer, Option<Sealed>), Transfer) {
    let or = |key: K, default: i128| needs.get(&key).copied().unwrap_or(default);
    let new = kind == Kind::New;
    let all = if kind == Kind::Post { u128::MAX } else { 0 };
    let mut flags = match kind {
        Kind::New => F::empty(),
        Kind::Post => F::POST_PENDING_TRANSFER,
        Kind::Void => F::VOID_PENDING_TRANSFER,
    };
    flags.set(F::PENDING, or(K::FlagPending, 0) == 1);
    flags.set(F::IMPORTED, or(K::EventImported, or(K::RequestImported, 0)) == 1);
    let stored = Transfer {
        id: TransferId(wide(EVENT_ID)),
        debit_account_id: AccountId(wide(or(K::Debit, if new { 1 } else { 0 }))),
        credit_account_id: AccountId(wide(or(K::Credit, if new { 2 } else { 0 }))),
        amount: Amount(match or(K::Amount, if new { 10 } else { -2 }) {
            -2 => all,
            amount => wide(amount),
        }),
        pending_id: TransferId(wide(or(K::PendingId, if new { 0 } else { PENDING_ID }))),
        timeout: u32::try_from(or(K::Timeout, 0)).expect("a timeout"),
        ledger: LedgerId(u32::try_from(or(K::Ledger, i128::from(new))).expect("a ledger")),
        code: Code(u16::try_from(or(K::Code, i128::from(new))).expect("a code")),
        flags,
        ..Transfer::default()
    };
    let mut event = stored;
    event.id = TransferId(wide(or(K::Id, EVENT_ID)));
    let time = if event.flags.contains(F::IMPORTED) {
        1_500
    } else {
        0
    };
    event.timestamp = TimestampNs(u64::try_from(or(K::Timestamp, time)).unwrap_or(u64::MAX));
    event.flags.set(F::CLOSING_DEBIT, or(K::FlagClosing, 0) == 1);
    event.flags.set(F::CLOSING_CREDIT, or(K::FlagClosing, 0) == 2);
    event.flags |= F::from_bits_retain(u16::try_from(or(K::FlagExtra, 0)).expect("flags"));
    event.flags.set(F::LINKED, or(K::LinkedLast, 0) == 1);
    event
        .flags
        .set(F::from_bits_retain(1 << 12), or(K::ReservedFlag, 0) == 1);
    let is = |key: K| or(key, 0) == 1;
    if is(K::DifferentFlags) {
        event.flags ^= F::BALANCING_DEBIT;
    }
    event.pending_id.0 += if is(K::DifferentPendingId) { 7 } else { 0 };
    event.timeout += if is(K::DifferentTimeout) { 7 } else { 0 };
    event.debit_account_id.0 += if is(K::DifferentDebit) { 7 } else { 0 };
    event.credit_account_id.0 += if is(K::DifferentCredit) { 7 } else { 0 };
    event.amount.0 ^= if is(K::DifferentAmount) { 7 } else { 0 };
    event.user_data_128 += if is(K::DifferentUserData128) { 7 } else { 0 };
    event.user_data_64 += if is(K::DifferentUserData64) { 7 } else { 0 };
    event.user_data_32 += if is(K::DifferentUserData32) { 7 } else { 0 };
    event.ledger.0 += if is(K::DifferentLedger) { 7 } else { 0 };
    event.code.0 += if is(K::DifferentCode) { 7 } else { 0 };
    let metadata = sealed(if is(K::DifferentMetadata) {
        b"other"
    } else {
        b"metadata"
    });
    ((event, metadata), stored)
}

/// Applies the event, or burns its id.
fn build_history_of_id(world: &mut World, get: &impl Fn(K) -> i128, stored: Transfer) {
    match get(K::Stored) {
        1 => {
            let imported = stored.flags.contains(F::IMPORTED);
            let stored = Transfer {
                timestamp: TimestampNs(if imported { 1_800 } else { 0 }),
                ..stored
            };
            assert_eq!(
                world.transfer(3_000, stored, sealed(b"metadata")),
                R::Created,
                "the event is stored"
            );
        }
        2 => {
            let (id, nobody) = (stored.id, AccountId(404));
            let burnt = Transfer {
                id,
                debit_account_id: nobody,
                credit_account_id: AccountId(50),
                ledger: LedgerId(1),
                code: Code(1),
                ..Transfer::default()
            };
            assert_eq!(
                world.transfer(460, burnt, None),
                R::DebitAccountNotFound,
                "the id is burnt"
            );
        }
        _ => {}
    }
}

/// Sends the event behind one that fails and says whether the request is one of imports.
fn ask(
    world: &mut World,
    get: &impl Fn(K) -> i128,
    now: u64,
    (event, metadata): (Transfer, Option<Sealed>),
) -> R {
    // The request's own time is only known here.
    let own_time = event.timestamp.0 == u64::MAX;
    let event = Transfer {
        timestamp: if own_time {
            TimestampNs(now)
        } else {
            event.timestamp
        },
        ..event
    };
    let mut leader = Transfer {
        id: TransferId(0),
        ..Transfer::default()
    };
    leader.flags.set(F::LINKED, get(K::AfterFailure) == 1);
    leader.flags.set(F::IMPORTED, get(K::RequestImported) == 1);
    leader.timestamp = TimestampNs(u64::from(get(K::RequestImported) == 1));
    let metadata = metadata
        .map(|sealed| EventMetadata { index: 1, sealed })
        .into_iter()
        .collect();
    world.apply(
        now,
        CommandBody::CreateTransfers(Events {
            events: vec![leader, event],
            metadata,
        }),
    );
    assert_eq!(world.ledger.check_invariants(), []);
    world.outcome.transfers[1].result
}
