//! One reading of etcd: Patroni's keys and the sentinels' own. Must not: reach etcd.

use super::decide::Scene;
use super::probe::authority;
use super::window::{Condition, Row, Term};
use crate::keys::{Paths, Snapshot, parse};
use crate::{SentinelError, ServerName};
use etcd::proto::{KeyValue, RangeResponse};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Instant;

/// Where the keys are.
#[derive(Clone, Debug)]
pub(super) struct SentinelPaths {
    pub(super) patroni: Paths,
    pub(super) failover: String,
    failsafe: String,
    members: String,
    pub(super) all: String,
    nodes: String,
    pub(super) damping: String,
    pub(super) veto: String,
    pub(super) off: String,
}

impl SentinelPaths {
    pub(super) fn new(scope: &str) -> Self {
        let patroni = Paths::new(scope);
        let all = format!("/shanraq/{scope}/sentinel/");
        Self {
            failover: format!("{}failover", patroni.all),
            failsafe: format!("{}failsafe", patroni.all),
            members: format!("{}members/", patroni.all),
            nodes: format!("{all}nodes/"),
            damping: format!("{all}damping"),
            veto: format!("{all}veto"),
            off: format!("{all}off"),
            patroni,
            all,
        }
    }

    pub(super) fn statement(&self, node: &ServerName) -> String {
        format!("{}{node}", self.nodes)
    }
}

/// What a node tells the others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Statement {
    pub(super) condition: Condition,
    leader: ServerName,
    revision: i64,
    /// How much time its row of looks covers.
    pub(super) for_ms: u64,
}

impl Statement {
    pub(super) fn of(row: &Row) -> Self {
        Self {
            condition: row.condition,
            leader: row.term.leader.clone(),
            revision: row.term.revision,
            for_ms: u64::try_from(row.covers().as_millis()).unwrap_or(u64::MAX),
        }
    }

    pub(super) fn term(&self) -> Term {
        Term {
            leader: self.leader.clone(),
            revision: self.revision,
        }
    }
}

/// Where a member's programs answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Addresses {
    pub(super) postgres: String,
    pub(super) patroni: String,
}

/// `/members/<name>`.
#[derive(Deserialize)]
struct Published {
    conn_url: String,
    api_url: String,
}

/// All of it.
#[derive(Clone, Debug)]
pub(super) struct Reading {
    pub(super) began: Instant,
    pub(super) scene: Scene,
    pub(super) members: BTreeMap<ServerName, Addresses>,
    /// By node, with the revision.
    pub(super) statements: BTreeMap<ServerName, (i64, Statement)>,
    pub(super) leader: Option<KeyValue>,
    pub(super) sync: Option<KeyValue>,
    pub(super) config: Option<KeyValue>,
}

impl Reading {
    pub(super) fn new(
        paths: &SentinelPaths,
        began: Instant,
        patroni: RangeResponse,
        own: RangeResponse,
    ) -> Result<Self, SentinelError> {
        let seen = Snapshot::read(patroni);
        let own = Snapshot::read(own);
        let leader = seen.get(&paths.patroni.leader).cloned();
        let config = seen.config(&paths.patroni)?;
        let scene = Scene {
            term: seen.leader(&paths.patroni).map(|name| Term {
                leader: name,
                revision: leader.as_ref().map_or(0, |row| row.mod_revision),
            }),
            electorate: seen.electorate(&paths.patroni)?,
            paused: config.pause,
            failsafe: config.failsafe_mode || seen.get(&paths.failsafe).is_some(),
            failover: seen.get(&paths.failover).is_some(),
            damped: own.get(&paths.damping).is_some(),
            vetoed: own.get(&paths.veto).is_some(),
            off: own.get(&paths.off).is_some(),
        };
        let mut members = BTreeMap::new();
        for (name, row) in seen.below(&paths.members) {
            // A member that has just begun has published nothing yet.
            let published: Option<Published> = serde_json::from_slice(&row.value).ok();
            let addresses = published.and_then(|it| {
                Some(Addresses {
                    postgres: authority(&it.conn_url)?,
                    patroni: authority(&it.api_url)?,
                })
            });
            members.extend(addresses.map(|addresses| (name, addresses)));
        }
        let mut statements = BTreeMap::new();
        for (name, row) in own.below(&paths.nodes) {
            let statement = parse(&paths.statement(&name), row)?;
            statements.insert(name, (row.mod_revision, statement));
        }
        Ok(Self {
            began,
            scene,
            members,
            statements,
            sync: seen.get(&paths.patroni.sync).cloned(),
            config: seen.get(&paths.patroni.config).cloned(),
            leader,
        })
    }
}
