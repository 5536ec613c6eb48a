//! The writer's side: terms, appends, and what an error leaves behind.
//! Invariant: a block is sent only when the one before it is final, and an answer is given only when its block is.

use crate::append::{Parcel, Statements};
use crate::chunks::{PREFIX_BYTES, complete, fits};
use crate::link::{AbortHandle, Link, Purpose, TIMELINE, scalar};
use crate::reader::FinalHead;
use crate::schema::{check_version, ensure_partitions, partition_heights};
use crate::tables::{Mark, Uuid, block, last_final, visible};
use crate::{ConnectOptions, PostgresError, PostgresOptions, PostgresReader};
use futures::future::try_join3;
use journal::{
    AppendError, Block, BlockHash, BlockReader, Draft, Head, Journal, JournalError, Opener, Sealer, ShardId,
    Term, WriterId, epoch_draft,
};
use ledger::{Height, TimestampNs};
use std::io;
use std::sync::Arc;
use storage::KeyRing;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{ToSql, Type};

/// How often an epoch block meets another block before the attempt is given up. The claim lets each writer before
/// land one block more at most.
const CONFLICTS_MAX: u32 = 64;

/// A journal in PostgreSQL, for its writer. Reading needs only a [`PostgresReader`].
///
/// A term begins with [`Journal::begin_term`]; after `SteppedDown` or `Unknown` nothing is taken until the next one,
/// which connects anew. [`PostgresJournal::stopped_by`] tells why.
pub struct PostgresJournal {
    options: PostgresOptions,
    keys: KeyRing,
    sealer: Sealer,
    session: Option<Session>,
    /// The claim that every append checks.
    claim: Option<Claim>,
    head: Head,
    final_head: Arc<FinalHead>,
    reader: Arc<PostgresReader>,
    buffer: Vec<u8>,
    abort: AbortHandle,
    stopped: Option<Stopped>,
    /// The block that was sent and not confirmed.
    sent: Option<(Height, BlockHash)>,
}

/// A connection and what was learned and prepared on it.
struct Session {
    link: Link,
    server: WritableServer,
    partition_heights: u64,
    /// The first height for which no partition was seen.
    partitions_until: Height,
    statements: Option<Statements>,
}

/// For what the journal was claimed.
#[derive(Clone, Copy, Debug)]
enum Claim {
    /// Blocks of one term.
    Term(Term),
    /// Blocks of any terms, as they stand in another journal.
    Import(WriterId),
}

impl Claim {
    fn claimant(self) -> WriterId {
        match self {
            Self::Term(term) => term.writer,
            Self::Import(claimant) => claimant,
        }
    }
}

struct Stopped {
    why: PostgresError,
    /// The block whose outcome is unknown, if one is.
    unsettled: Option<(Height, BlockHash)>,
}

impl PostgresJournal {
    /// Connects, checks schema and settings, and finds the last final block. Writes nothing.
    ///
    /// # Errors
    /// [`PostgresError`].
    pub fn open(options: PostgresOptions, keys: KeyRing) -> Result<Self, PostgresError> {
        Self::open_abortable(options, keys, AbortHandle::default())
    }

    /// [`PostgresJournal::open`], which another thread may make give up, as everything after it.
    ///
    /// # Errors
    /// [`PostgresError`].
    pub fn open_abortable(
        options: PostgresOptions,
        keys: KeyRing,
        abort: AbortHandle,
    ) -> Result<Self, PostgresError> {
        options.durability.check()?;
        let mut session = Session::open(&options, &abort)?;
        let final_head = Arc::new(FinalHead::default());
        let reader = PostgresReader::sharing(&options, keys.clone(), final_head.clone());
        let mut head = Head::default();
        if let Some(top) = visible(&mut session.link, options.shard)?
            && let Some(last) = last_final(&mut session.link, options.shard, top.height, Height(0))?
        {
            let mut opener = Opener::new(keys.clone());
            head = Head::of(&block(
                &mut session.link,
                &mut opener,
                options.shard,
                last.height,
            )?);
            final_head.advance(last);
        }
        Ok(Self {
            sealer: Sealer::new(&keys, options.shard),
            session: Some(session),
            claim: None,
            head,
            final_head,
            reader: Arc::new(reader),
            buffer: Vec::new(),
            abort,
            stopped: None,
            sent: None,
            options,
            keys,
        })
    }

    /// Takes blocks of other terms from now on, one by one in their order, to fill an empty journal from another one:
    /// [`Journal::append`] then wants each block's own term. `claimant` must be fresh and random. Ends with the next
    /// term; the last block is final for other readers only with that.
    ///
    /// # Errors
    /// [`PostgresError::Superseded`] when the journal is not empty; others as they come.
    pub fn begin_import(&mut self, claimant: WriterId) -> Result<(), PostgresError> {
        self.connect_again()?;
        let shard = self.options.shard;
        let session = self.session.as_mut().expect("it was just opened");
        if visible(&mut session.link, shard)?.is_some() {
            return Err(PostgresError::Superseded("the journal is not empty"));
        }
        session.claim(shard, 0, claimant)?;
        self.head = Head::default();
        self.claim = Some(Claim::Import(claimant));
        Ok(())
    }

    /// The server with which there is a session.
    #[must_use]
    pub fn server(&self) -> Option<&WritableServer> {
        self.session.as_ref().map(|session| &session.server)
    }

    /// Makes an append that hangs give up, from any thread.
    #[must_use]
    pub fn abort_handle(&self) -> AbortHandle {
        self.abort.clone()
    }

    /// Why nothing is taken until the next term begins, for operators.
    #[must_use]
    pub fn stopped_by(&self) -> Option<&PostgresError> {
        self.stopped.as_ref().map(|stopped| &stopped.why)
    }

    /// Height and hash of the block whose outcome is unknown. Once a term begins, the block at that height tells: it
    /// has this hash, or ours never was.
    #[must_use]
    pub fn unsettled(&self) -> Option<(Height, BlockHash)> {
        self.stopped.as_ref()?.unsettled
    }

    /// A reader of the final blocks, with what it tells beyond [`BlockReader`].
    #[must_use]
    pub fn postgres_reader(&self) -> Arc<PostgresReader> {
        self.reader.clone()
    }

    fn check(&self, term: Term, draft: &Draft) -> Result<(), AppendError> {
        let refuse = |error| Err(AppendError::Fatal(error));
        let head = &self.head;
        let is_begun = match self.claim {
            Some(Claim::Term(ours)) => term == ours,
            // The rule of every journal: the same term as before, or one above it.
            Some(Claim::Import(_)) => {
                (term.epoch, term.writer) == (head.epoch, head.writer) || term.epoch > head.epoch
            }
            None => false,
        };
        if !is_begun {
            return refuse(JournalError::Draft("its term was not begun here"));
        }
        if draft.is_empty() {
            return refuse(JournalError::Draft("it is empty"));
        }
        if !fits(draft.bytes()) {
            return refuse(JournalError::Draft("it is too large"));
        }
        let (draft, last) = (draft.first_timestamp(), self.head.timestamp);
        if draft <= last {
            return refuse(JournalError::Time { draft, last });
        }
        Ok(())
    }

    /// Commits a draft as the block after the head and returns when it is final.
    fn commit(&mut self, term: Term, draft: &Draft) -> Result<Head, PostgresError> {
        let session = self
            .session
            .as_mut()
            .expect("there is a session while not stopped");
        session.make_ready(&self.options, &self.head)?;
        self.buffer.clear();
        self.buffer.resize(PREFIX_BYTES, 0);
        let header = self.sealer.seal(&self.head, term, draft, &mut self.buffer);
        complete(&mut self.buffer, header.hash);
        let parcel = Parcel {
            shard: self.options.shard,
            before: &self.head,
            term,
            claimant: self.claim.expect("the journal was claimed").claimant(),
            bytes: &self.buffer,
        };
        let statements = session.statements.as_ref().expect("they were just made ready");
        self.sent = Some((header.height, header.hash));
        let appended = statements.append(&mut session.link, &self.options.durability, &parcel);
        if !appended.as_ref().is_err_and(PostgresError::is_unknown) {
            self.sent = None;
        }
        appended?;
        self.head = Head {
            height: header.height,
            hash: header.hash,
            epoch: term.epoch,
            writer: term.writer,
            timestamp: draft.last_timestamp(),
        };
        self.final_head.advance(Mark::of_head(&self.head));
        Ok(self.head)
    }

    /// After a stop nothing goes on over the connection that it happened on.
    fn connect_again(&mut self) -> Result<(), PostgresError> {
        self.abort.reset();
        self.stopped = None;
        self.sent = None;
        if self.session.is_none() {
            self.session = Some(Session::open(&self.options, &self.abort)?);
        }
        Ok(())
    }

    fn try_begin_term(&mut self, writer: WriterId, now: TimestampNs) -> Result<Term, PostgresError> {
        self.connect_again()?;
        let session = self.session.as_mut().expect("it was just opened");
        let shard = self.options.shard;
        let top = visible(&mut session.link, shard)?;
        let height = top.map_or(Height(0), |mark| mark.height);
        session.partitions_until = ensure_partitions(&mut session.link, Height(height.0 + 1))?;
        let epoch = session.claim(shard, top.map_or(0, |mark| mark.epoch), writer)?;
        let term = Term { epoch, writer };
        self.claim = Some(Claim::Term(term));
        for _ in 0..CONFLICTS_MAX {
            let last = self.visible_block()?;
            self.head = last.as_ref().map(Head::of).unwrap_or_default();
            if self.head.epoch >= epoch {
                return Err(PostgresError::Superseded("a later term has begun"));
            }
            match self.commit(term, &epoch_draft(now, last.as_ref())) {
                // A block of a writer before us landed there meanwhile; under our claim it was its last.
                Err(PostgresError::Superseded(_)) => {
                    let session = self.session.as_mut().expect("it is open");
                    if session.claimant(shard)? != Some(writer) {
                        return Err(PostgresError::Superseded("a later term was claimed"));
                    }
                }
                result => return result.map(|_| term),
            }
        }
        Err(PostgresError::Superseded(
            "the head moved on in spite of our claim",
        ))
    }

    /// The highest block that can be seen. Whether it is final is for the epoch block after it to settle.
    fn visible_block(&mut self) -> Result<Option<Block>, PostgresError> {
        let session = self.session.as_mut().expect("it is open");
        let shard = self.options.shard;
        let Some(top) = visible(&mut session.link, shard)? else {
            return Ok(None);
        };
        let mut opener = Opener::new(self.keys.clone());
        block(&mut session.link, &mut opener, shard, top.height).map(Some)
    }

    /// What an error means to the one who appends. All but a full disk ends the session, without a cancel.
    fn stop(&mut self, why: PostgresError) -> AppendError {
        let unsettled = self.sent.take().filter(|_| why.is_unknown());
        if why.is_refusal(&SqlState::DISK_FULL) {
            return AppendError::Full(io::Error::new(io::ErrorKind::StorageFull, why));
        }
        let error = if unsettled.is_some() {
            AppendError::Unknown
        } else {
            AppendError::SteppedDown
        };
        tracing::warn!(code = why.code(), error = %why, outcome = %error, "the journal in PostgreSQL stopped");
        self.session = None;
        self.claim = None;
        self.stopped = Some(Stopped { why, unsettled });
        error
    }
}

impl Session {
    fn open(options: &PostgresOptions, abort: &AbortHandle) -> Result<Self, PostgresError> {
        let mut link = Link::open(&options.connect, Purpose::Append, abort.clone())?;
        let server = check_server(&mut link, &options.connect.target())?;
        check_version(&mut link)?;
        Ok(Self {
            server,
            partition_heights: partition_heights(&mut link)?,
            partitions_until: Height(0),
            statements: None,
            link,
        })
    }

    /// Claims the next term above `above`, and gives its epoch.
    fn claim(&mut self, shard: ShardId, above: u64, writer: WriterId) -> Result<u64, PostgresError> {
        let (shard, above) = (shard.0 as i32, above as i64);
        let epoch: i64 = self.link.change("claim the next term", async |client| {
            let sql = "select shanraq.claim_term($1, $2, $3)";
            let parameters: [(&(dyn ToSql + Sync), Type); 3] = [
                (&shard, Type::INT4),
                (&above, Type::INT8),
                (&Uuid(writer), Type::UUID),
            ];
            client.query_typed_one(sql, &parameters).await?.try_get(0)
        })?;
        Ok(epoch as u64)
    }

    /// Whose claim stands.
    fn claimant(&mut self, shard: ShardId) -> Result<Option<WriterId>, PostgresError> {
        let shard = shard.0 as i32;
        let found = self.link.ask("read the claim", async |client| {
            let sql = "select writer from shanraq.term_claim where shard = $1";
            let row = client.query_typed_opt(sql, &[(&shard, Type::INT4)]).await?;
            row.map(|row| row.try_get::<_, Uuid>(0)).transpose()
        })?;
        Ok(found.map(|Uuid(writer)| writer))
    }

    /// Partition and statements for the block after `before`.
    fn make_ready(&mut self, options: &PostgresOptions, before: &Head) -> Result<(), PostgresError> {
        let height = Height(before.height.0 + 1);
        if height >= self.partitions_until {
            self.partitions_until = ensure_partitions(&mut self.link, height)?;
        }
        let serve = |statements: &Statements| statements.serve(before.height, self.partition_heights);
        if !self.statements.as_ref().is_some_and(serve) {
            self.statements = Some(Statements::prepare(
                &mut self.link,
                &options.durability,
                self.partition_heights,
                before,
            )?);
        }
        Ok(())
    }
}

/// A server that takes writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WritableServer {
    /// Its address, port and start: the same server in another life is another one.
    pub name: String,
    /// The timeline on which it writes, in eight digits.
    pub timeline: String,
}

impl WritableServer {
    /// Whether this one writes in the place of another: what hangs at that one hangs for good. A former primary that still takes
    /// sessions writes on an earlier timeline than whoever took its place.
    #[must_use]
    pub fn replaces(&self, other: &Self) -> bool {
        self.name != other.name && self.timeline >= other.timeline
    }
}

/// Asks which server takes writes, the one on the latest timeline if several do.
///
/// # Errors
/// [`PostgresError`]: none can be found now.
pub fn writable_server(options: &ConnectOptions) -> Result<WritableServer, PostgresError> {
    let mut link = Link::open(options, Purpose::ReadAtPrimary, AbortHandle::default())?;
    link.ask("ask the server's name", async |client| own_name(client).await)
}

/// A standby's timeline is empty.
async fn own_name(client: &Client) -> Result<WritableServer, tokio_postgres::Error> {
    let sql = format!(
        "select concat_ws(' ', inet_server_addr(), inet_server_port(), pg_postmaster_start_time()), \
         case when pg_is_in_recovery() then '' else {TIMELINE} end"
    );
    let row = client.query_typed_one(&sql, &[]).await?;
    Ok(WritableServer {
        name: row.try_get(0)?,
        timeline: row.try_get(1)?,
    })
}

/// How many sessions may be left behind that wait for a standby, or for one that does: PostgreSQL ends none of them while it waits.
const WAITING_MAX: i64 = 16;

/// Sessions of this user that hang.
const WAITING: &str = "select count(*) from pg_stat_activity where usename = current_user and datname = current_database() \
    and pid <> pg_backend_pid() and state = 'active' and (wait_event = 'SyncRep' or wait_event_type = 'Lock')";

/// Refuses a server under whose settings success would not mean what it must, and gives its name. What may change while we are
/// connected is asked again with every block.
fn check_server(link: &mut Link, target: &str) -> Result<WritableServer, PostgresError> {
    let action = "look at the server's settings";
    const WANTED: [(&str, &str, &str); 11] = [
        ("fsync", "on", "`on`, or a commit is on no disk"),
        ("full_page_writes", "on", "`on`, or a crash may leave half a page"),
        ("block_size", "8192", "8192, which chunks are cut for"),
        (
            "client_min_messages",
            "warning",
            "`warning`, or warnings are not heard",
        ),
        ("statement_timeout", "0", NO_TIMEOUT),
        ("lock_timeout", "0", NO_TIMEOUT),
        ("idle_in_transaction_session_timeout", "0", NO_TIMEOUT),
        ("idle_session_timeout", "0", NO_TIMEOUT),
        (
            "default_transaction_isolation",
            "read committed",
            "`read committed`",
        ),
        ("transaction_timeout", "0", NO_TIMEOUT),
        (
            "pg_read_all_stats",
            "on",
            "granted to the writer, or it sees no standby's position",
        ),
    ];
    let names: Vec<&str> = WANTED.iter().map(|(name, ..)| *name).collect();
    let sql = "select name, setting from pg_settings where name = any($1) union all select 'pg_read_all_stats',                case when pg_has_role(current_user, 'pg_read_all_stats', 'usage') then 'on' else 'off' end";
    let (server, waiting, found) = link.ask(action, async |client| {
        let (server, waiting, rows) = try_join3(
            own_name(client),
            scalar(client, WAITING),
            client.query_typed(sql, &[(&names, Type::TEXT_ARRAY)]),
        )
        .await?;
        let settings = rows
            .iter()
            .map(|row| Ok((row.try_get::<_, String>(0)?, row.try_get::<_, String>(1)?)));
        Ok((server, waiting, settings.collect::<Result<Vec<_>, _>>()?))
    })?;
    if server.timeline.is_empty() {
        let target = target.to_owned();
        return Err(PostgresError::NotPrimary { target });
    }
    if waiting > WAITING_MAX {
        return Err(PostgresError::Crowded(waiting));
    }
    for (name, expected, wanted) in WANTED {
        let value = found.iter().find(|(found, _)| found == name);
        match value {
            Some((_, value)) if value != expected => {
                let value = value.clone();
                return Err(PostgresError::Setting { name, value, wanted });
            }
            // A setting of a later version.
            None | Some(_) => {}
        }
    }
    Ok(server)
}

const NO_TIMEOUT: &str = "0: what is cut short may be visible and on no standby";

impl Journal for PostgresJournal {
    fn head(&self) -> Head {
        self.head
    }

    fn begin_term(&mut self, writer: WriterId, now: TimestampNs) -> Result<Term, AppendError> {
        self.abort.set_begins(true);
        let begun = self.try_begin_term(writer, now);
        self.abort.set_begins(false);
        begun.map_err(|why| match why {
            PostgresError::Block(damage) => AppendError::Fatal(damage),
            why => self.stop(why),
        })
    }

    fn append(&mut self, term: Term, draft: &mut Draft) -> Result<Head, AppendError> {
        if let Some(stopped) = &self.stopped {
            return Err(match stopped.unsettled {
                Some(_) => AppendError::Unknown,
                None => AppendError::SteppedDown,
            });
        }
        self.check(term, draft)?;
        match self.commit(term, draft) {
            Ok(head) => {
                draft.clear();
                Ok(head)
            }
            Err(why) => Err(self.stop(why)),
        }
    }

    fn sealed(&self) -> Option<&[u8]> {
        self.buffer
            .get(PREFIX_BYTES..)
            .filter(|sealed| !sealed.is_empty())
    }

    fn reader(&self) -> Arc<dyn BlockReader> {
        self.reader.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_on_an_earlier_timeline_replaces_nobody() {
        let server = |name: &str, timeline: &str| WritableServer {
            name: name.to_owned(),
            timeline: timeline.to_owned(),
        };
        let ours = server("b", "0000000A");
        assert!(!ours.replaces(&ours));
        assert!(!server("a", "00000009").replaces(&ours), "a former primary");
        assert!(server("a", "0000000B").replaces(&ours));
        assert!(server("b since then", "0000000A").replaces(&ours), "another life");
    }
}
