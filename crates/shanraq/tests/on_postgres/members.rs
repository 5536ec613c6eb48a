//! Three real nodes on a real PostgreSQL and a real etcd: any of them takes any request, one writes, and when it ends
//! another one does.

use crate::support::{Node, World, all, shanraq, try_pay_at};
use etcd_servers::Servers;
use postgres_servers::Mode;
use serde_json::{Value, json};

/// Asks until the answer is as wanted.
pub fn wait_for<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    for _ in 0..3_000 {
        if let Some(found) = ask() {
            return found;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    panic!("{what}: not in a minute");
}

pub fn status(node: &Node) -> Option<Value> {
    let (_, status) = node.ask("GET", "/status", "", "")?;
    Some(status)
}

fn is_writer(node: &Node) -> bool {
    status(node).is_some_and(|status| status["role"] == "writer")
}

pub fn writer(nodes: &[Node]) -> usize {
    wait_for("one node writes and the others know it", || {
        let at = nodes.iter().position(is_writer)?;
        let ready = |node: &Node| {
            node.ask("GET", "/readyz", "", "")
                .is_some_and(|(status, _)| status == 200)
        };
        nodes.iter().all(ready).then_some(at)
    })
}

fn pay_until_done(node: &Node, ids: std::ops::Range<u32>) {
    wait_for("a node takes writes", || {
        let results = node.try_pay(ids.clone())?;
        assert!(
            results
                .iter()
                .all(|result| result == "created" || result == "exists"),
            "{results:?}"
        );
        Some(())
    });
}

/// Nothing was written since the last payment, so only the writer's own word can have told the follower that it is final.
fn answers_without_the_writer(writer: &Node, follower: &Node) {
    let credits = |promise: &str| {
        let header = format!("shanraq-consistency: {promise}\r\n");
        let (_, answer) = follower.ask("POST", "/v1/accounts/lookup", &header, "{\"ids\":[2]}")?;
        answer["accounts"][0]["credits_posted"]
            .as_str()
            .map(str::to_owned)
    };
    wait_for("the follower has what is final", || {
        (credits("any")? == "150").then_some(())
    });
    writer.signal("STOP");
    assert_eq!(credits("any").as_deref(), Some("150"));
    assert_eq!(credits("bounded; max-age-ms=60000").as_deref(), Some("150"));
    writer.signal("CONT");
}

/// The newest report, once it is of that reason and says how everything stands.
fn report(node: &Node, reason: &str) -> Value {
    wait_for(&format!("a report of {reason}"), || {
        let (code, report) = node.ask("GET", "/cluster/reports/latest", "", "")?;
        let is_told = report["books"]["result"] == "ok" && report["watched_ms"].as_u64()? > 3_500;
        (code == 200 && report["reason"] == reason && (is_told || report["outcome"] == "completed"))
            .then_some(report)
    })
}

fn assert_seam_is_whole(report: &Value) {
    let number = |value: &Value| value.as_u64().unwrap_or_else(|| panic!("{report}"));
    assert_eq!(report["chain"]["result"], "ok", "{report}");
    assert_eq!(report["books"]["result"], "ok", "{report}");
    assert_eq!(
        number(&report["after"]["height"]),
        number(&report["before"]["height"]) + 1
    );
    assert!(number(&report["after"]["epoch"]) > number(&report["before"]["epoch"]));
    assert!(
        number(&report["gap_ms"]) >= number(&report["took_ms"]),
        "{report}"
    );
    assert_eq!(report["primary"]["quorum_restored"], true, "{report}");
}

/// Asked at a follower, which passes it on to the writer.
fn reports_of_the_first_term(follower: &Node, writer: &str) {
    let first = report(follower, "first_term");
    assert_eq!(first["node"], writer);
    assert_eq!(first["outcome"], "completed", "{first}");
    assert_eq!(first["before"], Value::Null);
    assert_eq!(first["gap_ms"], Value::Null);
}

fn command_prints(node: &Node) -> Value {
    let mut command = shanraq();
    command.args(["cluster", "report", "--last", "3", "--address", &node.address]);
    let text = command.output().unwrap();
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(
        text.contains("handed over") && text.contains("lease lost"),
        "{text}"
    );
    println!("{text}");
    serde_json::from_slice(&command.arg("--json").output().unwrap().stdout).unwrap()
}

#[test]
fn any_node_takes_any_request_and_another_writes_when_the_writer_ends() {
    let (world, etcd) = (World::start(0), Servers::start(1));
    let endpoints = etcd.endpoints();
    let start = |name: &str| world.serve_member(name, &endpoints);
    let mut nodes: Vec<Node> = ["a", "b", "c"].map(start).into();
    let first = writer(&nodes);
    let follower = (first + 1) % 3;
    nodes[follower].open_accounts();
    for (round, node) in nodes.iter().enumerate() {
        let from = 100 + 10 * round as u32;
        assert!(all(&node.pay(from..from + 10), "created"));
        assert_eq!(
            node.credits_of_2(),
            (50 * (round + 1)).to_string(),
            "linearizable at any node"
        );
    }
    let known = status(&nodes[follower]).unwrap();
    assert_eq!(known["role"], "follower");
    assert_eq!(known["writer"], ["a", "b", "c"][first]);

    answers_without_the_writer(&nodes[first], &nodes[follower]);

    let names = ["a", "b", "c"];
    reports_of_the_first_term(&nodes[follower], names[first]);

    drop(nodes.remove(first));
    pay_until_done(&nodes[0], 200..210);
    let second = writer(&nodes);
    let names: Vec<&str> = names.into_iter().filter(|name| *name != names[first]).collect();
    let lost = report(&nodes[1 - second], "lease_lost");
    assert_eq!(lost["node"], names[second]);
    assert_eq!(lost["before"]["node"], known["writer"]);
    assert_seam_is_whole(&lost);
    let away = format!("node {} does not answer", known["writer"].as_str().unwrap());
    assert_eq!(
        lost["degraded"],
        json!([away]),
        "it is not started again, and all else is well"
    );
    assert!(
        all(&nodes[1 - second].pay(100..130), "exists"),
        "nothing acknowledged is lost"
    );
    for node in &nodes {
        assert_eq!(node.credits_of_2(), "200");
    }
    let (code, _) = nodes[1 - second]
        .ask("POST", "/cluster/handover", "", "")
        .expect("an answer");
    assert_eq!(code, 200, "passed on to the writer, which gives its place up");
    wait_for("the other one writes", || {
        is_writer(&nodes[1 - second]).then_some(())
    });
    pay_until_done(&nodes[1 - second], 300..310);
    assert_eq!(nodes[1 - second].credits_of_2(), "250");
    let handed = report(&nodes[1 - second], "handed_over");
    assert_eq!(handed["before"]["node"], names[second]);
    assert_eq!(handed["before"]["epoch"], lost["epoch"]);
    assert_seam_is_whole(&handed);
    let last = command_prints(&nodes[1 - second]);
    let reasons: Vec<&Value> = last.as_array().unwrap().iter().map(|it| &it["reason"]).collect();
    assert_eq!(
        reasons,
        ["handed_over", "lease_lost", "first_term"],
        "copies of the others', too"
    );
}

/// A balancer that asked whether a node can pass requests on would take every node away in each failover.
#[test]
fn reads_of_any_age_are_answered_and_told_of_to_balancers_while_nobody_writes() {
    let (world, etcd) = (World::start(0), Servers::start(1));
    let endpoints = etcd.endpoints();
    let nodes: Vec<Node> = ["a", "b"].map(|name| world.serve_member(name, &endpoints)).into();
    let first = writer(&nodes);
    nodes[first].open_accounts();
    assert!(all(&nodes[first].pay(100..110), "created"));
    let follower = &nodes[1 - first];
    let ready = |role: &str| {
        let (code, _) = follower.ask("GET", &format!("/readyz{role}"), "", "")?;
        Some(code)
    };
    assert_eq!(
        (ready(""), ready("?role=reader"), ready("?role=writer")),
        (Some(200), Some(200), Some(503))
    );
    assert_eq!(ready("?role=boss"), Some(400));

    drop(etcd);
    wait_for("nobody writes", || (ready("")? == 503).then_some(()));
    assert_eq!(
        (ready("?role=reader"), ready("?role=writer")),
        (Some(200), Some(503))
    );
    let any = "shanraq-consistency: any\r\n";
    let (code, answer) = follower
        .ask("POST", "/v1/accounts/lookup", any, "{\"ids\":[2]}")
        .expect("an answer");
    assert_eq!(
        (code, answer["accounts"].as_array().map(Vec::len)),
        (200, Some(1))
    );
    assert_eq!(follower.try_pay(200..201), None, "writes are refused");
}

#[test]
fn a_frozen_writer_loses_its_place_to_those_who_hear_nothing_of_it_before_its_lease_runs_out() {
    let (world, etcd) = (World::start(0), Servers::start(1));
    let (endpoints, names) = (etcd.endpoints(), ["a", "b", "c"]);
    let mut nodes: Vec<Node> = names
        .map(|name| world.serve_member_with_long_lease(name, &endpoints))
        .into();
    let first = writer(&nodes);
    nodes[first].open_accounts();
    assert!(all(&nodes[first].pay(100..110), "created"));

    let mut frozen = nodes.remove(first);
    frozen.signal("STOP");
    wait_for("another one writes", || nodes.iter().find(|node| is_writer(node)));
    let member = format!("/shanraq/main/election/members/{}", names[first]);
    assert!(etcd.has_key(&member), "its lease stands");
    pay_until_done(&nodes[0], 105..120);

    frozen.signal("CONT");
    let ended = wait_for("the former writer starts anew", || {
        frozen.child.try_wait().unwrap()
    });
    assert_eq!(ended.code(), Some(75));
}

/// Its reader is served by the standby; the primary is not on its way.
#[test]
fn a_member_that_cannot_reach_the_primary_leaves_writing_to_another() {
    let (world, etcd) = (World::start(1), Servers::start(1));
    let endpoints = etcd.endpoints();
    let cut_off = world.serve_member_beside("a", &endpoints, &[world.servers.standbys[0].port]);
    wait_for("it is elected", || {
        etcd.has_key("/shanraq/main/election/writer").then_some(())
    });
    let other = world.serve_member("b", &endpoints);
    wait_for("another one writes", || is_writer(&other).then_some(()));
    other.open_accounts();
    wait_for("it passes on what it is asked", || cut_off.try_pay(100..101));
}

/// The first server has lost its place: it takes a claim, and waits for ever for a standby, as all follow the primary of a later
/// timeline. Gives the ports of both.
fn make_a_former_primary(world: &mut World) -> [u16; 2] {
    let [new, other] = &mut world.servers.standbys[..] else {
        unreachable!("two were started")
    };
    let _ = new.sql("select pg_promote()");
    other.stop(Mode::Fast);
    other.follow(new);
    other.start();
    new.wait_for("select state from pg_stat_replication", "streaming");
    new.set("synchronous_standby_names", "ANY 1 (pg3)");
    [world.servers.primary.port, new.port]
}

/// How many sessions wait for a standby.
const WAITING: &str = "select count(*) from pg_stat_activity where wait_event = 'SyncRep'";

#[test]
fn a_member_that_takes_over_at_a_former_primary_leaves_it_for_the_one_that_is_heard_later() {
    let (mut world, etcd) = (World::start(2), Servers::start(1));
    let ports = make_a_former_primary(&mut world);
    world.servers.standbys[0].freeze();
    let node = world.serve_member_beside("a", &etcd.endpoints(), &ports);
    world.servers.primary.wait_for(WAITING, "1");
    world.servers.standbys[0].thaw();
    wait_for("it writes", || is_writer(&node).then_some(()));
    node.open_accounts();
    assert!(all(&node.pay(100..110), "created"));
}

#[test]
fn a_member_that_knows_no_other_than_a_former_primary_leaves_writing_to_another() {
    let (mut world, etcd) = (World::start(2), Servers::start(1));
    let ports = make_a_former_primary(&mut world);
    let cut_off = world.serve_member_beside("a", &etcd.endpoints(), &ports[..1]);
    world.servers.primary.wait_for(WAITING, "1");
    let other = world.serve_member_beside("b", &etcd.endpoints(), &ports);
    wait_for("another one writes", || is_writer(&other).then_some(()));
    other.open_accounts();
    wait_for("it passes on what it is asked", || cut_off.try_pay(100..101));
}

#[test]
fn a_writer_that_is_told_to_stop_ends_although_an_append_hangs() {
    let (world, etcd) = (World::start(1), Servers::start(1));
    let mut node = world.serve_member("a", &etcd.endpoints());
    wait_for("it writes", || is_writer(&node).then_some(()));
    node.open_accounts();
    world.servers.standbys[0].freeze();
    let address = node.address.clone();
    let paying = std::thread::spawn(move || try_pay_at(&address, 100..101));
    world.servers.primary.wait_for(WAITING, "1");
    node.signal("TERM");
    wait_for("the process ends", || node.child.try_wait().unwrap());
    world.servers.standbys[0].thaw();
    assert_eq!(paying.join().unwrap(), None, "nobody was told that it was paid");
}
