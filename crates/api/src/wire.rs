//! The gRPC types, generated from `proto/shanraq`. Owns nothing else.

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
