//! The height that was acknowledged last, in a small file beside the segments. Owns: that file.
//!
//! Written after each append and not synced: it survives the death of the process, though not always that of
//! the machine. So it may be behind the journal and is never ahead of it; with it, a damaged last block that
//! was acknowledged is not mistaken for a torn write.

use super::segment::io_error;
use crate::JournalError;
use aws_lc_rs::digest::{SHA256, digest};
use ledger::Height;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use storage::{Storage, StorageFile};

const MAGIC: [u8; 8] = *b"SHQDURA1";
const BYTES: usize = 24;

pub(crate) struct Watermark {
    pub(crate) path: PathBuf,
    file: Arc<dyn StorageFile>,
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
    decode(&bytes)
        .map(Some)
        .ok_or(JournalError::Watermark { file: path })
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
            storage.replace(&path, &encode(height)).map_err(error("make"))?;
        }
        let file = storage.open(&path).map_err(error("open"))?;
        Ok(Self { path, file })
    }

    /// Notes that `height` is durable.
    pub(crate) fn write(&self, height: Height) -> io::Result<()> {
        self.file.write_all_at(&encode(height), 0)
    }
}

fn encode(height: Height) -> [u8; BYTES] {
    let mut bytes = [0; BYTES];
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[8..16].copy_from_slice(&height.0.to_le_bytes());
    let check = digest(&SHA256, &bytes[..16]);
    bytes[16..].copy_from_slice(&check.as_ref()[..8]);
    bytes
}

fn decode(bytes: &[u8]) -> Option<Height> {
    let bytes: [u8; BYTES] = bytes.try_into().ok()?;
    let height = Height(u64::from_le_bytes(bytes[8..16].try_into().ok()?));
    (encode(height) == bytes).then_some(height)
}
