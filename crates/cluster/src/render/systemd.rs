//! systemd units, one a process, and the directories that they need.

use super::{HEADER, root};
use crate::files::RenderedFile;
use crate::specs::{Manager, ProcessSpec, directories, spec};
use crate::{Host, ProcessKind, Topology};
use std::fmt::Write;

/// Units below `systemd/`, and `tmpfiles/shanraq.conf` for systemd-tmpfiles.
pub fn files(topology: &Topology, host: &Host) -> Vec<RenderedFile> {
    let mut files: Vec<RenderedFile> = topology
        .processes(host)
        .into_iter()
        .filter_map(|kind| spec(topology, host, kind, Manager::Systemd))
        .map(|spec| root(&format!("systemd/shanraq-{}.service", spec.kind), unit(&spec)))
        .collect();
    let mut text = format!("# {HEADER}\n");
    for needed in directories(topology, host) {
        let path = needed.path.display();
        let _ = writeln!(
            text,
            "d {path} {:04o} {user} {user} -",
            needed.mode,
            user = needed.user
        );
    }
    files.push(root("tmpfiles/shanraq.conf", text));
    files
}

fn unit(spec: &ProcessSpec) -> String {
    let (description, kind, after) = match spec.kind {
        ProcessKind::Etcd => ("etcd", "notify", ""),
        ProcessKind::Haproxy => ("HAProxy", "notify", ""),
        ProcessKind::Patroni => ("Patroni and PostgreSQL", "simple", " shanraq-etcd.service"),
        ProcessKind::Pgbouncer => ("PgBouncer", "notify", " shanraq-haproxy.service"),
        ProcessKind::Keepalived => ("keepalived", "simple", " shanraq-haproxy.service"),
        ProcessKind::Projection => ("SQL projection", "simple", " shanraq-patroni.service"),
        ProcessKind::Maintenance => (
            "chores of the journal's tables",
            "simple",
            " shanraq-patroni.service",
        ),
        ProcessKind::Node | ProcessKind::Postgres | ProcessKind::Postmaster => (
            "ledger node",
            "simple",
            " shanraq-etcd.service shanraq-patroni.service",
        ),
    };
    let mut text = format!(
        "# {HEADER}
[Unit]
Description=Shanraq: {description}
Wants=network-online.target
After=network-online.target{after}
StartLimitIntervalSec=0

[Service]
Type={kind}
User={user}
ExecStart={program} {arguments}
",
        user = spec.user,
        program = spec.program.display(),
        arguments = spec.arguments.join(" "),
    );
    text += match spec.kind {
        ProcessKind::Haproxy => {
            "ExecReload=/bin/kill -USR2 $MAINPID\nKillMode=mixed\nSuccessExitStatus=143\n"
        }
        // Patroni stops PostgreSQL itself, in the right order; the rest of the group is not signalled.
        ProcessKind::Patroni => "ExecReload=/bin/kill -HUP $MAINPID\nKillMode=process\nTimeoutStopSec=120\n",
        _ => "ExecReload=/bin/kill -HUP $MAINPID\n",
    };
    text += "Restart=always
RestartSec=500ms
LimitNOFILE=65536
LimitCORE=0
NoNewPrivileges=yes
ProtectHome=yes
PrivateTmp=yes

[Install]
WantedBy=multi-user.target
";
    text
}
