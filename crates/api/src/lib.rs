//! The edges of a node: gRPC and REST, on one port.
//!
//! Owns: wire formats, their conversion, request metrics, the mapping of failures to what a client sees.
//! Must not: know the rules of the ledger or the journal's format.

mod bounds;
pub mod convert;
mod edge;
mod error;
mod first_bytes;
pub mod flags;
mod grpc;
mod idempotency;
mod metadata;
mod metrics;
mod placement;
mod rest;
mod server;
mod settings;
pub mod wire;

pub use bounds::{LiveBounds, RequestBounds};
pub use error::{ApiError, ERROR_CODE, OUTCOME, Place, RETRY_AFTER_MS};
pub use idempotency::{KEY_BYTES_MAX, derive_id, derive_leg_id};
pub use metadata::{METADATA_BYTES_MAX, METADATA_DEPTH_MAX, compact as compact_metadata};
pub use placement::{CONSISTENCY, Members, Place as WriterPlace};
pub use server::{ApiConfig, REQUEST_BYTES_MAX, serve, serve_member};
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
