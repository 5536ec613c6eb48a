//! Segment files: names, pages, and the step from block to block. Owns: how a sealed block lies on disk.

use crate::header::{HEADER_BYTES, Header};
use crate::{Block, Damage, JournalError, Opener};
use ledger::Height;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use storage::{Storage, StorageFile};

/// Blocks begin at multiples of this.
pub(crate) const PAGE_BYTES: u64 = 4096;
/// What a disk writes whole or not at all.
pub(crate) const SECTOR_BYTES: usize = 512;
/// Fills the last page of a block. Not zero, so that no sector of a whole block looks unwritten.
pub(crate) const PADDING: u8 = 0xa5;
/// At least so much padding ends every block, so that the end of a whole block never looks unwritten either.
pub(crate) const PADDING_BYTES_MIN: usize = 8;

/// Bytes that a block of this body takes on disk.
pub(crate) fn extent(body_bytes: usize) -> u64 {
    ((HEADER_BYTES + body_bytes + PADDING_BYTES_MIN) as u64).next_multiple_of(PAGE_BYTES)
}

/// What the name of a segment ends with.
const SUFFIX: &str = ".segment";

/// File name of the segment that begins at a height.
pub(crate) fn file_name(first: Height) -> String {
    format!("{:020}{SUFFIX}", first.0)
}

/// Whether anything was ever written to the journal of a directory: its key is made before.
///
/// # Errors
/// As the system says.
pub fn holds_segments(storage: &dyn Storage, directory: &Path) -> io::Result<bool> {
    let names = storage.list(directory)?;
    Ok(names.iter().any(|name| name.ends_with(SUFFIX)))
}

/// The segments of a directory with their first heights, in order.
pub(crate) fn list(storage: &dyn Storage, directory: &Path) -> Result<Vec<(Height, PathBuf)>, JournalError> {
    let names = storage
        .list(directory)
        .map_err(|source| io_error("list", directory, source))?;
    let mut segments = Vec::new();
    for name in names.iter().filter(|name| name.ends_with(SUFFIX)) {
        let file = directory.join(name);
        let first = name.strip_suffix(SUFFIX).and_then(|digits| digits.parse().ok());
        match first.map(Height) {
            Some(first) if file_name(first) == *name => segments.push((first, file)),
            _ => return Err(JournalError::Name { file }),
        }
    }
    segments.sort();
    Ok(segments)
}

pub(crate) fn io_error(action: &'static str, path: &Path, source: io::Error) -> JournalError {
    JournalError::Io {
        action,
        path: path.to_owned(),
        source,
    }
}

/// Zeros what an unfinished write left; not durable until synced. The header's sector goes last: as long as any
/// of it stands, the rest is zero, so that stopping halfway leaves what still looks torn.
pub(crate) fn erase(file: &dyn StorageFile, offset: u64, length: u64) -> io::Result<()> {
    let first = length.min(SECTOR_BYTES as u64);
    file.write_all_at(&vec![0; (length - first) as usize], offset + first)?;
    file.write_all_at(&[0; SECTOR_BYTES][..first as usize], offset)
}

/// An open segment with a window of its bytes in memory.
pub(crate) struct Segment {
    pub(crate) path: PathBuf,
    pub(crate) file: Arc<dyn StorageFile>,
    pub(crate) length: u64,
    window: Vec<u8>,
    window_offset: u64,
    /// Where the part of the window begins that is still what the file holds.
    valid_from: u64,
    /// How much is read at once.
    ahead: u64,
}

/// Checks and opens a block, in place, from all the bytes that it takes on disk.
pub(crate) fn open_bytes(bytes: &mut [u8], header: &Header, opener: &mut Opener) -> Result<Block, Damage> {
    let (body, padding) = bytes[HEADER_BYTES..].split_at_mut(header.body_bytes as usize);
    if padding.iter().all(|&byte| byte == PADDING) {
        opener.open(header, body)
    } else {
        Err(Damage::Padding)
    }
}

/// What stands at the beginning of a page.
pub(crate) enum Found {
    /// Nothing: the page's first sector is zero, or the file ends here.
    Nothing,
    /// A block.
    Block(Box<Header>),
}

impl Segment {
    /// Opens a segment. `ahead` is how many bytes are read at once: one page to pick, more to walk.
    pub(crate) fn open(storage: &dyn Storage, path: &Path, ahead: u64) -> Result<Self, JournalError> {
        let file = storage
            .open(path)
            .map_err(|source| io_error("open", path, source))?;
        let length = file
            .length()
            .map_err(|source| io_error("measure", path, source))?;
        Ok(Self {
            path: path.to_owned(),
            file,
            length,
            window: Vec::new(),
            window_offset: 0,
            valid_from: 0,
            ahead: ahead.max(PAGE_BYTES),
        })
    }

    /// What begins at `offset`, a whole number of pages.
    pub(crate) fn at(&mut self, offset: u64, expected: Height) -> Result<Found, JournalError> {
        if offset >= self.length {
            return Ok(Found::Nothing);
        }
        if self.length - offset < PAGE_BYTES {
            return Err(self.damaged(offset, expected, Damage::Length(self.length)));
        }
        let page = self.bytes(offset, PAGE_BYTES)?;
        if page[..SECTOR_BYTES].iter().all(|&byte| byte == 0) {
            return Ok(Found::Nothing);
        }
        match Header::decode(page) {
            Ok(header) => Ok(Found::Block(Box::new(header))),
            Err(damage) => Err(self.damaged(offset, expected, damage)),
        }
    }

    /// The header at `offset`, if a sound one stands there.
    pub(crate) fn header_at(&mut self, offset: u64) -> Result<Option<Header>, JournalError> {
        if offset >= self.length || self.length - offset < PAGE_BYTES {
            return Ok(None);
        }
        Ok(Header::decode(self.bytes(offset, PAGE_BYTES)?).ok())
    }

    /// Reads, checks and opens the block whose header stands at `offset`.
    pub(crate) fn open_block(
        &mut self,
        offset: u64,
        header: &Header,
        opener: &mut Opener,
    ) -> Result<Block, JournalError> {
        let body_bytes = header.body_bytes as usize;
        let extent = extent(body_bytes);
        if body_bytes > crate::BODY_BYTES_MAX {
            return Err(self.damaged(offset, header.height, Damage::Header));
        }
        if self.length - offset < extent {
            return Err(self.damaged(offset, header.height, Damage::Short));
        }
        let result = open_bytes(self.bytes(offset, extent)?, header, opener);
        // The body was decrypted in place: the window no longer is what the file holds.
        self.valid_from = offset + extent;
        result.map_err(|damage| self.damaged(offset, header.height, damage))
    }

    /// The bytes at `offset`, which lie within the file.
    pub(crate) fn bytes(&mut self, offset: u64, length: u64) -> Result<&mut [u8], JournalError> {
        let held = self.valid_from..self.window_offset + self.window.len() as u64;
        if !(held.start <= offset && offset + length <= held.end) {
            let wanted = length.max(self.ahead).min(self.length - offset);
            self.window.resize(wanted as usize, 0);
            self.window_offset = offset;
            self.valid_from = offset;
            if let Err(source) = self.file.read_exact_at(&mut self.window, offset) {
                self.window.clear();
                return Err(io_error("read", &self.path, source));
            }
        }
        let start = (offset - self.window_offset) as usize;
        Ok(&mut self.window[start..start + length as usize])
    }

    /// Whether all from `offset` to the end is zero; else where the last byte that is not stands.
    pub(crate) fn last_nonzero(&mut self, offset: u64) -> Result<Option<u64>, JournalError> {
        let mut last = None;
        let mut at = offset;
        while at < self.length {
            let length = self.ahead.max(1 << 20).min(self.length - at);
            let bytes = self.bytes(at, length)?;
            if let Some(position) = bytes.iter().rposition(|&byte| byte != 0) {
                last = Some(at + position as u64);
            }
            at += length;
        }
        Ok(last)
    }

    pub(crate) fn damaged(&self, offset: u64, height: Height, damage: Damage) -> JournalError {
        JournalError::Damaged {
            file: self.path.clone(),
            offset,
            height,
            damage,
        }
    }
}
