//! `shanraq journal`: the journal's database.

use crate::config::Config;
use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use journal_postgres::{ConnectOptions, Password, SCHEMA_VERSION};
use std::path::PathBuf;

/// Look after a journal in PostgreSQL.
#[derive(Debug, Args)]
pub struct JournalArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Bring the database's schema to this program's version; does nothing where it is.
    Migrate {
        /// `postgresql://user@host:port/database` of a user who may create roles and schemas.
        #[arg(long, conflicts_with = "config")]
        url: Option<String>,
        /// A file with that user's password in its first line.
        #[arg(long, requires = "url")]
        password_file: Option<PathBuf>,
        /// Instead: the server and the user of `[journal.postgres]` in this configuration.
        #[arg(long, required_unless_present = "url")]
        config: Option<PathBuf>,
    },
}

/// Runs the command.
pub fn run(args: &JournalArgs) -> Result<()> {
    let Action::Migrate {
        url,
        password_file,
        config,
    } = &args.action;
    let connect = match (url, config) {
        (Some(url), _) => ConnectOptions {
            password: password_file.as_deref().map(Password::from_file).transpose()?,
            ..ConnectOptions::from_url(url)?
        },
        (None, config) => {
            let path = config.as_deref().context("--url or --config is needed")?;
            let postgres = Config::read(path)?.journal.postgres;
            let postgres =
                postgres.with_context(|| format!("{}: has no [journal.postgres]", path.display()))?;
            postgres.options()?.connect
        }
    };
    let found = journal_postgres::migrate(&connect, None)?;
    match found {
        SCHEMA_VERSION => println!("the schema is at version {found} already"),
        found => println!("migrated the schema from version {found} to {SCHEMA_VERSION}"),
    }
    Ok(())
}
