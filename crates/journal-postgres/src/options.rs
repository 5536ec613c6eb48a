//! How a journal in PostgreSQL is reached and when its blocks are durable. Must not: read the environment, print a password.

use crate::{PostgresError, RIVALS_WITHIN};
use journal::ShardId;
use std::fmt;
use std::num::NonZeroU32;
use std::path::Path;
use std::time::Duration;
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};

/// A password; never printed.
#[derive(Clone)]
pub struct Password(String);

impl Password {
    /// As it is.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The first line of a file.
    ///
    /// # Errors
    /// [`PostgresError::System`] when it cannot be read, [`PostgresError::Option`] when it is empty.
    pub fn from_file(path: &Path) -> Result<Self, PostgresError> {
        let text = std::fs::read_to_string(path).map_err(|source| PostgresError::System {
            action: "read the password file",
            source,
        })?;
        match text.lines().next() {
            Some(line) if !line.is_empty() => Ok(Self::new(line)),
            _ => Err(PostgresError::Option {
                field: "password_file",
                reason: format!("({}) is empty", path.display()),
            }),
        }
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Password(…)")
    }
}

/// How the connection is protected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Tls {
    /// Not at all. For loopback and private networks, until certificates arrive.
    #[default]
    Off,
}

/// How PostgreSQL is reached.
#[derive(Clone, Debug)]
pub struct ConnectOptions {
    /// Name or address, and port. A reader takes the first that answers, a writer the one on the latest timeline of those that take
    /// writes. Never a pooler for a writer: a term lives and dies with one session.
    pub hosts: Vec<(String, u16)>,
    /// Database. Default: `shanraq`.
    pub database: String,
    /// User to log in as; a member of `shanraq_writer`, `shanraq_reader` or `shanraq_owner`.
    pub user: String,
    /// None where the server asks for none.
    pub password: Option<Password>,
    /// Default: off.
    pub tls: Tls,
    /// How long a session may take to come about, for each host, in ms; one that takes the connection and is silent counts, too.
    /// Default: 2,000.
    pub connect_timeout_ms: u32,
    /// After how long without the other side's TCP acknowledgement a connection counts as broken, in ms.
    /// Default: 3,000.
    pub tcp_user_timeout_ms: u32,
    /// Where the server that takes writes is sought: whether every host may take `connect_timeout_ms` to say that it takes them,
    /// and not only [`RIVALS_WITHIN`] once one has. Default: false.
    pub hears_all_out: bool,
    /// Shown by the server to its administrators. Default: `shanraq`.
    pub application_name: String,
}

impl ConnectOptions {
    /// One host, all else as by default.
    #[must_use]
    pub fn new(host: impl Into<String>, port: u16, user: impl Into<String>) -> Self {
        Self {
            hosts: vec![(host.into(), port)],
            database: "shanraq".into(),
            user: user.into(),
            password: None,
            tls: Tls::Off,
            connect_timeout_ms: 2_000,
            tcp_user_timeout_ms: 3_000,
            hears_all_out: false,
            application_name: "shanraq".into(),
        }
    }

    /// From `postgresql://user@host:port,host:port/database`. A password in it is refused: command lines are public.
    ///
    /// # Errors
    /// [`PostgresError::Option`] that names the part.
    pub fn from_url(url: &str) -> Result<Self, PostgresError> {
        let refuse = |field, reason: String| Err(PostgresError::Option { field, reason });
        let Ok(config) = url.parse::<Config>() else {
            return refuse(
                "url",
                "is not of the form postgresql://user@host:port/database".into(),
            );
        };
        if config.get_password().is_some() {
            return refuse("url", "holds a password; give it in a file".into());
        }
        let Some(user) = config.get_user() else {
            return refuse("url", "names no user".into());
        };
        let ports = config.get_ports();
        let mut options = Self::new("", 0, user);
        options.hosts.clear();
        for (i, host) in config.get_hosts().iter().enumerate() {
            let Host::Tcp(name) = host else {
                return refuse("url", "names a socket file; give a host".into());
            };
            let port = ports.get(i).or(ports.first()).copied().unwrap_or(5432);
            options.hosts.push((name.clone(), port));
        }
        if let Some(database) = config.get_dbname() {
            options.database = database.to_owned();
        }
        options.check()?;
        Ok(options)
    }

    /// Says what is wrong with it.
    ///
    /// # Errors
    /// [`PostgresError::Option`] that names the field.
    pub fn check(&self) -> Result<(), PostgresError> {
        let refuse = |field, reason: &str| {
            Err(PostgresError::Option {
                field,
                reason: reason.into(),
            })
        };
        if self.hosts.is_empty() {
            return refuse("hosts", "is empty");
        }
        if self.hosts.iter().any(|(name, _)| name.is_empty()) {
            return refuse("hosts", "has an empty name");
        }
        if self.database.is_empty() {
            return refuse("database", "is empty");
        }
        if self.user.is_empty() {
            return refuse("user", "is empty");
        }
        if self.connect_timeout_ms == 0 || self.tcp_user_timeout_ms == 0 {
            return refuse(
                "connect_timeout_ms, tcp_user_timeout_ms",
                "must not be 0: the other side may be silent for ever",
            );
        }
        Ok(())
    }

    /// Hosts and database, for messages.
    pub(crate) fn target(&self) -> String {
        let hosts: Vec<_> = self
            .hosts
            .iter()
            .map(|(name, port)| format!("{name}:{port}"))
            .collect();
        format!("postgresql://{}/{}", hosts.join(","), self.database)
    }

    pub(crate) fn connect_timeout(&self) -> Duration {
        ms(self.connect_timeout_ms)
    }

    pub(crate) fn rivals_within(&self) -> Duration {
        match self.hears_all_out {
            true => self.connect_timeout(),
            false => RIVALS_WITHIN,
        }
    }

    /// How one of the hosts is reached.
    pub(crate) fn config(&self, (name, port): &(String, u16), writes: bool) -> Config {
        let mut config = Config::new();
        config.host(name).port(*port);
        if let Some(Password(password)) = &self.password {
            config.password(password);
        }
        let Tls::Off = self.tls;
        config
            .ssl_mode(SslMode::Disable)
            .user(&self.user)
            .dbname(&self.database)
            .application_name(&self.application_name)
            .connect_timeout(ms(self.connect_timeout_ms))
            .tcp_user_timeout(ms(self.tcp_user_timeout_ms))
            // A host that died while we wait for its answer sends nothing that could go unacknowledged.
            .keepalives(true)
            .keepalives_idle(ms(1_000))
            .keepalives_interval(ms(1_000))
            .keepalives_retries(3)
            .target_session_attrs(if writes {
                TargetSessionAttrs::ReadWrite
            } else {
                TargetSessionAttrs::Any
            });
        config
    }
}

fn ms(number: u32) -> Duration {
    Duration::from_millis(number.into())
}

/// When a block that PostgreSQL committed is durable. There is no default: somebody must have decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Durability {
    /// When it is on the disk of the one server. For development: who loses that disk loses acknowledged transfers.
    Local,
    /// When it is also on the disk of so many of these standbys, by `application_name`, as the topology names them.
    Standbys {
        /// Who counts.
        names: Vec<String>,
        /// How many must have flushed it.
        flushed: NonZeroU32,
    },
}

impl Durability {
    /// One flush among these standbys.
    #[must_use]
    pub fn any_of<S: Into<String>>(names: impl IntoIterator<Item = S>) -> Self {
        Self::Standbys {
            names: names.into_iter().map(Into::into).collect(),
            flushed: NonZeroU32::MIN,
        }
    }

    /// Says what is wrong with it.
    ///
    /// # Errors
    /// [`PostgresError::Option`] that names the field.
    pub fn check(&self) -> Result<(), PostgresError> {
        let Self::Standbys { names, flushed } = self else {
            return Ok(());
        };
        let reason = if names.iter().any(|name| name.is_empty() || name == "*") {
            "must name each standby"
        } else if names
            .iter()
            .enumerate()
            .any(|(i, name)| names[..i].contains(name))
        {
            "names a standby twice"
        } else if names.len() < flushed.get() as usize {
            "names fewer standbys than must have flushed"
        } else {
            return Ok(());
        };
        Err(PostgresError::Option {
            field: "durability",
            reason: reason.into(),
        })
    }
}

/// A writer's journal.
#[derive(Clone, Debug)]
pub struct PostgresOptions {
    /// How the server is reached.
    pub connect: ConnectOptions,
    /// When a block is durable.
    pub durability: Durability,
    /// Which journal; blocks of another are refused.
    pub shard: ShardId,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(url: &str) -> String {
        ConnectOptions::from_url(url).unwrap_err().to_string()
    }

    #[test]
    fn a_url_names_hosts_user_and_database_and_never_a_password() {
        let options = ConnectOptions::from_url("postgresql://node@a:5001,b:5002/books").unwrap();
        assert_eq!(options.hosts, [("a".into(), 5001), ("b".into(), 5002)]);
        assert_eq!((&*options.user, &*options.database), ("node", "books"));
        let options = ConnectOptions::from_url("postgresql://node@a").unwrap();
        assert_eq!(options.hosts, [("a".into(), 5432)]);
        assert_eq!(options.database, "shanraq");
        let refused = refusal("postgresql://node:secret@a/books");
        assert!(
            refused.contains("password") && !refused.contains("secret"),
            "{refused}"
        );
        assert!(refusal("postgresql://a/books").contains("user"));
        assert!(refusal("postgresql://node@/books").contains("hosts"));
        assert!(refusal("books").contains("form"));
    }

    #[test]
    fn a_password_is_never_printed() {
        let mut options = ConnectOptions::new("a", 1, "node");
        options.password = Some(Password::new("secret"));
        assert!(!format!("{options:?} {:?}", options.config(&options.hosts[0], true)).contains("secret"));
    }

    #[test]
    fn what_cannot_be_used_is_refused_by_name() {
        let mut options = ConnectOptions::new("a", 1, "node");
        options.tcp_user_timeout_ms = 0;
        assert!(
            options
                .check()
                .unwrap_err()
                .to_string()
                .contains("tcp_user_timeout_ms")
        );
        let refused = |durability: Durability| durability.check().unwrap_err().to_string();
        assert!(refused(Durability::any_of(["*"])).contains("durability"));
        assert!(refused(Durability::any_of([""])).contains("durability"));
        assert!(refused(Durability::any_of(["pg2", "pg2"])).contains("twice"));
        assert!(refused(Durability::any_of(Vec::<String>::new())).contains("fewer"));
        assert!(Durability::any_of(["pg2", "pg3"]).check().is_ok());
        assert!(Durability::Local.check().is_ok());
    }
}
