//! The real binary on a real PostgreSQL, alone and as a member of a cluster.

mod clocks;
mod configuration;
mod journal;
mod members;
mod migrate;
mod projection;
mod rewind;
mod support;
