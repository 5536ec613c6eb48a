//! The cluster's clients: they ask any node, are passed on, hear nothing, ask again with the same ids. Owns: what each was told,
//! and the floors below which no later answer may fall.

use super::ClusterCanary;
use super::election::Revision;
use super::world::World;
use crate::clients::{Asked, check_accounts, check_state, request_body};
use crate::truth::{Answer, Moment};
use crate::{Broken, ensure};
use ledger::{AccountId, ActorId, CommandBody, TimestampNs};
use ledger_model::Generator;
use node::parts::{FoundAccount, Read, State};
use node::{Reply, Request, SubmitError};
use rand::RngExt;
use tokio::sync::oneshot::error::TryRecvError;
use tokio::sync::oneshot::{self, Receiver};

/// Which promise a read is to keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Promise {
    Linearizable,
    /// Steps.
    Bounded(u64),
    Any,
}

/// A process of a node: number, life.
type Process = (usize, u64);

enum Waiting {
    Write {
        request: u128,
        at: Process,
        receiver: Receiver<Result<Reply, SubmitError>>,
    },
    /// A linearizable read at its writer, before the election was asked.
    Confirming {
        at: Process,
        revision: Revision,
        floor: Moment,
    },
    Accounts {
        asked: Asked,
        at: Process,
        floor: Moment,
        promise: Promise,
        receiver: Receiver<Vec<FoundAccount>>,
    },
    State {
        at: Process,
        floor: Moment,
        promise: Promise,
        receiver: Receiver<State>,
    },
}

/// Where a request goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Where {
    /// This node.
    Here,
    /// Another.
    At(usize),
    /// Nobody for now.
    Nowhere,
}

/// See the module.
pub struct Clients {
    waiting: Vec<Option<Waiting>>,
    /// What each will send again.
    again: Vec<Option<CommandBody>>,
    generator: Generator,
    clock: TimestampNs,
    next_request: u128,
    /// The latest that was acknowledged or shown by a linearizable read.
    floor: Moment,
    /// The same as it was at each step at which it rose, for reads that may be so old.
    floors: Vec<(u64, Moment)>,
}

impl Clients {
    /// So many, who wait for nothing.
    pub fn new(count: usize, generator: Generator, clock: TimestampNs) -> Self {
        Self {
            waiting: (0..count).map(|_| None).collect(),
            again: vec![None; count],
            generator,
            clock,
            next_request: 1,
            floor: Moment(0),
            floors: Vec::new(),
        }
    }

    /// Whether nobody waits.
    pub fn are_idle(&self) -> bool {
        self.waiting.iter().all(Option::is_none)
    }

    fn raise(&mut self, now: u64, moment: Moment) {
        if moment > self.floor {
            self.floor = moment;
            self.floors.push((now, moment));
        }
    }

    /// What had been told before a step.
    fn floor_at(&self, step: u64) -> Moment {
        let earlier = self.floors.iter().rev().find(|(at, _)| *at <= step);
        earlier.map_or(Moment(0), |(_, moment)| *moment)
    }
}

impl World {
    /// Who answers what needs the writer, as a node knows.
    pub(super) fn place(&self, node: usize) -> Where {
        let Some(life) = &self.nodes[node].life else {
            return Where::Nowhere;
        };
        if let Some(term) = self.election.term_now(node, self.boot) {
            // Of this very term: in an earlier one it knew less.
            let is_sure = match self.canary {
                Some(ClusterCanary::AnyTerm) => true,
                _ => life.promoted_for == Some(term) && life.is_confirmed,
            };
            return match life.writes() && is_sure {
                true => Where::Here,
                false => Where::Nowhere,
            };
        }
        match self.election.beliefs[node].writer {
            Some(writer) if writer != node => Where::At(writer),
            _ => Where::Nowhere,
        }
    }

    /// From the node that a client asks to the one that answers what needs the writer.
    fn route(&mut self, node: usize) -> Option<usize> {
        match self.place(node) {
            Where::Here => Some(node),
            // Passed on once.
            Where::At(writer) if self.links[node][writer] => {
                self.statistics.forwarded += 1;
                (self.place(writer) == Where::Here).then_some(writer)
            }
            _ => None,
        }
    }

    fn idle_client(&mut self) -> Option<usize> {
        let client = self.random.random_range(0..self.clients.waiting.len());
        self.clients.waiting[client].is_none().then_some(client)
    }

    /// Some client sends a write to some node.
    pub(super) fn write(&mut self) -> Result<(), Broken> {
        let (Some(client), node) = (self.idle_client(), self.some_node()) else {
            return Ok(());
        };
        let repeats = self.random.random_range(0..4) > 0;
        let repeated = self.clients.again[client].take().filter(|_| repeats);
        let body = match repeated {
            Some(body) => body,
            None => {
                let (time, command) = self.clients.generator.next_command(&self.truth.model);
                let passed = time.0.saturating_sub(self.clients.clock.0);
                self.clients.clock = time;
                for place in &self.nodes {
                    place.clock.advance(passed);
                }
                self.right.advance(passed);
                command.body
            }
        };
        let Some(asked) = request_body(&body) else {
            return Ok(());
        };
        let Some(writer) = self.route(node) else {
            self.statistics.unavailable += 1;
            self.clients.again[client] = Some(body);
            return Ok(());
        };
        let request = self.clients.next_request;
        self.clients.next_request += 1;
        let (at, life) = self.process(writer);
        let sent = life.shared.inbox.submit(Request {
            actor: ActorId(request),
            body: asked,
            deadline: None,
        });
        match sent {
            Ok(receiver) => {
                self.truth.sent.insert(request, body);
                self.clients.waiting[client] = Some(Waiting::Write {
                    request,
                    at,
                    receiver,
                });
                self.note(format!(
                    "client {client} sends request {request} to node {writer} by {node}"
                ));
            }
            Err(SubmitError::Overloaded { .. } | SubmitError::Unavailable { .. }) => {
                self.clients.again[client] = Some(body);
            }
            Err(error) => return Err(Broken(format!("request {request} is refused: {error}"))),
        }
        Ok(())
    }

    fn process(&mut self, node: usize) -> (Process, &mut super::peer::Life) {
        let place = &mut self.nodes[node];
        let life = place.life.as_mut().expect("only a living node takes requests");
        ((node, place.lives), life)
    }

    fn lives(&self, (node, number): Process) -> bool {
        let place = &self.nodes[node];
        place.life.is_some() && place.lives == number
    }

    /// Some client reads at some node.
    pub(super) fn read(&mut self) -> Result<(), Broken> {
        let (Some(client), node) = (self.idle_client(), self.some_node()) else {
            return Ok(());
        };
        if self.nodes[node].life.is_none() {
            return Ok(());
        }
        let age = [5, 50, 500][self.random.random_range(0..3)];
        let promise =
            [Promise::Linearizable, Promise::Bounded(age), Promise::Any][self.random.random_range(0..3)];
        match promise {
            Promise::Any => return self.ask(client, node, promise, Moment(0)),
            Promise::Bounded(age) if self.is_so_fresh(node, age) => {
                let floor = self.clients.floor_at(self.boot.saturating_sub(age));
                return self.ask(client, node, promise, floor);
            }
            _ => {}
        }
        let floor = self.clients.floor;
        let Some(writer) = self.route(node) else {
            self.statistics.unavailable += 1;
            return Ok(());
        };
        if self.canary == Some(ClusterCanary::UnconfirmedRead) {
            return self.ask(client, writer, Promise::Linearizable, floor);
        }
        let revision = self
            .election
            .term_now(writer, self.boot)
            .expect("it says that it leads");
        let (at, _) = self.process(writer);
        self.clients.waiting[client] = Some(Waiting::Confirming { at, revision, floor });
        self.note(format!(
            "client {client} reads at node {writer} by {node}, not behind {}",
            floor.0
        ));
        Ok(())
    }

    fn is_so_fresh(&self, node: usize, age: u64) -> bool {
        let life = self.nodes[node].life.as_ref();
        let as_of = life.and_then(|life| life.fresh_as_of);
        as_of.is_some_and(|as_of| self.boot - as_of <= age)
    }

    fn ask(&mut self, client: usize, node: usize, promise: Promise, floor: Moment) -> Result<(), Broken> {
        let is_whole = self.one_in(2);
        let ids: Vec<_> = (0..self.random.random_range(1..5))
            .map(|_| AccountId(self.random.random_range(1..14)))
            .collect();
        let (at, life) = self.process(node);
        let (read, waiting) = if is_whole {
            let (sender, receiver) = oneshot::channel();
            let waiting = Waiting::State {
                at,
                floor,
                promise,
                receiver,
            };
            (Read::State(sender), waiting)
        } else {
            let (sender, receiver) = oneshot::channel();
            let asked = Asked::Ids(ids.clone());
            let waiting = Waiting::Accounts {
                asked,
                at,
                floor,
                promise,
                receiver,
            };
            (Read::Accounts(ids, sender), waiting)
        };
        ensure!(life.shared.inbox.read(read).is_ok(), "a read is refused");
        self.clients.waiting[client] = Some(waiting);
        Ok(())
    }

    /// Every client looks at what came back, and it is held against the truth.
    pub(super) fn listen(&mut self) -> Result<(), Broken> {
        for client in 0..self.clients.waiting.len() {
            let Some(waiting) = self.clients.waiting[client].take() else {
                continue;
            };
            let waiting = self.look(client, waiting)?;
            if waiting.is_some() {
                self.clients.waiting[client] = waiting;
            }
        }
        Ok(())
    }

    fn look(&mut self, client: usize, waiting: Waiting) -> Result<Option<Waiting>, Broken> {
        match waiting {
            Waiting::Write {
                request,
                at,
                mut receiver,
            } => match receiver.try_recv() {
                Ok(answer) => self.answered(request, answer)?,
                Err(TryRecvError::Empty) if self.lives(at) && !self.gives_up() => {
                    return Ok(Some(Waiting::Write {
                        request,
                        at,
                        receiver,
                    }));
                }
                Err(_) => {
                    self.statistics.unknown += 1;
                    self.clients.again[client] = self.truth.sent.get(&request).cloned();
                }
            },
            Waiting::Confirming { .. } => return Ok(Some(waiting)),
            Waiting::Accounts {
                asked,
                at,
                floor,
                promise,
                mut receiver,
            } => match receiver.try_recv() {
                Ok(found) => {
                    let moment = check_accounts(&self.truth, &asked, &found, floor);
                    let moment =
                        moment.map_err(|broken| Broken(format!("{promise:?} at node {}: {broken}", at.0)))?;
                    self.was_read(promise, moment);
                }
                Err(TryRecvError::Empty) if self.lives(at) => {
                    return Ok(Some(Waiting::Accounts {
                        asked,
                        at,
                        floor,
                        promise,
                        receiver,
                    }));
                }
                Err(_) => {}
            },
            Waiting::State {
                at,
                floor,
                promise,
                mut receiver,
            } => match receiver.try_recv() {
                Ok(state) => {
                    let checked = check_state(&self.truth, &state, floor);
                    checked.map_err(|broken| Broken(format!("{promise:?} at node {}: {broken}", at.0)))?;
                    let moment = self.truth.known(state.height).end;
                    self.was_read(promise, moment);
                }
                Err(TryRecvError::Empty) if self.lives(at) => {
                    return Ok(Some(Waiting::State {
                        at,
                        floor,
                        promise,
                        receiver,
                    }));
                }
                Err(_) => {}
            },
        }
        Ok(None)
    }

    fn gives_up(&mut self) -> bool {
        self.one_in(400)
    }

    fn was_read(&mut self, promise: Promise, moment: Moment) {
        match promise {
            Promise::Linearizable => self.statistics.linearizable += 1,
            Promise::Bounded(_) => self.statistics.bounded += 1,
            Promise::Any => self.statistics.any += 1,
        }
        // No promise is made of what was seen in a read of some age.
        if promise == Promise::Linearizable {
            self.clients.raise(self.boot, moment);
        }
    }

    /// The election answers a client's read, whose question to it began after the read came.
    pub(super) fn confirm(&mut self, client: usize) -> Result<(), Broken> {
        let client = client % self.clients.waiting.len();
        let Some(Waiting::Confirming { at, revision, floor }) = self.clients.waiting[client] else {
            return Ok(());
        };
        self.clients.waiting[client] = None;
        if self.lives(at) && self.election.confirms(at.0, revision) {
            return self.ask(client, at.0, Promise::Linearizable, floor);
        }
        self.statistics.unavailable += 1;
        Ok(())
    }

    fn answered(&mut self, request: u128, answer: Result<Reply, SubmitError>) -> Result<(), Broken> {
        let reply = match answer {
            Ok(Reply::Accounts(replies)) => Answer::Accounts(replies),
            Ok(Reply::Transfers(replies)) => Answer::Transfers(replies),
            Ok(Reply::Described(result)) => Answer::Described(result),
            Err(error) => return Err(Broken(format!("request {request} is answered with {error}"))),
        };
        let Some((moment, right)) = self.truth.applied.get(&request) else {
            return Err(Broken(format!(
                "request {request} is answered before its block is final"
            )));
        };
        ensure!(
            *right == reply,
            "request {request}: answered {reply:?}, right is {right:?}"
        );
        let moment = *moment;
        self.statistics.acknowledged_events += reply.events();
        self.clients.raise(self.boot, moment);
        Ok(())
    }

    /// Clients that wait, for the end.
    pub(super) fn confirm_all(&mut self) -> Result<(), Broken> {
        (0..self.clients.waiting.len()).try_for_each(|client| self.confirm(client))
    }
}
