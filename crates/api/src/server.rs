//! The listener: one port for gRPC (HTTP/2) and REST (HTTP/1.1 and HTTP/2).
//!
//! Owns: connections, their bounds, what every request gets (a caller) and every answer (headers), the stop.
//! One port costs gRPC nothing that counts: the router looks at a path once a call, and a stream is one call.

use crate::bounds::LiveBounds;
use crate::edge::{Caller, Edge};
use crate::error::NO_SNIFF;
use crate::first_bytes::FirstBytes;
use crate::metrics::Metrics;
use crate::placement::{Cluster, Members, forwarder, place};
use crate::settings::LiveStatus;
use crate::{grpc, rest};
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderValue, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use node::Node;
use socket2::{SockRef, TcpKeepalive};
use std::future::Future;
use std::io::{Error, ErrorKind};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};

/// Bounds of the edges. The defaults are fit for production.
#[derive(Clone, Debug)]
pub struct ApiConfig {
    /// What may be changed while it runs; clones share it.
    pub bounds: Arc<LiveBounds>,
    /// What the node says of its settings; clones share it.
    pub settings: Arc<LiveStatus>,
    /// The largest body of a REST request and the largest gRPC message, in bytes.
    pub max_request_bytes: usize,
    /// How many connections may be open at once; further ones wait to be accepted.
    pub max_connections: usize,
    /// How long a client may take to say which protocol it speaks, and to send the head of an HTTP/1.1 request.
    pub head_timeout: Duration,
    /// How long a stop waits for requests that are under way.
    pub drain_timeout: Duration,
}

impl Default for ApiConfig {
    fn default() -> Self {
        Self {
            bounds: Arc::default(),
            settings: Arc::default(),
            max_request_bytes: wire::REQUEST_BYTES_MAX,
            max_connections: 4_096,
            head_timeout: Duration::from_secs(10),
            drain_timeout: Duration::from_secs(10),
        }
    }
}

/// HTTP/2 flow control: a whole request of 8,190 transfers fits in a stream's window, several in a connection's.
const STREAM_WINDOW_BYTES: u32 = 8 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;
const FRAME_BYTES: u32 = 1 << 20;
const KEEP_ALIVE: Duration = Duration::from_secs(20);
/// How often the kernel asks a peer that is silent whether it is still there; unanswered, it tries this often.
const PROBE_INTERVAL: Duration = Duration::from_secs(20);
const PROBES: u32 = 3;
/// How long to wait after an accept that failed for want of resources.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves until `shutdown` completes; then takes no more connections and requests, and waits for those under way.
///
/// # Errors
/// When the listener fails for good.
pub async fn serve(
    node: Node,
    listener: TcpListener,
    config: ApiConfig,
    shutdown: impl Future<Output = ()> + Send,
) -> std::io::Result<()> {
    run(node, None, listener, config, shutdown).await
}

/// The same for a member of a cluster: what needs the writer is passed on to it.
///
/// # Errors
/// As [`serve`].
pub async fn serve_member(
    node: Node,
    members: Arc<dyn Members>,
    listener: TcpListener,
    config: ApiConfig,
    shutdown: impl Future<Output = ()> + Send,
) -> std::io::Result<()> {
    let cluster = Cluster {
        members,
        forwarder: forwarder(),
    };
    run(node, Some(cluster), listener, config, shutdown).await
}

async fn run(
    node: Node,
    cluster: Option<Cluster>,
    listener: TcpListener,
    config: ApiConfig,
    shutdown: impl Future<Output = ()> + Send,
) -> std::io::Result<()> {
    let (stop, stopping) = watch::channel(false);
    let metrics = Arc::new(Metrics::new());
    let config = Arc::new(config);
    let edge = Edge {
        node,
        config: config.clone(),
        metrics: metrics.clone(),
        stopping,
        cluster,
    };
    let router =
        rest::router(edge.clone()).route_service("/shanraq.v1.Ledger/{method}", grpc::service(edge.clone()));
    let router = match &edge.cluster {
        Some(_) => router
            .route_service(
                "/shanraq.members.v1.Members/{method}",
                grpc::members_service(edge.clone()),
            )
            .layer(from_fn_with_state(edge.clone(), place)),
        None => router,
    };
    let router = router.layer(from_fn_with_state(edge, around));
    let (builder, graceful) = (protocol(config.head_timeout), GracefulShutdown::new());
    let slots = Arc::new(Semaphore::new(config.max_connections));
    let mut shutdown = pin!(shutdown);
    let served = loop {
        let slot = tokio::select! {
            slot = slots.clone().acquire_owned() => slot.map_err(Error::other)?,
            () = &mut shutdown => break Ok(()),
        };
        let stream = tokio::select! {
            accepted = accept(&listener) => match accepted {
                Ok(stream) => stream,
                Err(error) => break Err(error),
            },
            () = &mut shutdown => break Ok(()),
        };
        let service = TowerToHyperService::new(router.clone());
        let connection = builder
            .serve_connection(
                TokioIo::new(FirstBytes::new(stream, config.head_timeout)),
                service,
            )
            .into_owned();
        let connection = graceful.watch(connection);
        let metrics = metrics.clone();
        tokio::spawn(async move {
            metrics.connections.fetch_add(1, Ordering::Relaxed);
            if let Err(error) = connection.await {
                tracing::debug!(error, "a connection ended early");
            }
            metrics.connections.fetch_sub(1, Ordering::Relaxed);
            drop(slot);
        });
    };
    drop(listener);
    stop.send_replace(true);
    if tokio::time::timeout(config.drain_timeout, graceful.shutdown())
        .await
        .is_err()
    {
        tracing::warn!("requests were still under way when the time to drain was over");
    }
    served
}

fn protocol(head_timeout: Duration) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(head_timeout);
    builder
        .http2()
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(FRAME_BYTES)
        .max_concurrent_streams(256)
        .keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE);
    builder
}

/// The next connection. What concerns one connection, or will pass, is waited out.
async fn accept(listener: &TcpListener) -> std::io::Result<TcpStream> {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                if let Err(error) = prepare(&stream) {
                    tracing::debug!(%error, "a connection went away while it was accepted");
                    continue;
                }
                return Ok(stream);
            }
            Err(error) => match error.kind() {
                ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset | ErrorKind::Interrupted => {}
                ErrorKind::InvalidInput | ErrorKind::NotConnected => return Err(error),
                // Most likely out of file descriptors: connections that end give some back.
                _ => {
                    tracing::warn!(%error, "no connection can be accepted now");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
}

/// Small answers do not wait for more to come, and a peer that is gone without a word is found out.
fn prepare(stream: &TcpStream) -> std::io::Result<()> {
    let probes = TcpKeepalive::new()
        .with_time(PROBE_INTERVAL)
        .with_interval(PROBE_INTERVAL)
        .with_retries(PROBES);
    stream.set_nodelay(true)?;
    SockRef::from(stream).set_tcp_keepalive(&probes)
}

/// Around every request: who calls; and around every answer: the standard headers and its measures.
async fn around(
    State(edge): State<Edge>,
    matched: Option<MatchedPath>,
    mut request: Request,
    next: Next,
) -> Response {
    let begun = Instant::now();
    let method = request.method().clone();
    request.extensions_mut().insert(Caller::LOCAL);
    let mut response = next.run(request).await;
    let path = matched.as_ref().map_or("", MatchedPath::as_str);
    // gRPC calls, those between members too, are counted by method where they are.
    if !path.starts_with("/shanraq.") {
        edge.metrics
            .rest(method.as_str(), path, response.status().as_u16(), begun.elapsed());
    }
    let headers = response.headers_mut();
    headers.insert(NO_SNIFF.0, NO_SNIFF.1);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn peers_of_accepted_connections_are_probed_when_they_are_silent() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (client, accepted) = tokio::join!(TcpStream::connect(address), accept(&listener));
        let (_client, accepted) = (client.unwrap(), accepted.unwrap());
        assert!(SockRef::from(&accepted).keepalive().unwrap());
        assert!(accepted.nodelay().unwrap());
    }
}
