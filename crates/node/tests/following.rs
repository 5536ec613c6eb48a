//! A node that follows another writer, and is promoted: on a journal in memory that any number of nodes share.

use journal::{
    AppendError, Block, BlockReader, BlockScan, Draft, Head, Journal, JournalError, Opener, Sealer, ShardId,
    Term, WriterId,
};
use ledger::{
    Account, AccountId, ActorId, Amount, Code, Events, Height, LedgerId, TimestampNs, Transfer, TransferId,
};
use node::{Node, NodeError, NodeOptions, Reply, Request, RequestBody, Source, SubmitError};
use std::path::Path;
use std::sync::{Arc, Mutex};
use storage::{FileSystem, KeyRing};

/// Blocks in memory, all of them final.
#[derive(Default)]
struct Shelf(Mutex<Vec<Block>>);

impl Shelf {
    fn blocks(&self) -> Vec<Block> {
        self.0.lock().unwrap().clone()
    }
}

impl BlockReader for Shelf {
    fn head(&self) -> Height {
        Height(self.blocks().len() as u64)
    }

    fn read(&self, height: Height) -> Result<Block, JournalError> {
        let place = height.0.checked_sub(1).map(|place| place as usize);
        let block = place.and_then(|place| self.blocks().get(place).cloned());
        block.ok_or(JournalError::NoBlock {
            height,
            head: self.head(),
        })
    }

    fn scan(&self, from: Height) -> BlockScan<'_> {
        let blocks = self.blocks().into_iter().skip(from.0 as usize - 1);
        Box::new(blocks.map(Ok))
    }
}

/// A writer of the shelf. Like a real one it takes up what another has put there when its term begins.
struct Writer {
    shelf: Arc<Shelf>,
    keys: KeyRing,
    sealer: Sealer,
    head: Head,
}

impl Writer {
    fn new(shelf: &Arc<Shelf>, keys: &KeyRing) -> Self {
        Self {
            shelf: shelf.clone(),
            keys: keys.clone(),
            sealer: Sealer::new(keys, ShardId(0)),
            head: Head::default(),
        }
    }
}

impl Journal for Writer {
    fn head(&self) -> Head {
        self.head
    }

    fn begin_term(&mut self, writer: WriterId, now: TimestampNs) -> Result<Term, AppendError> {
        let last = self.shelf.blocks().pop();
        self.head = last.as_ref().map(Head::of).unwrap_or_default();
        let epoch = self.head.epoch + 1;
        let term = Term { epoch, writer };
        self.append(term, &mut journal::epoch_draft(now, last.as_ref()))?;
        Ok(term)
    }

    fn append(&mut self, term: Term, draft: &mut Draft) -> Result<Head, AppendError> {
        if self.shelf.head() != self.head.height {
            return Err(AppendError::SteppedDown);
        }
        let mut sealed = Vec::new();
        let header = self.sealer.seal(&self.head, term, draft, &mut sealed);
        let ciphertext = &mut sealed[journal::HEADER_BYTES..];
        let block = Opener::new(self.keys.clone()).open(&header, ciphertext).unwrap();
        self.head = Head::of(&block);
        self.shelf.0.lock().unwrap().push(block);
        draft.clear();
        Ok(self.head)
    }

    fn reader(&self) -> Arc<dyn BlockReader> {
        self.shelf.clone()
    }
}

/// A shelf, and where nodes on it keep their files.
struct World {
    shelf: Arc<Shelf>,
    keys: KeyRing,
    folder: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self {
            keys: KeyRing::from_file(&FileSystem, &folder.path().join("keys")).unwrap(),
            shelf: Arc::default(),
            folder,
        }
    }

    fn follow(&self, name: &str) -> Node {
        let options = options(&self.folder.path().join(name));
        let source = Source::of(self.shelf.clone(), self.keys.clone()).unwrap();
        Node::follow(&options, &source, Arc::new(|| ()), |_, _| {}).unwrap()
    }

    fn promote(&self, node: &Node) -> Term {
        node.promote(Box::new(Writer::new(&self.shelf, &self.keys)))
            .unwrap()
    }

    async fn catch_up(&self, node: &Node) {
        for block in self.shelf.blocks() {
            node.supply(block).unwrap();
        }
        node.reached(self.shelf.head()).await;
    }
}

fn options(directory: &Path) -> NodeOptions {
    NodeOptions {
        snapshot_rows: 50,
        index_flush_rows: 64,
        disk_reserve_bytes: 0,
        ..NodeOptions::new(directory)
    }
}

async fn call(node: &Node, body: RequestBody) -> Result<Reply, SubmitError> {
    let (actor, deadline) = (ActorId(0), None);
    node.call(Request {
        actor,
        body,
        deadline,
    })
    .await
}

async fn open_accounts(node: &Node) {
    let account = |id| Account {
        id: AccountId(id),
        ledger: LedgerId(1),
        code: Code(10),
        ..Account::default()
    };
    let (events, metadata) = (vec![account(1), account(2)], Vec::new());
    call(node, RequestBody::CreateAccounts(Events { events, metadata }))
        .await
        .unwrap();
}

async fn pay(node: &Node, ids: std::ops::Range<u128>) -> Result<Reply, SubmitError> {
    let transfer = |id| Transfer {
        id: TransferId(id),
        debit_account_id: AccountId(1),
        credit_account_id: AccountId(2),
        amount: Amount(5),
        ledger: LedgerId(1),
        code: Code(1),
        ..Transfer::default()
    };
    let (events, metadata) = (ids.map(transfer).collect(), Vec::new());
    call(node, RequestBody::CreateTransfers(Events { events, metadata })).await
}

async fn credits(node: &Node) -> u128 {
    let found = node.accounts(vec![AccountId(2)]).await.unwrap();
    found[0].account.balances.credits_posted.0
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_shows_what_it_was_supplied_with_and_takes_no_writes() {
    let world = World::new();
    let (writer, follower) = (world.follow("writer"), world.follow("follower"));
    assert!(matches!(
        pay(&writer, 1..2).await,
        Err(SubmitError::Unavailable { .. })
    ));
    world.promote(&writer);
    open_accounts(&writer).await;
    for round in 0..20 {
        pay(&writer, 1 + 10 * round..11 + 10 * round).await.unwrap();
    }
    world.catch_up(&follower).await;
    assert_eq!(credits(&follower).await, credits(&writer).await);
    let found = follower.transfers(vec![TransferId(57)]).await.unwrap();
    assert_eq!(found.len(), 1, "its history is there, too");
    assert!(matches!(
        pay(&follower, 900..901).await,
        Err(SubmitError::Unavailable { .. })
    ));
    assert!(follower.status().follows && !writer.status().follows);
    assert_eq!(follower.status().epoch, writer.status().epoch);

    // What it has comes back after a stop, from its own files and the journal.
    follower.stop();
    let follower = world.follow("follower");
    assert_eq!(credits(&follower).await, 1_000);
    writer.stop();
    follower.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_block_that_does_not_follow_is_named_and_one_that_is_known_is_passed_over() {
    let world = World::new();
    let (writer, follower) = (world.follow("writer"), world.follow("follower"));
    world.promote(&writer);
    open_accounts(&writer).await;
    pay(&writer, 1..5).await.unwrap();
    let blocks = world.shelf.blocks();
    follower.supply(blocks[0].clone()).unwrap();
    follower.supply(blocks[0].clone()).unwrap();
    let refused = |block: Block| match follower.supply(block) {
        Err(NodeError::Contradiction { height }) => height,
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(blocks[2].clone()), Height(3), "a gap");
    let mut other = blocks[1].clone();
    other.previous.0[0] ^= 1;
    assert_eq!(refused(other), Height(2), "of another chain");
    let mut other = blocks[0].clone();
    other.hash.0[0] ^= 1;
    assert_eq!(refused(other), Height(1), "another one at the same height");
    follower.supply(blocks[1].clone()).unwrap();
    writer.stop();
    follower.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_promoted_node_takes_up_what_it_has_not_seen_and_writes_from_there() {
    let world = World::new();
    let (first, second) = (world.follow("first"), world.follow("second"));
    let before = world.promote(&first);
    open_accounts(&first).await;
    pay(&first, 1..11).await.unwrap();
    first.stop();
    // It was told of nothing so far.
    assert_eq!(second.status().height, Height(0));
    let term = world.promote(&second);
    assert!(term.epoch > before.epoch && term.writer != before.writer);
    assert_eq!(credits(&second).await, 50);
    let answer = pay(&second, 1..21).await.unwrap();
    let Reply::Transfers(replies) = answer else {
        panic!("{answer:?}")
    };
    let created = replies
        .iter()
        .filter(|reply| reply.result == ledger::CreateTransferResult::Created);
    assert_eq!(created.count(), 10, "the first ten are known");
    assert_eq!(credits(&second).await, 100);
    assert!(matches!(
        second.supply(world.shelf.blocks()[0].clone()),
        Err(NodeError::NotFollowing)
    ));
    second.stop();
    for (place, block) in world.shelf.blocks().iter().enumerate().skip(1) {
        assert_eq!(block.previous, world.shelf.blocks()[place - 1].hash);
    }
}
