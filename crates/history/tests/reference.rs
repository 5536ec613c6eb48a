//! The index against the naive model, at flush sizes so small that everything happens.

mod support;

use history::{HistoryError, Options, Writer};
use ledger::{AccountNumber, Height, Outcome, RowNumber};
use rand::RngExt;
use support::{Model, file_system, keys, run_jobs};

fn options() -> Options {
    Options {
        flush_rows: 60,
        merge_fan_in: 3,
        store_file_bytes: 300_000,
        ..Options::default()
    }
}

#[test]
fn every_answer_is_that_of_a_scan_across_flushes_merges_and_restarts() {
    for seed in 1..5 {
        let directory = tempfile::tempdir().unwrap();
        let mut model = Model::new(seed);
        let open = || Writer::open(file_system(), directory.path(), &keys(), options()).unwrap();
        let (mut writer, mut reader) = open();
        let mut held = Vec::new();
        for _ in 0..120 {
            model.block(&mut writer);
            match model.random.random_range(0..10) {
                0 => run_jobs(&mut writer),
                // Work that is finished only some blocks later.
                1..4 => held.extend(writer.next_job()),
                4 | 5 => {
                    for job in held.drain(..) {
                        writer.install(job.run(&history::FullSpeed).unwrap()).unwrap();
                    }
                }
                6 => writer.freeze(),
                7 if model.random.random_range(0..3) == 0 => {
                    held.clear();
                    let durable = writer.durable();
                    drop((writer, reader));
                    (writer, reader) = open();
                    assert_eq!((writer.durable(), writer.published()), (durable, durable));
                    // The replay may begin before what the index has.
                    let from = (durable.height.0 as usize).saturating_sub(model.random.random_range(0..4));
                    model.feed(&mut writer, from.max(1));
                }
                _ => {}
            }
            if model.random.random_range(0..4) == 0 {
                model.check(&reader);
            }
        }
        held.clear();
        run_jobs(&mut writer);
        model.check(&reader);
        assert!(writer.durable().rows.0 > 1_000, "the runs were used");
    }
}

#[test]
fn a_reader_sees_nothing_before_the_commit_and_all_of_it_after() {
    let directory = tempfile::tempdir().unwrap();
    let mut model = Model::new(11);
    let (mut writer, reader) = Writer::open(file_system(), directory.path(), &keys(), options()).unwrap();
    let mut scratch_model = Model::new(11);
    let other = tempfile::tempdir().unwrap();
    let (mut scratch, _) = Writer::open(file_system(), other.path(), &keys(), options()).unwrap();
    for _ in 0..30 {
        let before = reader.published();
        scratch_model.block(&mut scratch);
        for outcome in scratch_model.blocks.last().unwrap() {
            writer.append(outcome).unwrap();
            run_jobs(&mut writer);
            model.check(&reader);
        }
        assert_eq!(reader.published(), before);
        model = {
            let position = scratch_model.position();
            writer.commit(position.height, position.hash).unwrap();
            let mut copy = Model::new(11);
            copy.rows.clone_from(&scratch_model.rows);
            copy.metadata.clone_from(&scratch_model.metadata);
            copy.accounts.clone_from(&scratch_model.accounts);
            copy.account_metadata.clone_from(&scratch_model.account_metadata);
            copy.blocks.clone_from(&scratch_model.blocks);
            copy
        };
        model.check(&reader);
    }
}

#[test]
fn what_was_merged_leaves_the_disk_when_its_last_reader_goes() {
    let directory = tempfile::tempdir().unwrap();
    let mut model = Model::new(12);
    let (mut writer, reader) = Writer::open(file_system(), directory.path(), &keys(), options()).unwrap();
    for _ in 0..60 {
        model.block(&mut writer);
        run_jobs(&mut writer);
    }
    let files = std::fs::read_dir(directory.path()).unwrap().count();
    drop((writer, reader));
    let (_writer, reader) = Writer::open(file_system(), directory.path(), &keys(), options()).unwrap();
    let known = std::fs::read_dir(directory.path()).unwrap().count();
    assert_eq!(files, known, "nothing was left over for the next start to remove");
    assert!(reader.published().rows.0 > 0);
}

#[test]
fn gaps_and_contradictions_are_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let mut model = Model::new(13);
    let (mut writer, _) = Writer::open(file_system(), directory.path(), &keys(), options()).unwrap();
    while model.rows.len() < 10 {
        model.block(&mut writer);
    }
    let next = model.rows.len() as u64;
    let row = *model
        .rows
        .iter()
        .rfind(|row| row.debit != AccountNumber::NONE)
        .unwrap();
    let gap = Outcome {
        first_row: RowNumber(next + 1),
        rows: vec![row],
        ..Outcome::default()
    };
    assert!(matches!(
        writer.append(&gap),
        Err(HistoryError::Gap { what: "row", found, expected }) if found == next + 1 && expected == next
    ));
    let mut late = row;
    late.transfer.timestamp.0 = 1;
    let outcome = Outcome {
        first_row: RowNumber(next),
        rows: vec![late],
        ..Outcome::default()
    };
    assert!(
        matches!(writer.append(&outcome), Err(HistoryError::Inconsistent { number, .. }) if number == next)
    );
    let mut stranger = row;
    stranger.debit = AccountNumber(u32::MAX - 1);
    let mut swapped = row;
    std::mem::swap(&mut swapped.debit, &mut swapped.credit);
    for mut wrong in [stranger, swapped] {
        wrong.transfer.timestamp = model.rows.last().unwrap().transfer.timestamp;
        let outcome = Outcome {
            first_row: RowNumber(next),
            rows: vec![wrong],
            ..Outcome::default()
        };
        assert!(matches!(
            writer.append(&outcome),
            Err(HistoryError::Inconsistent { .. })
        ));
    }
    let position = model.position();
    writer.commit(position.height, position.hash).unwrap();
    assert!(writer.commit(position.height, [0xee; 32]).is_err());
    let outcome = Outcome {
        first_account: AccountNumber(0),
        new_accounts: vec![model.accounts[1]],
        ..Outcome::default()
    };
    assert!(matches!(
        writer.append(&outcome),
        Err(HistoryError::Inconsistent { number: 0, .. })
    ));
    writer.commit(Height(position.height.0 + 1), [1; 32]).unwrap();
    // A restart forgets none of this.
    writer.freeze();
    run_jobs(&mut writer);
    drop(writer);
    let (mut writer, _) = Writer::open(file_system(), directory.path(), &keys(), options()).unwrap();
    assert_eq!(writer.durable().rows.0, next);
    let outcome = Outcome {
        first_row: RowNumber(next),
        rows: vec![late],
        ..Outcome::default()
    };
    assert!(
        matches!(writer.append(&outcome), Err(HistoryError::Inconsistent { number, .. }) if number == next)
    );
    let mut early = model.accounts[0];
    early.id.0 ^= 2;
    let first_account = AccountNumber(model.accounts.len() as u32);
    let outcome = Outcome {
        first_account,
        new_accounts: vec![early],
        ..Outcome::default()
    };
    assert!(matches!(
        writer.append(&outcome),
        Err(HistoryError::Inconsistent { .. })
    ));
}

#[test]
fn a_reset_leaves_an_empty_index() {
    let directory = tempfile::tempdir().unwrap();
    let mut model = Model::new(14);
    let (mut writer, reader) = Writer::open(file_system(), directory.path(), &keys(), options()).unwrap();
    for _ in 0..20 {
        model.block(&mut writer);
        run_jobs(&mut writer);
    }
    drop((writer, reader));
    Writer::reset(&storage::FileSystem, directory.path()).unwrap();
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    let (mut writer, reader) = Writer::open(file_system(), directory.path(), &keys(), options()).unwrap();
    assert_eq!(reader.published(), history::Position::default());
    model.feed(&mut writer, 1);
    model.check(&reader);
}
