//! Patroni of the primary and of a standby are frozen while that standby, whose vote was counted, goes on acknowledging
//! the old primary; the third server is promoted. Without the fence acknowledged rows are lost, which shows that the test
//! can fail; with it none is.

use crate::support::{Client, Running};
use cluster::Verb;
use std::collections::BTreeSet;
use std::fs;
use std::time::Instant;

#[test]
fn a_double_freeze_loses_acknowledged_rows_without_the_fence_and_none_with_it() {
    let running = Running::start();
    running.sql(&running.primary(), "create table rows (n bigint primary key)");

    let kept = double_freeze(&running, 1, true);
    assert!(kept.acknowledged > 0);
    assert_eq!(kept.lost, BTreeSet::new(), "of {}", kept.acknowledged);
    running.wait("healthy after the freezes", |status| status.healthy);

    let lossy = double_freeze(&running, 1_000_000, false);
    eprintln!(
        "without the fence: {} of {} lost",
        lossy.lost.len(),
        lossy.acknowledged
    );
    assert!(!lossy.lost.is_empty(), "the test would not notice a loss");
}

struct Outcome {
    acknowledged: usize,
    lost: BTreeSet<i64>,
}

/// Both freezes; ends when the third server has been promoted and what follows from it has happened.
fn double_freeze(running: &Running, first: i64, fenced: bool) -> Outcome {
    let status = running.wait("healthy before the freezes", |status| status.healthy);
    running.wait_for_quorum();
    let primary = status.primary.clone().unwrap();
    let mut others = status.hosts.iter().filter(|host| host.name != primary);
    let (voter, candidate) = (others.next().unwrap(), others.next().unwrap());
    let patroni = voter
        .processes
        .iter()
        .find(|it| it.process == cluster::ProcessKind::Patroni);
    let patroni = patroni.unwrap().process_id.unwrap();
    let (voter, candidate) = (voter.name.clone(), candidate.name.clone());
    eprintln!("primary {primary}, voter {voter}, candidate {candidate}, fenced: {fenced}");

    fs::write(running.file("freeze"), patroni.to_string()).unwrap();
    if !fenced {
        fs::write(running.file("open"), "").unwrap();
    }
    let client = Client::start(running, &primary, first);
    client.wait_for(10, running, &primary);
    // Patroni's vote goes through only where the voter is not ahead in that moment.
    client.pause();
    running.wait("both standbys at one place", |_| {
        let place = |host| running.sql(host, "select pg_last_wal_receive_lsn()");
        place(&voter) == place(&candidate)
    });
    // So that the voter cannot win the race, nor hear who did.
    running.etcd_for(&voter, false);
    running.order(Verb::Freeze, &format!("{primary}/patroni"));
    let began = Instant::now();
    running.etcd(async |etcd| {
        let delete = etcd::proto::TxnRequest {
            compare: Vec::new(),
            success: vec![etcd::delete("/service/shanraq/leader")],
        };
        assert!(etcd.txn("end the leader's term", delete).await.unwrap().succeeded);
    });
    running.wait("the vote and the freezes", |_| {
        running.file("told/polled").exists()
    });
    client.resume();
    running.wait("the candidate promoted", |_| {
        running.sql(&candidate, "select pg_is_in_recovery()") == "f"
    });
    eprintln!("promoted after {} ms", began.elapsed().as_millis());
    let log = &running.topology().host(&candidate).unwrap().directories.log;
    let log = fs::read_to_string(log.join("patroni.log")).unwrap();
    log.lines()
        .filter(|line| line.starts_with("shanraq fence"))
        .for_each(|line| eprintln!("{line}"));
    if fenced {
        // That a commit returns shows that the voter follows the promoted server.
        running.sql(&candidate, "create table after_the_fence ()");
    } else {
        client.wait_for(client.count() + 10, running, &primary);
    }
    let acknowledged = client.end();
    let rows = running.sql(&candidate, "select n from rows");
    let rows: BTreeSet<i64> = rows.lines().map(|line| line.parse().unwrap()).collect();
    fs::remove_file(running.file("freeze")).unwrap();
    fs::remove_file(running.file("told/polled")).unwrap();
    running.etcd_for(&voter, true);
    for host in [&primary, &voter] {
        running.order(Verb::Start, &format!("{host}/patroni"));
    }
    Outcome {
        acknowledged: acknowledged.len(),
        lost: acknowledged.difference(&rows).copied().collect(),
    }
}
