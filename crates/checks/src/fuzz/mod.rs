//! Mutated inputs against every reader of foreign bytes. A reader may refuse; it may never panic, hang or eat all memory.
//!
//! Owns: the mutator, the seeds, the table of readers. The nth input of a reader depends on the seed alone, so that a run repeats.

mod driver;
mod mutate;
mod seeds;
mod targets;

pub use driver::{Failure, Report, Tried, fuzz, read_one};
pub use mutate::Mutator;
pub use targets::{Target, targets};
