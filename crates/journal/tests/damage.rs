//! Whatever happens to the files of a journal, opening it refuses and the walk names the place.

mod common;

use common::{OPTIONS, TERM, directory, draft, fill, keys, memory, open};
use journal::{Damage, Journal, JournalError, LocalJournal, ShardId, WalkSummary, walk};
use ledger::Height;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use storage::faulty::{Fault, FaultRates, FaultyStorage, Operation};
use storage::{FileSystem, Storage};

const PAGE: usize = 4096;

/// What a walk reports: the problems as file, offset, height and text.
struct Walked {
    summary: WalkSummary,
    problems: Vec<(PathBuf, u64, Height, String)>,
}

fn walked(storage: &dyn Storage, directory: &Path) -> Walked {
    let mut problems = Vec::new();
    let summary = walk(storage, directory, &keys(), ShardId(0), &mut |report| {
        if let Some(problem) = report.problem {
            problems.push((
                report.file.to_owned(),
                report.offset,
                report.expected,
                problem.to_string(),
            ));
        }
        ControlFlow::Continue(())
    })
    .unwrap();
    assert_eq!(summary.problems, problems.len() as u64);
    Walked { summary, problems }
}

/// A journal on disk of 10 blocks of a page each: segments of 4, 4 and 2, with room for 2.
struct Files {
    _directory: tempfile::TempDir,
    path: PathBuf,
}

impl Files {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("journal");
        let files = Self {
            _directory: directory,
            path,
        };
        fill(&mut files.open().unwrap(), 10);
        let sound = files.walked();
        assert_eq!((sound.summary.blocks, sound.summary.problems), (10, 0));
        assert_eq!(
            (sound.summary.head.height, sound.summary.events),
            (Height(10), 10)
        );
        files
    }

    fn open(&self) -> Result<LocalJournal, JournalError> {
        LocalJournal::open(Arc::new(FileSystem), &self.path, keys(), OPTIONS).map(|(journal, _)| journal)
    }

    fn walked(&self) -> Walked {
        walked(&FileSystem, &self.path)
    }

    fn segment(&self, first: u64) -> PathBuf {
        self.path.join(format!("{first:020}.segment"))
    }

    fn change(&self, first: u64, change: impl FnOnce(&mut Vec<u8>)) {
        let path = self.segment(first);
        let mut bytes = std::fs::read(&path).unwrap();
        change(&mut bytes);
        std::fs::write(path, bytes).unwrap();
    }

    /// Opening refuses, naming the place, and so does the walk, which holds what comes before for sound.
    fn are_refused_at(&self, first: u64, page: u64, height: u64) {
        let place = (self.segment(first), page * PAGE as u64, Height(height));
        match self.open().map(|_| ()).unwrap_err() {
            JournalError::Damaged {
                file, offset, height, ..
            } => assert_eq!((file, offset, height), place),
            JournalError::Segment { file, expected, .. } => assert_eq!((file, 0, expected), place),
            other => panic!("{other}"),
        }
        let walked = self.walked();
        let (file, offset, expected, _) = walked.problems[0].clone();
        assert_eq!((file, offset, expected), place);
        assert_eq!(walked.summary.head.height, Height(height - 1));
    }
}

#[test]
fn every_flipped_byte_is_refused_and_named() {
    let storage = memory(1);
    fill(&mut open(&storage).unwrap().0, 6);
    let mut bit = 0;
    let file = |first: u64| directory().join(format!("{first:020}.segment"));
    for (first, blocks) in [(1, 4), (5, 2)] {
        for offset in 0..blocks * PAGE {
            bit = (bit + 3) % 8;
            storage.flip_bit(&file(first), offset, bit);
            let place = (
                file(first),
                (offset / PAGE * PAGE) as u64,
                Height(first + (offset / PAGE) as u64),
            );
            let walked = walked(&*storage, directory());
            assert!(walked.summary.torn.is_none(), "byte {offset} of {first}");
            let (file, at, height, _) = walked.problems.first().expect("a problem").clone();
            assert_eq!((file, at, height), place, "byte {offset} of {first}");
            // Opening reads what is before the last segment by its headers only.
            if first == 5 || offset % PAGE < 200 {
                let error = open(&storage).map(|_| ()).unwrap_err();
                let JournalError::Damaged {
                    file,
                    offset: at,
                    height,
                    ..
                } = error
                else {
                    panic!("byte {offset} of {first}: {error}");
                };
                assert_eq!((file, at, height), place);
            }
            storage.flip_bit(&directory().join(format!("{first:020}.segment")), offset, bit);
        }
    }
    open(&storage).unwrap();
}

#[test]
fn a_flipped_byte_is_refused_by_the_reader_too() {
    let storage = memory(1);
    let (mut journal, _) = open(&storage).unwrap();
    fill(&mut journal, 3);
    let file = directory().join(format!("{:020}.segment", 1));
    for offset in [PAGE, PAGE + 199, PAGE + 210, 2 * PAGE - 1] {
        storage.flip_bit(&file, offset, 0);
        assert!(matches!(
            journal.reader().read(Height(2)),
            Err(JournalError::Damaged { .. })
        ));
        let reader = journal.reader();
        let read: Vec<bool> = reader.scan(Height(1)).map(|block| block.is_ok()).collect();
        assert_eq!(read, [true, false], "a scan ends with the fault");
        storage.flip_bit(&file, offset, 0);
    }
}

#[test]
fn a_removed_block_is_refused_and_named() {
    // Its pages zeroed, first, in the middle and last of a segment.
    for (first, page, height) in [(1, 0, 1), (1, 2, 3), (5, 3, 8), (9, 0, 9)] {
        let files = Files::new();
        files.change(first, |bytes| bytes[page * PAGE..][..PAGE].fill(0));
        let walked = files.walked();
        assert!(!walked.problems.is_empty());
        assert!(files.open().is_err());
        assert_eq!(walked.summary.head.height, Height(height - 1));
    }
    // Cut out, and what follows moved up.
    let files = Files::new();
    files.change(5, |bytes| drop(bytes.drain(PAGE..2 * PAGE)));
    files.are_refused_at(5, 1, 6);
}

#[test]
fn the_last_block_cannot_be_removed_unseen() {
    let files = Files::new();
    files.change(9, |bytes| bytes[PAGE..2 * PAGE].fill(0));
    let error = files.open().map(|_| ()).unwrap_err();
    let JournalError::Missing { head, durable, .. } = error else {
        panic!("{error}");
    };
    assert_eq!((head, durable), (Height(9), Height(10)));
    assert_eq!(files.walked().summary.problems, 1);
}

#[test]
fn swapped_blocks_are_refused_and_named() {
    let files = Files::new();
    files.change(5, |bytes| {
        let (one, two) = bytes.split_at_mut(2 * PAGE);
        one[PAGE..].swap_with_slice(&mut two[..PAGE]);
    });
    files.are_refused_at(5, 1, 6);
}

#[test]
fn a_duplicated_block_is_refused_and_named() {
    let files = Files::new();
    files.change(9, |bytes| bytes.copy_within(PAGE..2 * PAGE, 2 * PAGE));
    files.are_refused_at(9, 2, 11);
    let files = Files::new();
    files.change(1, |bytes| bytes.copy_within(PAGE..2 * PAGE, 2 * PAGE));
    files.are_refused_at(1, 2, 3);
}

#[test]
fn a_truncated_block_is_refused_and_named() {
    for cut in [1, 100, PAGE - 1] {
        let files = Files::new();
        files.change(9, |bytes| bytes.truncate(2 * PAGE - cut));
        files.are_refused_at(9, 1, 10);
    }
    // A long block whose file ends at a page.
    let storage = memory(1);
    let (mut journal, _) = open(&storage).unwrap();
    journal.append(TERM, &mut draft(1, 200)).unwrap();
    let file = directory().join(format!("{:020}.segment", 1));
    storage.open(&file).unwrap().set_length(2 * PAGE as u64).unwrap();
    assert!(matches!(
        open(&storage).map(|_| ()).unwrap_err(),
        JournalError::Damaged {
            damage: Damage::Short,
            offset: 0,
            ..
        }
    ));
}

#[test]
fn missing_swapped_and_misnamed_segments_are_refused() {
    let files = Files::new();
    std::fs::remove_file(files.segment(5)).unwrap();
    files.are_refused_at(9, 0, 5);

    let files = Files::new();
    std::fs::remove_file(files.segment(1)).unwrap();
    files.are_refused_at(5, 0, 1);

    let files = Files::new();
    std::fs::remove_file(files.segment(9)).unwrap();
    assert!(matches!(
        files.open().map(|_| ()),
        Err(JournalError::Missing { .. })
    ));
    assert_eq!(files.walked().summary.problems, 1);

    let files = Files::new();
    std::fs::rename(files.segment(5), files.path.join("swap")).unwrap();
    std::fs::rename(files.segment(1), files.segment(5)).unwrap();
    std::fs::rename(files.path.join("swap"), files.segment(1)).unwrap();
    files.are_refused_at(1, 0, 1);

    let files = Files::new();
    std::fs::copy(files.segment(9), files.segment(11)).unwrap();
    assert!(files.open().is_err());
    assert!(!files.walked().problems.is_empty());

    let files = Files::new();
    std::fs::rename(files.segment(9), files.path.join("9.segment")).unwrap();
    assert!(matches!(files.open().map(|_| ()), Err(JournalError::Name { .. })));
}

#[test]
fn a_block_from_another_journal_is_refused() {
    let (files, other) = (Files::new(), Files::new());
    // The same height and key, yet another chain: the ciphertext is sound, the chain is not.
    other.change(9, |bytes| bytes.truncate(4 * PAGE));
    let foreign = std::fs::read(other.segment(9)).unwrap();
    files.change(9, |bytes| {
        bytes[PAGE..2 * PAGE].copy_from_slice(&foreign[PAGE..2 * PAGE])
    });
    // These two journals hold the same commands, so the block fits: chains are of content, not of files.
    files.open().unwrap();
    let third = {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("journal");
        let open = LocalJournal::open(Arc::new(FileSystem), &path, keys(), OPTIONS);
        let (mut journal, _) = open.unwrap();
        journal.append(TERM, &mut draft(1, 2)).unwrap();
        fill(&mut journal, 10);
        std::fs::read(path.join(format!("{:020}.segment", 9))).unwrap()
    };
    files.change(9, |bytes| {
        bytes[PAGE..2 * PAGE].copy_from_slice(&third[PAGE..2 * PAGE])
    });
    files.are_refused_at(9, 1, 10);
}

#[test]
fn a_damaged_watermark_is_refused_and_a_missing_one_is_made_again() {
    let files = Files::new();
    let path = files.path.join("durable");
    let sound = std::fs::read(&path).unwrap();
    let note = sound.len() / 2;
    for i in 0..note {
        let mut bytes = sound.clone();
        bytes[i] ^= 4;
        bytes[sound.len() - 1 - i] ^= 4;
        std::fs::write(&path, bytes).unwrap();
        assert!(matches!(
            files.open().map(|_| ()),
            Err(JournalError::Watermark { .. })
        ));
        // The walk tells of it, and whether the blocks are sound without it.
        let walked = files.walked();
        assert_eq!((walked.summary.problems, walked.summary.blocks), (1, 10));
        assert_eq!((&walked.problems[0].0, walked.problems[0].2), (&path, Height(11)));
    }
    std::fs::remove_file(&path).unwrap();
    files.open().unwrap();
    // Both notes of a new file say the same.
    let made = std::fs::read(&path).unwrap();
    assert_eq!(made[..note], made[note..]);
    assert!(sound[..note] == made[..note] || sound[note..] == made[..note]);
}

#[test]
fn a_watermark_with_one_damaged_note_says_what_the_other_says() {
    let files = Files::new();
    let path = files.path.join("durable");
    let sound = std::fs::read(&path).unwrap();
    for i in 0..sound.len() {
        let mut bytes = sound.clone();
        bytes[i] ^= 4;
        std::fs::write(&path, bytes).unwrap();
        files.open().unwrap();
    }
}

/// Opening writes the last block again: a bit that flips in a read must not get onto the disk that way.
#[test]
fn a_bit_flipped_by_a_read_at_opening_is_never_written() {
    for seed in 0..200 {
        let storage = memory(seed);
        let (mut journal, _) = open(&storage).unwrap();
        fill(&mut journal, 3);
        storage.restart_process();
        storage.set_rates(FaultRates {
            flip_ppm: 200_000,
            ..FaultRates::default()
        });
        let _ = open(&storage);
        storage.set_rates(FaultRates::default());
        let (_, recovered) = open(&storage).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        assert_eq!(recovered.head.height, Height(3), "seed {seed}");
    }
}

/// The last block, half of it zeroed: torn if it was never acknowledged, damage if it was.
#[test]
fn an_acknowledged_block_is_never_taken_for_a_torn_one() {
    let build = |acknowledged: bool| -> Arc<FaultyStorage> {
        let storage = memory(1);
        let (mut journal, _) = open(&storage).unwrap();
        fill(&mut journal, 1);
        if !acknowledged {
            // The write lands, the sync and so the watermark do not.
            storage.plan(Operation::Sync, 0, Fault::Io);
        }
        assert_eq!(journal.append(TERM, &mut draft(2, 50)).is_ok(), acknowledged);
        storage.restart_process();
        let file = storage
            .open(&directory().join(format!("{:020}.segment", 1)))
            .unwrap();
        file.write_all_at(&[0; 512], PAGE as u64 + 1024).unwrap();
        storage
    };
    assert!(matches!(
        open(&build(true)).map(|_| ()),
        Err(JournalError::Damaged { .. })
    ));
    let storage = build(false);
    let torn = walked(&*storage, directory()).summary.torn.unwrap();
    let (_, recovered) = open(&storage).unwrap();
    assert_eq!(recovered.head.height, Height(1));
    assert_eq!(recovered.cut.as_ref(), Some(&torn));
    assert_eq!(torn.offset, PAGE as u64);
    assert_eq!(open(&storage).unwrap().1.cut, None, "it is cut once");
}

/// A write may stop at any byte, so a block may lack no more than its last one.
#[test]
fn a_write_that_lacks_its_last_bytes_is_torn() {
    for lacking in [1, 3, 7, 8, 300] {
        let storage = memory(1);
        let (mut journal, _) = open(&storage).unwrap();
        fill(&mut journal, 1);
        storage.plan(Operation::Sync, 0, Fault::Io);
        journal.append(TERM, &mut draft(2, 1)).unwrap_err();
        storage.restart_process();
        let file = storage
            .open(&directory().join(format!("{:020}.segment", 1)))
            .unwrap();
        file.write_all_at(&vec![0; lacking], (2 * PAGE - lacking) as u64)
            .unwrap();
        let (_, recovered) = open(&storage).unwrap();
        assert!(recovered.cut.is_some());
        assert_eq!(recovered.head.height, Height(1));
    }
}

#[test]
fn what_looks_torn_before_a_valid_block_is_damage() {
    let files = Files::new();
    std::fs::remove_file(files.path.join("durable")).unwrap();
    files.change(9, |bytes| bytes[512..1024].fill(0));
    files.are_refused_at(9, 0, 9);
}

#[test]
fn the_walk_goes_on_after_damage_and_tells_each_fault_once() {
    let files = Files::new();
    files.change(1, |bytes| bytes[PAGE + 300] ^= 1);
    files.change(5, |bytes| bytes[2 * PAGE + 300] ^= 1);
    files.change(9, |bytes| bytes[300] ^= 1);
    let walked = files.walked();
    let heights: Vec<Height> = walked.problems.iter().map(|problem| problem.2).collect();
    assert_eq!(heights, [Height(2), Height(7), Height(9)]);
    assert_eq!(
        (walked.summary.blocks, walked.summary.head.height),
        (7, Height(1))
    );
}

#[test]
fn the_visitor_can_stop_the_walk() {
    let files = Files::new();
    let mut seen = 0;
    let summary = walk(&FileSystem, &files.path, &keys(), ShardId(0), &mut |report| {
        seen += 1;
        assert!(report.block.is_some() && report.header.is_some());
        if report.expected == Height(6) {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    })
    .unwrap();
    assert_eq!((seen, summary.blocks, summary.stopped), (6, 6, true));
}

#[test]
fn nothing_of_the_content_stands_in_clear() {
    let files = Files::new();
    let needle = common::transfer(1 << 32).id.0.to_le_bytes();
    for first in [1, 5, 9] {
        let bytes = std::fs::read(files.segment(first)).unwrap();
        assert!(!bytes.windows(8).any(|window| window == &needle[8..]));
    }
}

#[test]
fn no_change_of_a_file_panics_or_is_taken_for_acknowledged_blocks() {
    let mut opened = 0;
    for seed in 0..600_u64 {
        let storage = memory(seed);
        fill(&mut open(&storage).unwrap().0, 6);
        let mut state = seed;
        let mut random = |below: usize| {
            // Knuth's MMIX generator; the upper bits are the good ones.
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % below
        };
        let name = format!("{:020}.segment", [1, 5][random(2)]);
        let file = storage.open(&directory().join(name)).unwrap();
        let length = file.length().unwrap() as usize;
        let mut bytes = vec![0; length];
        file.read_exact_at(&mut bytes, 0).unwrap();
        let from = random(length);
        let longest = [4, 700, 9_000][random(3)];
        let run = (1 + random(longest)).min(length - from);
        match random(4) {
            0 => bytes[from..from + run].fill(0),
            1 => bytes[from..from + run]
                .iter_mut()
                .for_each(|byte| *byte = random(256) as u8),
            2 => bytes.copy_within(from..from + run, random(length - run + 1)),
            _ => bytes.truncate(from),
        }
        file.set_length(bytes.len() as u64).unwrap();
        file.write_all_at(&bytes, 0).unwrap();
        let walk = walked(&*storage, directory());
        let result = open(&storage);
        if let Ok((journal, recovered)) = result {
            opened += 1;
            assert_eq!(recovered.head.height, Height(6), "seed {seed}");
            assert_eq!(walk.summary.torn, recovered.cut, "seed {seed}");
            for block in journal.reader().scan(Height(1)) {
                // What opening did not read in full, reading refuses.
                assert!(
                    block.map_or(walk.summary.problems > 0, |block| common::is_as_written(
                        &block, 1
                    )),
                    "seed {seed}"
                );
            }
        } else {
            assert!(
                walk.summary.problems > 0,
                "seed {seed}: opening refuses what the walk calls sound"
            );
        }
    }
    assert!(
        (60..540).contains(&opened),
        "{opened} of 600 opened: the changes are too mild or too harsh"
    );
}
