//! Members whose clocks are wrong, under libfaketime: the clock of the day alone is shifted. No timestamp may jump, whoever
//! writes.

use crate::members::{status, wait_for, writer};
use crate::support::{Node, World, shanraq};
use etcd_servers::Servers;
use serde_json::{Value, json};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const HOUR_S: i64 = 3_600;

/// Timestamps of payments that were made, once they are; of none may the real clock be more than a second behind.
fn pay(node: &Node, ids: std::ops::Range<u32>) {
    let transfer = |id| json!({ "id": id, "debit_account_id": 1, "credit_account_id": 2, "amount": 5, "ledger": 1, "code": 7 });
    let body = json!({ "transfers": ids.map(transfer).collect::<Vec<_>>() }).to_string();
    let results = wait_for("payments", || {
        let (code, answer) = node.ask("POST", "/v1/transfers", "", &body)?;
        (code == 200).then(|| answer["results"].clone())
    });
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    for result in results.as_array().unwrap() {
        let stamped = result["timestamp"].as_str().unwrap().parse().unwrap();
        let ahead = Duration::from_nanos(stamped).saturating_sub(now);
        assert!(
            ahead <= Duration::from_secs(1),
            "{result} is {ahead:?} ahead of {now:?}"
        );
    }
}

/// Waits until the node has heard the writer: then it has a copy of the report of its term.
fn wait_until_it_has_heard_the_writer(node: &Node) {
    wait_for("a copy of the writer's report", || {
        let mut command = shanraq();
        let printed = command.args(["cluster", "report", "--json", "--address", &node.address]);
        let reports: Value = serde_json::from_slice(&printed.output().unwrap().stdout).ok()?;
        (!reports.as_array()?.is_empty()).then_some(())
    });
}

#[test]
fn a_node_whose_clock_is_an_hour_ahead_never_writes_not_even_alone_or_when_it_is_named() {
    let (world, etcd) = (World::start(0), Servers::start(1));
    let endpoints = etcd.endpoints();
    let mut nodes = vec![
        world.serve_member("a", &endpoints),
        world.serve_member_shifted("b", &endpoints, HOUR_S),
        world.serve_member("c", &endpoints),
    ];
    assert_ne!(
        writer(&nodes),
        1,
        "PostgreSQL's clock was the witness at the start"
    );
    nodes[0].open_accounts();
    pay(&nodes[1], 100..110);

    let (code, answer) = nodes[0]
        .ask("POST", "/cluster/handover?to=b", "", "")
        .expect("an answer");
    assert_eq!(code, 200, "{answer}");
    let right = wait_for("another than the named one writes", || {
        let is_writer = |node: &Node| status(node).is_some_and(|it| it["role"] == "writer");
        [0, 2].into_iter().find(|at| is_writer(&nodes[*at]))
    });
    pay(&nodes[1], 200..210);

    let address = nodes[right].address.clone();
    drop(nodes.remove(right));
    let wrong = nodes
        .iter()
        .find(|node| node.address != address && is_named(node, "b"));
    let wrong = wrong.expect("it goes on following");
    for _ in 0..200 {
        assert_ne!(status(wrong).expect("it answers")["role"], "writer");
        std::thread::sleep(Duration::from_millis(20));
    }
    let again = world.serve_member("d", &endpoints);
    wait_for("a node with a right clock writes", || {
        (status(&again)?["role"] == "writer").then_some(())
    });
    pay(wrong, 300..310);
}

/// A node whose clock is right, alone, with accounts to pay from.
fn first_writer(world: &World, endpoints: &[String]) -> Node {
    let first = world.serve_member("a", endpoints);
    wait_for("the first one writes", || {
        (status(&first)?["role"] == "writer").then_some(())
    });
    first.open_accounts();
    first
}

fn is_named(node: &Node, name: &str) -> bool {
    status(node).is_some_and(|status| status["name"] == name)
}

#[test]
fn when_most_clocks_are_an_hour_ahead_the_ledgers_time_goes_on_from_where_it_was() {
    let (world, etcd) = (World::start(0), Servers::start(1));
    let endpoints = etcd.endpoints();
    let first = first_writer(&world, &endpoints);
    let others = ["b", "c"].map(|name| world.serve_member_shifted(name, &endpoints, HOUR_S));
    others.iter().for_each(wait_until_it_has_heard_the_writer);
    pay(&others[0], 100..110);
    drop(first);
    writer(&others);
    pay(&others[0], 200..210);
    pay(&others[1], 300..310);
}

#[test]
fn a_writer_whose_clock_is_an_hour_behind_counts_on_from_the_last_block() {
    let (world, etcd) = (World::start(0), Servers::start(1));
    let endpoints = etcd.endpoints();
    let first = first_writer(&world, &endpoints);
    pay(&first, 100..110);
    let behind = world.serve_member_shifted("b", &endpoints, -HOUR_S);
    wait_until_it_has_heard_the_writer(&behind);
    drop(first);
    pay(&behind, 200..210);
    let listed = behind.post("/v1/transfers/lookup", &json!({ "ids": [109, 200] }));
    let stamped = |at: usize| -> u64 {
        let transfer = &listed["transfers"][at];
        transfer["timestamp"].as_str().unwrap().parse().unwrap()
    };
    assert!(stamped(0) < stamped(1), "{listed}");
    assert!(stamped(1) < stamped(0) + 1_000_000, "{listed}: it counts on");
}
