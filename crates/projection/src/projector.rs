//! The steps. Owns: which block may follow what the tables hold, and what is done after a failure.
//! Invariant: tables and height move together, and only along the journal that they came from.

use crate::line::Line;
use crate::replica::Replica;
use crate::rows::Changes;
use crate::target::{Candidate, Target};
use crate::{Metrics, Pace, Position, ProjectionError, ServerOptions, Source};
use journal::Block;
use ledger::Height;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Moves the tables of one database along one journal. After an error nothing is known of the tables: drop it and
/// open another one.
pub struct Projector {
    source: Box<dyn Source>,
    target: Target,
    replica: Replica,
    position: Position,
    changes: Changes,
    metrics: Arc<Metrics>,
    /// Whether the block at our height was seen to have our hash since the start.
    is_lineage_checked: bool,
    line: Line,
}

/// What a step came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stepped {
    /// Where the tables stand.
    pub position: Position,
    /// The last final block, as far as is known.
    pub head: Height,
    /// Blocks that were taken in.
    pub blocks: u64,
}

impl Projector {
    /// Connects, and reads where the tables stand and what they hold.
    ///
    /// # Errors
    /// [`ProjectionError`].
    pub fn open(
        source: Box<dyn Source>,
        target: &ServerOptions,
        metrics: Arc<Metrics>,
    ) -> Result<Self, ProjectionError> {
        Self::begin(source, Candidate::open(target)?, metrics)
    }

    fn begin(
        mut source: Box<dyn Source>,
        candidate: Candidate,
        metrics: Arc<Metrics>,
    ) -> Result<Self, ProjectionError> {
        let target = Target::open(candidate)?;
        let (position, replica) = target.load()?;
        metrics.stands_at(&position);
        let line = Line::new(source.log()?.is_some());
        Ok(Self {
            source,
            target,
            replica,
            position,
            changes: Changes::default(),
            metrics,
            is_lineage_checked: false,
            line,
        })
    }

    /// Where the tables stand.
    #[must_use]
    pub fn position(&self) -> Position {
        self.position
    }

    /// Takes in the final blocks that are there, about as many as hold `rows` transfers at most, in one transaction. Stands
    /// back while the journal's standbys lack what was logged: the writer's commits wait behind it.
    ///
    /// # Errors
    /// [`ProjectionError::Lineage`] when the journal is not the one that the tables came from; others as they come.
    pub fn step(&mut self, rows: usize) -> Result<Stepped, ProjectionError> {
        let started = Instant::now();
        let rows = rows.min(self.line.step_rows());
        let mut head = self.source.refresh()?;
        self.check_lineage(head)?;
        self.changes.clear();
        let accounts_before = self.replica.accounts();
        let mut blocks = 0;
        let from = Height(self.position.height.0 + 1);
        if from <= head {
            // Through the reader alone, so that the rest of us can be changed meanwhile.
            let Self {
                source,
                replica,
                changes,
                position,
                target,
                ..
            } = &mut *self;
            for block in source.reader().scan(from) {
                take_in(
                    replica,
                    changes,
                    position,
                    accounts_before,
                    target.partition_ns(),
                    &block?,
                )?;
                blocks += 1;
                if changes.transfers.rows() + changes.accounts.rows() >= rows as u64 {
                    break;
                }
            }
        } else {
            for block in self.source.newest(self.position.height)? {
                let Self {
                    replica,
                    changes,
                    position,
                    target,
                    ..
                } = &mut *self;
                take_in(
                    replica,
                    changes,
                    position,
                    accounts_before,
                    target.partition_ns(),
                    &block,
                )?;
                blocks += 1;
            }
            head = head.max(self.changes.height).max(self.position.height);
        }
        if blocks > 0 {
            self.changes.finish(&self.replica, accounts_before);
            let (source, line, metrics) = (&mut *self.source, &mut self.line, &*self.metrics);
            let mut room = |wanted| room(wanted, source, line, metrics);
            self.position = self
                .target
                .commit(&self.position, &self.changes, &self.replica, &mut room)?;
            self.is_lineage_checked = true;
        }
        self.metrics
            .stepped(&self.position, head, blocks, started.elapsed());
        Ok(Stepped {
            position: self.position,
            head,
            blocks,
        })
    }

    /// Once, as soon as the journal shows the block at our height: it must be the one that we took in. Later blocks
    /// are checked one against the other.
    fn check_lineage(&mut self, head: Height) -> Result<(), ProjectionError> {
        let height = self.position.height;
        if self.is_lineage_checked || height > head || height == Height(0) {
            return Ok(());
        }
        let found = self.source.reader().read(height)?;
        if found.hash != self.position.hash {
            return Err(lineage(&self.position, hex(&found.hash.0)));
        }
        self.is_lineage_checked = true;
        Ok(())
    }
}

/// How many of the rows that are wanted the next piece may write, once the line has room for it. Without enough standbys nobody's commit waits behind it,
/// and after a while the tables move on.
fn room(
    wanted: usize,
    source: &mut dyn Source,
    line: &mut Line,
    metrics: &Metrics,
) -> Result<usize, ProjectionError> {
    let began = Instant::now();
    let mut pause = STANDS_BACK_PAUSE;
    metrics.is_due_within(STEP_WITHIN);
    while let Some(log) = source.log()? {
        let now = Instant::now();
        if line.is_free(now, log) || now - began > STANDS_BACK_WITHIN {
            return Ok(line.grant(wanted, now, log));
        }
        std::thread::sleep(pause);
        pause = (2 * pause).min(STANDS_BACK_PAUSE_MAX);
    }
    Ok(wanted)
}

/// Applies a block if it is the one that follows.
fn take_in(
    replica: &mut Replica,
    changes: &mut Changes,
    position: &Position,
    accounts_before: u32,
    partition_ns: u64,
    block: &Block,
) -> Result<(), ProjectionError> {
    let (height, hash) = match changes.height {
        Height(0) => (position.height, position.hash),
        height => (height, changes.hash),
    };
    if block.shard != position.shard || block.height.0 != height.0 + 1 || block.previous != hash {
        return Err(lineage(
            position,
            format!("block {} after {}", block.height, hex(&block.previous.0)),
        ));
    }
    replica.apply(block, |outcome| {
        changes.outcome(outcome, accounts_before, partition_ns)
    })?;
    changes.block(block);
    Ok(())
}

fn lineage(position: &Position, found: String) -> ProjectionError {
    ProjectionError::Lineage {
        height: position.height,
        projected: hex(&position.hash.0),
        found,
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The longest wait before another attempt.
const BACKOFF_MAX: Duration = Duration::from_secs(5);
const BACKOFF_MIN: Duration = Duration::from_millis(200);
/// Between two questions for the turn: what a take-over waits for at most.
const TURN_PAUSE: Duration = Duration::from_secs(1);
/// Between two looks at what is under way, the first ones.
const STANDS_BACK_PAUSE: Duration = Duration::from_millis(1);
const STANDS_BACK_PAUSE_MAX: Duration = Duration::from_millis(20);
/// The tables move on then all the same.
const STANDS_BACK_WITHIN: Duration = Duration::from_secs(10);
/// A piece of a step, or one question, that takes longer hangs at a server that is frozen.
const STEP_WITHIN: Duration = Duration::from_secs(30);
/// All accounts are read, however many there are.
const LOAD_WITHIN: Duration = Duration::from_secs(900);

/// Keeps the tables of a database behind a journal until told otherwise, whatever fails meanwhile and may pass.
/// `source` opens the journal; `wait` waits so long and says whether to go on; `each` is told of every step.
///
/// # Errors
/// [`ProjectionError`] that does not pass by itself.
pub fn run(
    mut source: impl FnMut() -> Result<Box<dyn Source>, ProjectionError>,
    target: &ServerOptions,
    pace: Pace,
    metrics: &Arc<Metrics>,
    mut wait: impl FnMut(Duration) -> bool,
    mut each: impl FnMut(&Stepped),
) -> Result<(), ProjectionError> {
    let mut backoff = BACKOFF_MIN;
    loop {
        metrics.is_due_within(STEP_WITHIN);
        let opened = match candidate(target, pace, metrics, &mut wait) {
            Ok(None) => return Ok(()),
            Ok(Some(candidate)) => {
                metrics.is_due_within(LOAD_WITHIN);
                source().and_then(|source| Projector::begin(source, candidate, metrics.clone()))
            }
            Err(error) => Err(error),
        };
        metrics.moves_tables(opened.is_ok());
        let failed = match opened {
            Ok(mut projector) => loop {
                metrics.is_due_within(STEP_WITHIN + pace.interval);
                let started = Instant::now();
                match projector.step(pace.step_rows) {
                    Ok(stepped) => {
                        backoff = BACKOFF_MIN;
                        each(&stepped);
                        let is_behind = stepped.position.height < stepped.head;
                        let rest = pace.interval.saturating_sub(started.elapsed());
                        let rest = if is_behind { Duration::ZERO } else { rest };
                        if !wait(rest) {
                            return Ok(());
                        }
                    }
                    Err(error) => break error,
                }
            },
            Err(error) => error,
        };
        metrics.moves_tables(false);
        metrics.is_due_within(STEP_WITHIN);
        metrics.failed();
        // Who moved the tables may have been a rebuild: they are read again, and the journal is compared.
        if !failed.is_transient() && !matches!(failed, ProjectionError::Moved { .. }) {
            return Err(failed);
        }
        tracing::warn!(code = failed.code(), error = %failed, "the projection stands still; it tries again");
        if !wait(backoff) {
            return Ok(());
        }
        backoff = (backoff * 2).min(BACKOFF_MAX);
    }
}

/// A session with the turn, if turns are waited for; none when told to stop meanwhile.
fn candidate(
    target: &ServerOptions,
    pace: Pace,
    metrics: &Metrics,
    wait: &mut impl FnMut(Duration) -> bool,
) -> Result<Option<Candidate>, ProjectionError> {
    let candidate = Candidate::open(target)?;
    while pace.waits_for_turn && !candidate.takes_turn()? {
        metrics.is_due_within(STEP_WITHIN);
        if !wait(TURN_PAUSE) {
            return Ok(None);
        }
    }
    Ok(Some(candidate))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Log;
    use journal::BlockReader;

    /// Standbys that have a little more at each look.
    struct Slow(Log);

    impl Source for Slow {
        fn refresh(&mut self) -> Result<Height, ProjectionError> {
            unreachable!("no block is asked for")
        }

        fn reader(&self) -> &dyn BlockReader {
            unreachable!("no block is asked for")
        }

        fn newest(&mut self, _: Height) -> Result<Vec<Block>, ProjectionError> {
            unreachable!("no block is asked for")
        }

        fn log(&mut self) -> Result<Option<Log>, ProjectionError> {
            self.0.carried += 10 << 10;
            Ok(Some(self.0))
        }
    }

    #[test]
    fn a_piece_waits_until_the_standbys_have_the_last_one() {
        let mut slow = Slow(Log {
            logged: 1 << 20,
            flushed: 1 << 20,
            carried: 0,
            checkpoints: 0,
        });
        let (mut line, metrics) = (Line::new(true), Metrics::default());
        let mut next = |slow: &mut Slow| room(1_000_000, slow, &mut line, &metrics).unwrap();
        let rows = next(&mut slow);
        assert!((8..1_000_000).contains(&rows), "{rows}");
        slow.0.logged += 64 << 10;
        slow.0.flushed = slow.0.logged;
        let _ = next(&mut slow);
        assert!(slow.0.carried >= slow.0.logged, "{:?}", slow.0);
    }
}
