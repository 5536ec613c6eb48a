//! Failover of PostgreSQL in a real cluster: what the fence keeps, and how long it takes with and without the sentinel.

mod double_freeze;
mod lost_host;
mod support;
