//! The seam to the disk. Owns: the traits and their implementation on a real file system.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// An open file. All methods may be called from several threads at once.
pub trait StorageFile: Send + Sync {
    /// Reads exactly `buffer.len()` bytes at `offset`.
    ///
    /// # Errors
    /// `UnexpectedEof` when the file is shorter; otherwise as the system says.
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;

    /// Writes all of `bytes` at `offset`; not durable until [`StorageFile::sync_data`].
    ///
    /// # Errors
    /// As the system says; part of the bytes may have been written.
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Makes what was written durable (`fdatasync`).
    ///
    /// # Errors
    /// As the system says. What was written since the last success is then in doubt for ever: stop.
    fn sync_data(&self) -> io::Result<()>;

    /// Length in bytes.
    ///
    /// # Errors
    /// As the system says.
    fn length(&self) -> io::Result<u64>;

    /// Cuts or extends (with zeros) to `length` bytes.
    ///
    /// # Errors
    /// As the system says.
    fn set_length(&self, length: u64) -> io::Result<()>;
}

/// A file system, as far as the product needs one. Paths are absolute or relative to the process.
pub trait Storage: Send + Sync + 'static {
    /// Opens an existing file for reading and writing.
    ///
    /// # Errors
    /// `NotFound` and what else the system says.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn StorageFile>>;

    /// Creates a file of mode 0600 that must not exist yet.
    ///
    /// # Errors
    /// `AlreadyExists`, `StorageFull` and what else the system says.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn StorageFile>>;

    /// Whether something is there.
    ///
    /// # Errors
    /// As the system says.
    fn exists(&self, path: &Path) -> io::Result<bool>;

    /// Whether only the owner may read or change a file: its mode grants nothing to group and others.
    ///
    /// # Errors
    /// As the system says.
    fn is_private(&self, path: &Path) -> io::Result<bool>;

    /// Atomically replaces `to` with `from`; durable after [`Storage::sync_directory`].
    ///
    /// # Errors
    /// As the system says.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file; durable after [`Storage::sync_directory`].
    ///
    /// # Errors
    /// As the system says.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Names of the files in a directory, sorted.
    ///
    /// # Errors
    /// As the system says.
    fn list(&self, directory: &Path) -> io::Result<Vec<String>>;

    /// Creates a directory (mode 0700) and its parents where missing, durably.
    ///
    /// # Errors
    /// As the system says.
    fn create_directory(&self, directory: &Path) -> io::Result<()>;

    /// Makes creations, renames and removals in the directory durable.
    ///
    /// # Errors
    /// As the system says.
    fn sync_directory(&self, directory: &Path) -> io::Result<()>;

    /// Bytes that can still be written below the directory.
    ///
    /// # Errors
    /// As the system says.
    fn available_bytes(&self, directory: &Path) -> io::Result<u64>;

    /// Reads a whole file.
    ///
    /// # Errors
    /// As [`Storage::open`] and [`StorageFile::read_exact_at`].
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let file = self.open(path)?;
        let length = usize::try_from(file.length()?).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let mut bytes = vec![0; length];
        file.read_exact_at(&mut bytes, 0)?;
        Ok(bytes)
    }

    /// Writes a whole file so that after a crash either the old or the new content stands, durably. Where it fails, nothing is
    /// left beside the file, as far as the disk lets that be removed.
    ///
    /// # Errors
    /// As the system says; the old content then stands, unless the system failed to make the new one durable.
    fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let temporary = self.write_beside(path, bytes)?;
        self.put_in_place(&temporary, path)
    }

    /// The first half of [`Storage::replace`]: writes the new content durably beside the file and says where. The file itself is
    /// not touched.
    ///
    /// # Errors
    /// As the system says; what was written is removed.
    fn write_beside(&self, path: &Path, bytes: &[u8]) -> io::Result<PathBuf> {
        let temporary = path.with_extension("tmp");
        if self.exists(&temporary)? {
            self.remove(&temporary)?;
        }
        let file = self.create(&temporary)?;
        let written = file.write_all_at(bytes, 0).and_then(|()| file.sync_data());
        if written.is_err() {
            // The first error is the one that matters; what is left is removed before the next attempt.
            let _ = self.remove(&temporary);
        }
        written.map(|()| temporary)
    }

    /// The second half of [`Storage::replace`].
    ///
    /// # Errors
    /// As the system says; which content stands is then in doubt.
    fn put_in_place(&self, temporary: &Path, path: &Path) -> io::Result<()> {
        if let Err(error) = self.rename(temporary, path) {
            let _ = self.remove(temporary);
            return Err(error);
        }
        self.sync_directory(path.parent().unwrap_or(Path::new(".")))
    }
}

/// The real file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct FileSystem;

impl StorageFile for File {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        FileExt::read_exact_at(self, buffer, offset)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        FileExt::write_all_at(self, bytes, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        File::sync_data(self)
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }
}

impl Storage for FileSystem {
    fn open(&self, path: &Path) -> io::Result<Arc<dyn StorageFile>> {
        Ok(Arc::new(OpenOptions::new().read(true).write(true).open(path)?))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn StorageFile>> {
        Ok(Arc::new(
            OpenOptions::new()
                .read(true)
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(path)?,
        ))
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        path.try_exists()
    }

    fn is_private(&self, path: &Path) -> io::Result<bool> {
        use std::os::unix::fs::PermissionsExt;
        Ok(std::fs::metadata(path)?.permissions().mode() & 0o077 == 0)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(directory)? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                names.push(
                    entry
                        .file_name()
                        .into_string()
                        .map_err(|_| io::ErrorKind::InvalidData)?,
                );
            }
        }
        names.sort();
        Ok(names)
    }

    fn create_directory(&self, directory: &Path) -> io::Result<()> {
        create_directory(directory, |parent| self.sync_directory(parent))
    }

    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        File::open(directory)?.sync_all()
    }

    fn available_bytes(&self, directory: &Path) -> io::Result<u64> {
        let status = rustix::fs::statvfs(directory)?;
        Ok(status.f_bavail.saturating_mul(status.f_frsize))
    }
}

/// Creates what is missing of a path, and has the directory synced that each part was made in, from the top: a name in a
/// directory that was not may be gone after a power loss, with all that was made durable below it.
fn create_directory(directory: &Path, mut sync: impl FnMut(&Path) -> io::Result<()>) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    let is_missing = |path: &&Path| !path.as_os_str().is_empty() && !path.exists();
    let missing: Vec<&Path> = directory.ancestors().take_while(is_missing).collect();
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)?;
    missing.into_iter().rev().try_for_each(|made| {
        let parent = made.parent().filter(|parent| !parent.as_os_str().is_empty());
        sync(parent.unwrap_or(Path::new(".")))
    })
}

/// Keeps other processes out of a data directory for as long as it lives.
#[derive(Debug)]
pub struct DirectoryLock {
    _file: File,
    path: PathBuf,
}

impl DirectoryLock {
    /// Takes the lock `directory/lock`, creating the directory where it is missing.
    ///
    /// # Errors
    /// `WouldBlock` when another process holds it; otherwise as the system says.
    pub fn acquire(directory: &Path) -> io::Result<Self> {
        FileSystem.create_directory(directory)?;
        let path = directory.join("lock");
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)?;
        rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive)?;
        Ok(Self { _file: file, path })
    }

    /// The lock file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replaced_file_holds_the_new_bytes_and_nothing_is_left_beside_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        FileSystem.replace(&path, b"old and longer").unwrap();
        FileSystem.replace(&path, b"new").unwrap();
        assert_eq!(FileSystem.read(&path).unwrap(), b"new");
        assert_eq!(FileSystem.list(directory.path()).unwrap(), ["file"]);
        assert!(FileSystem.is_private(&path).unwrap());
    }

    #[test]
    fn each_directory_that_is_made_is_made_durable_in_the_one_above_it() {
        let directory = tempfile::tempdir().unwrap();
        let above = directory.path();
        let path = above.join("a/b/c");
        let synced = |path: &Path| {
            let mut synced = Vec::new();
            create_directory(path, |parent| {
                synced.push(parent.to_owned());
                FileSystem.sync_directory(parent)
            })
            .unwrap();
            synced
        };
        assert_eq!(
            synced(&path),
            [above.to_owned(), above.join("a"), above.join("a/b")]
        );
        assert!(path.is_dir());
        assert!(synced(&path).is_empty(), "all is there");
    }

    #[test]
    fn a_directory_is_locked_by_one_holder_at_a_time() {
        let directory = tempfile::tempdir().unwrap();
        let lock = DirectoryLock::acquire(directory.path()).unwrap();
        let second = DirectoryLock::acquire(directory.path()).unwrap_err();
        assert_eq!(second.kind(), io::ErrorKind::WouldBlock);
        drop(lock);
        DirectoryLock::acquire(directory.path()).unwrap();
    }
}
