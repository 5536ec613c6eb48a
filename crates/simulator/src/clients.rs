//! Virtual clients: what they ask, and what they must be told. Owns: requests under way and all that was acknowledged.

use crate::live::Live;
use crate::questions::Question;
use crate::statistics::Statistics;
use crate::timing::SimClock;
use crate::truth::{Answer, Moment, Truth};
use crate::{Broken, Canary, ensure};
use ledger::{AccountId, AccountNumber, ActorId, CommandBody, Height};
use ledger_model::Generator;
use node::parts::{FoundAccount, Read, State};
use node::{Clock, Reply, Request, RequestBody, SubmitError};
use rand::rngs::StdRng;
use rand::{Rng, RngExt};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};
use tokio::sync::oneshot::error::TryRecvError;
use tokio::sync::oneshot::{self, Receiver};

/// What a client waits for.
enum Waiting {
    Write {
        request: u128,
        deadline: Option<Instant>,
        receiver: Receiver<Result<Reply, SubmitError>>,
    },
    Accounts {
        asked: Asked,
        floor: Moment,
        receiver: Receiver<Vec<FoundAccount>>,
    },
    State {
        floor: Moment,
        receiver: Receiver<State>,
    },
    History {
        question: Question,
        /// What was final when it was asked.
        floor: Height,
    },
}

/// Which accounts a read is about.
pub enum Asked {
    /// By id.
    Ids(Vec<AccountId>),
    /// By number.
    Numbers(Vec<AccountNumber>),
}

/// See the module.
pub struct Clients {
    waiting: Vec<Option<Waiting>>,
    /// What each client will send again, having heard nothing of it.
    again: Vec<Option<CommandBody>>,
    generator: Generator,
    next_request: u128,
    /// Requests that were answered.
    pub acknowledged: BTreeSet<u128>,
    /// What has been told to anybody: later reads must not fall behind it.
    floor: Moment,
    /// For the canary: an earlier answer to hand out again.
    stale: Option<State>,
    canary: Option<Canary>,
}

/// What surrounds a client.
pub struct Surroundings<'a> {
    /// The node.
    pub live: &'a Live,
    /// What is true.
    pub truth: &'a mut Truth,
    /// The time.
    pub clock: &'a SimClock,
    /// Chance.
    pub random: &'a mut StdRng,
    /// Counts.
    pub statistics: &'a mut Statistics,
    /// Whether the node may have met a fault of the disk.
    pub trouble: bool,
    /// Whether the node is about to end: it may drop answers.
    pub failed: bool,
}

impl Clients {
    /// So many, who wait for nothing.
    pub fn new(count: usize, generator: Generator, canary: Option<Canary>) -> Self {
        Self {
            waiting: (0..count).map(|_| None).collect(),
            again: vec![None; count],
            generator,
            next_request: 1,
            acknowledged: BTreeSet::new(),
            floor: Moment(0),
            stale: None,
            canary,
        }
    }

    /// A client that waits for nothing, if there is one.
    fn idle(&self, random: &mut StdRng) -> Option<usize> {
        let client = random.random_range(0..self.waiting.len());
        self.waiting[client].is_none().then_some(client)
    }

    /// Whether nobody waits.
    pub fn is_idle(&self) -> bool {
        self.waiting.iter().all(Option::is_none)
    }

    /// Some client sends a write; says which.
    pub fn write(&mut self, around: &mut Surroundings) -> Result<Option<String>, Broken> {
        let Some(client) = self.idle(around.random) else {
            return Ok(None);
        };
        let repeated = self.again[client]
            .take()
            .filter(|_| around.random.random_range(0..4) > 0);
        let body = match repeated {
            Some(body) => body,
            None => {
                let (time, command) = self.generator.next_command(&around.truth.model);
                around.clock.advance_to(time);
                command.body
            }
        };
        let Some(asked) = request_body(&body) else {
            return Ok(Some("time passes".to_owned()));
        };
        let request = self.next_request;
        self.next_request += 1;
        let deadline = (around.random.random_range(0..12) == 0)
            .then(|| around.clock.instant() + Duration::from_nanos(around.random.next_u64() % 1_000_000_000));
        let ask = |body| Request {
            actor: ActorId(request),
            body,
            deadline,
        };
        if self.canary == Some(Canary::AppliedTwice)
            && let Some(twin) = request_body(&body)
        {
            drop(around.live.shared.inbox.submit(ask(twin)));
        }
        let events = events_of(&asked);
        match around.live.shared.inbox.submit(ask(asked)) {
            Ok(receiver) => {
                around.truth.sent.insert(request, body);
                self.waiting[client] = Some(Waiting::Write {
                    request,
                    deadline,
                    receiver,
                });
                Ok(Some(format!(
                    "client {client} sends request {request} of {events} events"
                )))
            }
            Err(error) => {
                ensure!(
                    matches!(
                        error,
                        SubmitError::Overloaded { .. } | SubmitError::StorageFull { .. }
                    ),
                    "request {request} is refused: {error}"
                );
                around.statistics.refused += 1;
                self.again[client] = Some(body);
                Ok(Some(format!("client {client} is refused: {error}")))
            }
        }
    }

    /// Some client reads at the sequencer.
    pub fn read(&mut self, around: &mut Surroundings) -> Result<Option<String>, Broken> {
        let Some(client) = self.idle(around.random) else {
            return Ok(None);
        };
        let floor = self.floor;
        let (read, waiting) = match around.random.random_range(0..3) {
            0 => {
                let (sender, receiver) = oneshot::channel();
                let receiver = self.perhaps_stale(receiver);
                (Read::State(sender), Waiting::State { floor, receiver })
            }
            1 if !around.truth.accounts.is_empty() => {
                let (sender, receiver) = oneshot::channel();
                let count = around.truth.accounts.len() as u64;
                let numbers: Vec<_> = (0..3)
                    .map(|_| AccountNumber((around.random.next_u64() % count) as u32))
                    .collect();
                let asked = Asked::Numbers(numbers.clone());
                (
                    Read::Numbers(numbers, sender),
                    Waiting::Accounts {
                        asked,
                        floor,
                        receiver,
                    },
                )
            }
            _ => {
                let (sender, receiver) = oneshot::channel();
                let ids: Vec<_> = (0..around.random.random_range(1..6))
                    .map(|_| AccountId(around.random.random_range(1..14)))
                    .collect();
                let asked = Asked::Ids(ids.clone());
                (
                    Read::Accounts(ids, sender),
                    Waiting::Accounts {
                        asked,
                        floor,
                        receiver,
                    },
                )
            }
        };
        ensure!(around.live.shared.inbox.read(read).is_ok(), "a read is refused");
        self.waiting[client] = Some(waiting);
        Ok(Some(format!("client {client} reads, not behind {}", floor.0)))
    }

    fn perhaps_stale(&mut self, receiver: Receiver<State>) -> Receiver<State> {
        match self
            .stale
            .take()
            .filter(|_| self.canary == Some(Canary::StaleRead))
        {
            Some(state) => {
                let (sender, stale) = oneshot::channel();
                drop(sender.send(state));
                stale
            }
            None => receiver,
        }
    }

    /// Some client asks history.
    pub fn ask(&mut self, around: &mut Surroundings) -> Option<String> {
        let client = self.idle(around.random)?;
        let floor = *around.live.shared.durable.borrow();
        let question = Question::draw(around.random, around.truth);
        let text = format!("client {client} asks history, not behind {floor}: {question:?}");
        self.waiting[client] = Some(Waiting::History { question, floor });
        Some(text)
    }

    /// Looks at what came back, and holds it against the truth.
    pub fn poll(&mut self, around: &mut Surroundings) -> Result<(), Broken> {
        for client in 0..self.waiting.len() {
            let Some(waiting) = self.waiting[client].take() else {
                continue;
            };
            self.waiting[client] = self.look(client, waiting, around)?;
        }
        Ok(())
    }

    fn look(
        &mut self,
        client: usize,
        waiting: Waiting,
        around: &mut Surroundings,
    ) -> Result<Option<Waiting>, Broken> {
        match waiting {
            Waiting::Write {
                request,
                deadline,
                mut receiver,
            } => {
                let Some(answer) = received(&mut receiver, around.failed)? else {
                    return Ok(Some(Waiting::Write {
                        request,
                        deadline,
                        receiver,
                    }));
                };
                self.answered(client, request, deadline, answer, around)?;
            }
            Waiting::Accounts {
                asked,
                floor,
                mut receiver,
            } => {
                let Some(found) = received(&mut receiver, around.failed)? else {
                    return Ok(Some(Waiting::Accounts {
                        asked,
                        floor,
                        receiver,
                    }));
                };
                let moment = check_accounts(around.truth, &asked, &found, floor)?;
                self.floor = self.floor.max(moment);
                around.statistics.reads += 1;
            }
            Waiting::State { floor, mut receiver } => {
                let Some(state) = received(&mut receiver, around.failed)? else {
                    return Ok(Some(Waiting::State { floor, receiver }));
                };
                check_state(around.truth, &state, floor)?;
                self.floor = self.floor.max(around.truth.known(state.height).end);
                self.stale = Some(state);
                around.statistics.reads += 1;
            }
            Waiting::History { question, floor } => {
                if *around.live.shared.indexed.borrow() < floor {
                    return Ok(Some(Waiting::History { question, floor }));
                }
                around.statistics.queries += 1;
                question.check(around.live, around.truth, floor, around.trouble)?;
            }
        }
        Ok(None)
    }

    fn answered(
        &mut self,
        client: usize,
        request: u128,
        deadline: Option<Instant>,
        answer: Result<Reply, SubmitError>,
        around: &mut Surroundings,
    ) -> Result<(), Broken> {
        let reply = match answer {
            Ok(Reply::Accounts(replies)) => Answer::Accounts(replies),
            Ok(Reply::Transfers(replies)) => Answer::Transfers(replies),
            Ok(Reply::Described(result)) => Answer::Described(result),
            Err(error) => {
                let passed = deadline.is_some_and(|deadline| deadline <= around.clock.instant());
                // Taken in, and refused when the disk was found full before it was taken up.
                let no_room = matches!(error, SubmitError::StorageFull { .. });
                ensure!(
                    no_room || error == SubmitError::Expired && passed,
                    "request {request} is answered with {error}"
                );
                ensure!(
                    !around.truth.applied.contains_key(&request),
                    "request {request} was told that nothing was done, and it was"
                );
                self.again[client] = around.truth.sent.remove(&request);
                around.statistics.expired += 1;
                return Ok(());
            }
        };
        let Some((moment, right)) = around.truth.applied.get(&request) else {
            return Err(Broken(format!(
                "request {request} is answered before its block is durable"
            )));
        };
        ensure!(
            *right == reply,
            "request {request}: answered {reply:?}, right is {right:?}"
        );
        self.floor = self.floor.max(*moment);
        around.statistics.acknowledged_events += reply.events();
        self.acknowledged.insert(request);
        Ok(())
    }

    /// The node is gone: who waited for a write sends it again, perhaps.
    pub fn hang_up(&mut self, truth: &Truth) {
        for (waiting, again) in self.waiting.iter_mut().zip(&mut self.again) {
            if let Some(Waiting::Write { request, .. }) = waiting.take() {
                *again = truth.sent.get(&request).cloned();
            }
        }
    }
}

/// What came, if something did. Only a node that `failed` may drop an answer.
fn received<T>(receiver: &mut Receiver<T>, failed: bool) -> Result<Option<T>, Broken> {
    match receiver.try_recv() {
        Ok(answer) => Ok(Some(answer)),
        Err(TryRecvError::Empty) => Ok(None),
        Err(TryRecvError::Closed) if failed => Ok(None),
        Err(TryRecvError::Closed) => Err(Broken("a running node dropped an answer".to_owned())),
    }
}

fn events_of(body: &RequestBody) -> usize {
    match body {
        RequestBody::CreateAccounts(events) => events.events.len(),
        RequestBody::CreateTransfers(events) => events.events.len(),
        RequestBody::DescribeLedger(_) => 1,
    }
}

/// The request of a command that a client may send.
pub fn request_body(body: &CommandBody) -> Option<RequestBody> {
    match body {
        CommandBody::CreateAccounts(events) => Some(RequestBody::CreateAccounts(events.clone())),
        CommandBody::CreateTransfers(events) => Some(RequestBody::CreateTransfers(events.clone())),
        CommandBody::DescribeLedger(description) => Some(RequestBody::DescribeLedger(description.clone())),
        CommandBody::BeginEpoch | CommandBody::ExpirePending { .. } => None,
    }
}

/// The answer must be the state between two commands of durable blocks, not before `floor`; gives the earliest such.
pub fn check_accounts(
    truth: &Truth,
    asked: &Asked,
    found: &[FoundAccount],
    floor: Moment,
) -> Result<Moment, Broken> {
    let found: Vec<_> = found.iter().map(|found| (found.number, found.account)).collect();
    for moment in (floor.0..=truth.now().0).map(Moment) {
        let right: Vec<_> = match asked {
            Asked::Ids(ids) => ids
                .iter()
                .filter_map(|id| truth.account_at(*id, moment))
                .collect(),
            Asked::Numbers(numbers) => {
                let with = |number: &AccountNumber| Some((*number, truth.number_at(*number, moment)?));
                numbers.iter().filter_map(with).collect()
            }
        };
        if right == found {
            return Ok(moment);
        }
    }
    Err(Broken(format!(
        "a read that must not be behind command {} is answered with {found:?}, which stood at no moment up to {}, the last durable one",
        floor.0,
        truth.now().0
    )))
}

/// A state names its height: it must be the one after that block.
pub fn check_state(truth: &Truth, state: &State, floor: Moment) -> Result<(), Broken> {
    let height = state.height;
    ensure!(
        height <= truth.head(),
        "a read of the state is answered at {height}, the last durable block is {}",
        truth.head()
    );
    let known = truth.known(height);
    ensure!(
        known.end >= floor,
        "a read of the state is answered at {height}, behind command {}",
        floor.0
    );
    ensure!(
        state.timestamp == known.timestamp,
        "the state at {height} stands at {}, right is {}",
        state.timestamp,
        known.timestamp
    );
    let accounts: Vec<_> = state.snapshot.accounts().copied().map(Some).collect();
    let right = (0..known.accounts).map(|number| truth.number_at(AccountNumber(number), known.end));
    ensure!(right.eq(accounts), "accounts in the state at {height} differ");
    Ok(())
}
