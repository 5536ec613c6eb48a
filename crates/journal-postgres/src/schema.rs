//! The schema: versioned migrations, partitions, freezing, and what an administrator must watch.
//! Must not: change a migration that was released.

use crate::link::{AbortHandle, Link, Purpose};
use crate::tables::visible;
use crate::{ConnectOptions, PostgresError};
use journal::ShardId;
use ledger::Height;
use std::num::NonZeroU64;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::Type;

/// The version of the schema that this program writes and reads.
pub const SCHEMA_VERSION: i32 = MIGRATIONS.len() as i32;

/// Heights in a partition when nobody said otherwise.
pub const PARTITION_HEIGHTS_DEFAULT: NonZeroU64 = NonZeroU64::new(1_000_000).expect("it is not 0");

/// How many partitions stand ready beyond the one in use.
pub(crate) const PARTITIONS_AHEAD: i32 = 2;

const MIGRATIONS: [&str; 1] = [include_str!("schema/0001.sql")];
/// Two migrations at a time would both find the same version.
const MIGRATION_LOCK: i64 = 7_236_284_021_843_206;

/// Brings the schema of a database to [`SCHEMA_VERSION`], each migration in one transaction with its note in
/// `shanraq.schema_version`; does nothing where it is there. Gives the version that was found. Needs a user who may
/// create roles and schemas; `partition_heights` counts for a new schema only.
///
/// # Errors
/// [`PostgresError::Schema`] when the schema is of a newer program; `Connect`, `Refused`, `Broken`.
pub fn migrate(
    options: &ConnectOptions,
    partition_heights: Option<NonZeroU64>,
) -> Result<i32, PostgresError> {
    let mut link = Link::open(options, Purpose::Maintain, AbortHandle::default())?;
    let action = "migrate the schema";
    let lock = format!("begin; select pg_advisory_xact_lock({MIGRATION_LOCK})");
    link.batch(action, &lock)?;
    let found = version(&mut link)?;
    if found > SCHEMA_VERSION {
        return Err(PostgresError::Schema {
            found,
            known: SCHEMA_VERSION,
        });
    }
    for (number, migration) in (1..).zip(MIGRATIONS).skip(found as usize) {
        link.batch(action, migration)?;
        link.batch(
            action,
            &format!("insert into shanraq.schema_version (version) values ({number}); reset role"),
        )?;
    }
    if found == 0 {
        let heights = partition_heights.unwrap_or(PARTITION_HEIGHTS_DEFAULT);
        link.batch(
            action,
            &format!("insert into shanraq.layout (partition_heights) values ({heights})"),
        )?;
        let ready = format!("select shanraq.ensure_partitions(1, {PARTITIONS_AHEAD})");
        link.batch(action, &ready)?;
    }
    link.batch(action, "commit")?;
    Ok(found)
}

/// The schema's version; 0 when there is none.
pub(crate) fn version(link: &mut Link) -> Result<i32, PostgresError> {
    let exists = link.ask_scalar(
        "look for the schema",
        "select to_regclass('shanraq.schema_version') is not null",
    )?;
    match exists {
        true => latest_version(link),
        false => Ok(0),
    }
}

/// The version of a schema that is there.
fn latest_version(link: &mut Link) -> Result<i32, PostgresError> {
    let sql = "select coalesce(max(version), 0) from shanraq.schema_version";
    link.ask_scalar("read the schema's version", sql)
}

/// Refuses every schema but the one of this program.
pub(crate) fn check_version(link: &mut Link) -> Result<(), PostgresError> {
    let found = match latest_version(link) {
        // One question suffices where a refusal ends no transaction.
        Err(refusal) if refusal.is_refusal(&SqlState::UNDEFINED_TABLE) => 0,
        answer => answer?,
    };
    match found {
        SCHEMA_VERSION => Ok(()),
        found => Err(PostgresError::Schema {
            found,
            known: SCHEMA_VERSION,
        }),
    }
}

/// Heights in a partition.
pub(crate) fn partition_heights(link: &mut Link) -> Result<u64, PostgresError> {
    let heights: i64 = link.ask_scalar("read the layout", "select partition_heights from shanraq.layout")?;
    Ok(heights as u64)
}

/// Makes sure that the partitions of a height and of those to come stand. Gives the first height that none covers.
pub(crate) fn ensure_partitions(link: &mut Link, height: Height) -> Result<Height, PostgresError> {
    let end: i64 = link.change("make partitions ready", async |client| {
        let sql = "select shanraq.ensure_partitions($1, $2)";
        let row = client
            .query_typed_one(
                sql,
                &[(&(height.0 as i64), Type::INT8), (&PARTITIONS_AHEAD, Type::INT4)],
            )
            .await?;
        row.try_get(0)
    })?;
    Ok(Height(end as u64))
}

/// The name of the partition that holds a height.
pub(crate) fn leaf(height: Height, partition_heights: u64) -> String {
    let first = height.0 / partition_heights * partition_heights;
    format!("shanraq.journal_{first:019}")
}

/// The chores of a journal's schema, beside the appends: to be stepped now and then. Logs in as a member of `shanraq_owner`
/// or as the superuser; vacuum is for owners only, and throttled so that commits do not feel it.
pub struct Maintainer {
    link: Link,
    partition_heights: u64,
    /// Below it every partition was frozen by us or found frozen.
    frozen_below: Height,
}

/// What one step of maintenance came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Maintained {
    /// The first height for which there is no partition yet.
    pub partitions_until: Height,
    /// How many full partitions were frozen by this step.
    pub frozen: u32,
    /// Transactions since the oldest one that the database still has to remember. PostgreSQL stops all writes near
    /// 2 thousand million; look at what holds vacuum back from a tenth of it on.
    pub xid_age: u64,
}

impl Maintainer {
    /// Connects.
    ///
    /// # Errors
    /// [`PostgresError`] when the server cannot be reached or has another schema.
    pub fn open(options: &ConnectOptions) -> Result<Self, PostgresError> {
        let mut link = Link::open(options, Purpose::Maintain, AbortHandle::default())?;
        check_version(&mut link)?;
        let partition_heights = partition_heights(&mut link)?;
        Ok(Self {
            link,
            partition_heights,
            frozen_below: Height(0),
        })
    }

    /// [`Maintainer::step`] up to the highest block that can be seen; nothing at a standby, where there is nothing to do.
    ///
    /// # Errors
    /// [`PostgresError`]; open another one after it.
    pub fn maintain(&mut self, shard: ShardId) -> Result<Option<Maintained>, PostgresError> {
        let is_standby: bool = self
            .link
            .ask_scalar("look at the server", "select pg_is_in_recovery()")?;
        if is_standby {
            return Ok(None);
        }
        let head = visible(&mut self.link, shard)?.map_or(Height(0), |mark| mark.height);
        self.step(head).map(Some)
    }

    /// Makes partitions ready ahead of the head, and freezes those that lie below it whole. May be repeated.
    ///
    /// # Errors
    /// [`PostgresError`]; open another one after it.
    pub fn step(&mut self, head: Height) -> Result<Maintained, PostgresError> {
        let partitions_until = ensure_partitions(&mut self.link, Height(head.0.max(1)))?;
        let mut frozen = 0;
        while self.frozen_below.0 + self.partition_heights <= head.0 {
            let leaf = leaf(self.frozen_below, self.partition_heights);
            if !self.is_frozen(&leaf)? {
                let sql = format!("vacuum (freeze, analyze) {leaf}");
                self.link.batch("freeze a full partition", &sql)?;
                frozen += 1;
            }
            self.frozen_below.0 += self.partition_heights;
        }
        Ok(Maintained {
            partitions_until,
            frozen,
            xid_age: self.xid_age()?,
        })
    }

    /// Whether a partition's every page is marked frozen, as far as the catalog tells.
    fn is_frozen(&mut self, leaf: &str) -> Result<bool, PostgresError> {
        let sql = format!(
            "select relpages > 0 and relallvisible >= relpages from pg_class where oid = '{leaf}'::regclass"
        );
        self.link
            .ask("look at a partition", async |client| {
                client.query_opt_scalar(&sql, &[]).await
            })
            .map(|frozen| frozen.unwrap_or(true))
    }

    fn xid_age(&mut self) -> Result<u64, PostgresError> {
        let sql = "select age(datfrozenxid) from pg_database where datname = current_database()";
        let age: i32 = self.link.ask_scalar("read the age of transaction ids", sql)?;
        Ok(age.max(0) as u64)
    }
}
