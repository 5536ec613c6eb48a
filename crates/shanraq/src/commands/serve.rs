//! `shanraq serve`: a node on a data directory. Owns: its start and its stop.

use crate::config::Config;
use anyhow::{Context, Result};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use journal::{AppendError, BlockReader, Journal};
use journal_postgres::{PostgresJournal, PostgresOptions, PostgresReader};
use ledger::Height;
use node::{Layout, Node, NodeError, Source};
use serde::{Deserialize, Serialize};
use std::future::Future;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use storage::{DataKey, FileSystem, KeyId, KeyRing};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

/// The pause before a node that had no room tries again to become the writer.
const PROMOTION_PAUSE: Duration = Duration::from_secs(1);

/// Serve the ledger in a data directory until SIGTERM or SIGINT; a stop answers everything taken in.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// Configuration file (TOML); flags go before it.
    #[arg(long)]
    pub config: Option<PathBuf>,
    /// The data directory.
    #[arg(long)]
    pub dir: Option<PathBuf>,
    /// Address and port for gRPC and REST; port 0 takes a free one.
    #[arg(long)]
    pub listen: Option<SocketAddr>,
    /// Print one JSON object with the address on stdout once it serves.
    #[arg(long)]
    pub json: bool,
}

/// What `serve --json` prints once it serves.
#[derive(Debug, Deserialize, Serialize)]
pub struct Listening {
    /// `host:port`.
    pub address: String,
    /// The server's process.
    pub process_id: u32,
    /// The last block.
    pub height: u64,
}

impl ServeArgs {
    /// The configuration, flags applied.
    pub fn configuration(&self) -> Result<Config> {
        let mut config = self
            .config
            .as_deref()
            .map_or_else(|| Ok(Config::default()), Config::read)?;
        if let Some(directory) = &self.dir {
            config.node.directory.clone_from(directory);
        }
        if let Some(listen) = self.listen {
            config.server.listen = listen;
        }
        config.check()?;
        Ok(config)
    }
}

/// Runs until a signal says stop, or the node is not the writer any more.
pub fn run(args: &ServeArgs) -> Result<()> {
    let config = args.configuration()?;
    let log = crate::log::start(&config.log)?;
    if let Some(cluster) = &config.cluster {
        return crate::commands::member::run(&config, cluster, log, args.json);
    }
    let node = open(&config)?;
    runtime()?.block_on(async {
        let listener = bind(&config).await?;
        announce(args.json, listener.local_addr()?, &node)?;
        let stop = stop_signal()?;
        api::serve(node.clone(), listener, config.api_config(), stop).await?;
        tokio::task::block_in_place(|| node.stop());
        tracing::info!("stopped; everything taken in was answered");
        Ok(())
    })
}

/// Takes the address that the configuration names.
pub async fn bind(config: &Config) -> Result<TcpListener> {
    let address = config.server.listen;
    let bound = TcpListener::bind(address).await;
    bound.with_context(|| format!("server.listen: cannot listen on {address}"))
}

/// Opens the node, to write, with a progress bar for a long replay.
pub fn open(config: &Config) -> Result<Node> {
    let options = config.node_options();
    with_progress(|progress| match &config.journal.postgres {
        None => Ok(Node::open(&options, progress)?),
        Some(postgres) => {
            let postgres = postgres.options()?;
            let keys = keys(&Layout::new(&options).keys, &postgres)?;
            let journal = PostgresJournal::open(postgres.clone(), keys.clone())?;
            let source = Source::of(journal.reader(), keys.clone())?;
            let node = Node::follow(&options, &source, Arc::new(|| ()), progress)?;
            match node.promote(Box::new(journal)) {
                Err(NodeError::Append(AppendError::Full(reason))) => {
                    tracing::warn!(%reason, "there is no room to write: reads are answered, and it is tried again");
                    promote_later(node.clone(), postgres, keys)?;
                }
                promoted => {
                    promoted?;
                }
            }
            Ok(node)
        }
    })
}

/// Makes the node the writer once there is room. It answers reads meanwhile, and refuses writes.
fn promote_later(node: Node, postgres: PostgresOptions, keys: KeyRing) -> Result<()> {
    let attempt = move |node: &Node| -> Result<()> {
        let journal = PostgresJournal::open(postgres.clone(), keys.clone())?;
        match node.promote(Box::new(journal)) {
            Err(error) if !error.is_passing() => {
                tracing::error!(%error, "the node stops: it cannot become the writer");
                std::process::exit(1);
            }
            promoted => Ok(promoted.map(|_| ())?),
        }
    };
    let until_promoted = move || {
        while !node.is_stopping() {
            std::thread::sleep(PROMOTION_PAUSE);
            match node.can_write().then(|| attempt(&node)) {
                Some(Ok(())) => return,
                Some(Err(error)) => tracing::warn!(%error, "the node cannot become the writer yet"),
                None => {}
            }
        }
    };
    std::thread::Builder::new()
        .name("promotion".to_owned())
        .spawn(until_promoted)?;
    Ok(())
}

/// The keys of a ledger in PostgreSQL. Where there are none, they are made for an empty journal only.
pub fn keys(path: &Path, postgres: &PostgresOptions) -> Result<KeyRing> {
    if path.exists() {
        return Ok(KeyRing::read_file(&FileSystem, path)?);
    }
    // It opens no block to see how far the journal goes, so any key will do.
    let any = KeyRing::new(DataKey::new(KeyId(1), [0; 32]));
    let reader = PostgresReader::open(postgres.connect.clone(), postgres.shard, any)?;
    match reader.head() {
        Height(0) => Ok(KeyRing::from_file(&FileSystem, path)?),
        _ => Ok(KeyRing::read_file(&FileSystem, path)?),
    }
}

/// Does what tells of its height and of the head, with a progress bar.
pub fn with_progress<T>(work: impl FnOnce(&mut dyn FnMut(Height, Height)) -> Result<T>) -> Result<T> {
    let style = ProgressStyle::with_template("replaying {bar:40} {human_pos}/{human_len} blocks {eta}")?;
    let bar = ProgressBar::new(0).with_style(style);
    let done = work(&mut |height: Height, head: Height| {
        bar.set_length(head.0);
        bar.set_position(height.0);
    });
    bar.finish_and_clear();
    done
}

/// The runtime for the edges; the ledger has threads of its own. Half as many workers as cores: the sequencer keeps one
/// busy, and with a worker for each core the kernel wakes two threads where one has work to do.
pub fn runtime() -> Result<tokio::runtime::Runtime> {
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    let threads = (cores / 2).clamp(1, 16);
    Ok(tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .on_thread_start(|| node::Priority::Critical.apply())
        .enable_all()
        .build()?)
}

/// Completes at SIGTERM or SIGINT.
pub fn stop_signal() -> Result<impl Future<Output = ()> + Send> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping");
    })
}

/// Says where it serves.
pub fn announce(json: bool, address: SocketAddr, node: &Node) -> Result<()> {
    let height = node.status().height.0;
    let mut output = std::io::stdout().lock();
    if json {
        let listening = Listening {
            address: address.to_string(),
            process_id: std::process::id(),
            height,
        };
        writeln!(output, "{}", serde_json::to_string(&listening)?)?;
    } else {
        writeln!(
            output,
            "REST   http://{address}/v1   (description: http://{address}/openapi.json)"
        )?;
        writeln!(output, "gRPC   {address}             (shanraq.v1.Ledger)")?;
        writeln!(output, "health http://{address}/healthz /readyz /metrics")?;
    }
    output.flush()?;
    Ok(())
}
