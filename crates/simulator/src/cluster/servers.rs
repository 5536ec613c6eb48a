//! The fake PostgreSQL: three servers, who streams from whom, and statements on their way. Owns: sessions and replication.
//!
//! A statement that was sent is carried out whenever the server comes to it, whether or not somebody still waits for the
//! answer: that is how a block lands late.

use super::wal::{Entry, Record, Row, SERVERS, Server};
use journal::WriterId;
use ledger::Height;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::collections::BTreeMap;

/// A connection with a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    /// With whom.
    pub server: usize,
    life: u64,
    id: u64,
}

/// A statement that writes.
#[derive(Clone, Debug)]
pub enum Statement {
    /// Takes the next term above `above`.
    Claim {
        /// The highest epoch that was seen.
        above: u64,
        /// Of the term.
        writer: WriterId,
    },
    /// The conditional append.
    Append {
        /// What to write.
        row: Row,
        /// Who must have written the row below.
        before: (u64, WriterId),
        /// Whose claim must stand.
        claimant: WriterId,
    },
}

/// What a statement came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The claim stands.
    Claimed(u64),
    /// The row stands.
    Inserted,
    /// The condition did not hold.
    Nothing,
    /// Another row stands there.
    Conflict,
}

/// An answer, with what came before it.
#[derive(Clone, Copy, Debug)]
pub struct Answered {
    /// What it came to.
    pub answer: Answer,
    /// A notice of severity WARNING preceded it.
    pub is_warned: bool,
}

struct Arrived {
    session: Session,
    number: u64,
    statement: Statement,
}

/// See the module.
pub struct Servers {
    /// By number.
    pub all: [Server; SERVERS],
    /// Which node reaches which server.
    pub reach: Vec<[bool; SERVERS]>,
    /// Which standby reaches which other server.
    pub streams: [[bool; SERVERS]; SERVERS],
    /// For the canary: rows are written whatever stands there.
    pub is_unconditional: bool,
    arrived: Vec<Arrived>,
    answers: BTreeMap<u64, Answered>,
    /// What each commit that waits will answer.
    pending: BTreeMap<u64, Answer>,
    broken: Vec<u64>,
    next: u64,
    timelines: u32,
    random: StdRng,
}

impl Servers {
    /// Three, of which the first is the primary.
    pub fn new(seed: u64, nodes: usize) -> Self {
        let mut servers = Self {
            all: std::array::from_fn(|_| Server::new()),
            reach: vec![[true; SERVERS]; nodes],
            streams: [[true; SERVERS]; SERVERS],
            is_unconditional: false,
            arrived: Vec::new(),
            answers: BTreeMap::new(),
            pending: BTreeMap::new(),
            broken: Vec::new(),
            next: 1,
            timelines: 0,
            random: StdRng::seed_from_u64(seed),
        };
        servers.promote(0);
        for standby in 1..SERVERS {
            servers.all[standby].upstream = Some(0);
        }
        servers
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Makes a server a primary on a timeline of its own.
    pub fn promote(&mut self, server: usize) {
        self.timelines += 1;
        let entry = Entry {
            id: self.number(),
            timeline: self.timelines,
            record: Record::Promoted,
        };
        let promoted = &mut self.all[server];
        promoted.is_primary = true;
        promoted.upstream = None;
        promoted.reported = [0; SERVERS];
        promoted.names = (0..SERVERS).filter(|other| *other != server).collect();
        promoted.log.push(entry);
    }

    /// A connection to some server that can be reached; to write, to one that says it is a primary.
    pub fn connect(&mut self, node: usize, writes: bool) -> Option<Session> {
        let able = |server: &usize| {
            let is = &self.all[*server];
            self.reach[node][*server] && is.is_up && (is.is_primary || !writes)
        };
        let able: Vec<usize> = (0..SERVERS).filter(able).collect();
        if able.is_empty() {
            return None;
        }
        let server = able[self.random.random_range(0..able.len())];
        Some(Session {
            server,
            life: self.all[server].life,
            id: self.number(),
        })
    }

    /// Whether a session still holds.
    pub fn holds(&self, node: usize, session: Session) -> bool {
        let server = &self.all[session.server];
        server.is_up
            && server.life == session.life
            && self.reach[node][session.server]
            && !self.broken.contains(&session.id)
    }

    /// Closes a session, without a cancel.
    pub fn close(&mut self, session: Session) {
        self.broken.push(session.id);
    }

    /// Sends a statement and gives its number.
    pub fn send(&mut self, session: Session, statement: Statement) -> u64 {
        let number = self.number();
        self.arrived.push(Arrived {
            session,
            number,
            statement,
        });
        number
    }

    /// The answer to a statement, once.
    pub fn answer(&mut self, number: u64) -> Option<Answered> {
        self.answers.remove(&number)
    }

    /// Some server carries some statement out that has arrived; says which.
    pub fn execute(&mut self) -> Option<String> {
        if self.arrived.is_empty() {
            return None;
        }
        let at = self.random.random_range(0..self.arrived.len());
        let Arrived {
            session, statement, ..
        } = &self.arrived[at];
        let server = &self.all[session.server];
        if !server.is_up || server.life != session.life || !server.is_primary {
            let gone = self.arrived.remove(at);
            return Some(format!("statement {} is lost with its session", gone.number));
        }
        let is_locked = match statement {
            Statement::Claim { .. } => server.is_locked(None),
            Statement::Append { row, .. } => server.is_locked(Some(row.height)),
        };
        if is_locked {
            return None;
        }
        let Arrived {
            session,
            number,
            statement,
        } = self.arrived.remove(at);
        let answer = self.carry_out(session.server, number, statement);
        Some(format!(
            "server {} carries statement {number} out: {answer:?}",
            session.server
        ))
    }

    fn carry_out(&mut self, server: usize, number: u64, statement: Statement) -> Answer {
        let id = self.number();
        let is_unconditional = self.is_unconditional;
        let at = &mut self.all[server];
        let (record, answer) = match statement {
            Statement::Claim { above, writer } => {
                let epoch = at.claim().map_or(0, |(epoch, _)| epoch).max(above) + 1;
                (Record::Claim { epoch, writer }, Answer::Claimed(epoch))
            }
            Statement::Append {
                row,
                before,
                claimant,
            } if !is_unconditional => {
                let follows = match row.height.0 {
                    1 => true,
                    height => at
                        .row(Height(height - 1))
                        .is_some_and(|below| (below.epoch, below.writer) == before),
                };
                let is_claimed = at.claim().is_some_and(|(_, writer)| writer == claimant);
                if at.is_loosened || !follows || !is_claimed {
                    return self.tell(number, Answer::Nothing);
                }
                if at.row(row.height).is_some() {
                    return self.tell(number, Answer::Conflict);
                }
                (Record::Block(row), Answer::Inserted)
            }
            Statement::Append { row, .. } => (Record::Block(row), Answer::Inserted),
        };
        let timeline = at.position().0;
        at.write(Entry { id, timeline, record }, number);
        self.pending.insert(number, answer);
        self.release(server);
        answer
    }

    fn tell(&mut self, number: u64, answer: Answer) -> Answer {
        let is_warned = false;
        self.answers.insert(number, Answered { answer, is_warned });
        answer
    }

    /// Answers the commits that are done.
    pub fn release(&mut self, server: usize) {
        for number in self.all[server].done() {
            if let Some(answer) = self.pending.remove(&number) {
                self.tell(number, answer);
            }
        }
    }

    /// Somebody cancels a commit's wait: success, with a warning.
    pub fn cancel(&mut self, server: usize) -> bool {
        let nth = self.random.random_range(0..8);
        let Some(number) = self.all[server].cancel(nth) else {
            return false;
        };
        if let Some(answer) = self.pending.remove(&number) {
            self.answers.insert(
                number,
                Answered {
                    answer,
                    is_warned: true,
                },
            );
        }
        true
    }

    /// A standby receives what its upstream has next; one that went another way is rewound.
    pub fn receive(&mut self, standby: usize) -> Option<String> {
        let upstream = self.streaming_from(standby)?;
        let [ours, theirs] = self.pair(standby, upstream);
        let common = ours.common_with(theirs);
        if common < ours.log.len() {
            // Only behind a primary: nobody rewinds to a standby.
            if !theirs.is_primary {
                return None;
            }
            let lost = ours.log.len() - common;
            ours.log.truncate(common);
            ours.end_sessions();
            return Some(format!(
                "server {standby} is rewound behind {upstream}, {lost} records are gone"
            ));
        }
        let next = theirs.log.get(common)?.clone();
        ours.log.push(next);
        Some(format!(
            "server {standby} receives record {common} from {upstream}"
        ))
    }

    /// A standby tells its upstream how far its disk holds the log.
    pub fn report(&mut self, standby: usize) -> Option<String> {
        let upstream = self.streaming_from(standby)?;
        let [ours, theirs] = self.pair(standby, upstream);
        if !ours.is_prefix_of(theirs) || theirs.reported[standby] == ours.log.len() {
            return None;
        }
        theirs.reported[standby] = ours.log.len();
        let length = ours.log.len();
        self.release(upstream);
        Some(format!("server {standby} reports {length} to {upstream}"))
    }

    fn streaming_from(&self, standby: usize) -> Option<usize> {
        let server = &self.all[standby];
        let upstream = server.upstream.filter(|_| server.is_up && !server.is_primary)?;
        (self.all[upstream].is_up && self.streams[standby][upstream]).then_some(upstream)
    }

    fn pair(&mut self, standby: usize, upstream: usize) -> [&mut Server; 2] {
        self.all
            .get_disjoint_mut([standby, upstream])
            .expect("nobody streams from itself")
    }

    /// Whether a standby streams from that server and from nobody else.
    pub fn follows(&self, standby: usize, upstream: usize) -> bool {
        self.streaming_from(standby) == Some(upstream) && self.all[standby].is_prefix_of(&self.all[upstream])
    }

    /// The process ends at once.
    pub fn kill(&mut self, server: usize) {
        let killed = &mut self.all[server];
        killed.is_up = false;
        killed.end_sessions();
    }

    /// A primary becomes a standby of another.
    pub fn demote(&mut self, server: usize, upstream: usize) {
        let demoted = &mut self.all[server];
        demoted.is_primary = false;
        demoted.upstream = Some(upstream);
        demoted.end_sessions();
    }
}
