//! Settings of three real nodes on a real etcd, changed by the real command while they run: all apply them, all refuse what
//! is not acceptable, and the ledger goes on whatever is written there.

use crate::support::{Node, World, all, shanraq};
use etcd::Client;
use etcd::proto::TxnRequest;
use etcd_servers::Servers;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// How long anything may take before a test gives up; far above what it takes.
const PATIENCE: Duration = Duration::from_secs(180);

fn wait(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "waited too long for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The command on an etcd.
struct Operator {
    etcd: String,
}

impl Operator {
    /// Exit code, standard output and standard error.
    fn run(&self, words: &[&str]) -> (Option<i32>, String, String) {
        let output = shanraq()
            .arg("cluster")
            .args(words)
            .args(["--etcd", &self.etcd])
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    }

    /// What it prints as JSON, and its exit code.
    fn ask(&self, words: &[&str]) -> (Option<i32>, Value) {
        let (code, output, errors) = self.run(&[words, &["--json"]].concat());
        let value = serde_json::from_str(&output);
        (
            code,
            value.unwrap_or_else(|_| panic!("{words:?}: {output}{errors}")),
        )
    }

    fn set(&self, words: &[&str]) -> (Option<i32>, Value) {
        let why = ["--why", "a test", "--who", "tester@here", "--wait-seconds", "60"];
        self.ask(&[&["config", "set"], words, &why].concat())
    }

    fn put(&self, key: &str, value: &str) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.unwrap().block_on(async {
            let client = Client::new(std::slice::from_ref(&self.etcd), Duration::from_secs(10)).unwrap();
            let request = TxnRequest {
                compare: Vec::new(),
                success: vec![etcd::put(key, value.into(), None)],
            };
            client.txn("write by hand", request).await.unwrap();
        });
    }
}

/// What a node says of its settings.
fn settings(node: &Node) -> Value {
    let (_, status) = node.ask("GET", "/status", "", "").expect("it answers");
    status["settings"].clone()
}

/// Whether the node itself, not the writer for it, takes a read that may last so long.
fn takes(node: &Node, timeout: &str) -> bool {
    let header = format!("shanraq-consistency: any\r\nrequest-timeout: {timeout}\r\n");
    let (code, answer) = node.ask("GET", "/v1/ledgers", &header, "").expect("it answers");
    assert!(code == 200 || code == 400, "{answer}");
    code == 200
}

fn three_nodes_are_there(operator: &Operator) {
    wait("three nodes, one of which writes", || {
        let (_, told) = operator.ask(&["nodes"]);
        let nodes = told["nodes"].as_array().unwrap();
        let says = |it: &&Value| !it["settings"].is_null();
        let writers = nodes.iter().filter(|it| it["role"] == "writer").count();
        nodes.iter().filter(says).count() == 3 && writers == 1
    });
}

#[test]
fn a_setting_that_is_changed_counts_at_all_three_nodes_and_a_bad_one_at_none() {
    let (world, etcd) = (World::start(0), Servers::start(1));
    let operator = Operator {
        etcd: etcd.endpoints()[0].clone(),
    };
    let start = |name: &str| world.serve_member(name, &etcd.endpoints());
    let nodes: Vec<Node> = ["a", "b", "c"].map(start).into();
    three_nodes_are_there(&operator);
    let (code, shown) = operator.ask(&["config", "show"]);
    assert_eq!((code, &shown["document"]), (Some(0), &Value::Null));
    assert!(
        nodes
            .iter()
            .all(|node| settings(node)["origin"] == "file" && takes(node, "5s"))
    );

    let (code, done) = operator.set(&["server.timeout_max_ms=2000", "log.level=debug"]);
    assert_eq!((code, &done["applied_by"]), (Some(0), &json!(3)), "{done}");
    for node in &nodes {
        let expected = json!({ "version": "1", "origin": "etcd", "problem": null });
        assert_eq!(settings(node), expected);
        assert!(takes(node, "2s") && !takes(node, "5s"), "it counts at every node");
    }
    refuses_what_is_not_acceptable(&operator);
    survives_what_is_written_by_hand(&operator, &nodes);
    comes_back_by_a_rollback(&operator, &nodes);
    tells_who_does_not_apply_a_change(&operator);
}

fn refuses_what_is_not_acceptable(operator: &Operator) {
    let refusals = [
        (["node.overload_retry_ms=0"], "node.overload_retry_ms"),
        (["node.snapshot_rows=5"], "node.snapshot_rows"),
        (["log.level=loud"], "log.level"),
        (["server.default_timeout_ms=3000"], "server.default_timeout_ms"),
    ];
    for (words, field) in refusals {
        let (code, _, errors) = operator.run(&[&["config", "set", "--why", "a test"], &words[..]].concat());
        assert_eq!(code, Some(1), "{errors}");
        assert!(errors.contains(field), "{field}: {errors}");
    }
    let words = [
        "config",
        "set",
        "log.level=warn",
        "--why",
        "a test",
        "--expect",
        "7",
    ];
    let (code, _, errors) = operator.run(&words);
    assert!(code == Some(1) && errors.contains("version 1 counts"), "{errors}");
    let (_, shown) = operator.ask(&["config", "show"]);
    assert_eq!(shown["document"]["version"], 1, "nothing was written");
}

fn survives_what_is_written_by_hand(operator: &Operator, nodes: &[Node]) {
    operator.put("/shanraq/main/configuration/current", "{\"schema\": 1}");
    for node in nodes {
        wait("the node says that it does not accept it", || {
            let problem = settings(node)["problem"].clone();
            problem.as_str().is_some_and(|it| it.contains("CFG-0002"))
        });
        assert_eq!(settings(node)["version"], "1");
        assert!(takes(node, "2s") && !takes(node, "5s"), "what was applied stays");
    }
    nodes[0].open_accounts();
    assert!(all(&nodes[1].pay(100..110), "created"), "the ledger goes on");
    let (_, shown) = operator.ask(&["config", "show"]);
    assert_eq!(shown["applied_by"], 0);
    assert!(shown["problem"].as_str().unwrap().contains("CFG-0002"), "{shown}");
    let (code, _, errors) = operator.run(&["config", "set", "log.level=warn", "--why", "a test"]);
    assert!(code == Some(1) && errors.contains("rollback"), "{errors}");
}

fn comes_back_by_a_rollback(operator: &Operator, nodes: &[Node]) {
    let back = [
        "config",
        "rollback",
        "1",
        "--why",
        "as it was",
        "--wait-seconds",
        "60",
    ];
    let (code, done) = operator.ask(&back);
    assert_eq!((code, &done["applied_by"]), (Some(0), &json!(3)), "{done}");
    let (code, done) = operator.set(&["--unset", "server.timeout_max_ms"]);
    assert_eq!((code, &done["applied_by"]), (Some(0), &json!(3)), "{done}");
    for node in nodes {
        assert_eq!(settings(node)["version"], "3");
        assert!(takes(node, "5s"), "its own file counts again");
    }
    let (code, done) = operator.set(&["log.level=debug"]);
    assert_eq!(
        (code, &done["changed"]),
        (Some(0), &json!(false)),
        "nothing to change"
    );
    let (_, told) = operator.ask(&["config", "history"]);
    let versions = told["versions"].as_array().unwrap();
    let numbers: Vec<_> = versions
        .iter()
        .map(|it| it["version"].as_u64().unwrap())
        .collect();
    assert_eq!(numbers, [3, 2, 1]);
    assert_eq!(versions[1]["restores"], 1);
    assert_eq!(
        (&versions[1]["why"], &versions[2]["who"]),
        (&json!("as it was"), &json!("tester@here"))
    );
    let (code, _, errors) = operator.run(&["config", "rollback", "9", "--why", "a test"]);
    assert!(code == Some(1) && errors.contains("CFG-0004"), "{errors}");
}

fn tells_who_does_not_apply_a_change(operator: &Operator) {
    let behind = json!({ "applied": { "origin": "etcd", "version": 1, "revision": 1 }, "rejected": null });
    operator.put("/shanraq/main/configuration/nodes/ghost", &behind.to_string());
    let words = [
        "config",
        "set",
        "log.level=warn",
        "--why",
        "a test",
        "--wait-seconds",
        "0",
    ];
    let (code, output, errors) = operator.run(&words);
    assert_eq!(code, Some(2), "{output}{errors}");
    assert!(output.contains("ghost: settings version 1"), "{output}");
    operator.put("/shanraq/shanraq/sentinel/off", "a test");
    let (_, shown) = operator.ask(&["config", "show"]);
    assert_eq!(shown["sentinel"], json!({ "scope": "shanraq", "off": true }));
    assert_eq!(shown["document"]["version"], 4);
}
