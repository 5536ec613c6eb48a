//! Work off the critical path. Owns: writing what is in memory to files, merging runs. A job holds all that it
//! needs, takes little memory, and changes nothing that is in force: [`crate::Writer::install`] does.

use crate::codec::Bytes;
use crate::extent::Extent;
use crate::file::{FileStamp, PageFile, Place};
use crate::memory::{MemTable, Memory};
use crate::page::{PAGE_BYTES, PAYLOAD_BYTES};
use crate::run::{Bounds, Run, RunBuilder, UNIQUE_PER_PAGE, next_chunk, unique_at};
use crate::view::Of;
use crate::{HistoryError, Position};
use std::sync::Arc;

/// Work for any thread, at low priority: a flush or a merge.
pub struct Job {
    pub(crate) ticket: u64,
    pub(crate) place: Arc<Place>,
    pub(crate) work: Work,
}

pub(crate) enum Work {
    Flush(Flush),
    Merge(Merge),
}

pub(crate) struct Flush {
    pub memory: Arc<Memory>,
    pub position: Position,
    /// Where to append, and at which page; without one, a new file is made.
    pub store: Result<(Arc<PageFile>, u64), FileStamp>,
    pub row_run: FileStamp,
    pub account_run: FileStamp,
    pub row_bounds: (Bounds, Bounds),
}

pub(crate) struct Merge {
    pub of: Of,
    pub inputs: Vec<Arc<Run>>,
    pub output: FileStamp,
}

/// How fast a job goes about a disk that others use too.
pub trait Pace {
    /// So many bytes are written before they are made durable in one step: what a commit beside it may wait behind.
    fn step_bytes(&self) -> usize;

    /// Called after each step; may sleep.
    fn after_step(&self);
}

/// As fast as it can: for a start, a stop, and tests.
pub struct FullSpeed;

impl Pace for FullSpeed {
    fn step_bytes(&self) -> usize {
        1 << 20
    }

    fn after_step(&self) {}
}

/// A job's result, for [`crate::Writer::install`].
pub struct JobDone {
    pub(crate) ticket: u64,
    pub(crate) result: Done,
}

pub(crate) enum Done {
    Flush {
        position: Position,
        extent: Option<Arc<Extent>>,
        store: Option<(Arc<PageFile>, u64)>,
        row_run: Option<Arc<Run>>,
        account_run: Option<Arc<Run>>,
    },
    Merge {
        of: Of,
        inputs: Vec<Arc<Run>>,
        output: Arc<Run>,
    },
}

impl Job {
    /// Names the job for [`crate::Writer::job_failed`].
    #[must_use]
    pub fn ticket(&self) -> u64 {
        self.ticket
    }

    /// Whether it moves memory to disk; such a job should not wait behind a merge.
    #[must_use]
    pub fn is_flush(&self) -> bool {
        matches!(self.work, Work::Flush(_))
    }

    /// Does the work, without the writer, at the pace given. Memory stays bounded, files are durable when it returns.
    ///
    /// # Errors
    /// What the disk says; [`HistoryError::Damaged`] when a run that is merged does not authenticate. The files that it began
    /// are removed: it is given again with others, and a full disk must not fill up with them.
    pub fn run(self, pace: &dyn Pace) -> Result<JobDone, HistoryError> {
        let Self { ticket, place, work } = self;
        let files = work.new_files();
        match carry_out(&place, work, pace) {
            Ok(result) => Ok(JobDone { ticket, result }),
            Err(error) => {
                files.into_iter().for_each(|file| place.discard(file));
                Err(error)
            }
        }
    }
}

impl Work {
    /// The files that it makes.
    fn new_files(&self) -> Vec<FileStamp> {
        match self {
            Self::Flush(flush) => {
                let store = flush.store.as_ref().err().copied();
                store
                    .into_iter()
                    .chain([flush.row_run, flush.account_run])
                    .collect()
            }
            Self::Merge(merge) => vec![merge.output],
        }
    }
}

fn carry_out(place: &Place, work: Work, pace: &dyn Pace) -> Result<Done, HistoryError> {
    let done = match work {
        Work::Flush(flush) => run_flush(place, flush, pace)?,
        Work::Merge(merge) => run_merge(place, merge, pace)?,
    };
    place
        .storage
        .sync_directory(&place.dir)
        .map_err(|source| place.io_error(&place.dir, source))?;
    Ok(done)
}

fn run_flush(place: &Place, flush: Flush, pace: &dyn Pace) -> Result<Done, HistoryError> {
    let memory = &*flush.memory;
    if memory.rows.page_count() + memory.accounts.page_count() == 0 {
        let (position, store) = (flush.position, flush.store.ok());
        return Ok(Done::Flush {
            position,
            extent: None,
            store,
            row_run: None,
            account_run: None,
        });
    }
    let (file, start_page) = match flush.store {
        Ok(store) => store,
        Err(stamp) => (place.create(stamp)?, 0),
    };
    let (extent, next_page) = Extent::write(&file, start_page, memory, pace)?;
    let row_run = flush_table(
        place,
        flush.row_run,
        &memory.rows,
        extent.rows.meta.count,
        flush.row_bounds,
        pace,
    )?;
    let bounds = (Bounds::default(), Bounds::default());
    let account_run = flush_table(
        place,
        flush.account_run,
        &memory.accounts,
        extent.accounts.meta.count,
        bounds,
        pace,
    )?;
    Ok(Done::Flush {
        position: flush.position,
        extent: Some(Arc::new(extent)),
        store: Some((file, next_page)),
        row_run,
        account_run,
    })
}

fn relative(number: u64) -> u32 {
    u32::try_from(number).expect("a run covers less than 2^32 records")
}

fn flush_table(
    place: &Place,
    stamp: FileStamp,
    table: &MemTable,
    count: u64,
    (ids, pendings): (Bounds, Bounds),
    pace: &dyn Pace,
) -> Result<Option<Arc<Run>>, HistoryError> {
    if count == 0 {
        return Ok(None);
    }
    let unique = table.sorted_unique();
    let covers = table.first..=table.first + count - 1;
    let mut builder = RunBuilder::new(place, stamp, 0, covers, unique.len() as u64, pace)?;
    builder.set_bounds(ids, pendings);
    for (key, number) in unique {
        builder.unique(key, relative(number - 1))?;
    }
    builder.end_unique()?;
    for (key, numbers) in table.sorted_postings().iter() {
        for &number in numbers {
            builder.posting(key, number)?;
        }
    }
    Ok(Some(Arc::new(builder.finish()?)))
}

fn run_merge(place: &Place, merge: Merge, pace: &dyn Pace) -> Result<Done, HistoryError> {
    let inputs = &merge.inputs;
    let (first, last) = (&inputs[0].meta, &inputs[inputs.len() - 1].meta);
    let unique = inputs.iter().map(|run| run.meta.unique).sum();
    let tier = inputs
        .iter()
        .map(|run| run.meta.tier)
        .max()
        .unwrap_or(0)
        .saturating_add(1);
    let mut builder = RunBuilder::new(
        place,
        merge.output,
        tier,
        first.first..=last.end() - 1,
        unique,
        pace,
    )?;
    let bounds = inputs
        .iter()
        .fold((Bounds::default(), Bounds::default()), |(ids, pendings), run| {
            (ids.join(run.meta.ids), pendings.join(run.meta.pendings))
        });
    builder.set_bounds(bounds.0, bounds.1);
    merge_unique(inputs, &mut builder)?;
    merge_postings(inputs, &mut builder)?;
    Ok(Done::Merge {
        of: merge.of,
        inputs: merge.inputs,
        output: Arc::new(builder.finish()?),
    })
}

/// Reads a run's pages from front to back.
struct Scan<'r> {
    run: &'r Run,
    page: u64,
    end: u64,
    buffer: Vec<u8>,
    at: usize,
    filled: usize,
}

/// Pages that a merge reads at once from each input.
const READ_PAGES: usize = 16;

impl<'r> Scan<'r> {
    fn new(run: &'r Run, page: u64, pages: u64) -> Self {
        Self {
            run,
            page,
            end: page + pages,
            buffer: vec![0; READ_PAGES * PAGE_BYTES],
            at: 0,
            filled: 0,
        }
    }

    /// Number and content of the next page.
    fn next(&mut self) -> Result<Option<(u64, &[u8])>, HistoryError> {
        if self.at == self.filled {
            let left = usize::try_from(self.end - self.page).unwrap_or(READ_PAGES);
            self.filled = left.min(READ_PAGES);
            self.at = 0;
            if self.filled == 0 {
                return Ok(None);
            }
            self.run
                .file
                .read_pages(self.page, &mut self.buffer[..self.filled * PAGE_BYTES])?;
        }
        let start = self.at * PAGE_BYTES;
        self.at += 1;
        self.page += 1;
        Ok(Some((self.page - 1, &self.buffer[start..start + PAYLOAD_BYTES])))
    }
}

struct UniqueScan<'r> {
    scan: Scan<'r>,
    entries: Vec<(u64, u32)>,
    at: usize,
    left: u64,
    shift: u32,
}

impl UniqueScan<'_> {
    #[inline]
    fn head(&self) -> Option<(u64, u32)> {
        self.entries.get(self.at).copied()
    }

    #[inline]
    fn advance(&mut self) -> Result<(), HistoryError> {
        self.at += 1;
        if self.at >= self.entries.len() {
            self.load()
        } else {
            Ok(())
        }
    }

    fn load(&mut self) -> Result<(), HistoryError> {
        self.entries.clear();
        self.at = 0;
        if let Some((_, page)) = self.scan.next()? {
            let count = usize::try_from(self.left).map_or(UNIQUE_PER_PAGE, |left| left.min(UNIQUE_PER_PAGE));
            self.left -= count as u64;
            let shift = self.shift;
            self.entries.extend((0..count).map(|index| {
                let (key, number) = unique_at(page, index);
                (key, number + shift)
            }));
        }
        Ok(())
    }
}

fn shift(run: &Run, builder: &RunBuilder) -> u32 {
    relative(run.meta.first - builder.first())
}

fn merge_unique(inputs: &[Arc<Run>], builder: &mut RunBuilder) -> Result<(), HistoryError> {
    let mut scans = Vec::new();
    for run in inputs {
        let mut scan = UniqueScan {
            scan: Scan::new(run, 0, run.first_posting_page()),
            entries: Vec::with_capacity(UNIQUE_PER_PAGE),
            at: 0,
            left: run.meta.unique,
            shift: shift(run, builder),
        };
        scan.load()?;
        scans.push(scan);
    }
    loop {
        let heads = scans
            .iter()
            .enumerate()
            .filter_map(|(i, scan)| Some((scan.head()?, i)));
        let Some(((key, number), from)) = heads.min() else {
            return builder.end_unique();
        };
        builder.unique(key, number)?;
        scans[from].advance()?;
    }
}

/// The chunks of a run, one after the other.
struct ChunkScan<'r> {
    scan: Scan<'r>,
    page: Vec<u8>,
    page_number: u64,
    /// What of the page is still to be read.
    at: usize,
    key: u64,
    numbers: Vec<u32>,
    shift: u32,
}

impl ChunkScan<'_> {
    /// Reads the next chunk into `key` and `numbers`; a key of 0 at the end.
    fn advance(&mut self) -> Result<(), HistoryError> {
        self.numbers.clear();
        loop {
            let mut bytes = Bytes(&self.page[self.at..]);
            let malformed = || {
                self.scan
                    .run
                    .file
                    .damaged(self.page_number, "its postings make no sense")
            };
            let before = bytes.0.len();
            if let Some(chunk) = next_chunk(&mut bytes).ok_or_else(malformed)? {
                self.at += before - bytes.0.len();
                self.key = chunk.key;
                let (numbers, shift) = (&mut self.numbers, self.shift);
                let done = chunk.numbers(|number| numbers.push(number.saturating_add(shift)));
                return done.ok_or_else(|| {
                    self.scan
                        .run
                        .file
                        .damaged(self.page_number, "its postings make no sense")
                });
            }
            let Some((number, page)) = self.scan.next()? else {
                self.key = 0;
                return Ok(());
            };
            self.page.clear();
            self.page.extend_from_slice(page);
            self.page_number = number;
            self.at = 0;
        }
    }
}

fn merge_postings(inputs: &[Arc<Run>], builder: &mut RunBuilder) -> Result<(), HistoryError> {
    let mut scans = Vec::new();
    for run in inputs {
        let mut scan = ChunkScan {
            scan: Scan::new(run, run.first_posting_page(), run.meta.posting_pages),
            page: Vec::with_capacity(PAYLOAD_BYTES),
            page_number: 0,
            at: 0,
            key: 0,
            numbers: Vec::new(),
            shift: shift(run, builder),
        };
        scan.advance()?;
        scans.push(scan);
    }
    // Equal keys: the older run first, so that numbers rise.
    while let Some((key, from)) = scans
        .iter()
        .enumerate()
        .filter(|(_, scan)| scan.key != 0)
        .map(|(i, scan)| (scan.key, i))
        .min()
    {
        for &number in &scans[from].numbers {
            builder.posting(key, number)?;
        }
        scans[from].advance()?;
    }
    Ok(())
}
