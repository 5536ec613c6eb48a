//! What members of a cluster ask of their writer. Owns: who may answer, and the stream's end.

use crate::edge::Edge;
use crate::placement::{Place, no_writer};
use futures::Stream;
use ledger::Height;
use node::{Clock, SystemClock};
use std::pin::Pin;
use std::time::Duration;
use tonic::{Request, Response, Status};
use wire::members::members_server::{Members, MembersServer};
use wire::members::{
    BlocksRequest, ClockReply, ClockRequest, ConfirmReply, ConfirmRequest, ReportsReply, ReportsRequest,
    SealedBlock,
};

/// The service, for the router.
pub(crate) fn service(edge: Edge) -> MembersServer<Service> {
    MembersServer::new(Service { edge })
}

/// Answers the calls.
#[derive(Clone)]
pub(crate) struct Service {
    edge: Edge,
}

impl Service {
    /// Only the writer's word is final.
    fn is_writer(&self) -> bool {
        let cluster = self.edge.cluster.as_ref();
        cluster.is_some_and(|cluster| cluster.members.place() == Place::Here)
    }
}

fn milliseconds(time: Duration) -> u32 {
    u32::try_from(time.as_millis()).unwrap_or(u32::MAX)
}

#[tonic::async_trait]
impl Members for Service {
    type BlocksStream = Pin<Box<dyn Stream<Item = Result<SealedBlock, Status>> + Send>>;

    async fn blocks(&self, request: Request<BlocksRequest>) -> Result<Response<Self::BlocksStream>, Status> {
        if !self.is_writer() {
            return Err(no_writer().into());
        }
        let feed = self.edge.node.sealed_feed(Height(request.into_inner().from));
        let state = Some((feed, self.edge.stopping.clone()));
        let blocks = futures::stream::unfold(state, |state| async move {
            let (mut feed, mut stopping) = state?;
            let next = tokio::select! {
                next = feed.next() => next.ok_or_else(|| Status::out_of_range("the block is in the journal only")),
                _ = stopping.wait_for(|stop| *stop) => Err(no_writer().into()),
            };
            Some(match next {
                Ok(block) => (
                    Ok(SealedBlock {
                        sealed: block.to_vec(),
                    }),
                    Some((feed, stopping)),
                ),
                Err(end) => (Err(end), None),
            })
        });
        Ok(Response::new(Box::pin(blocks)))
    }

    async fn confirm(&self, _: Request<ConfirmRequest>) -> Result<Response<ConfirmReply>, Status> {
        let Some(cluster) = self.edge.cluster.as_ref().filter(|_| self.is_writer()) else {
            return Err(no_writer().into());
        };
        if !cluster.members.confirm().await {
            return Err(no_writer().into());
        }
        let height = self.edge.node.status().height.0;
        Ok(Response::new(ConfirmReply { height }))
    }

    async fn clock(&self, _: Request<ClockRequest>) -> Result<Response<ClockReply>, Status> {
        let Some(cluster) = self.edge.cluster.as_ref() else {
            return Err(no_writer().into());
        };
        let node = &self.edge.node;
        let ledger_ns = match self.is_writer() {
            true => node.clock().now().0,
            false => 0,
        };
        Ok(Response::new(ClockReply {
            name: cluster.members.name().to_owned(),
            clock_ns: SystemClock::wall().0,
            ledger_ns,
            height: node.status().height.0,
            primary: cluster.members.primary().unwrap_or_default(),
            reports: cluster.members.reports_version(),
            lease_left_ms: cluster.members.lease_left().map_or(0, milliseconds),
        }))
    }

    async fn reports(&self, _: Request<ReportsRequest>) -> Result<Response<ReportsReply>, Status> {
        let Some(cluster) = self.edge.cluster.as_ref() else {
            return Err(no_writer().into());
        };
        Ok(Response::new(ReportsReply {
            name: cluster.members.name().to_owned(),
            reports: cluster.members.reports(),
        }))
    }
}
