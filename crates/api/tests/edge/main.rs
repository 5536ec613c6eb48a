//! The edges as clients see them, against a real node.

mod connections;
mod grpc;
mod rest;
mod support;
