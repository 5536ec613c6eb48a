//! A topology that cannot work is refused, and the refusal names the field.

mod support;

use cluster::{ClusterError, Topology};
use support::{THREE, three_hosts};

fn refused(change: impl FnOnce(&mut Topology)) -> String {
    let mut topology = three_hosts();
    change(&mut topology);
    topology.check().unwrap_err().to_string()
}

fn read(text: &str) -> Result<Topology, ClusterError> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("cluster.toml");
    std::fs::write(&path, text).unwrap();
    Topology::read(&path)
}

#[test]
fn a_topology_reads_with_its_defaults_and_survives_being_written() {
    let topology = read(THREE).unwrap();
    assert_eq!(topology.ports.balancer_primary, 5000);
    assert_eq!(topology.durability.copies, 1);
    assert!(topology.nodes);
    assert_eq!(read(&toml::to_string(&topology).unwrap()).unwrap(), topology);
}

#[test]
fn an_unknown_key_is_refused_with_its_line() {
    let error = read(&THREE.replacen("roles =", "rolls =", 1))
        .unwrap_err()
        .to_string();
    assert!(error.contains("rolls") && error.contains("line"), "{error}");
}

#[test]
fn each_field_that_cannot_work_is_named() {
    type Change = fn(&mut Topology);
    let cases: [(&str, Change); 22] = [
        ("projection", |t| t.nodes = false),
        ("name", |t| t.name = "Two Words".to_owned()),
        ("hosts", |t| t.hosts.clear()),
        ("hosts[1].name", |t| t.hosts[1].name.0 = "h1".to_owned()),
        ("hosts[2].name", |t| {
            t.hosts[2].name.0 = "a-name-of-more-than-15".to_owned()
        }),
        ("hosts[1].address", |t| t.hosts[1].address = t.hosts[0].address),
        ("hosts[0].address", |t| t.hosts[0].address = [127, 0, 0, 1].into()),
        ("hosts[0].address", |t| t.hosts[0].address = [0, 0, 0, 0].into()),
        ("hosts[2].roles", |t| t.hosts[2].roles.clear()),
        ("hosts[2].roles", |t| t.hosts[2].roles.push(cluster::Role::Pooler)),
        ("hosts[].roles", |t| {
            t.hosts[2].roles.retain(|r| *r != cluster::Role::Etcd)
        }),
        ("hosts[0].memory_mb", |t| t.hosts[0].memory_mb = Some(64)),
        ("hosts[0].disk_gb", |t| t.hosts[0].disk_gb = Some(1)),
        ("hosts[0].directories.data", |t| {
            t.hosts[0].directories.data = "data".into()
        }),
        ("hosts[0].directories.log", |t| {
            t.hosts[0].directories.log = "/var/a log".into()
        }),
        ("hosts[0].directories.run", |t| {
            t.hosts[0].directories.run = format!("/{}", "r".repeat(100)).into()
        }),
        ("durability.copies", |t| t.durability.copies = 3),
        ("durability.mode", |t| {
            t.durability.mode = cluster::DurabilityMode::Local
        }),
        ("ports.pooler", |t| t.ports.pooler = 5432),
        ("ports.etcd_peer", |t| t.ports.etcd_peer = 80),
        ("shared_address.address", |t| {
            t.shared_address.as_mut().unwrap().address = t.hosts[0].address;
        }),
        ("pre_promote", |t| t.pre_promote = Some(" ".to_owned())),
    ];
    for (field, change) in cases {
        let error = refused(change);
        assert!(
            error.starts_with(&format!("CLU-0003: {field}:")),
            "{field}: {error}"
        );
    }
}

#[test]
fn two_copies_of_three_servers_are_allowed_and_none_is_not() {
    let mut topology = three_hosts();
    topology.durability.copies = 2;
    topology.check().unwrap();
    topology.durability.copies = 0;
    assert!(topology.check().is_err());
}

#[test]
fn one_server_keeps_no_copy_only_when_the_file_says_so() {
    let mut topology = three_hosts();
    topology.shared_address = None;
    topology.hosts.truncate(1);
    assert!(
        topology
            .check()
            .unwrap_err()
            .to_string()
            .contains("durability.copies")
    );
    topology.durability.mode = cluster::DurabilityMode::Local;
    topology.check().unwrap();
}
