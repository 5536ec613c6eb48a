//! The height that was acknowledged last, in a small file beside the segments. Owns: that file.
//!
//! Written after each append and not synced: it survives the death of the process, though not always that of
//! the machine. So it may be behind the journal and is never ahead of it; with it, a damaged last block that
//! was acknowledged is not mistaken for a torn write. The file holds two notes, and a write replaces the older: so
//! a write that fails halfway leaves one that is sound, and the next start is not refused.

use super::segment::io_error;
use crate::JournalError;
use aws_lc_rs::digest::{SHA256, digest};
use ledger::Height;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use storage::{Storage, StorageFile};

const MAGIC: [u8; 8] = *b"SHQDURA1";
const NOTE_BYTES: usize = 24;
const NOTES: usize = 2;

pub(crate) struct Watermark {
    pub(crate) path: PathBuf,
    file: Arc<dyn StorageFile>,
    /// Which note is written next.
    next: usize,
}

/// What the file says: `None` when it is not there.
pub(crate) fn read(storage: &dyn Storage, directory: &Path) -> Result<Option<Height>, JournalError> {
    let path = directory.join("durable");
    if !storage
        .exists(&path)
        .map_err(|source| io_error("look for", &path, source))?
    {
        return Ok(None);
    }
    let bytes = storage
        .read(&path)
        .map_err(|source| io_error("read", &path, source))?;
    match latest(&bytes) {
        Some((height, _)) => Ok(Some(height)),
        None => Err(JournalError::Watermark { file: path }),
    }
}

impl Watermark {
    /// Opens the file, making a durable one that says `height` where there is none.
    pub(crate) fn open(
        storage: &dyn Storage,
        directory: &Path,
        height: Height,
    ) -> Result<Self, JournalError> {
        let path = directory.join("durable");
        let error = |action| {
            let path = path.clone();
            move |source| JournalError::Io { action, path, source }
        };
        if !storage.exists(&path).map_err(error("look for"))? {
            let both = [encode(height); NOTES].concat();
            storage.replace(&path, &both).map_err(error("make"))?;
        }
        let bytes = storage.read(&path).map_err(error("read"))?;
        let (_, newest) = latest(&bytes).ok_or_else(|| JournalError::Watermark { file: path.clone() })?;
        let file = storage.open(&path).map_err(error("open"))?;
        Ok(Self {
            path,
            file,
            next: (newest + 1) % NOTES,
        })
    }

    /// Notes that `height` is durable. After a failure the note before still stands, and the same place is tried again.
    pub(crate) fn write(&mut self, height: Height) -> io::Result<()> {
        self.file
            .write_all_at(&encode(height), (self.next * NOTE_BYTES) as u64)?;
        self.next = (self.next + 1) % NOTES;
        Ok(())
    }
}

/// The greatest height noted, and by which note.
fn latest(bytes: &[u8]) -> Option<(Height, usize)> {
    let notes = bytes.chunks_exact(NOTE_BYTES).take(NOTES).enumerate();
    notes
        .filter_map(|(place, note)| Some((decode(note)?, place)))
        .max()
}

fn encode(height: Height) -> [u8; NOTE_BYTES] {
    let mut bytes = [0; NOTE_BYTES];
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[8..16].copy_from_slice(&height.0.to_le_bytes());
    let check = digest(&SHA256, &bytes[..16]);
    bytes[16..].copy_from_slice(&check.as_ref()[..8]);
    bytes
}

fn decode(bytes: &[u8]) -> Option<Height> {
    let bytes: [u8; NOTE_BYTES] = bytes.try_into().ok()?;
    let height = Height(u64::from_le_bytes(bytes[8..16].try_into().ok()?));
    (encode(height) == bytes).then_some(height)
}
