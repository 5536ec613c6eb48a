//! Submit streams as a benchmark drives them. Owns: pacing in open loop, windows in closed loop, and latencies.
//!
//! In open loop a thread of its own sends each request when it is due and never waits for answers; a latency runs
//! from the moment the request was *due*, so that a stall of the server (or of this client) counts for every
//! request that it delayed: no coordinated omission.

use super::histogram::Latencies;
use super::traffic::Traffic;
use anyhow::{Context, Result, anyhow, bail};
use proto::ledger_client::LedgerClient;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::{Channel, Endpoint};
use wire::v1 as proto;

/// The code of `created` on the wire.
const CREATED: i32 = proto::CreateTransferResult::Created as i32;
/// Answers may be this large: 8,190 results.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// Connects; HTTP/2 windows are large, so that a batch is not cut by flow control.
pub async fn connect(address: &str) -> Result<LedgerClient<Channel>> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))?
        .tcp_nodelay(true)
        .initial_stream_window_size(8 << 20)
        .initial_connection_window_size(16 << 20);
    let channel = endpoint
        .connect()
        .await
        .with_context(|| format!("cannot connect to {address}"))?;
    Ok(LedgerClient::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX))
}

/// What came of a load.
#[derive(Default)]
pub struct Outcome {
    /// Per request.
    pub latencies: Latencies,
    /// Transfers answered.
    pub transfers: u64,
    /// Transfers answered with anything but `created`, and requests refused.
    pub errors: u64,
    /// An example of an error, for people.
    pub example: Option<String>,
}

impl Outcome {
    fn count(&mut self, reply: proto::SubmitReply, due: Instant, counted: bool) -> Result<()> {
        use proto::submit_reply::Body;
        match reply.body {
            Some(Body::Transfers(reply)) => {
                for result in &reply.results {
                    if result.result != CREATED {
                        self.errors += 1;
                        self.example
                            .get_or_insert_with(|| format!("{:?}", result.result()));
                    }
                }
                self.transfers += reply.results.len() as u64;
            }
            Some(Body::Failure(failure)) => {
                self.errors += 1;
                self.example.get_or_insert(failure.message);
            }
            other => bail!("an answer of another kind came: {other:?}"),
        }
        if counted {
            self.latencies.record(due.elapsed());
        }
        Ok(())
    }

    /// Adds another's.
    pub fn add(&mut self, other: Self) {
        self.latencies.add(&other.latencies);
        self.transfers += other.transfers;
        self.errors += other.errors;
        if self.example.is_none() {
            self.example = other.example;
        }
    }
}

/// One Submit stream.
struct Lane {
    requests: mpsc::Sender<proto::SubmitRequest>,
    replies: Streaming<proto::SubmitReply>,
}

async fn open(client: &mut LedgerClient<Channel>, room: usize) -> Result<Lane> {
    let (requests, receiver) = mpsc::channel(room);
    let replies = client.submit(ReceiverStream::new(receiver)).await?.into_inner();
    Ok(Lane { requests, replies })
}

fn request(sequence: u64, transfers: Vec<proto::Transfer>) -> proto::SubmitRequest {
    let body = proto::submit_request::Body::Transfers(proto::CreateTransfersRequest { transfers });
    proto::SubmitRequest {
        sequence,
        timeout_ms: 60_000,
        body: Some(body),
    }
}

/// How much closed-loop load to make.
#[derive(Clone, Copy)]
pub struct Closed {
    /// Streams, each on a connection of its own.
    pub streams: usize,
    /// Requests under way on each.
    pub window: usize,
    /// Transfers a request.
    pub batch: usize,
    /// Transfers in all.
    pub transfers: u64,
}

/// Keeps a window of requests under way on every stream until all transfers are answered. `each` is told of every
/// answered request's transfers.
pub async fn closed_loop(
    address: &str,
    load: Closed,
    traffic: impl Fn(u64) -> Traffic,
    each: Arc<dyn Fn(u64) + Send + Sync>,
) -> Result<Outcome> {
    let mut tasks = Vec::new();
    let share = load.transfers.div_ceil(load.streams as u64);
    for stream in 0..load.streams {
        let mut client = connect(address).await?;
        let lane = open(&mut client, load.window).await?;
        let traffic = traffic(stream as u64);
        tasks.push(tokio::spawn(closed_lane(
            lane,
            load,
            share,
            traffic,
            each.clone(),
        )));
    }
    let mut total = Outcome::default();
    for task in tasks {
        total.add(task.await??);
    }
    Ok(total)
}

async fn closed_lane(
    mut lane: Lane,
    load: Closed,
    share: u64,
    mut traffic: Traffic,
    each: Arc<dyn Fn(u64) + Send + Sync>,
) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    let mut sent = VecDeque::with_capacity(load.window);
    let (mut left, mut sequence) = (share, 0);
    loop {
        while left > 0 && sent.len() < load.window {
            let count = left.min(load.batch as u64);
            left -= count;
            sequence += 1;
            let request = request(sequence, traffic.transfers(count as usize));
            sent.push_back(Instant::now());
            lane.requests
                .send(request)
                .await
                .map_err(|_| anyhow!("the server closed the stream"))?;
        }
        let Some(due) = sent.pop_front() else {
            return Ok(outcome);
        };
        let reply = lane
            .replies
            .message()
            .await?
            .context("the server ended the stream")?;
        let before = outcome.transfers;
        outcome.count(reply, due, true)?;
        each(outcome.transfers - before);
    }
}

/// How much open-loop load to offer.
#[derive(Clone, Copy)]
pub struct Open {
    /// Streams.
    pub streams: usize,
    /// Connections that they share.
    pub connections: usize,
    /// Transfers a second, over all streams.
    pub rate: u64,
    /// Transfers a request.
    pub batch: usize,
    /// For how long.
    pub duration: Duration,
    /// At the beginning, not counted in latencies.
    pub warm_up: Duration,
    /// Pending transfers, each posted or voided by the stream's next request.
    pub two_phase: bool,
}

/// When requests that wait for their answers were due, by stream; and whether they count.
type Due = Arc<Mutex<VecDeque<(Instant, bool)>>>;

/// Offers load at a fixed rate whatever the answers do.
pub async fn open_loop(address: &str, load: Open, traffic: impl Fn(u64) -> Traffic) -> Result<Outcome> {
    let mut clients = Vec::new();
    for _ in 0..load.connections {
        clients.push(connect(address).await?);
    }
    let (mut senders, mut readers) = (Vec::new(), Vec::new());
    for stream in 0..load.streams {
        let lane = open(&mut clients[stream % load.connections], 4_096).await?;
        let due = Due::default();
        senders.push(Sender {
            requests: lane.requests,
            due: due.clone(),
            traffic: traffic(stream as u64),
            pending: None,
            sequence: 0,
        });
        readers.push(tokio::spawn(read_lane(lane.replies, due)));
    }
    let pacer = std::thread::Builder::new()
        .name("pacer".to_owned())
        .spawn(move || pace(senders, load))?;
    let paced = tokio::task::spawn_blocking(move || pacer.join());
    let mut total = Outcome::default();
    for reader in readers {
        total.add(reader.await??);
    }
    paced.await?.map_err(|_| anyhow!("the pacer failed"))??;
    Ok(total)
}

async fn read_lane(mut replies: Streaming<proto::SubmitReply>, due: Due) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    while let Some(reply) = replies.message().await? {
        let (due, counted) = due
            .lock()
            .expect("no holder panics")
            .pop_front()
            .context("an answer too many")?;
        outcome.count(reply, due, counted)?;
    }
    Ok(outcome)
}

/// What the pacer needs of a stream.
struct Sender {
    requests: mpsc::Sender<proto::SubmitRequest>,
    due: Due,
    traffic: Traffic,
    pending: Option<Vec<proto::Transfer>>,
    sequence: u64,
}

impl Sender {
    fn next(&mut self, load: &Open) -> proto::SubmitRequest {
        self.sequence += 1;
        if !load.two_phase {
            return request(self.sequence, self.traffic.transfers(load.batch));
        }
        let transfers = match self.pending.take() {
            None => {
                let mut transfers = self.traffic.transfers(load.batch);
                for transfer in &mut transfers {
                    transfer.flags = 2;
                    transfer.timeout = 3_600;
                }
                self.pending = Some(transfers.clone());
                transfers
            }
            Some(pending) => pending.iter().map(|pending| self.resolve(pending)).collect(),
        };
        request(self.sequence, transfers)
    }

    /// Three of four are posted, the fourth is voided.
    fn resolve(&self, pending: &proto::Transfer) -> proto::Transfer {
        let void = pending.amount.is_multiple_of(4);
        proto::Transfer {
            id: pending.id,
            id_high: pending.id_high | 1 << 63,
            pending_id: pending.id,
            pending_id_high: pending.id_high,
            amount: pending.amount,
            flags: if void { 8 } else { 4 },
            ..proto::Transfer::default()
        }
    }
}

/// Sends every request when it is due, streams in turn.
fn pace(mut senders: Vec<Sender>, load: Open) -> Result<()> {
    node::Priority::Critical.apply();
    let _ = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1_000));
    let interval = Duration::from_secs_f64(load.batch as f64 / load.rate as f64);
    let requests = (load.duration.as_secs_f64() / interval.as_secs_f64()) as u64;
    let start = Instant::now() + Duration::from_millis(100);
    for number in 0..requests {
        let due = start + interval.mul_f64(number as f64);
        let sender = &mut senders[(number % load.streams as u64) as usize];
        let request = sender.next(&load);
        if let Some(early) = due.checked_duration_since(Instant::now()) {
            std::thread::sleep(early);
        }
        sender
            .due
            .lock()
            .expect("no holder panics")
            .push_back((due, due - start >= load.warm_up));
        if sender.requests.try_send(request).is_err() {
            bail!(
                "the server is thousands of requests behind on a stream; the load is beyond what it can do"
            );
        }
    }
    Ok(())
}
