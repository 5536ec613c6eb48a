//! Questions to the tables. Owns: every `select` on the journal and on the server's state. Must not: write.

use crate::PostgresError;
use crate::chunks::{Row, count, join};
use crate::error::damaged;
use crate::finality::{Lsn, Observation, Standby};
use crate::link::Link;
use crate::schema::PARTITIONS_AHEAD;
use futures::future::try_join_all;
use journal::{Block, Damage, Head, Opener, ShardId, WriterId};
use ledger::Height;
use std::error::Error;
use tokio_postgres::types::{
    FromSql, IsNull, PgLsn, ToSql, Type, accepts, private::BytesMut, to_sql_checked,
};
use tokio_postgres::{Client, Row as Answer, Statement};

/// A writer's id as PostgreSQL's `uuid`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Uuid(pub(crate) WriterId);

impl ToSql for Uuid {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        out.extend_from_slice(&self.0.0.to_be_bytes());
        Ok(IsNull::No)
    }
    accepts!(UUID);
    to_sql_checked!();
}

impl<'a> FromSql<'a> for Uuid {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self(WriterId(u128::from_be_bytes(raw.try_into()?))))
    }
    accepts!(UUID);
}

/// Chunk 0 of a block without its bytes: who wrote what height.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) height: Height,
    pub(crate) epoch: u64,
    pub(crate) writer: WriterId,
}

impl Mark {
    fn of(answer: &Answer) -> Result<Self, tokio_postgres::Error> {
        let Uuid(writer) = answer.try_get(2)?;
        Ok(Self {
            height: Height(answer.try_get::<_, i64>(0)? as u64),
            epoch: answer.try_get::<_, i64>(1)? as u64,
            writer,
        })
    }

    pub(crate) fn of_head(head: &Head) -> Self {
        Self {
            height: head.height,
            epoch: head.epoch,
            writer: head.writer,
        }
    }

    fn is_of_the_term_of(&self, other: &Self) -> bool {
        (self.epoch, self.writer) == (other.epoch, other.writer)
    }
}

/// How many marks are looked at in one go; more are only there when so many terms began without a block.
const MARKS: i64 = 16;
/// How many partitions are asked for their highest block in one go: those ahead of the head are empty.
const LEAVES: usize = PARTITIONS_AHEAD as usize + 2;

/// The highest block that can be seen, final or not.
pub(crate) fn visible(link: &mut Link, shard: ShardId) -> Result<Option<Mark>, PostgresError> {
    let action = "find the head";
    let sql = "select inhrelid::regclass::text from pg_inherits join pg_class on pg_class.oid = inhrelid \
               where inhparent = 'shanraq.journal'::regclass order by relname desc";
    let leaves: Vec<String> = link.ask(action, async |client| {
        let rows = client.query_typed(sql, &[]).await?;
        rows.iter().map(|row| row.try_get(0)).collect()
    })?;
    for leaves in leaves.chunks(LEAVES) {
        // Of two statements a block may land between them, which is as if we had asked later.
        let marks = link.ask(action, async |client| {
            try_join_all(leaves.iter().map(|leaf| highest(client, leaf, shard))).await
        })?;
        // The highest partition first; within a flight the lower ones are asked later.
        if let Some(mark) = marks.into_iter().flatten().next() {
            return Ok(Some(mark));
        }
    }
    Ok(None)
}

/// The highest block that can be seen in a partition.
async fn highest(client: &Client, leaf: &str, shard: ShardId) -> Result<Option<Mark>, tokio_postgres::Error> {
    let sql = format!(
        "select height, epoch, writer from {leaf} where shard = $1 and chunk = 0 order by height desc limit 1"
    );
    let found = client
        .query_typed_opt(&sql, &[(&(shard.0 as i32), Type::INT4)])
        .await?;
    found.as_ref().map(Mark::of).transpose()
}

/// The highest block that is surely final, as far as the tables tell: a writer sends a block only when the one before
/// it is final, so a block is final when a later block of its own term follows it. Nothing when none from `known` on shows that.
pub(crate) fn last_final(
    link: &mut Link,
    shard: ShardId,
    top: Height,
    known: Height,
) -> Result<Option<Mark>, PostgresError> {
    let mut after: Option<Mark> = None;
    let mut below = top;
    while below > known {
        let marks = marks(link, shard, below, known)?;
        let Some(lowest) = marks.last() else {
            return Err(damaged("shanraq.journal", below, Damage::Hole));
        };
        below = Height(lowest.height.0 - 1);
        for mark in marks {
            if let Some(after) = after {
                if after.height.0 != mark.height.0 + 1 {
                    return Err(damaged(
                        "shanraq.journal",
                        Height(after.height.0 - 1),
                        Damage::Hole,
                    ));
                }
                if after.is_of_the_term_of(&mark) {
                    return Ok(Some(mark));
                }
            }
            after = Some(mark);
        }
    }
    Ok(None)
}

/// Whose block can be seen at a height.
pub(crate) fn mark(link: &mut Link, shard: ShardId, height: Height) -> Result<Option<Mark>, PostgresError> {
    Ok(marks(link, shard, height, height)?.pop())
}

/// Marks from `top` down to `bottom`, at most [`MARKS`].
fn marks(link: &mut Link, shard: ShardId, top: Height, bottom: Height) -> Result<Vec<Mark>, PostgresError> {
    let sql = "select height, epoch, writer from shanraq.journal \
               where shard = $1 and height between $2 and $3 and chunk = 0 order by height desc limit $4";
    let from = top.0.saturating_sub(MARKS as u64 - 1).max(bottom.0).max(1);
    let (shard, from, to) = (shard.0 as i32, from as i64, top.0 as i64);
    link.ask("read who wrote", async |client| {
        let parameters: [(&(dyn ToSql + Sync), Type); 4] = [
            (&shard, Type::INT4),
            (&from, Type::INT8),
            (&to, Type::INT8),
            (&MARKS, Type::INT8),
        ];
        let rows = client.query_typed(sql, &parameters).await?;
        rows.iter().map(Mark::of).collect()
    })
}

/// Rows of a range of heights in order, at most so many.
pub(crate) fn rows(
    link: &mut Link,
    shard: ShardId,
    from: Height,
    to: Height,
    limit: i64,
) -> Result<Vec<Row>, PostgresError> {
    let sql = "select height, chunk, epoch, writer, bytes from shanraq.journal \
               where shard = $1 and height between $2 and $3 order by height, chunk limit $4";
    let (shard, from, to) = (shard.0 as i32, from.0 as i64, to.0 as i64);
    link.ask("read blocks", async |client| {
        let parameters: [(&(dyn ToSql + Sync), Type); 4] = [
            (&shard, Type::INT4),
            (&from, Type::INT8),
            (&to, Type::INT8),
            (&limit, Type::INT8),
        ];
        let rows = client.query_typed(sql, &parameters).await?;
        rows.iter()
            .map(|row| {
                let Uuid(writer) = row.try_get(3)?;
                Ok(Row {
                    height: Height(row.try_get::<_, i64>(0)? as u64),
                    chunk: row.try_get(1)?,
                    epoch: row.try_get::<_, i64>(2)? as u64,
                    writer,
                    bytes: row.try_get(4)?,
                })
            })
            .collect()
    })
}

/// Groups rows into blocks; a last block that is not whole is left out, unless it is the only one.
pub(crate) fn whole(mut rows: Vec<Row>, was_cut: bool) -> Vec<Vec<Row>> {
    let mut blocks: Vec<Vec<Row>> = Vec::new();
    for row in rows.drain(..) {
        match blocks.last_mut() {
            Some(block) if block[0].height == row.height => block.push(row),
            _ => blocks.push(vec![row]),
        }
    }
    let last_is_short = |block: &Vec<Row>| count(&block[0]).is_ok_and(|count| block.len() < count);
    if was_cut && blocks.len() > 1 && blocks.last().is_some_and(last_is_short) {
        blocks.pop();
    }
    blocks
}

/// The block at a height that can be seen, checked in itself.
pub(crate) fn block(
    link: &mut Link,
    opener: &mut Opener,
    shard: ShardId,
    height: Height,
) -> Result<Block, PostgresError> {
    let rows = rows(link, shard, height, height, i64::MAX)?;
    open(opener, shard, height, &rows)
}

/// Decrypts, decodes and checks a block from all of its rows.
pub(crate) fn open(
    opener: &mut Opener,
    shard: ShardId,
    height: Height,
    rows: &[Row],
) -> Result<Block, PostgresError> {
    join(shard, height, rows)
        .and_then(|(header, mut ciphertext)| opener.open(&header, &mut ciphertext))
        .map_err(|damage| damaged("shanraq.journal", height, damage))
}

/// What the primary says of itself and its standbys; see [`Observation`]. The position is taken where this statement
/// runs, so after the commit that it follows.
pub(crate) const OBSERVE: &str = "select pg_current_wal_insert_lsn(), current_setting('synchronous_standby_names'), \
     current_setting('synchronous_commit'), application_name, flush_lsn, \
     coalesce(sync_state in ('sync', 'quorum'), false) \
     from (select) as always left join pg_stat_replication on true";

/// The same where no standby counts: what is not asked for costs nothing.
pub(crate) const OBSERVE_ALONE: &str = "select pg_current_wal_insert_lsn(), \
     current_setting('synchronous_standby_names'), current_setting('synchronous_commit'), \
     null::text, null::pg_lsn, false";

/// Asks one of the two.
pub(crate) async fn observe(
    client: &Client,
    statement: &Statement,
) -> Result<Observation, tokio_postgres::Error> {
    let rows = client.query(statement, &[]).await?;
    let mut observation = None;
    for row in &rows {
        let all = observation.get_or_insert(Observation {
            position: Lsn::end_before(row.try_get::<_, PgLsn>(0)?.into()),
            synchronous_standby_names: row.try_get(1)?,
            synchronous_commit: row.try_get(2)?,
            standbys: Vec::new(),
        });
        if let Some(name) = row.try_get(3)? {
            all.standbys.push(Standby {
                name,
                flushed: row.try_get::<_, Option<PgLsn>>(4)?.map(|lsn| Lsn(lsn.into())),
                is_synchronous: row.try_get(5)?,
            });
        }
    }
    Ok(observation.expect("a left join of one row gives at least one"))
}
