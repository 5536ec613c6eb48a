//! `shanraq migrate`: a ledger from a data directory into PostgreSQL, from there into a directory, or between two of a
//! kind. Owns: what may be copied where, and the proof that both chains are equal. Must not: write into a target that
//! holds anything else, or leave a half-filled one that could be taken for a whole one.

use super::verify::hex;
use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use journal::{
    Block, BlockHash, BlockReader, Draft, Head, Journal, LocalJournal, LocalOptions, ShardId, Term, WriterId,
};
use journal_postgres::{ConnectOptions, Durability, Password, PostgresJournal, PostgresOptions};
use ledger::{Height, TimestampNs};
use node::{Layout, NodeOptions};
use rand::TryRng;
use rand::rngs::SysRng;
use serde_json::json;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;
use storage::{DirectoryLock, FileSystem, KeyRing, Storage};

/// Move a ledger between a data directory and PostgreSQL, in either direction; every block is proved equal by its hash.
///
/// Nodes of the source must be stopped; one that still writes to PostgreSQL loses its term. The source is left as it is
/// (in PostgreSQL with one more block, which ends whatever was under way). The target must be empty, its schema made by
/// `shanraq journal migrate`. A migration into a directory that was interrupted goes on when it is repeated; until it is
/// done the directory has `.migrating` behind its name.
#[derive(Debug, Args)]
pub struct MigrateArgs {
    /// Data directory, or `postgresql://user@host:port/database` of a member of `shanraq_writer`.
    #[arg(long)]
    from: String,
    /// The same.
    #[arg(long)]
    to: String,
    /// A file with the password of the user in `--from`.
    #[arg(long)]
    from_password_file: Option<PathBuf>,
    /// A file with the password of the user in `--to`.
    #[arg(long)]
    to_password_file: Option<PathBuf>,
    /// The ledger's key file. Default: `keys` in the directory of `--from`.
    #[arg(long)]
    key_file: Option<PathBuf>,
    /// Where the key file is copied to: the ledger keeps its keys. Default: `keys` in the directory of `--to`; with
    /// PostgreSQL it is copied nowhere, and every node needs it.
    #[arg(long)]
    to_key_file: Option<PathBuf>,
    /// With PostgreSQL on either side: when a block is durable.
    #[arg(long, value_enum)]
    durability: Option<DurabilityChoice>,
    /// With `--durability standbys`: the `application_name` of each standby that counts.
    #[arg(long, value_delimiter = ',')]
    standbys: Vec<String>,
    /// With `--durability standbys`: how many of them must have flushed a block.
    #[arg(long, default_value = "1")]
    flushed: NonZeroU32,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum DurabilityChoice {
    /// On the disk of the one server.
    Local,
    /// On the disks of standbys too.
    Standbys,
}

/// One side of a migration.
enum Place {
    Directory(PathBuf),
    Postgres(Box<PostgresOptions>),
}

/// Beside the target directory, with this behind its name, stands what is being filled. It takes the target's name when
/// all of it is there and proved, so that no node can be started on a part.
const UNFINISHED: &str = ".migrating";

/// Runs the command.
pub fn run(args: &MigrateArgs) -> Result<()> {
    let started = Instant::now();
    let from = args
        .place(&args.from, args.from_password_file.as_deref())
        .context("--from")?;
    let to = args
        .place(&args.to, args.to_password_file.as_deref())
        .context("--to")?;
    let key_file = args.key_file(&from)?;
    let keys = read_keys(&key_file)?;
    let source = Source::open(&from, &keys).context("--from")?;
    let mut target = Target::open(&to, &key_file, &keys, args.to_key_file.as_deref()).context("--to")?;
    let style = ProgressStyle::with_template("{msg:<9} {bar:40} {human_pos}/{human_len} blocks {eta}")?;
    let bar = ProgressBar::new(source.head.height.0).with_style(style);
    bar.set_message("copying");
    copy(&source, &mut target, &bar)?;
    bar.set_message("comparing");
    compare(&source, &*target.reader(), &bar)?;
    target.finish()?;
    bar.finish_and_clear();
    report(args, &source, started);
    Ok(())
}

fn report(args: &MigrateArgs, source: &Source, started: Instant) {
    let Head { height, hash, .. } = source.head;
    if args.json {
        let report = json!({
            "from": args.from,
            "to": args.to,
            "height": height.0.to_string(),
            "hash": hex(&hash.0),
            "blocks_compared": height.0,
            "seconds": started.elapsed().as_secs_f64(),
        });
        println!("{report:#}");
    } else {
        println!("height     {height}");
        println!("hash       {}", hex(&hash.0));
        println!(
            "migrated: every block of {} stands in {} with the same hash",
            args.from, args.to
        );
    }
}

impl MigrateArgs {
    fn place(&self, text: &str, password_file: Option<&Path>) -> Result<Place> {
        if !text.contains("://") {
            if password_file.is_some() {
                bail!("a directory has no password");
            }
            return Ok(Place::Directory(PathBuf::from(text)));
        }
        let connect = ConnectOptions {
            password: password_file.map(Password::from_file).transpose()?,
            ..ConnectOptions::from_url(text)?
        };
        let durability = match self.durability {
            None => bail!("--durability: must be given with PostgreSQL"),
            Some(DurabilityChoice::Local) if !self.standbys.is_empty() => {
                bail!("--standbys: given, but --durability is local")
            }
            Some(DurabilityChoice::Local) => Durability::Local,
            Some(DurabilityChoice::Standbys) => Durability::Standbys {
                names: self.standbys.clone(),
                flushed: self.flushed,
            },
        };
        durability.check()?;
        Ok(Place::Postgres(Box::new(PostgresOptions {
            connect,
            durability,
            shard: ShardId(0),
        })))
    }

    fn key_file(&self, from: &Place) -> Result<PathBuf> {
        match (&self.key_file, from) {
            (Some(path), _) => Ok(path.clone()),
            (None, Place::Directory(directory)) => Ok(Layout::new(&NodeOptions::new(directory)).keys),
            (None, Place::Postgres(_)) => bail!("--key-file: must be given when --from is PostgreSQL"),
        }
    }
}

/// Only those that are there: keys made now would open nothing.
fn read_keys(path: &Path) -> Result<KeyRing> {
    if !path.exists() {
        bail!("--key-file: there is no {}", path.display());
    }
    Ok(KeyRing::read_file(&FileSystem, path)?)
}

/// A ledger that nobody changes while it is copied.
struct Source {
    head: Head,
    reader: Arc<dyn BlockReader>,
    /// The journal keeps its claim, or the directory its lock.
    _journal: Box<dyn Journal>,
    _lock: Option<DirectoryLock>,
}

impl Source {
    fn open(place: &Place, keys: &KeyRing) -> Result<Self> {
        let (journal, lock): (Box<dyn Journal>, _) = match place {
            Place::Directory(directory) => {
                if !directory.join("journal").is_dir() {
                    bail!("{} holds no journal", directory.display());
                }
                let lock = lock(directory)?;
                (Box::new(open_local(directory, keys)?), Some(lock))
            }
            Place::Postgres(options) => {
                let mut journal = PostgresJournal::open((**options).clone(), keys.clone())?;
                if journal.head().height == Height(0) {
                    bail!("the journal is empty");
                }
                // Ends the term of whoever still writes, and shows whether the last block is final. Its time is the
                // first that may follow, whatever our clock says.
                journal.begin_term(fresh()?, TimestampNs(0))?;
                (Box::new(journal), None)
            }
        };
        let head = journal.head();
        if head.height == Height(0) {
            bail!("the journal is empty");
        }
        Ok(Self {
            head,
            reader: journal.reader(),
            _journal: journal,
            _lock: lock,
        })
    }
}

/// A journal that is filled.
struct Target {
    journal: Box<dyn Journal>,
    directory: Option<Filled>,
}

/// A directory that is filled under another name.
struct Filled {
    filled: PathBuf,
    directory: PathBuf,
    _lock: DirectoryLock,
}

impl Target {
    fn open(place: &Place, key_file: &Path, keys: &KeyRing, to_key_file: Option<&Path>) -> Result<Self> {
        match place {
            Place::Directory(directory) => Self::open_directory(directory, key_file, keys, to_key_file),
            Place::Postgres(options) => {
                let mut journal = PostgresJournal::open((**options).clone(), keys.clone())?;
                journal.begin_import(fresh()?).context(
                    "only an empty journal is filled; one that an interrupted migration left is emptied by \
                     `drop schema shanraq cascade` and `shanraq journal migrate`",
                )?;
                if let Some(path) = to_key_file {
                    copy_keys(key_file, path)?;
                }
                Ok(Self {
                    journal: Box::new(journal),
                    directory: None,
                })
            }
        }
    }

    fn open_directory(
        directory: &Path,
        key_file: &Path,
        keys: &KeyRing,
        to_key_file: Option<&Path>,
    ) -> Result<Self> {
        if directory.exists() && !FileSystem.list(directory)?.is_empty() {
            bail!("{} is not empty", directory.display());
        }
        let mut name = directory.as_os_str().to_owned();
        name.push(UNFINISHED);
        let filled = PathBuf::from(name);
        let lock = lock(&filled)?;
        let layout = Layout::new(&NodeOptions::new(&filled));
        copy_keys(key_file, to_key_file.unwrap_or(&layout.keys))?;
        FileSystem.create_directory(&layout.journal)?;
        Ok(Self {
            journal: Box::new(open_local(&filled, keys)?),
            directory: Some(Filled {
                filled,
                directory: directory.to_owned(),
                _lock: lock,
            }),
        })
    }

    fn reader(&self) -> Arc<dyn BlockReader> {
        self.journal.reader()
    }

    /// All is there: a node may be started on it.
    fn finish(self) -> Result<()> {
        if let Some(Filled {
            filled,
            directory,
            _lock,
        }) = self.directory
        {
            // An empty directory of that name gives way.
            FileSystem.rename(&filled, &directory)?;
            let parent = directory.parent().filter(|parent| !parent.as_os_str().is_empty());
            FileSystem.sync_directory(parent.unwrap_or(Path::new(".")))?;
        }
        Ok(())
    }
}

/// The journal of a data directory, without a node: no term begins.
pub fn open_local(directory: &Path, keys: &KeyRing) -> Result<LocalJournal> {
    let path = Layout::new(&NodeOptions::new(directory)).journal;
    let (journal, found) =
        LocalJournal::open(Arc::new(FileSystem), &path, keys.clone(), LocalOptions::default())?;
    if let Some(cut) = found.cut {
        let (file, bytes) = (cut.file.display(), cut.bytes);
        eprintln!("shanraq: cut a torn tail of {bytes} bytes from {file}; it was never acknowledged");
    }
    Ok(journal)
}

fn lock(directory: &Path) -> Result<DirectoryLock> {
    DirectoryLock::acquire(directory).with_context(|| format!("{} is in use", directory.display()))
}

fn fresh() -> Result<WriterId> {
    let mut bytes = [0; 16];
    SysRng.try_fill_bytes(&mut bytes)?;
    Ok(WriterId(u128::from_le_bytes(bytes)))
}

/// The same keys on both sides: what was sealed for people stays under them.
fn copy_keys(from: &Path, to: &Path) -> Result<()> {
    let keys = FileSystem.read(from)?;
    if !to.exists() {
        return Ok(FileSystem.replace(to, &keys)?);
    }
    if FileSystem.read(to)? != keys {
        bail!("--to-key-file: {} holds other keys", to.display());
    }
    Ok(())
}

fn copy(source: &Source, target: &mut Target, bar: &ProgressBar) -> Result<()> {
    let there = target.journal.head();
    if there.height > source.head.height {
        bail!("--to: holds {} blocks, more than --from", there.height);
    }
    if there.height > Height(0) {
        same(source.reader.read(there.height)?.hash, there.hash, there.height)?;
    }
    let mut draft = Draft::new();
    for block in source.reader.scan(Height(there.height.0 + 1)) {
        let block = block.context("--from")?;
        fill(&mut draft, &block);
        let term = Term {
            epoch: block.epoch,
            writer: block.writer,
        };
        let head = target
            .journal
            .append(term, &mut draft)
            .with_context(|| format!("--to: block {}", block.height))?;
        same(block.hash, head.hash, block.height)?;
        bar.set_position(block.height.0);
    }
    Ok(())
}

fn fill(draft: &mut Draft, block: &Block) {
    draft.clear();
    for entry in &block.entries {
        draft.push_entry(entry);
    }
}

/// Reads both again from the first block to the last.
fn compare(source: &Source, target: &dyn BlockReader, bar: &ProgressBar) -> Result<()> {
    let mut copied = target.scan(Height(1));
    for block in source.reader.scan(Height(1)) {
        let block = block.context("--from")?;
        let Some(copy) = copied.next() else {
            bail!("--to: block {} is missing", block.height);
        };
        same(block.hash, copy.context("--to")?.hash, block.height)?;
        bar.set_position(block.height.0);
    }
    if copied.next().is_some() || target.head() != source.head.height {
        bail!("--to: holds more blocks than --from");
    }
    Ok(())
}

fn same(source: BlockHash, target: BlockHash, height: Height) -> Result<()> {
    if source != target {
        let (source, target) = (hex(&source.0), hex(&target.0));
        bail!("block {height} has hash {source} in --from but {target} in --to");
    }
    Ok(())
}
