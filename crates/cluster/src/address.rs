//! Addresses that follow from the topology: where a host is reached, and by which relay.

use crate::{Host, Role, Topology};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

/// A port of a host.
pub fn at(host: &Host, port: u16) -> SocketAddr {
    SocketAddr::V4(SocketAddrV4::new(host.address, port))
}

/// The hosts that have a role, the host itself first if it is one, so that the way is short while it lives.
pub fn own_first<'a>(topology: &'a Topology, host: &Host, role: Role) -> impl Iterator<Item = &'a Host> {
    let mut hosts: Vec<&Host> = topology.hosts_with(role).collect();
    hosts.sort_by_key(|other| other.name != host.name);
    hosts.into_iter()
}

/// Where every host reaches a host's Patroni: an address of the loopback network that each host's own HAProxy listens
/// on, the same everywhere, because Patroni publishes one address for all. Without relays: the host itself.
pub fn patroni_published(topology: &Topology, host: &Host) -> SocketAddr {
    let position = topology.hosts.iter().position(|h| h.name == host.name);
    match (topology.has_relays(), position) {
        (true, Some(position)) => {
            let [_, _, high, low] = (position as u32 + 1).to_be_bytes();
            SocketAddr::from((Ipv4Addr::new(127, 8, high, low), topology.ports.patroni))
        }
        _ => at(host, topology.ports.patroni),
    }
}

/// The network that a host's connections come from, for `pg_hba.conf`. Linux gives connections within the loopback
/// network the source 127.0.0.1, whatever they go to.
pub fn source_network(host: &Host) -> String {
    if host.address.is_loopback() {
        "127.0.0.0/8".to_owned()
    } else {
        format!("{}/32", host.address)
    }
}
