//! Loads and checkers that hold a ledger to its promises while it is disturbed, and the fault campaign on a cluster.
//!
//! Owns: what clients ask, the record of what they heard, the checkers of that, the faults and their report. Must not: be
//! leaned on by the product.

pub mod arena;
pub mod faults;
pub mod gaps;
pub mod history;
pub mod load;
pub mod look;
pub mod report;
pub mod round;
