//! The machine stops at every single operation of a workload: every acknowledged block is there afterwards,
//! at most one more, and none is changed.

mod common;

use common::{TERM, draft, is_as_written, memory, open};
use journal::{AppendError, Journal};
use ledger::Height;
use std::sync::Arc;
use storage::faulty::{FaultRates, FaultyStorage};

/// How many transfers the block of a height holds: from one sector's worth to more than a segment.
fn count(height: u64) -> usize {
    [1, 20, 3, 150, 1, 1, 400, 60][height as usize % 8]
}

/// Appends up to `until`, with the preparer stepping in between. Gives the last height that was acknowledged.
fn work(storage: &Arc<FaultyStorage>, until: u64) -> u64 {
    let Ok((mut journal, recovered)) = open(storage) else {
        return 0;
    };
    let mut acknowledged = recovered.head.height.0;
    while acknowledged < until {
        let height = acknowledged + 1;
        if journal.append(TERM, &mut draft(height, count(height))).is_err() {
            break;
        }
        acknowledged = height;
        if height.is_multiple_of(3) && journal.preparer().step().is_err() {
            break;
        }
    }
    acknowledged
}

/// What opening finds is all that was acknowledged, at most one more block, each as written. Gives the head,
/// and whether a torn tail was cut.
fn check(storage: &Arc<FaultyStorage>, acknowledged: u64, context: &str) -> (u64, bool) {
    let (journal, recovered) = open(storage).unwrap_or_else(|error| panic!("{context}: {error}"));
    let head = recovered.head.height.0;
    assert!(
        head == acknowledged || head == acknowledged + 1,
        "{context}: {acknowledged} were acknowledged, {head} found"
    );
    let mut blocks = 0;
    for block in journal.reader().scan(Height(1)) {
        let block = block.unwrap_or_else(|error| panic!("{context}: {error}"));
        assert!(
            is_as_written(&block, count(block.height.0)),
            "{context}: block {}",
            block.height
        );
        blocks += 1;
    }
    assert_eq!(blocks, head, "{context}");
    (head, recovered.cut.is_some())
}

#[test]
fn a_crash_at_any_operation_loses_nothing_acknowledged() {
    const BLOCKS: u64 = 14;
    let storage = memory(0);
    assert_eq!(work(&storage, BLOCKS), BLOCKS);
    let operations = storage.operations();
    assert!(operations > 60, "the workload has {operations} operations");
    let mut torn = 0;
    for seed in 0..12 {
        for operation in 0..operations {
            let context = format!("seed {seed}, operation {operation}");
            let storage = memory(seed * 1_000_003 + operation);
            storage.crash_at(operation);
            let acknowledged = work(&storage, BLOCKS);
            assert!(storage.has_crashed(), "{context}");
            storage.restart();
            // The machine may stop again while it recovers.
            storage.crash_at(storage.operations() + seed % 7);
            match open(&storage) {
                Ok((_, recovered)) => torn += u64::from(recovered.cut.is_some()),
                Err(error) => assert!(storage.has_crashed(), "{context}: {error}"),
            }
            storage.crash();
            storage.restart();
            let (head, was_torn) = check(&storage, acknowledged, &context);
            torn += u64::from(was_torn);
            assert_eq!(
                work(&storage, BLOCKS + 2),
                BLOCKS + 2,
                "{context}: it goes on from {head}"
            );
            check(&storage, BLOCKS + 2, &context);
        }
    }
    assert!(
        torn > 40,
        "the matrix tore {torn} blocks; it must tear many to mean anything"
    );
}

#[test]
fn a_killed_process_leaves_at_most_one_block_more() {
    const BLOCKS: u64 = 14;
    let storage = memory(0);
    work(&storage, BLOCKS);
    for operation in 0..storage.operations() {
        let storage = memory(operation);
        storage.crash_at(operation);
        let acknowledged = work(&storage, BLOCKS);
        storage.restart_process();
        check(&storage, acknowledged, &format!("operation {operation}"));
    }
}

#[test]
fn random_faults_and_crashes_for_a_long_time_lose_nothing_acknowledged() {
    for seed in 0..60 {
        let storage = memory(seed);
        let mut acknowledged = 0;
        for life in 0..12 {
            let context = format!("seed {seed}, life {life}");
            storage.set_rates(FaultRates {
                read_ppm: 2_000,
                write_ppm: 20_000,
                sync_ppm: 20_000,
                flip_ppm: 0,
            });
            storage.set_capacity((life % 3 == 1).then_some(80_000 + life * 40_000));
            if let Ok((mut journal, recovered)) = open(&storage) {
                acknowledged = recovered.head.height.0.max(acknowledged);
                for _ in 0..20 {
                    let height = journal.head().height.0 + 1;
                    match journal.append(TERM, &mut draft(height, count(height))) {
                        Ok(_) => acknowledged = height,
                        Err(AppendError::Full(_)) => {}
                        Err(_) => break,
                    }
                    let _ = journal.preparer().step();
                }
            }
            if life % 4 == 3 {
                storage.restart_process();
            } else {
                storage.crash();
                storage.restart();
            }
            storage.set_rates(FaultRates::default());
            storage.set_capacity(None);
            (acknowledged, _) = check(&storage, acknowledged, &context);
        }
    }
}
