//! What all clients of a round share: the clock, and the record of what each did and heard.

use super::requests::Request;
use crate::gaps::{Mark, MarkKind};
use crate::history::{Call, Consistency, Heard, Moment, Read};
use anyhow::Result;
use ledger::TimestampNs;
use serde_json::json;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// The record of one round.
pub struct Record {
    started: Instant,
    /// What the clock of the day said then.
    begun: TimestampNs,
    stopped: AtomicBool,
    heard: Mutex<Everything>,
}

/// Everything that was done and heard.
#[derive(Clone, Default)]
pub struct Everything {
    /// Attempts at transfers.
    pub calls: Vec<Call>,
    /// Reads that were answered.
    pub reads: Vec<Read>,
    /// When something was answered, and to whom.
    pub marks: Vec<Mark>,
    /// Requests that were given up with an outcome that nobody knows.
    pub unknown: Vec<Request>,
    /// Answers that no fault explains.
    pub complaints: Vec<String>,
}

impl Default for Record {
    fn default() -> Self {
        Self {
            started: Instant::now(),
            begun: wall(),
            stopped: AtomicBool::new(false),
            heard: Mutex::default(),
        }
    }
}

impl Record {
    /// Nanoseconds since the round began, by one clock for all clients.
    pub fn now(&self) -> Moment {
        let elapsed = self.started.elapsed().as_nanos();
        Moment(u64::try_from(elapsed).expect("a round ends within 500 years"))
    }

    /// When the round began, by the clock of the day.
    pub fn begun(&self) -> TimestampNs {
        self.begun
    }

    /// Ends the clients after what they are at.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
    }

    /// Whether they shall end.
    pub fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::SeqCst)
    }

    /// Enters one attempt at a request.
    pub fn attempt(&self, client: u16, attempt: &Attempt<'_>) {
        let calls = attempt.request.transfers.iter().zip(attempt.heard);
        let calls = calls.map(|(transfer, heard)| Call {
            transfer: *transfer,
            begun: attempt.begun,
            ended: attempt.ended,
            heard: *heard,
            may_have_repeated: attempt.may_have_repeated,
            chain: attempt.request.chain,
        });
        let answered = attempt.heard.iter().any(|heard| matches!(heard, Heard::Reply(_)));
        let mut all = self.heard.lock().expect("no holder panics");
        all.calls.extend(calls);
        if answered {
            all.marks.push(Mark {
                kind: MarkKind::Write,
                client,
                at: attempt.ended,
            });
        }
    }

    /// Enters an answered read.
    pub fn read(&self, client: u16, read: Read) {
        let kind = match read.consistency {
            Consistency::Linearizable => MarkKind::Linearizable,
            Consistency::Bounded(_) => MarkKind::Bounded,
            Consistency::Any => MarkKind::Any,
        };
        let mut all = self.heard.lock().expect("no holder panics");
        all.reads.push(read);
        all.marks.push(Mark {
            kind,
            client,
            at: read.ended,
        });
    }

    /// Enters a request that its client gave up.
    pub fn unknown(&self, request: &Request) {
        self.heard
            .lock()
            .expect("no holder panics")
            .unknown
            .push(request.clone());
    }

    /// Enters an answer that no fault explains.
    pub fn complain(&self, text: String) {
        self.heard.lock().expect("no holder panics").complaints.push(text);
    }

    /// When a write was answered last.
    pub fn last_write(&self) -> Option<Moment> {
        let all = self.heard.lock().expect("no holder panics");
        let writes = all.marks.iter().rev().find(|mark| mark.kind == MarkKind::Write);
        writes.map(|mark| mark.at)
    }

    /// All of it, as it is now.
    pub fn everything(&self) -> Everything {
        self.heard.lock().expect("no holder panics").clone()
    }

    /// Takes the requests that were given up.
    pub fn take_unknown(&self) -> Vec<Request> {
        std::mem::take(&mut self.heard.lock().expect("no holder panics").unknown)
    }
}

fn wall() -> TimestampNs {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    TimestampNs(u64::try_from(since.as_nanos()).expect("the year is below 2554"))
}

/// One attempt at a request.
pub struct Attempt<'a> {
    /// What was asked.
    pub request: &'a Request,
    /// Before it was sent.
    pub begun: Moment,
    /// After the answer came, or was given up.
    pub ended: Moment,
    /// For each transfer.
    pub heard: &'a [Heard],
    /// Whether the client's library may have sent it more than once.
    pub may_have_repeated: bool,
}

/// Writes calls, reads and when each client was answered, one JSON object a line, for those who look into a round that failed.
///
/// # Errors
/// The disk refuses.
pub fn write(path: &Path, all: &Everything) -> Result<()> {
    let mut file = BufWriter::new(std::fs::File::create(path)?);
    for call in &all.calls {
        let line = json!({
            "begun_ns": call.begun.0,
            "ended_ns": call.ended.0,
            "id": call.transfer.id.0.to_string(),
            "chain": call.chain,
            "asked": format!("{:?}", call.transfer),
            "heard": format!("{:?}", call.heard),
        });
        writeln!(file, "{line}")?;
    }
    for read in &all.reads {
        let line = json!({
            "begun_ns": read.begun.0,
            "ended_ns": read.ended.0,
            "account": read.account.0.to_string(),
            "consistency": format!("{:?}", read.consistency),
            "seen": format!("{:?}", read.seen),
        });
        writeln!(file, "{line}")?;
    }
    for mark in &all.marks {
        let line = json!({
            "at_ns": mark.at.0,
            "client": mark.client,
            "answered": format!("{:?}", mark.kind),
        });
        writeln!(file, "{line}")?;
    }
    file.flush()?;
    Ok(())
}
