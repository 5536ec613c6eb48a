//! What the process says to operators, on standard error. Owns: format and level. Must not: hold amounts or names.

use crate::config::LogConfig;
use anyhow::{Result, anyhow};
use tracing_subscriber::EnvFilter;

/// Starts logging; once a process.
pub fn start(config: &LogConfig) -> Result<()> {
    let filter = EnvFilter::try_new(&config.level)?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    let started = if config.json {
        builder.json().try_init()
    } else {
        builder.try_init()
    };
    started.map_err(|error| anyhow!("logging does not start: {error}"))
}
