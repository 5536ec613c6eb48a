//! A whole cluster with a network namespace a host: the primary's host is cut off, and the shared address moves.

mod support;

use cluster::{HostMode, HostName, ProcessKind, Verb};
use std::process::Command;
use support::running::Running;

#[test]
fn a_primary_that_is_cut_off_loses_its_place_and_comes_back_as_a_replica() {
    let running = Running::start(HostMode::Netns);
    let (directory, topology) = (running.local.directory(), running.local.topology());
    let ports = topology.ports;
    let status = running.wait("healthy", |status| status.healthy);
    let first = status.primary.clone().unwrap();

    // Cut off from both others, the primary must stop taking writes, and one of the others must begin.
    let others = topology
        .hosts
        .iter()
        .map(|host| &host.name)
        .filter(|name| **name != first);
    for other in others.clone() {
        cluster::cut(directory, topology, &first, other, true, false).unwrap();
    }
    let is_primary = |status: &cluster::Status, name: &HostName| {
        let host = status.hosts.iter().find(|host| host.name == *name).unwrap();
        host.postgres
            .as_ref()
            .is_some_and(|server| server.role == "primary" && server.state == "running")
    };
    let elsewhere = |status: &cluster::Status| others.clone().any(|name| is_primary(status, name));
    let status = running.wait("a primary elsewhere after the cut", elsewhere);
    assert_eq!(status.cuts.len(), 4);
    assert!(!status.healthy);
    let gave_up = |status: &cluster::Status| elsewhere(status) && !is_primary(status, &first);
    running.wait("the old primary is none any more", gave_up);
    cluster::heal(directory, topology).unwrap();
    running.wait("healthy after the heal", |status| {
        status.healthy && status.primary.as_ref() != Some(&first)
    });

    // One way, and for new connections only: named in the status, and undone.
    let (a, b) = (&topology.hosts[0].name, &topology.hosts[1].name);
    cluster::cut(directory, topology, a, b, false, true).unwrap();
    let status = cluster::observe(&running.local).unwrap();
    assert_eq!(status.cuts.len(), 1);
    assert!(status.cuts[0].from == *a && status.cuts[0].to == *b && status.cuts[0].new_only);
    assert!(!reaches(&running, b, a, ports.patroni) || !reaches(&running, a, b, ports.patroni));
    assert!(reaches(&running, b, a, ports.patroni), "the other way is open");
    cluster::heal(directory, topology).unwrap();
    assert!(reaches(&running, a, b, ports.patroni));

    // The shared address answers, and goes on answering when the balancer that holds it is gone.
    let shared = topology.shared_address.unwrap().address;
    let answers = |_: &cluster::Status| {
        let address = (shared, ports.balancer_primary).into();
        std::net::TcpStream::connect_timeout(&address, std::time::Duration::from_millis(500)).is_ok()
    };
    running.wait("the shared address answers", answers);
    address_moves(&running);
    running.order(Verb::Kill, "h1");
    running.wait("the shared address answers after its host was lost", |status| {
        !status.healthy && holder(status) == Some("h2") && answers(status)
    });
    running.order(Verb::Start, "h1");
    running.wait("healthy after the host is back", |status| status.healthy);
    running.end();
}

fn holder(status: &cluster::Status) -> Option<&str> {
    status.address_holder.as_ref().map(|name| name.0.as_str())
}

/// The first balancer has the address while its HAProxy serves, and gets it back.
fn address_moves(running: &Running) {
    running.wait("healthy, the address at h1", |status| {
        status.healthy && holder(status) == Some("h1")
    });
    for (verb, target) in [(Verb::Freeze, "h1/haproxy"), (Verb::Stop, "h1/haproxy")] {
        running.order(verb, target);
        let what = format!("the address at h2 after {verb:?} {target}");
        running.wait(&what, |status| holder(status) == Some("h2"));
        running.order(Verb::Start, target);
        running.wait("the address back at h1", |status| holder(status) == Some("h1"));
    }
    let keeper = |status: &cluster::Status| {
        let host = &status.hosts[0];
        let mut kept = host
            .processes
            .iter()
            .filter(|it| it.process == ProcessKind::Keepalived);
        kept.next().and_then(|it| it.process_id)
    };
    let before = keeper(&running.wait("healthy", |status| status.healthy));
    running.order(Verb::Kill, "h1/keepalived");
    running.wait("healthy after keepalived was killed", |status| {
        status.healthy && keeper(status) != before
    });
}

/// Whether a TCP connection from one host to another comes about.
fn reaches(running: &Running, from: &HostName, to: &HostName, port: u16) -> bool {
    let address = running.local.topology().host(to).unwrap().address;
    let namespace = cluster::namespace(running.local.directory(), from);
    let script = format!("exec 3<>/dev/tcp/{address}/{port}");
    let status = Command::new("ip")
        .args(["netns", "exec", &namespace, "timeout", "2", "bash", "-c", &script])
        .stderr(std::process::Stdio::null())
        .status();
    status.unwrap().success()
}
