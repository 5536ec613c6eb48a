//! `shanraq config check`: says what is wrong with a configuration file, and where.

use crate::config::Config;
use anyhow::Result;
use clap::{Args, Subcommand};
use std::path::PathBuf;

/// Work on configuration files.
#[derive(Debug, Args)]
pub struct ConfigArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Check a file; exits with 1 and names the key when it is refused.
    Check {
        /// The file.
        file: PathBuf,
    },
}

/// Runs the command.
pub fn run(args: &ConfigArgs) -> Result<()> {
    let Action::Check { file } = &args.action;
    let config = Config::read(file)?;
    println!("{} is good: {config:#?}", file.display());
    Ok(())
}
