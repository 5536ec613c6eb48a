//! Opening a journal: what stands, where it ends, and whether its end is a torn write or damage.
//!
//! A *torn tail* is what a write leaves that the machine or process did not survive: it was never acknowledged
//! and is cut. It is believed only when no valid block lies beyond, the height is above the watermark, and some
//! sector still is as it was before the write: zero. All else is *damage*: the node refuses to start, and a
//! person decides.

use super::index::SegmentIndex;
use super::segment::{Found, PAGE_BYTES, SECTOR_BYTES, Segment, erase, extent, io_error, list, open_bytes};
use super::{Active, TornTail, watermark};
use crate::header::Header;
use crate::{Block, Damage, Head, JournalError, Opener, ShardId};
use ledger::Height;
use std::path::Path;
use storage::{KeyError, KeyRing, Storage};

/// How much is read at once when only headers are looked at, and when all is.
const HEADERS_BYTES: u64 = 64 << 10;
const BLOCKS_BYTES: u64 = 1 << 20;
/// A sector that ends in so many zeros was not written, or not to its end.
const UNWRITTEN_BYTES: usize = 8;

pub(super) struct Recovery {
    pub(super) head: Head,
    pub(super) segments: Vec<SegmentIndex>,
    pub(super) active: Option<Active>,
    pub(super) cut: Option<TornTail>,
}

/// What stands beyond the last good block.
pub(crate) enum Tail {
    /// Nothing but zeros.
    Clean,
    /// A write that never finished.
    Torn(TornTail),
    /// Anything else.
    Damaged(JournalError),
}

pub(super) fn recover(
    storage: &dyn Storage,
    directory: &Path,
    keys: &KeyRing,
    shard: ShardId,
) -> Result<Recovery, JournalError> {
    storage
        .create_directory(directory)
        .map_err(|source| io_error("create", directory, source))?;
    for leftover in ["next.prepared", "durable.tmp"].map(|name| directory.join(name)) {
        if storage
            .exists(&leftover)
            .map_err(|source| io_error("look for", &leftover, source))?
        {
            storage
                .remove(&leftover)
                .map_err(|source| io_error("remove", &leftover, source))?;
        }
    }
    let files = list(storage, directory)?;
    let durable = watermark::read(storage, directory)?;
    if durable.is_none() && !files.is_empty() {
        tracing::warn!(directory = %directory.display(), "the file `durable` is missing: the last block is not guarded");
    }
    // A name that a process gave just before it died may not be durable yet.
    storage
        .sync_directory(directory)
        .map_err(|source| io_error("sync", directory, source))?;
    let durable = durable.unwrap_or_default();
    let mut walk = Walk {
        storage,
        shard,
        durable,
        opener: Opener::new(keys.clone()),
        head: Head::default(),
    };
    let recovery = walk.all(&files)?;
    if recovery.head.height < durable {
        let head = recovery.head.height;
        return Err(JournalError::Missing {
            directory: directory.to_owned(),
            head,
            durable,
        });
    }
    Ok(recovery)
}

struct Walk<'a> {
    storage: &'a dyn Storage,
    shard: ShardId,
    durable: Height,
    opener: Opener,
    head: Head,
}

impl Walk<'_> {
    fn all(&mut self, files: &[(Height, std::path::PathBuf)]) -> Result<Recovery, JournalError> {
        let mut segments = Vec::new();
        let mut active = None;
        let mut cut = None;
        let opened_from = self.opened_from(files)?;
        for (i, (first, path)) in files.iter().enumerate() {
            let expected = Height(self.head.height.0 + 1);
            if *first != expected {
                return Err(JournalError::Segment {
                    file: path.clone(),
                    found: *first,
                    expected,
                });
            }
            let opened = i >= opened_from;
            let ahead = if opened { BLOCKS_BYTES } else { HEADERS_BYTES };
            let mut segment = Segment::open(self.storage, path, ahead)?;
            let mut index = SegmentIndex::new(*first, path.clone());
            let (offset, fault) = self.segment(&mut segment, &mut index, opened)?;
            let is_last = i + 1 == files.len();
            let tail = match fault {
                Some(fault) if !is_last => return Err(fault),
                fault if is_last || opened => self.tail(&mut segment, offset, fault)?,
                _ => Tail::Clean,
            };
            match tail {
                Tail::Clean => {}
                Tail::Torn(torn) if is_last => {
                    zero(&segment, &torn)?;
                    cut = Some(torn);
                }
                Tail::Torn(torn) => {
                    return Err(segment.damaged(torn.offset, Height(self.head.height.0 + 1), Damage::Hole));
                }
                Tail::Damaged(error) => return Err(error),
            }
            if is_last {
                let fresh = self.head.height < *first;
                let (file, length) = (segment.file.clone(), segment.length);
                active = Some(Active {
                    path: path.clone(),
                    file,
                    length,
                    offset,
                    dirty: 0,
                    fresh,
                });
            }
            if self.head.height >= *first {
                segments.push(index);
            }
        }
        Ok(Recovery {
            head: self.head,
            segments,
            active,
            cut,
        })
    }

    /// From which segment on blocks are opened and not only their headers looked at: the last that holds any. One
    /// that begins with a torn block may hold none, and the head is then in the segment before.
    fn opened_from(&mut self, files: &[(Height, std::path::PathBuf)]) -> Result<usize, JournalError> {
        let Some((first, path)) = files.last() else {
            return Ok(0);
        };
        let mut segment = Segment::open(self.storage, path, PAGE_BYTES)?;
        let is_empty = match segment.at(0, *first) {
            Ok(Found::Block(header)) => segment.open_block(0, &header, &mut self.opener).is_err(),
            _ => true,
        };
        Ok(files.len().saturating_sub(if is_empty { 2 } else { 1 }))
    }

    /// Walks one segment. Gives where its blocks end, and the fault that ended them if one did.
    fn segment(
        &mut self,
        segment: &mut Segment,
        index: &mut SegmentIndex,
        opened: bool,
    ) -> Result<(u64, Option<JournalError>), JournalError> {
        let mut offset = 0;
        let mut last = None;
        let fault = loop {
            match self.block(segment, offset, opened) {
                Ok(None) => break None,
                Ok(Some(head)) => {
                    index.note(head.1.height, offset);
                    last = Some((offset, head.0));
                    offset += head.0;
                    self.head = head.1;
                }
                Err(fault @ JournalError::Damaged { .. }) => break Some(fault),
                Err(error) => return Err(error),
            }
        };
        if let Some((offset, length)) = last
            && opened
        {
            self.write_again(segment, offset, length)?;
        }
        Ok((offset, fault))
    }

    /// The block at `offset`: how long it is, and the head that it makes.
    fn block(
        &mut self,
        segment: &mut Segment,
        offset: u64,
        opened: bool,
    ) -> Result<Option<(u64, Head)>, JournalError> {
        let height = Height(self.head.height.0 + 1);
        let Found::Block(header) = segment.at(offset, height)? else {
            return Ok(None);
        };
        header
            .follows(self.shard, &self.head)
            .map_err(|damage| segment.damaged(offset, height, damage))?;
        let length = extent(header.body_bytes as usize);
        if length > segment.length - offset {
            return Err(segment.damaged(offset, height, Damage::Short));
        }
        let head = if opened {
            Head::of(&segment.open_block(offset, &header, &mut self.opener)?)
        } else {
            header.as_head()
        };
        Ok(Some((length, head)))
    }

    /// Writes the last block once more as it is and syncs it. Had the process before died of a failed sync, the
    /// system may show a block that the disk does not hold and has forgotten to write; only a new write mends that.
    /// The very bytes that are written are checked: a bit that flips in this read must not be made durable.
    fn write_again(&mut self, segment: &mut Segment, offset: u64, length: u64) -> Result<(), JournalError> {
        let mut bytes = vec![0; length as usize];
        segment
            .file
            .read_exact_at(&mut bytes, offset)
            .map_err(|source| io_error("read", &segment.path, source))?;
        let sound = Header::decode(&bytes).and_then(|header| match extent(header.body_bytes as usize) {
            needed if needed == length => open_bytes(&mut bytes.clone(), &header, &mut self.opener),
            _ => Err(Damage::Header),
        });
        if let Err(damage) = sound.and_then(|block| match Head::of(&block) == self.head {
            true => Ok(()),
            false => Err(Damage::Hash),
        }) {
            return Err(segment.damaged(offset, self.head.height, damage));
        }
        segment
            .file
            .write_all_at(&bytes, offset)
            .and_then(|()| segment.file.sync_data())
            .map_err(|source| io_error("write again", &segment.path, source))
    }

    fn tail(
        &self,
        segment: &mut Segment,
        offset: u64,
        fault: Option<JournalError>,
    ) -> Result<Tail, JournalError> {
        judge_tail(segment, offset, &self.head, self.shard, self.durable, fault)
    }
}

/// What stands from `offset` on, beyond the block that is the head. `fault` is what is wrong with the block
/// there, if something stands there.
pub(crate) fn judge_tail(
    segment: &mut Segment,
    offset: u64,
    head: &Head,
    shard: ShardId,
    durable: Height,
    fault: Option<JournalError>,
) -> Result<Tail, JournalError> {
    let Some(last_nonzero) = segment.last_nonzero(offset)? else {
        return Ok(Tail::Clean);
    };
    let height = Height(head.height.0 + 1);
    let fault = fault.unwrap_or_else(|| segment.damaged(offset, height, Damage::Hole));
    let may_be_torn = match &fault {
        JournalError::Damaged { damage, .. } => match damage {
            // Whole, only not for us: cutting it would be guessing.
            Damage::Version { .. } | Damage::Key(KeyError::Unknown(_)) => false,
            _ => true,
        },
        _ => false,
    };
    if !may_be_torn
        || height <= durable
        || block_beyond(segment, offset)?
        || !looks_torn(segment, offset, head, shard)?
    {
        return Ok(Tail::Damaged(fault));
    }
    let bytes = (last_nonzero + 1 - offset).next_multiple_of(SECTOR_BYTES as u64);
    Ok(Tail::Torn(TornTail {
        file: segment.path.clone(),
        offset,
        bytes,
    }))
}

/// Whether a header with a sound checksum stands at any page beyond `offset`.
fn block_beyond(segment: &mut Segment, offset: u64) -> Result<bool, JournalError> {
    let mut at = offset + PAGE_BYTES;
    while at < segment.length {
        let page = segment.bytes(at, PAGE_BYTES.min(segment.length - at))?;
        if matches!(Header::decode(page), Ok(_) | Err(Damage::Version { .. })) {
            return Ok(true);
        }
        at += PAGE_BYTES;
    }
    Ok(false)
}

/// Whether some sector of the block at `offset` is as it was before it was written.
fn looks_torn(segment: &mut Segment, offset: u64, head: &Head, shard: ShardId) -> Result<bool, JournalError> {
    let left = segment.length - offset;
    let page = segment.bytes(offset, PAGE_BYTES.min(left))?;
    match Header::decode(page) {
        Ok(header) => {
            let extent = extent(header.body_bytes as usize);
            if header.follows(shard, head).is_err() || extent > left {
                return Ok(false);
            }
            let bytes = segment.bytes(offset, extent)?;
            Ok(bytes.chunks(SECTOR_BYTES).any(is_unwritten) || bytes.last() == Some(&0))
        }
        // How long it was to be is not known, but a block has at least a page.
        Err(_) => Ok(page.chunks(SECTOR_BYTES).any(is_unwritten)),
    }
}

fn is_unwritten(sector: &[u8]) -> bool {
    sector.iter().rev().take(UNWRITTEN_BYTES).all(|&byte| byte == 0)
}

fn zero(segment: &Segment, torn: &TornTail) -> Result<(), JournalError> {
    tracing::warn!(
        file = %torn.file.display(), offset = torn.offset, bytes = torn.bytes,
        "a write that never finished, and was never acknowledged, is cut off"
    );
    let length = torn.bytes.min(segment.length - torn.offset);
    erase(&*segment.file, torn.offset, length)
        .and_then(|()| segment.file.sync_data())
        .map_err(|source| io_error("zero", &segment.path, source))
}

impl Head {
    /// The head that a block makes.
    #[must_use]
    pub fn of(block: &Block) -> Self {
        Self {
            height: block.height,
            hash: block.hash,
            epoch: block.epoch,
            writer: block.writer,
            timestamp: block
                .entries
                .last()
                .map_or(block.timestamp, |entry| entry.timestamp),
        }
    }
}
