//! Whether the writer answers. Owns: asking it all the time, on a connection of its own, so that no block is in the way.
//!
//! What is heard goes to the election, where a majority that hears nothing ends the writer's term long before its lease runs out.

use crate::MemberError;
use crate::asking::{connect_lazily, event_loop};
use election::{Elector, Leadership, Member};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tonic::transport::Channel;
use wire::members::ClockRequest;
use wire::members::members_client::MembersClient;

/// Between two questions.
const PAUSE: Duration = Duration::from_millis(200);
/// How long an answer may take: more than a lost packet costs.
const TIMEOUT: Duration = Duration::from_millis(400);
/// A writer whose lease has run down by so much more than ours cannot reach etcd, which we can: its answers do not count. While
/// nobody can reach it, both run down alike.
const CUT_OFF_AFTER: Duration = Duration::from_millis(1_500);

/// See the module.
pub(crate) struct Hearing {
    pub(crate) elector: Arc<Elector>,
    pub(crate) stopping: Arc<AtomicBool>,
}

impl Hearing {
    /// Asks whoever writes until the process stops.
    ///
    /// # Errors
    /// [`MemberError::Thread`] without an event loop.
    pub(crate) fn run(&self) -> Result<(), MemberError> {
        event_loop()?.block_on(async {
            let mut connected: Option<(String, Channel)> = None;
            while !self.stopping.load(Ordering::Relaxed) {
                if let Leadership::Following { writer: Some(writer) } = self.elector.leadership() {
                    let channel = match connected.take() {
                        Some((address, channel)) if address == writer.grpc_address => Some(channel),
                        _ => connect_lazily(&writer.grpc_address, TIMEOUT),
                    };
                    let answered = match &channel {
                        Some(channel) => self.ask(&writer, channel.clone()).await,
                        None => false,
                    };
                    self.elector.hear(&writer.name, answered);
                    // One that lost packets waits ever longer before it sends them again, also once the way is free.
                    connected = channel
                        .filter(|_| answered)
                        .map(|channel| (writer.grpc_address, channel));
                }
                tokio::time::sleep(PAUSE).await;
            }
        });
        Ok(())
    }

    /// Whether the writer answers, and can reach etcd if we can.
    async fn ask(&self, writer: &Member, channel: Channel) -> bool {
        let mut client = MembersClient::new(channel);
        match tokio::time::timeout(TIMEOUT, client.clock(ClockRequest {})).await {
            Ok(Ok(reply)) => {
                let reply = reply.into_inner();
                let left = Duration::from_millis(reply.lease_left_ms.into());
                let ours = self.elector.lease_left().unwrap_or_default();
                reply.name == writer.name.as_str() && !is_cut_off(left, ours)
            }
            Ok(Err(_)) | Err(_) => false,
        }
    }
}

/// Whether the lease of one has run down so much more than ours.
fn is_cut_off(left: Duration, ours: Duration) -> bool {
    ours > left + CUT_OFF_AFTER
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_writer_is_cut_off_from_etcd_only_where_those_who_ask_are_not() {
        let of = |left, ours| is_cut_off(Duration::from_millis(left), Duration::from_millis(ours));
        assert!(of(2_000, 4_500));
        assert!(of(0, 4_500), "its lease is gone");
        assert!(!of(4_000, 4_500), "a renewal later");
        assert!(!of(1_000, 1_200), "nobody reaches etcd");
        assert!(!of(2_000, 0), "we do not reach it, it does");
    }
}
