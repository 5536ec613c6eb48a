//! Looking at one server, and pointing it to the candidate. Must not: decide anything.

use super::judge::{Position, Sight};
use super::options::{FenceOptions, FenceServer};
use crate::SentinelError;
use std::process::Stdio;
use std::time::Duration;
use tokio::time::timeout;
use tokio_postgres::{Client, NoTls, Row};

/// The longest wait for an answer: a server that is slower is as good as silent.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// `pg_last_wal_receive_lsn` is null until a standby has read its own log to the end and asks for more: before that its
/// place is unknown. Where it is not null the server stands at the greater of what was received and what was replayed. Of
/// the candidate ($1) the greater is enough: a place that is too low holds a promotion and never lets one through.
/// The timeline is the receiver's; without one it is the control file's, which may lag.
const LOOK: &str = "select pg_is_in_recovery(),
 case when $1 or pg_last_wal_receive_lsn() is not null
   then (greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()) - '0/0')::bigint end,
 r.sender_host, r.sender_port,
 coalesce(r.received_tli, (select timeline_id from pg_control_checkpoint()))
from (select 1) one left join pg_stat_wal_receiver r on true";

/// A server and the connection to it.
pub(super) struct Server<'a> {
    options: &'a FenceOptions,
    password: &'a str,
    to: &'a FenceServer,
    client: Option<Client>,
}

impl<'a> Server<'a> {
    pub(super) fn new(options: &'a FenceOptions, password: &'a str, to: &'a FenceServer) -> Self {
        Self {
            options,
            password,
            to,
            client: None,
        }
    }

    /// One look. A connection that failed is made anew at the next.
    pub(super) async fn look(&mut self) -> Sight {
        match self.ask().await {
            Ok(row) => self.sight(&row),
            Err(reason) => Sight::Unseen(reason),
        }
    }

    fn sight(&self, row: &Row) -> Sight {
        let is_standby: bool = row.get(0);
        if !is_standby {
            return Sight::Primary;
        }
        let lsn: Option<i64> = row.get(1);
        let (host, port): (Option<String>, Option<i32>) = (row.get(2), row.get(3));
        let timeline: i32 = row.get(4);
        let own = self.options.own();
        Sight::Standby {
            position: lsn.map(|lsn| Position {
                timeline: timeline.unsigned_abs(),
                lsn: lsn.unsigned_abs(),
            }),
            follows_candidate: host == Some(own.host.to_string()) && port == Some(own.port.into()),
        }
    }

    /// Has a standby stream from another server. Patroni takes these settings out again as soon as it wants others.
    pub(super) async fn stream_from(&mut self, source: &FenceServer) -> Result<(), String> {
        let conninfo = format!(
            "host={} port={} user={} passfile={} application_name={} sslmode=prefer",
            source.host,
            source.port,
            self.options.replication_user,
            self.to.passfile.display(),
            self.to.name
        );
        // Each by itself: ALTER SYSTEM does not run in a transaction. The slot may not exist there.
        self.run(&format!("alter system set primary_conninfo = '{conninfo}'"))
            .await?;
        self.run("alter system set primary_slot_name = ''").await?;
        self.run("select pg_reload_conf()").await
    }

    async fn run(&mut self, sql: &str) -> Result<(), String> {
        let client = self.client().await?;
        let done = timeout(ANSWER_WITHIN, client.batch_execute(sql)).await;
        self.finish(done)
    }

    async fn ask(&mut self) -> Result<Row, String> {
        let is_candidate = self.to.name == self.options.name;
        let client = self.client().await?;
        let answer = timeout(ANSWER_WITHIN, client.query_one(LOOK, &[&is_candidate])).await;
        self.finish(answer)
    }

    fn finish<T>(
        &mut self,
        done: Result<Result<T, tokio_postgres::Error>, tokio::time::error::Elapsed>,
    ) -> Result<T, String> {
        let done = match done {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => text(&error),
            Err(_) => format!("no answer within {ANSWER_WITHIN:?}"),
        };
        self.client = None;
        Err(done)
    }

    async fn client(&mut self) -> Result<&Client, String> {
        if self.client.is_none() {
            let mut config = tokio_postgres::Config::new();
            config
                .host(self.to.host.to_string())
                .port(self.to.port)
                .user(&self.options.user)
                .password(self.password)
                .dbname("postgres")
                .application_name("shanraq fence");
            let connecting = timeout(ANSWER_WITHIN, config.connect(NoTls)).await;
            let (client, connection) = self.finish(connecting)?;
            tokio::spawn(async move { drop(connection.await) });
            self.client = Some(client);
        }
        Ok(self.client.as_ref().expect("made above"))
    }
}

/// The timeline that a standby replays, by the replication protocol: no function tells it, and the control file lags.
pub(super) async fn timeline(options: &FenceOptions) -> Result<u32, SentinelError> {
    let own = options.own();
    let conninfo = format!(
        "host={} port={} user={} passfile={} replication=true connect_timeout=2",
        own.host,
        own.port,
        options.replication_user,
        own.passfile.display()
    );
    let mut command = tokio::process::Command::new(&options.psql);
    command
        .args(["-X", "-w", "-A", "-t", "-c", "IDENTIFY_SYSTEM", "-d", &conninfo])
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let failed = |reason: String| SentinelError::Candidate(reason);
    let output = timeout(4 * ANSWER_WITHIN, command.output()).await;
    let output = output.map_err(|_| failed("psql did not end".into()))?;
    let output = output.map_err(|source| SentinelError::System {
        action: "run psql",
        source,
    })?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let timeline = said.split('|').nth(1).and_then(|text| text.parse().ok());
    timeline.ok_or_else(|| failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
}

/// The error with what lies beneath it.
fn text(error: &tokio_postgres::Error) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
