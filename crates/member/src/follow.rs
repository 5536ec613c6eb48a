//! Where a follower's blocks come from. Owns: the thread that reads the journal for it. A server that does not answer
//! holds up this thread and no other.

use journal::BlockReader;
use journal_postgres::PostgresReader;
use ledger::Height;
use node::{Node, NodeError};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How often the journal is looked at.
const LOOK: Duration = Duration::from_millis(20);
/// The same while the writer itself tells of its blocks.
const LOOK_WHILE_FED: Duration = Duration::from_secs(1);
/// The pause after a failed look.
const PAUSE: Duration = Duration::from_millis(250);
/// How long a server may show nothing new, while the writer does not tell of its blocks either, before another one is
/// looked at: a standby that has lost its primary answers, and stands still.
const STALE_AFTER: Duration = Duration::from_secs(5);

/// Supplies the node with what is final until it writes, or `stopping`; `is_fed` tells whether the writer does so, too.
///
/// # Errors
/// [`NodeError::Contradiction`]: the process is to stop.
pub(crate) fn run(
    node: &Node,
    blocks: &PostgresReader,
    is_fed: &AtomicBool,
    stopping: &AtomicBool,
) -> Result<(), NodeError> {
    let mut is_away = false;
    let (mut height, mut moved) = (node.supplied_height(), Instant::now());
    while !stopping.load(Ordering::Relaxed) {
        match catch_up(node, blocks) {
            Ok(()) => {
                if std::mem::take(&mut is_away) {
                    tracing::info!("the journal can be read again");
                }
                let looked = Instant::now();
                if is_fed.load(Ordering::Relaxed) || node.supplied_height() != height {
                    (height, moved) = (node.supplied_height(), looked);
                } else if moved.elapsed() > STALE_AFTER {
                    blocks.look_elsewhere();
                    moved = looked;
                }
                let pause = || match is_fed.load(Ordering::Relaxed) {
                    true => LOOK_WHILE_FED,
                    false => LOOK,
                };
                while looked.elapsed() < pause() && !stopping.load(Ordering::Relaxed) {
                    std::thread::sleep(LOOK);
                }
            }
            Err(NodeError::NotFollowing) => return Ok(()),
            Err(NodeError::Journal(error)) => {
                if !std::mem::replace(&mut is_away, true) {
                    tracing::warn!(code = "MEM-0101", %error, "the journal cannot be read; the follower falls behind");
                }
                std::thread::sleep(PAUSE);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn catch_up(node: &Node, blocks: &PostgresReader) -> Result<(), NodeError> {
    blocks.look()?;
    let next = Height(node.supplied_height().0 + 1);
    for block in blocks.scan(next) {
        node.supply(block?)?;
    }
    Ok(())
}
