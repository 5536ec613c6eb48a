//! The tables. Owns: every statement on them; a step's transaction. Must not: know blocks beyond height and hash.

use crate::replica::{Parts, Replica};
use crate::rows::{ACCOUNT_COLUMNS, Changes, PENDING_COLUMNS, TRANSFER_COLUMNS};
use crate::schema::check_version;
use crate::session::Session;
use crate::values::{CopyBuffer, Numeric, Uuid};
use crate::{ProjectionError, ServerOptions};
use futures::SinkExt;
use journal::{BlockHash, ShardId};
use ledger::{
    Account, AccountFlags, AccountId, Amount, Balances, Code, Height, LedgerDescription, LedgerId,
    TimestampNs, Transfer, TransferFlags, TransferId,
};
use std::collections::BTreeSet;
use std::ops::Range;
use std::pin::pin;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Error, Row, Statement};

use futures::TryStreamExt;

const APPLICATION: &str = "shanraq projection";

/// Where the tables stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Of which journal they are.
    pub shard: ShardId,
    /// The last block that is in them; 0 before the first.
    pub height: Height,
    /// Its hash; zeros before the first.
    pub hash: BlockHash,
    /// Of its last event; 0 before the first.
    pub timestamp: TimestampNs,
    /// Rows of `transfers`.
    pub transfers: u64,
    /// Rows of `accounts`.
    pub accounts: u64,
}

/// Where the tables of a database stand. For those who look on; a reader's login is enough.
///
/// # Errors
/// [`ProjectionError`].
pub fn position(options: &ServerOptions) -> Result<Position, ProjectionError> {
    let session = Session::open(options, APPLICATION)?;
    check_version(&session)?;
    session.ask("read where the tables stand", read_position)
}

/// Empties the tables, so that they are projected anew from the first block on. A projection that runs meanwhile finds
/// that its tables moved, and reads them again.
///
/// # Errors
/// [`ProjectionError`]; the tables are then as they were.
pub fn reset(options: &ServerOptions) -> Result<(), ProjectionError> {
    let session = Session::open(options, APPLICATION)?;
    check_version(&session)?;
    session.batch("empty the tables", "select ledger.reset()")
}

/// Held by the one projection that moves the tables, of those that wait for each other.
const TURN_LOCK: i64 = 7_236_284_021_843_210;

/// A session that does not move the tables yet.
pub(crate) struct Candidate(Session);

impl Candidate {
    /// Connects.
    pub(crate) fn open(options: &ServerOptions) -> Result<Self, ProjectionError> {
        let session = Session::open(options, APPLICATION)?;
        check_version(&session)?;
        Ok(Self(session))
    }

    /// Takes the turn if nobody has it; it lasts as long as the session. Asked again and again, not waited for at the
    /// server: whose server is frozen must not wait for ever.
    pub(crate) fn takes_turn(&self) -> Result<bool, ProjectionError> {
        self.0.ask("ask for the turn", async |client| {
            client
                .query_one_scalar("select pg_try_advisory_lock($1)", &[&TURN_LOCK])
                .await
        })
    }
}

/// A session that moves the tables.
pub(crate) struct Target {
    session: Session,
    statements: Statements,
    partition_ns: u64,
    /// Partitions known to stand, by number.
    partitions: BTreeSet<u64>,
}

struct Statements {
    advance: Statement,
    ensure_partition: Statement,
    copy_transfers: Statement,
    copy_accounts: Statement,
    copy_pendings: Statement,
    update_accounts: Statement,
    close_pendings: Statement,
    describe: Statement,
}

impl Target {
    /// Prepares.
    pub(crate) fn open(Candidate(session): Candidate) -> Result<Self, ProjectionError> {
        let (partition_s, statements) = session.ask("prepare the steps", async |client| {
            // Accounts are always looked up one by one: their number in a step says nothing of the table's size.
            client
                .batch_execute(
                    "set enable_seqscan = off; set enable_hashjoin = off; set enable_mergejoin = off; \
                     set plan_cache_mode = force_generic_plan",
                )
                .await?;
            let sql = "select partition_s from ledger.layout";
            let partition_s: i64 = client.query_one_scalar(sql, &[]).await?;
            Ok((partition_s, Statements::prepare(client).await?))
        })?;
        Ok(Self {
            session,
            statements,
            partition_ns: partition_s as u64 * 1_000_000_000,
            partitions: BTreeSet::new(),
        })
    }

    /// Nanoseconds that a partition spans.
    pub(crate) fn partition_ns(&self) -> u64 {
        self.partition_ns
    }

    /// Where the tables stand, and the state that they hold.
    pub(crate) fn load(&self) -> Result<(Position, Replica), ProjectionError> {
        let (position, parts) = self.session.ask("read the tables", load)?;
        if position.accounts != parts.accounts.len() as u64 {
            let reason = format!(
                "{} accounts, where {} should be",
                parts.accounts.len(),
                position.accounts
            );
            return Err(ProjectionError::Tables(reason));
        }
        Ok((position, Replica::restore(&parts)?))
    }

    /// Moves the tables from where they stand to the end of the changes, in one transaction. `room` is asked before each
    /// piece how many rows it may write, and may wait.
    ///
    /// # Errors
    /// [`ProjectionError::Moved`] when they stand elsewhere; otherwise the tables may have been moved all the same, as
    /// when the connection ended before the answer: read them again.
    pub(crate) fn commit(
        &mut self,
        from: &Position,
        changes: &Changes,
        replica: &Replica,
        room: &mut Room<'_>,
    ) -> Result<Position, ProjectionError> {
        let to = Position {
            shard: from.shard,
            height: changes.height,
            hash: changes.hash,
            timestamp: changes.timestamp,
            transfers: from.transfers + changes.transfers.rows(),
            accounts: from.accounts + changes.accounts.rows(),
        };
        let missing: Vec<u64> = changes.partitions.difference(&self.partitions).copied().collect();
        let (statements, partition_ns) = (&self.statements, self.partition_ns);
        let action = "move the tables";
        let stood_there = self.session.ask(action, async |client| {
            client.batch_execute("begin").await?;
            if statements.advance(client, from, &to).await? != 1 {
                client.batch_execute("rollback").await?;
                return Ok(false);
            }
            for number in &missing {
                let at = (number * partition_ns).max(1) as i64;
                client.query(&statements.ensure_partition, &[&at]).await?;
            }
            Ok(true)
        })?;
        if !stood_there {
            return Err(ProjectionError::Moved { height: from.height });
        }
        let updated = self.write(changes, replica, room)?;
        if updated != changes.touched.ids.len() as u64 {
            self.session.batch(action, "rollback")?;
            return Err(ProjectionError::Tables(format!(
                "{updated} accounts were found of {} that changed",
                changes.touched.ids.len()
            )));
        }
        self.session.batch(action, "commit")?;
        self.partitions.extend(missing);
        Ok(to)
    }

    /// Writes all of a step's rows and gives how many of the accounts that changed were found.
    fn write(
        &self,
        changes: &Changes,
        replica: &Replica,
        room: &mut Room<'_>,
    ) -> Result<u64, ProjectionError> {
        let statements = &self.statements;
        self.copy(&statements.copy_transfers, &changes.transfers, room)?;
        self.copy(&statements.copy_accounts, &changes.accounts, room)?;
        self.copy(&statements.copy_pendings, &changes.pendings, room)?;
        for_each_piece(changes.closed.len(), room, |piece| {
            self.session.ask("close pending transfers", async |client| {
                client
                    .execute(&statements.close_pendings, &[&&changes.closed[piece]])
                    .await
            })
        })?;
        if changes.is_described {
            self.session.ask("describe ledgers", async |client| {
                statements.describe(client, replica).await
            })?;
        }
        let touched = &changes.touched;
        for_each_piece(touched.ids.len(), room, |piece| {
            self.session.ask("update accounts", async |client| {
                let columns: [&(dyn ToSql + Sync); 6] = [
                    &&touched.ids[piece.clone()],
                    &&touched.flags[piece.clone()],
                    &&touched.debits_pending[piece.clone()],
                    &&touched.debits_posted[piece.clone()],
                    &&touched.credits_pending[piece.clone()],
                    &&touched.credits_posted[piece],
                ];
                client.execute(&statements.update_accounts, &columns).await
            })
        })
    }

    fn copy(
        &self,
        statement: &Statement,
        rows: &CopyBuffer,
        room: &mut Room<'_>,
    ) -> Result<u64, ProjectionError> {
        for_each_piece(rows.rows() as usize, room, |piece| {
            let Some(mut bytes) = rows.piece(piece.start, piece.len()) else {
                return Ok(0);
            };
            self.session.ask("copy rows", async |client| {
                let mut sink = pin!(client.copy_in(statement).await?);
                while !bytes.is_empty() {
                    let next = bytes.split_to(bytes.len().min(COPY_BYTES));
                    sink.send(next).await?;
                }
                sink.finish().await
            })
        })
    }
}

/// How much is handed to the socket at once.
const COPY_BYTES: usize = 1 << 20;

/// Says how many of so many rows the next piece may write, and waits before it does while too much is under way.
pub(crate) type Room<'a> = dyn FnMut(usize) -> Result<usize, ProjectionError> + 'a;

/// Goes through so many rows in pieces and gives the sum of what `write` says.
fn for_each_piece(
    rows: usize,
    room: &mut Room<'_>,
    mut write: impl FnMut(Range<usize>) -> Result<u64, ProjectionError>,
) -> Result<u64, ProjectionError> {
    let (mut done, mut sum) = (0, 0);
    while done < rows {
        let end = rows.min(done + room(rows - done)?.max(1));
        sum += write(done..end)?;
        done = end;
    }
    Ok(sum)
}

impl Statements {
    async fn prepare(client: &Client) -> Result<Self, Error> {
        let copy = async |table: &str, columns: &str| {
            let sql = format!("copy ledger.{table} ({columns}) from stdin (format binary)");
            client.prepare(&sql).await
        };
        Ok(Self {
            advance: client
                .prepare(
                    "update ledger.position set height = $1, hash = $2, timestamp_ns = $3, transfers = $4, \
                     accounts = $5, projected_at = now() where height = $6 and hash = $7 and shard = $8",
                )
                .await?,
            ensure_partition: client.prepare("select ledger.ensure_partition($1)").await?,
            copy_transfers: copy("transfers", TRANSFER_COLUMNS).await?,
            copy_accounts: copy("accounts", ACCOUNT_COLUMNS).await?,
            copy_pendings: copy("open_pendings", PENDING_COLUMNS).await?,
            update_accounts: client
                .prepare(
                    "update ledger.accounts as a set flags = t.flags, debits_pending = t.debits_pending, \
                     debits_posted = t.debits_posted, credits_pending = t.credits_pending, \
                     credits_posted = t.credits_posted \
                     from unnest($1::uuid[], $2::int[], $3::numeric[], $4::numeric[], $5::numeric[], $6::numeric[]) \
                     as t (id, flags, debits_pending, debits_posted, credits_pending, credits_posted) \
                     where a.id = t.id",
                )
                .await?,
            close_pendings: client
                .prepare("delete from ledger.open_pendings as p using unnest($1::uuid[]) as t (id) where p.id = t.id")
                .await?,
            describe: client
                .prepare(
                    "insert into ledger.ledgers (ledger, name, currency, scale) values ($1, $2, $3, $4) \
                     on conflict (ledger) do update set name = excluded.name, currency = excluded.currency, \
                     scale = excluded.scale",
                )
                .await?,
        })
    }

    /// The compare-and-set: how many rows stood where they should.
    async fn advance(&self, client: &Client, from: &Position, to: &Position) -> Result<u64, Error> {
        let (height, hash, timestamp) = (to.height.0 as i64, &to.hash.0[..], to.timestamp.0 as i64);
        let (transfers, accounts) = (to.transfers as i64, to.accounts as i64);
        let (from_height, from_hash, shard) = (from.height.0 as i64, &from.hash.0[..], from.shard.0 as i32);
        let parameters: [&(dyn ToSql + Sync); 8] = [
            &height,
            &hash,
            &timestamp,
            &transfers,
            &accounts,
            &from_height,
            &from_hash,
            &shard,
        ];
        client.execute(&self.advance, &parameters).await
    }

    async fn describe(&self, client: &Client, replica: &Replica) -> Result<(), Error> {
        for it in replica.descriptions() {
            let (ledger, scale) = (i64::from(it.ledger.0), i16::from(it.scale));
            let parameters: [&(dyn ToSql + Sync); 4] = [&ledger, &it.name, &it.currency, &scale];
            client.execute(&self.describe, &parameters).await?;
        }
        Ok(())
    }
}

async fn read_position(client: &Client) -> Result<Position, Error> {
    let sql = "select shard, height, hash, timestamp_ns, transfers, accounts from ledger.position";
    let row = client.query_one(sql, &[]).await?;
    let mut hash = BlockHash::default();
    let bytes: &[u8] = row.try_get(2)?;
    // The table takes no other length.
    hash.0.copy_from_slice(bytes);
    Ok(Position {
        shard: ShardId(row.try_get::<_, i32>(0)? as u32),
        height: Height(row.try_get::<_, i64>(1)? as u64),
        hash,
        timestamp: TimestampNs(row.try_get::<_, i64>(3)? as u64),
        transfers: row.try_get::<_, i64>(4)? as u64,
        accounts: row.try_get::<_, i64>(5)? as u64,
    })
}

/// All of it as of one moment.
async fn load(client: &Client) -> Result<(Position, Parts), Error> {
    client
        .batch_execute("begin isolation level repeatable read read only")
        .await?;
    let position = read_position(client).await?;
    let last_row: i64 = client
        .query_one_scalar("select coalesce(max(timestamp_ns), 0) from ledger.transfers", &[])
        .await?;
    let accounts = format!("select {ACCOUNT_COLUMNS} from ledger.accounts order by timestamp_ns");
    let pendings = format!("select {PENDING_COLUMNS} from ledger.open_pendings order by timestamp_ns");
    let described = "select ledger, name, currency, scale from ledger.ledgers order by ledger";
    let parts = Parts {
        accounts: rows(client, &accounts, account).await?,
        pendings: rows(client, &pendings, pending).await?,
        descriptions: rows(client, described, description).await?,
        last_timestamp: position.timestamp,
        last_row_timestamp: TimestampNs(last_row as u64),
        rows: position.transfers,
    };
    client.batch_execute("commit").await?;
    Ok((position, parts))
}

async fn rows<T>(
    client: &Client,
    sql: &str,
    read: impl Fn(&Row) -> Result<T, Error>,
) -> Result<Vec<T>, Error> {
    let none: [&(dyn ToSql + Sync); 0] = [];
    let mut stream = pin!(client.query_raw(sql, none).await?);
    let mut found = Vec::new();
    while let Some(row) = stream.try_next().await? {
        found.push(read(&row)?);
    }
    Ok(found)
}

fn account(row: &Row) -> Result<Account, Error> {
    let amount = |at: usize| row.try_get::<_, Numeric>(at).map(|Numeric(value)| Amount(value));
    Ok(Account {
        id: AccountId(row.try_get::<_, Uuid>(0)?.0),
        ledger: LedgerId(row.try_get::<_, i64>(1)? as u32),
        code: Code(row.try_get::<_, i32>(2)? as u16),
        flags: AccountFlags::from_bits_retain(row.try_get::<_, i32>(3)? as u16),
        balances: Balances {
            debits_pending: amount(4)?,
            debits_posted: amount(5)?,
            credits_pending: amount(6)?,
            credits_posted: amount(7)?,
        },
        user_data_128: row.try_get::<_, Option<Uuid>>(8)?.map_or(0, |it| it.0),
        user_data_64: row.try_get::<_, Option<Numeric>>(9)?.map_or(0, |it| it.0 as u64),
        user_data_32: row.try_get::<_, Option<i64>>(10)?.unwrap_or_default() as u32,
        timestamp: TimestampNs(row.try_get::<_, i64>(11)? as u64),
    })
}

fn pending(row: &Row) -> Result<Transfer, Error> {
    Ok(Transfer {
        id: TransferId(row.try_get::<_, Uuid>(0)?.0),
        timestamp: TimestampNs(row.try_get::<_, i64>(1)? as u64),
        debit_account_id: AccountId(row.try_get::<_, Uuid>(2)?.0),
        credit_account_id: AccountId(row.try_get::<_, Uuid>(3)?.0),
        amount: Amount(row.try_get::<_, Numeric>(4)?.0),
        ledger: LedgerId(row.try_get::<_, i64>(5)? as u32),
        code: Code(row.try_get::<_, i32>(6)? as u16),
        flags: TransferFlags::from_bits_retain(row.try_get::<_, i32>(7)? as u16),
        timeout: row.try_get::<_, Option<i64>>(8)?.unwrap_or_default() as u32,
        user_data_128: row.try_get::<_, Option<Uuid>>(9)?.map_or(0, |it| it.0),
        user_data_64: row.try_get::<_, Option<Numeric>>(10)?.map_or(0, |it| it.0 as u64),
        user_data_32: row.try_get::<_, Option<i64>>(11)?.unwrap_or_default() as u32,
        pending_id: TransferId(0),
    })
}

fn description(row: &Row) -> Result<LedgerDescription, Error> {
    Ok(LedgerDescription {
        ledger: LedgerId(row.try_get::<_, i64>(0)? as u32),
        name: row.try_get(1)?,
        currency: row.try_get(2)?,
        scale: row.try_get::<_, i16>(3)? as u8,
    })
}
