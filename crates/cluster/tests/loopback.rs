//! A whole cluster on the loopback network, for real: etcd, Patroni, PostgreSQL, HAProxy, PgBouncer, three hosts.

mod support;

use cluster::{HostMode, HostName, ProcessKind, ProcessState, Verb};
use support::running::Running;

#[test]
fn a_cluster_becomes_healthy_and_survives_the_kill_of_its_primary() {
    let running = Running::start(HostMode::Loopback);
    let ports = running.local.topology().ports;
    let status = running.wait("healthy", |status| status.healthy);
    let first = status.primary.clone().unwrap();
    let balancer = HostName("h1".to_owned());

    // Segments are there before the first commit, on every server.
    let began = std::time::Instant::now();
    let primed = cluster::prime(&running.local, &first, &mut |_, _| {})
        .unwrap()
        .unwrap();
    eprintln!(
        "primed in {:.1} s: {:?}",
        began.elapsed().as_secs_f64(),
        primed.segments
    );
    assert!(primed.segments.iter().all(|(_, count)| *count >= 8), "{primed:?}");
    assert!(
        cluster::prime(&running.local, &first, &mut |_, _| {})
            .unwrap()
            .is_none(),
        "it is done once"
    );

    // Writers reach the primary, readers a replica through the pooler, and nobody without a password.
    let sql = "select pg_is_in_recovery()";
    let ask = |port: u16, role: &str, sql: &str| running.query(&balancer, port, role, sql);
    assert_eq!(
        ask(ports.balancer_primary, "shanraq_writer", sql),
        Ok("f".to_owned())
    );
    assert_eq!(ask(ports.pooler, "shanraq_reader", sql), Ok("t".to_owned()));
    assert!(
        ask(ports.pooler, "shanraq_writer", sql).is_err(),
        "the pooler is for readers"
    );
    assert!(
        ask(ports.balancer_primary, "shanraq_rewind", sql).is_err(),
        "rewind may not reach the ledger"
    );
    assert!(ask(ports.balancer_primary, "shanraq_reader", "create table t ()").is_err());
    let names = ask(
        ports.balancer_primary,
        "shanraq_writer",
        "show synchronous_standby_names",
    )
    .unwrap();
    assert!(names.starts_with("ANY 1 ("), "{names}");
    for (setting, value) in [
        ("synchronous_commit", "on"),
        ("statement_timeout", "0"),
        ("lock_timeout", "0"),
        ("wal_segment_size", "64MB"),
        ("data_checksums", "on"),
    ] {
        let sql = format!("show {setting}");
        assert_eq!(
            ask(ports.balancer_primary, "shanraq_writer", &sql).as_deref(),
            Ok(value),
            "{setting}"
        );
    }

    // The primary's PostgreSQL dies; another takes over, the first comes back and follows.
    running.order(Verb::Kill, &format!("{first}/postgres"));
    let moved = |name: &Option<HostName>| name.as_ref().is_some_and(|name| *name != first);
    running.wait("a new primary after the kill", |status| moved(&status.primary));
    running.wait("healthy after the kill", |status| {
        status.healthy && moved(&status.primary)
    });

    // A killed process comes back by itself; a stopped one stays down until it is started.
    running.order(Verb::Kill, "h3/etcd");
    let restarted = |status: &cluster::Status| {
        let host = status.hosts.iter().find(|host| host.name.0 == "h3").unwrap();
        host.processes
            .iter()
            .any(|p| p.process == ProcessKind::Etcd && p.restarts == 1)
    };
    running.wait("healthy after etcd was killed", |status| {
        status.healthy && restarted(status)
    });
    running.order(Verb::Stop, "h2/pgbouncer");
    let state = |status: &cluster::Status, state| {
        let host = status.hosts.iter().find(|host| host.name.0 == "h2").unwrap();
        host.processes
            .iter()
            .any(|p| p.process == ProcessKind::Pgbouncer && p.state == state)
    };
    running.wait("stopped", |status| {
        !status.healthy && state(status, ProcessState::Stopped)
    });
    running.order(Verb::Start, "h2/pgbouncer");
    running.wait("healthy after the start of the pooler", |status| status.healthy);

    // A drained host gets no new readers.
    cluster::drain(running.local.topology(), &HostName("h3".to_owned()), true).unwrap();
    cluster::drain(running.local.topology(), &HostName("h3".to_owned()), false).unwrap();
    running.end();
}
