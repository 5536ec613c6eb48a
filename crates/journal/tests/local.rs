//! The local journal: appending, reading, rolling over, opening again, and refusing.

mod common;

use common::{OPTIONS, TERM, directory, draft, fill, is_as_written, keys, memory, open, request};
use journal::{
    AppendError, Draft, Journal, JournalError, LocalJournal, LocalOptions, Prepared, ShardId, Term, WriterId,
};
use ledger::{Height, TimestampNs};
use std::sync::Arc;
use storage::faulty::{Fault, Operation};
use storage::{DataKey, FileSystem, KeyId, KeyRing, Storage};

#[test]
fn an_empty_journal_opens_again_as_empty() {
    let storage = memory(1);
    for _ in 0..3 {
        let (journal, recovered) = open(&storage).unwrap();
        assert_eq!(recovered.head.height, Height(0));
        assert_eq!(recovered.cut, None);
        assert_eq!(journal.reader().scan(Height(1)).count(), 0);
        assert!(matches!(
            journal.reader().read(Height(0)),
            Err(JournalError::NoBlock { .. })
        ));
        assert!(matches!(
            journal.reader().read(Height(1)),
            Err(JournalError::NoBlock { .. })
        ));
    }
}

#[test]
fn blocks_are_read_as_they_were_written_over_many_segments_and_openings() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal");
    let open = || LocalJournal::open(Arc::new(FileSystem), &path, keys(), OPTIONS).unwrap();
    for until in [1, 3, 4, 5, 90, 400] {
        let (mut journal, recovered) = open();
        assert_eq!(recovered.cut, None);
        let head = fill(&mut journal, until);
        assert_eq!(head.timestamp, common::time(until));
        let reader = journal.reader();
        assert_eq!(reader.head(), Height(until));
        let blocks: Vec<_> = reader.scan(Height(1)).map(Result::unwrap).collect();
        assert_eq!(blocks.len() as u64, until);
        assert!(blocks.iter().all(|block| is_as_written(block, 1)));
        assert_eq!(blocks.last().unwrap().hash, head.hash);
        for height in 1..=until {
            assert_eq!(reader.read(Height(height)).unwrap(), blocks[height as usize - 1]);
            assert_eq!(reader.scan(Height(height)).count() as u64, until - height + 1);
        }
        drop(journal);
        assert_eq!(open().0.head(), head, "opening gives the head that was there");
    }
}

#[test]
fn a_block_larger_than_a_segment_gets_a_larger_segment() {
    let storage = memory(1);
    let (mut journal, _) = open(&storage).unwrap();
    let sizes = [1, 8_190, 1, 2_000, 8_190, 3];
    for (height, count) in (1..).zip(sizes) {
        journal.append(TERM, &mut draft(height, count)).unwrap();
    }
    let (journal, _) = open(&storage).unwrap();
    let blocks: Vec<_> = journal.reader().scan(Height(1)).map(Result::unwrap).collect();
    assert!(
        blocks
            .iter()
            .zip(sizes)
            .all(|(block, count)| is_as_written(block, count))
    );
    assert_eq!(blocks.len(), sizes.len());
}

#[test]
fn an_empty_segment_that_is_too_small_is_replaced() {
    let storage = memory(1);
    let (mut journal, _) = open(&storage).unwrap();
    // The fifth block needs a second segment, and its write finds no room after the segment was named.
    fill(&mut journal, 4);
    storage.plan(Operation::Write, 1, Fault::Full);
    assert!(matches!(
        journal.append(TERM, &mut draft(5, 1)),
        Err(AppendError::Full(_))
    ));
    journal.append(TERM, &mut draft(5, 3_000)).unwrap();
    let (journal, recovered) = open(&storage).unwrap();
    assert_eq!(recovered.head, journal.head());
    assert!(is_as_written(&journal.reader().read(Height(5)).unwrap(), 3_000));
}

#[test]
fn one_append_is_one_write_and_one_sync() {
    let storage = memory(1);
    let (mut journal, _) = open(&storage).unwrap();
    fill(&mut journal, 1);
    let before = storage.operations();
    fill(&mut journal, 2);
    // The third is the watermark, which is not synced.
    assert_eq!(storage.operations() - before, 3);
}

#[test]
fn a_draft_is_taken_by_success_and_kept_by_failure() {
    let storage = memory(1);
    let (mut journal, _) = open(&storage).unwrap();
    let mut one = draft(1, 1);
    journal.append(TERM, &mut one).unwrap();
    assert!(one.is_empty());
    let mut two = draft(2, 1);
    storage.plan(Operation::Write, 0, Fault::Full);
    let error = journal.append(TERM, &mut two).unwrap_err();
    assert!(error.retryable());
    assert_eq!(two.body(), draft(2, 1).body());
    journal.append(TERM, &mut two).unwrap();
    assert_eq!(journal.head().height, Height(2));
}

#[test]
fn a_watermark_that_was_written_halfway_does_not_refuse_the_next_start() {
    for seed in 0..24 {
        let storage = memory(seed);
        let (mut journal, _) = open(&storage).unwrap();
        fill(&mut journal, 1);
        storage.plan(Operation::Write, 1, Fault::Short);
        fill(&mut journal, 2);
        assert_eq!(storage.tally().faults, 1, "the write after the block's failed");
        storage.restart_process();
        assert_eq!(open(&storage).unwrap().1.head.height, Height(2), "seed {seed}");
    }
}

#[test]
fn the_head_is_whole_when_the_segment_after_it_begins_with_a_torn_block() {
    let storage = memory(1);
    let (mut journal, _) = open(&storage).unwrap();
    fill(&mut journal, 3);
    let mut last = draft(4, 1);
    let later = TimestampNs(last.last_timestamp().0 + 1);
    let (command, outcome) = request(4_000, 1);
    last.push(later, &command, &outcome);
    let head = journal.append(TERM, &mut last).unwrap();
    fill(&mut journal, 5);
    let torn = directory().join("00000000000000000005.segment");
    let file = storage.open(&torn).unwrap();
    file.write_all_at(&[0; 2048], 2048).unwrap();
    storage.remove(&directory().join("durable")).unwrap();
    let (_, recovered) = open(&storage).unwrap();
    assert!(recovered.cut.is_some());
    assert_eq!(recovered.head, head);
    assert_eq!(recovered.head.timestamp, later);
}

#[test]
fn the_preparer_makes_the_segment_that_the_append_takes() {
    let storage = memory(1);
    let (mut journal, _) = open(&storage).unwrap();
    let preparer = journal.preparer();
    assert_eq!(preparer.step().unwrap(), Prepared::Made);
    assert_eq!(preparer.step().unwrap(), Prepared::Ready);
    let before = storage.operations();
    fill(&mut journal, 1);
    assert_eq!(
        storage.operations() - before,
        5,
        "rename, sync of the directory, write, sync, watermark"
    );
    assert_eq!(preparer.step().unwrap(), Prepared::Made);
}

#[test]
fn the_next_segment_grows_twice_as_fast_as_the_one_in_use_fills() {
    let storage = memory(1);
    let options = LocalOptions {
        segment_bytes: 1 << 20,
        ..LocalOptions::default()
    };
    let (mut journal, _) = LocalJournal::open(storage.clone(), directory(), keys(), options).unwrap();
    let preparer = journal.preparer();
    fill(&mut journal, 1);
    assert_eq!(preparer.step().unwrap(), Prepared::Partly);
    let after_one = storage.operations();
    assert_eq!(preparer.step().unwrap(), Prepared::Partly);
    assert_eq!(storage.operations(), after_one, "nothing more is due");
    let half = (1 << 20) / 4_096 / 2;
    fill(&mut journal, half / 2);
    assert_eq!(preparer.step().unwrap(), Prepared::Partly);
    fill(&mut journal, half);
    assert_eq!(preparer.step().unwrap(), Prepared::Made);
    fill(&mut journal, 2 * half + 1);
    assert_eq!(
        preparer.step().unwrap(),
        Prepared::Partly,
        "the next one is begun"
    );
}

#[test]
fn a_segment_that_is_not_ready_when_it_is_needed_is_finished_by_the_append() {
    let storage = memory(1);
    let (mut journal, _) = open(&storage).unwrap();
    fill(&mut journal, 40);
    assert_eq!(open(&storage).unwrap().1.head.height, Height(40));
}

#[test]
fn a_full_disk_refuses_before_anything_is_written_and_resumes_when_there_is_room() {
    let storage = memory(1);
    let (mut journal, _) = open(&storage).unwrap();
    fill(&mut journal, 4);
    storage.set_capacity(Some(4 * 4096 + 3 * 4096));
    for _ in 0..3 {
        assert!(matches!(
            journal.append(TERM, &mut draft(5, 1)),
            Err(AppendError::Full(_))
        ));
        assert!(matches!(journal.preparer().step(), Err(JournalError::Io { .. })));
    }
    assert_eq!(journal.reader().scan(Height(1)).count(), 4, "reads go on");
    storage.set_capacity(None);
    fill(&mut journal, 5);
    assert_eq!(open(&storage).unwrap().1.head.height, Height(5));
}

#[test]
fn a_block_that_was_refused_for_room_is_not_there_after_a_crash() {
    for seed in 0..1_500 {
        let storage = memory(seed);
        let (mut journal, _) = open(&storage).unwrap();
        fill(&mut journal, 1);
        // Neither the write nor (for two of three) the zeroing after it, in two steps, finds room.
        storage.plan(Operation::Write, 0, Fault::Full);
        storage.plan(Operation::Write, 1 + seed % 3, Fault::Full);
        assert!(matches!(
            journal.append(TERM, &mut draft(2, 150)),
            Err(AppendError::Full(_))
        ));
        if seed % 2 == 0 {
            storage.crash();
            storage.restart();
        } else {
            storage.restart_process();
        }
        let (mut journal, recovered) = open(&storage).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        assert_eq!(recovered.head.height, Height(1), "seed {seed}");
        fill(&mut journal, 3);
    }
}

#[test]
fn what_a_refused_block_left_is_gone_before_a_smaller_one_takes_its_place() {
    for seed in 0..40 {
        let storage = memory(seed);
        let (mut journal, _) = open(&storage).unwrap();
        fill(&mut journal, 1);
        storage.plan(Operation::Write, 0, Fault::Full);
        storage.plan(Operation::Write, 1, Fault::Full);
        let refused = journal.append(TERM, &mut draft(2, 150));
        assert!(matches!(refused, Err(AppendError::Full(_))));
        fill(&mut journal, 2);
        let (_, recovered) = open(&storage).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        assert_eq!(
            (recovered.head.height, recovered.cut),
            (Height(2), None),
            "seed {seed}"
        );
    }
}

#[test]
fn after_a_failed_write_or_sync_nothing_more_is_taken() {
    for (operation, fault) in [
        (Operation::Sync, Fault::Io),
        (Operation::Sync, Fault::Full),
        (Operation::Write, Fault::Io),
        (Operation::Write, Fault::Short),
    ] {
        let storage = memory(1);
        let (mut journal, _) = open(&storage).unwrap();
        fill(&mut journal, 1);
        storage.plan(operation, 0, fault);
        let failed = journal.append(TERM, &mut draft(2, 1));
        assert!(
            matches!(failed, Err(AppendError::Fatal(JournalError::Io { .. }))),
            "{operation:?}"
        );
        let retried = journal.append(TERM, &mut draft(2, 1));
        assert!(
            matches!(retried, Err(AppendError::Fatal(JournalError::Stopped))),
            "{operation:?}"
        );
    }
}

/// A failed sync leaves a block in the system's memory that the disk does not hold and that no later sync writes.
#[test]
fn a_block_found_after_a_failed_sync_is_made_durable_before_it_counts() {
    for seed in 0..50 {
        let storage = memory(seed);
        let (mut journal, _) = open(&storage).unwrap();
        fill(&mut journal, 1);
        storage.plan(Operation::Sync, 0, Fault::Io);
        assert!(journal.append(TERM, &mut draft(2, 1)).is_err());
        storage.restart_process();
        let (journal, recovered) = open(&storage).unwrap();
        assert_eq!(recovered.head.height, Height(2), "it is seen, so it stands");
        drop(journal);
        storage.crash();
        storage.restart();
        assert_eq!(
            open(&storage).unwrap().1.head.height,
            Height(2),
            "seed {seed}: and it stays"
        );
    }
}

#[test]
fn terms_never_fall_and_are_never_shared() {
    let storage = memory(1);
    let (mut journal, _) = open(&storage).unwrap();
    let term = |epoch, writer| Term {
        epoch,
        writer: WriterId(writer),
    };
    let mut append = |height, term| journal.append(term, &mut draft(height, 1));
    append(1, term(5, 1)).unwrap();
    append(2, term(5, 1)).unwrap();
    assert!(matches!(append(3, term(5, 2)), Err(AppendError::SteppedDown)));
    assert!(matches!(append(3, term(4, 1)), Err(AppendError::SteppedDown)));
    append(3, term(6, 2)).unwrap();
    assert!(matches!(append(4, term(5, 1)), Err(AppendError::SteppedDown)));
    let (journal, _) = open(&storage).unwrap();
    assert_eq!((journal.head().epoch, journal.head().writer), (6, WriterId(2)));
}

#[test]
fn drafts_that_are_no_block_are_refused() {
    let storage = memory(1);
    let open = || open(&storage).unwrap().0;
    let refused = open().append(TERM, &mut Draft::new()).unwrap_err();
    assert!(matches!(refused, AppendError::Fatal(JournalError::Draft(_))));
    let mut journal = open();
    fill(&mut journal, 1);
    let refused = journal.append(TERM, &mut draft(1, 1)).unwrap_err();
    let last = TimestampNs(common::time(1).0);
    let AppendError::Fatal(JournalError::Time {
        draft: first,
        last: found,
    }) = refused
    else {
        panic!("{refused}");
    };
    assert_eq!((first, found), (last, last));
}

#[test]
fn another_shard_and_another_key_are_refused() {
    let storage = memory(1);
    fill(&mut open(&storage).unwrap().0, 2);
    let open = |keys, options| {
        let storage: Arc<dyn Storage> = storage.clone();
        LocalJournal::open(storage, directory(), keys, options).map(|_| ())
    };
    let key = |id, byte| KeyRing::new(DataKey::new(KeyId(id), [byte; 32]));
    let other_shard = LocalOptions {
        shard: ShardId(1),
        ..OPTIONS
    };
    for refused in [
        open(keys(), other_shard).unwrap_err(),
        open(key(1, 43), OPTIONS).unwrap_err(),
        open(key(2, 42), OPTIONS).unwrap_err(),
    ] {
        assert!(matches!(refused, JournalError::Damaged { .. }), "{refused}");
    }
    open(keys(), OPTIONS).unwrap();
}

#[test]
fn old_blocks_stay_readable_when_the_key_is_rotated() {
    let storage = memory(1);
    let file = directory().with_file_name("keys");
    storage.create_directory(file.parent().unwrap()).unwrap();
    let line = |id: u32| format!("{id} {}\n", format!("{id:02x}").repeat(32));
    let ring = |text: String| {
        storage.replace(&file, text.as_bytes()).unwrap();
        KeyRing::from_file(&*storage, &file).unwrap()
    };
    let open = |keys| {
        let storage: Arc<dyn Storage> = storage.clone();
        LocalJournal::open(storage, directory(), keys, OPTIONS).map(|(journal, _)| journal)
    };
    fill(&mut open(ring(line(1))).unwrap(), 3);
    let mut journal = open(ring(line(1) + &line(2))).unwrap();
    fill(&mut journal, 6);
    assert_eq!(journal.reader().scan(Height(1)).filter(Result::is_ok).count(), 6);
    // The second segment needs the second key only.
    assert!(open(ring(line(2))).unwrap().reader().read(Height(1)).is_err());
    assert!(open(ring(line(1))).is_err());
}

#[test]
fn blocks_are_read_while_others_are_appended() {
    let storage = memory(1);
    let (mut journal, _) = open(&storage).unwrap();
    let reader = journal.reader();
    std::thread::scope(|scope| {
        scope.spawn(|| fill(&mut journal, 300));
        let mut seen = 0;
        while seen < 300 {
            for block in reader.scan(Height(seen + 1)) {
                let block = block.unwrap();
                assert_eq!(block.height, Height(seen + 1));
                assert!(is_as_written(&block, 1));
                seen += 1;
            }
            std::thread::yield_now();
        }
    });
}

/// Codes are part of what operators script against.
#[test]
fn every_error_code_stands() {
    let height = Height(1);
    let io = || std::io::Error::from(std::io::ErrorKind::Other);
    let path = directory().to_owned();
    let errors = [
        JournalError::Io {
            action: "read",
            path: path.clone(),
            source: io(),
        },
        JournalError::Damaged {
            file: path.clone(),
            offset: 0,
            height,
            damage: journal::Damage::Header,
        },
        JournalError::NoBlock { height, head: height },
        JournalError::Missing {
            directory: path.clone(),
            head: height,
            durable: height,
        },
        JournalError::Segment {
            file: path.clone(),
            found: height,
            expected: height,
        },
        JournalError::Name { file: path.clone() },
        JournalError::Watermark { file: path },
        JournalError::Draft(""),
        JournalError::Time {
            draft: TimestampNs(1),
            last: TimestampNs(1),
        },
        JournalError::Stopped,
    ];
    for (number, error) in (1..).zip(&errors) {
        assert_eq!(error.code(), format!("JRN-{number:04}"));
        assert!(error.to_string().starts_with(error.code()));
    }
    let appends = [
        AppendError::Full(io()),
        AppendError::SteppedDown,
        AppendError::Unknown,
        AppendError::Fatal(JournalError::Stopped),
    ];
    for (number, error) in (101..).zip(&appends) {
        assert_eq!(error.code(), format!("JRN-{number:04}"));
        assert!(error.to_string().starts_with(error.code()));
    }
}

#[test]
fn a_preparer_beside_the_appends_never_takes_away_the_segment_that_is_being_named() {
    let directory = tempfile::TempDir::new().unwrap();
    let storage: Arc<dyn storage::Storage> = Arc::new(storage::FileSystem);
    let options = LocalOptions {
        segment_bytes: 4_096,
        ..LocalOptions::default()
    };
    let keys = storage::KeyRing::new(storage::DataKey::new(storage::KeyId(1), [7; 32]));
    let (mut journal, _) = LocalJournal::open(storage, directory.path(), keys, options).unwrap();
    let preparer = journal.preparer();
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let stopping = stop.clone();
    let beside = std::thread::spawn(move || {
        while !stopping.load(std::sync::atomic::Ordering::Relaxed) {
            preparer.step().unwrap();
        }
    });
    let term = journal::Term {
        epoch: 1,
        writer: journal::WriterId(1),
    };
    // Every block needs a segment of its own.
    for time in 1..=400 {
        let mut draft = epoch_draft(time);
        journal.append(term, &mut draft).unwrap();
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    beside.join().unwrap();
}

fn epoch_draft(time: u64) -> journal::Draft {
    let command = ledger::Command {
        actor: ledger::ActorId(0),
        body: ledger::CommandBody::BeginEpoch,
    };
    let outcome = ledger::Outcome {
        timestamp: ledger::TimestampNs(time),
        ..ledger::Outcome::default()
    };
    let mut draft = journal::Draft::new();
    draft.push(outcome.timestamp, &command, &outcome);
    draft
}

#[test]
fn a_term_begins_with_an_epoch_block_that_replay_accepts() {
    let storage = memory(1);
    let (mut journal, _) = open(&storage).unwrap();
    let first = journal.begin_term(WriterId(5), common::time(1)).unwrap();
    assert_eq!((first.epoch, journal.head().height), (1, Height(1)));
    // The last command of a block takes as many nanoseconds as it has events.
    let mut long = Draft::new();
    let (command, outcome) = request(7, 100);
    long.push(common::time(2), &command, &outcome);
    journal.append(first, &mut long).unwrap();
    let second = journal.begin_term(WriterId(6), common::time(1)).unwrap();
    assert_eq!((second.epoch, journal.head().height), (2, Height(3)));
    assert_eq!(
        journal.head().timestamp,
        TimestampNs(common::time(2).0 + 100),
        "the clock is behind, so time goes on from the last event"
    );
    journal
        .append(second, &mut draft(1_000, 1))
        .expect("the term goes on under its own name");
    assert!(matches!(
        journal.append(first, &mut draft(2_000, 1)),
        Err(AppendError::SteppedDown)
    ));
}
