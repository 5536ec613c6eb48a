//! Reading durable blocks, one or many. Owns: the walk over segments for readers.

use super::index::{Index, Place};
use super::segment::{Found, PAGE_BYTES, Segment, extent};
use crate::header::Header;
use crate::{Block, BlockReader, BlockScan, Damage, Head, JournalError, Opener, ShardId};
use ledger::Height;
use std::sync::Arc;
use storage::{KeyRing, Storage};

/// How much a scan reads at once.
const SCAN_BYTES: u64 = 256 << 10;

pub(crate) struct LocalReader {
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) index: Arc<Index>,
    pub(crate) keys: KeyRing,
    pub(crate) shard: ShardId,
}

impl BlockReader for LocalReader {
    fn head(&self) -> Height {
        self.index.head()
    }

    fn read(&self, height: Height) -> Result<Block, JournalError> {
        let head = self.head();
        if height.0 == 0 || height > head {
            return Err(JournalError::NoBlock { height, head });
        }
        self.walk(height, height, PAGE_BYTES).next_block()
    }

    fn scan(&self, from: Height) -> BlockScan<'_> {
        let walk = self.walk(Height(from.0.max(1)), self.head(), SCAN_BYTES);
        Box::new(walk)
    }
}

impl LocalReader {
    fn walk(&self, from: Height, until: Height, ahead: u64) -> Walk<'_> {
        Walk {
            reader: self,
            opener: Opener::new(self.keys.clone()),
            segment: None,
            offset: 0,
            next: from,
            until,
            ahead,
            before: None,
        }
    }
}

/// Blocks from one height to another.
struct Walk<'a> {
    reader: &'a LocalReader,
    opener: Opener,
    segment: Option<Segment>,
    offset: u64,
    next: Height,
    until: Height,
    ahead: u64,
    /// The block before, once there is one.
    before: Option<Head>,
}

impl Walk<'_> {
    fn next_block(&mut self) -> Result<Block, JournalError> {
        let (mut segment, header) = self.seek()?;
        if let Some(before) = &self.before {
            header
                .follows(self.reader.shard, before)
                .map_err(|damage| segment.damaged(self.offset, self.next, damage))?;
        }
        let block = segment.open_block(self.offset, &header, &mut self.opener)?;
        self.offset += extent(header.body_bytes as usize);
        self.segment = Some(segment);
        self.before = Some(Head::of(&block));
        self.next = Height(self.next.0 + 1);
        Ok(block)
    }

    /// The segment and the header of the next block, `offset` being where it stands.
    fn seek(&mut self) -> Result<(Segment, Header), JournalError> {
        // Where the walk is, that is where the next block stands, unless its segment has ended.
        if let Some(mut segment) = self.segment.take()
            && let Found::Block(header) = segment.at(self.offset, self.next)?
        {
            self.check(&segment, &header, self.next)?;
            return Ok((segment, *header));
        }
        let Place {
            path,
            mut height,
            mut offset,
        } = self.reader.index.find(self.next).ok_or_else(|| {
            let head = self.reader.head();
            JournalError::NoBlock {
                height: self.next,
                head,
            }
        })?;
        let mut segment = Segment::open(&*self.reader.storage, &path, self.ahead)?;
        loop {
            let Found::Block(header) = segment.at(offset, height)? else {
                return Err(segment.damaged(offset, height, Damage::Hole));
            };
            self.offset = offset;
            self.check(&segment, &header, height)?;
            if height == self.next {
                return Ok((segment, *header));
            }
            offset += extent(header.body_bytes as usize);
            height = Height(height.0 + 1);
        }
    }

    fn check(&self, segment: &Segment, header: &Header, height: Height) -> Result<(), JournalError> {
        let damage = if header.shard != self.reader.shard {
            Damage::Shard(header.shard.0)
        } else if header.height != height {
            Damage::Height(header.height)
        } else {
            return Ok(());
        };
        Err(segment.damaged(self.offset, height, damage))
    }
}

impl Iterator for Walk<'_> {
    type Item = Result<Block, JournalError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next > self.until {
            return None;
        }
        let block = self.next_block();
        if block.is_err() {
            // Nothing after a fault is worth trusting.
            self.until = Height(0);
        }
        Some(block)
    }
}
