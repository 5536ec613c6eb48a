//! The reader's side: final blocks only. Owns: sessions for reading. Must not: give out a part of a block, or one that
//! may still vanish, under the name of a final one.

use crate::link::{AbortHandle, Link, Purpose};
use crate::schema::check_version;
use crate::tables::{Mark, block, last_final, mark, open, rows, visible, whole};
use crate::{ConnectOptions, PostgresError, PostgresOptions, error::damaged};
use journal::{Block, BlockHash, BlockReader, BlockScan, Damage, Head, JournalError, Opener, ShardId};
use ledger::Height;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use storage::KeyRing;

/// Blocks, each as all of its rows.
type Fetched = VecDeque<Vec<crate::chunks::Row>>;

/// Rows that a scan asks for at once: 16 MB.
const SCAN_ROWS: i64 = 2_048;
/// Sessions kept for the next read.
const IDLE_MAX: usize = 2;

/// The last block that is known to be final; never falls. Its term tells apart what two lineages show at its height.
#[derive(Debug, Default)]
pub(crate) struct FinalHead(Mutex<Option<Mark>>);

impl FinalHead {
    pub(crate) fn advance(&self, mark: Mark) {
        let mut known = self.lock();
        if known.is_none_or(|known| known.height < mark.height) {
            *known = Some(mark);
        }
    }

    pub(crate) fn mark(&self) -> Option<Mark> {
        *self.lock()
    }

    pub(crate) fn height(&self) -> Height {
        self.mark().map_or(Height(0), |mark| mark.height)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Mark>> {
        self.0.lock().expect("no reader panics with the mark")
    }
}

/// Reads final blocks, from any thread. A writer's reader knows of a block when it is final; one that stands alone
/// must be told to look ([`PostgresReader::refresh`]), and then sees all but the last block of a term, which only the
/// next one shows to be final.
///
/// What is final is the same everywhere, what a server shows is not: an old primary that was not rewound yet shows blocks of its
/// own. So a block is taken only from a server that shows the last one known to be final, or by itself shows it to be final.
pub struct PostgresReader {
    connect: ConnectOptions,
    purpose: Purpose,
    shard: ShardId,
    keys: KeyRing,
    final_head: Arc<FinalHead>,
    idle: Mutex<Vec<Link>>,
    /// Failed questions in a row: each lets the next session be sought at another server first.
    failures: AtomicUsize,
    /// How often a server was left that answered.
    left: AtomicUsize,
}

impl PostgresReader {
    /// A reader that stands alone, at the primary or at a standby, and has looked once.
    ///
    /// # Errors
    /// [`PostgresError`].
    pub fn open(connect: ConnectOptions, shard: ShardId, keys: KeyRing) -> Result<Self, PostgresError> {
        let reader = Self {
            connect,
            purpose: Purpose::Read,
            shard,
            keys,
            final_head: Arc::default(),
            idle: Mutex::default(),
            failures: AtomicUsize::new(0),
            left: AtomicUsize::new(0),
        };
        reader.refresh()?;
        Ok(reader)
    }

    /// A writer's reader.
    pub(crate) fn sharing(options: &PostgresOptions, keys: KeyRing, final_head: Arc<FinalHead>) -> Self {
        let mut connect = options.connect.clone();
        connect.application_name.push_str(" reader");
        Self {
            connect,
            purpose: Purpose::ReadAtPrimary,
            shard: options.shard,
            keys,
            final_head,
            idle: Mutex::default(),
            failures: AtomicUsize::new(0),
            left: AtomicUsize::new(0),
        }
    }

    /// Looks how far blocks are surely final by now, and gives that height.
    ///
    /// # Errors
    /// [`PostgresError`].
    pub fn refresh(&self) -> Result<Height, PostgresError> {
        let known = self.final_head.height();
        let shard = self.shard;
        let found = self.with_link(|link| match visible(link, shard)? {
            Some(top) => last_final(link, shard, top.height, known),
            None => Ok(None),
        })?;
        if let Some(found) = found {
            self.final_head.advance(found);
        }
        Ok(self.final_head.height())
    }

    /// Looks at the next server from now on: this one shows nothing new, which may be its own fault.
    pub fn look_elsewhere(&self) {
        self.left.fetch_add(1, Ordering::Relaxed);
        self.idle.lock().expect("no reader panics with the pool").clear();
    }

    /// [`PostgresReader::refresh`], with the error of every journal.
    ///
    /// # Errors
    /// [`JournalError::Io`] and `Damaged`.
    pub fn look(&self) -> Result<Height, JournalError> {
        self.refresh().map_err(|error| error.into_journal(&self.place()))
    }

    /// The blocks that can be seen above the last final one. Whoever uses them must be able to forget them: they may
    /// be on no standby, and a failover may put others in their place.
    ///
    /// # Errors
    /// [`PostgresError`].
    pub fn tentative(&self) -> Result<Vec<Block>, PostgresError> {
        let (shard, head) = (self.shard, self.final_head.height());
        let mut opener = Opener::new(self.keys.clone());
        self.with_link(|link| {
            let top = visible(link, shard)?.map_or(head, |mark| mark.height);
            (head.0 + 1..=top.0)
                .map(|height| block(link, &mut opener, shard, Height(height)))
                .collect()
        })
    }

    /// Runs a question on a session of the pool. One that broke while it lay idle, as after a failover, is replaced
    /// once; one that failed is not used again.
    fn with_link<T>(
        &self,
        mut question: impl FnMut(&mut Link) -> Result<T, PostgresError>,
    ) -> Result<T, PostgresError> {
        let idle = self.idle.lock().expect("no reader panics with the pool").pop();
        if let Some(mut link) = idle {
            match question(&mut link) {
                Err(PostgresError::Broken { .. } | PostgresError::Warned { .. }) => {}
                answer => return self.keep(link, answer),
            }
        }
        let mut link = self.connect()?;
        let answer = question(&mut link);
        self.keep(link, answer)
    }

    fn connect(&self) -> Result<Link, PostgresError> {
        let mut options = self.connect.clone();
        let skipped = self.failures.load(Ordering::Relaxed) + self.left.load(Ordering::Relaxed);
        let skipped = skipped % options.hosts.len().max(1);
        options.hosts.rotate_left(skipped);
        let mut link = Link::open(&options, self.purpose, AbortHandle::default())?;
        check_version(&mut link)?;
        Ok(link)
    }

    fn keep<T>(&self, link: Link, answer: Result<T, PostgresError>) -> Result<T, PostgresError> {
        if answer.is_err() {
            self.failures.fetch_add(1, Ordering::Relaxed);
            return answer;
        }
        self.failures.store(0, Ordering::Relaxed);
        let mut idle = self.idle.lock().expect("no reader panics with the pool");
        if idle.len() < IDLE_MAX {
            idle.push(link);
        }
        answer
    }

    fn read_one(&self, height: Height, known: Option<Mark>) -> Result<Block, JournalError> {
        let opened = self.fetch(height, height, known).and_then(|blocks| {
            let mut opener = Opener::new(self.keys.clone());
            open(&mut opener, self.shard, height, &blocks[0])
        });
        opened.map_err(|error| error.into_journal(&self.place()))
    }

    fn place(&self) -> String {
        self.connect.target()
    }

    /// Blocks from `from` on, at least one, at most to `to`; each as its height and all of its rows. Without a block `known` to be
    /// final they are what the server shows.
    fn fetch(&self, from: Height, to: Height, known: Option<Mark>) -> Result<Fetched, PostgresError> {
        let shard = self.shard;
        self.with_link(|link| {
            let to = match known {
                Some(known) => to.min(shown_for_certain(link, shard, known, from)?),
                None => to,
            };
            let read = rows(link, shard, from, to, SCAN_ROWS)?;
            let was_cut = read.len() as i64 == SCAN_ROWS;
            let mut blocks = whole(read, was_cut);
            if was_cut && blocks.len() == 1 {
                // Larger than what is asked for at once.
                blocks = whole(rows(link, shard, from, from, i64::MAX)?, false);
            }
            if blocks.is_empty() {
                let seen = visible(link, shard)?.map_or(Height(0), |mark| mark.height);
                return Err(if seen < from {
                    // A standby may be behind what we know to be final.
                    PostgresError::Answer {
                        action: "read blocks",
                        reason: format!("height {from} is final, but this server shows only {seen}"),
                    }
                } else {
                    damaged("shanraq.journal", from, Damage::Hole)
                });
            }
            Ok(blocks.into())
        })
    }
}

impl BlockReader for PostgresReader {
    fn head(&self) -> Height {
        self.final_head.height()
    }

    fn read(&self, height: Height) -> Result<Block, JournalError> {
        let known = self.final_head.mark();
        let head = known.map_or(Height(0), |known| known.height);
        if height.0 == 0 || height > head {
            return Err(JournalError::NoBlock { height, head });
        }
        self.read_one(height, known)
    }

    /// A reader that stands alone learns from it that the block is final.
    fn holds_final(&self, height: Height, hash: BlockHash) -> Result<bool, JournalError> {
        let block = self.read_one(height, None)?;
        if block.hash == hash {
            self.final_head.advance(Mark::of_head(&Head::of(&block)));
        }
        Ok(block.hash == hash)
    }

    fn scan(&self, from: Height) -> BlockScan<'_> {
        Box::new(Scan {
            reader: self,
            opener: Opener::new(self.keys.clone()),
            fetched: VecDeque::new(),
            next: Height(from.0.max(1)),
            until: self.head(),
            before: None,
        })
    }
}

/// Up to which height a server surely shows what is final, at least `from`.
fn shown_for_certain(
    link: &mut Link,
    shard: ShardId,
    known: Mark,
    from: Height,
) -> Result<Height, PostgresError> {
    if mark(link, shard, known.height)? == Some(known) {
        return Ok(known.height);
    }
    let below = Height(from.0 - 1);
    let surely = match visible(link, shard)? {
        Some(top) => last_final(link, shard, top.height, below)?,
        None => None,
    };
    match surely {
        Some(surely) if surely.height >= from => Ok(surely.height),
        _ => Err(PostgresError::Answer {
            action: "read blocks",
            reason: format!(
                "height {} is final, but this server does not show that block: it is behind, or of another lineage",
                known.height
            ),
        }),
    }
}

/// Blocks from one height to another.
struct Scan<'a> {
    reader: &'a PostgresReader,
    opener: Opener,
    fetched: Fetched,
    next: Height,
    until: Height,
    before: Option<Head>,
}

impl Scan<'_> {
    fn next_block(&mut self) -> Result<Block, PostgresError> {
        if self.fetched.is_empty() {
            self.fetched = self
                .reader
                .fetch(self.next, self.until, self.reader.final_head.mark())?;
        }
        let rows = self.fetched.pop_front().expect("a fetch gives at least one");
        let (shard, height) = (self.reader.shard, self.next);
        if rows[0].height != height {
            return Err(damaged("shanraq.journal", height, Damage::Hole));
        }
        let (header, mut ciphertext) = crate::chunks::join(shard, height, &rows)
            .map_err(|damage| damaged("shanraq.journal", height, damage))?;
        let follows = self
            .before
            .as_ref()
            .map_or(Ok(()), |before| header.follows(shard, before));
        let block = follows
            .and_then(|()| self.opener.open(&header, &mut ciphertext))
            .map_err(|damage| damaged("shanraq.journal", height, damage))?;
        self.before = Some(Head::of(&block));
        self.next = Height(height.0 + 1);
        Ok(block)
    }
}

impl Iterator for Scan<'_> {
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
        Some(block.map_err(|error| error.into_journal(&self.reader.place())))
    }
}
