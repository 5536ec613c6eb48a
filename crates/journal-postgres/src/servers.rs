//! What the server that takes writes says of itself, for operators and for judging clocks. Owns: the question. Must not:
//! decide what is final: that is asked with every append.

use crate::link::{AbortHandle, Link, Purpose};
use crate::{ConnectOptions, PostgresError};
use ledger::TimestampNs;

/// The server that takes writes, and who streams from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrimaryView {
    /// `host:port`, as the server has it.
    pub address: String,
    /// When its process started, in its own words: the same server in another life is another primary.
    pub started: String,
    /// Its clock.
    pub clock: TimestampNs,
    /// Those who stream from it.
    pub standbys: Vec<StandbyView>,
}

/// One who streams from the primary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StandbyView {
    /// Its `application_name`.
    pub name: String,
    /// Whether it has caught up once and streams.
    pub is_streaming: bool,
    /// Whether commits count it.
    pub is_synchronous: bool,
    /// Bytes of the log that it has not flushed, where it says so.
    pub behind_bytes: Option<u64>,
}

const QUESTION: &str = "select concat_ws(':', host(inet_server_addr()), inet_server_port()), \
     pg_postmaster_start_time()::text, (extract(epoch from clock_timestamp()) * 1000000)::bigint, \
     application_name, coalesce(state = 'streaming', false), coalesce(sync_state in ('sync', 'quorum'), false), \
     pg_wal_lsn_diff(pg_current_wal_lsn(), flush_lsn)::bigint \
     from (select) as always left join pg_stat_replication on true";

/// Asks the server that takes writes.
///
/// # Errors
/// [`PostgresError`]: none can be found now.
pub fn look_at_primary(options: &ConnectOptions) -> Result<PrimaryView, PostgresError> {
    let mut link = Link::open(options, Purpose::ReadAtPrimary, AbortHandle::default())?;
    link.ask("look at the primary", async |client| {
        let rows = client.query(QUESTION, &[]).await?;
        let first = rows.first().expect("a left join of one row gives at least one");
        let mut view = PrimaryView {
            address: first.try_get(0)?,
            started: first.try_get(1)?,
            clock: TimestampNs(u64::try_from(first.try_get::<_, i64>(2)?).unwrap_or(0) * 1_000),
            standbys: Vec::new(),
        };
        for row in &rows {
            let Some(name) = row.try_get(3)? else {
                continue;
            };
            let behind: Option<i64> = row.try_get(6)?;
            view.standbys.push(StandbyView {
                name,
                is_streaming: row.try_get(4)?,
                is_synchronous: row.try_get(5)?,
                // What it flushed since the log's end was read is nothing that is missing.
                behind_bytes: behind.map(|bytes| u64::try_from(bytes).unwrap_or(0)),
            });
        }
        Ok(view)
    })
}
