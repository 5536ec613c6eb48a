//! What the simulator found once, tested on a real disk with the node's real threads.

use ledger::{
    Account, AccountId, ActorId, Amount, Code, CreateTransferResult, Events, Height, LedgerId, Transfer,
    TransferId,
};
use node::{Node, NodeError, NodeOptions, Reply, Request, RequestBody};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(60);
/// Different answers that are looked at.
const HEIGHTS: usize = 150;
/// Clients at a time.
const STREAMS: u128 = 64;

fn options(directory: &Path) -> NodeOptions {
    NodeOptions {
        snapshot_rows: 100,
        index_flush_rows: 64,
        segment_bytes: 1 << 20,
        disk_reserve_bytes: 0,
        ..NodeOptions::new(directory)
    }
}

fn open(directory: &Path) -> Node {
    Node::open(&options(directory), |_, _| {}).expect("the node opens")
}

async fn call(node: &Node, body: RequestBody) -> Reply {
    let request = Request {
        actor: ActorId(0),
        body,
        deadline: None,
    };
    node.call(request).await.expect("an answer")
}

fn transfers(first: u128, count: u128) -> RequestBody {
    let transfer = |id| Transfer {
        id: TransferId(id),
        debit_account_id: AccountId(1),
        credit_account_id: AccountId(2),
        amount: Amount(1),
        ledger: LedgerId(1),
        code: Code(1),
        ..Transfer::default()
    };
    RequestBody::CreateTransfers(Events {
        events: (first..first + count).map(transfer).collect(),
        metadata: Vec::new(),
    })
}

async fn with_accounts(directory: &Path) -> Node {
    let node = open(directory);
    let account = |id| Account {
        id: AccountId(id),
        ledger: LedgerId(1),
        code: Code(1),
        ..Account::default()
    };
    let accounts = Events {
        events: vec![account(1), account(2)],
        metadata: Vec::new(),
    };
    call(&node, RequestBody::CreateAccounts(accounts)).await;
    node
}

fn stop(node: &Node) {
    tokio::task::block_in_place(|| node.stop());
}

/// How much was moved by the end of each block, from the feed alone.
async fn moved_by_height(node: &Node) -> BTreeMap<Height, u128> {
    let mut feed = node.feed(Height(1));
    let mut moved = BTreeMap::new();
    let mut sum = 0;
    for _ in 0..node.status().height.0 {
        let block = feed.next().await.unwrap().expect("the block is there");
        for entry in &block.entries {
            if let journal::Results::Transfers(results) = &entry.results {
                let created = |result: &&CreateTransferResult| **result == CreateTransferResult::Created;
                sum += results.iter().filter(created).count() as u128;
            }
        }
        moved.insert(block.height, sum);
    }
    moved
}

/// Seed 1: a trial balance named a height and showed the state in the midst of that block.
#[tokio::test(flavor = "multi_thread")]
async fn a_trial_balance_is_that_of_the_height_it_names() {
    let directory = TempDir::new().unwrap();
    let node = Arc::new(with_accounts(directory.path()).await);
    let ended = Arc::new(AtomicBool::new(false));
    let loads: Vec<_> = (0..STREAMS)
        .map(|stream| {
            let (node, ended) = (node.clone(), ended.clone());
            tokio::spawn(async move {
                let mut id = 1 + (stream << 64);
                // Large requests make blocks that another thread commits; meanwhile the next one fills.
                let count = if stream.is_multiple_of(16) { 2_000 } else { 1 };
                while !ended.load(Ordering::Relaxed) {
                    call(&node, transfers(id, count)).await;
                    id += count;
                }
            })
        })
        .collect();
    let mut seen = BTreeSet::new();
    let deadline = Instant::now() + PATIENCE;
    while seen.len() < HEIGHTS {
        assert!(Instant::now() < deadline, "the load makes no blocks");
        let trial = node.trial_balance(LedgerId(1)).await.unwrap();
        seen.insert((trial.height, trial.totals.debits_posted.0));
    }
    ended.store(true, Ordering::Relaxed);
    for load in loads {
        load.await.unwrap();
    }
    let moved = moved_by_height(&node).await;
    for (height, sum) in &seen {
        assert_eq!(moved[height], *sum, "at height {height}");
    }
    stop(&node);
}

/// Seed 15154: a flipped bit in the manifest's key id was taken for a missing key, and the start was refused.
#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_anywhere_in_the_manifest_of_history_is_healed_at_the_start() {
    let directory = TempDir::new().unwrap();
    let node = with_accounts(directory.path()).await;
    for round in 0..5 {
        call(&node, transfers(1 + round * 40, 40)).await;
    }
    stop(&node);
    let manifest = directory.path().join("history/MANIFEST");
    let length = std::fs::read(&manifest).unwrap().len();
    for place in (0..length).step_by(3) {
        let mut bytes = std::fs::read(&manifest).unwrap();
        // Rebuilding makes another one, which may be shorter.
        let place = place.min(bytes.len() - 1);
        bytes[place] ^= 1 << (place % 8);
        std::fs::write(&manifest, bytes).unwrap();
        let node = open(directory.path());
        let found = node.transfers((1..=200).map(TransferId).collect()).await.unwrap();
        assert_eq!(found.len(), 200, "byte {place}");
        stop(&node);
    }
    let report = node::verify(&options(directory.path()), |_, _, _| {}).expect("verification runs");
    assert!(report.is_ok(), "{:?}", report.problems);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_crash_left_of_a_snapshot_is_removed_at_the_start() {
    let directory = TempDir::new().unwrap();
    let node = with_accounts(directory.path()).await;
    call(&node, transfers(1, 200)).await;
    stop(&node);
    let left = directory
        .path()
        .join("snapshots/snapshot-00000000000000000009.tmp");
    std::fs::write(&left, [7; 1_000]).unwrap();
    let node = open(directory.path());
    assert!(!left.exists());
    stop(&node);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_key_is_named_and_no_other_one_is_made_in_its_place() {
    let directory = TempDir::new().unwrap();
    let node = with_accounts(directory.path()).await;
    stop(&node);
    let (key, aside) = (directory.path().join("keys"), directory.path().join("aside"));
    std::fs::rename(&key, &aside).unwrap();
    let opened = Node::open(&options(directory.path()), |_, _| {}).map(drop);
    let verified = node::verify(&options(directory.path()), |_, _, _| {}).map(drop);
    for error in [opened.unwrap_err(), verified.unwrap_err()] {
        let is_missing =
            matches!(&error, NodeError::Key(storage::KeyError::Missing { path }) if *path == key);
        assert!(is_missing, "{error}");
        assert!(!key.exists());
    }
    std::fs::rename(&aside, &key).unwrap();
    stop(&open(directory.path()));
}

fn snapshots(directory: &Path) -> BTreeSet<String> {
    let files = std::fs::read_dir(directory.join("snapshots")).unwrap();
    files
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect()
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &to),
            false => drop(std::fs::copy(entry.path(), to).unwrap()),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_restore_to_an_earlier_point_the_snapshots_of_the_time_after_it_are_removed() {
    let folder = TempDir::new().unwrap();
    let (late, early) = (folder.path().join("late"), folder.path().join("early"));
    let node = with_accounts(&late).await;
    call(&node, transfers(1, 200)).await;
    stop(&node);
    copy(&late, &early);
    let before = snapshots(&early);
    let node = open(&late);
    for round in 1..6 {
        call(&node, transfers(1_000 * round, 200)).await;
    }
    stop(&node);
    let stale = &snapshots(&late) - &before;
    assert!(!stale.is_empty(), "there are later ones");
    copy(&late.join("snapshots"), &early.join("snapshots"));
    stop(&open(&early));
    assert!(snapshots(&early).is_disjoint(&stale), "{:?}", snapshots(&early));
}
