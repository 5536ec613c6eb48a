//! The next segment, made ready ahead. Owns: the file `next.prepared` until it gets its name.
//!
//! A segment is written full of zeros and synced before it is used: a commit into it then changes no metadata
//! of the file system, and a write that is torn leaves zeros where it did not reach.

use super::segment::io_error;
use crate::JournalError;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use storage::{Storage, StorageFile};

/// Zeros go out in pieces, each synced, so that commits beside it never queue behind a whole segment.
const PIECE_BYTES: u64 = 256 << 10;

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
    /// One was made.
    Made,
}

struct Shared {
    storage: Arc<dyn Storage>,
    path: PathBuf,
    segment_bytes: u64,
    next: Mutex<Option<Next>>,
}

/// A segment that has no name yet.
pub(crate) struct Next {
    pub(crate) file: Arc<dyn StorageFile>,
    pub(crate) length: u64,
}

impl Preparer {
    pub(crate) fn new(storage: Arc<dyn Storage>, directory: &Path, segment_bytes: u64) -> Self {
        let path = directory.join("next.prepared");
        Self {
            shared: Arc::new(Shared {
                storage,
                path,
                segment_bytes,
                next: Mutex::new(None),
            }),
        }
    }

    /// Makes the next segment ready unless one is. To be called from a thread of its own after appends: it
    /// costs nothing while one is ready, and takes as long as writing a segment otherwise.
    ///
    /// # Errors
    /// [`JournalError::Io`]; the journal is not harmed, and a later call tries again.
    pub fn step(&self) -> Result<Prepared, JournalError> {
        let mut next = self.lock();
        if next.is_some() {
            return Ok(Prepared::Ready);
        }
        let made = self.make(self.shared.segment_bytes);
        *next = Some(made.map_err(|source| io_error("prepare", &self.shared.path, source))?);
        Ok(Prepared::Made)
    }

    /// Gives the segment that is ready, or one made now, of at least `length` bytes, the name `path`.
    ///
    /// The name is given under the lock: a step beside it that found nothing ready would begin the next segment by
    /// removing the file that this one still is.
    pub(crate) fn take(&self, length: u64, path: &Path) -> io::Result<Next> {
        let mut next = self.lock();
        let taken = match next.take() {
            Some(ready) if ready.length >= length => ready,
            // Too small for this block: better none than two files of one name.
            _ => self.make(length.max(self.shared.segment_bytes))?,
        };
        if let Err(error) = self.shared.storage.rename(&self.shared.path, path) {
            *next = Some(taken);
            return Err(error);
        }
        Ok(taken)
    }

    fn make(&self, length: u64) -> io::Result<Next> {
        let Shared { storage, path, .. } = &*self.shared;
        if storage.exists(path)? {
            storage.remove(path)?;
        }
        let file = storage.create(path)?;
        if let Err(error) = fill(&*file, length) {
            // Give the room back at once; whatever comes of it, the next attempt removes the file first.
            let _ = storage.remove(path);
            return Err(error);
        }
        Ok(Next { file, length })
    }

    fn lock(&self) -> MutexGuard<'_, Option<Next>> {
        // The value is replaced as a whole, so a panic of another thread left it sound.
        self.shared.next.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes zeros up to `length` and makes them durable.
fn fill(file: &dyn StorageFile, length: u64) -> io::Result<()> {
    let zeros = vec![0; PIECE_BYTES.min(length) as usize];
    let mut offset = 0;
    while offset < length {
        let piece = PIECE_BYTES.min(length - offset);
        file.write_all_at(&zeros[..piece as usize], offset)?;
        file.sync_data()?;
        offset += piece;
    }
    Ok(())
}
