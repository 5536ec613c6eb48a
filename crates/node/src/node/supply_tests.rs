//! A follower whose disk or index is in its way, and what the blocks that it is supplied with tell of their writer.

use super::Node;
use crate::clock::Clock;
use crate::shared::INDEX_BACKLOG_MAX;
use crate::{NodeError, NodeOptions, Source};
use journal::{
    AppendError, Block, BlockReader, BlockScan, Draft, Head, Journal, JournalError, Opener, Sealer, ShardId,
    Term, WriterId, epoch_draft,
};
use ledger::{Height, TimestampNs};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use storage::{DataKey, KeyId, KeyRing};

const PATIENCE: Duration = Duration::from_secs(60);

/// Blocks in memory, each of a term of its own.
#[derive(Clone)]
struct Chain {
    keys: KeyRing,
    blocks: Arc<Mutex<Vec<Block>>>,
}

impl Chain {
    fn new() -> Self {
        Self {
            keys: KeyRing::new(DataKey::new(KeyId(1), [7; 32])),
            blocks: Arc::default(),
        }
    }

    fn grow(&self, now: TimestampNs) -> Block {
        let last = self.last();
        let head = last.as_ref().map(Head::of).unwrap_or_default();
        let term = Term {
            epoch: head.epoch + 1,
            writer: WriterId(u128::from(head.epoch) + 1),
        };
        let mut sealed = Vec::new();
        let draft = epoch_draft(now, last.as_ref());
        let header = Sealer::new(&self.keys, ShardId(0)).seal(&head, term, &draft, &mut sealed);
        let ciphertext = &mut sealed[journal::HEADER_BYTES..];
        let block = Opener::new(self.keys.clone()).open(&header, ciphertext).unwrap();
        self.blocks.lock().unwrap().push(block.clone());
        block
    }

    fn last(&self) -> Option<Block> {
        self.blocks.lock().unwrap().last().cloned()
    }
}

impl BlockReader for Chain {
    fn head(&self) -> Height {
        Height(self.blocks.lock().unwrap().len() as u64)
    }

    fn read(&self, height: Height) -> Result<Block, JournalError> {
        let place = (height.0 as usize).checked_sub(1);
        let block = place.and_then(|place| self.blocks.lock().unwrap().get(place).cloned());
        let head = self.head();
        block.ok_or(JournalError::NoBlock { height, head })
    }

    fn scan(&self, from: Height) -> BlockScan<'_> {
        let blocks = self.blocks.lock().unwrap().clone();
        Box::new(blocks.into_iter().skip(from.0 as usize - 1).map(Ok))
    }
}

/// Begins a term on the chain, after which `begun` is called.
struct Begins<F> {
    chain: Chain,
    begun: F,
    /// Of the term that was begun, whatever others append after it.
    head: Head,
}

impl<F: FnMut() + Send> Journal for Begins<F> {
    fn head(&self) -> Head {
        self.head
    }

    fn begin_term(&mut self, _: WriterId, now: TimestampNs) -> Result<Term, AppendError> {
        let block = self.chain.grow(now);
        self.head = Head::of(&block);
        let Block { epoch, writer, .. } = block;
        (self.begun)();
        Ok(Term { epoch, writer })
    }

    fn append(&mut self, _: Term, _: &mut Draft) -> Result<Head, AppendError> {
        unreachable!("nothing is written here")
    }

    fn reader(&self) -> Arc<dyn BlockReader> {
        Arc::new(self.chain.clone())
    }
}

fn follow(chain: &Chain, folder: &tempfile::TempDir) -> Node {
    let options = NodeOptions {
        disk_reserve_bytes: 0,
        ..NodeOptions::new(folder.path())
    };
    let source = Source::of(Arc::new(chain.clone()), chain.keys.clone()).unwrap();
    Node::follow(&options, &source, Arc::new(|| ()), |_, _| {}).unwrap()
}

/// As a full disk does it: parts of the index pile up in memory.
fn hold_the_index_up(node: &Node, is_behind: bool) {
    let shared = &node.inner.shared;
    let backlog = if is_behind { INDEX_BACKLOG_MAX + 1 } else { 0 };
    shared.index_backlog.store(backlog, Ordering::Relaxed);
    shared.inbox.indexed(&mut Vec::new(), true);
}

fn eventually(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::yield_now();
    }
}

fn promote(node: &Node, chain: &Chain, begun: impl FnMut() + Send + 'static) -> Result<Term, NodeError> {
    let (chain, head) = (chain.clone(), Head::default());
    node.promote(Box::new(Begins { chain, begun, head }))
}

fn refused_for_room(answer: Result<Term, NodeError>) {
    let error = answer.expect_err("it could take no writes");
    assert!(error.is_passing(), "{error}");
    assert!(
        matches!(error, NodeError::Append(AppendError::Full(_))),
        "{error}"
    );
}

#[test]
fn a_follower_whose_index_is_held_up_says_how_far_it_is_and_refuses_to_be_promoted() {
    let (chain, folder) = (Chain::new(), tempfile::tempdir().unwrap());
    let node = follow(&chain, &folder);
    assert!(node.can_write());
    hold_the_index_up(&node, true);
    assert!(!node.can_write());
    let blocks: Vec<Block> = (1..=200).map(|at| chain.grow(TimestampNs(at))).collect();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            blocks
                .iter()
                .for_each(|block| node.supply(block.clone()).unwrap())
        });
        eventually("blocks are taken in as far as there is room", || {
            node.supplied_height() >= Height(64)
        });
        // Whoever supplies waits by now, or soon, and nobody waits for him.
        assert!(node.supplied_height() < Height(200));
        refused_for_room(promote(&node, &chain, || unreachable!("no term begins")));
        hold_the_index_up(&node, false);
    });
    eventually("all are applied", || node.status().height == Height(200));
    promote(&node, &chain, || ()).unwrap();
    assert!(!node.status().follows);
    node.stop();
}

#[test]
fn a_promotion_gives_up_when_the_index_is_held_up_behind_the_new_term_and_may_be_tried_again() {
    let (chain, folder) = (Chain::new(), tempfile::tempdir().unwrap());
    let node = follow(&chain, &folder);
    (1..=3).for_each(|at| drop(chain.grow(TimestampNs(at))));
    let held_up = node.clone();
    refused_for_room(promote(&node, &chain, move || hold_the_index_up(&held_up, true)));
    assert!(node.status().follows, "it goes on as before");
    hold_the_index_up(&node, false);
    eventually("all are applied", || node.status().height == Height(4));
    node.supply(chain.grow(TimestampNs(5))).unwrap();
    promote(&node, &chain, || ()).unwrap();
    assert_eq!(node.supplied_height(), Height(6));
    assert!(matches!(
        promote(&node, &chain, || unreachable!("no term begins")),
        Err(NodeError::NotFollowing)
    ));
    node.stop();
}

#[test]
fn a_promotion_that_another_term_overtook_has_stepped_down_and_contradicts_nothing() {
    let (chain, folder) = (Chain::new(), tempfile::tempdir().unwrap());
    let node = follow(&chain, &folder);
    node.supply(chain.grow(TimestampNs(1))).unwrap();
    let (others, supplied) = (chain.clone(), node.clone());
    let overtaken = promote(&node, &chain, move || {
        let ours = others.last().unwrap();
        for block in [ours, others.grow(TimestampNs(3))] {
            supplied.supply(block).unwrap();
        }
    });
    let error = overtaken.expect_err("another one writes");
    assert!(
        matches!(error, NodeError::Append(AppendError::SteppedDown)),
        "{error}"
    );
    assert!(node.status().follows);
    node.supply(chain.grow(TimestampNs(4))).unwrap();
    eventually("it follows on", || node.status().height == Height(4));
    node.stop();
}

#[test]
fn blocks_that_were_made_long_ago_do_not_tell_that_the_writer_is_at_work() {
    let (chain, folder) = (Chain::new(), tempfile::tempdir().unwrap());
    let node = follow(&chain, &folder);
    node.supply(chain.grow(TimestampNs(1))).unwrap();
    eventually("it is applied", || node.status().height == Height(1));
    assert!(node.last_block().is_none(), "it is caught up with");
    node.supply(chain.grow(node.clock().now())).unwrap();
    assert!(node.last_block().is_some());
    node.stop();
}
