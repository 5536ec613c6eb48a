//! Campaigns against the product from outside: the crash test and the fuzzers. Run by `cargo xtask crash` and `cargo xtask fuzz`.
//!
//! Owns: loads, mutations and the checkers of what came of them. Must not: be leaned on by the product.

pub mod crash;
pub mod fuzz;
