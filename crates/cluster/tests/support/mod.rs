//! What the tests of this crate share.

#![allow(dead_code, reason = "each test program uses a part of it")]

pub mod running;

use cluster::{Secrets, Topology};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Three hosts, two of them with balancer and pooler and a shared address; networks of the documentation.
pub const THREE: &str = r#"
name = "shanraq"
projection = true

[programs]
patroni = "/var/lib/shanraq/tools/patroni/bin/patroni"

[shared_address]
address = "192.0.2.100"

[[hosts]]
name = "h1"
address = "192.0.2.1"
roles = ["etcd", "postgres", "node", "balancer", "pooler"]

[[hosts]]
name = "h2"
address = "192.0.2.2"
roles = ["etcd", "postgres", "node", "balancer", "pooler"]

[[hosts]]
name = "h3"
address = "192.0.2.3"
roles = ["etcd", "postgres", "node"]
memory_mb = 8192
disk_gb = 100
"#;

/// The topology of that text.
pub fn three_hosts() -> Topology {
    let topology: Topology = toml::from_str(THREE).unwrap();
    topology.check().unwrap();
    topology
}

/// Secrets that are none.
pub fn fixed_secrets() -> Secrets {
    let secret = |name: &str| format!("not-a-secret-{name}");
    Secrets {
        superuser: secret("superuser"),
        replication: secret("replication"),
        rewind: secret("rewind"),
        fence: secret("fence"),
        owner: secret("owner"),
        writer: secret("writer"),
        reader: secret("reader"),
        projector: secret("projector"),
        rest: secret("rest"),
        ledger_keys: secret("ledger-keys"),
    }
}

/// Lets user postgres in.
pub fn open_to_all(path: &Path) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
}
