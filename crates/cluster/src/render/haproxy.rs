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
    option redispatch 1

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
///
/// Two pools of the same nodes. What needs the writer goes to it while one is known, and to any node otherwise, which
/// forwards it or refuses it with a delay: so a failover asks nothing of the client. Reads that a follower may serve go
/// to any node. Nothing that was sent is ever sent again: only a connection that did not come about is tried elsewhere,
/// and the first that fails marks the server down until a check finds it up.
fn api(topology: &Topology, host: &Host) -> String {
    let mut text = format!(
        "
frontend api
    mode http
{binds}    acl any_node_may_answer req.hdr(shanraq-consistency) -m beg any bounded
    acl no_node nbsrv(nodes) eq 0
    acl grpc req.hdr(content-type) -m beg application/grpc
    http-request return status 200 hdr grpc-status 14 hdr grpc-message unavailable hdr shanraq-code API-0010 hdr shanraq-outcome nothing_done hdr retry-after-ms {RETRY_AFTER_MS} if no_node grpc
    http-after-response set-header content-type application/grpc if {{ res.hdr(grpc-status) -m found }}
    http-request return status 503 content-type application/problem+json hdr retry-after 1 string '{nothing_done}' if no_node
    http-error status 502 content-type application/problem+json string '{broken}'
    http-error status 503 content-type application/problem+json hdr retry-after 1 string '{nothing_done}'
    http-error status 504 content-type application/problem+json string '{late}'
    use_backend nodes if any_node_may_answer
    default_backend writer
",
        binds = binds(topology, host, topology.ports.balancer_api),
        nothing_done = nothing_done(),
        broken = unknown(502),
        late = unknown(504),
    );
    // Two silent checks and the time between them: less than a second until reads go past a lost host.
    text += &pool("nodes", "/readyz?role=reader", 300, topology);
    text += &pool("writer", "/readyz?role=writer", 500, topology);
    text += "    option allbackups\n";
    for node in topology.hosts_with(Role::Node) {
        let (name, address) = (&node.name, at(node, topology.ports.node));
        let _ = writeln!(
            text,
            "    server {name}-forwards {address} backup track nodes/{name}"
        );
    }
    text
}

/// The nodes, by what their check asks for. A silent host is noticed by TCP within five seconds where a check is not
/// asked; a node that is marked down keeps the requests that it has, since it may still answer them. HAProxy waits a second
/// before it tries elsewhere where a pool has one server alone, or the time to connect, if that is less: so that is short.
fn pool(name: &str, check: &str, within_ms: u32, topology: &Topology) -> String {
    let mut text = format!(
        "
backend {name}
    mode http
{balance}    option httpchk
    http-check send meth GET uri {check} ver HTTP/1.1 hdr host {name}
    http-check expect status 200
    timeout check {within_ms}ms
    timeout connect 200ms
    retries 3
    retry-on conn-failure
    srvtcpka-idle 2s
    srvtcpka-intvl 1s
    srvtcpka-cnt 3
    default-server proto h2 check-proto h1 inter 250ms fastinter 100ms downinter 250ms fall 2 rise 1 observe layer4 error-limit 1 on-error mark-down
",
        balance = balance(topology.balance.api),
    );
    for node in topology.hosts_with(Role::Node) {
        let address = at(node, topology.ports.node);
        let _ = writeln!(text, "    server {} {address} check", node.name);
    }
    text
}

/// How long a client waits when there is no node; a check finds one within twice that.
const RETRY_AFTER_MS: u32 = 100;

/// What a node itself would say: the request reached nobody.
fn nothing_done() -> String {
    format!(
        r#"{{"type":"urn:shanraq:problem:unavailable","title":"Unavailable","status":503,"code":"API-0010","detail":"no node can serve now; nothing was done","retry_after_ms":{RETRY_AFTER_MS},"outcome":"nothing_done"}}"#
    )
}

/// What a node itself would say: the request was sent, and its connection broke before the answer.
fn unknown(status: u16) -> String {
    format!(
        r#"{{"type":"urn:shanraq:problem:outcome-unknown","title":"The outcome is unknown","status":{status},"code":"API-0013","detail":"the connection to the node broke; repeating the same ids is safe","outcome":"unknown"}}"#
    )
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
