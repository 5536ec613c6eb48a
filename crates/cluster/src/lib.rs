//! The cluster around the ledger: PostgreSQL under Patroni, etcd, HAProxy, PgBouncer, keepalived, all of them stock.
//!
//! Owns: the topology ([`Topology`], one typed file), what is rendered from it ([`render`]), the programs' installation
//! ([`setup`]), a supervisor of the whole on one machine ([`Supervisor`]), what is seen of it ([`observe`]) and the faults
//! that can be made in it. Must not: know the ledger's rules or formats, or hold anything that the ledger's safety rests on.

mod address;
mod control;
mod error;
mod files;
mod handover;
mod host;
mod http;
mod impair;
mod links;
mod local;
mod prime;
mod process;
mod relay;
mod render;
mod rewind;
mod runtime_api;
mod schema;
mod scram;
mod secrets;
mod setup;
mod sizing;
mod specs;
mod status;
mod supervisor;
mod table;
mod teardown;
mod topology;

pub use control::{Order, Target, Verb, send};
pub use error::ClusterError;
pub use files::{FileOwner, RenderedFile, write_host, write_tree};
pub use handover::{Handover, hand_over};
pub use impair::{BadLine, Impairment, impair};
pub use links::{Cut, cut, heal, namespace};
pub use local::{HostMode, Local, prepare};
pub use prime::{Primed, prime};
pub use relay::relay;
pub use render::{render, server_settings};
pub use rewind::rewind;
pub use runtime_api::drain;
pub use secrets::Secrets;
pub use setup::{apt_install, install, tools_directory};
pub use sizing::Machine;
pub use status::{
    EtcdStatus, HostStatus, NodeStatus, PostgresStatus, ProcessStatus, ProjectionStatus, Status, observe,
};
pub use supervisor::Supervisor;
pub use table::{ProcessState, Table};
pub use teardown::down;
pub use topology::{
    Balance, BalanceAlgorithm, Directories, Durability, DurabilityMode, Host, HostName, Ports, ProcessKind,
    Programs, Role, SharedAddress, Topology,
};
