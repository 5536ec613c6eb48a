//! The listener: one port for gRPC (HTTP/2) and REST (HTTP/1.1 and HTTP/2).

use node::Node;
use std::future::Future;
use std::time::Duration;
use tokio::net::TcpListener;

/// Bounds of the edges. The defaults are fit for production.
#[derive(Clone, Debug)]
pub struct ApiConfig {
    /// How long a request may take when it names no deadline of its own.
    pub default_timeout: Duration,
    /// The longest time a request may ask for.
    pub max_timeout: Duration,
    /// The largest body of a REST request and the largest gRPC message, in bytes.
    pub max_request_bytes: usize,
    /// How many connections may be open at once; further ones wait.
    pub max_connections: usize,
    /// How long a stop waits for requests that are under way.
    pub drain_timeout: Duration,
}

impl Default for ApiConfig {
    fn default() -> Self {
        Self {
            default_timeout: Duration::from_secs(10),
            max_timeout: Duration::from_mins(5),
            max_request_bytes: 8 << 20,
            max_connections: 4_096,
            drain_timeout: Duration::from_secs(10),
        }
    }
}

/// Serves until `shutdown` completes; then takes no more connections and requests, and waits for those under way.
///
/// # Errors
/// When the listener fails for good.
#[allow(clippy::unused_async, unused_variables, reason = "the shape, for those who build on it")]
pub async fn serve(
    node: Node,
    listener: TcpListener,
    config: ApiConfig,
    shutdown: impl Future<Output = ()> + Send,
) -> std::io::Result<()> {
    panic!("under construction")
}
