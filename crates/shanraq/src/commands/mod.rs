//! The commands, one a file.

pub mod account;
pub mod config;
pub mod serve;
pub mod transfer;
pub mod trial_balance;
