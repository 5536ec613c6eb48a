//! Where a request of a cluster is answered: here, or at the writer. Owns: what each path needs, the promise of reads, and
//! passing requests on. Must not: look into a body; what is passed on is passed on as it came.

use crate::bounds::LiveBounds;
use crate::edge::Edge;
use crate::error::{ApiError, Place as Where};
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, Version, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures::future::BoxFuture;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use std::time::Duration;
use tonic::Status;
use wire::CONSISTENCY;

/// Who passed a request on; it is not passed on again.
const FORWARDED_BY: HeaderName = HeaderName::from_static("shanraq-forwarded-by");
/// When to ask again while there is no writer.
const NO_WRITER_RETRY: Duration = Duration::from_millis(100);
/// A writer that takes no connection for so long is gone.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);
/// The same for one that is connected and silent.
const KEEP_ALIVE: Duration = Duration::from_secs(1);
const STREAM_WINDOW_BYTES: u32 = 8 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;

/// Who answers what needs the writer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// This node.
    Here,
    /// Another one, by name and `host:port`.
    At(String, String),
    /// Nobody for now.
    Nowhere,
}

/// What the edge asks of the cluster.
pub trait Members: Send + Sync + 'static {
    /// This node's name.
    fn name(&self) -> &str;
    /// Who answers what needs the writer, as far as is known at this moment.
    fn place(&self) -> Place;
    /// Whether this node is the writer, by a question to a majority that begins after this call.
    fn confirm(&self) -> BoxFuture<'_, bool>;
    /// How old what this node answers may be at most; none when nobody knows.
    fn age(&self) -> Option<Duration>;
    /// Gives leadership up, to the member named if there is one, once all that was taken in is answered. The error says
    /// what is wrong with that member.
    fn handover(&self, to: Option<String>) -> BoxFuture<'_, Result<(), String>>;
    /// How long this node's lease in the election is to be believed in if it is not renewed any more.
    fn lease_left(&self) -> Option<Duration>;
    /// The reports of changes of the writer, each a JSON object, the newest first.
    fn reports(&self) -> Vec<String>;
    /// Changes whenever they do; 0 when there are none.
    fn reports_version(&self) -> u64;
    /// The server of PostgreSQL at which this node writes, if it does.
    fn primary(&self) -> Option<String>;
}

/// What passes requests on.
pub(crate) type Forwarder = Client<HttpConnector, Body>;

/// Requests go on over few connections, each of many streams.
pub(crate) fn forwarder() -> Forwarder {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
    Client::builder(TokioExecutor::new())
        .http2_only(true)
        .timer(TokioTimer::new())
        .http2_initial_stream_window_size(STREAM_WINDOW_BYTES)
        .http2_initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .http2_keep_alive_timeout(KEEP_ALIVE)
        .build(connector)
}

/// What a request needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Need {
    /// Any node answers for itself.
    AnyNode,
    /// The ledger's state or history.
    Read,
    /// The writer.
    Write,
}

/// What a read was promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Consistency {
    Linearizable,
    Bounded(Duration),
    Any,
}

fn need(method: &Method, path: &str) -> Need {
    if let Some(call) = path.strip_prefix("/shanraq.v1.Ledger/") {
        return match call {
            "Status" | "Feed" => Need::AnyNode,
            "LookupAccounts" | "LookupTransfers" | "QueryAccounts" | "QueryTransfers" | "AccountBalance"
            | "TrialBalance" | "ListLedgers" => Need::Read,
            _ => Need::Write,
        };
    }
    // The writer makes the reports: it has the newest.
    if path == "/cluster/handover" || path == "/cluster/reports" || path == "/cluster/reports/latest" {
        return Need::Write;
    }
    if !path.starts_with("/v1/") {
        return Need::AnyNode;
    }
    let asks = path.ends_with("/lookup") || path.ends_with("/query");
    match *method {
        Method::GET | Method::HEAD => Need::Read,
        Method::POST if asks => Need::Read,
        _ => Need::Write,
    }
}

fn consistency(headers: &HeaderMap, bounds: &LiveBounds) -> Result<Consistency, ApiError> {
    let Some(value) = headers.get(CONSISTENCY) else {
        return Ok(Consistency::Linearizable);
    };
    let bounded = |text: &str| {
        let (name, age) = text.split_once(';')?;
        let age = age.trim().strip_prefix("max-age-ms=")?.parse().ok()?;
        let age = bounds.bounded_age(Duration::from_millis(age));
        (name.trim() == "bounded").then_some(Consistency::Bounded(age))
    };
    match value.to_str().map(str::trim) {
        Ok("linearizable") => Ok(Consistency::Linearizable),
        Ok("any") => Ok(Consistency::Any),
        text => text.ok().and_then(bounded).ok_or_else(|| {
            ApiError::field(
                Where::Header(CONSISTENCY),
                "must be linearizable, any, or bounded; max-age-ms=N",
            )
        }),
    }
}

/// Around every request of a cluster's node.
pub(crate) async fn place(State(edge): State<Edge>, request: Request, next: Next) -> Response {
    let Some(cluster) = &edge.cluster else {
        return next.run(request).await;
    };
    let headers = request.headers();
    let (is_grpc, is_forwarded) = (is_grpc(headers), headers.contains_key(FORWARDED_BY));
    let need = need(request.method(), request.uri().path());
    let place = match consistency(headers, &edge.config.bounds) {
        Ok(consistency) => cluster.place(need, consistency).await,
        Err(error) => return refuse(error, is_grpc),
    };
    let answered = match place {
        Place::Here => Ok(next.run(request).await),
        Place::At(_, address) if !is_forwarded => cluster.forward(request, &address).await,
        Place::At(..) | Place::Nowhere => Err(no_writer()),
    };
    answered.unwrap_or_else(|error| refuse(error, is_grpc))
}

/// The cluster as the edge has it.
#[derive(Clone)]
pub(crate) struct Cluster {
    pub members: std::sync::Arc<dyn Members>,
    pub forwarder: Forwarder,
}

impl Cluster {
    /// Where a request is answered.
    async fn place(&self, need: Need, consistency: Consistency) -> Place {
        match (need, consistency) {
            (Need::AnyNode, _) | (Need::Read, Consistency::Any) => return Place::Here,
            (Need::Read, Consistency::Bounded(age)) if self.members.age().is_some_and(|is| is <= age) => {
                return Place::Here;
            }
            _ => {}
        }
        match self.members.place() {
            // What another writer acknowledged before the request came must be in the answer.
            Place::Here if need == Need::Read && !self.members.confirm().await => Place::Nowhere,
            place => place,
        }
    }

    /// Passes a request on and gives its answer, both as they come.
    async fn forward(&self, mut request: Request, address: &str) -> Result<Response, ApiError> {
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        let target: Result<Uri, _> = format!("http://{address}{path}").parse();
        *request.uri_mut() = target.map_err(|_| ApiError::Fault)?;
        *request.version_mut() = Version::HTTP_2;
        let name = HeaderValue::from_str(self.members.name()).map_err(|_| ApiError::Fault)?;
        let headers = request.headers_mut();
        // Of the connection that it came over.
        for name in [
            header::CONNECTION,
            header::HOST,
            header::TRANSFER_ENCODING,
            header::UPGRADE,
        ] {
            headers.remove(name);
        }
        headers.insert(FORWARDED_BY, name);
        match self.forwarder.request(request).await {
            Ok(response) => Ok(response.map(Body::new)),
            Err(error) => {
                tracing::debug!(%error, address, "a request could not be passed on");
                Err(match error.is_connect() {
                    true => no_writer(),
                    // It left, or may have.
                    false => ApiError::Unknown,
                })
            }
        }
    }
}

/// Nobody writes now; nothing was done.
pub(crate) fn no_writer() -> ApiError {
    ApiError::Unavailable {
        retry_after: NO_WRITER_RETRY,
    }
}

/// Whether whoever asks expects a gRPC answer.
pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

fn refuse(error: ApiError, is_grpc: bool) -> Response {
    match is_grpc {
        true => Status::from(error).into_http(),
        false => error.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bounds::RequestBounds;

    #[test]
    fn what_changes_the_ledger_needs_the_writer_and_what_asks_needs_its_state() {
        let post = [
            ("/v1/accounts", Need::Write),
            ("/v1/transfers", Need::Write),
            ("/v1/transactions", Need::Write),
            ("/cluster/handover", Need::Write),
            ("/v1/accounts/lookup", Need::Read),
            ("/v1/transfers/query", Need::Read),
            ("/shanraq.v1.Ledger/Submit", Need::Write),
            ("/shanraq.v1.Ledger/CreateTransfers", Need::Write),
            ("/shanraq.v1.Ledger/LookupAccounts", Need::Read),
            ("/shanraq.v1.Ledger/Feed", Need::AnyNode),
        ];
        for (path, expected) in post {
            assert_eq!(need(&Method::POST, path), expected, "{path}");
        }
        assert_eq!(need(&Method::PUT, "/v1/ledgers/1"), Need::Write);
        assert_eq!(need(&Method::GET, "/v1/accounts/1/balance"), Need::Read);
        assert_eq!(need(&Method::GET, "/cluster/reports"), Need::Write);
        assert_eq!(need(&Method::GET, "/cluster/reports/latest"), Need::Write);
        for path in ["/healthz", "/readyz", "/metrics", "/status", "/openapi.json"] {
            assert_eq!(need(&Method::GET, path), Need::AnyNode, "{path}");
        }
    }

    #[test]
    fn a_consistency_is_one_of_three_and_anything_else_is_refused_by_name() {
        let bounds = LiveBounds::default();
        let read = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(CONSISTENCY, HeaderValue::from_static(text));
            consistency(&headers, &bounds)
        };
        assert_eq!(
            consistency(&HeaderMap::new(), &bounds),
            Ok(Consistency::Linearizable)
        );
        assert_eq!(read("linearizable"), Ok(Consistency::Linearizable));
        assert_eq!(read("any"), Ok(Consistency::Any));
        let bounded = Consistency::Bounded(Duration::from_millis(250));
        assert_eq!(read("bounded; max-age-ms=250"), Ok(bounded));
        assert_eq!(read("bounded;max-age-ms=250"), Ok(bounded));
        bounds.set(&RequestBounds {
            bounded_age_max_ms: 250,
            ..RequestBounds::default()
        });
        assert_eq!(
            read("bounded; max-age-ms=60000"),
            Ok(bounded),
            "the greatest that counts"
        );
        for wrong in [
            "",
            "bounded",
            "bounded; max-age-ms=",
            "bounded; max-age-ms=-1",
            "eventual",
            "any; max-age-ms=1",
        ] {
            let refused = read(wrong).unwrap_err().to_string();
            assert!(refused.contains(CONSISTENCY), "{wrong}: {refused}");
        }
    }
}
