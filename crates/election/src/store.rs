//! The election's questions to etcd, and what an answer proves. Must not: know what a member does with it.

use crate::view::{Keys, View};
use crate::{BootTime, ElectionError, ElectionOptions, TermRevision};
use etcd::proto::{KeyValue, RequestOp, TxnRequest, WatchResponse};
use etcd::{Client, LeaseId, compare_created, keep_alive, one, read, under};
use std::time::Duration;
use tokio::sync::watch;
use tonic::Streaming;
use tonic::transport::Channel;

/// All endpoints.
pub(crate) struct Etcd(Client);

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
        Ok(Self(Client::new(&options.endpoints, options.attempt())?))
    }

    /// Tells when another endpoint is asked first.
    pub(crate) fn moves(&self) -> watch::Receiver<usize> {
        self.0.moves()
    }

    /// A linearizable read of all the election's keys.
    pub(crate) async fn look(&self, keys: &Keys) -> Result<View, ElectionError> {
        let answer = self
            .0
            .range("read the election's keys", &under(&keys.all))
            .await?;
        Ok(View::read(keys, answer))
    }

    /// A linearizable read of one key.
    pub(crate) async fn get(&self, key: &str) -> Result<Option<KeyValue>, ElectionError> {
        let answer = self.0.range("read the writer key", &one(key)).await?;
        Ok(answer.kvs.into_iter().next())
    }

    /// A new lease and how long it really lives.
    pub(crate) async fn grant(&self, ttl_s: u32) -> Result<(LeaseId, Duration), ElectionError> {
        Ok(self.0.grant(ttl_s).await?)
    }

    /// Ends a lease and the keys on it.
    pub(crate) async fn revoke(&self, lease: LeaseId) -> Result<(), ElectionError> {
        Ok(self.0.revoke(lease).await?)
    }

    /// Keeps a lease alive; none when that cannot be proved and should be tried again.
    pub(crate) async fn renew(&self, keys: &Keys, lease: LeaseId) -> Result<Option<Renewal>, ElectionError> {
        let action = "keep the lease";
        let range = under(&keys.all);
        let ask = |channel: Channel| {
            let range = range.clone();
            async move {
                let sent = BootTime::now();
                let kept = keep_alive(channel.clone(), lease).await?;
                Ok((sent, kept, read(channel, range).await?))
            }
        };
        let (sent, kept, answer) = self.0.call_hedged(action, ask).await?;
        let before = self.0.header(kept.header)?;
        let after = self.0.header(answer.header)?;
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
        let compare = when.iter().map(|(key, created)| compare_created(key, created.0));
        let request = TxnRequest {
            compare: compare.collect(),
            success: then,
        };
        let answer = self.0.txn(action, request).await?;
        let revision = answer.header.map_or(0, |it| it.revision);
        Ok(answer.succeeded.then_some(TermRevision(revision)))
    }

    /// All changes of the election's keys from now on. It breaks when the endpoint loses sight of etcd's leader.
    pub(crate) async fn watch(&self, keys: &Keys) -> Result<Streaming<WatchResponse>, ElectionError> {
        let range = under(&keys.all);
        Ok(self.0.watch("watch the election's keys", &range).await?)
    }
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
}
