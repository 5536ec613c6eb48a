//! Queries at scale: a real node gets much history, and everything that it can be asked is compared with what a naive
//! reference says that looks at every row.

mod campaign;
mod load;
mod questions;
mod reference;

pub use campaign::{Options, Report, run};
