//! What is generated from `proto/etcd.proto`: etcd's own names.

#![allow(missing_docs, clippy::all, reason = "generated")]

tonic::include_proto!("etcdserverpb");
