//! What a new writer reports of the change that made it one (pure). Owns: what is in a report, and when it is complete. Must
//! not: ask anybody; what was seen is an argument.

use journal::{Block, BlockHash, Head};
use journal_postgres::{PrimaryView, StandbyView};
use ledger::{Height, TimestampNs};
use node::BooksCheck;
use serde::Serialize;
use std::collections::BTreeSet;
use std::time::Duration;

/// Version of the form.
const FORMAT: u32 = 1;
/// A member that said nothing for so long counts as away.
const SILENT_AFTER: Duration = Duration::from_secs(3);
/// A member further behind than this has not caught up.
const BEHIND_MAX: u64 = 2_000;
/// A standby that has so much of the log left to flush has not caught up.
const STANDBY_BEHIND_MAX: u64 = 64 << 20;

/// Why there is another writer, as far as the new one knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Reason {
    /// Nobody wrote before.
    FirstTerm,
    /// Another server of PostgreSQL takes writes now: the writer's connection broke.
    PrimaryChanged,
    /// The former writer handed over, by command or as it was stopped.
    HandedOver,
    /// The former writer could not go on, and said so.
    SteppedDown,
    /// The former writer ended without a word: it was killed, or cut off.
    LeaseLost,
    /// This node has not heard who wrote before, nor why there is no more.
    Unknown,
}

/// One side of the seam.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Side {
    /// The term.
    pub(crate) epoch: u64,
    /// The term's writer, as blocks name it.
    pub(crate) writer: String,
    /// The node, where that is known.
    pub(crate) node: Option<String>,
    /// The last block of the former term, or the first of this one.
    pub(crate) height: u64,
    /// The timestamp of its last event.
    pub(crate) stamped_at_ms: u64,
}

/// What a check came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "result")]
pub(crate) enum Check {
    /// It holds.
    Ok {
        /// What was looked at.
        seen: String,
    },
    /// It does not.
    Failed {
        /// What is wrong.
        problem: String,
    },
    /// It could not be looked at yet.
    NotDone {
        /// Why.
        problem: String,
    },
}

/// PostgreSQL as the new writer found it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Primary {
    /// `host:port` of the server that takes writes.
    pub(crate) server: String,
    /// The one before, where this node knew of one.
    pub(crate) before: Option<String>,
    /// Standbys of the topology that stream and that commits count.
    pub(crate) synchronous: Vec<String>,
    /// As many as a commit must wait for.
    pub(crate) needed: u32,
    /// Whether there are so many.
    pub(crate) quorum_restored: bool,
    /// Who streams, and how far behind.
    pub(crate) standbys: Vec<Standby>,
}

/// One who streams from the primary.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Standby {
    name: String,
    streams: bool,
    synchronous: bool,
    behind_bytes: Option<u64>,
}

/// Another member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Follower {
    /// Its name.
    pub(crate) name: String,
    /// What it had applied; none when it has not been heard of.
    pub(crate) height: Option<u64>,
    /// How many blocks it lacked then.
    pub(crate) behind_blocks: Option<u64>,
    /// How long ago it said so.
    pub(crate) heard_ms_ago: Option<u64>,
}

/// How far the report is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    /// It is looked on until all is well.
    Open,
    /// All is well again.
    Completed,
    /// It was not in time.
    StillDegraded,
    /// The chain or the books are not as they must be: somebody must look.
    Failed,
}

/// The report of one change of the writer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Report {
    pub(crate) format: u32,
    /// The new writer, which made it.
    pub(crate) node: String,
    /// The new term.
    pub(crate) epoch: u64,
    pub(crate) reason: Reason,
    pub(crate) outcome: Outcome,
    pub(crate) before: Option<Side>,
    pub(crate) after: Side,
    /// When the first block of this term was final, by the ledger's time.
    pub(crate) writes_since_ms: u64,
    /// From the last block of the former term to the first final one of this one. Nobody need have written meanwhile.
    pub(crate) gap_ms: Option<u64>,
    /// From being elected to writing.
    pub(crate) took_ms: u64,
    pub(crate) chain: Check,
    pub(crate) books: Check,
    pub(crate) primary: Option<Primary>,
    pub(crate) followers: Vec<Follower>,
    /// What is not as it should be, in words.
    pub(crate) degraded: Vec<String>,
    /// From writing to the outcome, or until now.
    pub(crate) watched_ms: u64,
}

/// What is known when a term has begun.
#[derive(Clone, Debug)]
pub(crate) struct Beginning {
    pub(crate) node: String,
    /// Where the journal stood as this node saw it before it was promoted.
    pub(crate) had: Head,
    /// The term's first block.
    pub(crate) first: Head,
    /// When that was final.
    pub(crate) final_at: TimestampNs,
    pub(crate) took: Duration,
    pub(crate) former_node: Option<String>,
    /// Whether it stepped down, if it left word; otherwise it handed over.
    pub(crate) stepped_down: Option<bool>,
    /// The server that took writes before.
    pub(crate) primary_before: Option<String>,
}

/// Goes along a chain that is read back, block by block.
#[derive(Debug, Default)]
pub(crate) struct ChainCheck {
    last: Option<Head>,
    /// The last block of another term than the one that begins.
    before: Option<Head>,
    blocks: u64,
    from: Height,
    found: BTreeSet<(Height, [u8; 32])>,
    problem: Option<String>,
}

impl ChainCheck {
    /// The next block. `wanted` are blocks that must be found; `epoch` is the term that begins.
    pub(crate) fn take(&mut self, block: &Block, wanted: &[Head], epoch: u64) {
        let head = Head::of(block);
        self.blocks += 1;
        match &self.last {
            None => self.from = head.height,
            Some(last) if self.problem.is_none() => {
                let first = block.timestamp;
                self.problem = broken(last, &head, block.previous, first);
            }
            Some(_) => {}
        }
        if wanted
            .iter()
            .any(|want| want.height == head.height && want.hash == head.hash)
        {
            self.found.insert((head.height, head.hash.0));
        }
        if head.epoch < epoch {
            self.before = Some(head);
        }
        self.last = Some(head);
    }

    /// The chain cannot be read on.
    pub(crate) fn fail(&mut self, problem: String) {
        self.problem.get_or_insert(problem);
    }

    /// What it came to, and the last block of the former term.
    pub(crate) fn finish(self, wanted: &[Head]) -> (Check, Option<Head>) {
        let missing = wanted
            .iter()
            .find(|want| want.height.0 > 0 && !self.found.contains(&(want.height, want.hash.0)));
        let problem = self.problem.or_else(|| {
            let want = missing?;
            Some(format!(
                "block {} is not the one that was final here",
                want.height
            ))
        });
        let last = self.last.map_or(Height(0), |last| last.height);
        let check = match problem {
            Some(problem) => Check::Failed { problem },
            None => Check::Ok {
                seen: format!("{} blocks, {} to {last}", self.blocks, self.from),
            },
        };
        (check, self.before)
    }
}

/// What is wrong between two blocks that follow each other.
fn broken(last: &Head, next: &Head, previous: BlockHash, first: TimestampNs) -> Option<String> {
    let height = next.height;
    if height.0 != last.height.0 + 1 {
        return Some(format!("after block {} comes {height}", last.height));
    }
    if previous != last.hash {
        return Some(format!("block {height} does not hold the hash of the one before"));
    }
    if next.epoch < last.epoch || next.epoch == last.epoch && next.writer != last.writer {
        return Some(format!(
            "block {height} is of term {} after {}",
            next.epoch, last.epoch
        ));
    }
    (first <= last.timestamp).then(|| format!("block {height} is stamped no later than the one before"))
}

/// Whether the ledgers are even.
pub(crate) fn books(check: &BooksCheck) -> Check {
    match check.uneven.is_empty() {
        true => Check::Ok {
            seen: format!(
                "{} ledgers of {} accounts, at height {}",
                check.ledgers, check.accounts, check.height
            ),
        },
        false => {
            let ledgers: Vec<String> = check.uneven.iter().map(ToString::to_string).collect();
            Check::Failed {
                problem: format!(
                    "debits are not credits in ledger {} at height {}",
                    ledgers.join(", "),
                    check.height
                ),
            }
        }
    }
}

/// PostgreSQL as it is seen; `names` are the topology's standbys, of which `needed` must have a commit.
pub(crate) fn primary(view: &PrimaryView, before: Option<String>, names: &[String], needed: u32) -> Primary {
    let counts = |standby: &&StandbyView| {
        standby.is_streaming && standby.is_synchronous && names.contains(&standby.name)
    };
    let synchronous = view.standbys.iter().filter(counts);
    let synchronous: BTreeSet<String> = synchronous.map(|standby| standby.name.clone()).collect();
    Primary {
        server: view.address.clone(),
        before,
        needed,
        quorum_restored: synchronous.len() >= needed as usize,
        synchronous: synchronous.into_iter().collect(),
        standbys: view
            .standbys
            .iter()
            .filter(|standby| names.contains(&standby.name))
            .map(|standby| Standby {
                name: standby.name.clone(),
                streams: standby.is_streaming,
                synchronous: standby.is_synchronous,
                behind_bytes: standby.behind_bytes,
            })
            .collect(),
    }
}

/// A member by what it said last.
pub(crate) fn follower(name: &str, said: Option<(Height, Duration)>, height: Height) -> Follower {
    Follower {
        name: name.to_owned(),
        height: said.map(|(at, _)| at.0),
        behind_blocks: said.map(|(at, _)| height.0.saturating_sub(at.0)),
        heard_ms_ago: said.map(|(_, age)| age.as_millis() as u64),
    }
}

impl Report {
    /// As far as it is known when the term has begun and the chain was read back.
    pub(crate) fn new(beginning: &Beginning, chain: Check, before: Option<Head>) -> Self {
        let millis = |time: TimestampNs| time.0 / 1_000_000;
        let side = |head: &Head, node: Option<String>| Side {
            epoch: head.epoch,
            writer: format!("{:032x}", head.writer.0),
            node,
            height: head.height.0,
            stamped_at_ms: millis(head.timestamp),
        };
        let reason = match (&before, beginning.stepped_down, &beginning.former_node) {
            (None, ..) => Reason::FirstTerm,
            (Some(_), Some(true), _) => Reason::SteppedDown,
            (Some(_), Some(false), _) => Reason::HandedOver,
            (Some(_), None, Some(_)) => Reason::LeaseLost,
            (Some(_), None, None) => Reason::Unknown,
        };
        Self {
            format: FORMAT,
            node: beginning.node.clone(),
            epoch: beginning.first.epoch,
            reason,
            outcome: Outcome::Open,
            before: before.map(|head| side(&head, beginning.former_node.clone())),
            after: side(&beginning.first, Some(beginning.node.clone())),
            writes_since_ms: millis(beginning.final_at),
            gap_ms: before
                .map(|head| millis(TimestampNs(beginning.final_at.0.saturating_sub(head.timestamp.0)))),
            took_ms: beginning.took.as_millis() as u64,
            chain,
            books: Check::NotDone {
                problem: "not looked at yet".to_owned(),
            },
            primary: None,
            followers: Vec::new(),
            degraded: Vec::new(),
            watched_ms: 0,
        }
    }

    /// What was seen of PostgreSQL since.
    pub(crate) fn saw_primary(&mut self, primary: Primary) {
        if primary
            .before
            .as_ref()
            .is_some_and(|before| *before != primary.server)
        {
            self.reason = Reason::PrimaryChanged;
        }
        self.primary = Some(primary);
    }

    /// The primary gives no answer now: what was seen of it may not hold any more.
    pub(crate) fn lost_primary(&mut self) {
        self.primary = None;
    }

    /// Says what is not as it should be, and what the report comes to when it is watched for so long and no longer than
    /// `patience`.
    pub(crate) fn judge(&mut self, names: &[String], watched: Duration, patience: Duration) {
        self.watched_ms = watched.as_millis() as u64;
        self.degraded.clear();
        let checks = [("the chain", &self.chain), ("the books", &self.books)];
        let mut has_failed = false;
        for (what, check) in checks {
            match check {
                Check::Ok { .. } => {}
                Check::Failed { problem } => {
                    has_failed = true;
                    self.degraded.push(format!("{what}: {problem}"));
                }
                Check::NotDone { problem } => self.degraded.push(format!("{what}: {problem}")),
            }
        }
        match &self.primary {
            None => self.degraded.push("the primary cannot be asked".to_owned()),
            Some(primary) => self.degraded.extend(lacks(primary, names)),
        }
        for follower in &self.followers {
            // What it said before this term began says nothing of how it is now.
            let silent = (SILENT_AFTER.as_millis() as u64).min(self.watched_ms);
            let name = &follower.name;
            if follower.heard_ms_ago.is_none_or(|ms| ms > silent) {
                self.degraded.push(format!("node {name} does not answer"));
            } else if let Some(behind) = follower.behind_blocks.filter(|behind| *behind > BEHIND_MAX) {
                self.degraded
                    .push(format!("node {name} is {behind} blocks behind"));
            }
        }
        self.outcome = match (has_failed, self.degraded.is_empty()) {
            (true, _) => Outcome::Failed,
            (false, true) => Outcome::Completed,
            (false, false) if watched >= patience => Outcome::StillDegraded,
            (false, false) => Outcome::Open,
        };
    }
}

/// What is missing around the primary. One of the names may be its own, if all of the topology's servers are named.
fn lacks(primary: &Primary, names: &[String]) -> Vec<String> {
    let mut lacks = Vec::new();
    if !primary.quorum_restored {
        let (there, needed) = (primary.synchronous.len(), primary.needed);
        lacks.push(format!(
            "{there} synchronous standbys stream, a commit needs {needed}"
        ));
    }
    let streams = |name: &&String| {
        let mut standbys = primary.standbys.iter();
        !standbys.any(|standby| standby.name == **name && standby.streams)
    };
    let missing: Vec<&str> = names.iter().filter(streams).map(String::as_str).collect();
    if missing.len() > 1 {
        lacks.push(format!(
            "of {} all but one should stream, and do not",
            missing.join(", ")
        ));
    }
    for standby in &primary.standbys {
        if let Some(bytes) = standby.behind_bytes.filter(|bytes| *bytes > STANDBY_BEHIND_MAX) {
            lacks.push(format!("standby {} is {bytes} bytes behind", standby.name));
        }
    }
    lacks
}

#[cfg(test)]
#[path = "report_tests.rs"]
mod tests;
