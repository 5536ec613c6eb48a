//! A node that follows another writer, and is promoted: on a journal in memory that any number of nodes share.

use journal::{
    AppendError, Block, BlockReader, BlockScan, Draft, Head, Journal, JournalError, Opener, Sealer, ShardId,
    Term, WriterId,
};
use ledger::{
    Account, AccountId, ActorId, Amount, Code, Events, Height, LedgerId, TimestampNs, Transfer, TransferId,
};
use node::{Node, NodeError, NodeOptions, ReadError, Reply, Request, RequestBody, Source, SubmitError};
use std::future::{Future, poll_fn};
use std::path::Path;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::{Duration, Instant};
use storage::{FileSystem, KeyRing};

const PATIENCE: Duration = Duration::from_secs(60);

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

/// A reader of the shelf that shows only so many of its blocks, as one does whose knowledge of what is final lags behind.
struct Lagging {
    shelf: Arc<Shelf>,
    shown: AtomicU64,
}

impl BlockReader for Lagging {
    fn head(&self) -> Height {
        self.shelf.head().min(Height(self.shown.load(Ordering::SeqCst)))
    }

    fn read(&self, height: Height) -> Result<Block, JournalError> {
        let head = self.head();
        if height > head {
            return Err(JournalError::NoBlock { height, head });
        }
        self.shelf.read(height)
    }

    fn scan(&self, from: Height) -> BlockScan<'_> {
        let count = (self.head().0 + 1).saturating_sub(from.0);
        Box::new(self.shelf.scan(from).take(count as usize))
    }
}

/// A writer whose blocks cannot be read right now.
struct Unreadable(Writer);

impl Journal for Unreadable {
    fn head(&self) -> Head {
        self.0.head()
    }

    fn begin_term(&mut self, writer: WriterId, now: TimestampNs) -> Result<Term, AppendError> {
        self.0.begin_term(writer, now)
    }

    fn append(&mut self, term: Term, draft: &mut Draft) -> Result<Head, AppendError> {
        self.0.append(term, draft)
    }

    fn reader(&self) -> Arc<dyn BlockReader> {
        Arc::new(Breaks(self.0.shelf.clone()))
    }
}

/// A writer whose journal has no room while it is told so.
struct Filling {
    writer: Writer,
    is_full: Arc<AtomicBool>,
}

impl Journal for Filling {
    fn head(&self) -> Head {
        self.writer.head()
    }

    fn begin_term(&mut self, writer: WriterId, now: TimestampNs) -> Result<Term, AppendError> {
        self.writer.begin_term(writer, now)
    }

    fn append(&mut self, term: Term, draft: &mut Draft) -> Result<Head, AppendError> {
        if self.is_full.load(Ordering::SeqCst) {
            return Err(AppendError::Full(std::io::ErrorKind::StorageFull.into()));
        }
        self.writer.append(term, draft)
    }

    fn reader(&self) -> Arc<dyn BlockReader> {
        self.writer.reader()
    }
}

/// A reader whose connection breaks after one block.
struct Breaks(Arc<Shelf>);

impl Breaks {
    fn error() -> JournalError {
        JournalError::Io {
            action: "read",
            path: "shelf".into(),
            source: std::io::ErrorKind::ConnectionReset.into(),
        }
    }
}

impl BlockReader for Breaks {
    fn head(&self) -> Height {
        self.0.head()
    }

    fn read(&self, _: Height) -> Result<Block, JournalError> {
        Err(Self::error())
    }

    fn scan(&self, from: Height) -> BlockScan<'_> {
        let one = self.0.scan(from).take(1);
        Box::new(one.chain(std::iter::once_with(|| Err(Self::error()))))
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
        self.follow_by(name, self.shelf.clone())
    }

    fn follow_by(&self, name: &str, reader: Arc<dyn BlockReader>) -> Node {
        let options = options(&self.folder.path().join(name));
        let source = Source::of(reader, self.keys.clone()).unwrap();
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

async fn expect_blocks(feed: &mut node::Feed, heights: std::ops::RangeInclusive<u64>) {
    for height in heights {
        let next = tokio::time::timeout(PATIENCE, feed.next()).await;
        let block = next.expect("the feed goes on").expect("the node runs").unwrap();
        assert_eq!(block.height, Height(height));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_feed_of_a_follower_shows_what_it_was_supplied_with_though_its_journal_shows_nothing_yet() {
    let world = World::new();
    let (shelf, shown) = (world.shelf.clone(), AtomicU64::new(0));
    let lagging = Arc::new(Lagging { shelf, shown });
    let (writer, follower) = (
        world.follow("writer"),
        world.follow_by("follower", lagging.clone()),
    );
    world.promote(&writer);
    open_accounts(&writer).await;
    pay(&writer, 1..11).await.unwrap();
    world.catch_up(&follower).await;
    let before = world.shelf.head().0;
    let mut feed = follower.feed(Height(1));
    expect_blocks(&mut feed, 1..=before).await;
    writer.stop();

    // A feed goes on beyond a promotion, and sees what the node writes.
    world.promote(&follower);
    pay(&follower, 11..21).await.unwrap();
    let head = world.shelf.head().0;
    expect_blocks(&mut feed, before + 1..=head).await;
    follower.stop();

    // What is final and nowhere in memory is waited for.
    lagging.shown.store(head, Ordering::SeqCst);
    let follower = world.follow_by("follower", lagging.clone());
    lagging.shown.store(head - 1, Ordering::SeqCst);
    let mut feed = follower.feed(Height(head - 1));
    expect_blocks(&mut feed, head - 1..=head - 1).await;
    let early = tokio::time::timeout(Duration::from_millis(200), feed.next()).await;
    assert!(early.is_err(), "the journal does not show it");
    lagging.shown.store(head, Ordering::SeqCst);
    expect_blocks(&mut feed, head..=head).await;
    follower.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_promotion_that_could_not_read_the_journal_leaves_a_follower_that_can_be_promoted() {
    let world = World::new();
    let (first, second) = (world.follow("first"), world.follow("second"));
    world.promote(&first);
    open_accounts(&first).await;
    pay(&first, 1..11).await.unwrap();
    first.stop();
    let unreadable = Unreadable(Writer::new(&world.shelf, &world.keys));
    let error = second.promote(Box::new(unreadable)).unwrap_err();
    assert!(error.is_passing(), "{error}");
    assert!(
        matches!(error, NodeError::Journal(JournalError::Io { .. })),
        "{error}"
    );
    assert!(second.status().follows);
    assert_eq!(
        second.supplied_height(),
        Height(1),
        "what could be read is taken in"
    );
    world.catch_up(&second).await;
    assert_eq!(credits(&second).await, 50, "it follows as before");
    world.promote(&second);
    pay(&second, 11..21).await.unwrap();
    assert_eq!(credits(&second).await, 100);
    second.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_journal_is_full_writes_are_refused_though_the_node_itself_has_room() {
    let world = World::new();
    let node = world.follow("node");
    let (writer, is_full) = (
        Writer::new(&world.shelf, &world.keys),
        Arc::new(AtomicBool::new(false)),
    );
    let filling = Filling {
        writer,
        is_full: is_full.clone(),
    };
    node.promote(Box::new(filling)).unwrap();
    open_accounts(&node).await;

    is_full.store(true, Ordering::SeqCst);
    let held = tokio::spawn({
        let node = node.clone();
        async move { pay(&node, 1..11).await }
    });
    let deadline = Instant::now() + PATIENCE;
    while node.status().writable {
        assert!(
            Instant::now() < deadline,
            "it is not found out that the journal is full"
        );
        tokio::task::yield_now().await;
    }
    // The node's own disk, which has room, is looked at many times meanwhile.
    let until = Instant::now() + Duration::from_millis(300);
    while Instant::now() < until {
        let answer = tokio::time::timeout(PATIENCE, pay(&node, 11..21)).await;
        let answer = answer.expect("nothing is taken in that would wait");
        assert!(
            matches!(answer, Err(SubmitError::StorageFull { .. })),
            "{answer:?}"
        );
    }
    assert!(!held.is_finished(), "nothing is answered that is not durable");

    is_full.store(false, Ordering::SeqCst);
    held.await
        .unwrap()
        .expect("the block that was held is tried again");
    assert!(node.status().writable);
    pay(&node, 11..21).await.unwrap();
    assert_eq!(credits(&node).await, 100);
    node.stop();
}

/// Puts a question for the first time, and says whether it was refused; does not wait for the answer.
async fn is_refused<T>(question: &mut Pin<Box<impl Future<Output = Result<T, ReadError>>>>) -> bool {
    match poll_fn(|context| Poll::Ready(question.as_mut().poll(context))).await {
        Poll::Pending | Poll::Ready(Ok(_)) => false,
        Poll::Ready(Err(error)) => {
            assert_eq!(error, ReadError::Unavailable);
            true
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_behind_a_block_that_does_not_become_durable_are_bounded_and_forgotten_with_who_asked() {
    const ENOUGH: usize = 200_000;
    let world = World::new();
    let (node, is_full) = (world.follow("node"), Arc::new(AtomicBool::new(false)));
    node.promote(Box::new(Filling {
        writer: Writer::new(&world.shelf, &world.keys),
        is_full: is_full.clone(),
    }))
    .unwrap();
    open_accounts(&node).await;
    is_full.store(true, Ordering::SeqCst);
    let held = tokio::spawn({
        let node = node.clone();
        async move { pay(&node, 1..11).await }
    });
    let deadline = Instant::now() + PATIENCE;
    while node.status().writable {
        assert!(Instant::now() < deadline, "the block is held");
        tokio::task::yield_now().await;
    }

    // Each of them waits for the block.
    let ask = || Box::pin(node.accounts(vec![AccountId(2)]));
    let mut waiting = Vec::new();
    loop {
        let mut question = ask();
        if is_refused(&mut question).await {
            break;
        }
        waiting.push(question);
        assert!(waiting.len() < ENOUGH, "nothing bounds them");
    }
    assert_eq!(waiting.len(), 65_536);

    // Whoever asked has gone away: others are taken in their place, though the block is still held.
    drop(waiting);
    while is_refused(&mut ask()).await {
        assert!(
            Instant::now() < deadline,
            "those that nobody waits for are forgotten"
        );
        tokio::task::yield_now().await;
    }
    assert!(!held.is_finished());
    is_full.store(false, Ordering::SeqCst);
    held.await.unwrap().unwrap();
    assert_eq!(credits(&node).await, 50);
    node.stop();
}
