//! The conditional append: one prepared autocommit statement a block, and beside it the look at the standbys.
//! Owns: its SQL and what its answers mean. Must not: retry, or use ON CONFLICT: a conflict is somebody else's block.

use crate::chunks::CHUNK_BYTES;
use crate::finality::{Observation, check_settings, is_flushed};
use crate::link::{Link, failed};
use crate::schema::leaf;
use crate::tables::{OBSERVE, OBSERVE_ALONE, Uuid, observe};
use crate::{Durability, PostgresError};
use futures::future::{join, try_join4};
use journal::{Head, ShardId, Term, WriterId};
use ledger::Height;
use std::time::Duration;
use tokio_postgres::Statement;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{ToSql, Type};

/// Prepared for blocks whose predecessors lie in one partition.
pub(crate) struct Statements {
    /// Where the predecessor lies; none before the first block.
    predecessors: Option<String>,
    /// A block of one chunk.
    one: Statement,
    /// A block of several.
    many: Statement,
    observe: Statement,
    nudge: Statement,
}

/// A block in the form in which it is sent.
pub(crate) struct Parcel<'a> {
    pub(crate) shard: ShardId,
    /// The block that it must follow.
    pub(crate) before: &'a Head,
    pub(crate) term: Term,
    /// Whose claim must stand.
    pub(crate) claimant: WriterId,
    /// Prefix and sealed block.
    pub(crate) bytes: &'a [u8],
}

const ACTION: &str = "append a block";
/// Between looks at standbys that have not flushed yet.
const PAUSE: Duration = Duration::from_millis(2);

impl Statements {
    /// Prepares them for the block after `before`.
    pub(crate) fn prepare(
        link: &mut Link,
        durability: &Durability,
        partition_heights: u64,
        before: &Head,
    ) -> Result<Self, PostgresError> {
        let predecessors = predecessors(before.height, partition_heights);
        let guard = guard(durability, predecessors.as_deref());
        let one = format!(
            "insert into shanraq.journal (shard, height, chunk, epoch, writer, bytes) \
             select $1, $2, 0, $3, $4, $5 where {guard}"
        );
        let many = format!(
            "insert into shanraq.journal (shard, height, chunk, epoch, writer, bytes) \
             select $1, $2, (number - 1)::smallint, $3, $4, part \
             from unnest($5) with ordinality as parts (part, number) where {guard}"
        );
        let observe = match durability {
            Durability::Local => OBSERVE_ALONE,
            Durability::Standbys { .. } => OBSERVE,
        };
        let types = [Type::INT4, Type::INT8, Type::INT8, Type::UUID];
        let tail = [Type::UUID, Type::INT8, Type::UUID];
        // Before the first block nothing is asked about the one before it.
        let tail = &tail[..if predecessors.is_some() { 3 } else { 1 }];
        let with = |bytes: Type| [&types[..], &[bytes], tail].concat();
        let (one_types, many_types) = (with(Type::BYTEA), with(Type::BYTEA_ARRAY));
        link.ask("prepare the append", async |client| {
            let (one, many, observe, nudge) = try_join4(
                client.prepare_typed(&one, &one_types),
                client.prepare_typed(&many, &many_types),
                client.prepare(observe),
                client.prepare("select pg_logical_emit_message(true, 'shanraq', '')::text"),
            )
            .await?;
            Ok(Self {
                predecessors,
                one,
                many,
                observe,
                nudge,
            })
        })
    }

    /// Whether they serve for the block after `before`.
    pub(crate) fn serve(&self, before: Height, partition_heights: u64) -> bool {
        self.predecessors == predecessors(before, partition_heights)
    }

    /// Commits a block and returns when it is final.
    pub(crate) fn append(
        &self,
        link: &mut Link,
        durability: &Durability,
        parcel: &Parcel<'_>,
    ) -> Result<(), PostgresError> {
        let chunks: Vec<&[u8]> = parcel.bytes.chunks(CHUNK_BYTES).collect();
        let shard = parcel.shard.0 as i32;
        let height = parcel.before.height.0 as i64 + 1;
        let epoch = parcel.term.epoch as i64;
        let (writer, claimant) = (Uuid(parcel.term.writer), Uuid(parcel.claimant));
        let (epoch_before, writer_before) = (parcel.before.epoch as i64, Uuid(parcel.before.writer));
        let (statement, bytes): (_, &(dyn ToSql + Sync)) = match &chunks[..] {
            [chunk] => (&self.one, chunk),
            _ => (&self.many, &chunks),
        };
        let parameters: [&(dyn ToSql + Sync); 8] = [
            &shard,
            &height,
            &epoch,
            &writer,
            bytes,
            &claimant,
            &epoch_before,
            &writer_before,
        ];
        let parameters = &parameters[..if self.predecessors.is_some() { 8 } else { 6 }];
        let (inserted, observed) = link.commit(ACTION, async |client| {
            join(
                client.execute(statement, parameters),
                observe(client, &self.observe),
            )
            .await
        })?;
        let inserted = inserted.map_err(|error| conflict(failed(ACTION, error)))?;
        if inserted == 0 {
            return Err(self.why_nothing(durability, observed));
        }
        if inserted != chunks.len() as u64 {
            return Err(PostgresError::Answer {
                action: ACTION,
                reason: format!("{} rows were sent, {inserted} inserted", chunks.len()),
            });
        }
        self.confirm(link, durability, observed)
            .map_err(|why| PostgresError::Unconfirmed(Box::new(why)))
    }

    /// Why the condition did not hold. Nothing was written.
    fn why_nothing(
        &self,
        durability: &Durability,
        observed: Result<Observation, tokio_postgres::Error>,
    ) -> PostgresError {
        match observed.map(|observation| check_settings(durability, &observation)) {
            Ok(Err(setting)) => setting,
            _ => PostgresError::Superseded("no block of our term, or no claim of ours, stands before it"),
        }
    }

    /// Waits until the standbys have flushed what was written up to the first observation. Only they say so: the
    /// commit's own success is not asked.
    fn confirm(
        &self,
        link: &mut Link,
        durability: &Durability,
        observed: Result<Observation, tokio_postgres::Error>,
    ) -> Result<(), PostgresError> {
        let first = observed.map_err(|error| failed(ACTION, error))?;
        check_settings(durability, &first)?;
        if is_flushed(durability, first.position, &first) {
            return Ok(());
        }
        // Others may have written behind our commit without flushing. A commit of our own makes the server flush, and
        // its standbys after it, all that was written so far.
        let (nudged, mut latest) = link.commit(ACTION, async |client| {
            join(client.execute(&self.nudge, &[]), observe(client, &self.observe)).await
        })?;
        nudged.map_err(|error| failed(ACTION, error))?;
        loop {
            let observation = latest.map_err(|error| failed(ACTION, error))?;
            check_settings(durability, &observation)?;
            if is_flushed(durability, first.position, &observation) {
                return Ok(());
            }
            link.pause(ACTION, PAUSE)?;
            latest = link.commit(ACTION, async |client| observe(client, &self.observe).await)?;
        }
    }
}

/// What must hold for a block to be written. Evaluated in the statement that writes it, so nothing comes between.
fn guard(durability: &Durability, predecessors: Option<&str>) -> String {
    let mut guard = String::from("current_setting('synchronous_commit') = 'on'");
    if let Durability::Standbys { .. } = durability {
        guard.push_str(
            " and trim(current_setting('synchronous_standby_names')) <> '' \
             and strpos(current_setting('synchronous_standby_names'), '*') = 0",
        );
    }
    guard.push_str(" and exists (select from shanraq.term_claim where shard = $1 and writer = $6)");
    if let Some(leaf) = predecessors {
        // In its own partition by name: asked through the parent, a prepared plan locks every partition there is.
        guard.push_str(&format!(
            " and exists (select from {leaf} where shard = $1 and height = $2 - 1 and chunk = 0 \
             and epoch = $7 and writer = $8)"
        ));
    }
    guard
}

fn predecessors(before: Height, partition_heights: u64) -> Option<String> {
    (before.0 > 0).then(|| leaf(before, partition_heights))
}

fn conflict(error: PostgresError) -> PostgresError {
    if error.is_refusal(&SqlState::UNIQUE_VIOLATION) {
        PostgresError::Superseded("another block stands there")
    } else {
        error
    }
}
