//! The next segment, made ready ahead. Owns: the file `next.prepared` until it gets its name.
//!
//! A segment is written full of zeros and synced before it is used: a commit into it then changes no metadata
//! of the file system, and a write that is torn leaves zeros where it did not reach. It is made as fast as the one in
//! use fills, a little with every step: written in one go it would keep the disk busy for a tenth of a second, and the
//! commits of that time late.

use super::segment::io_error;
use crate::JournalError;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use storage::{Storage, StorageFile};

/// Zeros go out in pieces, each synced, so that a commit beside it never queues behind much.
const PIECE_BYTES: u64 = 64 << 10;
/// The next segment grows so many times as fast as the one in use fills, to be ready well before it is needed.
const AHEAD: u64 = 2;

/// Makes the next segment ready, so that no append has to; see [`Preparer::step`].
#[derive(Clone)]
pub struct Preparer {
    shared: Arc<Shared>,
}

/// What a step of the preparer did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prepared {
    /// One was ready already.
    Ready,
    /// One was begun; more of it is due once the segment in use has filled further.
    Partly,
    /// One became ready.
    Made,
}

struct Shared {
    storage: Arc<dyn Storage>,
    path: PathBuf,
    segment_bytes: u64,
    /// Bytes of the segment in use that are taken; `u64::MAX` when there is none.
    filled: AtomicU64,
    next: Mutex<Option<Next>>,
}

/// A segment that has no name yet.
pub(crate) struct Next {
    pub(crate) file: Arc<dyn StorageFile>,
    pub(crate) length: u64,
    /// Up to here it is zeros, durably.
    ready: u64,
}

impl Preparer {
    pub(crate) fn new(storage: Arc<dyn Storage>, directory: &Path, segment_bytes: u64) -> Self {
        let path = directory.join("next.prepared");
        Self {
            shared: Arc::new(Shared {
                storage,
                path,
                segment_bytes,
                filled: AtomicU64::new(u64::MAX),
                next: Mutex::new(None),
            }),
        }
    }

    /// Makes as much of the next segment as is due by how full the one in use is. To be called from a thread of its
    /// own, every few milliseconds: it costs nothing while one is ready.
    ///
    /// # Errors
    /// [`JournalError::Io`]; the journal is not harmed, and a later call tries again.
    pub fn step(&self) -> Result<Prepared, JournalError> {
        loop {
            let mut next = self.lock();
            let ready = next.as_ref().map_or(0, |next| next.ready);
            let length = next
                .as_ref()
                .map_or(self.shared.segment_bytes, |next| next.length);
            if ready == length {
                return Ok(Prepared::Ready);
            }
            let filled = self.shared.filled.load(Ordering::Relaxed);
            if ready >= filled.saturating_mul(AHEAD) {
                return Ok(Prepared::Partly);
            }
            self.advance(&mut next, length, PIECE_BYTES)
                .map_err(|source| io_error("prepare", &self.shared.path, source))?;
            if ready + PIECE_BYTES >= length {
                return Ok(Prepared::Made);
            }
        }
    }

    /// How much of the next segment is not there yet: room that the disk must still have.
    #[must_use]
    pub fn missing_bytes(&self) -> u64 {
        self.lock()
            .as_ref()
            .map_or(self.shared.segment_bytes, |next| next.length - next.ready)
    }

    /// So many bytes of the segment in use are taken.
    pub(crate) fn filled(&self, bytes: u64) {
        self.shared.filled.store(bytes, Ordering::Relaxed);
    }

    /// Gives the segment that is ready, or one made now, of at least `length` bytes, the name `path`.
    ///
    /// The name is given under the lock: a step beside it that found nothing ready would begin the next segment by
    /// removing the file that this one still is.
    pub(crate) fn take(&self, length: u64, path: &Path) -> io::Result<Next> {
        let mut next = self.lock();
        if next.as_ref().is_some_and(|next| next.length < length) {
            // Too small for this block: better none than two files of one name.
            *next = None;
        }
        self.advance(&mut next, length.max(self.shared.segment_bytes), u64::MAX)?;
        self.shared.storage.rename(&self.shared.path, path)?;
        Ok(next.take().expect("it was made"))
    }

    /// Begins a segment of `length` bytes unless one is begun, and makes up to `bytes` more of it ready.
    fn advance(&self, next: &mut Option<Next>, length: u64, bytes: u64) -> io::Result<()> {
        let Shared { storage, path, .. } = &*self.shared;
        if next.is_none() {
            if storage.exists(path)? {
                storage.remove(path)?;
            }
            let file = storage.create(path)?;
            *next = Some(Next {
                file,
                length,
                ready: 0,
            });
        }
        let begun = next.as_mut().expect("it was begun");
        let until = begun.length.min(begun.ready.saturating_add(bytes));
        if let Err(error) = begun.fill(until) {
            // Give the room back at once; whatever comes of it, the next attempt removes the file first.
            *next = None;
            let _ = storage.remove(path);
            return Err(error);
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Option<Next>> {
        // The value is replaced as a whole, so a panic of another thread left it sound.
        self.shared.next.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Next {
    /// Writes zeros up to `until` and makes them durable.
    fn fill(&mut self, until: u64) -> io::Result<()> {
        let zeros = vec![0; PIECE_BYTES as usize];
        while self.ready < until {
            let piece = PIECE_BYTES.min(until - self.ready);
            self.file.write_all_at(&zeros[..piece as usize], self.ready)?;
            self.file.sync_data()?;
            self.ready += piece;
        }
        Ok(())
    }
}
