//! What is generated from `proto/etcd.proto`. Must not: leave this crate.

#![allow(missing_docs, clippy::all, reason = "generated")]

tonic::include_proto!("etcdserverpb");
