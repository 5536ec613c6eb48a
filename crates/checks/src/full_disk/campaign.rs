//! The course: the reserve is reached, then the very last byte; each time reads go on, room is made, writes resume by
//! themselves, and at the end the books are held against what the clients heard.

use super::filler::Filler;
use super::http;
use super::mount::{FileSystem, Mount};
use crate::crash::{Shared, look_up, observe, run_client, violations};
use crate::process::NodeProcess;
use ::campaign::history::{Call, Heard, Violation};
use ::campaign::load::{Load, World};
use anyhow::{Context, Result, ensure};
use client::Client;
use ledger::{AccountId, Amount, Code, LedgerId, Transfer, TransferId};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use wire::convert::transfer_to_wire;
use wire::v1;
use wire::v1::ledger_client::LedgerClient;

/// Four segments of the journal, the index, snapshots, and so much for the filler that writes can resume once it is gone: a
/// quick machine is in its third segment before the disk is full.
const MOUNT_BYTES: u64 = 512 << 20;
/// What writes need to resume: another segment of the journal, and room for the index.
const ROOM_TO_RESUME_BYTES: u64 = 96 << 20;
/// In the first part writes end while this is still left.
const RESERVE_BYTES: u64 = 24 << 20;
/// In the second part it keeps next to nothing: it meets the end of the disk itself.
const SMALL_RESERVE_BYTES: u64 = 4_096;
/// What the filler leaves above the reserve: the load itself uses it up.
const ABOVE_RESERVE_BYTES: u64 = 1 << 20;
/// Clients at a time.
const CLIENTS: u64 = 8;
/// So long may a state take to be reached.
const PATIENCE: Duration = Duration::from_secs(90);
/// Answers that show that writes go on.
const SOME_ANSWERS: u64 = 2_000;
/// An id that no client uses.
const PROBE_ID: u128 = 7;

/// What the test is to do.
pub struct Options {
    /// The `shanraq` binary.
    pub binary: PathBuf,
    /// Of the load.
    pub seed: u64,
    /// What is filled up.
    pub file_system: FileSystem,
}

/// What it did and found.
pub struct Report {
    /// Transfers asked for, repeats included.
    pub calls: u64,
    /// Of those, acknowledged, refused by a rule, or found done before.
    pub answered: u64,
    /// Of those, refused for want of room or a writer.
    pub refused: u64,
    /// Rows of history at the end.
    pub rows: u64,
    /// Broken promises, each with the calls under its id.
    pub violations: Vec<(Violation, Vec<Call>)>,
    /// What `shanraq verify --json` said.
    pub verified: String,
}

/// Runs it; the folder gets the mount, the log and the configuration.
///
/// # Errors
/// When nothing can be mounted, or the node does what it must not.
pub async fn run(options: &Options, folder: &Path, say: impl Fn(&str)) -> Result<Report> {
    let mount = tokio::task::block_in_place(|| Mount::new(options.file_system, folder, MOUNT_BYTES))?;
    let mut campaign = Campaign::start(options, folder, mount).await?;
    campaign.reach_the_reserve(&say).await.context("at the reserve")?;
    campaign
        .reach_the_last_byte(&say)
        .await
        .context("at the last byte")?;
    campaign.finish().await
}

/// Fields are dropped in this order: the node, then the disk under it.
struct Campaign {
    node: NodeProcess,
    clients: JoinSet<Result<()>>,
    client: Client,
    shared: Arc<Shared>,
    filler: Filler,
    mount: Mount,
}

impl Campaign {
    async fn start(options: &Options, folder: &Path, mount: Mount) -> Result<Self> {
        let mut node = NodeProcess::new(&options.binary, folder)?.with_data(&mount.point().join("data"));
        node.configure(&configuration(RESERVE_BYTES))?;
        node.spawn()?;
        tokio::task::block_in_place(|| node.wait_until_ready())?;
        let client = connect(&node).await?.with_timeout(Duration::from_secs(60));
        client.submit_accounts(World::default().accounts()).await?;
        let mut campaign = Self {
            clients: JoinSet::new(),
            client,
            shared: Arc::default(),
            filler: Filler::new(mount.point()),
            node,
            mount,
        };
        for number in 0..CLIENTS {
            let (shared, client) = (Arc::clone(&campaign.shared), connect(&campaign.node).await?);
            let load = Load::new(World::default(), options.seed, number);
            campaign
                .clients
                .spawn(async move { run_client(&shared, &client, load).await });
        }
        Ok(campaign)
    }

    /// The disk has room still, but the node keeps it for itself.
    async fn reach_the_reserve(&mut self, say: &impl Fn(&str)) -> Result<()> {
        self.wait_for_answers().await?;
        self.wait_for_the_next_segment().await?;
        self.take_room(RESERVE_BYTES + ABOVE_RESERVE_BYTES)?;
        self.wait_until_refused().await?;
        // What merging gives back is not to end the state that is looked at.
        self.take_room(RESERVE_BYTES / 2)?;
        self.check_refusal().await?;
        let found = self.check_reads().await?;
        say(&format!(
            "writes are refused at the reserve; {found} acknowledged are there"
        ));
        self.make_room().await?;
        say("writes resumed by themselves");
        Ok(())
    }

    /// No byte is left, the node is killed in that state, and starts in it.
    async fn reach_the_last_byte(&mut self, say: &impl Fn(&str)) -> Result<()> {
        self.shared.goes_down();
        self.node.stop()?;
        self.node.configure(&configuration(SMALL_RESERVE_BYTES))?;
        self.start_again()?;
        self.wait_for_answers().await?;
        self.wait_for_the_next_segment().await?;
        self.take_room(0)?;
        self.wait_until_refused().await?;
        self.take_room(0)?;
        self.check_refusal().await?;
        let found = self.check_reads().await?;
        say(&format!(
            "writes are refused with nothing left; {found} acknowledged are there"
        ));
        self.shared.goes_down();
        self.node.kill()?;
        self.start_again()?;
        self.wait_until_refused().await?;
        let found = self.check_reads().await?;
        say(&format!(
            "killed and started on the full disk; {found} acknowledged are there"
        ));
        self.make_room().await?;
        say("writes resumed by themselves");
        Ok(())
    }

    fn start_again(&mut self) -> Result<()> {
        self.node.spawn()?;
        tokio::task::block_in_place(|| self.node.wait_until_ready())?;
        self.shared.is_up();
        Ok(())
    }

    fn take_room(&self, leave: u64) -> Result<()> {
        tokio::task::block_in_place(|| self.filler.leave(leave))
    }

    async fn make_room(&mut self) -> Result<()> {
        let given_back = self.filler.give_back()?;
        ensure!(
            given_back >= ROOM_TO_RESUME_BYTES,
            "the ledger took all but {given_back} bytes of the disk itself: it is too small for this test"
        );
        self.wait_for("writes resume", async |campaign| {
            Ok(http::ask(&campaign.node.address(), "GET", "/readyz", "")
                .await?
                .status
                == 200)
        })
        .await?;
        self.wait_for_answers().await
    }

    /// A clear answer on both interfaces, that says when to come back, and the process is well.
    async fn check_refusal(&self) -> Result<()> {
        let address = self.node.address();
        let body = format!(
            r#"{{"transfers":[{{"id":"{PROBE_ID}","debit_account_id":"1","credit_account_id":"2","amount":"1","ledger":1,"code":1}}]}}"#
        );
        let refusal = http::ask(&address, "POST", "/v1/transfers", &body).await?;
        let is_clear = refusal.status == 503
            && refusal.body.contains("API-0011")
            && refusal.header("retry-after").is_some();
        ensure!(is_clear, "a write on a full disk was answered {refusal:?}");
        let health = http::ask(&address, "GET", "/healthz", "").await?;
        ensure!(
            health.status == 200,
            "a full disk made the process unwell: {health:?}"
        );
        let transfer = Transfer {
            id: TransferId(PROBE_ID),
            debit_account_id: AccountId(1),
            credit_account_id: AccountId(2),
            amount: Amount(1),
            ledger: LedgerId(1),
            code: Code(1),
            ..Transfer::default()
        };
        let request = v1::CreateTransfersRequest {
            transfers: vec![transfer_to_wire(&transfer)],
        };
        let mut grpc = LedgerClient::connect(self.node.endpoint()).await?;
        let Err(status) = grpc.create_transfers(request).await else {
            anyhow::bail!("a write on a full disk was answered over gRPC");
        };
        let trailer = |name| status.metadata().get(name).and_then(|value| value.to_str().ok());
        let is_clear = status.code() == tonic::Code::Unavailable
            && trailer(wire::ERROR_CODE) == Some("API-0011")
            && trailer(wire::RETRY_AFTER_MS).is_some();
        ensure!(is_clear, "a write on a full disk was answered {status:?}");
        Ok(())
    }

    /// All that was acknowledged is there, and the books are readable.
    async fn check_reads(&self) -> Result<usize> {
        let found = look_up(&self.client, &self.shared.calls_from(0)).await?;
        let trial = self.client.trial_balance(LedgerId(1)).await?;
        ensure!(
            trial.totals.debits_posted == trial.totals.credits_posted,
            "the trial balance does not balance: {trial:?}"
        );
        Ok(found)
    }

    async fn wait_for_answers(&mut self) -> Result<()> {
        let enough = self.shared.answered() + SOME_ANSWERS;
        self.wait_for("writes are answered", async |campaign| {
            Ok(campaign.shared.answered() >= enough)
        })
        .await
    }

    /// So that the room is taken from the node, and not from the making of a segment.
    async fn wait_for_the_next_segment(&mut self) -> Result<()> {
        let path = self.mount.point().join("data/journal/next.prepared");
        let mut last = 0;
        self.wait_for("the next segment is made", async |_| {
            let length = std::fs::metadata(&path).map_or(0, |metadata| metadata.len());
            let is_whole = length > 0 && length == last;
            last = length;
            if !is_whole {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            Ok(is_whole)
        })
        .await
    }

    async fn wait_until_refused(&mut self) -> Result<()> {
        let seen = self.shared.calls_from(0).len();
        self.wait_for("writes are refused", async |campaign| {
            let ready = http::ask(&campaign.node.address(), "GET", "/readyz", "").await?;
            let mut calls = campaign.shared.calls_from(seen).into_iter();
            Ok(ready.status == 503 && calls.any(|call| call.heard == Heard::NotDone))
        })
        .await
    }

    /// Until it is so; the clients must be well meanwhile.
    async fn wait_for(
        &mut self,
        what: &str,
        mut is_so: impl AsyncFnMut(&Self) -> Result<bool>,
    ) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while !is_so(self).await? {
            if let Some(ended) = self.clients.try_join_next() {
                ended??;
            }
            ensure!(
                Instant::now() < deadline,
                "waited in vain until {what}; the node logged {:?}",
                self.node.complaints()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    async fn finish(mut self) -> Result<Report> {
        self.shared.stop();
        while let Some(client) = self.clients.join_next().await {
            client??;
        }
        let observed = observe(&self.client).await?;
        let calls = self.shared.calls_from(0);
        let violations = violations(&calls, &observed);
        self.node.stop()?;
        let verified = self.node.verify_copy()?;
        self.node.ensure_no_complaints()?;
        let refused = calls.iter().filter(|call| call.heard == Heard::NotDone).count();
        Ok(Report {
            calls: calls.len() as u64,
            answered: self.shared.answered(),
            refused: refused as u64,
            rows: observed.rows.len() as u64,
            violations,
            verified,
        })
    }
}

/// An index that writes often, so that it meets the full disk too.
fn configuration(reserve_bytes: u64) -> String {
    format!("[node]\nindex_flush_rows = 2048\nsnapshot_rows = 8192\ndisk_reserve_bytes = {reserve_bytes}\n")
}

/// Gives up soon, so that the load goes on trying instead of waiting.
async fn connect(node: &NodeProcess) -> Result<Client> {
    let options = client::Options {
        timeout: Duration::from_millis(500),
        ..client::Options::default()
    };
    Ok(Client::connect_with(&node.endpoint(), options).await?)
}
