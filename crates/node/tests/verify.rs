//! `verify` finds whatever happened to the blocks of a real data directory, and says at which height.

use journal::ShardId;
use ledger::{
    Account, AccountId, ActorId, Amount, Code, Events, Height, LedgerId, Transfer, TransferFlags, TransferId,
};
use node::{Node, NodeOptions, Request, RequestBody, VerifyReport};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use storage::{FileSystem, KeyRing};
use tempfile::TempDir;

const PAGE: usize = 4_096;
/// The smallest segment that there is: blocks of one transfer take a page, larger ones a few.
const SEGMENT_BYTES: u64 = 6 * PAGE as u64;

/// Where a block stands.
#[derive(Clone, Debug)]
struct Place {
    file: PathBuf,
    offset: usize,
    length: usize,
    height: u64,
}

/// A data directory that a node made and left in good order, and a way to make it anew.
struct Directory {
    folder: TempDir,
    pristine: Vec<(PathBuf, Vec<u8>)>,
    blocks: Vec<Place>,
}

fn options(directory: &Path) -> NodeOptions {
    NodeOptions {
        snapshot_rows: 8,
        index_flush_rows: 16,
        segment_bytes: SEGMENT_BYTES,
        disk_reserve_bytes: 0,
        ..NodeOptions::new(directory)
    }
}

fn request(body: RequestBody) -> Request {
    Request {
        actor: ActorId(0),
        body,
        deadline: None,
    }
}

fn accounts() -> Request {
    let account = |id| Account {
        id: AccountId(id),
        ledger: LedgerId(1),
        code: Code(1),
        ..Account::default()
    };
    request(RequestBody::CreateAccounts(Events {
        events: vec![account(1), account(2)],
        metadata: Vec::new(),
    }))
}

/// Of some transfers; every third is pending, so that holds are replayed too.
fn transfers(first: u128, count: u128) -> Request {
    let transfer = |id: u128| Transfer {
        id: TransferId(id),
        debit_account_id: AccountId(1),
        credit_account_id: AccountId(2),
        amount: Amount(id),
        ledger: LedgerId(1),
        code: Code(1),
        flags: if id.is_multiple_of(3) {
            TransferFlags::PENDING
        } else {
            TransferFlags::empty()
        },
        ..Transfer::default()
    };
    request(RequestBody::CreateTransfers(Events {
        events: (first..first + count).map(transfer).collect(),
        metadata: Vec::new(),
    }))
}

impl Directory {
    async fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let node = Node::open(&options(folder.path()), |_, _| {}).unwrap();
        node.call(accounts()).await.unwrap();
        for round in 0..21_u128 {
            // Now and then a block of several pages.
            let count = if round % 7 == 3 { 100 } else { 1 };
            node.call(transfers(1 + round * 1_000, count)).await.unwrap();
        }
        tokio::task::block_in_place(|| node.stop());
        let blocks = blocks(folder.path());
        let files: std::collections::BTreeSet<_> = blocks.iter().map(|block| &block.file).collect();
        assert!(
            blocks.len() > 20 && files.len() > 3,
            "{} blocks in {} segments",
            blocks.len(),
            files.len()
        );
        assert!(blocks.iter().any(|block| block.length > PAGE));
        let pristine = files_below(folder.path())
            .into_iter()
            .map(|path| (path.clone(), std::fs::read(path).unwrap()))
            .collect();
        Self {
            folder,
            pristine,
            blocks,
        }
    }

    fn restore(&self) {
        for file in files_below(self.folder.path()) {
            std::fs::remove_file(file).unwrap();
        }
        for (path, bytes) in &self.pristine {
            std::fs::write(path, bytes).unwrap();
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
            std::fs::set_permissions(path, mode).unwrap();
        }
    }

    fn change(&self, file: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = std::fs::read(file).unwrap();
        change(&mut bytes);
        std::fs::write(file, bytes).unwrap();
    }

    fn verify(&self) -> VerifyReport {
        node::verify(&options(self.folder.path()), |_, _, _| {}).expect("verification runs")
    }

    /// The first problem names the height, all before it is sound, and no node starts on it or starts with other books.
    fn is_found_at(&self, height: u64, what: &str) {
        let report = self.verify();
        assert!(!report.is_ok(), "{what}: nothing was found");
        let named = format!("height {height}");
        let first = &report.problems[0];
        let names_it = first.split([':', ',', ';']).any(|part| part.trim() == named)
            || first.ends_with(&format!("{height} is next"))
            || first.contains(&format!("ends at height {},", height - 1));
        assert!(names_it, "{what}: {named} is not named by {first:?}");
        assert_eq!(report.height, Height(height - 1), "{what}");
        self.restore();
        assert!(self.verify().is_ok(), "{what}: it is sound without the damage");
    }
}

/// Where each block stands.
fn blocks(directory: &Path) -> Vec<Place> {
    let keys = KeyRing::from_file(&FileSystem, &directory.join("keys")).unwrap();
    let mut found = Vec::new();
    let journal = directory.join("journal");
    journal::walk(&FileSystem, &journal, &keys, ShardId(0), &mut |report| {
        assert!(report.problem.is_none(), "{:?}", report.problem);
        found.push(Place {
            file: report.file.to_owned(),
            offset: report.offset as usize,
            length: report.disk_bytes as usize,
            height: report.expected.0,
        });
        ControlFlow::Continue(())
    })
    .unwrap();
    found
}

fn files_below(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(files_below(&path));
        } else {
            files.push(path);
        }
    }
    files
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_in_any_part_of_any_block_is_found() {
    let directory = Directory::new().await;
    for block in &directory.blocks {
        // In the header, at the body's begin, in its middle, and in the very last byte on disk.
        for place in [9, 199, 200, block.length / 2, block.length - 1] {
            directory.change(&block.file, |bytes| bytes[block.offset + place] ^= 0x10);
            directory.is_found_at(block.height, &format!("byte {place} of block {}", block.height));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_block_is_found() {
    let directory = Directory::new().await;
    for block in &directory.blocks {
        let range = block.offset..block.offset + block.length;
        directory.change(&block.file, |bytes| bytes[range].fill(0));
        directory.is_found_at(block.height, &format!("block {} zeroed", block.height));
    }
    // Cut out, and what follows moved up. The last block of a segment has nothing after it that could.
    for pair in directory
        .blocks
        .windows(2)
        .filter(|pair| pair[0].file == pair[1].file)
    {
        let [block, _] = pair else { unreachable!() };
        let range = block.offset..block.offset + block.length;
        directory.change(&block.file, |bytes| {
            bytes.drain(range);
            bytes.resize(SEGMENT_BYTES as usize, 0);
        });
        directory.is_found_at(block.height, &format!("block {} cut out", block.height));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_segment_is_found() {
    let directory = Directory::new().await;
    for block in directory.blocks.iter().filter(|block| block.offset == 0) {
        std::fs::remove_file(&block.file).unwrap();
        directory.is_found_at(block.height, &format!("the segment of block {}", block.height));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn swapped_blocks_are_found() {
    let directory = Directory::new().await;
    let blocks = &directory.blocks;
    let mut swapped = 0;
    for (one, other) in blocks
        .iter()
        .flat_map(|one| blocks.iter().map(move |other| (one, other)))
    {
        if one.height >= other.height || one.length != other.length {
            continue;
        }
        swapped += 1;
        let read = |place: &Place| {
            let bytes = std::fs::read(&place.file).unwrap();
            bytes[place.offset..place.offset + place.length].to_vec()
        };
        let (first, second) = (read(one), read(other));
        for (place, bytes) in [(one, second), (other, first)] {
            directory.change(&place.file, |file| {
                file[place.offset..place.offset + place.length].copy_from_slice(&bytes);
            });
        }
        directory.is_found_at(
            one.height,
            &format!("blocks {} and {} swapped", one.height, other.height),
        );
    }
    assert!(swapped > 100, "{swapped} pairs are too few");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_duplicated_block_is_found() {
    let directory = Directory::new().await;
    for pair in directory.blocks.windows(2) {
        let [block, next] = pair else { unreachable!() };
        if block.file != next.file || block.length != next.length {
            continue;
        }
        // In the place of the next one.
        directory.change(&block.file, |bytes| {
            bytes.copy_within(block.offset..block.offset + block.length, next.offset);
        });
        directory.is_found_at(next.height, &format!("block {} twice", block.height));
    }
    // After the last one, where the next would go.
    let last = directory.blocks.last().unwrap();
    let behind = last.offset + last.length;
    assert!(
        behind + last.length <= SEGMENT_BYTES as usize,
        "there is room behind the last block"
    );
    directory.change(&last.file, |bytes| {
        bytes.copy_within(last.offset..behind, behind);
    });
    let report = directory.verify();
    assert!(!report.is_ok());
    assert!(
        report.problems[0].contains(&format!("height {}", last.height + 1)),
        "{:?}",
        report.problems
    );
    assert_eq!(
        report.height,
        Height(last.height),
        "all of the true blocks are sound"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_truncated_block_is_found() {
    let directory = Directory::new().await;
    for block in &directory.blocks {
        for kept in [0, 1, 200, block.length - 1] {
            directory.change(&block.file, |bytes| bytes.truncate(block.offset + kept));
            directory.is_found_at(
                block.height,
                &format!("block {} cut after {kept} bytes", block.height),
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_watermark_is_found_and_the_blocks_are_walked_all_the_same() {
    let directory = Directory::new().await;
    let watermark = directory.folder.path().join("journal/durable");
    directory.change(&watermark, |bytes| bytes.fill(0xa5));
    let report = directory.verify();
    assert_eq!(report.problem_count, 1, "{:?}", report.problems);
    assert!(
        report.problems[0].starts_with("JRN-0007"),
        "{:?}",
        report.problems
    );
    assert_eq!(report.blocks, directory.blocks.len() as u64);
    // What its text advises.
    std::fs::remove_file(&watermark).unwrap();
    assert!(directory.verify().is_ok());
}
