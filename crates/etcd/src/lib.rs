//! Asking etcd: several endpoints, one question at a time to one of them, the next when it does not answer.
//!
//! Owns: the part of etcd's v3 protocol that we use, channels, time limits, what an answer must hold to be believed.
//! Must not: know what anybody keeps in etcd, or repeat anything that is not asked for again by its caller.

mod client;
mod error;
mod keys;
mod maintenance;
pub mod proto;

pub use client::{Client, keep_alive, read};
pub use error::EtcdError;
pub use keys::{
    LeaseId, compare_absent, compare_created, compare_modified, compare_value, delete, one, put, under,
};
