//! The one writer of the index. Owns: what is being filled, what waits to be flushed, what is durable, and what
//! readers see. Every change of what is durable is a new manifest.

use crate::appender::{Appender, ROWS_AHEAD};
use crate::file::{FileStamp, PageFile, Place};
use crate::hash::KeyHasher;
use crate::jobs::{Done, Flush, Job, JobDone, Merge, Work};
use crate::manifest::Manifest;
use crate::memory::{AccountIds, Memory};
use crate::page::PAGE_BYTES;
use crate::run::{Bounds, Run};
use crate::view::{Durable, Of, View};
use crate::{HistoryError, Options, Position, Reader, open};
use arc_swap::ArcSwap;
use ledger::{AccountNumber, Height, Outcome, RowNumber, Sealed};
use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use storage::{KeyRing, Storage};

/// Feeds the index; owned by one thread.
pub struct Writer {
    pub(crate) place: Arc<Place>,
    pub(crate) options: Options,
    pub(crate) seed: [u8; 16],
    pub(crate) shared: Arc<ArcSwap<View>>,
    pub(crate) account_ids: Arc<AccountIds>,
    pub(crate) active: Appender,
    pub(crate) frozen: VecDeque<Frozen>,
    pub(crate) published: Position,
    pub(crate) durable: Arc<Durable>,
    pub(crate) durable_blob: u64,
    pub(crate) next_file: u64,
    /// The store file that is appended to, and its next free page.
    pub(crate) store: Option<(Arc<PageFile>, u64)>,
    pub(crate) next_ticket: u64,
    pub(crate) flush_under_way: Option<u64>,
    pub(crate) merge_under_way: Option<u64>,
    pub(crate) freeze_wanted: bool,
}

/// Full memory, waiting to be written.
pub(crate) struct Frozen {
    memory: Arc<Memory>,
    position: Position,
    next_blob: u64,
    bounds: (Bounds, Bounds),
}

impl Writer {
    /// Opens the index; nothing there means an empty one. Files that the manifest does not name are removed.
    /// Takes the time to read filters, directories and accounts.
    ///
    /// # Errors
    /// [`HistoryError::Damaged`] when it must be [`Writer::reset`] and rebuilt from the journal; otherwise what the
    /// disk says.
    pub fn open(
        storage: Arc<dyn Storage>,
        dir: &Path,
        keys: &KeyRing,
        options: Options,
    ) -> Result<(Self, Reader), HistoryError> {
        let place = Place {
            storage,
            dir: dir.to_owned(),
            keys: keys.clone(),
            entropy: options.entropy,
        };
        let writer = open::open(Arc::new(place), options)?;
        let reader = Reader {
            shared: writer.shared.clone(),
        };
        Ok((writer, reader))
    }

    /// Removes all files of the index, the manifest first. No writer or reader may be open on it.
    ///
    /// # Errors
    /// What the disk says.
    pub fn reset(storage: &dyn Storage, dir: &Path) -> Result<(), HistoryError> {
        open::reset(storage, dir)
    }

    /// What survives a crash: feed it everything after this height.
    #[must_use]
    pub fn durable(&self) -> Position {
        self.durable.position
    }

    /// What readers see.
    #[must_use]
    pub fn published(&self) -> Position {
        self.published
    }

    /// Full memtables waiting to be written, each of about [`Options::flush_rows`] rows. Above 1 the index falls
    /// behind: run its jobs before feeding more.
    #[must_use]
    pub fn backlog(&self) -> usize {
        self.frozen.len()
    }

    /// Runs of one size beyond those that a merge takes: how far merging is behind.
    #[must_use]
    pub fn merge_backlog(&self) -> usize {
        let fan_in = self.options.merge_fan_in as usize;
        let of_tier = |runs: &[Arc<Run>]| {
            runs.chunk_by(|a, b| a.meta.tier == b.meta.tier)
                .map(<[_]>::len)
                .max()
        };
        let most =
            [&self.durable.row_runs, &self.durable.account_runs].map(|runs| of_tier(runs).unwrap_or(0));
        most[0].max(most[1]).saturating_sub(fan_in)
    }

    /// Takes rows and accounts in; those already there are skipped, so that a replay may begin early.
    /// Nobody sees them before [`Writer::commit`].
    ///
    /// # Errors
    /// [`HistoryError::Gap`], [`HistoryError::Inconsistent`]; the writer is then of no more use.
    pub fn append(&mut self, outcome: &Outcome) -> Result<(), HistoryError> {
        let mut metadata = outcome.account_metadata.iter().peekable();
        for (index, account) in outcome.new_accounts.iter().enumerate() {
            let sealed = next_metadata(&mut metadata, index);
            let number = u64::from(outcome.first_account.0) + index as u64;
            if number < self.active.next_account {
                let own = u32::try_from(number)
                    .map(AccountNumber)
                    .unwrap_or(AccountNumber::NONE);
                if self.account_ids.get(own) != Some(account.id) {
                    let reason = "another account has this number";
                    return Err(HistoryError::Inconsistent { number, reason });
                }
                continue;
            }
            expect_next("account", number, self.active.next_account)?;
            self.active.account(account, sealed)?;
        }
        let mut metadata = outcome.row_metadata.iter().peekable();
        for (group, rows) in outcome.rows.chunks(ROWS_AHEAD).enumerate() {
            let keys = self.active.look_ahead(rows);
            for (at, (row, keys)) in rows.iter().zip(&keys).enumerate() {
                let index = group * ROWS_AHEAD + at;
                let sealed = next_metadata(&mut metadata, index);
                let number = outcome.first_row.0 + index as u64;
                if number < self.active.next_row {
                    continue;
                }
                expect_next("row", number, self.active.next_row)?;
                self.active.row(row, keys, sealed)?;
            }
        }
        Ok(())
    }

    /// Shows readers everything appended so far, as of a block. A block that is already in is passed over.
    ///
    /// # Errors
    /// [`HistoryError::Inconsistent`] when another block with this height is in.
    pub fn commit(&mut self, height: Height, hash: [u8; 32]) -> Result<(), HistoryError> {
        if height <= self.published.height {
            let same = height < self.published.height || hash == self.published.hash;
            if !same || self.has_uncommitted() {
                let reason = "another block of this height was committed";
                return Err(HistoryError::Inconsistent {
                    number: height.0,
                    reason,
                });
            }
            return Ok(());
        }
        let accounts = u32::try_from(self.active.next_account).map(AccountNumber);
        self.published = Position {
            height,
            hash,
            rows: RowNumber(self.active.next_row),
            accounts: accounts.map_err(|_| HistoryError::Full("account numbers are used up"))?,
        };
        let flush_rows = u64::from(self.options.flush_rows);
        if self.freeze_wanted
            || self.active.rows() >= flush_rows
            || self.active.accounts() >= flush_rows
            || self.active.blob_bytes() >= self.options.flush_metadata_bytes
        {
            self.freeze_now();
        }
        self.publish();
        Ok(())
    }

    /// Has everything committed written by the next job whatever its size, for a clean stop. Within a block it
    /// takes effect at its commit.
    pub fn freeze(&mut self) {
        if self.has_uncommitted() {
            self.freeze_wanted = true;
        } else if self.published != self.newest_frozen() {
            self.freeze_now();
            self.publish();
        }
    }

    fn newest_frozen(&self) -> Position {
        self.frozen
            .back()
            .map_or(self.durable.position, |frozen| frozen.position)
    }

    fn has_uncommitted(&self) -> bool {
        self.active.next_row != self.published.rows.0
            || self.active.next_account != u64::from(self.published.accounts.0)
    }

    fn freeze_now(&mut self) {
        self.freeze_wanted = false;
        let (memory, bounds) = self.active.turn(self.options.flush_rows as usize);
        self.frozen.push_back(Frozen {
            memory,
            position: self.published,
            next_blob: self.active.next_blob,
            bounds,
        });
    }

    pub(crate) fn view(&self) -> View {
        let (row_tail, account_tail) = self.active.tails();
        let frozen = self.frozen.iter().map(|frozen| frozen.memory.clone());
        View {
            position: self.published,
            durable: self.durable.clone(),
            memories: frozen.chain([self.active.memory.clone()]).collect(),
            covers: self.active.covers.all().to_vec(),
            row_tail,
            account_tail,
            hasher: KeyHasher::new(self.seed),
            account_ids: self.account_ids.clone(),
        }
    }

    fn publish(&self) {
        self.shared.store(Arc::new(self.view()));
    }

    /// What is durable or in memory changed its place, while nothing more may be seen than before.
    fn republish(&self) {
        let seen = self.shared.load();
        let mut view = self.view();
        view.row_tail.clone_from(&seen.row_tail);
        view.account_tail.clone_from(&seen.account_tail);
        self.shared.store(Arc::new(view));
    }

    fn stamp(&mut self) -> FileStamp {
        self.next_file += 1;
        self.place.stamp(self.next_file - 1)
    }

    /// The next piece of work, if there is one: at most one flush and one merge are under way at a time.
    pub fn next_job(&mut self) -> Option<Job> {
        if let Some(flush) = self.next_flush() {
            return Some(self.job(Work::Flush(flush)));
        }
        let merge = self.next_merge()?;
        Some(self.job(Work::Merge(merge)))
    }

    /// The same without merges, which can wait: for who wants memory written out and nothing else.
    pub fn next_flush_job(&mut self) -> Option<Job> {
        let flush = self.next_flush()?;
        Some(self.job(Work::Flush(flush)))
    }

    fn job(&mut self, work: Work) -> Job {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        match work {
            Work::Flush(_) => self.flush_under_way = Some(ticket),
            Work::Merge(_) => self.merge_under_way = Some(ticket),
        }
        Job {
            ticket,
            place: self.place.clone(),
            work,
        }
    }

    fn next_flush(&mut self) -> Option<Flush> {
        if self.flush_under_way.is_some() || self.frozen.is_empty() {
            return None;
        }
        let full = self.options.store_file_bytes / PAGE_BYTES as u64;
        let store = match self.store.clone().filter(|(_, next_page)| *next_page < full) {
            Some(store) => Ok(store),
            None => Err(self.stamp()),
        };
        let (row_run, account_run) = (self.stamp(), self.stamp());
        let frozen = &self.frozen[0];
        Some(Flush {
            memory: frozen.memory.clone(),
            position: frozen.position,
            store,
            row_run,
            account_run,
            row_bounds: frozen.bounds,
        })
    }

    fn next_merge(&mut self) -> Option<Merge> {
        if self.merge_under_way.is_some() {
            return None;
        }
        let (of, inputs) = [Of::Rows, Of::Accounts].into_iter().find_map(|of| {
            let fan_in = self.options.merge_fan_in.max(2) as usize;
            Some((of, mergeable(self.durable.runs(of), fan_in)?))
        })?;
        Some(Merge {
            of,
            inputs,
            output: self.stamp(),
        })
    }

    /// Tells that a job failed; [`Writer::next_job`] gives the work again, with fresh files.
    pub fn job_failed(&mut self, ticket: u64) {
        if self.flush_under_way == Some(ticket) {
            self.flush_under_way = None;
            // What stands at the end of the store file is in doubt, and no page is written twice.
            self.store = None;
        }
        if self.merge_under_way == Some(ticket) {
            self.merge_under_way = None;
        }
    }

    /// Puts a result in force, durably: from then on readers find it in files. Files that were merged are removed
    /// once nobody reads them.
    ///
    /// # Errors
    /// What the disk says; then nothing changed, and the work is given again with fresh files. Those that it had made are removed,
    /// unless a manifest that names them may stand.
    pub fn install(&mut self, done: JobDone) -> Result<(), HistoryError> {
        let ticket = Some(done.ticket);
        if ticket != self.flush_under_way && ticket != self.merge_under_way {
            return Ok(());
        }
        let mut durable = Durable::clone(&self.durable);
        let mut blob = self.durable_blob;
        let mut flushed_to = None;
        let mut merged = Vec::new();
        let made = self.files_made(&done.result);
        match done.result {
            Done::Flush {
                position,
                extent,
                store,
                row_run,
                account_run,
            } => {
                durable.position = position;
                durable.extents.extend(extent);
                durable.row_runs.extend(row_run);
                durable.account_runs.extend(account_run);
                blob = self.frozen[0].next_blob;
                flushed_to = Some(store);
            }
            Done::Merge { of, inputs, output } => {
                replace_runs(durable.runs_mut(of), &inputs, output);
                merged = inputs;
            }
        }
        let written = self.manifest(&durable, blob).write_beside(&self.place);
        if written.is_err() {
            // Surely no manifest names them, while after a failure from here on one may.
            made.iter().for_each(|file| file.retire());
        }
        if let Err(error) = written.and_then(|written| Manifest::put_in_force(&self.place, &written)) {
            self.job_failed(done.ticket);
            return Err(error);
        }
        self.durable = Arc::new(durable);
        self.durable_blob = blob;
        if let Some(store) = flushed_to {
            self.store = store;
            self.frozen.pop_front();
            self.flush_under_way = None;
        } else {
            self.merge_under_way = None;
        }
        self.republish();
        for run in merged {
            run.file.retire();
        }
        Ok(())
    }

    /// The files that a job made, which nothing in force knows of yet.
    fn files_made(&self, done: &Done) -> Vec<Arc<PageFile>> {
        match done {
            Done::Flush {
                store,
                row_run,
                account_run,
                ..
            } => {
                let is_new = |file: &Arc<PageFile>| {
                    let mut known = self.durable.extents.iter();
                    known.all(|extent| extent.file.stamp.number != file.stamp.number)
                };
                let store = store.iter().map(|(file, _)| file).filter(|file| is_new(file));
                let runs = [row_run, account_run].into_iter().flatten();
                store.chain(runs.map(|run| &run.file)).cloned().collect()
            }
            Done::Merge { output, .. } => vec![output.file.clone()],
        }
    }

    fn manifest(&self, durable: &Durable, next_blob: u64) -> Manifest {
        let mut store_files: Vec<FileStamp> =
            durable.extents.iter().map(|extent| extent.file.stamp).collect();
        store_files.dedup();
        let metas = |runs: &[Arc<Run>]| runs.iter().map(|run| run.meta.clone()).collect();
        Manifest {
            seed: self.seed,
            position: durable.position,
            next_file: self.next_file,
            next_blob,
            store_files,
            extents: durable.extents.iter().map(|extent| extent.meta.clone()).collect(),
            row_runs: metas(&durable.row_runs),
            account_runs: metas(&durable.account_runs),
        }
    }
}

fn expect_next(what: &'static str, found: u64, expected: u64) -> Result<(), HistoryError> {
    if found == expected {
        Ok(())
    } else {
        Err(HistoryError::Gap {
            what,
            found,
            expected,
        })
    }
}

fn next_metadata<'m>(
    metadata: &mut std::iter::Peekable<std::slice::Iter<'m, (u32, Sealed)>>,
    index: usize,
) -> Option<&'m Sealed> {
    metadata
        .next_if(|(at, _)| *at as usize == index)
        .map(|(_, sealed)| sealed)
}

/// The newest neighbours of one tier that are enough for a merge, and together within what a run can number.
fn mergeable(runs: &[Arc<Run>], fan_in: usize) -> Option<Vec<Arc<Run>>> {
    let groups: Vec<_> = runs.windows(fan_in).collect();
    let found = groups.into_iter().rev().find(|window| {
        window.iter().all(|run| run.meta.tier == window[0].meta.tier)
            && window[fan_in - 1].meta.end() - window[0].meta.first <= u64::from(u32::MAX)
    })?;
    Some(found.to_vec())
}

fn replace_runs(runs: &mut Vec<Arc<Run>>, inputs: &[Arc<Run>], output: Arc<Run>) {
    let start = runs
        .iter()
        .position(|run| Arc::ptr_eq(run, &inputs[0]))
        .expect("a merged run is in force");
    let end = start + inputs.len();
    assert!(
        runs[start..end]
            .iter()
            .zip(inputs)
            .all(|(run, input)| Arc::ptr_eq(run, input)),
        "merged runs are neighbours in force"
    );
    runs.splice(start..end, [output]);
}
