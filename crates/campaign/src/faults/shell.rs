//! What is done to hosts from outside the cluster's own commands: packet rules, SQL as the superuser.
//!
//! Everything here is undone by [`heal_network`] and [`heal_settings`], which may be repeated. The rules are in a table of
//! their own, which the cluster's cuts do not touch.

use anyhow::{Context, Result, ensure};
use cluster::{Host, HostName, Local};
use std::process::Command;

const TABLE: &str = "inet shanraq_campaign";

/// Runs a program to its end and gives what it said.
pub fn run(program: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .with_context(|| format!("cannot run {program}"))?;
    ensure!(
        output.status.success(),
        "`{program} {}` failed ({}): {}",
        arguments.join(" "),
        output.status,
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn inside(local: &Local, host: &HostName, words: &[&str]) -> Result<String> {
    let namespace = cluster::namespace(local.directory(), host);
    run("ip", &[&["netns", "exec", &namespace], words].concat())
}

/// Drops packets at a host; `hook` is `input` or `output`, and each rule is a match of nft's language.
pub fn drop_packets(local: &Local, host: &HostName, hook: &str, matches: &[String]) -> Result<()> {
    let mut text = format!(
        "add table {TABLE}\nadd chain {TABLE} {hook} {{ type filter hook {hook} priority 0; policy accept; }}\n"
    );
    for matching in matches {
        text += &format!("add rule {TABLE} {hook} {matching} drop\n");
    }
    inside(local, host, &["nft", &text]).map(drop)
}

/// Undoes every rule of ours.
pub fn heal_network(local: &Local) -> Result<()> {
    for host in &local.topology().hosts {
        // Adding first makes deleting succeed where there is no table.
        inside(
            local,
            &host.name,
            &["nft", &format!("add table {TABLE}; delete table {TABLE}")],
        )?;
    }
    Ok(())
}

/// A query as the superuser over a host's local socket; gives rows without a heading.
pub fn sql(local: &Local, host: &Host, commands: &[&str]) -> Result<String> {
    let topology = local.topology();
    let psql = topology.programs.postgres_directory.join("psql");
    let psql = psql.to_string_lossy();
    let socket = host.directories.run.to_string_lossy();
    let port = topology.ports.postgres.to_string();
    let user = ["--reuid", "postgres", "--regid", "postgres", "--clear-groups"];
    let options = [
        "-X",
        "-q",
        "-t",
        "-A",
        "-v",
        "ON_ERROR_STOP=1",
        "-U",
        "postgres",
        "-d",
        "postgres",
    ];
    let mut words = user.to_vec();
    // A server that is half dead must not hold the campaign.
    words.extend(["timeout", "-k", "1", "10", &psql]);
    words.extend(options);
    words.extend(["-h", &socket, "-p", &port]);
    for command in commands {
        words.extend(["-c", command]);
    }
    run("setpriv", &words)
}

/// Undoes settings that were changed behind the cluster's back, on one host.
///
/// # Errors
/// Its PostgreSQL does not answer.
pub fn heal_settings(local: &Local, host: &Host) -> Result<()> {
    let left = "select count(*) from pg_file_settings where sourcefile like '%postgresql.auto.conf' and name in ('synchronous_standby_names', 'synchronous_commit')";
    if sql(local, host, &[left])? != "0" {
        let commands = [
            "alter system reset synchronous_standby_names",
            "alter system reset synchronous_commit",
            "select pg_reload_conf()",
        ];
        sql(local, host, &commands)?;
    }
    Ok(())
}
