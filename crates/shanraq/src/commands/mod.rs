//! The commands, one a file.

pub mod account;
pub mod cluster;
pub mod cluster_config;
pub mod cluster_nodes;
pub mod cluster_report;
pub mod cluster_up;
pub mod config;
pub mod etcd_place;
pub mod fence;
pub mod import;
pub mod inspect;
pub mod journal;
pub mod member;
pub mod migrate;
pub mod projection;
pub mod rewind;
pub mod serve;
pub mod statement;
pub mod transfer;
pub mod trial_balance;
pub mod up;
pub mod verify;
