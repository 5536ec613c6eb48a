//! Choosing the writer through etcd leases.
//!
//! Owns: the member key, the writer key, the lease under both, and how long this process may believe in it. Must
//! not: be what a balance's safety rests on (that is the journal), know what a writer does, or read configuration
//! and environment. Why it is as it is: `docs/election.md`.
//!
//! An [`Elector`] works on a thread with an event loop of its own, so that a busy server does not make it late. Its
//! asynchronous functions may be awaited from any runtime, its plain ones called from anywhere.

mod campaign;
mod clock;
mod confirm;
mod discovery;
mod elector;
mod error;
mod member;
mod options;
mod plan;
mod shared;
mod standing;
mod store;
mod view;

pub use clock::BootTime;
pub use discovery::present;
pub use elector::{Changes, Elector};
pub use error::ElectionError;
pub use member::{Farewell, Member, MemberName, Present, Role};
pub use options::ElectionOptions;
pub use standing::{Leadership, TermRevision};
