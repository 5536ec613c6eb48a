//! How a sentinel takes part. Must not: read the environment or files.

use crate::{SentinelError, ServerName};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

/// What [`super::Sentinel::start`] needs to know.
#[derive(Clone, Debug)]
pub struct SentinelOptions {
    /// Patroni's scope.
    pub scope: String,
    /// This node's name, the same as that of the host's PostgreSQL in Patroni.
    pub name: ServerName,
    /// All nodes that run a sentinel, this one too: a majority of them must see the same.
    pub nodes: BTreeSet<ServerName>,
    /// etcd's client addresses, `http://host:port`.
    pub etcd: Vec<String>,
    /// Which of these is this host's own member, if it has one: the leadership of etcd is moved off it while the primary is here.
    pub local_etcd: Option<String>,
    /// The data directory of this host's PostgreSQL, if it has one.
    pub local_postgres: Option<PathBuf>,
    /// How often it looks, in ms, 50 to 1000. Default: 250.
    pub every_ms: u32,
    /// How long the primary must have been dead, in ms, at least four looks. Default: 1000.
    pub window_ms: u32,
}

impl SentinelOptions {
    /// All else as by default.
    #[must_use]
    pub fn new(scope: &str, name: ServerName, nodes: BTreeSet<ServerName>, etcd: Vec<String>) -> Self {
        Self {
            scope: scope.to_owned(),
            name,
            nodes,
            etcd,
            local_etcd: None,
            local_postgres: None,
            every_ms: 250,
            window_ms: 1000,
        }
    }

    pub(super) fn check(&self) -> Result<(), SentinelError> {
        let refuse = |field, reason: String| Err(SentinelError::Option { field, reason });
        if self.etcd.is_empty() {
            return refuse("etcd", "is empty".into());
        }
        if let Some(member) = &self.local_etcd
            && !self.etcd.contains(member)
        {
            return refuse("local_etcd", format!("({member}) is none of `etcd`"));
        }
        if !self.nodes.contains(&self.name) {
            return refuse("name", format!("({}) is none of the nodes", self.name));
        }
        if !(50..=1000).contains(&self.every_ms) {
            return refuse("every_ms", format!("({}) must be 50 to 1000", self.every_ms));
        }
        if self.window_ms < 4 * self.every_ms {
            let least = 4 * self.every_ms;
            return refuse(
                "window_ms",
                format!("({}) must be at least {least}, four looks", self.window_ms),
            );
        }
        Ok(())
    }

    pub(super) fn every(&self) -> Duration {
        Duration::from_millis(self.every_ms.into())
    }

    pub(super) fn window(&self) -> Duration {
        Duration::from_millis(self.window_ms.into())
    }

    /// How long one look may take: a packet that is lost is sent again after a second, so more time would not help.
    pub(super) fn look_within(&self) -> Duration {
        self.every()
    }

    /// How long one endpoint of etcd may take.
    pub(super) fn etcd_within(&self) -> Duration {
        self.every() * 2
    }

    /// The longest pause within one row of looks: a round with endpoints of etcd that are silent fits in.
    pub(super) fn gap(&self) -> Duration {
        self.every() * 8
    }

    /// When the others are told: early, so that they have heard it when the window is over.
    pub(super) fn state_after(&self) -> Duration {
        self.window() * 2 / 5
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_that_cannot_be_used_is_refused_by_name() {
        let nodes: BTreeSet<ServerName> = ["h1".into()].into();
        let good = SentinelOptions::new("c", "h1".into(), nodes, vec!["http://127.0.0.1:2379".into()]);
        good.check().unwrap();
        let refusal = |change: fn(&mut SentinelOptions)| {
            let mut options = good.clone();
            change(&mut options);
            options.check().unwrap_err().to_string()
        };
        assert!(refusal(|it| it.etcd.clear()).contains("`etcd`"));
        assert!(refusal(|it| it.local_etcd = Some("http://h9:2379".into())).contains("`local_etcd`"));
        assert!(refusal(|it| it.name = "h9".into()).contains("`name`"));
        assert!(refusal(|it| it.every_ms = 10).contains("`every_ms`"));
        assert!(refusal(|it| it.window_ms = 999).contains("`window_ms`"));
    }
}
