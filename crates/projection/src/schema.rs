//! The schema's versions. Must not: change a migration that was released.

use crate::session::Session;
use crate::{ProjectionError, ServerOptions};
use std::num::NonZeroU64;

/// The version of the schema that this program writes and reads.
pub const SCHEMA_VERSION: i32 = MIGRATIONS.len() as i32;

/// Seconds that a partition of `transfers` spans when nobody said otherwise: 30 days. Best is what holds ten to fifty
/// million transfers; a partition for each minute would make every question slow.
pub const PARTITION_S_DEFAULT: NonZeroU64 = NonZeroU64::new(30 * 86_400).expect("it is not 0");

const MIGRATIONS: [&str; 3] = [
    include_str!("schema/0001.sql"),
    include_str!("schema/0002.sql"),
    include_str!("schema/0003.sql"),
];
/// Two migrations at a time would both find the same version.
const MIGRATION_LOCK: i64 = 7_236_284_021_843_208;

/// Brings the schema of a database to [`SCHEMA_VERSION`] in one transaction; does nothing where it is there. Gives the
/// version that was found. Needs a user who may create roles and schemas; `partition_s` counts for a new schema only.
///
/// # Errors
/// [`ProjectionError::Schema`] when the schema is of a newer program; `Connect`, `Database`.
pub fn migrate(options: &ServerOptions, partition_s: Option<NonZeroU64>) -> Result<i32, ProjectionError> {
    let session = Session::open(options, "shanraq projection migration")?;
    let action = "migrate the projection's schema";
    session.batch(
        action,
        &format!("begin; select pg_advisory_xact_lock({MIGRATION_LOCK})"),
    )?;
    let found = version(&session)?;
    if found > SCHEMA_VERSION {
        let known = SCHEMA_VERSION;
        return Err(ProjectionError::Schema { found, known });
    }
    for (number, migration) in (1..).zip(MIGRATIONS).skip(found as usize) {
        session.batch(action, migration)?;
        let note = format!("insert into ledger.schema_version (version) values ({number}); reset role");
        session.batch(action, &note)?;
    }
    if found == 0 {
        let partition_s = partition_s.unwrap_or(PARTITION_S_DEFAULT);
        let layout = format!("insert into ledger.layout (partition_s) values ({partition_s})");
        session.batch(action, &layout)?;
    }
    session.batch(action, "commit")?;
    Ok(found)
}

/// Refuses every schema but the one of this program.
pub(crate) fn check_version(session: &Session) -> Result<(), ProjectionError> {
    match version(session)? {
        SCHEMA_VERSION => Ok(()),
        found => Err(ProjectionError::Schema {
            found,
            known: SCHEMA_VERSION,
        }),
    }
}

/// The schema's version; 0 when there is none.
fn version(session: &Session) -> Result<i32, ProjectionError> {
    session.ask("read the schema's version", async |client| {
        let exists: bool = client
            .query_one_scalar("select to_regclass('ledger.schema_version') is not null", &[])
            .await?;
        if !exists {
            return Ok(0);
        }
        let sql = "select coalesce(max(version), 0) from ledger.schema_version";
        client.query_one_scalar(sql, &[]).await
    })
}
