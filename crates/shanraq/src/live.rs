//! Settings that change while a node runs, as its parts have them. Owns: which part each setting goes to, and that what is not
//! set is as the node's own file says. Must not: touch rules, durability or the choice of the writer.

use crate::config::{ClusterConfig, Config};
use crate::log::LogLevel;
use anyhow::Result;
use api::{ApiConfig, LiveBounds, LiveStatus, RequestBounds, SettingsStatus};
use configuration::{FollowOptions, Follower, NodeState, Origin, Settings};
use node::{Bounds, Node};
use std::sync::Arc;

/// The last good document, in the data directory.
const COPY: &str = "settings.json";

/// What the parts of a node are told.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Effective {
    log_level: String,
    queue: Bounds,
    requests: RequestBounds,
}

impl Effective {
    /// What is set counts; what is not, the node's own file says.
    fn of(own: &Config, settings: &Settings) -> Self {
        let (server, queue) = (&own.server, Bounds::of(&own.node_options()));
        Self {
            log_level: match settings.log_level {
                Some(level) => level.to_string(),
                None => own.log.level.clone(),
            },
            queue: Bounds {
                queue_requests_max: settings.queue_requests_max.unwrap_or(queue.queue_requests_max),
                queue_events_max: settings.queue_events_max.unwrap_or(queue.queue_events_max),
                overload_retry_ms: settings.overload_retry_ms.unwrap_or(queue.overload_retry_ms),
                index_lag_rows_max: settings.index_lag_rows_max.unwrap_or(queue.index_lag_rows_max),
            },
            requests: RequestBounds {
                default_timeout_ms: settings.default_timeout_ms.unwrap_or(server.default_timeout_ms),
                timeout_max_ms: settings.timeout_max_ms.unwrap_or(server.timeout_max_ms),
                bounded_age_max_ms: settings.bounded_age_max_ms.unwrap_or(server.bounded_age_max_ms),
            },
        }
    }
}

/// The parts.
struct Parts {
    own: Config,
    log: LogLevel,
    node: Node,
    requests: Arc<LiveBounds>,
    status: Arc<LiveStatus>,
}

impl Parts {
    fn apply(&self, state: &NodeState, settings: &Settings) {
        let effective = Effective::of(&self.own, settings);
        if let Err(error) = self.log.set(&effective.log_level) {
            tracing::error!(%error, "the log goes on at its former level");
        }
        self.node.set_bounds(&effective.queue);
        self.requests.set(&effective.requests);
        self.status.set(SettingsStatus {
            version: state.applied.version,
            origin: match state.applied.origin {
                Origin::Etcd => "etcd",
                Origin::Copy => "copy",
                Origin::File => "file",
            },
            problem: state.rejected.as_ref().map(|it| it.reason.clone()),
        });
    }
}

/// Has a node follow the settings of its ledger until what this gives is dropped.
pub fn follow(
    own: &Config,
    cluster: &ClusterConfig,
    log: LogLevel,
    node: &Node,
    api: &ApiConfig,
) -> Result<Follower> {
    let options = FollowOptions {
        etcd: cluster.etcd.clone(),
        ledger: cluster.ledger.clone(),
        name: cluster.name.clone(),
        copy: own.node.directory.join(COPY),
    };
    let parts = Parts {
        own: own.clone(),
        log,
        node: node.clone(),
        requests: api.bounds.clone(),
        status: api.settings.clone(),
    };
    Ok(Follower::start(options, move |state, settings| {
        parts.apply(state, settings)
    })?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use configuration::{Kind, SETTINGS};
    use serde_json::{Value, json};

    /// The node's own file, as the values of settings are found in it.
    fn own(config: &Config) -> Vec<(&'static str, Value)> {
        let (server, node) = (&config.server, &config.node);
        vec![
            ("log.level", json!(config.log.level)),
            ("server.default_timeout_ms", json!(server.default_timeout_ms)),
            ("server.timeout_max_ms", json!(server.timeout_max_ms)),
            ("server.bounded_age_max_ms", json!(server.bounded_age_max_ms)),
            ("node.queue_requests_max", json!(node.queue_requests_max)),
            ("node.queue_events_max", json!(node.queue_events_max)),
            ("node.overload_retry_ms", json!(node.overload_retry_ms)),
            ("node.index_lag_rows_max", json!(node.index_lag_rows_max)),
        ]
    }

    #[test]
    fn the_defaults_that_are_told_of_settings_are_those_of_a_nodes_own_file() {
        let told: Vec<_> = SETTINGS.iter().map(|it| (it.name, it.default())).collect();
        assert_eq!(told, own(&Config::default()));
    }

    #[test]
    fn every_setting_reaches_a_part_and_without_it_the_nodes_own_file_counts() {
        let mut file = Config::default();
        file.server.timeout_max_ms = 77_000;
        file.node.overload_retry_ms = 33;
        file.log.level = "warn".into();
        let without = Effective::of(&file, &Settings::default());
        assert_eq!(without.log_level, "warn");
        assert_eq!(without.queue, Bounds::of(&file.node_options()));
        assert_eq!(without.requests.timeout_max_ms, 77_000);
        let mut seen = vec![without.clone()];
        for setting in &SETTINGS {
            let value = match setting.kind {
                Kind::Level => json!("trace"),
                Kind::Whole { max, .. } => json!(max),
            };
            let mut settings = Settings::default();
            setting.put(&mut settings, Some(&value)).unwrap();
            let with = Effective::of(&file, &settings);
            let text = value.as_str().map_or(value.to_string(), str::to_owned);
            assert!(format!("{with:?}").contains(&text), "{}", setting.name);
            assert!(
                !seen.contains(&with),
                "{} reaches a part of its own",
                setting.name
            );
            seen.push(with);
        }
    }
}
