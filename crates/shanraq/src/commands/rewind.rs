//! `shanraq rewind`: run by Patroni in place of `pg_rewind`. Owns: its command line; the work is in the crate `cluster`.

use anyhow::Result;
use clap::Args;
use std::ffi::OsString;
use std::path::PathBuf;

/// Rewind this host's PostgreSQL and keep the log that it replays, which the new primary may have no more.
///
/// Runs `pg_rewind` and fails where that fails. What was kept goes to standard error.
#[derive(Debug, Args)]
pub struct RewindArgs {
    /// PostgreSQL's own program.
    #[arg(long)]
    pg_rewind: PathBuf,
    /// Its arguments, after `--`.
    #[arg(last = true)]
    arguments: Vec<OsString>,
}

/// Runs the command; whether `pg_rewind` succeeded.
pub fn run(args: &RewindArgs) -> Result<bool> {
    let mut tell = |what: &str| eprintln!("shanraq rewind: {what}");
    let status = cluster::rewind(&args.pg_rewind, &args.arguments, &mut tell)?;
    Ok(status.success())
}
