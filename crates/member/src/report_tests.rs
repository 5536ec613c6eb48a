//! Holds reports against what was seen.

use super::*;
use journal::{ShardId, WriterId};

/// A chain of blocks by epoch; hashes are their heights.
fn chain(epochs: &[u64]) -> Vec<Block> {
    let blocks = epochs.iter().zip(1_u64..).map(|(epoch, height)| Block {
        shard: ShardId(0),
        height: Height(height),
        epoch: *epoch,
        writer: WriterId(u128::from(*epoch)),
        timestamp: TimestampNs(height * 1_000_000),
        rules_version: 1,
        previous: hash(height - 1),
        entries: Vec::new(),
        hash: hash(height),
    });
    blocks.collect()
}

fn hash(height: u64) -> BlockHash {
    BlockHash([height as u8; 32])
}

fn checked(blocks: &[Block], wanted: &[Head], epoch: u64) -> (Check, Option<Head>) {
    let mut check = ChainCheck::default();
    for block in blocks {
        check.take(block, wanted, epoch);
    }
    check.finish(wanted)
}

fn problem(check: &Check) -> &str {
    match check {
        Check::Failed { problem } => problem,
        other => panic!("{other:?} is no failure"),
    }
}

fn beginning(blocks: &[Block]) -> Beginning {
    let first = Head::of(blocks.last().unwrap());
    Beginning {
        node: "b".into(),
        had: Head::of(&blocks[0]),
        first,
        final_at: TimestampNs(first.timestamp.0 + 5_000_000),
        took: Duration::from_millis(70),
        former_node: Some("a".into()),
        stepped_down: None,
        primary_before: Some("pg1:5432".into()),
    }
}

fn view(address: &str, standbys: &[(&str, bool)]) -> PrimaryView {
    let standbys = standbys.iter().map(|(name, is_streaming)| StandbyView {
        name: (*name).to_owned(),
        is_streaming: *is_streaming,
        is_synchronous: *is_streaming,
        behind_bytes: Some(0),
    });
    PrimaryView {
        address: address.into(),
        started: String::new(),
        clock: TimestampNs(0),
        standbys: standbys.collect(),
    }
}

fn names() -> Vec<String> {
    ["pg1", "pg2", "pg3"].map(str::to_owned).into()
}

const PATIENCE: Duration = Duration::from_mins(5);
const SECOND: Duration = Duration::from_secs(1);

/// A report after which all is well.
fn good() -> Report {
    let blocks = chain(&[1, 1, 2]);
    let wanted = [Head::of(&blocks[1]), Head::of(&blocks[2])];
    let (chain, before) = checked(&blocks, &wanted, 2);
    let mut report = Report::new(&beginning(&blocks), chain, before);
    report.books = books(&BooksCheck {
        height: Height(3),
        ledgers: 1,
        accounts: 2,
        uneven: Vec::new(),
    });
    let seen = view("pg2:5432", &[("pg1", true), ("pg3", true)]);
    report.saw_primary(primary(&seen, Some("pg1:5432".into()), &names(), 1));
    report.followers = vec![follower("a", Some((Height(3), SECOND / 2)), Height(3))];
    report
}

#[test]
fn a_change_after_which_all_is_well_is_complete_and_tells_both_sides_of_the_seam() {
    let mut report = good();
    report.judge(&names(), SECOND, PATIENCE);
    assert_eq!((report.outcome, report.degraded), (Outcome::Completed, vec![]));
    assert_eq!(report.reason, Reason::PrimaryChanged);
    let before = report.before.unwrap();
    assert_eq!((before.epoch, before.height, before.stamped_at_ms), (1, 2, 2));
    assert_eq!((report.after.epoch, report.after.height), (2, 3));
    assert_eq!(
        report.gap_ms,
        Some(6),
        "from 2 ms, where the last block stands, to 8 ms"
    );
    assert!(matches!(report.chain, Check::Ok { .. }));
}

#[test]
fn a_broken_chain_is_told_as_failed_whatever_breaks_it() {
    let whole = chain(&[1, 1, 2]);
    let wanted = [Head::of(&whole[1]), Head::of(&whole[2])];
    let broken = |change: &dyn Fn(&mut Vec<Block>)| {
        let mut blocks = whole.clone();
        change(&mut blocks);
        problem(&checked(&blocks, &wanted, 2).0).to_owned()
    };
    assert!(broken(&|blocks| drop(blocks.remove(1))).contains("after block 1 comes 3"));
    assert!(broken(&|blocks| blocks[1].previous = hash(7)).contains("hash of the one before"));
    assert!(broken(&|blocks| blocks[1].epoch = 0).contains("of term 0 after 1"));
    assert!(broken(&|blocks| blocks[1].writer = WriterId(9)).contains("of term 1 after 1"));
    assert!(broken(&|blocks| blocks[1].timestamp = TimestampNs(1)).contains("stamped no later"));
    let lost = broken(&|blocks| {
        blocks[1].hash = hash(9);
        blocks[2].previous = hash(9);
    });
    assert!(
        lost.contains("block 2 is not the one that was final here"),
        "{lost}"
    );
    assert!(broken(&|blocks| drop(blocks.pop())).contains("block 3 is not the one"));
    let mut unread = ChainCheck::default();
    unread.fail("it cannot be read".to_owned());
    assert!(problem(&unread.finish(&wanted).0).contains("cannot be read"));
}

#[test]
fn unequal_sums_and_a_broken_chain_make_a_report_that_has_failed() {
    let uneven = books(&BooksCheck {
        height: Height(3),
        ledgers: 2,
        accounts: 4,
        uneven: vec![ledger::LedgerId(7)],
    });
    assert!(problem(&uneven).contains("ledger 7 at height 3"));
    let mut report = good();
    report.books = uneven;
    report.judge(&names(), SECOND, PATIENCE);
    assert_eq!(report.outcome, Outcome::Failed);
    let mut report = good();
    report.chain = Check::Failed {
        problem: "block 2 is missing".to_owned(),
    };
    report.judge(&names(), SECOND, PATIENCE);
    assert_eq!(report.outcome, Outcome::Failed);
    assert_eq!(report.degraded, ["the chain: block 2 is missing"]);
}

#[test]
fn what_is_not_well_keeps_a_report_open_until_it_is_given_up() {
    let degraded = |change: &dyn Fn(&mut Report), watched| {
        let mut report = good();
        change(&mut report);
        report.judge(&names(), watched, PATIENCE);
        let outcome = report.outcome;
        (outcome, report.degraded.join("; "))
    };
    let alone = |report: &mut Report| {
        report.saw_primary(primary(&view("pg2:5432", &[("pg1", false)]), None, &names(), 1));
    };
    let (outcome, why) = degraded(&alone, SECOND);
    assert_eq!(outcome, Outcome::Open);
    assert!(
        why.contains("0 synchronous standbys stream, a commit needs 1"),
        "{why}"
    );
    assert!(why.contains("of pg1, pg2, pg3 all but one"), "{why}");
    assert_eq!(degraded(&alone, PATIENCE).0, Outcome::StillDegraded);
    let one = |report: &mut Report| {
        report.saw_primary(primary(&view("pg2:5432", &[("pg3", true)]), None, &names(), 1));
    };
    let (outcome, why) = degraded(&one, SECOND);
    assert_eq!((outcome, why.contains("pg1, pg2")), (Outcome::Open, true));
    let (outcome, why) = degraded(&Report::lost_primary, SECOND);
    assert_eq!(
        (outcome, why.as_str()),
        (Outcome::Open, "the primary cannot be asked")
    );
    let silent = |age: Option<Duration>| {
        move |report: &mut Report| {
            let said = age.map(|age| (Height(3), age));
            report.followers = vec![follower("a", said, Height(3))];
        }
    };
    assert_eq!(degraded(&silent(None), SECOND).1, "node a does not answer");
    assert_eq!(degraded(&silent(Some(4 * SECOND)), 60 * SECOND).0, Outcome::Open);
    let before = degraded(&silent(Some(2 * SECOND)), SECOND).0;
    assert_eq!(before, Outcome::Open, "it said so before the term began");
    let behind = |report: &mut Report| {
        report.followers = vec![follower("a", Some((Height(3), SECOND / 2)), Height(3_003))];
    };
    assert_eq!(degraded(&behind, SECOND).1, "node a is 3000 blocks behind");
}

#[test]
fn the_reason_is_what_the_former_writer_left_behind_or_that_it_left_nothing() {
    let blocks = chain(&[1, 2]);
    let ok = || Check::Ok { seen: String::new() };
    let reason = |stepped_down, former: Option<&str>| {
        let beginning = Beginning {
            stepped_down,
            former_node: former.map(str::to_owned),
            ..beginning(&blocks)
        };
        Report::new(&beginning, ok(), Some(Head::of(&blocks[0]))).reason
    };
    assert_eq!(reason(Some(false), Some("a")), Reason::HandedOver);
    assert_eq!(reason(Some(true), Some("a")), Reason::SteppedDown);
    assert_eq!(reason(None, Some("a")), Reason::LeaseLost);
    assert_eq!(reason(None, None), Reason::Unknown);
    let first = Report::new(&beginning(&blocks), ok(), None);
    assert_eq!((first.reason, first.gap_ms), (Reason::FirstTerm, None));
}

#[test]
fn standbys_that_the_topology_does_not_name_do_not_restore_the_quorum() {
    let seen = view("pg2:5432", &[("backup", true), ("pg1", false)]);
    let primary = primary(&seen, None, &names(), 1);
    assert!(!primary.quorum_restored);
    assert_eq!(primary.standbys.len(), 1);
}
