//! Network namespaces: one a host, joined by a bridge, so that hosts can be cut off from each other.
//!
//! Names begin with `shq` and a tag of the cluster's directory, so that two clusters never meet, and nothing that is not
//! ours is ever removed. A cut drops packets silently, as a lost host or a broken switch does.

use crate::{ClusterError, Host, HostName, Role, Topology, impair};
use aws_lc_rs::digest;
use serde::{Deserialize, Serialize};
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;

/// Packets that one host does not get from another.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Cut {
    /// Whose packets.
    pub from: HostName,
    /// Who does not get them.
    pub to: HostName,
    /// Whether only new TCP connections are meant.
    pub new_only: bool,
}

/// Four hexadecimal digits of the directory's path.
fn tag(directory: &Path) -> String {
    let path = directory.canonicalize().unwrap_or_else(|_| directory.to_owned());
    let hash = digest::digest(&digest::SHA256, path.as_os_str().as_encoded_bytes());
    hash.as_ref()[..2]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// The namespace of a host.
pub fn namespace(directory: &Path, host: &HostName) -> String {
    format!("shq-{}-{host}", tag(directory))
}

/// A network that no route of this machine names; hosts get `.1`, `.2` …, this machine `.254`, the shared address `.100`.
pub fn free_network() -> Result<[u8; 3], ClusterError> {
    let routes = run("ip", &["-4", "route", "show", "table", "all"])?;
    let mut seed = [0_u8; 2];
    for _ in 0..64 {
        aws_lc_rs::rand::fill(&mut seed)
            .map_err(|e| ClusterError::io("read", Path::new("/dev/urandom"), std::io::Error::other(e)))?;
        let network = [10, 128 + seed[0] % 64, seed[1]];
        if !routes.contains(&format!("{}.{}.{}.", network[0], network[1], network[2])) {
            return Ok(network);
        }
    }
    Err(ClusterError::Refused(
        "no free network was found within 10.128.0.0/10".to_owned(),
    ))
}

/// Makes bridge, namespaces and links; what is there already is made anew.
pub fn create(directory: &Path, topology: &Topology) -> Result<(), ClusterError> {
    remove(directory, topology)?;
    let tag = tag(directory);
    let bridge = format!("shq{tag}br");
    let [a, b, c, _] = topology.hosts[0].address.octets();
    let gateway = Ipv4Addr::new(a, b, c, 254);
    run("ip", &["link", "add", &bridge, "type", "bridge"])?;
    run(
        "ip",
        &["address", "add", &format!("{gateway}/24"), "dev", &bridge],
    )?;
    run("ip", &["link", "set", &bridge, "up"])?;
    for (index, host) in topology.hosts.iter().enumerate() {
        let namespace = namespace(directory, &host.name);
        let veth = format!("shq{tag}v{index}");
        run("ip", &["netns", "add", &namespace])?;
        let interface = host.interface.as_str();
        let link = [
            "link", "add", &veth, "type", "veth", "peer", "name", interface, "netns",
        ];
        run("ip", &[&link[..], &[&namespace]].concat())?;
        run("ip", &["link", "set", &veth, "master", &bridge, "up"])?;
        let address = format!("{}/24", host.address);
        run(
            "ip",
            &["-n", &namespace, "address", "add", &address, "dev", interface],
        )?;
        run("ip", &["-n", &namespace, "link", "set", interface, "up"])?;
        run("ip", &["-n", &namespace, "link", "set", "lo", "up"])?;
    }
    Ok(())
}

/// Whether a host's network has the address that the balancers share; none where the host does not take part in it.
pub fn holds_shared_address(directory: &Path, topology: &Topology, host: &Host) -> Option<bool> {
    let shared = topology
        .shared_address
        .filter(|_| host.has(Role::Balancer) && !topology.is_loopback())?;
    let namespace = namespace(directory, &host.name);
    let address = format!("{}/32", shared.address);
    let shown = run("ip", &["-n", &namespace, "-o", "address", "show", "to", &address]);
    // Without its network it has no address.
    Some(shown.is_ok_and(|text| !text.trim().is_empty()))
}

/// Removes what `create` made, and all cuts and bad lines with it.
pub fn remove(directory: &Path, topology: &Topology) -> Result<(), ClusterError> {
    impair::mend(directory)?;
    let existing = run("ip", &["netns", "list"])?;
    let tag = tag(directory);
    for (index, host) in topology.hosts.iter().enumerate() {
        // The kernel takes a namespace's own end away some time after the namespace, and the name is taken until then.
        remove_link(&format!("shq{tag}v{index}"))?;
        let namespace = namespace(directory, &host.name);
        if existing.split_whitespace().any(|word| word == namespace) {
            run("ip", &["netns", "delete", &namespace])?;
        }
    }
    remove_link(&format!("shq{tag}br"))?;
    write_cuts(directory, &[])
}

/// Removes a network device, if it is there; a link goes with both its ends.
fn remove_link(name: &str) -> Result<(), ClusterError> {
    let is_there = || Path::new("/sys/class/net").join(name).exists();
    if !is_there() {
        return Ok(());
    }
    match run("ip", &["link", "delete", name]) {
        // It went by itself meanwhile.
        Err(_) if !is_there() => Ok(()),
        done => done.map(|_| ()),
    }
}

/// Cuts `to` off from what `from` sends; with `both`, also the other way.
///
/// # Errors
/// The hosts have no networks of their own, or are not two known ones.
pub fn cut(
    directory: &Path,
    topology: &Topology,
    from: &HostName,
    to: &HostName,
    both: bool,
    new_only: bool,
) -> Result<(), ClusterError> {
    require_networks(topology)?;
    let (from, to) = (topology.host(from)?, topology.host(to)?);
    if from.name == to.name {
        return Err(ClusterError::Refused(format!(
            "{} cannot be cut off from itself",
            to.name
        )));
    }
    let mut cuts = cuts(directory)?;
    let mut directions = vec![(from, to)];
    if both {
        directions.push((to, from));
    }
    for (from, to) in directions {
        drop_packets(directory, from, to, new_only)?;
        cuts.push(Cut {
            from: from.name.clone(),
            to: to.name.clone(),
            new_only,
        });
    }
    write_cuts(directory, &cuts)
}

/// Undoes every cut and makes every line good.
///
/// # Errors
/// The hosts have no networks of their own, or a rule cannot be removed.
pub fn heal(directory: &Path, topology: &Topology) -> Result<(), ClusterError> {
    require_networks(topology)?;
    impair::mend(directory)?;
    for host in &topology.hosts {
        // Adding first makes deleting succeed where there is no table.
        rules(
            directory,
            host,
            "add table inet shanraq; delete table inet shanraq",
        )?;
    }
    write_cuts(directory, &[])
}

/// The cuts that stand.
pub fn cuts(directory: &Path) -> Result<Vec<Cut>, ClusterError> {
    let path = directory.join("run").join("cuts.json");
    match std::fs::read_to_string(&path) {
        Ok(text) => serde_json::from_str(&text).map_err(|error| ClusterError::Damaged {
            path,
            problem: error.to_string(),
        }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(ClusterError::io("read", &path, error)),
    }
}

fn write_cuts(directory: &Path, cuts: &[Cut]) -> Result<(), ClusterError> {
    let path = directory.join("run").join("cuts.json");
    let text = serde_json::to_string(cuts).expect("cuts are names");
    std::fs::write(&path, text).map_err(|e| ClusterError::io("write", &path, e))
}

fn drop_packets(directory: &Path, from: &Host, to: &Host, new_only: bool) -> Result<(), ClusterError> {
    let which = if new_only {
        "tcp flags & (syn | ack) == syn "
    } else {
        ""
    };
    let text = format!(
        "add table inet shanraq
add chain inet shanraq cut {{ type filter hook input priority 0; policy accept; }}
add rule inet shanraq cut ip saddr {} {which}drop",
        from.address
    );
    rules(directory, to, &text)
}

fn rules(directory: &Path, host: &Host, text: &str) -> Result<(), ClusterError> {
    let namespace = namespace(directory, &host.name);
    run("ip", &["netns", "exec", &namespace, "nft", text]).map(|_| ())
}

pub fn require_networks(topology: &Topology) -> Result<(), ClusterError> {
    if topology.is_loopback() {
        let text = "hosts on the loopback network cannot be cut off from each other: use `up --hosts netns`";
        return Err(ClusterError::Refused(text.to_owned()));
    }
    Ok(())
}

/// Runs a program to its end and gives what it said.
pub fn run(program: &str, arguments: &[&str]) -> Result<String, ClusterError> {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .map_err(|e| ClusterError::io("run", Path::new(program), e))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(ClusterError::Program {
        program: format!("{program} {}", arguments.join(" ")),
        status: output.status.to_string(),
        output: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    })
}
