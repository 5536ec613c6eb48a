//! etcd's configuration.

use super::HEADER;
use crate::address::at;
use crate::{Host, Role, Topology};

/// The member of a host. Patroni speaks through the gRPC gateway, which etcd 3.4 leaves off when it is started with a
/// file that does not name it. Pre-vote keeps a member that was cut off from unseating the leader when it is back.
pub fn config(topology: &Topology, host: &Host) -> String {
    let client = at(host, topology.ports.etcd_client);
    let peer = at(host, topology.ports.etcd_peer);
    let members: Vec<String> = topology
        .hosts_with(Role::Etcd)
        .map(|member| format!("{}=http://{}", member.name, at(member, topology.ports.etcd_peer)))
        .collect();
    format!(
        "# {HEADER}
name: {name}
data-dir: {data}
listen-client-urls: http://{client}
advertise-client-urls: http://{client}
listen-peer-urls: http://{peer}
initial-advertise-peer-urls: http://{peer}
initial-cluster: {members}
initial-cluster-token: {token}
initial-cluster-state: new
heartbeat-interval: 100
election-timeout: 1000
pre-vote: true
strict-reconfig-check: true
enable-v2: false
enable-grpc-gateway: true
auto-compaction-mode: periodic
auto-compaction-retention: 1h
quota-backend-bytes: 2147483648
logger: zap
log-level: info
",
        name = host.name,
        data = host.directories.etcd().display(),
        members = members.join(","),
        token = topology.name,
    )
}
