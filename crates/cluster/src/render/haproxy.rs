//! HAProxy's configuration: the API, the PostgreSQL pools, and the relays to the hosts' Patroni.

use super::HEADER;
use crate::address::{at, patroni_published};
use crate::{BalanceAlgorithm, Host, Role, Topology};
use std::fmt::Write;

/// The instance of a host.
pub fn config(topology: &Topology, host: &Host) -> String {
    let mut text = format!(
        "# {HEADER}
global
    log stdout format raw daemon notice
    stats socket {socket} mode 660 level admin
    user haproxy
    group haproxy
    maxconn 8000
    hard-stop-after 30s
    # Checks of many servers at one moment would make a herd.
    spread-checks 5

defaults
    log global
    timeout connect 1s
    timeout client 24h
    timeout server 24h
    timeout check 1s
    option clitcpka
    option srvtcpka
    option dontlognull
    retries 2
    option redispatch

frontend health
    mode http
    bind {health}
    timeout client 10s
    monitor-uri /healthz
    http-request use-service prometheus-exporter if {{ path /metrics }}
    http-request return status 404
",
        socket = host.directories.run.join("haproxy.sock").display(),
        health = at(host, topology.ports.balancer_health),
    );
    if host.has(Role::Balancer) {
        if topology.nodes {
            text += &api(topology, host);
        }
        text += &primary(topology, host);
        text += &replicas(topology, host);
    }
    if topology.has_relays() && host.has(Role::Postgres) {
        text += &relays(topology);
    }
    text
}

/// HTTP/1 and HTTP/2 come in on one port (HAProxy tells them apart by the preface); HTTP/2 goes out, as gRPC needs.
fn api(topology: &Topology, host: &Host) -> String {
    let mut text = format!(
        "
frontend api
    mode http
{binds}    default_backend api

backend api
    mode http
{balance}    option httpchk
    http-check send meth GET uri /readyz
    http-check expect status 200
    default-server proto h2 check inter 500ms fastinter 200ms downinter 200ms fall 2 rise 1
",
        binds = binds(topology, host, topology.ports.balancer_api),
        balance = balance(topology.balance.api),
    );
    for node in topology.hosts_with(Role::Node) {
        let _ = writeln!(text, "    server {} {}", node.name, at(node, topology.ports.node));
    }
    text
}

/// Sessions of a server that is no longer the primary are ended at once, so that clients look for the new one.
fn primary(topology: &Topology, host: &Host) -> String {
    let check = format!(
        "    option httpchk
    http-check send meth GET uri /primary
    http-check expect status 200
    default-server check port {port} inter 500ms fastinter 200ms downinter 200ms fall 2 rise 1 on-marked-down shutdown-sessions
",
        port = topology.ports.patroni
    );
    let binds = binds(topology, host, topology.ports.balancer_primary);
    format!(
        "
frontend primary
    mode tcp
{binds}    default_backend primary

backend primary
    mode tcp
{check}{servers}",
        servers = servers(topology),
    )
}

fn replicas(topology: &Topology, host: &Host) -> String {
    let check = format!(
        "    option httpchk
    http-check send meth GET uri /replica
    http-check expect status 200
    default-server check port {port} inter 1s fastinter 200ms downinter 500ms fall 2 rise 1
",
        port = topology.ports.patroni
    );
    let binds = binds(topology, host, topology.ports.balancer_replicas);
    format!(
        "
frontend replicas
    mode tcp
{binds}    default_backend replicas

backend replicas
    mode tcp
{balance}{check}{servers}",
        balance = balance(topology.balance.replicas),
        servers = servers(topology),
    )
}

/// One listener a host, at the address that Patroni publishes. A dead host is refused within the connect timeout, and at
/// once when the check has seen it. Sessions are left alone when a host is marked down: they end by themselves.
fn relays(topology: &Topology) -> String {
    let mut text = String::new();
    for host in topology.hosts_with(Role::Postgres) {
        let _ = write!(
            text,
            "
listen patroni-{name}
    mode tcp
    bind {published}
    timeout connect 200ms
    timeout client 10s
    timeout server 10s
    timeout check 300ms
    retries 0
    option httpchk
    http-check send meth GET uri /liveness
    http-check expect rstatus ^(200|503)$
    server {name} {address} check inter 250ms fall 2 rise 1
",
            name = host.name,
            published = patroni_published(topology, host),
            address = at(host, topology.ports.patroni),
        );
    }
    text
}

/// The host's own address, and the shared one: bound on both balancers, held by one.
fn binds(topology: &Topology, host: &Host, port: u16) -> String {
    let mut text = format!("    bind {}\n", at(host, port));
    if let Some(shared) = &topology.shared_address {
        let _ = writeln!(text, "    bind {}:{port} transparent", shared.address);
    }
    text
}

fn balance(algorithm: BalanceAlgorithm) -> &'static str {
    match algorithm {
        BalanceAlgorithm::Roundrobin => "    balance roundrobin\n",
        BalanceAlgorithm::Leastconn => "    balance leastconn\n",
        BalanceAlgorithm::ConsistentHash => "    balance source\n    hash-type consistent\n",
    }
}

fn servers(topology: &Topology) -> String {
    let mut text = String::new();
    for server in topology.hosts_with(Role::Postgres) {
        let _ = writeln!(
            text,
            "    server {} {}",
            server.name,
            at(server, topology.ports.postgres)
        );
    }
    text
}
