//! Asking etcd: several endpoints, one question at a time to one of them, the next when it does not answer. Owns:
//! channels, time limits, what an answer proves. Must not: know what a member does with it.

use crate::proto::compare::{CompareResult, CompareTarget, TargetUnion};
use crate::proto::kv_client::KvClient;
use crate::proto::lease_client::LeaseClient;
use crate::proto::request_op::Request as Operation;
use crate::proto::watch_client::WatchClient;
use crate::proto::watch_request::RequestUnion;
use crate::proto::{
    Compare, DeleteRangeRequest, KeyValue, LeaseGrantRequest, LeaseKeepAliveRequest, LeaseRevokeRequest,
    PutRequest, RangeRequest, RangeResponse, RequestOp, ResponseHeader, TxnRequest, WatchCreateRequest,
    WatchRequest, WatchResponse,
};
use crate::view::{Keys, LeaseId, View};
use crate::{BootTime, ElectionError, ElectionOptions, TermRevision};
use std::future::Future;
use std::sync::OnceLock;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_stream::StreamExt as _;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status, Streaming};

/// etcd ends connections that ask more often than every five seconds whether it is alive.
const PING: Duration = Duration::from_secs(6);

/// All endpoints.
pub(crate) struct Etcd {
    endpoints: Vec<(String, Channel)>,
    /// Which endpoint is asked first: the one that answered last.
    current: watch::Sender<usize>,
    attempt: Duration,
    cluster: OnceLock<u64>,
}

/// A lease that was kept alive, and what stands in etcd after that.
pub(crate) struct Renewal {
    /// When the request left: the lease lives at least its time to live from then on.
    pub(crate) sent: BootTime,
    pub(crate) ttl: Duration,
    pub(crate) view: View,
}

/// What the two answers of a renewal prove together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Proof {
    /// The lease is gone.
    Gone,
    /// It may have been renewed by a leader of etcd that had been replaced without knowing it.
    Unsure,
    /// It was renewed by the leader.
    Renewed,
}

/// A follower of etcd, and a leader that was frozen or cut off, renew a lease without asking a majority: such a
/// renewal is worth nothing, since the real leader counts on (etcd issue 15247). The read that follows needs a
/// majority, and both answers of the same endpoint carry its raft term. When that is the same before the renewal and
/// after the read, no other leader existed when the lease was renewed.
fn proof(ttl: i64, term_before: u64, term_after: u64) -> Proof {
    if ttl <= 0 {
        Proof::Gone
    } else if term_before != term_after || term_before == 0 {
        Proof::Unsure
    } else {
        Proof::Renewed
    }
}

impl Etcd {
    /// Connects to nobody yet. Must be called within the runtime that drives it.
    pub(crate) fn new(options: &ElectionOptions) -> Result<Self, ElectionError> {
        let mut endpoints = Vec::with_capacity(options.endpoints.len());
        for url in &options.endpoints {
            let endpoint = Endpoint::from_shared(url.clone()).map_err(|error| ElectionError::Option {
                field: "endpoints",
                reason: format!("has {url:?}: {error}"),
            })?;
            let channel = endpoint
                .connect_timeout(options.attempt())
                .tcp_nodelay(true)
                .http2_keep_alive_interval(PING)
                .keep_alive_timeout(options.attempt())
                .connect_lazy();
            endpoints.push((url.clone(), channel));
        }
        Ok(Self {
            endpoints,
            current: watch::Sender::new(0),
            attempt: options.attempt(),
            cluster: OnceLock::new(),
        })
    }

    /// Tells when another endpoint is asked first.
    pub(crate) fn moves(&self) -> watch::Receiver<usize> {
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

    /// Asks each endpoint at most once, until one answers.
    async fn call<T, F>(&self, action: &'static str, ask: impl Fn(Channel) -> F) -> Result<T, ElectionError>
    where
        F: Future<Output = Result<T, Status>>,
    {
        let first = *self.current.borrow();
        let mut reasons = Vec::new();
        for step in 0..self.endpoints.len() {
            let index = (first + step) % self.endpoints.len();
            let (url, channel) = &self.endpoints[index];
            match timeout(self.attempt, ask(channel.clone())).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(status)) if is_refusal(&status) => {
                    let reason = format!("{url}: {}", status.message());
                    return Err(ElectionError::Refused { action, reason });
                }
                Ok(Err(status)) => reasons.push(format!("{url}: {}", text(&status))),
                Err(_) => reasons.push(format!("{url}: no answer within {:?}", self.attempt)),
            }
            self.leave(index);
        }
        let reason = reasons.join("; ");
        Err(ElectionError::Unreachable { action, reason })
    }

    /// The header, after making sure that it comes from the cluster that all others came from.
    fn header(&self, header: Option<ResponseHeader>) -> Result<ResponseHeader, ElectionError> {
        let header = header.ok_or_else(|| ElectionError::Unreachable {
            action: "get a whole answer",
            reason: "an answer has no header".into(),
        })?;
        let first = *self.cluster.get_or_init(|| header.cluster_id);
        if first != header.cluster_id {
            let other = header.cluster_id;
            // One wrong endpoint must not keep us from the right ones.
            let current = *self.current.borrow();
            self.leave(current);
            return Err(ElectionError::Foreign { first, other });
        }
        Ok(header)
    }

    /// A linearizable read of all the election's keys.
    pub(crate) async fn look(&self, keys: &Keys) -> Result<View, ElectionError> {
        let range = under(&keys.all);
        let answer = self
            .call("read the election's keys", |it| read(it, range.clone()))
            .await?;
        self.header(answer.header)?;
        Ok(View::read(keys, answer))
    }

    /// A linearizable read of one key.
    pub(crate) async fn get(&self, key: &str) -> Result<Option<KeyValue>, ElectionError> {
        let range = RangeRequest {
            key: key.into(),
            range_end: Vec::new(),
        };
        let answer = self
            .call("read the writer key", |it| read(it, range.clone()))
            .await?;
        self.header(answer.header)?;
        Ok(answer.kvs.into_iter().next())
    }

    /// A new lease and how long it really lives.
    pub(crate) async fn grant(&self, ttl_s: u32) -> Result<(LeaseId, Duration), ElectionError> {
        let action = "grant a lease";
        let request = LeaseGrantRequest { ttl: ttl_s.into() };
        let ask = |channel| async move {
            let mut client = LeaseClient::new(channel);
            client.lease_grant(request).await
        };
        let answer = self.call(action, ask).await?.into_inner();
        self.header(answer.header)?;
        match u64::try_from(answer.ttl) {
            Ok(ttl) if ttl > 0 && answer.error.is_empty() => {
                Ok((LeaseId(answer.id), Duration::from_secs(ttl)))
            }
            _ => Err(ElectionError::Refused {
                action,
                reason: answer.error,
            }),
        }
    }

    /// Ends a lease and the keys on it.
    pub(crate) async fn revoke(&self, lease: LeaseId) -> Result<(), ElectionError> {
        let request = LeaseRevokeRequest { id: lease.0 };
        let ask = |channel| async move {
            let mut client = LeaseClient::new(channel);
            client.lease_revoke(request).await
        };
        self.call("end a lease", ask).await.map(|_| ())
    }

    /// Keeps a lease alive; none when that cannot be proved and should be tried again.
    pub(crate) async fn renew(&self, keys: &Keys, lease: LeaseId) -> Result<Option<Renewal>, ElectionError> {
        let action = "keep the lease";
        let range = under(&keys.all);
        let ask = |channel: Channel| {
            let range = range.clone();
            async move {
                let sent = BootTime::now();
                let request = tokio_stream::once(LeaseKeepAliveRequest { id: lease.0 });
                let answers = LeaseClient::new(channel.clone())
                    .lease_keep_alive(request)
                    .await?;
                let kept = answers.into_inner().message().await?;
                let kept = kept.ok_or_else(|| Status::unavailable("the answer ended before it began"))?;
                Ok((sent, kept, read(channel, range).await?))
            }
        };
        let (sent, kept, answer) = self.call(action, ask).await?;
        let before = self.header(kept.header)?;
        let after = self.header(answer.header)?;
        match proof(kept.ttl, before.raft_term, after.raft_term) {
            Proof::Gone => Err(ElectionError::Refused {
                action,
                reason: "it has run out".into(),
            }),
            Proof::Unsure => Ok(None),
            Proof::Renewed => Ok(Some(Renewal {
                sent,
                ttl: Duration::from_secs(kept.ttl.unsigned_abs()),
                view: View::read(keys, answer),
            })),
        }
    }

    /// Makes all changes if each key was made in that revision (0: is not there); tells whether it did and at which
    /// revision.
    pub(crate) async fn change(
        &self,
        action: &'static str,
        when: &[(&str, TermRevision)],
        then: Vec<RequestOp>,
    ) -> Result<Option<TermRevision>, ElectionError> {
        let compare = when.iter().map(|(key, created)| Compare {
            result: CompareResult::Equal.into(),
            target: CompareTarget::Create.into(),
            key: (*key).into(),
            target_union: Some(TargetUnion::CreateRevision(created.0)),
        });
        let request = TxnRequest {
            compare: compare.collect(),
            success: then,
        };
        let ask = |channel| {
            let request = request.clone();
            async move { KvClient::new(channel).txn(request).await }
        };
        let answer = self.call(action, ask).await?.into_inner();
        let header = self.header(answer.header)?;
        Ok(answer.succeeded.then_some(TermRevision(header.revision)))
    }

    /// All changes of the election's keys from now on. It breaks when the endpoint loses sight of etcd's leader.
    pub(crate) async fn watch(&self, keys: &Keys) -> Result<Streaming<WatchResponse>, ElectionError> {
        let range = under(&keys.all);
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
        Ok(self.call("watch the election's keys", ask).await?.into_inner())
    }
}

/// Puts a key on a lease.
pub(crate) fn put(key: &str, value: Vec<u8>, lease: LeaseId) -> RequestOp {
    let put = PutRequest {
        key: key.into(),
        value,
        lease: lease.0,
    };
    RequestOp {
        request: Some(Operation::RequestPut(put)),
    }
}

/// Removes a key if it is there.
pub(crate) fn delete(key: &str) -> RequestOp {
    let delete = DeleteRangeRequest { key: key.into() };
    RequestOp {
        request: Some(Operation::RequestDeleteRange(delete)),
    }
}

/// Linearizable, which is etcd's default.
async fn read(channel: Channel, range: RangeRequest) -> Result<RangeResponse, Status> {
    Ok(KvClient::new(channel).range(range).await?.into_inner())
}

/// All keys that begin with this one, which ends with `/`; `0` is the character after that.
fn under(prefix: &str) -> RangeRequest {
    let mut end = prefix.as_bytes().to_vec();
    end.pop();
    end.push(b'0');
    RangeRequest {
        key: prefix.into(),
        range_end: end,
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_renewal_counts_only_when_etcd_had_one_leader_throughout() {
        assert_eq!(proof(2, 7, 7), Proof::Renewed);
        assert_eq!(proof(2, 7, 8), Proof::Unsure);
        assert_eq!(proof(2, 0, 0), Proof::Unsure);
        assert_eq!(proof(0, 7, 7), Proof::Gone);
        assert_eq!(proof(-1, 7, 8), Proof::Gone);
    }

    #[test]
    fn a_range_holds_what_is_below_the_prefix_and_nothing_else() {
        let range = under("/a/election/");
        let holds =
            |key: &str| range.key.as_slice() <= key.as_bytes() && key.as_bytes() < range.range_end.as_slice();
        assert!(holds("/a/election/writer"));
        assert!(holds("/a/election/\u{7f}"));
        assert!(!holds("/a/election"));
        assert!(!holds("/a/election0"));
        assert!(!holds("/a/elections/x"));
    }
}
