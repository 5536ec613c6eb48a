//! How a follower is told of blocks, and becomes the writer. Owns: what it was supplied with, in which order, and what makes a
//! promotion give up.
//!
//! Invariant: nobody waits for the disk or the index while holding the head, so that anyone may ask for it at any time.

use super::{Node, random_u128};
use crate::clock::Clock;
use crate::inbox::{Promotion, Room};
use crate::{NodeError, shared::Shared};
use journal::{AppendError, Block, Head, Journal, Term, WriterId};
use ledger::{Height, TimestampNs};
use std::io;
use std::sync::MutexGuard;
use std::time::{Duration, Instant};

/// How often a wait looks whether it is in vain.
const LOOK: Duration = Duration::from_millis(20);
/// After how long without a further block applied a promotion gives up at a node that could take no writes anyway.
const STUCK_AFTER: Duration = Duration::from_secs(2);
/// A block that was made longer ago tells nothing about the writer of now.
const FRESH_NS: u64 = 1_000_000_000;

/// What the node was told of.
pub(super) struct Supplied {
    /// The last block that was recovered or supplied; a writer's does not move.
    head: Head,
    /// A promotion is under way behind the last block: no further one fits.
    is_closed: bool,
}

impl Supplied {
    /// All up to that block.
    pub(super) fn up_to(head: Head) -> Self {
        let is_closed = false;
        Self { head, is_closed }
    }
}

impl Node {
    /// Tells a follower of the next block, which is final by the word of whoever calls. One that it has is passed over.
    /// Waits while many blocks are not yet applied; blocking.
    ///
    /// # Errors
    /// [`NodeError::Contradiction`] when the block does not follow the one before: one of the two was not final, and the
    /// node is to be stopped. [`NodeError::NotFollowing`].
    pub fn supply(&self, mut block: Block) -> Result<(), NodeError> {
        loop {
            while !self.inner.shared.inbox.wait_for_room(LOOK) {}
            match self.take_in(block)? {
                None => return Ok(()),
                // A promotion is under way: it makes a writer, or a follower again.
                Some(back) => block = back,
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Takes a block in that fits, whether there is room or not; gives it back while a promotion is under way. Must not wait.
    fn take_in(&self, block: Block) -> Result<Option<Block>, NodeError> {
        let shared = &self.inner.shared;
        let mut supplied = self.supplied();
        if !shared.inbox.follows() || shared.inbox.stopping() {
            return Err(NodeError::NotFollowing);
        }
        if supplied.is_closed {
            return Ok(Some(block));
        }
        let (height, head) = (block.height, supplied.head);
        let fits = match height.0.checked_sub(head.height.0) {
            Some(1) => block.previous == head.hash,
            Some(0) => block.hash == head.hash,
            // What stood there was checked when it came.
            None => true,
            Some(_) => false,
        };
        if !fits {
            return Err(NodeError::Contradiction { height });
        }
        if height > head.height {
            supplied.head = Head::of(&block);
            if is_fresh(block.last_event_timestamp(), self.inner.clock.now()) {
                shared.last_block.is_now();
            }
            shared.inbox.supply(block);
        }
        Ok(None)
    }

    /// Makes a follower the writer: begins a term on the journal, takes in what others appended meanwhile, and writes from
    /// there. Blocking, as long as the journal does; it does not wait for a node that [could not write](Node::can_write).
    ///
    /// # Errors
    /// [`NodeError::Append`] when no term begins, or the node could take no writes (`Full`), and
    /// [`NodeError::Journal`] with `Io` when the journal cannot be read right now: the node still follows, and may be promoted
    /// with another call, on a journal that was opened anew ([`NodeError::is_passing`]). [`NodeError::NotFollowing`] when it
    /// writes already. After any other the node is to be stopped.
    pub fn promote(&self, mut journal: Box<dyn Journal>) -> Result<Term, NodeError> {
        let one_at_a_time = self.inner.promoting.lock();
        let _one_at_a_time = one_at_a_time.expect("no thread panics while it promotes");
        let shared = &self.inner.shared;
        if !shared.inbox.follows() {
            return Err(NodeError::NotFollowing);
        }
        if let Some(obstacle) = shared.obstacle() {
            return Err(cannot_write(obstacle));
        }
        let term = journal.begin_term(WriterId(random_u128()), self.inner.clock.now())?;
        let blocks = journal.reader();
        for block in blocks.scan(Height(self.supplied_height().0 + 1)) {
            wait_until(shared, |patience| shared.inbox.wait_for_room(patience))?;
            self.take_in(block?)?;
        }
        self.close(journal.head())?;
        shared.inbox.promote(Promotion { journal, term });
        if let Err(error) = wait_until(shared, |patience| shared.inbox.wait_for_promotion(patience)) {
            if shared.inbox.withdraw_promotion().is_some() {
                self.supplied().is_closed = false;
                return Err(error);
            }
            // It is being carried out at this moment.
            while !shared.inbox.wait_for_promotion(LOOK) {}
        }
        self.inner.journal.set(blocks);
        Ok(term)
    }

    /// Takes no more blocks, all up to the journal's head being in.
    fn close(&self, head: Head) -> Result<(), NodeError> {
        let mut supplied = self.supplied();
        if supplied.head.height > head.height {
            // Another writer's, which began a term meanwhile.
            return Err(AppendError::SteppedDown.into());
        }
        if supplied.head != head {
            return Err(NodeError::Contradiction { height: head.height });
        }
        supplied.is_closed = true;
        Ok(())
    }

    /// Whether this node could take writes, now or once it is promoted, as far as it depends on itself: its own disk has room and
    /// its index is not further behind than it may be. Cheap; a node that could not should not stand for election.
    #[must_use]
    pub fn can_write(&self) -> bool {
        self.inner.shared.obstacle().is_none()
    }

    /// Where the journal stood as this node saw it last before it wrote: the last block that it recovered or was supplied with;
    /// after a promotion the one that began the term. Never waits for the disk.
    #[must_use]
    pub fn supplied_head(&self) -> Head {
        self.supplied().head
    }

    /// The last block that a follower was supplied with, or that was recovered.
    #[must_use]
    pub fn supplied_height(&self) -> Height {
        self.supplied_head().height
    }

    fn supplied(&self) -> MutexGuard<'_, Supplied> {
        let supplied = self.inner.supplied.lock();
        supplied.expect("no thread panics with the head")
    }
}

/// Waits until `is_done`, which waits for as long as it is given. Gives up when the disk is full, or when the node applies no
/// more blocks and could not write.
fn wait_until(shared: &Shared, is_done: impl Fn(Duration) -> bool) -> Result<(), NodeError> {
    let applied = || *shared.durable.borrow();
    let mut progress = (applied(), Instant::now());
    while !is_done(LOOK) {
        if progress.0 != applied() {
            progress = (applied(), Instant::now());
        }
        let is_stuck = shared.inbox.is_full(Room::OwnDisk) || progress.1.elapsed() > STUCK_AFTER;
        if let Some(obstacle) = shared.obstacle().filter(|_| is_stuck) {
            return Err(cannot_write(obstacle));
        }
    }
    Ok(())
}

fn cannot_write(obstacle: &'static str) -> NodeError {
    AppendError::Full(io::Error::new(io::ErrorKind::StorageFull, obstacle)).into()
}

/// Whether a block of that time was made right before: its writer was at work then. A clock that is behind the writer's says yes.
fn is_fresh(made: TimestampNs, now: TimestampNs) -> bool {
    now.0.saturating_sub(made.0) < FRESH_NS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_block_that_was_made_within_the_last_second_tells_of_its_writer() {
        let now = TimestampNs(5_000_000_000);
        for (made, fresh) in [
            (1, false),
            (4_000_000_000, false),
            (4_000_000_001, true),
            (6_000_000_000, true),
        ] {
            assert_eq!(is_fresh(TimestampNs(made), now), fresh, "{made}");
        }
    }
}
