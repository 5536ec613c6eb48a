//! Verification of a data directory that no node has open. Owns: what must be true of it.
//!
//! Walks every block of the journal (checksums, hashes, chain), replays them with a ledger and a history index of its
//! own, compares results with those logged, keeps a second set of books from the rows alone, checks the invariants,
//! and at last compares the directory's own index row by row with the one just made.

use crate::books::Books;
use crate::recovery::{Layout, apply_block, run_jobs};
use crate::{NodeError, NodeOptions};
use history::{Filter, Order, Reader, Writer};
use journal::{Block, ShardId};
use ledger::{EVENTS_PER_REQUEST_MAX, Height, Ledger, Outcome, RowNumber};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use storage::{FileSystem, KeyRing, Storage};

/// Problems listed before the rest is only counted.
const PROBLEMS_LISTED: usize = 100;

/// What verification found.
#[derive(Clone, Debug, Default)]
pub struct VerifyReport {
    /// The last block that the chain leads to.
    pub height: Height,
    /// Its hash.
    pub hash: [u8; 32],
    /// Blocks that are sound.
    pub blocks: u64,
    /// Events in them.
    pub events: u64,
    /// Accounts after the replay.
    pub accounts: u64,
    /// Rows of history after the replay.
    pub rows: u64,
    /// Rows of the directory's own index that were compared.
    pub index_rows: u64,
    /// Bytes of all segments.
    pub journal_bytes: u64,
    /// Bytes of a write at the end that never finished and was never acknowledged. Not a problem.
    pub torn_bytes: u64,
    /// What is wrong; empty when everything is right. At most the first hundred.
    pub problems: Vec<String>,
    /// How many problems there are in all.
    pub problem_count: u64,
}

impl VerifyReport {
    /// Whether everything is right.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.problem_count == 0
    }

    fn problem(&mut self, problem: String) {
        self.problem_count += 1;
        if self.problems.len() < PROBLEMS_LISTED {
            self.problems.push(problem);
        }
    }
}

/// What is being done, for a progress bar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VerifyStage {
    /// Walking and replaying; counted in bytes of segments.
    Replay,
    /// Comparing the index; counted in rows.
    Index,
}

/// Verifies; `progress` is told what is done and of how much.
///
/// # Errors
/// [`NodeError`] when it cannot be carried out at all, such as when a node has the directory open. What is wrong with
/// the data is in the report.
pub fn verify(
    options: &NodeOptions,
    mut progress: impl FnMut(VerifyStage, u64, u64),
) -> Result<VerifyReport, NodeError> {
    let layout = Layout::new(options);
    if !FileSystem
        .exists(&layout.journal)
        .map_err(|source| file_error(&layout.journal, source))?
    {
        let source = std::io::ErrorKind::NotFound.into();
        return Err(NodeError::File {
            path: layout.journal,
            source,
        });
    }
    let _lock = crate::node::lock(&options.directory)?;
    let storage: Arc<dyn Storage> = Arc::new(FileSystem);
    let keys = KeyRing::read_file(&*storage, &layout.keys)?;
    let scratch = options.directory.join("verify.tmp");
    remove_directory(&scratch)?;
    storage
        .create_directory(&scratch)
        .map_err(|source| file_error(&scratch, source))?;
    let done = Verification::new(&storage, &scratch, &keys)
        .and_then(|verification| verification.run(&storage, &layout, &keys, &mut progress));
    remove_directory(&scratch)?;
    done
}

struct Verification {
    ledger: Ledger,
    writer: Writer,
    reader: Reader,
    books: Books,
    outcomes: Vec<Outcome>,
    report: VerifyReport,
}

impl Verification {
    fn new(storage: &Arc<dyn Storage>, scratch: &Path, keys: &KeyRing) -> Result<Self, NodeError> {
        let (writer, reader) = Writer::open(storage.clone(), scratch, keys, history::Options::default())?;
        Ok(Self {
            ledger: Ledger::with_hash_seed(crate::node::random_u64()),
            writer,
            reader,
            books: Books::default(),
            outcomes: Vec::new(),
            report: VerifyReport::default(),
        })
    }

    fn run(
        mut self,
        storage: &Arc<dyn Storage>,
        layout: &Layout,
        keys: &KeyRing,
        progress: &mut impl FnMut(VerifyStage, u64, u64),
    ) -> Result<VerifyReport, NodeError> {
        let total = segment_bytes(&**storage, &layout.journal)?;
        let (mut read, mut fault) = (0, None);
        let summary = journal::walk(&**storage, &layout.journal, keys, ShardId(0), &mut |found| {
            read += found.disk_bytes;
            progress(VerifyStage::Replay, read, total);
            if let Some(problem) = found.problem {
                self.report.problem(problem.to_string());
            }
            // Beyond the first problem the state is unknown: the walk goes on, the replay does not.
            if let (Some(block), true) = (found.block, self.report.is_ok())
                && let Err(error) = self.block(block)
            {
                fault = Some(error);
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        })?;
        if let Some(fault) = fault {
            return Err(fault);
        }
        self.report.height = summary.head.height;
        self.report.hash = summary.head.hash.0;
        self.report.blocks = summary.blocks;
        self.report.events = summary.events;
        self.report.journal_bytes = summary.disk_bytes;
        self.report.torn_bytes = summary.torn.map_or(0, |torn| torn.bytes);
        self.report.accounts = u64::from(self.ledger.accounts_len());
        self.report.rows = self.ledger.rows().0;
        if self.report.is_ok() {
            self.check_totals();
            self.check_index(storage, layout, keys, progress)?;
        }
        Ok(self.report)
    }

    fn block(&mut self, block: &Block) -> Result<(), NodeError> {
        match apply_block(&mut self.ledger, &self.reader, block, &mut self.outcomes) {
            Err(error @ (NodeError::ReplayDiffers { .. } | NodeError::UnknownRules { .. })) => {
                self.report.problem(error.to_string());
                return Ok(());
            }
            other => other?,
        }
        for outcome in &self.outcomes {
            let accounts = outcome
                .new_accounts
                .iter()
                .map(|account| self.books.account(account.timestamp));
            let wrong = accounts.collect::<Result<Vec<()>, String>>().err();
            let wrong = wrong.or_else(|| outcome.rows.iter().find_map(|row| self.books.row(row).err()));
            if let Some(wrong) = wrong {
                self.report.problem(format!("block {}: {wrong}", block.height));
            }
            self.writer.append(outcome)?;
        }
        self.writer.commit(block.height, block.hash.0)?;
        run_jobs(&mut self.writer)?;
        self.ledger.forget_archived(self.reader.archived_below());
        Ok(())
    }

    fn check_totals(&mut self) {
        for violation in self.ledger.check_invariants() {
            self.report.problem(violation.to_string());
        }
        for number in 0..self.ledger.accounts_len() {
            let account = self.ledger.account_at(ledger::AccountNumber(number));
            if self.books.balances(ledger::AccountNumber(number)) != Some(&account.balances) {
                self.report.problem(format!(
                    "account {}: its totals are not the sum of its entries",
                    account.id
                ));
            }
        }
    }

    /// Compares the directory's index with the one just made, as far as it goes.
    fn check_index(
        &mut self,
        storage: &Arc<dyn Storage>,
        layout: &Layout,
        keys: &KeyRing,
        progress: &mut impl FnMut(VerifyStage, u64, u64),
    ) -> Result<(), NodeError> {
        let opened = Writer::open(
            storage.clone(),
            &layout.history,
            keys,
            history::Options::default(),
        );
        let (writer, index) = match opened {
            Ok(opened) => opened,
            Err(error) if error.needs_rebuild() => {
                self.report.problem(format!(
                    "the history index will be rebuilt at the next start: {error}"
                ));
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        let total = writer.durable().rows.0;
        let mut filter = Filter {
            limit: EVENTS_PER_REQUEST_MAX as u32,
            order: Order::OldestFirst,
            ..Filter::default()
        };
        loop {
            let found = match index.query_transfers(&filter) {
                Ok(found) => found,
                Err(error) if error.needs_rebuild() => {
                    self.report
                        .problem(format!("the history index must be rebuilt: {error}"));
                    return Ok(());
                }
                Err(error) => return Err(error.into()),
            };
            let expected = self.reader.query_transfers(&filter)?;
            let compared = found.items.len();
            if found.items[..] != expected.items[..compared.min(expected.items.len())] {
                self.report.problem(
                    "the history index differs from the journal; delete it to have it rebuilt".to_owned(),
                );
                return Ok(());
            }
            self.report.index_rows += compared as u64;
            let Some(last) = found.items.last().filter(|_| found.more) else {
                break;
            };
            filter.after = Some(RowNumber(last.number.0));
            progress(VerifyStage::Index, last.number.0, total);
        }
        Ok(())
    }
}

fn segment_bytes(storage: &dyn Storage, directory: &Path) -> Result<u64, NodeError> {
    let names = storage
        .list(directory)
        .map_err(|source| file_error(directory, source))?;
    let length = |name: &String| {
        let path = directory.join(name);
        storage
            .open(&path)
            .and_then(|file| file.length())
            .map_err(|source| file_error(&path, source))
    };
    names
        .iter()
        .filter(|name| name.ends_with(".segment"))
        .map(length)
        .sum()
}

fn remove_directory(directory: &Path) -> Result<(), NodeError> {
    match std::fs::remove_dir_all(directory) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => Err(file_error(directory, source)),
        _ => Ok(()),
    }
}

fn file_error(path: &Path, source: std::io::Error) -> NodeError {
    NodeError::File {
        path: path.to_owned(),
        source,
    }
}
