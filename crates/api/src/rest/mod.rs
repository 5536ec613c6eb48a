//! REST with JSON. Owns: paths, headers and parameters; bodies are read in `requests` and written in `views`.

mod body;
mod handlers;
pub(crate) mod openapi;
mod page;
mod params;
pub(crate) mod requests;
mod time;
mod views;

pub(crate) use page::{Kind as PageKind, token as page_token};
pub(crate) use params::idempotency_key;

use crate::edge::Edge;
use crate::error::ApiError;
use crate::placement::is_grpc;
use axum::Router;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};

/// All paths.
pub(crate) fn router(edge: Edge) -> Router {
    Router::new()
        .route("/v1/accounts", post(handlers::create_accounts))
        .route("/v1/accounts/lookup", post(handlers::lookup_accounts))
        .route("/v1/accounts/query", post(handlers::query_accounts))
        .route("/v1/accounts/{id}", get(handlers::account))
        .route("/v1/accounts/{id}/transfers", get(handlers::account_transfers))
        .route("/v1/accounts/{id}/balance", get(handlers::account_balance))
        .route("/v1/transfers", post(handlers::create_transfers))
        .route("/v1/transfers/lookup", post(handlers::lookup_transfers))
        .route("/v1/transfers/query", post(handlers::query_transfers))
        .route("/v1/transactions", post(handlers::create_transaction))
        .route("/v1/ledgers", get(handlers::ledgers))
        .route("/v1/ledgers/{ledger}", put(handlers::describe_ledger))
        .route("/v1/ledgers/{ledger}/trial-balance", get(handlers::trial_balance))
        .route("/openapi.json", get(handlers::openapi))
        .route("/healthz", get(handlers::health))
        .route("/readyz", get(handlers::ready))
        .route("/status", get(handlers::status))
        .route("/cluster/handover", post(handlers::handover))
        .route("/cluster/reports", get(handlers::reports))
        .route("/cluster/reports/latest", get(handlers::latest_report))
        .route("/metrics", get(handlers::metrics))
        .method_not_allowed_fallback(|| async { ApiError::MethodNotAllowed })
        .fallback(no_such_path)
        .with_state(edge)
}

/// A gRPC client that asks for an unknown service expects a gRPC answer.
async fn no_such_path(headers: HeaderMap) -> Response {
    if is_grpc(&headers) {
        return tonic::Status::unimplemented("there is no such service").into_http();
    }
    ApiError::NoSuchPath.into_response()
}

/// The row that a page token continues after.
pub(crate) fn page_from(token: &str, kind: PageKind) -> Result<ledger::RowNumber, &'static str> {
    page::parse(token, kind).ok_or(page::BAD_PAGE)
}

/// Reads a body as the routes do, for a fuzzer: `kind` chooses the route, any number is allowed.
/// Whatever the bytes are, it returns.
pub(crate) fn fuzz(kind: u8, bytes: &[u8]) {
    let _: Option<ApiError> = match kind % 7 {
        0 => requests::accounts(bytes).err(),
        1 => requests::transfers(bytes).err(),
        2 => requests::lookup(bytes).err(),
        3 => requests::transaction(bytes).map(|read| split(&read)).err(),
        4 => requests::query(bytes, page::Kind::Transfers).err(),
        5 => requests::description(ledger::LedgerId(1), bytes).err(),
        _ => params::fuzz(bytes),
    }
    .inspect(|error| {
        let _ = error.to_string();
    });
}

fn split(read: &requests::Transaction) {
    let _ = ledger::split(&read.head, &read.postings, wire::derive_leg_id);
}
