//! The journal of a node on the fake servers: the rules of `journal-postgres`, with what is asked of the server one step at a
//! time. Owns: the writer's side.
//!
//! Nothing may block here, so `AppendError::Full` of kind `WouldBlock` says that the server has not answered: the same call is
//! to be made again.

use super::reader::FakeReader;
use super::servers::{Answer, Servers, Session, Statement};
use super::wal::Row;
use crate::cluster::ClusterCanary;
use journal::{
    AppendError, Block, BlockReader, Draft, HEADER_BYTES, Head, Header, Journal, Opener, Sealer, ShardId,
    Term, WriterId, epoch_draft,
};
use ledger::{Height, TimestampNs};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use storage::KeyRing;

/// The servers as nodes share them.
pub type Shared = Arc<Mutex<Servers>>;

/// What was asked of the server and is not answered.
enum Asked {
    Nothing,
    Claim {
        statement: u64,
    },
    Append {
        statement: u64,
        head: Head,
    },
    /// The commit succeeded; so far the standbys must have flushed.
    Flush {
        position: usize,
        head: Head,
    },
}

/// See the module.
pub struct FakeJournal {
    servers: Shared,
    node: usize,
    keys: KeyRing,
    sealer: Sealer,
    session: Option<Session>,
    term: Option<Term>,
    head: Head,
    sealed: Vec<u8>,
    asked: Asked,
    reader: Arc<FakeReader>,
    canary: Option<ClusterCanary>,
}

fn pending() -> AppendError {
    AppendError::Full(io::ErrorKind::WouldBlock.into())
}

/// Whether an error says only that the server has not answered.
pub fn is_pending(error: &AppendError) -> bool {
    matches!(error, AppendError::Full(why) if why.kind() == io::ErrorKind::WouldBlock)
}

/// A sealed block in clear.
pub fn open(keys: &KeyRing, sealed: &[u8]) -> Block {
    let header = Header::decode(sealed).expect("a sealed block begins with its header");
    let mut ciphertext = sealed[HEADER_BYTES..].to_vec();
    Opener::new(keys.clone())
        .open(&header, &mut ciphertext)
        .expect("nothing spoils a sealed block here")
}

impl FakeJournal {
    /// For a node; connects when a term begins.
    pub fn new(servers: Shared, node: usize, keys: KeyRing, canary: Option<ClusterCanary>) -> Self {
        Self {
            reader: Arc::new(FakeReader::of_writer(servers.clone(), node, keys.clone(), canary)),
            sealer: Sealer::new(&keys, ShardId(0)),
            servers,
            node,
            keys,
            session: None,
            term: None,
            head: Head::default(),
            sealed: Vec::new(),
            asked: Asked::Nothing,
            canary,
        }
    }

    /// Gives up; the outcome of what is under way is unknown.
    pub fn abort(&mut self) {
        if let Some(session) = self.session.take() {
            self.servers().close(session);
        }
    }

    /// The blocks from `from` to the head, as the server of this session has them.
    pub fn chain(&self, from: Height) -> Vec<Block> {
        let servers = self.servers();
        let server = self.session.expect("the term has begun on it").server;
        (from.0..=self.head.height.0)
            .filter_map(|height| servers.all[server].row(Height(height)))
            .map(|row| open(&self.keys, &row.sealed))
            .collect()
    }

    fn servers(&self) -> MutexGuard<'_, Servers> {
        self.servers.lock().expect("one thread")
    }

    /// The session, while it holds.
    fn session(&mut self) -> Option<Session> {
        let session = self.session?;
        let holds = self.servers().holds(self.node, session);
        if !holds {
            self.session = None;
        }
        self.session
    }

    fn send(&mut self, term: Term, draft: &Draft) -> Result<(), AppendError> {
        let Some(session) = self.session() else {
            return Err(AppendError::SteppedDown);
        };
        self.sealed.clear();
        let header = self.sealer.seal(&self.head, term, draft, &mut self.sealed);
        let row = Row {
            height: header.height,
            epoch: term.epoch,
            writer: term.writer,
            sealed: self.sealed.as_slice().into(),
        };
        let statement = Statement::Append {
            row,
            before: (self.head.epoch, self.head.writer),
            claimant: term.writer,
        };
        let head = Head {
            height: header.height,
            hash: header.hash,
            epoch: term.epoch,
            writer: term.writer,
            timestamp: draft.last_timestamp(),
        };
        let statement = self.servers().send(session, statement);
        self.asked = Asked::Append { statement, head };
        Err(pending())
    }

    /// Looks for the answers to what was sent. `Ok(None)`: the row is surely not there.
    fn settle(&mut self) -> Result<Option<Head>, AppendError> {
        let session = self.session();
        if let Asked::Append { statement, head } = self.asked {
            let Some(session) = session else {
                return Err(AppendError::Unknown);
            };
            let answered = self.servers().answer(statement);
            let answered = answered.ok_or_else(pending)?;
            if answered.is_warned && !self.trusts_commits() {
                return Err(AppendError::Unknown);
            }
            match answered.answer {
                Answer::Inserted => {
                    let position = self.servers().all[session.server].log.len();
                    self.asked = Asked::Flush { position, head };
                }
                _ => {
                    self.asked = Asked::Nothing;
                    return Ok(None);
                }
            }
        }
        let Asked::Flush { position, head } = self.asked else {
            return Err(AppendError::SteppedDown);
        };
        let Some(session) = session else {
            return Err(AppendError::Unknown);
        };
        if !self.trusts_commits() {
            let servers = self.servers();
            let server = &servers.all[session.server];
            if server.is_loosened {
                return Err(AppendError::Unknown);
            }
            if !server.is_flushed(position) {
                return Err(pending());
            }
        }
        self.asked = Asked::Nothing;
        self.head = head;
        self.reader.reached(&head);
        Ok(Some(head))
    }

    fn trusts_commits(&self) -> bool {
        self.canary == Some(ClusterCanary::TrustedCommit)
    }

    /// Ends the term with an error; what is under way stays unknown.
    fn stop(&mut self, error: AppendError) -> AppendError {
        if !is_pending(&error) {
            self.abort();
            self.term = None;
            self.asked = Asked::Nothing;
        }
        error
    }

    fn step_append(&mut self, term: Term, draft: &mut Draft) -> Result<Head, AppendError> {
        if self.term != Some(term) {
            return Err(AppendError::SteppedDown);
        }
        if matches!(self.asked, Asked::Nothing) {
            self.send(term, draft)?;
        }
        let head = self.settle()?.ok_or(AppendError::SteppedDown)?;
        draft.clear();
        Ok(head)
    }

    fn step_begin(&mut self, writer: WriterId, now: TimestampNs) -> Result<Term, AppendError> {
        match (self.term, &self.asked) {
            (None, Asked::Nothing) => self.claim(writer),
            (None, Asked::Claim { statement }) => {
                let statement = *statement;
                if self.session().is_none() {
                    return Err(AppendError::SteppedDown);
                }
                let answered = self.servers().answer(statement).ok_or_else(pending)?;
                let Answer::Claimed(epoch) = answered.answer else {
                    return Err(AppendError::SteppedDown);
                };
                if answered.is_warned {
                    return Err(AppendError::SteppedDown);
                }
                self.term = Some(Term { epoch, writer });
                self.asked = Asked::Nothing;
                Err(pending())
            }
            (Some(term), Asked::Nothing) => {
                let last = self.visible_block()?;
                self.head = last.as_ref().map(Head::of).unwrap_or_default();
                if self.head.epoch >= term.epoch {
                    return Err(AppendError::SteppedDown);
                }
                self.send(term, &epoch_draft(now, last.as_ref()))?;
                Err(pending())
            }
            (Some(term), _) => {
                if self.settle()?.is_some() {
                    return Ok(term);
                }
                // Another block stands there, or another claim.
                let session = self.session().ok_or(AppendError::SteppedDown)?;
                let claim = self.servers().all[session.server].claim();
                match claim.is_some_and(|(_, claimant)| claimant == writer) {
                    true => Err(pending()),
                    false => Err(AppendError::SteppedDown),
                }
            }
            (None, _) => Err(AppendError::SteppedDown),
        }
    }

    fn claim(&mut self, writer: WriterId) -> Result<Term, AppendError> {
        let session = self.servers().connect(self.node, true);
        let session = session.ok_or(AppendError::SteppedDown)?;
        self.session = Some(session);
        let mut servers = self.servers();
        let above = servers.all[session.server].top().map_or(0, |row| row.epoch);
        let statement = servers.send(session, Statement::Claim { above, writer });
        drop(servers);
        self.asked = Asked::Claim { statement };
        Err(pending())
    }

    fn visible_block(&mut self) -> Result<Option<Block>, AppendError> {
        let session = self.session().ok_or(AppendError::SteppedDown)?;
        let servers = self.servers();
        let top = servers.all[session.server].top();
        Ok(top.map(|row| open(&self.keys, &row.sealed)))
    }
}

impl Journal for FakeJournal {
    fn head(&self) -> Head {
        self.head
    }

    fn begin_term(&mut self, writer: WriterId, now: TimestampNs) -> Result<Term, AppendError> {
        self.step_begin(writer, now).map_err(|error| self.stop(error))
    }

    fn append(&mut self, term: Term, draft: &mut Draft) -> Result<Head, AppendError> {
        self.step_append(term, draft).map_err(|error| self.stop(error))
    }

    fn sealed(&self) -> Option<&[u8]> {
        Some(&self.sealed)
    }

    fn reader(&self) -> Arc<dyn BlockReader> {
        self.reader.clone()
    }
}
