//! The crash test: a real node is killed again and again under load, and its books are held against what its clients heard.

mod campaign;
mod clients;
mod look;

pub use campaign::{Options, Report, run};
pub(crate) use clients::{Shared, run_client};
pub(crate) use look::{look_up, observe, violations};
