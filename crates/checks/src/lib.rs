//! Campaigns against the product from outside, run by `cargo xtask`: the crash test, the full disk,
//! queries at scale, the fuzzers.
//!
//! Owns: loads, mutations and the checkers of what came of them. Must not: be leaned on by the product.

pub mod crash;
pub mod full_disk;
pub mod fuzz;
mod process;
pub mod scale;
