//! Files of sealed pages. Owns: the key of each file, reading and writing of pages, removal of files that are no
//! longer needed. A file has its own key (by a random salt) and a page is written once, so that its number is its nonce.

use crate::page::{PAGE_BYTES, PAYLOAD_BYTES};
use crate::{HistoryError, Pace};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use storage::{DataKey, KeyId, KeyRing, NONCE_BYTES, Storage, StorageFile, TAG_BYTES};

/// Pages that are written, or read in a stream, at once.
const WRITE_PAGES: usize = 16;

/// Where the index lives and with what it is sealed.
pub(crate) struct Place {
    pub storage: Arc<dyn Storage>,
    pub dir: PathBuf,
    pub keys: KeyRing,
    pub entropy: fn() -> [u8; 16],
}

/// What the manifest must know to open a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileStamp {
    pub number: u64,
    pub key: KeyId,
    pub salt: [u8; 16],
}

impl FileStamp {
    pub fn name(&self) -> String {
        format!("{:016x}.pages", self.number)
    }
}

impl Place {
    pub fn io_error(&self, path: &Path, source: io::Error) -> HistoryError {
        if matches!(
            source.kind(),
            io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof
        ) {
            let file = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            return HistoryError::Damaged {
                file,
                page: 0,
                reason: source.to_string(),
            };
        }
        HistoryError::Io {
            path: path.to_owned(),
            source,
        }
    }

    /// A stamp for a file that does not exist yet.
    pub fn stamp(&self, number: u64) -> FileStamp {
        FileStamp {
            number,
            key: self.keys.current().id(),
            salt: (self.entropy)(),
        }
    }

    pub fn create(&self, stamp: FileStamp) -> Result<Arc<PageFile>, HistoryError> {
        let path = self.dir.join(stamp.name());
        let file = self
            .storage
            .create(&path)
            .map_err(|source| self.io_error(&path, source))?;
        self.page_file(stamp, path, file)
    }

    /// Removes the file of that stamp, if it was made: nothing will ever be in it.
    pub fn discard(&self, stamp: FileStamp) {
        let path = self.dir.join(stamp.name());
        match self.storage.remove(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                // It only takes room; the next start removes it.
                tracing::warn!(file = %stamp.name(), %error, "the file of a failed job could not be removed");
            }
            _ => {}
        }
    }

    pub fn open(&self, stamp: FileStamp) -> Result<Arc<PageFile>, HistoryError> {
        let path = self.dir.join(stamp.name());
        let file = self
            .storage
            .open(&path)
            .map_err(|source| self.io_error(&path, source))?;
        self.page_file(stamp, path, file)
    }

    fn page_file(
        &self,
        stamp: FileStamp,
        path: PathBuf,
        file: Arc<dyn StorageFile>,
    ) -> Result<Arc<PageFile>, HistoryError> {
        let key = self.keys.get(stamp.key).map_err(|source| HistoryError::Key {
            file: stamp.name(),
            source,
        })?;
        let key = key.derive(&[b"history file ".as_slice(), &stamp.salt].concat());
        Ok(Arc::new(PageFile {
            stamp,
            path,
            file,
            key,
            storage: self.storage.clone(),
            retired: AtomicBool::new(false),
        }))
    }
}

/// An open file; removed from the disk with its last holder once it is retired.
pub(crate) struct PageFile {
    pub stamp: FileStamp,
    path: PathBuf,
    file: Arc<dyn StorageFile>,
    key: DataKey,
    storage: Arc<dyn Storage>,
    retired: AtomicBool,
}

impl Drop for PageFile {
    fn drop(&mut self) {
        if self.retired.load(Ordering::Acquire)
            && let Err(error) = self.storage.remove(&self.path)
        {
            // It only takes room; the next start removes it.
            tracing::warn!(file = %self.stamp.name(), %error, "a merged history file could not be removed");
        }
    }
}

fn nonce(page: u64) -> [u8; NONCE_BYTES] {
    let mut nonce = [0; NONCE_BYTES];
    nonce[..8].copy_from_slice(&page.to_le_bytes());
    nonce
}

impl PageFile {
    pub fn damaged(&self, page: u64, reason: &str) -> HistoryError {
        HistoryError::Damaged {
            file: self.stamp.name(),
            page,
            reason: reason.to_owned(),
        }
    }

    fn io_error(&self, page: u64, source: io::Error) -> HistoryError {
        if source.kind() == io::ErrorKind::UnexpectedEof {
            return self.damaged(page, "the file is too short");
        }
        HistoryError::Io {
            path: self.path.clone(),
            source,
        }
    }

    /// The file is not needed by the manifest any more.
    pub fn retire(&self) {
        self.retired.store(true, Ordering::Release);
    }

    pub fn sync(&self) -> Result<(), HistoryError> {
        self.file.sync_data().map_err(|source| self.io_error(0, source))
    }

    /// Reads and authenticates a page; the content is the first [`PAYLOAD_BYTES`] of the buffer.
    pub fn read_page(&self, page: u64, buffer: &mut [u8; PAGE_BYTES]) -> Result<(), HistoryError> {
        self.read_pages(page, buffer)
    }

    /// Reads and authenticates successive pages.
    pub fn read_pages(&self, first: u64, buffer: &mut [u8]) -> Result<(), HistoryError> {
        let offset = first
            .checked_mul(PAGE_BYTES as u64)
            .ok_or_else(|| self.damaged(first, "no such page"))?;
        self.file
            .read_exact_at(buffer, offset)
            .map_err(|source| self.io_error(first, source))?;
        for (i, page) in buffer.chunks_exact_mut(PAGE_BYTES).enumerate() {
            let number = first + i as u64;
            let (payload, tag) = page.split_at_mut(PAYLOAD_BYTES);
            let tag: &[u8; TAG_BYTES] = (&*tag).try_into().expect("a page ends with its tag");
            self.key
                .open(nonce(number), &[], payload, tag)
                .map_err(|_| self.damaged(number, "it does not authenticate"))?;
        }
        Ok(())
    }

    /// Reads bytes that are not sealed here (metadata, which is ciphertext of its own).
    pub fn read_raw(&self, offset: u64, buffer: &mut [u8]) -> Result<(), HistoryError> {
        self.file
            .read_exact_at(buffer, offset)
            .map_err(|source| self.io_error(offset / PAGE_BYTES as u64, source))
    }

    pub fn write_raw(&self, offset: u64, bytes: &[u8]) -> Result<(), HistoryError> {
        self.file
            .write_all_at(bytes, offset)
            .map_err(|source| self.io_error(offset / PAGE_BYTES as u64, source))
    }
}

/// Writes pages one after the other.
pub(crate) struct PageWriter<'p> {
    pace: &'p dyn Pace,
    file: Arc<PageFile>,
    next: u64,
    buffer: Vec<u8>,
    unsynced: usize,
    partial: Vec<u8>,
}

impl<'p> PageWriter<'p> {
    pub fn new(file: Arc<PageFile>, next: u64, pace: &'p dyn Pace) -> Self {
        Self {
            pace,
            file,
            next,
            buffer: Vec::with_capacity(WRITE_PAGES * PAGE_BYTES),
            unsynced: 0,
            partial: Vec::with_capacity(PAYLOAD_BYTES),
        }
    }

    /// Number of the page that comes next.
    pub fn next_page(&self) -> u64 {
        self.next
    }

    /// Adds a page; what is short of a full payload is zeros.
    pub fn push(&mut self, payload: &[u8]) -> Result<(), HistoryError> {
        assert!(payload.len() <= PAYLOAD_BYTES, "a page's content fits in a page");
        let start = self.buffer.len();
        self.buffer.extend_from_slice(payload);
        self.buffer.resize(start + PAYLOAD_BYTES, 0);
        let tag = self
            .file
            .key
            .seal(nonce(self.next), &[], &mut self.buffer[start..]);
        self.buffer.extend_from_slice(&tag);
        self.next += 1;
        if self.buffer.len() == WRITE_PAGES * PAGE_BYTES {
            self.flush()
        } else {
            Ok(())
        }
    }

    /// Adds bytes that run over page borders, to be ended with [`PageWriter::end_stream`].
    pub fn stream(&mut self, mut bytes: &[u8]) -> Result<(), HistoryError> {
        while !bytes.is_empty() {
            let room = PAYLOAD_BYTES - self.partial.len();
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.partial.extend_from_slice(now);
            bytes = later;
            if self.partial.len() == PAYLOAD_BYTES {
                self.end_stream()?;
            }
        }
        Ok(())
    }

    pub fn end_stream(&mut self) -> Result<(), HistoryError> {
        if self.partial.is_empty() {
            return Ok(());
        }
        let partial = std::mem::take(&mut self.partial);
        self.push(&partial)?;
        self.partial = partial;
        self.partial.clear();
        Ok(())
    }

    pub fn flush(&mut self) -> Result<(), HistoryError> {
        let pages = (self.buffer.len() / PAGE_BYTES) as u64;
        if pages > 0 {
            self.file
                .write_raw((self.next - pages) * PAGE_BYTES as u64, &self.buffer)?;
            self.unsynced += self.buffer.len();
            self.buffer.clear();
        }
        if self.unsynced >= self.pace.step_bytes() {
            self.sync()?;
            self.pace.after_step();
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<(), HistoryError> {
        self.unsynced = 0;
        self.file.sync()
    }

    /// Writes and syncs what is left; gives the number of the page that would come next.
    pub fn finish(mut self) -> Result<u64, HistoryError> {
        self.end_stream()?;
        self.flush()?;
        self.sync()?;
        Ok(self.next)
    }
}

/// Reads a stream that [`PageWriter::stream`] wrote, a number of pages at a time.
pub(crate) fn read_stream(
    file: &PageFile,
    first_page: u64,
    bytes: u64,
    mut take: impl FnMut(&[u8]),
) -> Result<(), HistoryError> {
    let mut left = usize::try_from(bytes).map_err(|_| file.damaged(first_page, "a stream is too long"))?;
    let mut page = first_page;
    let mut buffer = vec![0; WRITE_PAGES * PAGE_BYTES];
    while left > 0 {
        let pages = left.div_ceil(PAYLOAD_BYTES).min(WRITE_PAGES);
        let buffer = &mut buffer[..pages * PAGE_BYTES];
        file.read_pages(page, buffer)?;
        for sealed in buffer.chunks_exact(PAGE_BYTES) {
            let length = left.min(PAYLOAD_BYTES);
            take(&sealed[..length]);
            left -= length;
        }
        page += pages as u64;
    }
    Ok(())
}
