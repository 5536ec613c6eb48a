//! What clients ask for, the clients, and the record of what they heard.

mod clients;
mod record;
mod requests;
mod rest;

pub use clients::{Clients, THINK, settle};
pub use record::{Attempt, Everything, Record, write};
pub use requests::{Load, Request, World};
pub use rest::RestClient;
