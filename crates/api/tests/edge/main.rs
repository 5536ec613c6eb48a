//! The edges as clients see them, against a real node.

mod grpc;
mod rest;
mod support;
