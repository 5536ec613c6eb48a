//! Where blocks come from. Owns: which blocks count as final for a process that is not the writer.
//! Must not: give out a block that may still vanish.

use crate::session::Session;
use crate::{ProjectionError, ServerOptions};
use journal::{Block, BlockReader, ShardId};
use journal_postgres::{ConnectOptions, Durability, PostgresReader};
use ledger::Height;
use std::sync::Arc;
use storage::KeyRing;
use tokio_postgres::types::PgLsn;

/// A journal whose final blocks are read.
pub trait Source: Send {
    /// Looks how far blocks are final by now, and gives that height. [`Source::reader`] then has them.
    ///
    /// # Errors
    /// [`ProjectionError`].
    fn refresh(&mut self) -> Result<Height, ProjectionError>;

    /// The final blocks.
    fn reader(&self) -> &dyn BlockReader;

    /// Asked when there is no final block above `known`: blocks above it, in order, that are final too but not yet
    /// shown to be so by a later one.
    ///
    /// # Errors
    /// [`ProjectionError`].
    fn newest(&mut self, known: Height) -> Result<Vec<Block>, ProjectionError>;

    /// How far the journal's log is carried; none where no commit waits for another server.
    ///
    /// # Errors
    /// [`ProjectionError`].
    fn log(&mut self) -> Result<Option<Log>, ProjectionError> {
        Ok(None)
    }
}

/// Positions in the WAL of the journal's primary, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Log {
    /// Its end.
    pub logged: u64,
    /// Up to here it is on the primary's disk; what follows lies in memory, and is not on its way to anybody.
    pub flushed: u64,
    /// Up to here as many standbys have flushed it as a commit waits for; 0 while there are fewer.
    pub carried: u64,
    /// Checkpoints that it began.
    pub checkpoints: u64,
}

/// A reader that knows by itself what is final: a local journal's, or that of a writer in this process.
pub struct ReaderSource(pub Arc<dyn BlockReader>);

impl Source for ReaderSource {
    fn refresh(&mut self) -> Result<Height, ProjectionError> {
        Ok(self.0.head())
    }

    fn reader(&self) -> &dyn BlockReader {
        &*self.0
    }

    fn newest(&mut self, _: Height) -> Result<Vec<Block>, ProjectionError> {
        Ok(Vec::new())
    }
}

/// A journal in PostgreSQL, read beside its writer. A block is final when a later one of its term follows it; the last
/// one, which none follows while nobody writes, when the primary shows it and enough of the standbys have flushed
/// beyond it: that is what its writer waited for, too.
pub struct PostgresSource {
    reader: PostgresReader,
    server: ServerOptions,
    durability: Durability,
    shard: ShardId,
    session: Option<Session>,
    seen: Option<Seen>,
}

/// A block that the primary showed, and a position of its WAL behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    height: i64,
    epoch: i64,
    writer: crate::values::Uuid,
    position: u64,
}

/// A record that ends with its page leaves the insert position behind the next page's header, which nobody flushes
/// before something follows it.
const PAGE_BYTES: u64 = 8_192;
const PAGE_HEADER_BYTES: u64 = 24;

const TOP: &str = "select height, epoch, writer from shanraq.journal where shard = $1 and chunk = 0 \
     order by height desc limit 1";
const CARRIED: &str = "select pg_current_wal_insert_lsn(), pg_current_wal_flush_lsn(), coalesce((select max(flush_lsn) from pg_stat_replication \
     where application_name = any ($1) and sync_state in ('sync', 'quorum') group by application_name \
     order by 1 desc nulls last offset $2 limit 1), '0/0'), \
     (select checkpoints_timed + checkpoints_req from pg_stat_bgwriter)";

impl PostgresSource {
    /// Connects. `connect` and `server` name the same servers: the one to read blocks anywhere, the other to look at
    /// the primary.
    ///
    /// # Errors
    /// [`ProjectionError`].
    pub fn open(
        connect: ConnectOptions,
        server: ServerOptions,
        durability: Durability,
        shard: ShardId,
        keys: KeyRing,
    ) -> Result<Self, ProjectionError> {
        durability.check()?;
        Ok(Self {
            reader: PostgresReader::open(connect, shard, keys)?,
            server,
            durability,
            shard,
            session: None,
            seen: None,
        })
    }

    /// With the primary; positions that another session saw may be of another server.
    fn take_session(&mut self) -> Result<Session, ProjectionError> {
        if let Some(session) = self.session.take() {
            return Ok(session);
        }
        self.seen = None;
        let session = Session::open(&self.server, "shanraq projection source")?;
        session.batch("set the session up", "set enable_seqscan = off")?;
        Ok(session)
    }

    /// How far the primary's log is carried; none where no commit waits for a standby.
    fn look(&self, session: &Session) -> Result<Option<Log>, ProjectionError> {
        let Durability::Standbys { names, flushed } = &self.durability else {
            return Ok(None);
        };
        let others = i64::from(flushed.get()) - 1;
        let log = session.ask("look at the standbys", async |client| {
            let row = client.query_one(CARRIED, &[names, &others]).await?;
            let position = |at| row.try_get::<_, PgLsn>(at).map(u64::from);
            Ok(Log {
                logged: position(0)?,
                flushed: position(1)?,
                carried: position(2)?,
                checkpoints: row.try_get::<_, i64>(3)? as u64,
            })
        })?;
        Ok(Some(log))
    }

    /// The newest block at the primary, if enough standbys have it. All in one session, so with one server.
    fn confirmed(&mut self, known: Height) -> Result<Option<Seen>, ProjectionError> {
        let session = self.take_session()?;
        let (shard, before) = (self.shard.0 as i32, self.seen);
        let top = session.ask("look at the newest block", async |client| {
            let Some(row) = client.query_opt(TOP, &[&shard]).await? else {
                return Ok(None);
            };
            let (height, epoch, writer) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
            if height <= known.0 as i64 {
                return Ok(None);
            }
            if before.is_some_and(|seen| (seen.height, seen.epoch, seen.writer) == (height, epoch, writer)) {
                return Ok(before);
            }
            let sql = "select pg_current_wal_insert_lsn()";
            let insert: PgLsn = client.query_one_scalar(sql, &[]).await?;
            let insert = u64::from(insert);
            let is_at_start = insert % PAGE_BYTES == PAGE_HEADER_BYTES;
            Ok(Some(Seen {
                height,
                epoch,
                writer,
                position: insert - if is_at_start { PAGE_HEADER_BYTES } else { 0 },
            }))
        })?;
        self.seen = top;
        let is_flushed = match top {
            None => false,
            Some(seen) => self
                .look(&session)?
                .is_none_or(|log| log.carried >= seen.position),
        };
        self.session = Some(session);
        Ok(top.filter(|_| is_flushed))
    }
}

impl Source for PostgresSource {
    fn refresh(&mut self) -> Result<Height, ProjectionError> {
        Ok(self.reader.refresh()?)
    }

    fn reader(&self) -> &dyn BlockReader {
        &self.reader
    }

    fn newest(&mut self, known: Height) -> Result<Vec<Block>, ProjectionError> {
        let Some(top) = self.confirmed(known)? else {
            return Ok(Vec::new());
        };
        let mut blocks = self.reader.tentative()?;
        blocks.retain(|block| block.height > known && block.height.0 as i64 <= top.height);
        // They may have been read at another server: only the very block that was confirmed counts.
        let is_it = blocks.last().is_some_and(|block| {
            (block.height.0 as i64, block.epoch as i64, block.writer.0)
                == (top.height, top.epoch, top.writer.0)
        });
        Ok(if is_it { blocks } else { Vec::new() })
    }

    fn log(&mut self) -> Result<Option<Log>, ProjectionError> {
        let session = self.take_session()?;
        let log = self.look(&session)?;
        self.session = Some(session);
        Ok(log)
    }
}
