//! How much may be logged at once (pure). Owns: how soon the journal's standbys had the last piece, and what rows were seen
//! to log.
//!
//! The tables' rows reach the same standbys as the journal's blocks, through the same log: a commit of the writer's waits until
//! they have what was logged before it. A line says nothing of becoming a bad one, so never more than about one piece is under
//! way, and a piece is small even where the line carries much. An id is anywhere in its index, so after a checkpoint began a row
//! may log every page that it touches whole: a hundred times its own size, until most pages were touched once.

use crate::Log;
use std::time::{Duration, Instant};

/// What a row logs at worst: whole pages of three indexes by id and of two accounts, compressed.
const ROW_BYTES_MAX: u64 = 24 << 10;
const ROW_BYTES_MIN: u64 = 256;
/// A bad line carries it in 2 to 4 s, and a good one with tables that log whole pages takes twenty rows.
const PIECE_BYTES_MAX: u64 = 512 << 10;
/// Of a line of which nothing is known.
const PIECE_BYTES_FIRST: u64 = 64 << 10;
const PIECE_BYTES_MIN: u64 = 16 << 10;
const PIECE_ROWS_MIN: u64 = 8;
const PIECE_ROWS_MAX: u64 = 2_048;
/// A piece that was carried sooner may be followed by a larger one, one that took twice as long is by a smaller one.
const SOON: Duration = Duration::from_millis(250);
/// So many pieces make a step.
const STEP_PIECES: usize = 32;

/// What is known of the lines, and of rows.
pub(crate) struct Line {
    is_there: bool,
    piece_bytes: u64,
    row_bytes: u64,
    last: Option<Piece>,
}

/// Rows that were written after a look.
struct Piece {
    rows: u64,
    before: Log,
    /// When the piece was first seen to be written, and where the log ended then.
    written: Option<(Instant, u64)>,
}

impl Line {
    /// Nothing yet but whether there is a line to look at.
    pub(crate) fn new(is_there: bool) -> Self {
        Self {
            is_there,
            piece_bytes: PIECE_BYTES_FIRST,
            row_bytes: ROW_BYTES_MAX,
            last: None,
        }
    }

    /// Rows after which a step is to end; without limit where there is no line to look at.
    pub(crate) fn step_rows(&self) -> usize {
        match self.is_there {
            true => self.piece_rows() as usize * STEP_PIECES,
            false => usize::MAX,
        }
    }

    /// Takes a look in, and says whether the next piece may be written: once the standbys have the last one.
    pub(crate) fn is_free(&mut self, now: Instant, log: Log) -> bool {
        let Some(piece) = &mut self.last else {
            return true;
        };
        let (rows, before) = (piece.rows, piece.before);
        let (at, end) = match piece.written {
            Some(written) => written,
            None => {
                let written = (now, log.logged);
                piece.written = Some(written);
                self.learn_row(rows, before, log);
                written
            }
        };
        // What lies in memory is not on its way, and is flushed when a commit or time wants it. Little of it may gather.
        let in_memory = log.logged.saturating_sub(log.flushed);
        if log.carried < end.min(log.flushed) || in_memory > self.piece_bytes / 2 {
            return false;
        }
        if log.carried >= end {
            self.last = None;
            let bytes = end.saturating_sub(before.logged);
            self.learn_time(bytes, now.saturating_duration_since(at));
        }
        true
    }

    /// How many of so many rows the next piece, which is written right after this look, may have.
    pub(crate) fn grant(&mut self, wanted: usize, now: Instant, log: Log) -> usize {
        // Others logged more than the line carries, or nobody is at its end.
        if let Some(Piece {
            before,
            written: Some((at, end)),
            ..
        }) = self.last.take()
        {
            let bytes = end.saturating_sub(before.logged);
            self.learn_time(bytes, now.saturating_duration_since(at).max(SOON));
        }
        let rows = self.piece_rows().min(wanted as u64);
        self.last = Some(Piece {
            rows,
            before: log,
            written: None,
        });
        rows as usize
    }

    /// As if rows logged twice what they did of late: the next ones may lie less well.
    fn piece_rows(&self) -> u64 {
        let row_bytes = (2 * self.row_bytes).min(ROW_BYTES_MAX);
        (self.piece_bytes / row_bytes).clamp(PIECE_ROWS_MIN, PIECE_ROWS_MAX)
    }

    /// Whoever else logged something meanwhile, as between two steps, makes rows look larger, which is on the safe side.
    fn learn_row(&mut self, rows: u64, before: Log, log: Log) {
        let measured = log.logged.saturating_sub(before.logged) / rows.max(1);
        let measured = measured.clamp(ROW_BYTES_MIN, ROW_BYTES_MAX);
        self.row_bytes = match () {
            () if log.checkpoints != before.checkpoints => ROW_BYTES_MAX,
            () if measured > self.row_bytes => measured,
            () => self.row_bytes - (self.row_bytes - measured) / 4,
        };
    }

    /// After a piece that was long under way with what was logged beside it, the next ones are what would have been carried soon.
    fn learn_time(&mut self, bytes: u64, time: Duration) {
        let carried_soon = u128::from(2 * bytes) * 2 * SOON.as_micros() / time.as_micros().max(1);
        let bytes = match () {
            () if time < SOON => 2 * self.piece_bytes,
            () if time < 2 * SOON => self.piece_bytes,
            () => self.piece_bytes.min(carried_soon as u64),
        };
        self.piece_bytes = bytes.clamp(PIECE_BYTES_MIN, PIECE_BYTES_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn log(logged: u64, carried: u64) -> Log {
        Log {
            logged,
            flushed: logged,
            carried,
            checkpoints: 1,
        }
    }

    /// Standbys that have so much of the log a second later than it was written.
    struct Standbys {
        line: Line,
        now: Instant,
        logged: u64,
        bytes_per_second: u64,
    }

    impl Standbys {
        fn new(bytes_per_second: u64) -> Self {
            Self {
                line: Line::new(true),
                now: Instant::now(),
                logged: 0,
                bytes_per_second,
            }
        }

        /// Writes a piece of rows that log so much, and gives how long it is under way.
        fn write(&mut self, row_bytes: u64) -> (u64, Duration) {
            let before = log(self.logged, self.logged);
            assert!(self.line.is_free(self.now, before), "the last piece was carried");
            let rows = self.line.grant(usize::MAX, self.now, before) as u64;
            let bytes = rows * row_bytes;
            let is_free = self.line.is_free(self.now, log(self.logged + bytes, self.logged));
            assert!(!is_free, "one piece at a time");
            self.logged += bytes;
            let time = Duration::from_micros(bytes * 1_000_000 / self.bytes_per_second);
            self.now += time;
            assert!(self.line.is_free(self.now, log(self.logged, self.logged)));
            (rows, time)
        }
    }

    #[test]
    fn a_good_line_takes_larger_pieces_and_as_it_becomes_a_bad_one_a_single_such_piece_is_under_way() {
        let mut standbys = Standbys::new(100 << 20);
        let (first, _) = standbys.write(300);
        for _ in 0..100 {
            let _ = standbys.write(300);
        }
        let (rows, _) = standbys.write(300);
        assert!(rows > 50 * first, "{rows} after {first}");
        assert!(rows * 300 <= PIECE_BYTES_MAX, "{rows}");

        standbys.bytes_per_second = 150 << 10;
        let (_, longest) = standbys.write(300);
        assert!(longest < 4 * SECOND, "{longest:?}");
        for _ in 0..20 {
            let (_, time) = standbys.write(300);
            assert!(time < longest, "{time:?}");
        }
        let (_, time) = standbys.write(300);
        assert!(time < SECOND, "{time:?}");
    }

    #[test]
    fn rows_that_log_whole_pages_make_small_pieces_again_once_a_checkpoint_begins() {
        let mut standbys = Standbys::new(100 << 20);
        assert_eq!(Line::new(false).step_rows(), usize::MAX, "there may be no line");
        let first = standbys.line.step_rows();
        assert_eq!(first, PIECE_ROWS_MIN as usize * STEP_PIECES);
        for _ in 0..100 {
            let _ = standbys.write(300);
        }
        assert!(standbys.line.step_rows() > 50 * first);
        let Standbys {
            mut line,
            now,
            logged,
            ..
        } = standbys;
        let before = log(logged, logged);
        assert_eq!(line.grant(3, now, before), 3, "no more than are wanted");
        let began = Log {
            checkpoints: 2,
            ..before
        };
        assert!(line.is_free(now, began));
        assert!(line.piece_rows() < 2 * PIECE_BYTES_MAX / ROW_BYTES_MAX);
    }

    #[test]
    fn what_lies_in_memory_is_waited_for_only_when_it_is_much() {
        let (mut line, now) = (Line::new(true), Instant::now());
        let _ = line.grant(usize::MAX, now, log(0, 0));
        let in_memory = |bytes| Log {
            flushed: 0,
            ..log(bytes, 0)
        };
        assert!(line.is_free(now, in_memory(PIECE_BYTES_FIRST / 2)));
        assert!(!line.is_free(now, in_memory(PIECE_BYTES_FIRST)));
    }

    #[test]
    fn pieces_become_small_where_nobody_says_that_they_arrived() {
        let (mut line, mut now) = (Line::new(true), Instant::now());
        let mut logged = 0;
        for _ in 0..5 {
            let _ = line.grant(usize::MAX, now, log(logged, 0));
            logged += 100_000;
            assert!(!line.is_free(now, log(logged, 0)));
            now += 10 * SECOND;
            assert!(!line.is_free(now, log(logged, 0)));
        }
        let _ = line.grant(usize::MAX, now, log(logged, 0));
        assert_eq!(line.piece_bytes, PIECE_BYTES_MIN);
    }
}
