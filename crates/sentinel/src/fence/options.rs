//! What the fence needs to know: one small file beside Patroni's.

use crate::{SentinelError, ServerName};
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The fence's configuration.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FenceOptions {
    /// Patroni's scope.
    pub scope: String,
    /// This host's name in Patroni.
    pub name: ServerName,
    /// etcd's client addresses, `http://host:port`.
    pub etcd: Vec<String>,
    /// The program `psql`: it speaks the replication protocol, which alone tells a standby's timeline.
    pub psql: PathBuf,
    /// The role that looks at servers and points standbys elsewhere.
    pub user: String,
    /// A file that holds its password.
    pub password_file: PathBuf,
    /// The role that standbys stream as.
    pub replication_user: String,
    /// How long Patroni is given to point the standbys to the candidate by itself, in ms. Default: 100.
    #[serde(default = "FenceOptions::default_patience_ms")]
    pub patience_ms: u32,
    /// How long another one may be ahead before the promotion is refused, in ms: the candidate is given what it lacks from
    /// there first. Default: 3000.
    #[serde(default = "FenceOptions::default_grace_ms")]
    pub grace_ms: u32,
    /// After how long somebody else should try, in s: what this host cannot see, another may. Default: 60.
    #[serde(default = "FenceOptions::default_give_up_s")]
    pub give_up_s: u32,
    /// All PostgreSQL servers, this one too.
    pub servers: Vec<FenceServer>,
}

/// A PostgreSQL server.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FenceServer {
    /// Its name in Patroni.
    pub name: ServerName,
    /// Its address, of digits: a name would have to be looked up at a bad moment.
    pub host: std::net::IpAddr,
    /// Its port.
    pub port: u16,
    /// The file, at that server, with the password of the role that standbys stream as, in the format of `.pgpass`.
    pub passfile: PathBuf,
}

impl FenceOptions {
    fn default_patience_ms() -> u32 {
        100
    }

    fn default_grace_ms() -> u32 {
        3000
    }

    fn default_give_up_s() -> u32 {
        60
    }

    /// Reads and checks a file.
    ///
    /// # Errors
    /// It cannot be read, or a field is refused; the error names it.
    pub fn read(path: &Path) -> Result<Self, SentinelError> {
        let text = std::fs::read_to_string(path).map_err(|source| SentinelError::File {
            path: path.to_owned(),
            source,
        })?;
        Self::parse(&text)
    }

    /// Reads and checks the text of a file.
    ///
    /// # Errors
    /// A field is refused; the error names it.
    pub fn parse(text: &str) -> Result<Self, SentinelError> {
        let options: Self = toml::from_str(text).map_err(|error| SentinelError::Option {
            field: "fence.toml",
            reason: error.to_string(),
        })?;
        options.check()?;
        Ok(options)
    }

    fn check(&self) -> Result<(), SentinelError> {
        let refuse = |field, reason: String| Err(SentinelError::Option { field, reason });
        if self.etcd.is_empty() {
            return refuse("etcd", "is empty".into());
        }
        // What goes into a connection string, where other characters would have to be quoted.
        let is_plain = |text: &str| {
            let plain = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
            !text.is_empty() && text.chars().all(plain)
        };
        if !is_plain(&self.replication_user) {
            let reason = format!("({}) must be of letters, digits, - and _", self.replication_user);
            return refuse("replication_user", reason);
        }
        for (i, server) in self.servers.iter().enumerate() {
            let name = server.name.to_string();
            if !is_plain(&name) {
                return refuse(
                    "servers.name",
                    format!("({name}) must be of letters, digits, - and _"),
                );
            }
            if !server.passfile.to_str().is_some_and(is_plain) {
                let path = server.passfile.display();
                return refuse(
                    "servers.passfile",
                    format!("({path}) must be of plain characters"),
                );
            }
            if self.servers[..i].iter().any(|other| other.name == server.name) {
                return refuse("servers.name", format!("({name}) stands twice"));
            }
        }
        if !self.servers.iter().any(|server| server.name == self.name) {
            return refuse("name", format!("({}) is none of the servers", self.name));
        }
        Ok(())
    }

    pub(super) fn patience(&self) -> Duration {
        Duration::from_millis(self.patience_ms.into())
    }

    pub(super) fn grace(&self) -> Duration {
        Duration::from_millis(self.grace_ms.into())
    }

    pub(super) fn give_up(&self) -> Duration {
        Duration::from_secs(self.give_up_s.into())
    }

    /// This host's server.
    pub(super) fn own(&self) -> &FenceServer {
        let own = self.servers.iter().find(|server| server.name == self.name);
        own.expect("checked when it was read")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"
scope = "c"
name = "h2"
etcd = ["http://10.0.0.2:2379"]
psql = "/usr/bin/psql"
user = "shanraq_fence"
password_file = "/etc/shanraq/fence.password"
replication_user = "shanraq_replication"
[[servers]]
name = "H2"
host = "10.0.0.2"
port = 5432
passfile = "/etc/shanraq/standby.pgpass"
"#;

    fn refusal(from: &str, to: &str) -> String {
        assert!(TEXT.contains(from), "{from}");
        FenceOptions::parse(&TEXT.replace(from, to))
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn every_option_that_cannot_be_used_is_refused_by_name() {
        assert_eq!(FenceOptions::parse(TEXT).unwrap().give_up_s, 60);
        assert!(refusal("name = \"h2\"", "name = \"h9\"").contains("`name`"));
        assert!(refusal("[\"http://10.0.0.2:2379\"]", "[]").contains("`etcd`"));
        assert!(refusal("standby.pgpass", "a b").contains("`servers.passfile`"));
        assert!(refusal("\"H2\"", "\"h'2\"").contains("`servers.name`"));
        assert!(refusal("\"shanraq_replication\"", "\"x y\"").contains("`replication_user`"));
        assert!(refusal("\"10.0.0.2\"", "\"h2\"").contains("host"));
        assert!(refusal("scope", "skope").contains("skope"));
    }
}
