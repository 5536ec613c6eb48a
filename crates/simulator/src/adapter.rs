//! The disk as the node gets it. Owns: the canaries that lie about durability; without one it only passes on.

use crate::Canary;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use storage::faulty::FaultyStorage;
use storage::{Storage, StorageFile};

/// See the module.
pub struct Disk {
    /// The disk below.
    pub below: FaultyStorage,
    /// What to lie about.
    pub canary: Option<Canary>,
}

struct DiskFile {
    below: Arc<dyn StorageFile>,
    canary: Option<Canary>,
    /// A sync was promised and not done.
    owed: AtomicBool,
}

impl Disk {
    fn file(&self, below: Arc<dyn StorageFile>) -> Arc<dyn StorageFile> {
        match self.canary {
            Some(canary @ (Canary::LyingSync | Canary::LateSync)) => Arc::new(DiskFile {
                below,
                canary: Some(canary),
                owed: AtomicBool::new(false),
            }),
            _ => below,
        }
    }
}

impl Storage for Disk {
    fn open(&self, path: &Path) -> io::Result<Arc<dyn StorageFile>> {
        self.below.open(path).map(|file| self.file(file))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn StorageFile>> {
        self.below.create(path).map(|file| self.file(file))
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.below.exists(path)
    }

    fn is_private(&self, path: &Path) -> io::Result<bool> {
        self.below.is_private(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.below.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.below.remove(path)
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        self.below.list(directory)
    }

    fn create_directory(&self, directory: &Path) -> io::Result<()> {
        self.below.create_directory(directory)
    }

    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        match self.canary {
            Some(Canary::NoDirectorySync) => Ok(()),
            _ => self.below.sync_directory(directory),
        }
    }

    fn available_bytes(&self, directory: &Path) -> io::Result<u64> {
        self.below.available_bytes(directory)
    }
}

impl StorageFile for DiskFile {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.below.read_exact_at(buffer, offset)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        if self.owed.swap(false, Ordering::Relaxed) {
            self.below.sync_data()?;
        }
        self.below.write_all_at(bytes, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        if self.canary == Some(Canary::LateSync) {
            self.owed.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    fn length(&self) -> io::Result<u64> {
        self.below.length()
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        self.below.set_length(length)
    }
}
