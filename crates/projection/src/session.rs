//! One session with a server, for the thread that asks. Owns: its event loop. Dropping it closes the socket.

use crate::error::failed;
use crate::{ProjectionError, ServerOptions};
use journal_postgres::{RIVALS_WITHIN, Session as PrimarySession, latest_primary};
use tokio::runtime::Runtime;
use tokio_postgres::{Client, NoTls};

pub(crate) struct Session {
    client: Client,
    runtime: Runtime,
}

/// What every session sets for itself, so that neither server, database nor role can set it otherwise. Commits are
/// asynchronous: a crash may take back the last steps, tables and height together, and they are made again.
const SETTINGS: &str = "set statement_timeout = 0; set lock_timeout = 0; set idle_in_transaction_session_timeout = 0; \
     set idle_session_timeout = 0; set default_transaction_isolation = 'read committed'; set jit = off; \
     set search_path = pg_catalog; set synchronous_commit = off; set client_min_messages = warning;";

impl Session {
    /// Connects and sets the session up.
    pub(crate) fn open(options: &ServerOptions, application: &str) -> Result<Self, ProjectionError> {
        options.check()?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|source| ProjectionError::System {
                action: "start the connection's event loop",
                source,
            })?;
        let client = runtime.block_on(connect(options, application))?;
        let session = Self { client, runtime };
        session.batch("set the session up", SETTINGS)?;
        Ok(session)
    }

    /// Runs a conversation to its end.
    pub(crate) fn ask<T>(
        &self,
        action: &'static str,
        work: impl AsyncFnOnce(&Client) -> Result<T, tokio_postgres::Error>,
    ) -> Result<T, ProjectionError> {
        self.runtime.block_on(work(&self.client)).map_err(failed(action))
    }

    /// One or more statements without an answer worth reading.
    pub(crate) fn batch(&self, action: &'static str, sql: &str) -> Result<(), ProjectionError> {
        self.ask(action, async |client| client.batch_execute(sql).await)
    }
}

/// The server that takes writes; of several the one that the journal's writer takes, too.
async fn connect(options: &ServerOptions, application: &str) -> Result<Client, ProjectionError> {
    let asked = options
        .hosts
        .iter()
        .map(|host| connect_to(options, host, application));
    let (client, connection) = latest_primary(asked, RIVALS_WITHIN).await.map_err(|refused| {
        refused.unwrap_or_else(|| ProjectionError::Silent {
            server: options.target(),
        })
    })?;
    // Ends with the socket; whoever asks next is told.
    tokio::spawn(async move {
        let _ = connection.await;
    });
    Ok(client)
}

async fn connect_to(
    options: &ServerOptions,
    host: &(String, u16),
    application: &str,
) -> Result<PrimarySession, ProjectionError> {
    let config = options.config(host, application);
    // The driver's own limit ends with the TCP connection, which a frozen server takes.
    match tokio::time::timeout(options.connect_timeout, config.connect(NoTls)).await {
        Ok(connected) => connected.map_err(|source| ProjectionError::Connect {
            target: options.target(),
            source,
        }),
        Err(_) => Err(ProjectionError::Silent {
            server: format!("{}:{}", host.0, host.1),
        }),
    }
}
