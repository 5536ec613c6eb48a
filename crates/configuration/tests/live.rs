//! Settings on a real etcd: who may change them, what nodes apply, and what bad documents and failures of etcd do not do.

use configuration::{
    Change, ConfigurationError, Current, FollowOptions, Follower, HISTORY_KEPT, LogLevel, NodeState, Origin,
    Settings, Store, Version,
};
use etcd::proto::TxnRequest;
use etcd::{Client, put};
use etcd_servers::Servers;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How long anything may take before a test gives up; far above what it takes.
const PATIENCE: Duration = Duration::from_secs(120);
const CURRENT: &str = "/shanraq/main/configuration/current";

fn block_on<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.unwrap().block_on(work)
}

fn wait(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "waited too long for {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn client(endpoints: &[String]) -> Arc<Client> {
    Arc::new(Client::new(endpoints, Duration::from_secs(5)).unwrap())
}

fn change(why: &str) -> Change {
    Change {
        who: "tester@here".into(),
        when_ms: 1,
        why: why.into(),
    }
}

fn retry(overload_retry_ms: u64) -> Settings {
    Settings {
        overload_retry_ms: Some(overload_retry_ms),
        ..Settings::default()
    }
}

async fn make(store: &Store, settings: Settings) -> Version {
    let seen = store.current().await.unwrap();
    let made = store.make(seen.as_ref(), settings, None, change("a test")).await;
    made.unwrap().0.version
}

/// Makes a version through a client and an event loop of its own.
fn set(endpoints: &[String], overload_retry_ms: u64) -> Version {
    block_on(async {
        let store = Store::new(client(endpoints), "main").unwrap();
        make(&store, retry(overload_retry_ms)).await
    })
}

fn current(endpoints: &[String]) -> Option<Current> {
    block_on(async {
        Store::new(client(endpoints), "main")
            .unwrap()
            .current()
            .await
            .unwrap()
    })
}

/// Puts a value under the document's key, as somebody with `etcdctl` might.
fn write_by_hand(endpoints: &[String], value: &str) {
    let request = TxnRequest {
        compare: Vec::new(),
        success: vec![put(CURRENT, value.into(), None)],
    };
    block_on(async { client(endpoints).txn("write by hand", request).await }).unwrap();
}

/// A node, and all that it was told.
struct Node {
    told: Arc<Mutex<Vec<(NodeState, Settings)>>>,
    _follower: Follower,
}

impl Node {
    fn start(endpoints: &[String], name: &str, directory: &Path) -> Self {
        let told = Arc::new(Mutex::new(Vec::new()));
        let options = FollowOptions {
            etcd: endpoints.to_vec(),
            ledger: "main".into(),
            name: name.into(),
            copy: copy(directory, name),
        };
        let telling = told.clone();
        let follower = Follower::start(options, move |state, settings| {
            telling.lock().unwrap().push((state.clone(), settings.clone()));
        });
        Self {
            told,
            _follower: follower.unwrap(),
        }
    }

    fn last(&self) -> (NodeState, Settings) {
        self.told.lock().unwrap().last().cloned().unwrap()
    }

    fn wait_version(&self, version: Version) {
        wait(&format!("version {version}"), || {
            let (state, _) = self.last();
            state.applied.origin == Origin::Etcd
                && state.applied.version == Some(version.0)
                && state.rejected.is_none()
        });
    }
}

fn copy(directory: &Path, name: &str) -> PathBuf {
    directory.join(format!("{name}.json"))
}

#[test]
fn of_writers_that_saw_the_same_one_is_done_and_the_others_are_refused() {
    let etcd = Servers::start(3);
    let endpoints = etcd.endpoints();
    block_on(async {
        let store = Store::new(client(&endpoints), "main").unwrap();
        assert!(store.current().await.unwrap().is_none());
        for round in 1..=5_u64 {
            let seen = store.current().await.unwrap();
            let attempt = |value: u64| store.make(seen.as_ref(), retry(value), None, change("a race"));
            let (a, b, c) = tokio::join!(attempt(1), attempt(2), attempt(3));
            let outcomes = [a, b, c];
            let done: Vec<_> = outcomes.iter().filter_map(|it| it.as_ref().ok()).collect();
            assert_eq!(done.len(), 1, "round {round}: {outcomes:?}");
            let refused = outcomes.iter().filter_map(|it| it.as_ref().err());
            for error in refused {
                assert!(matches!(error, ConfigurationError::Conflict { .. }), "{error}");
            }
            let (document, revision) = done[0];
            assert_eq!(document.version, Version(round), "no number is left out");
            let now = store.current().await.unwrap().unwrap();
            assert_eq!(now.revision, *revision);
            assert_eq!(now.document.unwrap(), *document);
            assert_eq!(store.version(Version(round)).await.unwrap(), *document);
        }
    });
}

#[test]
fn who_saw_what_does_not_count_any_more_is_refused_whatever_the_next_number_is() {
    let etcd = Servers::start(1);
    block_on(async {
        let store = Store::new(client(&etcd.endpoints()), "main").unwrap();
        make(&store, retry(1)).await;
        let seen = store.current().await.unwrap();
        assert_eq!(make(&store, retry(2)).await, Version(2));
        for stale in [seen.as_ref(), None] {
            let refused = store.make(stale, retry(3), None, change("too late")).await;
            let refused = refused.unwrap_err().to_string();
            assert!(refused.contains("CFG-0003: version 3 was not made"), "{refused}");
        }
        let now = store.current().await.unwrap().unwrap().document.unwrap();
        assert_eq!((now.version, now.settings), (Version(2), retry(2)));
        assert_eq!(store.history().await.unwrap().len(), 2);
    });
}

#[test]
fn the_last_versions_are_kept_and_an_old_one_comes_back_as_a_new_one() {
    let etcd = Servers::start(1);
    block_on(async {
        let store = Store::new(client(&etcd.endpoints()), "main").unwrap();
        let count = HISTORY_KEPT as u64 + 3;
        for number in 1..=count {
            assert_eq!(make(&store, retry(number)).await, Version(number));
        }
        let kept: Vec<u64> = store
            .history()
            .await
            .unwrap()
            .iter()
            .map(|(version, _)| version.0)
            .collect();
        assert_eq!(kept, (4..=count).collect::<Vec<_>>());
        let gone = store.version(Version(3)).await.unwrap_err();
        assert_eq!(gone.code(), "CFG-0004");
        let old = store.version(Version(50)).await.unwrap();
        let seen = store.current().await.unwrap();
        let back = store.make(
            seen.as_ref(),
            old.settings,
            Some(old.version),
            change("it was better"),
        );
        let (document, _) = back.await.unwrap();
        assert_eq!(document.version, Version(count + 1));
        assert_eq!(
            (document.restores, document.settings),
            (Some(Version(50)), retry(50))
        );
    });
}

#[test]
fn what_is_not_acceptable_is_refused_before_anything_is_written() {
    let etcd = Servers::start(1);
    block_on(async {
        let store = Store::new(client(&etcd.endpoints()), "main").unwrap();
        let contradiction = Settings {
            default_timeout_ms: Some(5_000),
            timeout_max_ms: Some(4_000),
            ..Settings::default()
        };
        let refused = store
            .make(None, contradiction, None, change("a test"))
            .await
            .unwrap_err();
        assert!(
            refused.to_string().contains("server.default_timeout_ms"),
            "{refused}"
        );
        let refused = store.make(None, retry(5), None, change("")).await.unwrap_err();
        assert!(refused.to_string().contains("why"), "{refused}");
        assert!(store.current().await.unwrap().is_none());
    });
}

#[test]
fn every_node_applies_every_change_in_order_and_says_so_until_it_ends() {
    let (etcd, directory) = (Servers::start(3), tempfile::tempdir().unwrap());
    let endpoints = etcd.endpoints();
    let start = |name: &str| Node::start(&endpoints, name, directory.path());
    let mut nodes = vec![start("a"), start("b"), start("c")];
    let mut longest = Duration::ZERO;
    for number in 1..=20 {
        let version = set(&endpoints, number);
        let began = Instant::now();
        // Each waited for, so that each is seen: changes in quick succession may be applied as one.
        nodes.iter().for_each(|node| node.wait_version(version));
        longest = longest.max(began.elapsed());
    }
    eprintln!(
        "from a change to its last node, at most: {} ms",
        longest.as_millis()
    );
    for node in &nodes {
        let told = node.told.lock().unwrap();
        assert_eq!(told[0].0.applied.origin, Origin::File, "before etcd answered");
        let versions: Vec<_> = told
            .iter()
            .filter_map(|(state, _)| state.applied.version)
            .collect();
        assert_eq!(versions, (1..=20).collect::<Vec<_>>());
        for (state, settings) in told.iter() {
            assert_eq!(
                state.applied.version, settings.overload_retry_ms,
                "settings of their version"
            );
        }
    }
    let revision = current(&endpoints).unwrap().revision;
    let who_has = || {
        let reports = block_on(async {
            Store::new(client(&endpoints), "main")
                .unwrap()
                .nodes()
                .await
                .unwrap()
        });
        let has = reports
            .into_iter()
            .filter(|it| it.state.as_ref().unwrap().has(revision));
        has.map(|it| it.name).collect::<Vec<_>>()
    };
    wait("all say that they have it", || who_has() == ["a", "b", "c"]);
    nodes.remove(1);
    assert_eq!(
        who_has(),
        ["a", "c"],
        "who ends in good order says nothing any more"
    );
}

#[test]
fn a_bad_document_written_by_hand_changes_nothing_and_the_next_good_one_counts() {
    let (etcd, directory) = (Servers::start(1), tempfile::tempdir().unwrap());
    let endpoints = etcd.endpoints();
    let node = Node::start(&endpoints, "a", directory.path());
    node.wait_version(set(&endpoints, 5));
    let good = block_on(async {
        Store::new(client(&endpoints), "main")
            .unwrap()
            .version(Version(1))
            .await
            .unwrap()
    });
    let mut out_of_range = good.json();
    out_of_range["settings"]["node"]["overload_retry_ms"] = 0.into();
    let mut unknown = good.json();
    unknown["settings"]["node"]["snapshot_rows"] = 1.into();
    let bad = [
        ("{".to_owned(), "document"),
        (out_of_range.to_string(), "node.overload_retry_ms"),
        (unknown.to_string(), "node.snapshot_rows"),
    ];
    for (text, field) in bad {
        write_by_hand(&endpoints, &text);
        wait(field, || {
            let rejected = node.last().0.rejected;
            rejected.is_some_and(|it| it.code == "CFG-0002" && it.reason.contains(field))
        });
        let (state, settings) = node.last();
        assert_eq!(
            (state.applied.version, settings),
            (Some(1), retry(5)),
            "what was applied stays"
        );
        let seen = current(&endpoints).unwrap();
        assert!(!state.has(seen.revision), "nobody takes it for applied");
        assert!(seen.document.unwrap_err().to_string().contains(field));
    }
    let second = Node::start(&endpoints, "b", directory.path());
    wait("a node that starts with a bad document", || {
        second.last().0.rejected.is_some()
    });
    assert_eq!(second.last().0.applied.origin, Origin::File);
    let version = set(&endpoints, 6);
    assert_eq!(version, Version(2));
    node.wait_version(version);
    second.wait_version(version);
    assert_eq!(node.last().1, retry(6));
}

#[test]
fn a_document_that_is_removed_by_hand_takes_nothing_away_and_its_number_is_not_used_again() {
    let (etcd, directory) = (Servers::start(1), tempfile::tempdir().unwrap());
    let endpoints = etcd.endpoints();
    let node = Node::start(&endpoints, "a", directory.path());
    node.wait_version(set(&endpoints, 5));
    etcd.remove_key(CURRENT);
    wait("the node tells that it is gone", || {
        node.last().0.rejected.is_some_and(|it| it.code == "CFG-0007")
    });
    assert_eq!(node.last().1, retry(5));
    let version = set(&endpoints, 6);
    assert_eq!(version, Version(2));
    node.wait_version(version);
}

#[test]
fn a_node_goes_on_without_etcd_and_follows_when_it_is_back_compacted_or_not() {
    let (mut etcd, directory) = (Servers::start(1), tempfile::tempdir().unwrap());
    let endpoints = etcd.endpoints();
    let node = Node::start(&endpoints, "a", directory.path());
    node.wait_version(set(&endpoints, 5));
    for number in 6..8 {
        etcd.kill(0);
        assert_eq!(
            node.last().1.overload_retry_ms,
            Some(number - 1),
            "what was applied stays"
        );
        etcd.launch(0);
        etcd.wait_healthy(0);
        let version = set(&endpoints, number);
        etcd.compact(0);
        node.wait_version(version);
    }
    let version = set(&endpoints, 9);
    node.wait_version(version);
    let told = node.told.lock().unwrap();
    let versions: Vec<_> = told
        .iter()
        .filter_map(|(state, _)| state.applied.version)
        .collect();
    assert!(
        versions.is_sorted(),
        "never an older one after a newer: {versions:?}"
    );
}

#[test]
fn a_node_that_starts_without_etcd_has_its_copy_or_its_own_file() {
    let (mut etcd, directory) = (Servers::start(1), tempfile::tempdir().unwrap());
    let endpoints = etcd.endpoints();
    let debug = Settings {
        log_level: Some(LogLevel::Debug),
        ..retry(5)
    };
    let node = Node::start(&endpoints, "a", directory.path());
    let version = block_on(async {
        let store = Store::new(client(&endpoints), "main").unwrap();
        make(&store, debug.clone()).await
    });
    node.wait_version(version);
    wait("the copy", || copy(directory.path(), "a").exists());
    drop(node);
    etcd.kill(0);
    std::fs::write(copy(directory.path(), "c"), "{\"schema\":1}").unwrap();
    let start = |name: &str| Node::start(&endpoints, name, directory.path());
    let nodes = [start("a"), start("b"), start("c")];
    let origins = nodes.each_ref().map(|node| node.last().0.applied.origin);
    assert_eq!(origins, [Origin::Copy, Origin::File, Origin::File]);
    assert_eq!(
        (nodes[0].last().1, nodes[0].last().0.applied.version),
        (debug, Some(1))
    );
    assert_eq!(nodes[1].last().1, Settings::default());
    etcd.launch(0);
    nodes.iter().for_each(|node| node.wait_version(version));
}
