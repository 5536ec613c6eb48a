//! What clients ask for.

mod requests;

pub use requests::{Load, Request, World};
