//! How servers are reached and how fast the tables follow. Must not: read the environment, print a password.

use crate::ProjectionError;
use std::fmt;
use std::time::Duration;
use tokio_postgres::Config;
use tokio_postgres::config::{SslMode, TargetSessionAttrs};

/// A password; never printed.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// As it is.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret(…)")
    }
}

/// How a PostgreSQL server that takes writes is reached.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// Name or address, and port, all asked at once; of those that take writes the one on the latest timeline is taken.
    pub hosts: Vec<(String, u16)>,
    /// Database.
    pub database: String,
    /// User to log in as.
    pub user: String,
    /// None where the server asks for none.
    pub password: Option<Secret>,
    /// How long a connection may take to come about, for each host. Default: 2 s.
    pub connect_timeout: Duration,
    /// After how long without the other side's TCP acknowledgement a connection counts as broken. Default: 3 s.
    pub tcp_user_timeout: Duration,
}

impl ServerOptions {
    /// One host, all else as by default.
    #[must_use]
    pub fn new(host: impl Into<String>, port: u16, database: &str, user: &str) -> Self {
        Self {
            hosts: vec![(host.into(), port)],
            database: database.to_owned(),
            user: user.to_owned(),
            password: None,
            connect_timeout: Duration::from_secs(2),
            tcp_user_timeout: Duration::from_secs(3),
        }
    }

    /// Says what is wrong with it.
    ///
    /// # Errors
    /// [`ProjectionError::Option`] that names the field.
    pub fn check(&self) -> Result<(), ProjectionError> {
        let refuse = |field, reason: &str| {
            let reason = reason.to_owned();
            Err(ProjectionError::Option { field, reason })
        };
        if self.hosts.is_empty() || self.hosts.iter().any(|(name, _)| name.is_empty()) {
            return refuse("hosts", "must name at least one host, and each");
        }
        if self.database.is_empty() {
            return refuse("database", "is empty");
        }
        if self.user.is_empty() {
            return refuse("user", "is empty");
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

    /// For one of the hosts.
    pub(crate) fn config(&self, (name, port): &(String, u16), application: &str) -> Config {
        let mut config = Config::new();
        config.host(name).port(*port);
        if let Some(Secret(password)) = &self.password {
            config.password(password);
        }
        let second = Duration::from_secs(1);
        config
            .ssl_mode(SslMode::Disable)
            .user(&self.user)
            .dbname(&self.database)
            .application_name(application)
            .connect_timeout(self.connect_timeout)
            .tcp_user_timeout(self.tcp_user_timeout)
            // A host that died while we wait for its answer sends nothing that could go unacknowledged.
            .keepalives(true)
            .keepalives_idle(second)
            .keepalives_interval(second)
            .keepalives_retries(3)
            .target_session_attrs(TargetSessionAttrs::ReadWrite);
        config
    }
}

/// How fast the tables follow.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Between the beginnings of two steps, at least. A longer one costs less: an account that changes many times
    /// within a step is written once. Default: 2 s.
    pub interval: Duration,
    /// Rows of `transfers` in a step before it is ended early. Default: 65,536.
    pub step_rows: usize,
    /// Whether to wait while another projection that does so moves the tables. Two at once do no harm, but everything
    /// twice. Default: false.
    pub waits_for_turn: bool,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(2),
            step_rows: 65_536,
            waits_for_turn: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_printed() {
        let mut options = ServerOptions::new("a", 1, "books", "projector");
        options.password = Some(Secret::new("secret"));
        let printed = format!(
            "{options:?} {:?} {}",
            options.config(&options.hosts[0], "test"),
            options.target()
        );
        assert!(!printed.contains("secret"), "{printed}");
    }

    #[test]
    fn what_cannot_be_used_is_refused_by_name() {
        let refused = |change: fn(&mut ServerOptions)| {
            let mut options = ServerOptions::new("a", 1, "books", "projector");
            change(&mut options);
            options.check().unwrap_err().to_string()
        };
        assert!(refused(|it| it.hosts.clear()).contains("`hosts`"));
        assert!(refused(|it| it.hosts[0].0.clear()).contains("`hosts`"));
        assert!(refused(|it| it.database.clear()).contains("`database`"));
        assert!(refused(|it| it.user.clear()).contains("`user`"));
    }
}
