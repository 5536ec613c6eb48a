//! The journal on local segment files. Owns: the append. Must not: spawn threads or read clocks.
//!
//! Only one write is ever in flight: a block is written and synced before the next one is begun. What opening
//! may repair ([`recover`]) rests on that.

mod index;
mod prepare;
mod reader;
mod recover;
mod segment;
mod watermark;

use crate::{
    AppendError, BODY_BYTES_MAX, BlockReader, Draft, Head, Journal, JournalError, Sealer, ShardId, Term,
};
use index::Index;
use ledger::Height;
pub use prepare::{Prepared, Preparer};
use reader::LocalReader;
pub(crate) use recover::{Tail, judge_tail};
pub use segment::holds_segments;
pub(crate) use segment::{Found, PAGE_BYTES, Segment, extent, io_error, list};
use segment::{PADDING, erase, file_name};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use storage::{KeyRing, Storage, StorageFile};
use watermark::Watermark;
pub(crate) use watermark::read as read_watermark;

/// How a local journal is kept.
#[derive(Clone, Copy, Debug)]
pub struct LocalOptions {
    /// Which journal; blocks of another are refused.
    pub shard: ShardId,
    /// Length of a segment in bytes, a multiple of 4,096. Default: 64 MiB. A larger block gets a larger segment.
    pub segment_bytes: u64,
}

impl Default for LocalOptions {
    fn default() -> Self {
        Self {
            shard: ShardId(0),
            segment_bytes: 64 << 20,
        }
    }
}

/// The end of a write that never finished, and was never acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TornTail {
    /// In which segment.
    pub file: PathBuf,
    /// Where it began.
    pub offset: u64,
    /// How many bytes of it there were.
    pub bytes: u64,
}

/// What opening found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// The last block.
    pub head: Head,
    /// What was cut off, if anything.
    pub cut: Option<TornTail>,
}

/// A journal in one directory of one machine. The caller keeps other processes out ([`storage::DirectoryLock`]).
pub struct LocalJournal {
    storage: Arc<dyn Storage>,
    directory: PathBuf,
    keys: KeyRing,
    options: LocalOptions,
    index: Arc<Index>,
    sealer: Sealer,
    preparer: Preparer,
    watermark: Watermark,
    head: Head,
    /// The segment that takes blocks; none before the first append.
    active: Option<Active>,
    /// The sealed block with its padding; reused.
    buffer: Vec<u8>,
    /// After a failure that nothing may follow.
    stopped: bool,
}

/// The segment that takes blocks.
pub(crate) struct Active {
    path: PathBuf,
    file: Arc<dyn StorageFile>,
    length: u64,
    /// Where the next block goes.
    offset: u64,
    /// How many bytes from there on may hold parts of a block that did not find room.
    dirty: u64,
    /// Whether it holds no block yet.
    fresh: bool,
}

impl LocalJournal {
    /// Opens or creates the journal in a directory, checks it, and cuts a torn tail.
    ///
    /// # Errors
    /// [`JournalError`] for all that is not exactly a journal with at most one unfinished write at its end.
    ///
    /// # Panics
    /// When `segment_bytes` is zero or not a multiple of 4,096.
    pub fn open(
        storage: Arc<dyn Storage>,
        directory: &Path,
        keys: KeyRing,
        options: LocalOptions,
    ) -> Result<(Self, Recovered), JournalError> {
        assert!(
            options.segment_bytes > 0 && options.segment_bytes.is_multiple_of(PAGE_BYTES),
            "segment_bytes must be a multiple of 4096"
        );
        let found = recover::recover(&*storage, directory, &keys, options.shard)?;
        let mut watermark = Watermark::open(&*storage, directory, found.head.height)?;
        watermark
            .write(found.head.height)
            .map_err(|source| io_error("write", &watermark.path, source))?;
        let journal = Self {
            index: Arc::new(Index::new(found.head.height, found.segments)),
            sealer: Sealer::new(&keys, options.shard),
            preparer: Preparer::new(storage.clone(), directory, options.segment_bytes),
            watermark,
            head: found.head,
            active: found.active,
            buffer: Vec::new(),
            stopped: false,
            directory: directory.to_owned(),
            storage,
            keys,
            options,
        };
        if let Some(active) = &journal.active {
            journal.preparer.filled(active.offset);
        }
        Ok((
            journal,
            Recovered {
                head: found.head,
                cut: found.cut,
            },
        ))
    }

    /// To be stepped by a thread beside the appends.
    #[must_use]
    pub fn preparer(&self) -> Preparer {
        self.preparer.clone()
    }

    fn check(&self, term: Term, draft: &Draft) -> Result<(), AppendError> {
        if self.stopped {
            return Err(AppendError::Fatal(JournalError::Stopped));
        }
        if draft.is_empty() {
            return Err(AppendError::Fatal(JournalError::Draft("it is empty")));
        }
        if draft.bytes() > BODY_BYTES_MAX {
            return Err(AppendError::Fatal(JournalError::Draft("it is too large")));
        }
        let same_term = term.epoch == self.head.epoch && term.writer == self.head.writer;
        if term.epoch <= self.head.epoch && !same_term {
            return Err(AppendError::SteppedDown);
        }
        let (draft, last) = (draft.first_timestamp(), self.head.timestamp);
        if draft <= last {
            return Err(AppendError::Fatal(JournalError::Time { draft, last }));
        }
        Ok(())
    }

    /// Makes sure that the active segment has room for a block, all zeros.
    fn make_room(&mut self, extent: u64) -> Result<(), AppendError> {
        if let Some(active) = &mut self.active {
            if active.dirty > 0 {
                active.clean()?;
            }
            if active.length.saturating_sub(active.offset) >= extent {
                return Ok(());
            }
        }
        let path = self.directory.join(file_name(Height(self.head.height.0 + 1)));
        let next = self
            .preparer
            .take(extent, &path)
            .map_err(|error| full_or_fatal("prepare", &path, error))?;
        let (file, length) = (next.file, next.length);
        self.preparer.filled(0);
        self.active = Some(Active {
            path,
            file,
            length,
            offset: 0,
            dirty: 0,
            fresh: true,
        });
        self.storage
            .sync_directory(&self.directory)
            .map_err(|source| AppendError::Fatal(io_error("sync", &self.directory, source)))
    }

    fn append_checked(&mut self, term: Term, draft: &Draft) -> Result<Head, AppendError> {
        let extent = extent(draft.bytes());
        self.make_room(extent)?;
        self.buffer.clear();
        let header = self.sealer.seal(&self.head, term, draft, &mut self.buffer);
        self.buffer.resize(extent as usize, PADDING);

        let active = self.active.as_mut().expect("room was made");
        if let Err(error) = active.file.write_all_at(&self.buffer, active.offset) {
            let error = full_or_fatal("write", &active.path, error);
            if matches!(error, AppendError::Full(_)) {
                // At once if it can be done, otherwise before the next append.
                active.dirty = extent;
                if let Err(fatal @ AppendError::Fatal(_)) = active.clean() {
                    return Err(fatal);
                }
            }
            return Err(error);
        }
        active.sync()?;

        self.head = Head {
            height: header.height,
            hash: header.hash,
            epoch: term.epoch,
            writer: term.writer,
            timestamp: draft.last_timestamp(),
        };
        if let Err(error) = self.watermark.write(header.height) {
            // The block is durable all the same; a watermark that is behind only makes recovery less sure.
            tracing::warn!(%error, file = %self.watermark.path.display(), "the watermark cannot be written");
        }
        let segment = active.fresh.then(|| active.path.clone());
        self.index.advance(header.height, active.offset, segment);
        active.offset += extent;
        active.fresh = false;
        self.preparer.filled(active.offset);
        Ok(self.head)
    }
}

impl Active {
    /// Zeros what a failed write may have left, so that a torn write can be told from damage again.
    fn clean(&mut self) -> Result<(), AppendError> {
        erase(&*self.file, self.offset, self.dirty)
            .map_err(|error| full_or_fatal("zero", &self.path, error))?;
        self.sync()?;
        self.dirty = 0;
        Ok(())
    }

    /// After a failed sync nobody knows what the disk holds, so even "no room" is final here.
    fn sync(&self) -> Result<(), AppendError> {
        self.file
            .sync_data()
            .map_err(|source| AppendError::Fatal(io_error("sync", &self.path, source)))
    }
}

impl Journal for LocalJournal {
    fn head(&self) -> Head {
        self.head
    }

    fn append(&mut self, term: Term, draft: &mut Draft) -> Result<Head, AppendError> {
        self.check(term, draft)?;
        let appended = self.append_checked(term, draft);
        match &appended {
            Ok(_) => draft.clear(),
            Err(AppendError::Fatal(_)) => self.stopped = true,
            Err(_) => {}
        }
        appended
    }

    fn reader(&self) -> Arc<dyn BlockReader> {
        Arc::new(LocalReader {
            storage: self.storage.clone(),
            index: self.index.clone(),
            keys: self.keys.clone(),
            shard: self.options.shard,
        })
    }
}

fn full_or_fatal(action: &'static str, path: &Path, error: io::Error) -> AppendError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => AppendError::Full(error),
        _ => AppendError::Fatal(io_error(action, path, error)),
    }
}
