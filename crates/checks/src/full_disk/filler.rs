//! A file that takes the room away, and gives it back.

use anyhow::{Context, Result};
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use storage::{FileSystem, Storage};

const LARGE: usize = 1 << 20;
const SMALL: usize = 4_096;

/// Room that somebody else takes.
pub struct Filler {
    path: PathBuf,
}

impl Filler {
    /// None yet, on the file system mounted there.
    pub fn new(mount: &Path) -> Self {
        Self {
            path: mount.join("filler"),
        }
    }

    /// Takes room until at most so many bytes are left.
    pub fn leave(&self, bytes: u64) -> Result<()> {
        let folder = self.path.parent().context("the filler lies in a folder")?;
        let mut file = OpenOptions::new().create(true).append(true).open(&self.path)?;
        let zeros = vec![0; LARGE];
        loop {
            let room = FileSystem.available_bytes(folder)?.saturating_sub(bytes);
            let piece = if room >= LARGE as u64 { LARGE } else { SMALL };
            if room == 0 || !grow(&mut file, &zeros[..piece])? {
                break;
            }
        }
        match file.sync_all() {
            Err(error) if error.kind() != ErrorKind::StorageFull => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Gives all of it back, and says how many bytes that was.
    pub fn give_back(&self) -> Result<u64> {
        let bytes = std::fs::metadata(&self.path)?.len();
        std::fs::remove_file(&self.path)?;
        Ok(bytes)
    }
}

/// False when there is no room.
fn grow(file: &mut File, bytes: &[u8]) -> Result<bool> {
    match file.write_all(bytes) {
        Err(error) if error.kind() == ErrorKind::StorageFull => Ok(false),
        other => Ok(other.map(|()| true)?),
    }
}
