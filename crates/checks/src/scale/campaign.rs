//! The course: load, follow the change feed into the reference, ask; kill the node, start it again, and ask again.

use super::load::{Load, accounts, metadata_of};
use super::questions::{Tally, ask};
use super::reference::Reference;
use crate::process::NodeProcess;
use anyhow::{Context, Result, ensure};
use client::{Client, Feed};
use ledger::{Height, LedgerId, Transfer};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// Streams of requests at a time.
const STREAMS: u64 = 4;
/// So long may a call, or a block of the feed, take.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is to be done.
pub struct Options {
    /// The `shanraq` binary.
    pub binary: PathBuf,
    /// How many to make.
    pub transfers: u64,
    /// Questions of each kind, each time.
    pub questions: u64,
    /// Of load and questions.
    pub seed: u64,
}

/// What was seen. Every answer was right.
pub struct Report {
    /// Rows of history: transfers and expiries.
    pub rows: u64,
    /// Until the last answer.
    pub loading: Duration,
    /// From the node's start after it was killed until it served.
    pub restart: Duration,
    /// Before the node was killed.
    pub before: Vec<Tally>,
    /// After it was started again.
    pub after: Vec<Tally>,
}

/// Runs it in a folder of its own.
///
/// # Errors
/// When an answer is not the reference's, or the node does what it must not.
pub async fn run(options: &Options, folder: &Path, say: impl Fn(&str)) -> Result<Report> {
    let mut node = NodeProcess::new(&options.binary, folder)?;
    // So that there are runs of many sizes, and merges of them, however long the history is.
    let flush_rows = (options.transfers / 64).clamp(256, 131_072);
    node.configure(&format!("[node]\nindex_flush_rows = {flush_rows}\n"))?;
    node.spawn()?;
    tokio::task::block_in_place(|| node.wait_until_ready())?;
    let client = connect(&node).await?;
    client.submit_accounts(accounts()).await?;
    let feed = client.feed(Height(1)).await?;
    let began = Instant::now();
    let mut streams = load(options, &client);
    let (reference, loading) = follow(feed, &client, &mut streams, began, &say).await?;
    let rows = reference.rows().len() as u64;
    ensure!(
        rows >= options.transfers * 8 / 10,
        "only {rows} rows came of {} transfers",
        options.transfers
    );
    say(&format!(
        "{rows} rows; the model agrees with every result in the feed; asking"
    ));
    let before = ask(&client, &reference, options.seed, options.questions).await?;
    node.kill()?;
    node.spawn()?;
    let restart = tokio::task::block_in_place(|| node.wait_until_ready())?;
    say("killed and started again; asking");
    let after = ask(&client, &reference, !options.seed, options.questions).await?;
    node.stop()?;
    node.ensure_no_complaints()?;
    Ok(Report {
        rows,
        loading,
        restart,
        before,
        after,
    })
}

/// Starts the streams; together they make the number of transfers.
fn load(options: &Options, client: &Client) -> JoinSet<Result<()>> {
    let left = Arc::new(AtomicU64::new(options.transfers));
    let mut streams = JoinSet::new();
    for stream in 0..STREAMS {
        let (client, left) = (client.clone(), left.clone());
        let mut load = Load::new(options.seed, stream);
        streams.spawn(async move {
            while left.load(Ordering::Relaxed) > 0 {
                let request = load.next_request();
                let count = request.len() as u64;
                submit(&client, request).await?;
                let take = |left: u64| Some(left.saturating_sub(count));
                left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
                    .expect("it always gives a value");
            }
            submit(&client, load.last_request()).await
        });
    }
    streams
}

async fn submit(client: &Client, transfers: Vec<Transfer>) -> Result<()> {
    if transfers.is_empty() {
        return Ok(());
    }
    let count = transfers.len();
    let metadata = transfers
        .iter()
        .enumerate()
        .filter_map(|(index, transfer)| Some((index, metadata_of(transfer)?)))
        .collect();
    let replies = client.submit_transfers_with_metadata(transfers, metadata).await?;
    ensure!(
        replies.len() == count,
        "{count} transfers got {} replies",
        replies.len()
    );
    Ok(())
}

/// Takes blocks until the streams ended, all they did was seen, and nothing is open. Gives how long the load took as well.
async fn follow(
    mut feed: Feed,
    client: &Client,
    streams: &mut JoinSet<Result<()>>,
    began: Instant,
    say: &impl Fn(&str),
) -> Result<(Reference, Duration)> {
    let mut reference = Reference::default();
    let mut end: Option<(Height, Duration)> = None;
    let mut said = 0;
    loop {
        while let Some(stream) = streams.try_join_next() {
            stream??;
        }
        if streams.is_empty() && end.is_none() {
            let height = client.trial_balance(LedgerId(1)).await?.height;
            end = Some((height, began.elapsed()));
        }
        let block = tokio::time::timeout(PATIENCE, feed.next())
            .await
            .context("the feed stands still, and pending transfers are open")??;
        let height = block.height;
        reference.take(block)?;
        if reference.rows().len() / 100_000 > said {
            said = reference.rows().len() / 100_000;
            say(&format!("{} rows", reference.rows().len()));
        }
        if let Some((end, took)) = end
            && height >= end
            && reference.is_settled()
        {
            return Ok((reference, took));
        }
    }
}

async fn connect(node: &NodeProcess) -> Result<Client> {
    let options = client::Options {
        timeout: PATIENCE,
        ..client::Options::default()
    };
    Ok(Client::connect_with(&node.endpoint(), options).await?)
}
