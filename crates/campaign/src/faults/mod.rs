//! What can go wrong with a cluster: the faults by name, who plays which part, how each is made and undone.

mod cast;
pub mod clocks;
pub mod disks;
mod fault;
mod nemesis;
pub mod shell;

pub use cast::Cast;
pub use fault::{Expect, Fault};
pub use nemesis::Nemesis;
