//! What goes over the wire between a node and whoever asks it.
//!
//! Owns: the gRPC types, generated from `proto/shanraq`, their conversion, the names of flags and trailers, the form of metadata,
//! the ids that follow from a key. Must not: know a node or a client, which both stand on it.

pub mod convert;
pub mod flags;
mod ids;
pub mod metadata;

pub use ids::{KEY_BYTES_MAX, derive_id, derive_leg_id};

/// The largest request that a node takes unless it is told otherwise, in bytes.
pub const REQUEST_BYTES_MAX: usize = 8 << 20;

/// gRPC metadata and HTTP header of a read: how old its answer may be (`linearizable`, `bounded; max-age-ms=N`, `any`).
pub const CONSISTENCY: &str = "shanraq-consistency";
/// gRPC trailer: milliseconds to wait before trying again.
pub const RETRY_AFTER_MS: &str = "retry-after-ms";
/// gRPC trailer: the stable code.
pub const ERROR_CODE: &str = "shanraq-code";
/// gRPC trailer: `unknown` or `nothing_done`.
pub const OUTCOME: &str = "shanraq-outcome";

/// Version 1 of the interface.
#[allow(
    missing_docs,
    clippy::all,
    reason = "generated; described in the protobuf source"
)]
pub mod v1 {
    tonic::include_proto!("shanraq.v1");
}

/// Version 1 of what members of a cluster ask of each other.
#[allow(
    missing_docs,
    clippy::all,
    reason = "generated; described in the protobuf source"
)]
pub mod members {
    tonic::include_proto!("shanraq.members.v1");
}
