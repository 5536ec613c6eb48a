//! The clients of a round: writers through the client library and through plain REST, readers of each consistency.
//!
//! Every writer repeats a request without an answer with the same ids, as clients should, and now and then gives up.

use super::record::{Attempt, Record};
use super::requests::{Load, Request, World};
use super::rest::{self, NoAnswer, RestClient};
use crate::history::{Consistency, Heard, Read, metadata_of};
use anyhow::{Context, Result};
use client::{Client, Error};
use ledger::TransferReply;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

/// Writers through the client library.
const LIBRARY_WRITERS: u16 = 4;
/// Writers through plain REST.
const REST_WRITERS: u16 = 2;
/// What readers ask for; the first of them through the client library.
const READERS: [Consistency; 6] = [
    Consistency::Linearizable,
    Consistency::Linearizable,
    Consistency::Bounded(BOUND_NS),
    Consistency::Bounded(BOUND_NS),
    Consistency::Any,
    Consistency::Any,
];
/// How old a bounded read may be: longer than a failover shall take, so that followers can answer in the meantime.
const BOUND_NS: u64 = 5_000_000_000;
/// After which a client of the library gives a call up.
const LIBRARY_TIMEOUT: Duration = Duration::from_secs(4);
/// After which plain REST gives a request up.
const REST_TIMEOUT: Duration = Duration::from_millis(1_500);
/// After which plain REST gives a read up that another node could answer.
const READ_TIMEOUT: Duration = Duration::from_millis(300);
/// The longest pause that a server can ask for here: gaps are measured, and clients must not make them.
const PAUSE_MAX: Duration = Duration::from_millis(50);
/// Between requests of a client, so that a small machine is not busy with clients alone.
pub const THINK: Range<Duration> = Duration::from_millis(5)..Duration::from_millis(15);

/// The clients of a round.
pub struct Clients {
    tasks: JoinSet<Result<()>>,
}

impl Clients {
    /// Starts all of them against `host:port` addresses; each waits between two requests for a time drawn from `think`.
    ///
    /// # Errors
    /// When an address makes no sense.
    pub async fn start(
        record: &Arc<Record>,
        addresses: &[String],
        world: World,
        seed: u64,
        think: Range<Duration>,
    ) -> Result<Self> {
        let mut tasks = JoinSet::new();
        for number in 0..LIBRARY_WRITERS {
            let address = &addresses[usize::from(number) % addresses.len()];
            let writer = Writer {
                record: Arc::clone(record),
                number,
                way: Way::Library(connect(address).await?),
            };
            tasks.spawn(writer.run(Load::new(world, seed, u64::from(number)), think.clone()));
        }
        for number in LIBRARY_WRITERS..LIBRARY_WRITERS + REST_WRITERS {
            let rest = RestClient::new(addresses, usize::from(number), REST_TIMEOUT);
            let writer = Writer {
                record: Arc::clone(record),
                number,
                way: Way::Rest(rest),
            };
            tasks.spawn(writer.run(Load::new(world, seed, u64::from(number)), think.clone()));
        }
        for (index, consistency) in (0u16..).zip(READERS) {
            let reader = Reader {
                record: Arc::clone(record),
                number: LIBRARY_WRITERS + REST_WRITERS + index,
                consistency,
                world,
                think: think.clone(),
                random: StdRng::seed_from_u64(seed ^ u64::from(index + 1) << 48),
            };
            let address = &addresses[usize::from(index) % addresses.len()];
            if index == 0 {
                tasks.spawn(reader.run_library(connect(address).await?));
            } else {
                let timeout = match consistency {
                    Consistency::Linearizable => REST_TIMEOUT,
                    Consistency::Bounded(_) | Consistency::Any => READ_TIMEOUT,
                };
                let rest = RestClient::new(addresses, usize::from(index), timeout);
                tasks.spawn(reader.run_rest(rest));
            }
        }
        Ok(Self { tasks })
    }

    /// Fails when a client ended, which none does before it is told to.
    ///
    /// # Errors
    /// What ended it.
    pub fn check(&mut self) -> Result<()> {
        match self.tasks.try_join_next() {
            Some(ended) => ended?.and_then(|()| anyhow::bail!("a client ended by itself")),
            None => Ok(()),
        }
    }

    /// Waits until all have ended; [`Record::stop`] tells them to.
    ///
    /// # Errors
    /// What a client could not explain.
    pub async fn join(mut self) -> Result<()> {
        while let Some(ended) = self.tasks.join_next().await {
            ended??;
        }
        Ok(())
    }
}

/// Tries once more what was given up, so that every outcome is known. Gives how many requests still have none.
///
/// # Errors
/// When an answer makes no sense.
pub async fn settle(record: &Arc<Record>, address: &str) -> Result<usize> {
    let client = connect(address).await?.with_timeout(Duration::from_secs(15));
    let mut writer = Writer {
        record: Arc::clone(record),
        number: u16::MAX,
        way: Way::Library(client),
    };
    let mut left = 0;
    for request in record.take_unknown() {
        let heard = writer.attempt(&request).await?;
        left += usize::from(heard.iter().any(|heard| heard.result().is_none()));
    }
    Ok(left)
}

async fn connect(address: &str) -> Result<Client> {
    let options = client::Options {
        timeout: LIBRARY_TIMEOUT,
        ..client::Options::default()
    };
    let client = Client::connect_with(&format!("http://{address}"), options).await;
    client.with_context(|| format!("cannot use {address}"))
}

enum Way {
    Library(Client),
    Rest(RestClient),
}

struct Writer {
    record: Arc<Record>,
    number: u16,
    way: Way,
}

impl Writer {
    async fn run(mut self, mut load: Load, think: Range<Duration>) -> Result<()> {
        let mut random = StdRng::seed_from_u64(u64::from(self.number));
        while !self.record.is_stopped() {
            let request = load.next_request();
            self.ask_until_known(&mut load, &request).await?;
            tokio::time::sleep(random.random_range(think.clone())).await;
        }
        Ok(())
    }

    async fn ask_until_known(&mut self, load: &mut Load, request: &Request) -> Result<()> {
        let mut doubtful = false;
        loop {
            let heard = self.attempt(request).await?;
            for (transfer, heard) in request.transfers.iter().zip(&heard) {
                if let Some(result) = heard.result() {
                    load.learn(transfer, result);
                }
            }
            doubtful |= heard.contains(&Heard::Nothing);
            if heard.iter().all(|heard| heard.result().is_some()) {
                return Ok(());
            }
            if self.record.is_stopped() || load.gives_up() {
                if doubtful {
                    self.record.unknown(request);
                }
                return Ok(());
            }
        }
    }

    /// Sends a request once and records what came of it.
    async fn attempt(&mut self, request: &Request) -> Result<Vec<Heard>> {
        let begun = self.record.now();
        let heard = match &mut self.way {
            Way::Library(client) => heard_by_library(client, request, &self.record).await,
            Way::Rest(rest) => heard_by_rest(rest, request).await?,
        };
        let ended = self.record.now();
        let attempt = Attempt {
            request,
            begun,
            ended,
            heard: &heard,
            may_have_repeated: matches!(self.way, Way::Library(_)),
        };
        self.record.attempt(self.number, &attempt);
        Ok(heard)
    }
}

/// An error that no fault explains is a complaint; nobody knows what it means for the request.
async fn heard_by_library(client: &Client, request: &Request, record: &Record) -> Vec<Heard> {
    let count = request.transfers.len();
    match send(client, request).await {
        Ok(replies) if replies.len() == count => replies.into_iter().map(Heard::Reply).collect(),
        Ok(replies) => {
            record.complain(format!(
                "{count} transfers were answered by {} results",
                replies.len()
            ));
            vec![Heard::Nothing; count]
        }
        Err(Error::NotDone(_)) => vec![Heard::NotDone; count],
        Err(Error::Unknown) => vec![Heard::Nothing; count],
        Err(error) => {
            record.complain(format!("the library answered a request: {error}"));
            vec![Heard::Nothing; count]
        }
    }
}

/// One transfer alone goes the way on which concurrent calls share a request.
async fn send(client: &Client, request: &Request) -> Result<Vec<TransferReply>, Error> {
    let transfers = request.transfers.iter().enumerate();
    let metadata: Vec<(usize, String)> = transfers
        .filter_map(|(index, transfer)| Some((index, metadata_of(transfer)?)))
        .collect();
    match request.transfers.as_slice() {
        [transfer] if metadata.is_empty() => Ok(vec![client.transfer(*transfer).await?]),
        transfers => {
            client
                .submit_transfers_with_metadata(transfers.to_vec(), metadata)
                .await
        }
    }
}

async fn heard_by_rest(rest: &mut RestClient, request: &Request) -> Result<Vec<Heard>> {
    let count = request.transfers.len();
    let body = rest::transfers_body(&request.transfers);
    let answer = rest
        .ask("POST", "/v1/transfers", Consistency::Linearizable, &body)
        .await;
    match answer {
        Ok(answer) => {
            pause(answer.retry_after.filter(|_| answer.status != 200)).await;
            rest::heard(&answer, count)
        }
        Err(NoAnswer::Lost) => Ok(vec![Heard::Nothing; count]),
        Err(NoAnswer::NotSent) => {
            pause(Some(PAUSE_MAX)).await;
            Ok(vec![Heard::NotDone; count])
        }
    }
}

async fn pause(asked: Option<Duration>) {
    if let Some(asked) = asked {
        tokio::time::sleep(asked.min(PAUSE_MAX)).await;
    }
}

struct Reader {
    record: Arc<Record>,
    number: u16,
    consistency: Consistency,
    world: World,
    think: Range<Duration>,
    random: StdRng,
}

impl Reader {
    async fn run_library(mut self, client: Client) -> Result<()> {
        while !self.record.is_stopped() {
            let account = self.world.draw_account(&mut self.random);
            let begun = self.record.now();
            match client.lookup_accounts(&[account]).await {
                Ok(found) => {
                    let found = found.first().context("an account is gone")?;
                    self.saw(account, begun, found.account.balances);
                }
                Err(Error::NotDone(_)) => {}
                Err(error) => self.record.complain(format!("a read: {error}")),
            }
            self.think().await;
        }
        Ok(())
    }

    async fn run_rest(mut self, mut rest: RestClient) -> Result<()> {
        while !self.record.is_stopped() {
            let account = self.world.draw_account(&mut self.random);
            let begun = self.record.now();
            let path = rest::account_path(account);
            match rest.ask("GET", &path, self.consistency, "").await {
                Ok(answer) if answer.status == 200 => {
                    self.saw(account, begun, rest::totals(&answer.body)?);
                }
                // Refused for now, by the node or by HAProxy.
                Ok(answer) if matches!(answer.status, 429 | 500 | 502..=504) => {
                    pause(Some(answer.retry_after.unwrap_or(PAUSE_MAX))).await;
                    rest.turn();
                }
                // A follower may not yet have heard of an account that was made a moment ago.
                Ok(answer) if answer.status == 404 && self.may_not_know(begun) => {}
                Ok(answer) => self.record.complain(format!(
                    "a {:?} read was answered {}: {}",
                    self.consistency, answer.status, answer.body
                )),
                Err(_) => pause(Some(PAUSE_MAX)).await,
            }
            self.think().await;
        }
        Ok(())
    }

    /// Accounts are made before the record begins.
    fn may_not_know(&self, begun: crate::history::Moment) -> bool {
        match self.consistency {
            Consistency::Linearizable => false,
            Consistency::Bounded(age_ns) => begun.0 < age_ns,
            Consistency::Any => true,
        }
    }

    fn saw(&self, account: ledger::AccountId, begun: crate::history::Moment, seen: ledger::Balances) {
        let read = Read {
            account,
            consistency: self.consistency,
            begun,
            ended: self.record.now(),
            seen,
        };
        self.record.read(self.number, read);
    }

    async fn think(&mut self) {
        tokio::time::sleep(self.random.random_range(self.think.clone())).await;
    }
}
