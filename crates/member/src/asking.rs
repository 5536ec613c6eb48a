//! What those share who ask other members: an event loop of their own, and connections that come about when they are used.

use crate::MemberError;
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use tonic::transport::{Channel, Endpoint};

/// For a thread of its own.
///
/// # Errors
/// [`MemberError::Thread`] when the system gives none.
pub(crate) fn event_loop() -> Result<Runtime, MemberError> {
    let mut builder = Builder::new_current_thread();
    builder.enable_all().build().map_err(MemberError::Thread)
}

/// Connects when it is first used, and again when it broke; none where the address makes no sense.
pub(crate) fn connect_lazily(address: &str, within: Duration) -> Option<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).ok()?;
    let endpoint = endpoint.connect_timeout(within).tcp_nodelay(true);
    Some(endpoint.connect_lazy())
}
