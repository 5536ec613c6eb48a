//! The edges of a node: gRPC and REST, on one port.
//!
//! Owns: REST's format, request metrics, the mapping of failures to what a client sees. gRPC's types are `crates/wire`'s.
//! Must not: know the rules of the ledger or the journal's format.

mod bounds;
mod edge;
mod error;
mod first_bytes;
mod grpc;
mod metrics;
mod placement;
mod rest;
mod server;
mod settings;

pub use bounds::{LiveBounds, RequestBounds};
pub use error::{ApiError, Place};
pub use placement::{Members, Place as WriterPlace};
pub use server::{ApiConfig, serve, serve_member};
pub use settings::{LiveStatus, SettingsStatus};

/// The description of the REST interface, OpenAPI 3.1, as served at `/openapi.json`.
#[must_use]
pub fn openapi_json() -> &'static str {
    rest::openapi::text()
}

/// Reads a REST body as the routes do, for a fuzzer: `kind` chooses the reader, any number is allowed.
/// Whatever the bytes are, it returns.
pub fn fuzz_rest_body(kind: u8, bytes: &[u8]) {
    rest::fuzz(kind, bytes);
}
