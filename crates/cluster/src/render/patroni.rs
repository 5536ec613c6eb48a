//! Patroni's configuration.

use super::HEADER;
use super::fence::pre_promote;
use super::postgres::{cluster_settings, local_settings};
use super::rewind;
use crate::address::{at, patroni_published, source_network};
use crate::{DurabilityMode, Host, Machine, Role, Secrets, Topology};
use std::collections::BTreeSet;
use std::fmt::Write;

/// The member of a host.
pub fn config(topology: &Topology, host: &Host, machine: Machine, secrets: &Secrets) -> String {
    let mut text = format!(
        "# {HEADER}
scope: {scope}
name: {name}
etcd3:
  hosts: [{etcd}]
restapi:
  listen: {listen}
  connect_address: {published}
  authentication:
    username: shanraq
    password: \"{rest}\"
",
        scope = topology.name,
        name = host.name,
        etcd = etcd_hosts(topology, host),
        listen = at(host, topology.ports.patroni),
        published = patroni_published(topology, host),
        rest = secrets.rest,
    );
    text += &bootstrap(topology, host);
    text += &postgresql(topology, host, machine, secrets);
    text += "watchdog:\n  mode: \"off\"\n";
    text
}

/// The host's own member first, so that the way to etcd is short while it lives.
fn etcd_hosts(topology: &Topology, host: &Host) -> String {
    let mut members: Vec<&Host> = topology.hosts_with(Role::Etcd).collect();
    members.sort_by_key(|member| member.name != host.name);
    let addresses: Vec<String> = members
        .iter()
        .map(|member| format!("\"{}\"", at(member, topology.ports.etcd_client)))
        .collect();
    addresses.join(", ")
}

/// What Patroni puts into etcd when it makes the cluster; later changes go through etcd, not through this file.
///
/// How far a standby lags does not bar it: Patroni compares with what the primary has flushed itself, acknowledged or not, and two
/// standbys that were away for a moment would both be barred for ever once it is lost. Its vote and the fence see to it
/// that nothing acknowledged is missing.
fn bootstrap(topology: &Topology, host: &Host) -> String {
    let (mode, strict) = match topology.durability.mode {
        DurabilityMode::Quorum => ("quorum", true),
        DurabilityMode::Local => ("\"off\"", false),
    };
    let copies = topology.durability.copies.max(1);
    let mut text = format!(
        "bootstrap:
  dcs:
    ttl: 20
    loop_wait: 1
    retry_timeout: 3
    primary_start_timeout: 0
    maximum_lag_on_failover: 1099511627776
    synchronous_mode: {mode}
    synchronous_mode_strict: {strict}
    synchronous_node_count: {copies}
    postgresql:
      use_pg_rewind: true
      use_slots: true
      parameters:
",
    );
    write_settings(&mut text, 8, &cluster_settings());
    text += "  initdb:
    - encoding: UTF8
    - locale: C.UTF-8
    - auth-local: peer
    - auth-host: scram-sha-256
    - wal-segsize: \"64\"
    - data-checksums
";
    if let Some(wal) = host.directories.postgres_wal() {
        let _ = writeln!(text, "    - waldir: {}", wal.display());
    }
    let script = host.directories.config.join("bootstrap.sh");
    let _ = writeln!(text, "  post_bootstrap: {}", script.display());
    text
}

fn postgresql(topology: &Topology, host: &Host, machine: Machine, secrets: &Secrets) -> String {
    let server = at(host, topology.ports.postgres);
    let mut text = format!(
        "postgresql:
  listen: {server}
  connect_address: {server}
  use_unix_socket: true
  data_dir: {data}
  bin_dir: {bin}
  pgpass: {pgpass}
  remove_data_directory_on_rewind_failure: true
",
        data = host.directories.postgres().display(),
        bin = topology.programs.postgres_directory.display(),
        pgpass = host.directories.run.join("pgpass").display(),
    );
    let _ = writeln!(
        text,
        "  bin_name:\n    pg_rewind: {}",
        host.directories.config.join(rewind::FILE).display()
    );
    if let Some(command) = pre_promote(topology, host) {
        let quoted = command.replace('\'', "''");
        let _ = writeln!(text, "  pre_promote: '{quoted}'");
    }
    let _ = write!(
        text,
        "  authentication:
    superuser:
      username: postgres
      password: \"{}\"
    replication:
      username: shanraq_replication
      password: \"{}\"
    rewind:
      username: shanraq_rewind
      password: \"{}\"
  basebackup:
    - checkpoint: fast
",
        secrets.superuser, secrets.replication, secrets.rewind,
    );
    if let Some(wal) = host.directories.postgres_wal() {
        let _ = writeln!(text, "    - waldir: {}", wal.display());
    }
    text += "  parameters:\n";
    write_settings(&mut text, 4, &local_settings(host, machine));
    text += "  pg_hba:\n";
    for line in access(topology) {
        let _ = writeln!(text, "    - {line}");
    }
    text
}

fn write_settings(text: &mut String, indent: usize, settings: &[(&str, String)]) {
    for (name, value) in settings {
        let _ = writeln!(text, "{:indent$}{name}: \"{value}\"", "");
    }
}

/// Who may log in: the superuser over the local socket only, as the system's user of that name; every other role by
/// SCRAM from the hosts of the topology, each to its own database only.
fn access(topology: &Topology) -> Vec<String> {
    let networks: BTreeSet<String> = topology.hosts.iter().map(source_network).collect();
    let mut lines = vec!["local all postgres peer".to_owned()];
    let roles = [
        ("replication", "shanraq_replication"),
        ("postgres", "shanraq_rewind,shanraq_fence"),
        (
            "shanraq",
            "shanraq_owner,shanraq_writer,shanraq_reader,shanraq_projector",
        ),
    ];
    for network in &networks {
        for (database, role) in roles {
            lines.push(format!("host {database} {role} {network} scram-sha-256"));
        }
    }
    lines
}
