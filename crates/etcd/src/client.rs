//! The client: channels to all endpoints, and which is asked first.

use crate::EtcdError;
use crate::keys::LeaseId;
use crate::proto::kv_client::KvClient;
use crate::proto::lease_client::LeaseClient;
use crate::proto::watch_client::WatchClient;
use crate::proto::watch_request::RequestUnion;
use crate::proto::{
    LeaseGrantRequest, LeaseKeepAliveRequest, LeaseKeepAliveResponse, LeaseRevokeRequest, RangeRequest,
    RangeResponse, ResponseHeader, TxnRequest, TxnResponse, WatchCreateRequest, WatchRequest, WatchResponse,
};
use futures::stream::FuturesUnordered;
use std::future::Future;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_stream::StreamExt as _;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status, Streaming};

/// etcd ends connections that ask more often than every five seconds whether it is alive.
const PING: Duration = Duration::from_secs(6);

/// How long an endpoint may be silent until another is asked beside it: more than a lost packet or a busy disk costs as a rule, and
/// a small part of the shortest lease.
const HEDGE: Duration = Duration::from_millis(200);
/// After so many questions in a row that another endpoint answered first, that one is asked first.
const SLOW_MAX: usize = 2;

/// All endpoints.
pub struct Client {
    endpoints: Vec<(String, Channel)>,
    /// Which endpoint is asked first: the one that answered last.
    current: watch::Sender<usize>,
    /// Questions in a row for which the current endpoint was too slow.
    slow: AtomicUsize,
    attempt: Duration,
    cluster: OnceLock<u64>,
}

impl Client {
    /// Connects to nobody yet. Must be called within the runtime that drives it. `attempt` is how long one endpoint may
    /// take to answer.
    ///
    /// # Errors
    /// [`EtcdError::Endpoint`] where an address is none.
    pub fn new(endpoints: &[String], attempt: Duration) -> Result<Self, EtcdError> {
        let mut channels = Vec::with_capacity(endpoints.len());
        for url in endpoints {
            let endpoint = Endpoint::from_shared(url.clone()).map_err(|error| EtcdError::Endpoint {
                reason: format!("has {url:?}: {error}"),
            })?;
            let channel = endpoint
                .connect_timeout(attempt)
                .tcp_nodelay(true)
                .http2_keep_alive_interval(PING)
                .keep_alive_timeout(attempt)
                .connect_lazy();
            channels.push((url.clone(), channel));
        }
        Ok(Self {
            endpoints: channels,
            current: watch::Sender::new(0),
            slow: AtomicUsize::new(0),
            attempt,
            cluster: OnceLock::new(),
        })
    }

    pub(crate) fn channel(&self, url: &str) -> Option<Channel> {
        let found = self.endpoints.iter().find(|(known, _)| known == url);
        found.map(|(_, channel)| channel.clone())
    }

    pub(crate) fn channels_beside(&self, url: &str) -> Vec<Channel> {
        let others = self.endpoints.iter().filter(|(known, _)| known != url);
        others.map(|(_, channel)| channel.clone()).collect()
    }

    pub(crate) fn attempt(&self) -> Duration {
        self.attempt
    }

    /// Tells when another endpoint is asked first.
    #[must_use]
    pub fn moves(&self) -> watch::Receiver<usize> {
        self.current.subscribe()
    }

    /// Asks the next endpoint first from now on, unless that has happened already.
    fn leave(&self, index: usize) {
        self.current.send_if_modified(|it| {
            let is_current = *it == index && self.endpoints.len() > 1;
            if is_current {
                *it = (index + 1) % self.endpoints.len();
            }
            is_current
        });
    }

    /// Asks each endpoint at most once, until one answers. All that `ask` does goes to one endpoint. It may be done
    /// more than once: an endpoint that did not answer may have done it.
    ///
    /// # Errors
    /// [`EtcdError::Refused`] when every endpoint would say the same, [`EtcdError::Unreachable`] when none answered.
    pub async fn call<T, F>(&self, action: &'static str, ask: impl Fn(Channel) -> F) -> Result<T, EtcdError>
    where
        F: Future<Output = Result<T, Status>>,
    {
        let first = *self.current.borrow();
        let mut reasons = Vec::new();
        for step in 0..self.endpoints.len() {
            let index = (first + step) % self.endpoints.len();
            match self.ask(action, index, &ask).await {
                Ok(answer) => return Ok(answer),
                Err(Missed::Refused(error)) => return Err(error),
                Err(Missed::Silent(reason)) => reasons.push(reason),
            }
            self.leave(index);
        }
        let reason = reasons.join("; ");
        Err(EtcdError::Unreachable { action, reason })
    }

    /// As [`Client::call`], but an endpoint that is silent for a fifth of a second is not waited for alone: the next is asked
    /// beside it, and the first answer counts. One lost packet then costs less than a lease. For what may be done several times at once.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn call_hedged<T, F>(
        &self,
        action: &'static str,
        ask: impl Fn(Channel) -> F,
    ) -> Result<T, EtcdError>
    where
        F: Future<Output = Result<T, Status>>,
    {
        let first = *self.current.borrow();
        let mut left = (0..self.endpoints.len()).map(|step| (first + step) % self.endpoints.len());
        let (mut asked, mut reasons) = (FuturesUnordered::new(), Vec::new());
        let ask_at = async |index| (index, self.ask(action, index, &ask).await);
        loop {
            let next = left.next();
            let is_last = next.is_none();
            asked.extend(next.map(ask_at));
            let hedge = sleep(HEDGE.min(self.attempt / 2));
            tokio::select! {
                answer = asked.next() => match answer {
                    Some((index, Ok(answer))) => {
                        self.answered(first, index);
                        return Ok(answer);
                    }
                    Some((_, Err(Missed::Refused(error)))) => return Err(error),
                    Some((index, Err(Missed::Silent(reason)))) => {
                        reasons.push(reason);
                        self.leave(index);
                    }
                    None => break,
                },
                () = hedge, if !is_last => {}
            }
        }
        let reason = reasons.join("; ");
        Err(EtcdError::Unreachable { action, reason })
    }

    async fn ask<T, F>(
        &self,
        action: &'static str,
        index: usize,
        ask: impl Fn(Channel) -> F,
    ) -> Result<T, Missed>
    where
        F: Future<Output = Result<T, Status>>,
    {
        let (url, channel) = &self.endpoints[index];
        match timeout(self.attempt, ask(channel.clone())).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(status)) if is_refusal(&status) => {
                let reason = format!("{url}: {}", status.message());
                Err(Missed::Refused(EtcdError::Refused { action, reason }))
            }
            Ok(Err(status)) => Err(Missed::Silent(format!("{url}: {}", text(&status)))),
            Err(_) => Err(Missed::Silent(format!(
                "{url}: no answer within {:?}",
                self.attempt
            ))),
        }
    }

    /// Of those that were asked beside each other, the first to answer.
    fn answered(&self, asked_first: usize, index: usize) {
        if index == asked_first {
            self.slow.store(0, Ordering::Relaxed);
        } else if self.slow.fetch_add(1, Ordering::Relaxed) + 1 >= SLOW_MAX {
            self.slow.store(0, Ordering::Relaxed);
            self.leave(asked_first);
        }
    }

    /// The header of an answer, after making sure that it comes from the cluster that all others came from.
    ///
    /// # Errors
    /// [`EtcdError::Foreign`] when it does not, [`EtcdError::Unreachable`] when there is none.
    pub fn header(&self, header: Option<ResponseHeader>) -> Result<ResponseHeader, EtcdError> {
        let header = header.ok_or_else(|| EtcdError::Unreachable {
            action: "get a whole answer",
            reason: "an answer has no header".into(),
        })?;
        let first = *self.cluster.get_or_init(|| header.cluster_id);
        if first != header.cluster_id {
            let other = header.cluster_id;
            // One wrong endpoint must not keep us from the right ones.
            let current = *self.current.borrow();
            self.leave(current);
            return Err(EtcdError::Foreign { first, other });
        }
        Ok(header)
    }

    /// A linearizable read.
    ///
    /// # Errors
    /// See [`Client::call`] and [`Client::header`].
    pub async fn range(
        &self,
        action: &'static str,
        range: &RangeRequest,
    ) -> Result<RangeResponse, EtcdError> {
        let answer = self.call_hedged(action, |it| read(it, range.clone())).await?;
        self.header(answer.header)?;
        Ok(answer)
    }

    /// A transaction: all changes, or none.
    ///
    /// # Errors
    /// See [`Client::call`] and [`Client::header`].
    pub async fn txn(&self, action: &'static str, request: TxnRequest) -> Result<TxnResponse, EtcdError> {
        let ask = |channel| {
            let request = request.clone();
            async move { KvClient::new(channel).txn(request).await }
        };
        let answer = self.call(action, ask).await?.into_inner();
        self.header(answer.header)?;
        Ok(answer)
    }

    /// A new lease and how long it really lives.
    ///
    /// # Errors
    /// See [`Client::call`] and [`Client::header`].
    pub async fn grant(&self, ttl_s: u32) -> Result<(LeaseId, Duration), EtcdError> {
        let action = "grant a lease";
        let request = LeaseGrantRequest { ttl: ttl_s.into() };
        let ask = |channel| async move { LeaseClient::new(channel).lease_grant(request).await };
        let answer = self.call(action, ask).await?.into_inner();
        self.header(answer.header)?;
        match u64::try_from(answer.ttl) {
            Ok(ttl) if ttl > 0 && answer.error.is_empty() => {
                Ok((LeaseId(answer.id), Duration::from_secs(ttl)))
            }
            _ => Err(EtcdError::Refused {
                action,
                reason: answer.error,
            }),
        }
    }

    /// Ends a lease and the keys on it.
    ///
    /// # Errors
    /// See [`Client::call`].
    pub async fn revoke(&self, lease: LeaseId) -> Result<(), EtcdError> {
        let request = LeaseRevokeRequest { id: lease.0 };
        let ask = |channel| async move { LeaseClient::new(channel).lease_revoke(request).await };
        self.call("end a lease", ask).await.map(|_| ())
    }

    /// All changes of a range from now on. It breaks when the endpoint loses sight of etcd's leader.
    ///
    /// # Errors
    /// See [`Client::call`].
    pub async fn watch(
        &self,
        action: &'static str,
        range: &RangeRequest,
    ) -> Result<Streaming<WatchResponse>, EtcdError> {
        let ask = |channel| {
            let create = WatchRequest {
                request_union: Some(RequestUnion::CreateRequest(WatchCreateRequest {
                    key: range.key.clone(),
                    range_end: range.range_end.clone(),
                })),
            };
            async move {
                // The stream of requests stays open: the watch ends with it.
                let requests = tokio_stream::once(create).chain(tokio_stream::pending());
                let mut request = Request::new(requests);
                let value = "true".parse().expect("plain text is a valid value");
                request.metadata_mut().insert("hasleader", value);
                WatchClient::new(channel).watch(request).await
            }
        };
        Ok(self.call(action, ask).await?.into_inner())
    }
}

/// A linearizable read (etcd's default) at one endpoint.
///
/// # Errors
/// What the endpoint says.
pub async fn read(channel: Channel, range: RangeRequest) -> Result<RangeResponse, Status> {
    Ok(KvClient::new(channel).range(range).await?.into_inner())
}

/// Keeps a lease alive, once, at one endpoint. The answer alone proves nothing: a leader of etcd that was replaced
/// without knowing it goes on saying yes.
///
/// # Errors
/// What the endpoint says.
pub async fn keep_alive(channel: Channel, lease: LeaseId) -> Result<LeaseKeepAliveResponse, Status> {
    let request = tokio_stream::once(LeaseKeepAliveRequest { id: lease.0 });
    let answers = LeaseClient::new(channel).lease_keep_alive(request).await?;
    let kept = answers.into_inner().message().await?;
    kept.ok_or_else(|| Status::unavailable("the answer ended before it began"))
}

/// Why an endpoint gave no answer that counts.
enum Missed {
    /// Every other one would say the same.
    Refused(EtcdError),
    /// Another may be asked.
    Silent(String),
}

/// Whether every other endpoint would say the same.
fn is_refusal(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::InvalidArgument
            | Code::NotFound
            | Code::FailedPrecondition
            | Code::PermissionDenied
            | Code::Unauthenticated
    )
}

/// The status with what lies beneath it, which its `Display` leaves out.
fn text(status: &Status) -> String {
    let mut text = status.message().to_owned();
    let mut source = std::error::Error::source(status);
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}
