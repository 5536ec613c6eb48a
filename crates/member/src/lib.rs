//! A node as a member of a cluster: it follows the writer, becomes it when it is elected, and ends when it is not any more.
//!
//! Owns: when a node is promoted, from where a follower gets its blocks, and who is to answer a request. Must not: know
//! wire formats, or take an election for more than it is worth: what keeps two writers apart is the journal.

mod asking;
mod clocks;
mod error;
mod feed;
mod follow;
mod freshness;
mod hearing;
mod lead;
mod member;
mod report;
mod reporter;
mod reports;

pub use error::MemberError;
pub use member::{Ended, Member, MemberOptions};
