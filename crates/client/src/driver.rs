//! The background task: one Submit stream, kept up. Owns: what is sent when, what is repeated, and the pauses between.
//!
//! Requests leave in the order of the calls. A request that is refused for the moment, or whose connection breaks, is
//! repeated, so later ones may be applied before it: who needs an order waits for the answer or sends a chain.

use crate::work::{Batch, Body, Sharer, Waiters, Work};
use crate::{Error, Options, repeat};
use futures::future::BoxFuture;
use ledger::EVENTS_PER_REQUEST_MAX;
use std::collections::VecDeque;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::pin::Pin;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::time::{Sleep, sleep_until};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};
use wire::convert;
use wire::v1::ledger_client::LedgerClient;
use wire::v1::{self, submit_reply};

/// How long the server may take to accept a stream.
const OPEN_TIMEOUT: Duration = Duration::from_secs(5);
/// The first pause after a broken connection; doubled up to the longest.
const PAUSE_FIRST: Duration = Duration::from_millis(10);
const PAUSE_LONGEST: Duration = Duration::from_secs(1);
/// Far enough that it never fires by itself.
const NEVER: Duration = Duration::from_secs(86_400);
/// Calls taken from the queue at a time.
const TAKE: usize = 8_192;

type Opening = BoxFuture<'static, Result<Streaming<v1::SubmitReply>, Status>>;

enum Link {
    Down,
    Opening(Opening, mpsc::Sender<v1::SubmitRequest>),
    Up(Box<Streaming<v1::SubmitReply>>, mpsc::Sender<v1::SubmitRequest>),
}

/// What woke the driver.
enum Event {
    Calls(usize),
    Opened(Result<Streaming<v1::SubmitReply>, Status>),
    Message(Result<Option<v1::SubmitReply>, Status>),
    Timer,
}

struct Driver {
    grpc: LedgerClient<Channel>,
    options: Options,
    link: Link,
    /// Calls not yet formed into requests.
    waiting: VecDeque<Work>,
    /// Requests to send again, oldest first.
    again: VecDeque<Batch>,
    /// Requests sent on the present stream, oldest first.
    sent: VecDeque<Batch>,
    next_sequence: u64,
    /// Nothing is sent and no stream opened before this moment.
    paused_until: Option<Instant>,
    pause: Duration,
    /// Not later than the earliest deadline of anything that waits.
    wake: Option<Instant>,
    /// Why nothing could be done lately.
    trouble: String,
    jitter: RandomState,
}

/// Runs until the last client is dropped and every call is answered.
pub(crate) async fn run(
    grpc: LedgerClient<Channel>,
    mut queue: mpsc::UnboundedReceiver<Work>,
    options: Options,
) {
    let mut driver = Driver::new(grpc, options);
    let mut timer = Box::pin(sleep_until((Instant::now() + NEVER).into()));
    let mut calls = Vec::new();
    let mut open = true;
    loop {
        driver.send_what_may_be_sent();
        if !open && driver.is_idle() {
            return;
        }
        match driver.next(&mut queue, &mut calls, open, timer.as_mut()).await {
            Event::Calls(0) => open = false,
            Event::Calls(_) => driver.take(calls.drain(..)),
            Event::Opened(stream) => driver.opened(stream),
            Event::Message(message) => driver.heard(message),
            Event::Timer => driver.woken(Instant::now()),
        }
    }
}

impl Driver {
    fn new(grpc: LedgerClient<Channel>, options: Options) -> Self {
        Self {
            grpc,
            options,
            link: Link::Down,
            waiting: VecDeque::new(),
            again: VecDeque::new(),
            sent: VecDeque::new(),
            next_sequence: 1,
            paused_until: None,
            pause: PAUSE_FIRST,
            wake: None,
            trouble: "no connection".to_owned(),
            jitter: RandomState::new(),
        }
    }

    fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.again.is_empty() && self.sent.is_empty()
    }

    async fn next(
        &mut self,
        queue: &mut mpsc::UnboundedReceiver<Work>,
        calls: &mut Vec<Work>,
        open: bool,
        mut timer: Pin<&mut Sleep>,
    ) -> Event {
        let wake = [self.wake, self.paused_until].into_iter().flatten().min();
        if let Some(wake) = wake.map(Into::into)
            && timer.deadline() != wake
        {
            timer.as_mut().reset(wake);
        }
        let link = &mut self.link;
        let heard = async {
            match link {
                Link::Down => std::future::pending().await,
                Link::Opening(opening, _) => Event::Opened(opening.await),
                Link::Up(stream, _) => Event::Message(stream.message().await),
            }
        };
        tokio::select! {
            event = heard => event,
            count = queue.recv_many(calls, TAKE), if open => Event::Calls(count),
            // A timer that fired stays so until it is set again: only who waits for a moment looks at it.
            () = timer, if wake.is_some() => Event::Timer,
        }
    }

    fn take(&mut self, calls: impl Iterator<Item = Work>) {
        for work in calls {
            let deadline = work.deadline();
            self.wake = Some(self.wake.map_or(deadline, |wake| wake.min(deadline)));
            self.waiting.push_back(work);
        }
    }

    fn send_what_may_be_sent(&mut self) {
        if self.paused_until.is_some() || (self.again.is_empty() && self.waiting.is_empty()) {
            return;
        }
        match &self.link {
            Link::Down => self.open(),
            Link::Opening(..) => {}
            Link::Up(_, sender) => {
                let sender = sender.clone();
                while self.send_one(&sender) {}
            }
        }
    }

    fn open(&mut self) {
        // Room for all that may be under way, so that sending never waits.
        let (sender, receiver) = mpsc::channel(self.options.requests.max(1));
        let mut grpc = self.grpc.clone();
        let opening = async move {
            let opened = grpc.submit(ReceiverStream::new(receiver));
            match tokio::time::timeout(OPEN_TIMEOUT, opened).await {
                Ok(answer) => answer.map(tonic::Response::into_inner),
                Err(_) => Err(Status::unavailable("the server takes no stream")),
            }
        };
        self.link = Link::Opening(Box::pin(opening), sender);
    }

    /// Sends the next request, if one may be sent now.
    fn send_one(&mut self, sender: &mpsc::Sender<v1::SubmitRequest>) -> bool {
        if self.sent.len() >= self.options.requests.max(1) {
            return false;
        }
        let Some(mut batch) = self.next_batch() else {
            return false;
        };
        batch.forget_expired();
        if batch.events() == 0 || matches!(batch.waiters, Waiters::Nobody) {
            return true;
        }
        batch.sequence = self.next_sequence;
        self.next_sequence += 1;
        let message = batch.message(Instant::now());
        if let Some(error) = batch.too_large(&message) {
            batch.waiters.fail(&error);
            return true;
        }
        if sender.try_send(message).is_err() {
            // The stream broke; its end arrives as an event. Nothing of this request left.
            self.again.push_front(batch);
            return false;
        }
        self.sent.push_back(batch);
        true
    }

    fn next_batch(&mut self) -> Option<Batch> {
        if let Some(batch) = self.again.pop_front() {
            return Some(batch);
        }
        let first = self.waiting.front()?;
        if !first.shares() {
            return Some(self.waiting.pop_front()?.into_batch(0));
        }
        let shared = self.sent.iter().filter(|batch| batch.is_shared()).count();
        if shared >= self.options.shared_requests.max(1) {
            return None;
        }
        let mut batch = self.waiting.pop_front()?.into_batch(0);
        while batch.events() < EVENTS_PER_REQUEST_MAX {
            match self.waiting.pop_front_if(|work| work.shares()) {
                Some(work) => batch.share(work),
                None => break,
            }
        }
        Some(batch)
    }

    fn opened(&mut self, stream: Result<Streaming<v1::SubmitReply>, Status>) {
        match (stream, std::mem::replace(&mut self.link, Link::Down)) {
            (Ok(stream), Link::Opening(_, sender)) => self.link = Link::Up(Box::new(stream), sender),
            (Ok(_), _) => {}
            (Err(status), _) => self.broken(&status.to_string()),
        }
    }

    /// The connection is gone: what was sent on it is in doubt, and is repeated.
    fn broken(&mut self, reason: &str) {
        reason.clone_into(&mut self.trouble);
        self.link = Link::Down;
        while let Some(mut batch) = self.sent.pop_back() {
            batch.doubtful = true;
            self.again.push_front(batch);
        }
        self.pause_for(self.pause);
        self.pause = (self.pause * 2).min(PAUSE_LONGEST);
    }

    /// Pauses for the delay and up to half as much again, so that many clients do not come back at once.
    fn pause_for(&mut self, delay: Duration) {
        let random = self.jitter.hash_one((Instant::now(), self.next_sequence)) % 1_000;
        let jitter = delay.mul_f64(0.0005) * u32::try_from(random).unwrap_or(0);
        let until = Instant::now() + delay + jitter;
        self.paused_until = Some(self.paused_until.map_or(until, |before| before.max(until)));
    }

    fn heard(&mut self, message: Result<Option<v1::SubmitReply>, Status>) {
        match message {
            Ok(Some(reply)) => {
                self.pause = PAUSE_FIRST;
                self.answered(reply);
            }
            Ok(None) => self.broken("the server ended the stream"),
            Err(status) => self.broken(&status.to_string()),
        }
    }

    fn answered(&mut self, reply: v1::SubmitReply) {
        let Some(batch) = self.sent.pop_front_if(|batch| batch.sequence == reply.sequence) else {
            self.broken("the server answered out of order");
            return;
        };
        match reply.body {
            Some(submit_reply::Body::Failure(failure)) => self.failed(batch, &failure),
            Some(body) => self.settle(batch, body),
            None => batch
                .waiters
                .fail(&Error::Protocol("the server's answer is empty".to_owned())),
        }
    }

    /// There is no result: repeats what may be repeated, and tells the caller of the rest.
    fn failed(&mut self, mut batch: Batch, failure: &v1::Failure) {
        batch.doubtful |= failure.outcome_unknown;
        failure.message.clone_into(&mut self.trouble);
        match Code::from(i32::try_from(failure.grpc_code).unwrap_or(i32::MAX)) {
            Code::ResourceExhausted | Code::Unavailable => {
                self.pause_for(Duration::from_millis(u64::from(failure.retry_after_ms.max(1))));
                self.repeat_later(batch);
            }
            Code::DeadlineExceeded => self.repeat_later(batch),
            Code::Internal | Code::Unknown => batch.waiters.fail(&Error::Unknown),
            _ => batch.waiters.fail(&Error::Invalid(failure.message.clone())),
        }
    }

    /// Behind those that were sent before it, in front of all others.
    fn repeat_later(&mut self, batch: Batch) {
        let place = self
            .again
            .partition_point(|other| other.sequence < batch.sequence);
        self.again.insert(place, batch);
        self.expire(Instant::now());
    }

    fn settle(&self, batch: Batch, body: submit_reply::Body) {
        let Batch {
            body: asked,
            waiters,
            doubtful,
            ..
        } = batch;
        match (waiters, body, asked) {
            (Waiters::Shared(waiters), submit_reply::Body::Transfers(reply), _) => share_out(waiters, &reply),
            (
                Waiters::Transfers(waiter),
                submit_reply::Body::Transfers(reply),
                Body::Transfers(asked, metadata),
            ) => {
                let replies = read_all(&reply.results, asked.len(), convert::result_from_wire);
                match replies {
                    Ok(replies) if doubtful && repeat::has_repeated_chain(&asked, &replies) => {
                        let grpc = self.grpc.clone();
                        tokio::spawn(async move {
                            let _ =
                                waiter.send(repeat::complete_chains(grpc, &asked, &metadata, replies).await);
                        });
                    }
                    replies => drop(waiter.send(replies)),
                }
            }
            (
                Waiters::Accounts(waiter),
                submit_reply::Body::Accounts(reply),
                Body::Accounts(asked, metadata),
            ) => {
                let replies = read_all(&reply.results, asked.len(), convert::account_result_from_wire);
                match replies {
                    Ok(replies) if doubtful && repeat::has_repeated_account_chain(&asked, &replies) => {
                        let grpc = self.grpc.clone();
                        tokio::spawn(async move {
                            let _ = waiter.send(
                                repeat::complete_account_chains(grpc, &asked, &metadata, replies).await,
                            );
                        });
                    }
                    replies => drop(waiter.send(replies)),
                }
            }
            (Waiters::Described(waiter), submit_reply::Body::Ledger(reply), _) => {
                let result = u16::try_from(reply.result)
                    .ok()
                    .and_then(ledger::DescribeLedgerResult::from_code);
                let _ = waiter.send(result.ok_or_else(|| Error::Protocol("unknown result".to_owned())));
            }
            (Waiters::Nobody, _, _) => {}
            (waiters, _, _) => {
                waiters.fail(&Error::Protocol(
                    "the answer is of another kind than the request".to_owned(),
                ));
            }
        }
    }

    fn woken(&mut self, now: Instant) {
        if self.paused_until.is_some_and(|until| until <= now) {
            self.paused_until = None;
        }
        self.expire(now);
    }

    /// Tells everybody whose deadline has passed, and finds the next one.
    fn expire(&mut self, now: Instant) {
        let mut wake: Option<Instant> = None;
        let mut earlier = |deadline: Instant| wake = Some(wake.map_or(deadline, |wake| wake.min(deadline)));
        for batch in &mut self.sent {
            if let Some(deadline) = batch.expire(now, true, &self.trouble) {
                earlier(deadline);
            }
        }
        self.again
            .retain_mut(|batch| match batch.expire(now, false, &self.trouble) {
                Some(deadline) => {
                    earlier(deadline);
                    true
                }
                None => false,
            });
        for _ in 0..self.waiting.len() {
            let Some(work) = self.waiting.pop_front() else {
                break;
            };
            if work.deadline() <= now {
                work.refuse(&Error::NotDone(self.trouble.clone()));
            } else {
                earlier(work.deadline());
                self.waiting.push_back(work);
            }
        }
        self.wake = wake;
    }
}

/// Gives each caller its own result.
fn share_out(waiters: Vec<Sharer>, reply: &v1::CreateTransfersReply) {
    if waiters.len() != reply.results.len() {
        Waiters::Shared(waiters).fail(&Error::Protocol(MISCOUNT.to_owned()));
        return;
    }
    for (waiter, result) in waiters.into_iter().zip(&reply.results) {
        if let Some((_, waiter)) = waiter {
            let reply = convert::result_from_wire(result).map_err(|error| Error::Protocol(error.to_string()));
            let _ = waiter.send(reply);
        }
    }
}

const MISCOUNT: &str = "the server gave another number of results than there were events";

fn read_all<W, T>(
    results: &[W],
    expected: usize,
    read: impl Fn(&W) -> Result<T, convert::ConvertError>,
) -> Result<Vec<T>, Error> {
    if results.len() != expected {
        return Err(Error::Protocol(MISCOUNT.to_owned()));
    }
    results
        .iter()
        .map(|result| read(result).map_err(|error| Error::Protocol(error.to_string())))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic::transport::Endpoint;

    #[tokio::test]
    async fn a_driver_that_waits_for_nothing_is_not_woken_by_a_timer_that_fired() {
        let channel = Endpoint::from_static("http://127.0.0.1:1").connect_lazy();
        let mut driver = Driver::new(LedgerClient::new(channel), Options::default());
        let (_calls, mut queue) = mpsc::unbounded_channel();
        let mut timer = Box::pin(sleep_until(Instant::now().into()));
        let mut calls = Vec::new();
        driver.wake = Some(Instant::now());
        let fired = driver.next(&mut queue, &mut calls, true, timer.as_mut()).await;
        assert!(matches!(fired, Event::Timer));
        driver.woken(Instant::now());
        assert!(driver.wake.is_none(), "nothing waits");
        let idle = driver.next(&mut queue, &mut calls, true, timer.as_mut());
        assert!(futures::poll!(std::pin::pin!(idle)).is_pending());
    }
}
