//! The course of the crash test: load, kill, restart, look; again and again; then everything at the end.

use super::clients::{Shared, attempt, run_client};
use super::look::{PAGE, is_acknowledged, look_up, observe, violations};
use crate::process::NodeProcess;
use ::campaign::history::{Call, Violation, burns_id};
use ::campaign::load::{Load, Request, World};
use anyhow::{Context, Result, ensure};
use client::Client;
use ledger::CreateAccountResult;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// Clients at a time.
const CLIENTS: u64 = 8;
/// The node is killed after at most so many answers since its start.
const ANSWERS_MAX: u64 = 4_000;
/// So long may it take until that many came.
const PATIENCE: Duration = Duration::from_secs(60);
/// Ids of each kind that are tried once more at the end.
const TRIED_AGAIN: usize = 2_000;

/// What the test is to do.
pub struct Options {
    /// The `shanraq` binary.
    pub binary: PathBuf,
    /// How often to kill.
    pub kills: u32,
    /// Of the load and of the moments.
    pub seed: u64,
}

/// What it did and found.
pub struct Report {
    /// Calls made, repeats included.
    pub calls: u64,
    /// Of those, answered.
    pub answered: u64,
    /// Rows of history at the end.
    pub rows: u64,
    /// How often the node was killed while it was starting.
    pub killed_while_starting: u32,
    /// The longest start.
    pub slowest_start: Duration,
    /// Broken promises, each with the calls under its id.
    pub violations: Vec<(Violation, Vec<Call>)>,
    /// What `shanraq verify --json` said.
    pub verified: String,
}

/// Runs it in a folder of its own.
///
/// # Errors
/// When the node does not come back, answers what it must not, or its files do not verify.
pub async fn run(options: &Options, folder: &Path, say: impl Fn(&str)) -> Result<Report> {
    let mut campaign = Campaign::start(options, folder).await?;
    let mut clients = campaign.start_clients(options.seed).await?;
    for kill in 1..=options.kills {
        campaign.wait_for_load(&mut clients).await?;
        campaign.kill_and_restart().await?;
        let looked_up = campaign
            .look_up_recent()
            .await
            .with_context(|| format!("after kill {kill}"))?;
        say(&format!(
            "kill {kill} of {}: {looked_up} acknowledged since the last one are there",
            options.kills
        ));
    }
    campaign.shared.stop();
    while let Some(client) = clients.join_next().await {
        client??;
    }
    campaign.finish().await
}

struct Campaign {
    node: NodeProcess,
    client: Client,
    shared: Arc<Shared>,
    random: StdRng,
    /// Calls before this one were looked up.
    looked_up: usize,
    killed_while_starting: u32,
    slowest_start: Duration,
}

impl Campaign {
    async fn start(options: &Options, folder: &Path) -> Result<Self> {
        let mut node = NodeProcess::new(&options.binary, folder)?;
        node.spawn()?;
        let slowest_start = tokio::task::block_in_place(|| node.wait_until_ready())?;
        let client = connect(&node).await?.with_timeout(Duration::from_secs(60));
        let replies = client.submit_accounts(World::default().accounts()).await?;
        let created = replies
            .iter()
            .all(|reply| reply.result == CreateAccountResult::Created);
        ensure!(created, "the accounts were not created: {replies:?}");
        Ok(Self {
            node,
            client,
            shared: Arc::default(),
            random: StdRng::seed_from_u64(options.seed),
            looked_up: 0,
            killed_while_starting: 0,
            slowest_start,
        })
    }

    /// Two share a connection, and with it requests.
    async fn start_clients(&self, seed: u64) -> Result<JoinSet<Result<()>>> {
        let mut clients = JoinSet::new();
        for pair in 0..CLIENTS / 2 {
            let client = connect(&self.node).await?;
            for number in [2 * pair, 2 * pair + 1] {
                let (shared, client) = (Arc::clone(&self.shared), client.clone());
                clients.spawn(async move {
                    run_client(&shared, &client, Load::new(World::default(), seed, number)).await
                });
            }
        }
        Ok(clients)
    }

    /// Until a drawn number of answers came, and a moment longer.
    async fn wait_for_load(&mut self, clients: &mut JoinSet<Result<()>>) -> Result<()> {
        let enough = self.shared.answered() + self.random.random_range(1..=ANSWERS_MAX);
        let deadline = Instant::now() + PATIENCE;
        while self.shared.answered() < enough {
            if let Some(ended) = clients.try_join_next() {
                ended??;
            }
            ensure!(
                Instant::now() < deadline,
                "the node answers nothing: {:?}",
                self.node.complaints()
            );
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        tokio::time::sleep(Duration::from_micros(self.random.random_range(0..3_000))).await;
        Ok(())
    }

    /// Kills it, sometimes again while it starts, and waits until it serves.
    async fn kill_and_restart(&mut self) -> Result<()> {
        self.shared.goes_down();
        self.node.kill()?;
        while self.random.random_range(0..4u32) == 0 {
            self.node.spawn()?;
            tokio::time::sleep(Duration::from_micros(self.random.random_range(0..60_000))).await;
            self.node.kill()?;
            self.killed_while_starting += 1;
        }
        self.node.spawn()?;
        let took = tokio::task::block_in_place(|| self.node.wait_until_ready())?;
        self.slowest_start = self.slowest_start.max(took);
        self.shared.is_up();
        Ok(())
    }

    /// Looks up everything that was acknowledged since the last time.
    async fn look_up_recent(&mut self) -> Result<usize> {
        let calls = self.shared.calls_from(self.looked_up);
        self.looked_up += calls.len();
        look_up(&self.client, &calls).await
    }

    /// Tries ids again, kills it once more, reads everything and checks it.
    async fn finish(mut self) -> Result<Report> {
        self.try_again().await?;
        self.kill_and_restart().await?;
        let observed = observe(&self.client).await?;
        let calls = self.shared.calls_from(0);
        let violations = violations(&calls, &observed);
        self.node.stop()?;
        let verified = self.node.verify()?;
        self.node.ensure_no_complaints()?;
        Ok(Report {
            calls: calls.len() as u64,
            answered: self.shared.answered(),
            rows: observed.rows.len() as u64,
            killed_while_starting: self.killed_while_starting,
            slowest_start: self.slowest_start,
            violations,
            verified,
        })
    }

    /// Ids that were used must be known to be used; what was burnt stays burnt.
    async fn try_again(&self) -> Result<()> {
        let calls = self.shared.calls_from(0);
        let alone = || calls.iter().filter(|call| call.chain.is_none());
        let burnt = alone()
            .filter(|call| call.heard.result().is_some_and(burns_id))
            .take(TRIED_AGAIN);
        let used = alone().filter(|call| is_acknowledged(call)).take(TRIED_AGAIN);
        let transfers: Vec<_> = burnt.chain(used).map(|call| call.transfer).collect();
        for transfers in transfers.chunks(PAGE) {
            let request = Request {
                transfers: transfers.to_vec(),
                chain: None,
            };
            attempt(&self.shared, &self.client, &request).await?;
        }
        Ok(())
    }
}

/// Gives up sooner than some restarts take, so that clients meet every kind of answer.
async fn connect(node: &NodeProcess) -> Result<Client> {
    let options = client::Options {
        timeout: Duration::from_millis(500),
        ..client::Options::default()
    };
    Ok(Client::connect_with(&node.endpoint(), options).await?)
}
