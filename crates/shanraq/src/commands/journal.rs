//! `shanraq journal`: the journal's database.

use crate::config::{Config, LogConfig};
use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use journal::ShardId;
use journal_postgres::{ConnectOptions, Maintained, Maintainer, Password, SCHEMA_VERSION};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::time::Duration;

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
    /// Make partitions ready, freeze full ones, and tell the age of transaction ids.
    ///
    /// Does nothing at a standby, so it may run beside every server. Ends with 2 when transaction ids have reached a tenth
    /// of the age at which PostgreSQL stops all writes.
    Maintain {
        /// `postgresql://user@host:port/database` of a member of `shanraq_owner`.
        #[arg(long, conflicts_with = "socket")]
        url: Option<String>,
        /// A file with that user's password in its first line.
        #[arg(long, requires = "url")]
        password_file: Option<PathBuf>,
        /// Instead: the directory of this host's socket, to log in as `postgres` without a password.
        #[arg(long, required_unless_present = "url")]
        socket: Option<String>,
        /// The socket's port.
        #[arg(long, default_value_t = 5432)]
        port: u16,
        /// Go on, so many seconds after each end.
        #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
        every: Option<u64>,
        /// Print what was done as one JSON object.
        #[arg(long)]
        json: bool,
    },
}

/// From here on somebody should look at what holds vacuum back: a tenth of the age at which PostgreSQL stops writes.
const XID_AGE_HIGH: u64 = 200_000_000;
/// There is one shard until there are several.
const SHARD: ShardId = ShardId(0);
/// The pause after what failed, at most.
const RETRY: Duration = Duration::from_secs(10);

/// Runs the command; whether all is well.
pub fn run(args: &JournalArgs) -> Result<bool> {
    match &args.action {
        Action::Migrate {
            url,
            password_file,
            config,
        } => {
            let connect = match url {
                Some(url) => at(url, password_file.as_deref())?,
                None => configured(config.as_deref())?,
            };
            migrate(&connect).map(|()| true)
        }
        Action::Maintain {
            url,
            password_file,
            socket,
            port,
            every,
            json,
        } => {
            let connect = match url {
                Some(url) => at(url, password_file.as_deref())?,
                None => {
                    let socket = socket.as_deref().context("--url or --socket is needed")?;
                    ConnectOptions::new(socket, *port, "postgres")
                }
            };
            match every {
                Some(seconds) => {
                    crate::log::start(&LogConfig::default())?;
                    maintain_for_ever(&connect, Duration::from_secs(*seconds))
                }
                None => {
                    let done = Maintainer::open(&connect)?.maintain(SHARD)?;
                    print(done.as_ref(), *json);
                    Ok(done.is_none_or(|done| done.xid_age < XID_AGE_HIGH))
                }
            }
        }
    }
}

fn at(url: &str, password_file: Option<&Path>) -> Result<ConnectOptions> {
    Ok(ConnectOptions {
        password: password_file.map(Password::from_file).transpose()?,
        ..ConnectOptions::from_url(url)?
    })
}

fn configured(path: Option<&Path>) -> Result<ConnectOptions> {
    let path = path.context("--url or --config is needed")?;
    let postgres = Config::read(path)?.journal.postgres;
    let postgres = postgres.with_context(|| format!("{}: has no [journal.postgres]", path.display()))?;
    Ok(postgres.options()?.connect)
}

fn migrate(connect: &ConnectOptions) -> Result<()> {
    let found = journal_postgres::migrate(connect, None)?;
    match found {
        SCHEMA_VERSION => println!("the schema is at version {found} already"),
        found => println!("migrated the schema from version {found} to {SCHEMA_VERSION}"),
    }
    Ok(())
}

/// For a supervisor or systemd: what fails is told once for each reason, and tried again.
fn maintain_for_ever(connect: &ConnectOptions, pause: Duration) -> ! {
    let mut told = String::new();
    loop {
        match Maintainer::open(connect).and_then(|mut maintainer| maintainer.maintain(SHARD)) {
            Ok(done) => {
                told.clear();
                done.iter().for_each(tell);
                std::thread::sleep(pause);
            }
            Err(error) => {
                if told != error.to_string() {
                    told = error.to_string();
                    tracing::warn!(code = error.code(), %error, "the journal's tables cannot be looked after now");
                }
                std::thread::sleep(pause.min(RETRY));
            }
        }
    }
}

fn tell(done: &Maintained) {
    let (frozen, age) = (done.frozen, done.xid_age);
    if age >= XID_AGE_HIGH {
        tracing::warn!(
            code = "PGJ-0101",
            age,
            "transaction ids are old: look at what holds vacuum back, before PostgreSQL stops all writes"
        );
    }
    tracing::info!(frozen, age, until = %done.partitions_until, "the journal's tables are looked after");
}

fn print(done: Option<&Maintained>, json: bool) {
    let Some(done) = done else {
        return match json {
            true => println!("{}", json!({ "standby": true })),
            false => println!("this server is a standby: there is nothing to do"),
        };
    };
    let (until, frozen, age) = (done.partitions_until.0, done.frozen, done.xid_age);
    match json {
        true => println!(
            "{}",
            json!({ "standby": false, "partitions_until": until.to_string(), "frozen": frozen, "xid_age": age })
        ),
        false => println!(
            "partitions stand up to height {until}; {frozen} frozen now; the oldest transaction is {age} back"
        ),
    }
}
