//! The edges of a node: gRPC and REST, on one port.
//!
//! Owns: wire formats, their conversion, request metrics, the mapping of failures to what a client sees.
//! Must not: know the rules of the ledger or the journal's format.

mod server;
pub mod wire;

pub use server::{ApiConfig, serve};
