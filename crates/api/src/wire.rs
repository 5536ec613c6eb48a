//! The gRPC types, generated from `proto/shanraq/v1/ledger.proto`. Owns nothing else.

/// Version 1 of the interface.
#[allow(
    missing_docs,
    clippy::all,
    reason = "generated; described in the protobuf source"
)]
pub mod v1 {
    tonic::include_proto!("shanraq.v1");
}
