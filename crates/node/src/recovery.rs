//! Coming back: journal, history, snapshot, replay. Owns: what is trusted after a start, and in which order.
//!
//! The journal is the truth. History and snapshots are derived: they are used as far as their height and hash agree
//! with the journal, and made anew otherwise. Replay must reproduce the results logged beside the commands; a
//! difference stops the node with the height named.

use crate::{NodeError, NodeOptions, snapshots};
use history::{HistoryError, Position, Reader, Writer};
use journal::{
    Block, BlockHash, BlockReader, Entry, Head, Journal, JournalError, LocalJournal, LocalOptions, Preparer,
    Results,
};
use ledger::{CommandBody, Height, Ledger, Outcome, RowNumber};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use storage::{KeyRing, Storage};

/// Blocks decoded ahead of the replay.
const BLOCKS_AHEAD: usize = 64;

/// Where a node keeps what, below its data directory.
#[derive(Clone, Debug)]
pub struct Layout {
    /// Segments of the journal.
    pub journal: PathBuf,
    /// The history index.
    pub history: PathBuf,
    /// Snapshots of the ledger.
    pub snapshots: PathBuf,
    /// The data key.
    pub keys: PathBuf,
}

impl Layout {
    /// For the options given.
    #[must_use]
    pub fn new(options: &NodeOptions) -> Self {
        let directory = &options.directory;
        Self {
            journal: directory.join("journal"),
            history: directory.join("history"),
            snapshots: directory.join("snapshots"),
            keys: options.key_file.clone().unwrap_or_else(|| directory.join("keys")),
        }
    }
}

/// The journal in the data directory, opened.
pub struct OpenJournal {
    /// Ready to append.
    pub journal: Box<dyn Journal>,
    /// Prepares segments.
    pub preparer: Preparer,
    /// With what it is sealed; history and snapshots too.
    pub keys: KeyRing,
}

/// What a node recovers from, whichever journal it is in.
#[derive(Clone)]
pub struct Source {
    /// Reads what is final.
    pub blocks: Arc<dyn BlockReader>,
    /// How far it is known to be final; history and snapshots may know better.
    pub head: Head,
    /// With what blocks, history and snapshots are sealed.
    pub keys: KeyRing,
}

impl Source {
    /// Everything that is final by now.
    ///
    /// # Errors
    /// [`NodeError::Journal`] when the last block cannot be read.
    pub fn of(blocks: Arc<dyn BlockReader>, keys: KeyRing) -> Result<Self, NodeError> {
        let head = match blocks.head() {
            Height(0) => Head::default(),
            height => Head::of(&blocks.read(height)?),
        };
        Ok(Self { blocks, head, keys })
    }
}

impl OpenJournal {
    /// The journal in the data directory, with its torn tail cut.
    ///
    /// # Errors
    /// [`NodeError`]: nothing is guessed.
    pub fn local(storage: &Arc<dyn Storage>, options: &NodeOptions) -> Result<Self, NodeError> {
        let layout = Layout::new(options);
        for directory in [&options.directory, &layout.journal] {
            storage
                .create_directory(directory)
                .map_err(|source| file_error(directory, source))?;
        }
        // An earlier process may have ended between the making of a directory and this.
        storage
            .sync_directory(&options.directory)
            .map_err(|source| file_error(&options.directory, source))?;
        let is_written = journal::holds_segments(&**storage, &layout.journal)
            .map_err(|source| file_error(&layout.journal, source))?;
        let keys = match is_written {
            true => KeyRing::read_file(&**storage, &layout.keys)?,
            false => KeyRing::from_file(&**storage, &layout.keys)?,
        };
        let local = LocalOptions {
            segment_bytes: options.segment_bytes,
            ..LocalOptions::default()
        };
        let (journal, opened) = LocalJournal::open(storage.clone(), &layout.journal, keys.clone(), local)?;
        if let Some(cut) = &opened.cut {
            tracing::warn!(
                code = "NOD-0015",
                ?cut,
                "a torn tail was cut; it was never acknowledged"
            );
        }
        Ok(Self {
            preparer: journal.preparer(),
            journal: Box::new(journal),
            keys,
        })
    }

    /// What to recover from.
    #[must_use]
    pub fn source(&self) -> Source {
        Source {
            blocks: self.journal.reader(),
            head: self.journal.head(),
            keys: self.keys.clone(),
        }
    }
}

/// Everything a node goes on from.
pub struct Recovered {
    /// The last block that was applied.
    pub head: Head,
    /// The ledger after that block.
    pub ledger: Ledger,
    /// Rows that the snapshot had from which the replay began: what came after it was replayed.
    pub snapshot_rows: RowNumber,
    /// The index, up to that block.
    pub writer: Writer,
    /// Its readers.
    pub reader: Reader,
}

/// How the replay gets its blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// From a thread that reads, decrypts and checks ahead of the replay.
    Ahead,
    /// On the replay's own thread: slower, but every run touches the disk in the same order.
    Inline,
}

/// Opens history and snapshot and replays what is missing of the journal. `progress` is told height and head. Where the
/// replay meets a damaged page of history, history is built anew.
///
/// # Errors
/// [`NodeError`]: nothing is guessed.
pub fn recover(
    storage: Arc<dyn Storage>,
    options: &NodeOptions,
    source: &Source,
    history_options: history::Options,
    hash_seed: u64,
    reading: Reading,
    mut progress: impl FnMut(Height, Height),
) -> Result<Recovered, NodeError> {
    let mut attempt = || {
        recover_state(
            &storage,
            options,
            source,
            history_options,
            hash_seed,
            reading,
            &mut progress,
        )
    };
    let (ledger, snapshot_rows, writer, reader) = match attempt() {
        Err(error) if error.is_damaged_index() => {
            discard_damaged_index(&*storage, options, &error);
            attempt()
        }
        other => other,
    }?;
    Ok(Recovered {
        head: match source.blocks.head() {
            height if height == source.head.height => source.head,
            // History knew of a final block that the journal had not shown to be one.
            height => Head::of(&source.blocks.read(height)?),
        },
        ledger,
        snapshot_rows,
        writer,
        reader,
    })
}

/// Puts what a block made into the index, unless it is there.
fn index_block(writer: &mut Writer, block: &Block, outcomes: &[Outcome]) -> Result<(), NodeError> {
    for outcome in outcomes {
        writer.append(outcome)?;
    }
    if block.height > writer.published().height {
        writer.commit(block.height, block.hash.0)?;
    }
    flush_while_there_is_room(writer)?;
    Ok(())
}

/// Removes history when it is what `error` is about, so that the next start builds it anew from the journal: a page
/// that is read only now and then would otherwise stop the node again and again. For others an error changes nothing.
pub fn discard_damaged_index(storage: &dyn Storage, options: &NodeOptions, error: &NodeError) {
    if !error.is_damaged_index() {
        return;
    }
    tracing::error!(code = "NOD-0017", %error, "the history index is damaged; it will be rebuilt from the journal");
    if let Err(error) = Writer::reset(storage, &Layout::new(options).history) {
        tracing::error!(code = "NOD-0022", %error, "the damaged history index cannot be removed; delete it");
    }
}

fn recover_state(
    storage: &Arc<dyn Storage>,
    options: &NodeOptions,
    source: &Source,
    history_options: history::Options,
    hash_seed: u64,
    reading: Reading,
    progress: &mut impl FnMut(Height, Height),
) -> Result<(Ledger, RowNumber, Writer, Reader), NodeError> {
    let layout = Layout::new(options);
    for directory in [&options.directory, &layout.history, &layout.snapshots] {
        storage
            .create_directory(directory)
            .map_err(|source| file_error(directory, source))?;
    }
    snapshots::remove_unfinished(&**storage, &layout.snapshots)?;
    let Source { blocks, head, keys } = source;
    let (mut writer, reader) = open_history(storage, &layout.history, keys, history_options, &**blocks)?;
    snapshots::remove_contradicted(&**storage, &layout.snapshots, |position| {
        is_surely_not_in_journal(&**blocks, position.height, position.hash)
    })?;
    let durable = writer.durable();
    let usable = |position: snapshots::SnapshotPosition| {
        let holds = || is_in_journal(&**blocks, position.height, position.hash);
        // The block of a snapshot need not have made a row, so rows alone do not say that history has it.
        position.rows <= durable.rows
            && position.height <= durable.height
            && holds().unwrap_or_else(|error| {
                tracing::warn!(%error, height = %position.height, "a snapshot cannot be compared with the journal");
                false
            })
    };
    let found = snapshots::load_newest(&**storage, &layout.snapshots, keys, hash_seed, usable)?;
    let (from, mut ledger) = match found {
        Some((position, ledger)) => (position.height, ledger),
        None => (Height(0), Ledger::with_hash_seed(hash_seed)),
    };
    let (start, snapshot_rows) = (Height(from.0 + 1), ledger.rows());
    replay(
        &**blocks,
        start,
        reading,
        &mut ledger,
        &reader,
        |block, outcomes| {
            index_block(&mut writer, block, outcomes)?;
            progress(block.height, head.height);
            Ok(())
        },
    )?;
    if reader.published().rows != ledger.rows() {
        return Err(NodeError::HistoryBehind {
            history: reader.published().rows,
            ledger: ledger.rows(),
        });
    }
    ledger.forget_archived(reader.archived_below());
    Ok((ledger, snapshot_rows, writer, reader))
}

/// Applies every block from `from` to the head, comparing results; `each` gets the block and its outcomes.
///
/// # Errors
/// [`NodeError::ReplayDiffers`], [`NodeError::UnknownRules`] and what the journal or `each` say.
pub fn replay(
    blocks: &dyn BlockReader,
    from: Height,
    reading: Reading,
    ledger: &mut Ledger,
    archive: &Reader,
    mut each: impl FnMut(&Block, &mut Vec<Outcome>) -> Result<(), NodeError>,
) -> Result<(), NodeError> {
    let mut outcomes: Vec<Outcome> = Vec::new();
    let mut next = |block: Result<Block, JournalError>| {
        let block = block?;
        apply_block(ledger, archive, &block, &mut outcomes)?;
        each(&block, &mut outcomes)?;
        ledger.forget_archived(archive.archived_below());
        Ok(())
    };
    if reading == Reading::Inline {
        return blocks.scan(from).try_for_each(next);
    }
    std::thread::scope(|scope| {
        let (sender, receiver) = sync_channel(BLOCKS_AHEAD);
        // Reading, decrypting and checking hashes goes on beside the replay.
        std::thread::Builder::new()
            .name("replay-read".to_owned())
            .spawn_scoped(scope, move || {
                for block in blocks.scan(from) {
                    if sender.send(block).is_err() {
                        return;
                    }
                }
            })
            .map_err(NodeError::Thread)?;
        receiver.into_iter().try_for_each(&mut next)
    })
}

/// Applies one block and compares its results. `outcomes` holds one per entry afterwards.
///
/// # Errors
/// As [`replay`].
pub fn apply_block<A: ledger::Archive>(
    ledger: &mut Ledger,
    archive: &A,
    block: &Block,
    outcomes: &mut Vec<Outcome>,
) -> Result<(), NodeError> {
    if block.rules_version != ledger::RULES_VERSION {
        let known = ledger::RULES_VERSION;
        return Err(NodeError::UnknownRules {
            height: block.height,
            found: block.rules_version,
            known,
        });
    }
    outcomes.resize_with(block.entries.len(), Outcome::default);
    for (index, (entry, outcome)) in block.entries.iter().zip(outcomes.iter_mut()).enumerate() {
        outcome.clear();
        ledger.apply(archive, entry.timestamp, &entry.command, outcome)?;
        if let Some(detail) = difference(entry, outcome) {
            return Err(NodeError::ReplayDiffers {
                height: block.height,
                entry: index,
                detail,
            });
        }
    }
    Ok(())
}

fn difference(entry: &Entry, outcome: &Outcome) -> Option<String> {
    if entry.timestamp != outcome.timestamp {
        return Some(format!(
            "timestamp {} was logged, {} came out",
            entry.timestamp, outcome.timestamp
        ));
    }
    let same = match &entry.results {
        Results::None => matches!(entry.command.body, CommandBody::BeginEpoch),
        Results::Accounts(logged) => logged
            .iter()
            .copied()
            .eq(outcome.accounts.iter().map(|reply| reply.result)),
        Results::Transfers(logged) => logged
            .iter()
            .copied()
            .eq(outcome.transfers.iter().map(|reply| reply.result)),
        Results::Expired(logged) => *logged == outcome.expired,
        Results::Described(logged) => outcome.described == Some(*logged),
    };
    (!same).then(|| "the results differ from those logged".to_owned())
}

/// Writes the index's memory out on this thread. Merges can wait: neither a start nor a stop does for them.
///
/// # Errors
/// What the index says; the memory that could not be written is as it was.
pub fn run_flushes(writer: &mut Writer) -> Result<(), HistoryError> {
    while let Some(job) = writer.next_flush_job() {
        let ticket = job.ticket();
        let done = job.run(&history::FullSpeed).and_then(|done| writer.install(done));
        if done.is_err() {
            writer.job_failed(ticket);
            return done;
        }
    }
    Ok(())
}

/// Runs the index's work to its end on this thread.
///
/// # Errors
/// What the index says.
pub fn run_jobs(writer: &mut Writer) -> Result<(), HistoryError> {
    while let Some(job) = writer.next_job() {
        writer.install(job.run(&history::FullSpeed)?)?;
    }
    Ok(())
}

/// The same, leaving in memory what a full disk does not take: reads must go on after a start, too.
fn flush_while_there_is_room(writer: &mut Writer) -> Result<(), HistoryError> {
    match run_flushes(writer) {
        Err(HistoryError::Io { source, .. }) if source.kind() == std::io::ErrorKind::StorageFull => Ok(()),
        done => done,
    }
}

fn open_history(
    storage: &Arc<dyn Storage>,
    directory: &Path,
    keys: &KeyRing,
    options: history::Options,
    blocks: &dyn BlockReader,
) -> Result<(Writer, Reader), NodeError> {
    match Writer::open(storage.clone(), directory, keys, options) {
        Ok((writer, reader)) => {
            let Position { height, hash, .. } = writer.durable();
            if is_in_journal(blocks, height, hash)? {
                return Ok((writer, reader));
            }
            tracing::warn!(code = "NOD-0016", %height, "the history index is not this journal's; rebuilding it");
        }
        Err(error) if error.needs_rebuild() => {
            tracing::error!(code = "NOD-0017", %error, "the history index is damaged; rebuilding it from the journal");
        }
        Err(error) => return Err(error.into()),
    }
    Writer::reset(&**storage, directory)?;
    Ok(Writer::open(storage.clone(), directory, keys, options)?)
}

/// Whether the journal holds the block that something derived from it stands at; the empty beginning always agrees. What
/// cannot be read does not agree, and is made anew.
fn is_in_journal(blocks: &dyn BlockReader, height: Height, hash: [u8; 32]) -> Result<bool, NodeError> {
    match blocks.holds_final(height, BlockHash(hash)) {
        _ if height == Height(0) => Ok(true),
        // It is away for now, or shows less than was there before.
        Err(error @ JournalError::Io { .. }) => Err(error.into()),
        holds => Ok(holds.unwrap_or(false)),
    }
}

/// Whether the journal was read and holds another block there, or none. One that is damaged, or away, says nothing.
fn is_surely_not_in_journal(blocks: &dyn BlockReader, height: Height, hash: [u8; 32]) -> bool {
    match blocks.holds_final(height, BlockHash(hash)) {
        Ok(holds) => !holds,
        Err(error) => matches!(error, JournalError::NoBlock { .. }),
    }
}

fn file_error(path: &Path, source: std::io::Error) -> NodeError {
    NodeError::File {
        path: path.to_owned(),
        source,
    }
}
