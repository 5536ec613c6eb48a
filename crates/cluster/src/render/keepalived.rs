//! keepalived's configuration: the address that the balancers share.

use super::HEADER;
use crate::{Host, Role, Topology};
use std::fmt::Write;

/// The instance of a balancer. The first balancer of the file is preferred; the address moves when its HAProxy is silent.
/// Peers are named, as clouds carry no multicast.
pub fn config(topology: &Topology, host: &Host) -> Option<String> {
    let shared = topology.shared_address.as_ref()?;
    let balancers: Vec<&Host> = topology.hosts_with(Role::Balancer).collect();
    let position = balancers.iter().position(|b| b.name == host.name)?;
    let mut peers = String::new();
    for peer in balancers.iter().filter(|b| b.name != host.name) {
        let _ = writeln!(peers, "        {}", peer.address);
    }
    Some(format!(
        "! {HEADER}
global_defs {{
    router_id {name}
    vrrp_version 3
    enable_script_security
    script_user nobody
    vrrp_garp_master_repeat 3
}}

vrrp_script balancer {{
    script \"{check}\"
    interval 1
    timeout 1
    fall 2
    rise 2
}}

vrrp_instance shanraq {{
    state BACKUP
    interface {interface}
    virtual_router_id {router}
    priority {priority}
    advert_int 0.5
    unicast_src_ip {address}
    unicast_peer {{
{peers}    }}
    virtual_ipaddress {{
        {shared}/{prefix}
    }}
    track_script {{
        balancer
    }}
}}
",
        name = host.name,
        check = host.directories.config.join("check-balancer.sh").display(),
        interface = host.interface,
        router = shared.router,
        priority = 150 - position.min(100),
        address = host.address,
        shared = shared.address,
        prefix = shared.prefix,
    ))
}

/// Asks the local HAProxy; with bash alone, as a balancer may have nothing else.
pub fn check(topology: &Topology, host: &Host) -> String {
    format!(
        "#!/bin/bash
# {HEADER}
exec 3<>/dev/tcp/{address}/{port} || exit 1
printf 'GET /healthz HTTP/1.0\\r\\n\\r\\n' >&3
read -r -t 1 line <&3
[[ $line == *' 200 '* ]]
",
        address = host.address,
        port = topology.ports.balancer_health,
    )
}
