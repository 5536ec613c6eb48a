//! The index over committed transfers: by id, account, user data, code, ledger and time.

mod filter;

pub use filter::*;
