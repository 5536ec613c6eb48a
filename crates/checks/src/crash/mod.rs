//! The crash test: a real node is killed again and again under load, and its books are held against what its clients heard.

mod books;
mod campaign;
mod checker;
mod clients;
mod load;
mod process;
mod record;

pub use campaign::{Options, Report, run};
pub use checker::{Observed, ObservedRow, Violation, check};
pub use load::{Load, Request, accounts};
pub use record::{Call, Heard, Moment, burns_id};
