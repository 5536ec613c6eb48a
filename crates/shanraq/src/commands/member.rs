//! `shanraq serve` as a member of a cluster. Owns: how the member, its edge and its end fit together.

use crate::commands::serve;
use crate::config::{ClusterConfig, Config};
use crate::live;
use crate::log::LogLevel;
use anyhow::{Context, Result};
use member::{Ended, Member, MemberOptions};
use node::{Layout, STEPPED_DOWN_EXIT_CODE};
use sentinel::Sentinel;
use std::sync::Arc;

/// How long a server of the journal may take to accept a connection before the next is tried.
const CONNECT_TIMEOUT_MS: u32 = 500;

/// Runs until a signal says stop, or until the process has to start anew.
pub fn run(config: &Config, cluster: &ClusterConfig, log: LogLevel, json: bool) -> Result<()> {
    let node = config.node_options();
    let postgres = config.journal.postgres.as_ref();
    let mut postgres = postgres.context("journal.postgres: is missing")?.options()?;
    postgres.connect.connect_timeout_ms = CONNECT_TIMEOUT_MS;
    postgres.connect.application_name = format!("shanraq {}", cluster.name);
    let options = MemberOptions {
        keys: serve::keys(&Layout::new(&node).keys, &postgres)?,
        node,
        postgres,
        election: cluster.election()?,
        expected: cluster
            .sentinel
            .as_ref()
            .map(|sentinel| sentinel.nodes.clone())
            .unwrap_or_default(),
    };
    let member = serve::with_progress(|progress| Ok(Member::start(options, progress)?))?;
    // It outlives the runtime: what it holds of the journal must not be dropped on one.
    let member = Arc::new(member);
    let watched = member.node().clone();
    let sentinel = cluster
        .sentinel()
        .map(|options| Sentinel::start(options, move || watched.last_block()));
    let _sentinel = sentinel.transpose()?;
    let api = config.api_config();
    let _follower = live::follow(config, cluster, log, member.node(), &api)?;
    serve::runtime()?.block_on(async {
        let listener = serve::bind(config).await?;
        serve::announce(json, listener.local_addr()?, member.node())?;
        let signal = serve::stop_signal()?;
        let stop = async {
            tokio::select! {
                () = signal => {}
                ended = member.ended() => end(&ended),
            }
        };
        api::serve_member(member.node().clone(), member.clone(), listener, api, stop).await?;
        let resigned = member.hand_over(None).await;
        if let Err(error) = resigned {
            tracing::info!(%error, "no leadership was given up");
        }
        let node = member.node().clone();
        tokio::task::spawn_blocking(move || node.stop()).await?;
        tracing::info!("stopped; everything taken in was answered");
        Ok(())
    })
}

/// The member's part is over by itself.
fn end(ended: &Ended) {
    match ended {
        Ended::Stopped => tracing::info!("leadership was handed over; the process ends"),
        Ended::Lost => {
            // What is under way may be ahead of the journal: no answer leaves any more.
            tracing::warn!("this node is not the writer any more; the process starts anew");
            std::process::exit(STEPPED_DOWN_EXIT_CODE);
        }
        Ended::Fault(error) => {
            tracing::error!(%error, "the node stops: it never guesses");
            std::process::abort();
        }
    }
}
