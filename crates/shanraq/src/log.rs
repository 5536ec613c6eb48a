//! What the process says to operators, on standard error. Owns: format and level. Must not: hold amounts or names.

use crate::config::LogConfig;
use anyhow::{Result, anyhow};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::reload::Error;

/// Puts another filter in place of the one that counts.
type Reload = Box<dyn Fn(EnvFilter) -> Result<(), Error> + Send>;

/// The level of a log that runs.
pub struct LogLevel {
    reload: Reload,
}

impl LogLevel {
    /// Lines less severe than this are not written any more.
    pub fn set(&self, level: &str) -> Result<()> {
        (self.reload)(filter(level)?)?;
        Ok(())
    }
}

/// What the libraries below us say of every frame would bury what we say; `trace` has it.
fn filter(level: &str) -> Result<EnvFilter> {
    let quiet = match level {
        "debug" => ",h2=info,hyper=info,hyper_util=info,tonic=info,tower=info",
        _ => "",
    };
    Ok(EnvFilter::try_new(format!("{level}{quiet}"))?)
}

/// Starts logging; once a process.
pub fn start(config: &LogConfig) -> Result<LogLevel> {
    let filter = filter(&config.level)?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    let (reload, started): (Reload, _) = if config.json {
        let builder = builder.json().with_filter_reloading();
        let handle = builder.reload_handle();
        (Box::new(move |filter| handle.reload(filter)), builder.try_init())
    } else {
        let builder = builder.with_filter_reloading();
        let handle = builder.reload_handle();
        (Box::new(move |filter| handle.reload(filter)), builder.try_init())
    };
    started.map_err(|error| anyhow!("logging does not start: {error}"))?;
    Ok(LogLevel { reload })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing::Level;

    #[test]
    fn the_level_of_a_log_that_runs_can_be_changed_to_and_fro() {
        let level = start(&LogConfig::default()).unwrap();
        let writes = |level: Level| match level {
            Level::WARN => tracing::enabled!(Level::WARN),
            Level::INFO => tracing::enabled!(Level::INFO),
            _ => tracing::enabled!(Level::DEBUG),
        };
        assert!(writes(Level::INFO) && !writes(Level::DEBUG), "as it began");
        level.set("debug").unwrap();
        assert!(writes(Level::DEBUG));
        let writes_frames = || tracing::enabled!(target: "h2::codec", Level::DEBUG);
        assert!(!writes_frames(), "frames would bury the rest");
        level.set("trace").unwrap();
        assert!(writes_frames());
        level.set("warn").unwrap();
        assert!(writes(Level::WARN) && !writes(Level::INFO));
    }
}
