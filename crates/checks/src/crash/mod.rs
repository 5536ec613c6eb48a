//! The crash test: a real node is killed again and again under load, and its books are held against what its clients heard.

mod books;
mod campaign;
mod checker;
mod clients;
mod load;
mod look;
mod record;

pub use campaign::{Options, Report, run};
pub use checker::{Observed, ObservedRow, Violation, check};
pub(crate) use clients::{Shared, run_client};
pub use load::{Load, Request, accounts};
pub(crate) use look::{look_up, observe, violations};
pub use record::{Call, Heard, Moment, burns_id};
