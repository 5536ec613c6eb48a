//! The crash test: a real node is killed again and again under load, and its books are held against what its clients heard.

mod books;
mod checker;
mod load;
mod record;

pub use checker::{Observed, ObservedRow, Violation, check};
pub use load::{Load, Request, accounts};
pub use record::{Call, Heard, Moment, burns_id};
