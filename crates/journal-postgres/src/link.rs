//! One session with the server, driven by hand from the thread that asks. Owns: the socket, and the order of notices
//! and answers. Must not: swallow a warning, send a cancel, or go on after the connection broke.
//!
//! PostgreSQL says that a commit did not wait for its standbys by a notice of severity WARNING between
//! CommandComplete and ReadyForQuery. `tokio-postgres` hands out notices apart from answers, so whoever lets its
//! connection run by itself cannot tell which came first. Here one task polls both: every notice that was read
//! before an answer was complete is known when that answer is given out.

use crate::{ConnectOptions, PostgresError};
use futures::stream::{FuturesUnordered, StreamExt as _};
use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::Poll;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use tokio::sync::Notify;
use tokio::time::sleep;
use tokio_postgres::error::{DbError, Severity};
use tokio_postgres::tls::NoTlsStream;
use tokio_postgres::types::FromSqlOwned;
use tokio_postgres::{AsyncMessage, Client, Connection, NoTls, Socket};

/// Makes an append that hangs give up, from any thread: its socket is closed without a word (a cancel would make a
/// block visible that no standby has) and its outcome is unknown.
#[derive(Clone, Debug, Default)]
pub struct AbortHandle(Arc<Abort>);

#[derive(Debug, Default)]
struct Abort {
    requested: AtomicBool,
    notify: Notify,
    /// Since when a term has been beginning.
    begins: Mutex<Option<Instant>>,
}

impl AbortHandle {
    /// Gives up whatever is under way, and all that is begun before the next term.
    pub fn abort(&self) {
        self.0.requested.store(true, Ordering::SeqCst);
        self.0.notify.notify_one();
    }

    /// How long a term has been beginning; none where it has begun, or none does.
    #[must_use]
    pub fn begins_for(&self) -> Option<Duration> {
        self.begins().map(|since| since.elapsed())
    }

    /// A term begins, or does so no more.
    pub(crate) fn set_begins(&self, begins: bool) {
        *self.begins() = begins.then(Instant::now);
    }

    fn begins(&self) -> MutexGuard<'_, Option<Instant>> {
        self.0.begins.lock().expect("nobody panics with it")
    }

    /// A new term may try again.
    pub(crate) fn reset(&self) {
        self.0.requested.store(false, Ordering::SeqCst);
    }

    fn is_requested(&self) -> bool {
        self.0.requested.load(Ordering::SeqCst)
    }
}

/// What the session is for; decides how it is set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Appends: few statements, repeated; no plan may cost time in the middle.
    Append,
    /// Reads, at any server.
    Read,
    /// Reads at the primary: a standby may not show yet what was just appended.
    ReadAtPrimary,
    /// Changes the schema, vacuums.
    Maintain,
}

/// One session. Dropping it closes the socket.
pub(crate) struct Link {
    // Before the runtime, with which the socket is registered.
    client: Client,
    wire: Connection<Socket, NoTlsStream>,
    runtime: Runtime,
    abort: AbortHandle,
    /// How long the server may be silent to a question; none where that is work.
    silent_max: Option<Duration>,
}

/// How long others may take to say that they take writes, too, where nobody said otherwise.
pub const RIVALS_WITHIN: Duration = Duration::from_millis(100);

/// How long a server may be silent to a question: a frozen one keeps its connections, and others are there to be asked.
const SILENT_MAX: Duration = Duration::from_secs(10);

/// How long one of several may take to tell its timeline.
const TIMELINE_WITHIN: Duration = Duration::from_millis(500);

/// What every session sets for itself, so that neither server, database nor role can set it otherwise.
/// `client_min_messages` above warning would hide the very warnings that finality rests on.
const SETTINGS: &str = "set client_min_messages = warning; set statement_timeout = 0; set lock_timeout = 0; \
     set idle_in_transaction_session_timeout = 0; set idle_session_timeout = 0; \
     set default_transaction_isolation = 'read committed'; set search_path = pg_catalog; set jit = off; \
     set bytea_output = hex; set default_transaction_deferrable = off;";

impl Link {
    /// Connects and sets the session up.
    pub(crate) fn open(
        options: &ConnectOptions,
        purpose: Purpose,
        abort: AbortHandle,
    ) -> Result<Self, PostgresError> {
        options.check()?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|source| PostgresError::System {
                action: "start the connection's event loop",
                source,
            })?;
        let writes = matches!(purpose, Purpose::Append | Purpose::ReadAtPrimary);
        let (client, wire) = runtime.block_on(async {
            tokio::select! {
                connected = connect(options, writes) => connected,
                () = abort.requested() => Err(PostgresError::Aborted { action: "connect" }),
            }
        })?;
        let mut link = Self {
            client,
            wire,
            runtime,
            abort,
            silent_max: (purpose != Purpose::Maintain).then_some(SILENT_MAX),
        };
        let own = match purpose {
            // No statistics are kept of tables that only grow; the key is always right.
            Purpose::Append => {
                "set plan_cache_mode = force_generic_plan; set enable_seqscan = off; set enable_bitmapscan = off;"
            }
            Purpose::Read | Purpose::ReadAtPrimary => {
                "set default_transaction_read_only = on; set enable_seqscan = off; set enable_bitmapscan = off;"
            }
            Purpose::Maintain => "set vacuum_cost_delay = '2ms';",
        };
        link.batch("set the session up", &format!("{SETTINGS} {own}"))?;
        Ok(link)
    }

    /// Sends questions in one flight and gives what was answered to all of them. Fails as [`Link::commit`] does, and when the server
    /// is silent.
    pub(crate) fn flight<T>(
        &mut self,
        action: &'static str,
        work: impl AsyncFnOnce(&Client) -> T,
    ) -> Result<T, PostgresError> {
        self.fly(action, self.silent_max, work)
    }

    /// Sends what changes something in one flight, with no limit but the abort: only its end tells what became of it. Fails when a
    /// warning came before that, when the connection broke and `work` could not end, or when it was told to give up.
    pub(crate) fn commit<T>(
        &mut self,
        action: &'static str,
        work: impl AsyncFnOnce(&Client) -> T,
    ) -> Result<T, PostgresError> {
        self.fly(action, None, work)
    }

    fn fly<T>(
        &mut self,
        action: &'static str,
        silent_max: Option<Duration>,
        work: impl AsyncFnOnce(&Client) -> T,
    ) -> Result<T, PostgresError> {
        let Self {
            client,
            wire,
            runtime,
            abort,
            ..
        } = self;
        let mut warning = None;
        let output = runtime.block_on(async {
            let mut work = pin!(work(client));
            let mut aborted = pin!(abort.requested());
            let mut silence = silent_max.map(|time| (time, Box::pin(sleep(time))));
            poll_fn(|cx| {
                if let Some((time, silence)) = &mut silence {
                    if silence.as_mut().poll(cx).is_ready() {
                        let reason = "the server is silent".to_owned();
                        return Poll::Ready(Err(PostgresError::Broken { action, reason }));
                    }
                    // Woken by something else: bytes that came or went. A long answer over a slow line is no silence.
                    silence.as_mut().reset(tokio::time::Instant::now() + *time);
                }
                if aborted.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(Err(PostgresError::Aborted { action }));
                }
                // First, so that all requests of the flight are at hand and leave in one write.
                if let Poll::Ready(output) = work.as_mut().poll(cx) {
                    return Poll::Ready(Ok(output));
                }
                // To the end of what has arrived: a notice is read before the answer that it precedes.
                let ended = loop {
                    match wire.poll_message(cx) {
                        Poll::Ready(Some(Ok(AsyncMessage::Notice(notice)))) => {
                            if is_warning(&notice) && warning.is_none() {
                                warning = Some(PostgresError::warned(action, &notice));
                            }
                        }
                        Poll::Ready(Some(Ok(_))) => {}
                        Poll::Ready(Some(Err(error))) => break Some(error.to_string()),
                        Poll::Ready(None) => break Some("the server closed it".to_owned()),
                        Poll::Pending => break None,
                    }
                };
                match (work.as_mut().poll(cx), ended) {
                    (Poll::Ready(output), _) => Poll::Ready(Ok(output)),
                    (Poll::Pending, None) => Poll::Pending,
                    (Poll::Pending, Some(reason)) => {
                        Poll::Ready(Err(PostgresError::Broken { action, reason }))
                    }
                }
            })
            .await
        });
        match warning {
            Some(warning) => Err(warning),
            None => output,
        }
    }

    /// One or more statements without an answer worth reading.
    pub(crate) fn batch(&mut self, action: &'static str, sql: &str) -> Result<(), PostgresError> {
        self.ask(action, async |client| client.batch_execute(sql).await)
    }

    /// A flight that ends in one answer.
    pub(crate) fn ask<T>(
        &mut self,
        action: &'static str,
        work: impl AsyncFnOnce(&Client) -> Result<T, tokio_postgres::Error>,
    ) -> Result<T, PostgresError> {
        self.flight(action, work)?.map_err(|error| failed(action, error))
    }

    /// A change that ends in one answer.
    pub(crate) fn change<T>(
        &mut self,
        action: &'static str,
        work: impl AsyncFnOnce(&Client) -> Result<T, tokio_postgres::Error>,
    ) -> Result<T, PostgresError> {
        self.commit(action, work)?.map_err(|error| failed(action, error))
    }

    /// A flight that ends in one value.
    pub(crate) fn ask_scalar<T: FromSqlOwned>(
        &mut self,
        action: &'static str,
        sql: &str,
    ) -> Result<T, PostgresError> {
        self.ask(action, async |client| scalar(client, sql).await)
    }

    /// Waits as long as the server is expected to need, unless told to give up.
    pub(crate) fn pause(&self, action: &'static str, time: Duration) -> Result<(), PostgresError> {
        self.runtime.block_on(async {
            tokio::select! {
                () = sleep(time) => Ok(()),
                () = self.abort.requested() => Err(PostgresError::Aborted { action }),
            }
        })
    }
}

/// One value of one row. Takes one round trip, where a statement that is prepared first takes two: another server may be far.
pub(crate) async fn scalar<T: FromSqlOwned>(client: &Client, sql: &str) -> Result<T, tokio_postgres::Error> {
    client.query_typed_one(sql, &[]).await?.try_get(0)
}

/// What the driver gives: questions go in at one side, messages come out at the other.
pub type Session = (Client, Connection<Socket, NoTlsStream>);

/// A session as wanted.
async fn connect(options: &ConnectOptions, writes: bool) -> Result<Session, PostgresError> {
    match writes {
        true => connect_to_primary(options).await,
        false => connect_to_first(options).await,
    }
}

/// The first host, in their order, that gives one.
async fn connect_to_first(options: &ConnectOptions) -> Result<Session, PostgresError> {
    let mut refused = None;
    for host in &options.hosts {
        match connect_to(options, host, false).await {
            Ok(session) => return Ok(session),
            Err(error) => refused = Some(error),
        }
    }
    Err(refused.expect("there is at least one host"))
}

/// The server that takes writes.
async fn connect_to_primary(options: &ConnectOptions) -> Result<Session, PostgresError> {
    let asked = options.hosts.iter().map(|host| connect_to(options, host, true));
    latest_primary(asked, options.rivals_within())
        .await
        .map_err(|refused| {
            refused.unwrap_or_else(|| PostgresError::Broken {
                action: "connect",
                reason: "several servers take writes, and none tells its timeline".to_owned(),
            })
        })
}

/// Of the sessions that come about, each with a server that takes writes, the one with the server on the latest timeline: an
/// old primary that nobody has demoted yet takes sessions, and its commits wait for ever, or for nothing. Others may take so long
/// to say that they take writes, too, once one has.
///
/// # Errors
/// The last refusal when nobody takes writes; none when several do, and none of them tells its timeline.
pub async fn latest_primary<E>(
    asked: impl IntoIterator<Item = impl Future<Output = Result<Session, E>>>,
    rivals_within: Duration,
) -> Result<Session, Option<E>> {
    let mut asked: FuturesUnordered<_> = asked.into_iter().collect();
    let (mut found, mut refused) = (Vec::new(), None);
    while let Some(answer) = match found.is_empty() {
        true => asked.next().await,
        // A host that is silent must not hold up what others have answered.
        false => tokio::time::timeout(rivals_within, asked.next())
            .await
            .unwrap_or(None),
    } {
        match answer {
            Ok(session) => found.push(session),
            Err(error) => refused = Some(error),
        }
    }
    if found.len() < 2 {
        return found.pop().ok_or(refused);
    }
    let mut latest: Option<(String, Session)> = None;
    for mut session in found {
        let Ok(timeline) = timeline(&mut session).await else {
            continue;
        };
        if latest.as_ref().is_none_or(|(known, _)| *known < timeline) {
            latest = Some((timeline, session));
        }
    }
    latest.map(|(_, session)| session).ok_or(None)
}

async fn connect_to(
    options: &ConnectOptions,
    host: &(String, u16),
    writes: bool,
) -> Result<Session, PostgresError> {
    let config = options.config(host, writes);
    // The driver's own limit ends with the TCP connection, which a frozen server takes.
    match tokio::time::timeout(options.connect_timeout(), config.connect(NoTls)).await {
        Ok(connected) => connected.map_err(|source| PostgresError::Connect {
            target: options.target(),
            source,
        }),
        Err(_) => Err(PostgresError::Broken {
            action: "connect",
            reason: format!("{}:{} is silent", host.0, host.1),
        }),
    }
}

/// The timeline on which a primary writes, in eight digits, as an expression of SQL.
pub(crate) const TIMELINE: &str = "left(pg_walfile_name(pg_current_wal_lsn()), 8)";

/// Asks for it on a session that nobody else drives yet.
async fn timeline((client, wire): &mut Session) -> Result<String, ()> {
    let sql = format!("select {TIMELINE}");
    let mut question = pin!(scalar(client, &sql));
    let answer = poll_fn(|cx| {
        while let Poll::Ready(Some(Ok(_))) = wire.poll_message(cx) {}
        question.as_mut().poll(cx)
    });
    match tokio::time::timeout(TIMELINE_WITHIN, answer).await {
        Ok(Ok(timeline)) => Ok(timeline),
        _ => Err(()),
    }
}

impl AbortHandle {
    async fn requested(&self) {
        while !self.is_requested() {
            self.0.notify.notified().await;
        }
    }
}

/// Judged by the severity that is the same in every language; one that is not told counts as a warning.
fn is_warning(notice: &DbError) -> bool {
    !matches!(
        notice.parsed_severity(),
        Some(Severity::Notice | Severity::Info | Severity::Log | Severity::Debug)
    )
}

/// A failed request: refused by the server and so undone, or cut off and so unknown.
pub(crate) fn failed(action: &'static str, source: tokio_postgres::Error) -> PostgresError {
    match source.as_db_error().map(DbError::parsed_severity) {
        Some(Some(Severity::Error)) => PostgresError::Refused { action, source },
        _ => PostgresError::Broken {
            action,
            reason: source
                .as_db_error()
                .map_or_else(|| source.to_string(), |refusal| refusal.message().to_owned()),
        },
    }
}
