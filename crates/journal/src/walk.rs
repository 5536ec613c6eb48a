//! Walking a journal's files block by block, going on after damage. For `inspect` and `verify`.
//! Must not: change anything.

use crate::header::Header;
use crate::local::{Found, PAGE_BYTES, Segment, Tail, extent, judge_tail, list, read_watermark};
use crate::{Block, Damage, Head, JournalError, Opener, ShardId, TornTail};
use ledger::Height;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use storage::{KeyRing, Storage};

/// How much is read at once.
const AHEAD_BYTES: u64 = 1 << 20;

/// One block as it stands on disk, or a place where one should.
#[derive(Debug)]
pub struct BlockReport<'a> {
    /// In which segment.
    pub file: &'a Path,
    /// Where in it.
    pub offset: u64,
    /// The height that belongs there.
    pub expected: Height,
    /// The header, when it can be read.
    pub header: Option<&'a Header>,
    /// Bytes that it takes on disk, padding included; 0 when that is not known.
    pub disk_bytes: u64,
    /// The block, when it is sound in itself (its place in the chain may still be wrong).
    pub block: Option<&'a Block>,
    /// What is wrong with it or with its place.
    pub problem: Option<&'a JournalError>,
}

/// What a walk came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WalkSummary {
    /// The last block before the first problem, which all of the chain up to it leads to.
    pub head: Head,
    /// How many segments there are.
    pub segments: u64,
    /// How many sound blocks.
    pub blocks: u64,
    /// How many events those hold.
    pub events: u64,
    /// Bytes of all segments.
    pub disk_bytes: u64,
    /// How many problems were reported.
    pub problems: u64,
    /// A write that never finished, at the end; opening the journal would cut it. Not a problem.
    pub torn: Option<TornTail>,
    /// Whether the visitor stopped the walk.
    pub stopped: bool,
}

/// Walks all blocks of a journal that nobody writes to, and tells the visitor of each and of each problem.
/// After damage it goes on at the next header that can be read. A damaged watermark is told last: the blocks are looked
/// at without it, so that who reads of it knows whether they are sound.
///
/// # Errors
/// [`JournalError::Io`] and `Name`: what keeps it from walking at all.
pub fn walk(
    storage: &dyn Storage,
    directory: &Path,
    keys: &KeyRing,
    shard: ShardId,
    visitor: &mut dyn FnMut(&BlockReport) -> ControlFlow<()>,
) -> Result<WalkSummary, JournalError> {
    let files = list(storage, directory)?;
    let (durable, damaged_watermark) = match read_watermark(storage, directory) {
        Ok(durable) => (durable.unwrap_or_default(), None),
        Err(JournalError::Watermark { file }) => (Height::default(), Some(file)),
        Err(error) => return Err(error),
    };
    let mut walker = Walker {
        shard,
        durable,
        opener: Opener::new(keys.clone()),
        before: Head::default(),
        summary: WalkSummary {
            segments: files.len() as u64,
            ..WalkSummary::default()
        },
        visitor,
    };
    for (i, (first, path)) in files.iter().enumerate() {
        let mut segment = Segment::open(storage, path, AHEAD_BYTES)?;
        walker.summary.disk_bytes += segment.length;
        let is_last = i + 1 == files.len();
        if walker.segment(&mut segment, *first, is_last)?.is_break() {
            walker.summary.stopped = true;
            return Ok(walker.summary);
        }
    }
    if walker.before.height < durable {
        let head = walker.before.height;
        let problem = JournalError::Missing {
            directory: directory.to_owned(),
            head,
            durable,
        };
        let file = files.last().map_or(directory, |(_, path)| path.as_path());
        walker.summary.stopped = walker.problem(file, 0, None, None, problem).is_break();
    }
    if let Some(file) = damaged_watermark {
        let problem = JournalError::Watermark { file: file.clone() };
        walker.summary.stopped = walker.problem(&file, 0, None, None, problem).is_break();
    }
    Ok(walker.summary)
}

struct Walker<'a> {
    shard: ShardId,
    durable: Height,
    opener: Opener,
    /// The block before in the files, sound or not, as far as its header says.
    before: Head,
    summary: WalkSummary,
    visitor: &'a mut dyn FnMut(&BlockReport) -> ControlFlow<()>,
}

impl Walker<'_> {
    fn segment(
        &mut self,
        segment: &mut Segment,
        first: Height,
        is_last: bool,
    ) -> Result<ControlFlow<()>, JournalError> {
        let path: PathBuf = segment.path.clone();
        let expected = Height(self.before.height.0 + 1);
        if first != expected {
            let problem = JournalError::Segment {
                file: path.clone(),
                found: first,
                expected,
            };
            if self.problem(&path, 0, None, None, problem).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        let mut offset = 0;
        loop {
            let expected = Height(self.before.height.0 + 1);
            let found = segment.at(offset, expected);
            let (next, flow) = match found {
                Ok(Found::Block(header)) => self.block(segment, offset, &header, is_last)?,
                Ok(Found::Nothing) => self.gap(segment, offset, None, is_last)?,
                Err(fault @ JournalError::Damaged { .. }) => {
                    self.gap(segment, offset, Some(fault), is_last)?
                }
                Err(error) => return Err(error),
            };
            let Some(next) = next else {
                return Ok(flow);
            };
            if flow.is_break() {
                return Ok(flow);
            }
            offset = next;
        }
    }

    /// A header that can be read. Gives where to go on.
    fn block(
        &mut self,
        segment: &mut Segment,
        offset: u64,
        header: &Header,
        is_last: bool,
    ) -> Result<(Option<u64>, ControlFlow<()>), JournalError> {
        let path = segment.path.clone();
        let expected = Height(self.before.height.0 + 1);
        let place = header
            .follows(self.shard, &self.before)
            .map_err(|damage| segment.damaged(offset, expected, damage));
        let opened = match segment.open_block(offset, header, &mut self.opener) {
            Err(error @ JournalError::Io { .. }) => return Err(error),
            opened => opened,
        };
        if let (Ok(()), Err(_)) = (&place, &opened)
            && is_last
        {
            let fault = opened.expect_err("it was just seen");
            return self.gap(segment, offset, Some(fault), is_last);
        }
        let next = Self::next_block(segment, offset, header);
        let (block, content) = match opened {
            Ok(block) => (Some(block), Ok(())),
            Err(fault) => (None, Err(fault)),
        };
        let problem = place.and(content).err();
        self.note(header, block.as_ref(), problem.is_some());
        let report = BlockReport {
            file: &path,
            offset,
            expected,
            header: Some(header),
            disk_bytes: extent(header.body_bytes as usize),
            block: block.as_ref(),
            problem: problem.as_ref(),
        };
        Ok((Some(next?), (self.visitor)(&report)))
    }

    /// Where to go on after a block: behind it, or at the next page when its length cannot be true.
    fn next_block(segment: &Segment, offset: u64, header: &Header) -> Result<u64, JournalError> {
        let length = extent(header.body_bytes as usize);
        let fits = length <= segment.length - offset;
        Ok(offset + if fits { length } else { PAGE_BYTES })
    }

    fn note(&mut self, header: &Header, block: Option<&Block>, has_problem: bool) {
        self.before = block.map_or_else(|| header.as_head(), Head::of);
        if has_problem {
            self.summary.problems += 1;
            return;
        }
        self.summary.blocks += 1;
        self.summary.events += u64::from(header.events);
        if self.summary.problems == 0 {
            self.summary.head = self.before;
        }
    }

    /// No sound block: the end of the segment, a torn tail, or damage. Gives where to go on, if anywhere.
    fn gap(
        &mut self,
        segment: &mut Segment,
        offset: u64,
        fault: Option<JournalError>,
        is_last: bool,
    ) -> Result<(Option<u64>, ControlFlow<()>), JournalError> {
        let path = segment.path.clone();
        let header = segment.header_at(offset)?;
        let tail = judge_tail(segment, offset, &self.before, self.shard, self.durable, fault)?;
        let problem = match tail {
            Tail::Clean => return Ok((None, ControlFlow::Continue(()))),
            Tail::Torn(torn) if is_last => {
                self.summary.torn = Some(torn);
                return Ok((None, ControlFlow::Continue(())));
            }
            Tail::Torn(_) => segment.damaged(offset, Height(self.before.height.0 + 1), Damage::Hole),
            Tail::Damaged(fault) => fault,
        };
        let disk_bytes = header
            .as_ref()
            .map_or(0, |header| extent(header.body_bytes as usize));
        let flow = self.problem(&path, offset, header.as_ref(), Some(disk_bytes), problem);
        // The next page that begins with a sound header, or the end.
        let mut next = offset + PAGE_BYTES;
        while next < segment.length && segment.header_at(next)?.is_none() {
            next += PAGE_BYTES;
        }
        if let Some(header) = &header {
            // What follows is measured by what stands here, so that one fault is told once.
            self.before = header.as_head();
        }
        Ok(((next < segment.length).then_some(next), flow))
    }

    fn problem(
        &mut self,
        file: &Path,
        offset: u64,
        header: Option<&Header>,
        disk_bytes: Option<u64>,
        problem: JournalError,
    ) -> ControlFlow<()> {
        self.summary.problems += 1;
        (self.visitor)(&BlockReport {
            file,
            offset,
            expected: Height(self.before.height.0 + 1),
            header,
            disk_bytes: disk_bytes.unwrap_or_default(),
            block: None,
            problem: Some(&problem),
        })
    }
}
