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

/// The connections with one writer.
struct Line {
    address: String,
    /// It has answered.
    proven: Option<Channel>,
    /// The last question was not answered.
    is_doubted: bool,
}

impl Line {
    fn new(writer: &Member) -> Self {
        Self {
            address: writer.grpc_address.clone(),
            proven: None,
            is_doubted: false,
        }
    }
}

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
            let mut line: Option<Line> = None;
            while !self.stopping.load(Ordering::Relaxed) {
                if let Leadership::Following { writer: Some(writer) } = self.elector.leadership() {
                    let known = line.take().filter(|line| line.address == writer.grpc_address);
                    let mut asked = known.unwrap_or_else(|| Line::new(&writer));
                    let answered = self.ask_on(&mut asked, &writer).await;
                    self.elector.hear(&writer.name, answered);
                    line = Some(asked);
                }
                tokio::time::sleep(PAUSE).await;
            }
        });
        Ok(())
    }

    /// Asks on the connection that answered last. One that lost packets waits ever longer before it sends them again, also once the
    /// way is free; but where no new connection comes about, the old one may well go on. So both are asked then.
    async fn ask_on(&self, line: &mut Line, writer: &Member) -> bool {
        if let Some(proven) = line.proven.clone().filter(|_| !line.is_doubted) {
            line.is_doubted = !self.ask(writer, proven).await;
            return !line.is_doubted;
        }
        let (proven, fresh) = (line.proven.clone(), connect_lazily(&line.address, TIMEOUT));
        let (by_proven, by_fresh) =
            tokio::join!(self.ask_if(writer, proven), self.ask_if(writer, fresh.clone()));
        if by_fresh {
            line.proven = fresh;
        }
        line.is_doubted = !by_proven && !by_fresh;
        !line.is_doubted
    }

    async fn ask_if(&self, writer: &Member, channel: Option<Channel>) -> bool {
        match channel {
            Some(channel) => self.ask(writer, channel).await,
            None => false,
        }
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
