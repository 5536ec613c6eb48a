//! Patroni's keys in etcd, as one linearizable read of all of them saw them. Must not: reach etcd.

use crate::SentinelError;
use etcd::proto::{KeyValue, RangeResponse};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// A member's name. Patroni takes names that differ in case only for the same, as PostgreSQL does in
/// `synchronous_standby_names`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(from = "String", into = "String")]
pub struct ServerName(String);

impl From<String> for ServerName {
    fn from(name: String) -> Self {
        Self(name.to_lowercase())
    }
}

impl From<&str> for ServerName {
    fn from(name: &str) -> Self {
        Self(name.to_lowercase())
    }
}

impl From<ServerName> for String {
    fn from(name: ServerName) -> Self {
        name.0
    }
}

impl fmt::Display for ServerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Who decides what is acknowledged, from `/sync`.
///
/// Patroni keeps, in every step of a change, `number in synchronous_standby_names + quorum >= size of (voters and
/// synchronous names together)`. So a commit that `leader` acknowledged is missing at no more than `quorum` of the voters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Electorate {
    /// The primary that wrote it.
    pub leader: ServerName,
    /// The standbys that may vote.
    pub voters: BTreeSet<ServerName>,
    /// How many votes of others a voter needs.
    pub quorum: usize,
}

impl Electorate {
    /// The leader and the voters.
    #[must_use]
    pub fn members(&self) -> BTreeSet<ServerName> {
        let mut members = self.voters.clone();
        members.insert(self.leader.clone());
        members
    }
}

/// Where Patroni's keys are.
#[derive(Clone, Debug)]
pub(crate) struct Paths {
    pub(crate) all: String,
    pub(crate) leader: String,
    pub(crate) sync: String,
    pub(crate) config: String,
}

impl Paths {
    pub(crate) fn new(scope: &str) -> Self {
        let all = format!("/service/{scope}/");
        Self {
            leader: format!("{all}leader"),
            sync: format!("{all}sync"),
            config: format!("{all}config"),
            all,
        }
    }
}

/// All of Patroni's keys.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    rows: BTreeMap<String, KeyValue>,
}

impl Snapshot {
    pub(crate) fn read(answer: RangeResponse) -> Self {
        let rows = answer.kvs.into_iter();
        let rows = rows.map(|row| (String::from_utf8_lossy(&row.key).into_owned(), row));
        Self { rows: rows.collect() }
    }

    pub(crate) fn get(&self, key: &str) -> Option<&KeyValue> {
        self.rows.get(key)
    }

    /// The keys below a prefix, by the name that follows it.
    pub(crate) fn below(&self, prefix: &str) -> impl Iterator<Item = (ServerName, &KeyValue)> {
        let rows = self.rows.iter();
        rows.filter_map(move |(key, row)| Some((key.strip_prefix(prefix)?.into(), row)))
    }

    /// Who holds the leader key.
    pub(crate) fn leader(&self, paths: &Paths) -> Option<ServerName> {
        let row = self.get(&paths.leader)?;
        Some(String::from_utf8_lossy(&row.value).into_owned().into())
    }

    /// Who decides what is acknowledged; none where nobody has said so yet.
    pub(crate) fn electorate(&self, paths: &Paths) -> Result<Option<Electorate>, SentinelError> {
        let Some(row) = self.get(&paths.sync) else {
            return Ok(None);
        };
        let sync: Sync = parse(&paths.sync, row)?;
        let Some(leader) = sync.leader.filter(|name| !name.is_empty()) else {
            return Ok(None);
        };
        let standbys = sync.sync_standby.unwrap_or_default();
        let names = standbys.split(',').map(str::trim).filter(|name| !name.is_empty());
        let leader = ServerName::from(leader);
        Ok(Some(Electorate {
            voters: names
                .map(ServerName::from)
                .filter(|name| *name != leader)
                .collect(),
            leader,
            quorum: sync.quorum.unwrap_or(0),
        }))
    }

    /// Patroni's settings for the whole cluster.
    pub(crate) fn config(&self, paths: &Paths) -> Result<Config, SentinelError> {
        match self.get(&paths.config) {
            Some(row) => parse(&paths.config, row),
            None => Err(SentinelError::Key {
                key: paths.config.clone(),
                reason: "it is not there".into(),
            }),
        }
    }
}

/// `/sync`.
#[derive(Deserialize)]
struct Sync {
    leader: Option<String>,
    sync_standby: Option<String>,
    quorum: Option<usize>,
}

/// What we use of `/config`.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Config {
    #[serde(default)]
    synchronous_mode: serde_json::Value,
    /// Patroni changes nothing by itself.
    #[serde(default)]
    pub(crate) pause: bool,
    /// A primary goes on without etcd while all members agree.
    #[serde(default)]
    pub(crate) failsafe_mode: bool,
}

impl Config {
    /// Whether commits wait for a quorum of standbys.
    pub(crate) fn is_quorum(&self) -> bool {
        self.synchronous_mode.as_str() == Some("quorum")
    }
}

pub(crate) fn parse<'a, T: Deserialize<'a>>(key: &str, row: &'a KeyValue) -> Result<T, SentinelError> {
    serde_json::from_slice(&row.value).map_err(|error| SentinelError::Key {
        key: key.to_owned(),
        reason: error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(sync: &str) -> Snapshot {
        let row = |key: &str, value: &str| KeyValue {
            key: key.into(),
            value: value.into(),
            ..KeyValue::default()
        };
        Snapshot::read(RangeResponse {
            kvs: vec![row("/service/c/sync", sync), row("/service/c/leader", "H2")],
            ..RangeResponse::default()
        })
    }

    #[test]
    fn the_electorate_is_read_as_patroni_writes_it() {
        let paths = Paths::new("c");
        let seen = snapshot(r#"{"leader":"h1","quorum":1,"sync_standby":"h2, H3,"}"#);
        let electorate = seen.electorate(&paths).unwrap().unwrap();
        assert_eq!(electorate.leader, "H1".into());
        assert_eq!(electorate.voters, ["h2".into(), "h3".into()].into());
        assert_eq!(electorate.quorum, 1);
        assert_eq!(seen.leader(&paths), Some("h2".into()));
    }

    #[test]
    fn an_empty_or_missing_electorate_is_none_and_a_damaged_one_is_refused_by_name() {
        let paths = Paths::new("c");
        let empty = r#"{"leader":null,"quorum":0,"sync_standby":null}"#;
        assert_eq!(snapshot(empty).electorate(&paths).unwrap(), None);
        let error = snapshot("{").electorate(&paths).unwrap_err();
        assert!(error.to_string().contains("/service/c/sync"), "{error}");
    }
}
