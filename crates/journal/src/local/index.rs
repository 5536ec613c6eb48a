//! Where blocks lie. Owns: the segments' list in memory and every 64th block's page; shared by writer and readers.

use super::segment::PAGE_BYTES;
use ledger::Height;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};

/// Every so many blocks the page is kept; those between are found by walking.
const STRIDE: u64 = 64;

/// The index of one journal.
#[derive(Default)]
pub(crate) struct Index {
    head: AtomicU64,
    segments: RwLock<Vec<SegmentIndex>>,
}

/// Of one segment.
pub(crate) struct SegmentIndex {
    pub(crate) first: Height,
    pub(crate) path: PathBuf,
    /// Page of the blocks first, first + 64, first + 128 …
    marks: Vec<u32>,
}

/// Where to begin walking for a block.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) path: PathBuf,
    /// The block at `offset`; at most the one asked for.
    pub(crate) height: Height,
    pub(crate) offset: u64,
}

impl SegmentIndex {
    pub(crate) fn new(first: Height, path: PathBuf) -> Self {
        Self {
            first,
            path,
            marks: Vec::new(),
        }
    }

    /// Notes where a block lies.
    pub(crate) fn note(&mut self, height: Height, offset: u64) {
        if (height.0 - self.first.0).is_multiple_of(STRIDE) {
            self.marks
                .push(u32::try_from(offset / PAGE_BYTES).expect("a segment has fewer pages"));
        }
    }
}

impl Index {
    pub(crate) fn new(head: Height, segments: Vec<SegmentIndex>) -> Self {
        Self {
            head: AtomicU64::new(head.0),
            segments: RwLock::new(segments),
        }
    }

    /// The last durable block.
    pub(crate) fn head(&self) -> Height {
        Height(self.head.load(Ordering::Acquire))
    }

    /// A block became durable; readers see it from now on. `segment` is given when it is the first of one.
    pub(crate) fn advance(&self, height: Height, offset: u64, segment: Option<PathBuf>) {
        let mut segments = self.segments.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(path) = segment {
            // An empty segment of that name may have been replaced by a larger one.
            segments.retain(|other| other.first < height);
            segments.push(SegmentIndex::new(height, path));
        }
        segments
            .last_mut()
            .expect("a block lies in a segment")
            .note(height, offset);
        drop(segments);
        self.head.store(height.0, Ordering::Release);
    }

    /// Where to look for a block that is not above the head.
    pub(crate) fn find(&self, height: Height) -> Option<Place> {
        let segments = self.segments.read().unwrap_or_else(PoisonError::into_inner);
        let after = segments.partition_point(|segment| segment.first <= height);
        let segment = segments.get(after.checked_sub(1)?)?;
        let mark = (height.0 - segment.first.0) / STRIDE;
        let page = segment.marks.get(usize::try_from(mark).ok()?)?;
        Some(Place {
            path: segment.path.clone(),
            height: Height(segment.first.0 + mark * STRIDE),
            offset: u64::from(*page) * PAGE_BYTES,
        })
    }
}
