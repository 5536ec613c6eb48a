//! How much may be logged at once (pure). Owns: what the lines to the journal's standbys were seen to carry, and what rows were
//! seen to log.
//!
//! The tables' rows reach the same standbys as the journal's blocks, through the same log: a commit of the writer's waits until
//! they have what was logged before it. An id is anywhere in its index, so after a checkpoint began a row may log every page
//! that it touches whole: a hundred times its own size, until most pages were touched once.

use crate::Log;
use std::time::{Duration, Instant};

/// What a row logs at worst: whole pages of three indexes by id and of two accounts, compressed.
const ROW_BYTES_MAX: u64 = 24 << 10;
const ROW_BYTES_MIN: u64 = 256;
/// So long may a commit wait behind a piece.
const BEHIND_A_PIECE: Duration = Duration::from_secs(1);
/// So much may always be under way: it holds nobody up, and the newest record may lie in memory until something follows it.
const UNDER_WAY_BYTES_MIN: u64 = 128 << 10;
/// What a line carries, as long as nothing is known of it.
const FIRST_BYTES_PER_SECOND: u64 = 256 << 10;
/// A rate above that is no longer believed in when nothing confirmed it for so long, roughly.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(10);
const PIECE_ROWS_MIN: u64 = 8;
const PIECE_ROWS_MAX: u64 = 2_048;
/// Two looks closer than that tell nothing of the rate.
const LOOK: Duration = Duration::from_millis(100);
/// So many pieces make a step.
const STEP_PIECES: usize = 32;

/// What is known of the lines, and of rows.
pub(crate) struct Line {
    bytes_per_second: u64,
    row_bytes: u64,
    /// Where enough standbys stood, and whether more than allowed was under way since.
    seen: Option<(Instant, u64, bool)>,
    /// How many rows the last piece had, and the log before it.
    granted: Option<(u64, Log)>,
}

impl Line {
    /// Nothing yet.
    pub(crate) fn new() -> Self {
        Self {
            bytes_per_second: FIRST_BYTES_PER_SECOND,
            row_bytes: ROW_BYTES_MAX,
            seen: None,
            granted: None,
        }
    }

    /// Rows after which a step is to end; without limit where there is no line to look at.
    pub(crate) fn step_rows(&self) -> usize {
        match self.seen {
            Some(_) => self.piece_rows() as usize * STEP_PIECES,
            None => usize::MAX,
        }
    }

    /// Takes a look in, and says whether the next piece may be written.
    pub(crate) fn is_free(&mut self, now: Instant, log: Log) -> bool {
        self.learn_row(log);
        let under_way = log.logged.saturating_sub(log.carried);
        let allowed = (self.carried_within(BEHIND_A_PIECE) / 2).max(UNDER_WAY_BYTES_MIN);
        let is_free = under_way <= allowed;
        match self.seen {
            Some((at, carried, was_full)) if carried <= log.carried => {
                let time = now.saturating_duration_since(at);
                if time < LOOK {
                    self.seen = Some((at, carried, was_full && !is_free));
                    return is_free;
                }
                self.learn_rate(log.carried - carried, time, was_full && !is_free);
            }
            // The first look, or another server's log.
            _ => {}
        }
        self.seen = Some((now, log.carried, !is_free));
        is_free
    }

    /// How many of so many rows the next piece, which is written right after this look, may have.
    pub(crate) fn grant(&mut self, wanted: usize, log: Log) -> usize {
        let rows = self.piece_rows().min(wanted as u64);
        self.granted = Some((rows, log));
        rows as usize
    }

    /// As if rows logged four times what they did of late: the next ones may lie less well, and a checkpoint may begin.
    fn piece_rows(&self) -> u64 {
        let row_bytes = (4 * self.row_bytes).min(ROW_BYTES_MAX);
        let rows = self.carried_within(BEHIND_A_PIECE) / row_bytes;
        rows.clamp(PIECE_ROWS_MIN, PIECE_ROWS_MAX)
    }

    /// Whoever else logged something meanwhile makes rows look larger, which is on the safe side.
    fn learn_row(&mut self, log: Log) {
        let Some((rows, before)) = self.granted.take() else {
            return;
        };
        let measured = log.logged.saturating_sub(before.logged) / rows.max(1);
        let measured = measured.clamp(ROW_BYTES_MIN, ROW_BYTES_MAX);
        self.row_bytes = match () {
            () if log.checkpoints != before.checkpoints => ROW_BYTES_MAX,
            () if measured > self.row_bytes => measured,
            () => self.row_bytes - (self.row_bytes - measured) / 4,
        };
    }

    /// A line that was full all the time carries what it can; another one at least what it did, and as much as before only for a
    /// while: it may have become a bad one that nobody has filled since.
    fn learn_rate(&mut self, bytes: u64, time: Duration, was_full: bool) {
        let rate = (u128::from(bytes) * 1_000_000 / time.as_micros().max(1)) as u64;
        let before = self.bytes_per_second;
        self.bytes_per_second = match was_full {
            true => before.midpoint(rate),
            false => {
                let excess = before.saturating_sub(FIRST_BYTES_PER_SECOND);
                let left = FORGOTTEN_AFTER.saturating_sub(time).as_millis() as u64;
                let kept = excess / FORGOTTEN_AFTER.as_millis() as u64 * left;
                rate.max(before - excess + kept)
            }
        };
    }

    fn carried_within(&self, time: Duration) -> u64 {
        (u128::from(self.bytes_per_second) * time.as_millis() / 1_000) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn log(logged: u64, carried: u64) -> Log {
        let checkpoints = 1;
        Log {
            logged,
            carried,
            checkpoints,
        }
    }

    #[test]
    fn a_line_that_carries_more_takes_larger_pieces_for_a_while() {
        let (mut line, begin) = (Line::new(), Instant::now());
        let first = line.piece_rows();
        for second in 0..5 {
            let at = begin + Duration::from_secs(second);
            assert!(line.is_free(at, log(40 * MIB * second, 40 * MIB * second)));
        }
        assert!(line.piece_rows() > 10 * first, "{}", line.piece_rows());
        for (second, times) in [(6, 10), (40, 0)] {
            let at = begin + Duration::from_secs(second);
            assert!(
                line.is_free(at, log(160 * MIB, 160 * MIB)),
                "nobody logs anything"
            );
            let rows = line.piece_rows();
            assert!(
                rows > times * first && (times > 0 || rows == first),
                "{second} s: {rows}"
            );
        }
    }

    #[test]
    fn a_line_that_is_full_and_carries_little_takes_small_pieces() {
        let (mut line, begin) = (Line::new(), Instant::now());
        assert_eq!(line.step_rows(), usize::MAX, "there may be no line at all");
        for tenth in 0..100 {
            let at = begin + Duration::from_millis(100 * tenth);
            assert!(!line.is_free(at, log(50 * MIB, 20_000 * tenth)));
        }
        assert_eq!(line.piece_rows(), PIECE_ROWS_MIN);
        assert_eq!(line.step_rows(), PIECE_ROWS_MIN as usize * STEP_PIECES);
        let at = begin + Duration::from_secs(11);
        assert!(line.is_free(at, log(50 * MIB, 50 * MIB - UNDER_WAY_BYTES_MIN)));
    }

    #[test]
    fn looks_that_follow_each_other_closely_say_what_is_under_way_and_nothing_of_the_rate() {
        let (mut line, begin) = (Line::new(), Instant::now());
        assert!(line.is_free(begin, log(0, 0)));
        assert!(line.is_free(begin + Duration::from_micros(50), log(100 * MIB, 100 * MIB)));
        assert!(!line.is_free(begin + Duration::from_micros(90), log(200 * MIB, 100 * MIB)));
        assert_eq!(line.bytes_per_second, FIRST_BYTES_PER_SECOND);
    }

    #[test]
    fn another_servers_log_begins_anew() {
        let (mut line, begin) = (Line::new(), Instant::now());
        assert!(line.is_free(begin, log(500 * MIB, 500 * MIB)));
        assert!(line.is_free(begin + Duration::from_secs(1), log(100 * MIB, 100 * MIB)));
        assert_eq!(line.bytes_per_second, FIRST_BYTES_PER_SECOND);
    }

    #[test]
    fn rows_that_log_little_make_pieces_larger_until_a_checkpoint_begins() {
        let (mut line, begin) = (Line::new(), Instant::now());
        let first = line.piece_rows();
        assert_eq!(line.grant(3, log(0, 0)), 3, "no more than are wanted");
        let mut at = 0;
        for _ in 0..40 {
            let rows = line.grant(usize::MAX, log(at, at)) as u64;
            at += rows * 500;
            assert!(line.is_free(begin, log(at, at)));
        }
        assert!(line.piece_rows() > 10 * first, "{}", line.piece_rows());
        line.grant(usize::MAX, log(at, at));
        let checkpoints = 2;
        let later = Log {
            checkpoints,
            ..log(at, at)
        };
        assert!(line.is_free(begin, later));
        assert_eq!(line.piece_rows(), first);
    }
}
