//! Blocks straight from the writer, and its word on how far the ledger stands. Owns: the connection to it.
//!
//! The journal alone shows a block to be final only with the next one; the writer knows at once.

use crate::MemberError;
use crate::asking::event_loop;
use crate::freshness::Freshness;
use crate::member::Whereabouts;
use api::WriterPlace as Place;
use election::BootTime;
use journal::{Block, HEADER_BYTES, Header, Opener};
use ledger::Height;
use node::{Node, NodeError};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use storage::KeyRing;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use wire::members::members_client::MembersClient;
use wire::members::{BlocksRequest, ConfirmRequest};

/// The largest sealed block, and some.
const MESSAGE_BYTES_MAX: usize = 300 << 20;
const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);
/// A writer that is silent so long is asked whether it is there, and given up after as long again.
const KEEP_ALIVE: Duration = Duration::from_millis(500);
/// How often the writer is asked how far the ledger stands.
const CONFIRM: Duration = Duration::from_millis(100);
/// How long that may take.
const CONFIRM_TIMEOUT: Duration = Duration::from_secs(1);
/// How often it is seen whether another one writes.
const LOOK: Duration = Duration::from_millis(20);
/// The pause after a stream that ended.
const PAUSE: Duration = Duration::from_millis(50);

/// See the module.
pub(crate) struct Feed {
    pub(crate) node: Node,
    pub(crate) keys: KeyRing,
    /// Who writes.
    pub(crate) whereabouts: Whereabouts,
    pub(crate) stopping: Arc<AtomicBool>,
    /// Whether blocks come this way, so that the journal need not be asked all the time.
    pub(crate) is_live: Arc<AtomicBool>,
    pub(crate) freshness: Arc<Freshness>,
}

/// Why a stream ended.
enum End {
    /// It may be tried again.
    Broken(Status),
    /// The process is to stop, or the node does not follow any more.
    Node(NodeError),
}

impl Feed {
    /// Follows whoever writes until this node does, or `stopping`.
    ///
    /// # Errors
    /// [`MemberError::Thread`] without an event loop; [`MemberError::Node`]: the process is to stop.
    pub(crate) fn run(&self) -> Result<(), MemberError> {
        event_loop()?.block_on(async {
            while !self.stopping.load(Ordering::Relaxed) {
                let Place::At(_, address) = self.whereabouts.place() else {
                    tokio::time::sleep(LOOK).await;
                    continue;
                };
                let ended = self.follow(&address).await;
                self.is_live.store(false, Ordering::Relaxed);
                match ended {
                    End::Node(NodeError::NotFollowing) => return Ok(()),
                    End::Node(error) => return Err(error.into()),
                    End::Broken(status) => tracing::debug!(%status, address, "the writer's feed ended"),
                }
                tokio::time::sleep(PAUSE).await;
            }
            Ok(())
        })
    }

    /// Until the stream breaks, or another one writes.
    async fn follow(&self, address: &str) -> End {
        let channel = match connect(address).await {
            Ok(channel) => channel,
            Err(error) => return End::Broken(Status::unavailable(error.to_string())),
        };
        tokio::select! {
            end = self.take_blocks(channel.clone()) => end,
            end = self.ask_how_far(channel) => end,
            () = self.other_writer(address) => End::Broken(Status::aborted("another node writes")),
        }
    }

    async fn take_blocks(&self, channel: Channel) -> End {
        let mut client = MembersClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX);
        let from = self.node.supplied_height().0 + 1;
        let mut blocks = match client.blocks(BlocksRequest { from }).await {
            Ok(stream) => stream.into_inner(),
            Err(status) => return End::Broken(status),
        };
        let mut opener = Opener::new(self.keys.clone());
        loop {
            let sealed = match blocks.message().await {
                Ok(Some(block)) => block.sealed,
                Ok(None) => return End::Broken(Status::unavailable("it was closed")),
                Err(status) => return End::Broken(status),
            };
            self.is_live.store(true, Ordering::Relaxed);
            let supplied = match open(&mut opener, sealed) {
                Some(block) => self.node.supply(block),
                None => return End::Broken(Status::data_loss("a block does not open")),
            };
            if let Err(error) = supplied {
                return End::Node(error);
            }
        }
    }

    async fn ask_how_far(&self, channel: Channel) -> End {
        let mut client = MembersClient::new(channel);
        loop {
            // Everything that was acknowledged before this moment is at or below the height that comes back.
            let asked = BootTime::now();
            let confirmed = tokio::time::timeout(CONFIRM_TIMEOUT, client.confirm(ConfirmRequest {})).await;
            match confirmed {
                Ok(Ok(reply)) => {
                    // No later than that may this node say that it is so fresh.
                    self.node.reached(Height(reply.into_inner().height)).await;
                    self.freshness.is_as_of(asked);
                }
                Ok(Err(status)) if status.code() != Code::Unavailable => return End::Broken(status),
                // A writer that cannot reach a majority still feeds.
                Ok(Err(_)) | Err(_) => {}
            }
            tokio::time::sleep(CONFIRM).await;
        }
    }

    async fn other_writer(&self, address: &str) {
        let is_same = || matches!(self.whereabouts.place(), Place::At(_, now) if now == address);
        while is_same() && !self.stopping.load(Ordering::Relaxed) {
            tokio::time::sleep(LOOK).await;
        }
    }
}

async fn connect(address: &str) -> Result<Channel, tonic::transport::Error> {
    Endpoint::from_shared(format!("http://{address}"))?
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(8 << 20)
        .initial_connection_window_size(16 << 20)
        .connect()
        .await
}

fn open(opener: &mut Opener, mut sealed: Vec<u8>) -> Option<Block> {
    let (header, ciphertext) = sealed.split_at_mut_checked(HEADER_BYTES)?;
    let header = Header::decode(header).ok()?;
    opener.open(&header, ciphertext).ok()
}
