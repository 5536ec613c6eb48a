//! The full disk: a real node on a small file system of its own, under load, until nothing more goes onto it.

mod campaign;
mod filler;
mod http;
mod mount;

pub use campaign::{Options, Report, run};
pub use mount::FileSystem;
