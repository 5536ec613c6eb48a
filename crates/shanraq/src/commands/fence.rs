//! `shanraq fence`: run by Patroni's `pre_promote`. Owns: its command line and exit code; the work is in the crate
//! `sentinel`.

use anyhow::{Context, Result};
use clap::Args;
use sentinel::fence::{FenceOptions, run as hold};
use std::path::PathBuf;

/// Hold a promotion of this host's PostgreSQL until nothing acknowledged can be lost by it (Patroni's `pre_promote`).
///
/// Ends with 0 when the promotion may go on, with 1 when it must not; what it waits for goes to standard error.
#[derive(Debug, Args)]
pub struct FenceArgs {
    /// The fence's configuration, `fence.toml`.
    #[arg(long, default_value = "/etc/shanraq/fence.toml")]
    config: PathBuf,
}

/// Runs the command.
pub fn run(args: &FenceArgs) -> Result<()> {
    let options = FenceOptions::read(&args.config)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("cannot start an event loop")?;
    let mut tell = |what: &str| eprintln!("shanraq fence: waiting: {what}");
    let passed = runtime.block_on(hold(&options, &mut tell))?;
    let pointed: Vec<_> = passed.pointed.iter().map(ToString::to_string).collect();
    let pointed = match pointed.is_empty() {
        true => String::new(),
        false => format!("; pointed here: {}", pointed.join(", ")),
    };
    eprintln!(
        "shanraq fence: {} may be promoted, after {} ms{pointed}",
        options.name,
        passed.took.as_millis()
    );
    Ok(())
}
