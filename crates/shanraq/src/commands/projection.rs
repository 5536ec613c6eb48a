//! `shanraq projection`: accounts and transfers as tables. Owns: its configuration, its process and what it prints.

use crate::config::{LogConfig, PostgresConfig};
use anyhow::{Context, Result, bail};
use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use journal::Journal;
use journal_postgres::{ConnectOptions, PostgresOptions};
use ledger::Height;
use node::{Layout, NodeOptions};
use projection::{
    Metrics, Pace, Position, PostgresSource, ProjectionError, ReaderSource, SCHEMA_VERSION, Secret,
    ServerOptions, Source, Stepped,
};
use serde::Deserialize;
use serde_json::json;
use std::cell::Cell;
use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};
use storage::{DirectoryLock, FileSystem, KeyRing};

/// Keep accounts and transfers as tables of a PostgreSQL database, from the journal.
#[derive(Debug, Args)]
pub struct ProjectionArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Bring the tables' schema to this program's version; does nothing where it is.
    Migrate {
        /// `postgresql://user@host:port/database` of a user who may create roles and schemas.
        #[arg(long)]
        url: String,
        /// A file with that user's password in its first line.
        #[arg(long)]
        password_file: Option<PathBuf>,
        /// Seconds that a partition of the transfers spans; for a new schema only. Default: 30 days.
        #[arg(long)]
        partition_s: Option<NonZeroU64>,
    },
    /// Keep the tables behind the journal until SIGTERM or SIGINT. On a data directory, whose node must be stopped,
    /// until they hold all of it.
    Run {
        /// Configuration file (TOML).
        #[arg(long)]
        config: PathBuf,
        /// Print one JSON object with the address of the metrics on stdout once it runs.
        #[arg(long)]
        json: bool,
    },
    /// Empty the tables and fill them anew from the first block on. Those who read them wait, then see them grow.
    Rebuild {
        /// Configuration file (TOML).
        #[arg(long)]
        config: PathBuf,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
    /// Say where the tables stand and how far behind the journal that is.
    Status {
        /// Configuration file (TOML).
        #[arg(long)]
        config: PathBuf,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

/// Everything a projection can be told.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ProjectionConfig {
    /// The file with the data key; the same as every node's. Default: `keys` in the data directory.
    key_file: Option<PathBuf>,
    /// Where the blocks are.
    journal: JournalSource,
    /// Where the tables are.
    target: TargetConfig,
    /// How fast they follow.
    #[serde(default)]
    pace: PaceConfig,
    /// Address and port for `GET /metrics`; none: no metrics. Loopback only, until TLS exists.
    metrics: Option<SocketAddr>,
    /// Allows metrics beyond loopback: the network is the cluster's own. Default: false.
    #[serde(default)]
    plain_network: bool,
    /// What it writes to standard error.
    #[serde(default)]
    log: LogConfig,
}

/// Where the blocks are: one of the two.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct JournalSource {
    /// In the data directory of a node that is stopped.
    directory: Option<PathBuf>,
    /// In PostgreSQL; as in the node's configuration, but the user only reads.
    postgres: Option<PostgresConfig>,
}

/// The database of the tables.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TargetConfig {
    /// `host:port` of each server, tried in order; the first that accepts writes is taken.
    hosts: Vec<String>,
    /// Its name.
    database: String,
    /// A member of the role `shanraq_projection`.
    user: String,
    /// A file with the user's password in its first line.
    password_file: Option<PathBuf>,
}

/// How fast the tables follow.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct PaceConfig {
    /// Between the beginnings of two steps, in milliseconds. Default: 2,000.
    interval_ms: u64,
    /// Rows in a step before it is ended early. Default: 65,536.
    step_rows: usize,
}

impl Default for PaceConfig {
    fn default() -> Self {
        let pace = Pace::default();
        Self {
            interval_ms: pace.interval.as_millis() as u64,
            step_rows: pace.step_rows,
        }
    }
}

/// Runs the command; false when it was not wanted after all.
pub fn run(args: &ProjectionArgs) -> Result<bool> {
    match &args.action {
        Action::Migrate {
            url,
            password_file,
            partition_s,
        } => migrate(url, password_file.as_deref(), *partition_s).map(|()| true),
        Action::Run { config, json } => follow(&ProjectionConfig::read(config)?, *json).map(|()| true),
        Action::Rebuild { config, yes } => rebuild(&ProjectionConfig::read(config)?, *yes),
        Action::Status { config, json } => status(&ProjectionConfig::read(config)?, *json).map(|()| true),
    }
}

impl ProjectionConfig {
    fn read(path: &Path) -> Result<Self> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let config: Self = toml::from_str(&text).with_context(|| format!("{} is refused", path.display()))?;
        config
            .check()
            .with_context(|| format!("{} is refused", path.display()))?;
        Ok(config)
    }

    fn check(&self) -> Result<()> {
        match (&self.journal.directory, &self.journal.postgres) {
            (Some(_), None) => {}
            (None, Some(_)) if self.key_file.is_none() => {
                bail!("key_file: must be given with [journal.postgres]: the same as every node's")
            }
            (None, Some(_)) => {}
            _ => bail!("journal: exactly one of `directory` and `postgres` must be given"),
        }
        if self.pace.interval_ms == 0 {
            bail!("pace.interval_ms: must be above 0");
        }
        if self.pace.step_rows == 0 {
            bail!("pace.step_rows: must be above 0");
        }
        let is_open = |address: &SocketAddr| !address.ip().is_loopback() && !self.plain_network;
        if let Some(address) = self.metrics.filter(is_open) {
            bail!(
                "metrics: {address} is not loopback and this version has no TLS yet; `plain_network = true` allows it \
                 on a network of the cluster's own"
            );
        }
        self.target.options().context("target")?;
        Ok(())
    }

    fn pace(&self, waits_for_turn: bool) -> Pace {
        Pace {
            interval: Duration::from_millis(self.pace.interval_ms),
            step_rows: self.pace.step_rows,
            waits_for_turn,
        }
    }

    /// Opens the journal for reading.
    fn source(&self) -> Result<Box<dyn Source>, ProjectionError> {
        if let Some(directory) = &self.journal.directory {
            let opened = DirectorySource::open(directory, self.key_file.clone());
            return Ok(Box::new(
                opened.map_err(|error| refused("journal.directory", &error))?,
            ));
        }
        let (options, server, keys) = self
            .postgres()
            .map_err(|error| refused("journal.postgres", &error))?;
        let source = PostgresSource::open(options.connect, server, options.durability, options.shard, keys)?;
        Ok(Box::new(source))
    }

    fn postgres(&self) -> Result<(PostgresOptions, ServerOptions, KeyRing)> {
        let postgres = self.journal.postgres.as_ref().context("is missing")?;
        let options = postgres.options()?;
        let server = server(&options.connect, postgres.password_file.as_deref())?;
        let key_file = self.key_file.as_deref().context("key_file: is missing")?;
        Ok((options, server, keys(key_file)?))
    }
}

fn refused(field: &'static str, error: &anyhow::Error) -> ProjectionError {
    let reason = format!("{error:#}");
    ProjectionError::Option { field, reason }
}

impl TargetConfig {
    fn options(&self) -> Result<ServerOptions> {
        let hosts = self.hosts.iter().map(|host| {
            let parts = host.rsplit_once(':');
            let parsed = parts.and_then(|(name, port)| Some((name.to_owned(), port.parse().ok()?)));
            parsed.with_context(|| format!("hosts: {host:?} is not host:port"))
        });
        let options = ServerOptions {
            hosts: hosts.collect::<Result<_>>()?,
            password: secret(self.password_file.as_deref())?,
            ..ServerOptions::new("", 0, &self.database, &self.user)
        };
        options.check()?;
        Ok(options)
    }
}

/// The same server, for the sessions of the projection.
fn server(connect: &ConnectOptions, password_file: Option<&Path>) -> Result<ServerOptions> {
    Ok(ServerOptions {
        hosts: connect.hosts.clone(),
        password: secret(password_file)?,
        ..ServerOptions::new("", 0, &connect.database, &connect.user)
    })
}

fn secret(password_file: Option<&Path>) -> Result<Option<Secret>> {
    let Some(path) = password_file else {
        return Ok(None);
    };
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("password_file: cannot read {}", path.display()))?;
    match text.lines().next() {
        Some(line) if !line.is_empty() => Ok(Some(Secret::new(line))),
        _ => bail!("password_file: {} is empty", path.display()),
    }
}

/// Only those that are there: one made now would open nothing.
fn keys(path: &Path) -> Result<KeyRing> {
    if !path.exists() {
        bail!("key_file: there is no {}", path.display());
    }
    Ok(KeyRing::read_file(&FileSystem, path)?)
}

/// The journal of a data directory, which nobody else opens meanwhile.
struct DirectorySource {
    blocks: ReaderSource,
    _lock: DirectoryLock,
}

impl DirectorySource {
    fn open(directory: &Path, key_file: Option<PathBuf>) -> Result<Self> {
        if !directory.join("journal").is_dir() {
            bail!("{} holds no journal", directory.display());
        }
        let layout = Layout::new(&NodeOptions {
            key_file,
            ..NodeOptions::new(directory)
        });
        let keys = keys(&layout.keys)?;
        let lock = DirectoryLock::acquire(directory)
            .with_context(|| format!("{} is in use", directory.display()))?;
        Ok(Self {
            blocks: ReaderSource(super::migrate::open_local(directory, &keys)?.reader()),
            _lock: lock,
        })
    }
}

impl Source for DirectorySource {
    fn refresh(&mut self) -> Result<Height, ProjectionError> {
        self.blocks.refresh()
    }

    fn reader(&self) -> &dyn journal::BlockReader {
        self.blocks.reader()
    }

    fn newest(&mut self, known: Height) -> Result<Vec<journal::Block>, ProjectionError> {
        self.blocks.newest(known)
    }
}

fn migrate(url: &str, password_file: Option<&Path>, partition_s: Option<NonZeroU64>) -> Result<()> {
    let connect = ConnectOptions::from_url(url)?;
    match projection::migrate(&server(&connect, password_file)?, partition_s)? {
        SCHEMA_VERSION => println!("the schema is at version {SCHEMA_VERSION} already"),
        found => println!("migrated the schema from version {found} to {SCHEMA_VERSION}"),
    }
    Ok(())
}

fn follow(config: &ProjectionConfig, json: bool) -> Result<()> {
    crate::log::start(&config.log)?;
    let metrics = Arc::new(Metrics::default());
    // Metrics and signals; the projection itself has a thread of its own, this one.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let (stop, stopped) = channel();
    let address = runtime.block_on(serve_metrics(config.metrics, metrics.clone()))?;
    let signal = runtime.block_on(async { super::serve::stop_signal() })?;
    runtime.spawn(async move {
        signal.await;
        let _ = stop.send(());
    });
    if json {
        let running = json!({ "metrics": address, "process_id": std::process::id() });
        let mut output = std::io::stdout().lock();
        writeln!(output, "{running}")?;
        output.flush()?;
    }
    let watched = metrics.clone();
    runtime.spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            if watched.is_overdue() {
                // Its thread waits for a server that keeps the connection and says nothing; each step is one
                // transaction, so nothing is half done.
                tracing::error!("the projection hangs; the process ends, for its keeper to start it again");
                std::process::exit(1);
            }
        }
    });
    let ends_when_level = config.journal.directory.as_ref().map(|_| Duration::ZERO);
    project(
        config,
        config.pace(true),
        &metrics,
        &stopped,
        ends_when_level,
        |_| {},
    )?;
    tracing::info!("stopped");
    Ok(())
}

/// Moves the tables until told to stop, or as asked until they held all there is for so long.
fn project(
    config: &ProjectionConfig,
    pace: Pace,
    metrics: &Arc<Metrics>,
    stopped: &Receiver<()>,
    ends_when_level: Option<Duration>,
    mut each: impl FnMut(&Stepped),
) -> Result<()> {
    let level_since: Cell<Option<Instant>> = Cell::new(None);
    let wait = |time: Duration| {
        let level = level_since.get();
        let is_done = ends_when_level.is_some_and(|long| level.is_some_and(|since| since.elapsed() >= long));
        !is_done && matches!(stopped.recv_timeout(time), Err(RecvTimeoutError::Timeout))
    };
    let each = |stepped: &Stepped| {
        // A step without blocks has asked for the very last ones, too.
        let is_level = stepped.position.height >= stepped.head && stepped.blocks == 0;
        let since = level_since.get().unwrap_or_else(Instant::now);
        level_since.set(is_level.then_some(since));
        each(stepped);
    };
    let target = config.target.options()?;
    Ok(projection::run(
        || config.source(),
        &target,
        pace,
        metrics,
        wait,
        each,
    )?)
}

async fn serve_metrics(listen: Option<SocketAddr>, metrics: Arc<Metrics>) -> Result<Option<String>> {
    let Some(listen) = listen else {
        return Ok(None);
    };
    let listener = tokio::net::TcpListener::bind(listen)
        .await
        .with_context(|| format!("metrics: cannot listen on {listen}"))?;
    let address = listener.local_addr()?;
    let show = move || async move { ([(CONTENT_TYPE, "text/plain; version=0.0.4")], metrics.render()) };
    let app = Router::new().route("/metrics", get(show));
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, app).await {
            tracing::error!(%error, "the metrics are no longer served");
        }
    });
    Ok(Some(address.to_string()))
}

/// How long a rebuild looks for a last block that no standby is known to have yet: what we wrote ourselves, which the
/// server flushes in its own time, may stand behind it.
const SETTLED: Duration = Duration::from_secs(2);

fn rebuild(config: &ProjectionConfig, yes: bool) -> Result<bool> {
    let target = config.target.options()?;
    let position = projection::position(&target)?;
    let before = describe(&position);
    if !yes {
        let place = format!("{} on {}", config.target.database, config.target.hosts.join(", "));
        eprint!("{place}: {before}. Empty the tables and fill them anew? [y/N] ");
        if !std::io::stdin().is_terminal() {
            eprintln!();
            bail!("nobody can be asked here; give --yes");
        }
        let mut answer = String::new();
        std::io::stdin().read_line(&mut answer)?;
        if !answer.trim().eq_ignore_ascii_case("y") {
            return Ok(false);
        }
    }
    // Nothing is emptied that cannot be filled.
    drop(config.source()?);
    projection::reset(&target)?;
    let style = ProgressStyle::with_template("projecting {bar:40} {human_pos}/{human_len} blocks {eta}")?;
    let bar = ProgressBar::new(0).with_style(style);
    let (_stop, stopped) = channel();
    let metrics = Arc::new(Metrics::default());
    // Whoever moves the tables now goes on with it, and may have the turn: a rebuild waits for the tables, not for that.
    let pace = config.pace(false);
    project(config, pace, &metrics, &stopped, Some(SETTLED), |stepped| {
        bar.set_length(stepped.head.0);
        bar.set_position(stepped.position.height.0);
    })?;
    bar.finish_and_clear();
    println!("rebuilt: {}", describe(&projection::position(&target)?));
    Ok(true)
}

fn describe(position: &Position) -> String {
    format!(
        "height {}, {} accounts, {} transfers",
        position.height, position.accounts, position.transfers
    )
}

fn status(config: &ProjectionConfig, json: bool) -> Result<()> {
    let position = projection::position(&config.target.options()?)?;
    let mut source = config.source()?;
    let mut head = source.refresh()?.max(position.height);
    if head == position.height {
        let newest = source.newest(head)?;
        head = newest.last().map_or(head, |block| block.height);
    }
    let lag = head.0 - position.height.0;
    if json {
        let status = json!({
            "height": position.height.0.to_string(),
            "hash": super::verify::hex(&position.hash.0),
            "journal_height": head.0.to_string(),
            "lag_blocks": lag,
            "last_event_timestamp": position.timestamp.0.to_string(),
            "accounts": position.accounts,
            "transfers": position.transfers,
        });
        println!("{}", serde_json::to_string_pretty(&status)?);
    } else {
        println!("tables     {}", describe(&position));
        println!("journal    height {head}");
        println!("lag        {lag} blocks");
    }
    Ok(())
}
