//! Snapshots, restores, what the archive is asked, and what the check of invariants finds.

mod bench;

use bench::{Bench, account, pending, transfer};
use ledger::{
    ActorId, Amount, Archive, ArchiveFault, Command, CommandBody, CreateTransferResult as R, Events, Ledger,
    NoArchive, Outcome, Resolution, RestoreError, RowNumber, TimestampNs, Transfer, TransferId, Used,
    Violation,
};
use std::cell::RefCell;

fn small() -> Bench {
    let accounts: Vec<_> = (1..=200).map(account).collect();
    let mut bench = Bench::with_accounts(&accounts);
    assert_eq!(
        bench.transfers(&[transfer(1, 1, 2, 5), pending(2, 3, 4, 6, 9)]),
        [R::Created; 2]
    );
    bench
}

#[test]
fn a_snapshot_stays_as_it_was_while_the_ledger_goes_on() {
    let mut bench = small();
    let snapshot = bench.ledger.snapshot();
    let encode = |snapshot: &ledger::Snapshot| {
        let mut bytes = Vec::new();
        snapshot.encode(&mut bytes).unwrap();
        bytes
    };
    let before = encode(&snapshot);
    let more: Vec<_> = (0..100).map(|i| transfer(10 + i, 1 + i, 2 + i, 1)).collect();
    bench.transfers(&more);
    bench.accounts(&[account(900)]);
    assert_eq!(encode(&snapshot), before);
    assert_eq!(snapshot.accounts().count(), 200);
    assert_eq!(snapshot.open_pendings().count(), 1);
    assert_eq!(bench.ledger.accounts().count(), 201);
    assert_ne!(bench.encoded(), before);
}

#[test]
fn a_snapshot_may_be_encoded_on_another_thread() {
    let mut bench = small();
    let (snapshot, expected) = (bench.ledger.snapshot(), bench.encoded());
    let bytes = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        snapshot.encode(&mut bytes).unwrap();
        bytes
    });
    assert_eq!(bytes.join().unwrap(), expected);
}

#[test]
fn no_prefix_of_a_snapshot_is_taken_for_one() {
    let bytes = small().encoded();
    for len in 0..bytes.len() {
        assert!(Ledger::restore(&bytes[..len]).is_err(), "of length {len}");
    }
    let longer = [&bytes[..], &[0]].concat();
    assert_eq!(Ledger::restore(&longer).unwrap_err(), RestoreError::Length);
    assert_eq!(
        Ledger::restore(b"something else").unwrap_err(),
        RestoreError::Magic
    );
    let mut newer = bytes;
    newer[4] = 2;
    assert_eq!(Ledger::restore(&newer).unwrap_err(), RestoreError::Version(2));
}

#[test]
fn a_damaged_snapshot_is_refused_or_its_damage_is_seen_but_never_panics() {
    let bytes = small().encoded();
    for position in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[position] ^= 0x40;
        // Whoever stores snapshots seals them; here nothing must break.
        if let Ok(ledger) = Ledger::restore(&damaged) {
            let _ = ledger.check_invariants();
        }
    }
}

#[test]
fn the_check_of_invariants_finds_money_out_of_nothing() {
    let mut bench = small();
    let bytes = bench.encoded();
    // After 36 bytes of header the first account begins: 16 bytes of id, then its four totals.
    let total = |index: usize| 36 + 16 + 16 * index;
    let check = |position: usize| {
        let mut bytes = bytes.clone();
        bytes[position] ^= 1;
        Ledger::restore(&bytes).unwrap().check_invariants()
    };
    let pending = check(total(0));
    assert!(
        pending.contains(&Violation::PendingUnbalanced(ledger::LedgerId(1))),
        "{pending:?}"
    );
    assert!(
        pending.contains(&Violation::PendingDiffers(account(1).id)),
        "{pending:?}"
    );
    assert_eq!(
        check(total(1)),
        [Violation::PostedUnbalanced(ledger::LedgerId(1))]
    );
    // Flags come after user data (28 bytes), ledger and code.
    let flags = total(4) + 28 + 4 + 2;
    let mut limited = bytes.clone();
    limited[flags] |= 2;
    let violations = Ledger::restore(&limited).unwrap().check_invariants();
    assert_eq!(violations, [Violation::LimitExceeded(account(1).id)]);
    let mut closed = bytes.clone();
    closed[flags] |= 32;
    let violations = Ledger::restore(&closed).unwrap().check_invariants();
    assert_eq!(violations, [Violation::ClosedWithoutCause(account(1).id)]);
}

#[test]
fn sums_beyond_128_bits_are_not_taken_for_small_ones() {
    let mut bytes = small().encoded();
    // An account without metadata takes 126 bytes; its posted debits begin after id and pending debits.
    let debits_posted = |account: usize| 36 + 126 * (account - 1) + 32;
    let mut set = |account: usize, amount: u128| {
        bytes[debits_posted(account)..][..16].copy_from_slice(&amount.to_le_bytes());
    };
    // 2^128 more than the 5 that are credited.
    set(1, u128::MAX);
    set(3, 6);
    let violations = Ledger::restore(&bytes).unwrap().check_invariants();
    assert_eq!(violations, [Violation::PostedUnbalanced(ledger::LedgerId(1))]);
}

/// Knows nothing and notes what it is asked, or fails.
#[derive(Default)]
struct Watched {
    asked: RefCell<Vec<(TransferId, RowNumber)>>,
    fails: bool,
}

impl Archive for Watched {
    fn find(&self, id: TransferId, before: RowNumber) -> Result<Option<Used>, ArchiveFault> {
        self.asked.borrow_mut().push((id, before));
        if self.fails {
            Err(ArchiveFault("the disk is gone".into()))
        } else {
            Ok(None)
        }
    }

    fn resolution(&self, _: TransferId, _: RowNumber) -> Result<Option<Resolution>, ArchiveFault> {
        Ok(None)
    }

    fn timestamp_taken(&self, _: TimestampNs, _: RowNumber) -> Result<bool, ArchiveFault> {
        Ok(false)
    }
}

fn request(events: &[Transfer]) -> Command {
    let body = CommandBody::CreateTransfers(Events {
        events: events.to_vec(),
        metadata: Vec::new(),
    });
    Command {
        actor: ActorId(1),
        body,
    }
}

#[test]
fn the_archive_is_asked_once_for_an_id_that_memory_does_not_know() {
    let mut bench = small();
    let rows = bench.ledger.rows();
    let mut ledger = Ledger::restore(&bench.encoded()).unwrap();
    let (archive, mut outcome) = (Watched::default(), Outcome::default());
    let events = [
        transfer(50, 1, 2, 1),
        transfer(50, 1, 2, 1),
        transfer(51, 1, 2, 1),
    ];
    ledger
        .apply(&archive, TimestampNs(9_000), &request(&events), &mut outcome)
        .unwrap();
    let results: Vec<_> = outcome.transfers.iter().map(|reply| reply.result).collect();
    assert_eq!(results, [R::Created, R::Exists, R::Created]);
    assert_eq!(
        archive.asked.take(),
        [(TransferId(50), rows), (TransferId(51), rows)]
    );
}

#[test]
fn ids_are_not_forgotten_before_the_archive_has_them() {
    let mut bench = small();
    bench.ledger.set_generation_rows_min(1);
    bench.ledger.forget_archived(RowNumber(0));
    bench.ledger.forget_archived(RowNumber(1));
    assert!(bench.ledger.remembered_from() <= RowNumber(1));
    bench.ledger.forget_archived(RowNumber(u64::MAX));
    assert!(bench.ledger.remembered_from() <= bench.ledger.rows());
    assert_eq!(bench.transfers(&[transfer(3, 1, 2, 5)]), [R::Created]);
    assert_eq!(bench.transfers(&[transfer(3, 1, 2, 5)]), [R::Exists]);
}

#[test]
fn a_fault_of_the_archive_stops_the_command() {
    let mut bench = small();
    let mut ledger = Ledger::restore(&bench.encoded()).unwrap();
    let archive = Watched {
        fails: true,
        ..Watched::default()
    };
    let fault = ledger.apply(
        &archive,
        TimestampNs(9_000),
        &request(&[transfer(50, 1, 2, 1)]),
        &mut Outcome::default(),
    );
    assert!(fault.unwrap_err().to_string().starts_with("LGR-0001"));
}

#[test]
fn an_archive_that_lost_the_end_of_a_pending_transfer_is_a_fault_and_no_guess() {
    struct Forgetful;
    impl Archive for Forgetful {
        fn find(&self, id: TransferId, _: RowNumber) -> Result<Option<Used>, ArchiveFault> {
            let applied = Used::Applied {
                transfer: pending(2, 3, 4, 6, 0),
                metadata: None,
            };
            Ok((id == TransferId(2)).then_some(applied))
        }
        fn resolution(&self, _: TransferId, _: RowNumber) -> Result<Option<Resolution>, ArchiveFault> {
            Ok(None)
        }
        fn timestamp_taken(&self, _: TimestampNs, _: RowNumber) -> Result<bool, ArchiveFault> {
            Ok(false)
        }
    }
    let mut bench = small();
    bench.transfers(&[Transfer {
        amount: Amount(6),
        ..bench::post(3, 2)
    }]);
    let mut ledger = Ledger::restore(&bench.encoded()).unwrap();
    let fault = ledger.apply(
        &Forgetful,
        TimestampNs(9_000),
        &request(&[bench::void(50, 2)]),
        &mut Outcome::default(),
    );
    assert!(
        std::error::Error::source(&fault.unwrap_err())
            .unwrap()
            .to_string()
            .starts_with("LGR-0003")
    );
}

#[test]
fn time_has_an_end() {
    let mut bench = Bench::with_accounts(&[]);
    let last = Command {
        actor: ActorId(1),
        body: CommandBody::BeginEpoch,
    };
    bench
        .ledger
        .apply(&NoArchive, TimestampNs::MAX, &last, &mut Outcome::default())
        .unwrap();
    assert_eq!(bench.ledger.last_timestamp(), TimestampNs::MAX);
}
