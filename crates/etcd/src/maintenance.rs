//! Who leads etcd, and moving that. Owns: questions to one member about itself.

use crate::proto::maintenance_client::MaintenanceClient;
use crate::proto::{MoveLeaderRequest, StatusRequest, StatusResponse};
use crate::{Client, EtcdError};
use std::time::Duration;
use tokio::time::timeout;
use tonic::transport::Channel;

/// How long etcd may take to change its leader: some of its election timeouts.
const MOVE_WITHIN: Duration = Duration::from_secs(5);

impl Client {
    /// Moves etcd's leadership from the member at the endpoint `url`, if it has it, to the one that is furthest of those that answer at the
    /// other endpoints. Tells whether it was moved.
    ///
    /// # Errors
    /// [`EtcdError::Endpoint`] when `url` is none of the endpoints, [`EtcdError::Unreachable`] when that member does not answer or does
    /// not do it.
    pub async fn move_leader_from(&self, url: &str) -> Result<bool, EtcdError> {
        let Some(own) = self.channel(url) else {
            let reason = format!("has not {url}, from which leadership is to be moved");
            return Err(EtcdError::Endpoint { reason });
        };
        let unreachable = |reason| EtcdError::Unreachable {
            action: "move etcd's leadership",
            reason,
        };
        let status = self.status(own.clone()).await.map_err(unreachable)?;
        if status.leader != member_of(&status) {
            return Ok(false);
        }
        let mut others = Vec::new();
        for channel in self.channels_beside(url) {
            others.extend(self.status(channel).await.ok());
        }
        let fit = others
            .iter()
            .filter(|it| it.leader == status.leader && member_of(it) != status.leader);
        let Some(target) = fit.max_by_key(|it| it.raft_index) else {
            return Ok(false);
        };
        let request = MoveLeaderRequest {
            target_id: member_of(target),
        };
        let moved = timeout(MOVE_WITHIN, MaintenanceClient::new(own).move_leader(request)).await;
        match moved {
            Ok(Ok(_)) => Ok(true),
            Ok(Err(status)) => Err(unreachable(status.message().to_owned())),
            Err(_) => Err(unreachable(format!("no answer within {MOVE_WITHIN:?}"))),
        }
    }

    async fn status(&self, channel: Channel) -> Result<StatusResponse, String> {
        let mut member = MaintenanceClient::new(channel);
        match timeout(self.attempt(), member.status(StatusRequest {})).await {
            Ok(Ok(answer)) => Ok(answer.into_inner()),
            Ok(Err(status)) => Err(status.message().to_owned()),
            Err(_) => Err("no answer".to_owned()),
        }
    }
}

/// 0 is no member's.
fn member_of(status: &StatusResponse) -> u64 {
    status.header.as_ref().map_or(0, |header| header.member_id)
}
