//! `cargo xtask bench --replicated`: Shanraq on three PostgreSQL servers, then the peer on the same kind of three, in one run.
//!
//! Owns: the servers, the node's configuration, the table. Each workload has a journal of its own. Everything, load and servers, shares
//! this machine.

use crate::bench::{Options, command_line, make_reachable};
use crate::kernel::Kernel;
use crate::machine::Machine;
use crate::peer::{self, Figures, reported};
use crate::postgres::{Replicated, settings};
use crate::process::{capture, shown};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Streams to the primary under these names.
const STANDBYS: &[&str] = &["s2", "s3"];
/// WAL segments made before anything is measured: 2 GiB at each server.
const RECYCLED: u32 = 32;
/// In this order; the peer is compared with the first.
const WORKLOADS: &[&str] = &["batch", "single", "open-100k"];

/// Measures and prints.
pub fn run(options: &Options, folder: &Path, machine: &Machine) -> Result<()> {
    let binary = options.binary()?;
    make_reachable(folder)?;
    let kernel = Kernel::tune()?;
    // Three servers share the memory.
    let settings = settings(machine.memory_mib / 3, options.settings());
    if !options.is_json() {
        println!("machine   {machine}\ncommand   {}", command_line());
        println!("durable   flushed by the primary and one of two standbys before the answer");
        println!("kernel    {}", kernel.shown());
    }
    let mut ours = Vec::new();
    for workload in WORKLOADS.iter().filter(|name| options.wants(name)) {
        let report = measure(options, &binary, &folder.join(workload), workload, &settings)?;
        let figures =
            reported(&report).with_context(|| format!("{workload} leaves figures out: {report}"))?;
        if !options.is_json() {
            print_line(workload, &figures);
        }
        ours.push((*workload, figures, report));
    }
    let peer = match options.wants("peer") {
        true => Some(measure_peer(options, &folder.join("peer"), &settings)?),
        false => None,
    };
    let batch = ours.iter().find(|(name, ..)| *name == "batch");
    let ratio = batch
        .zip(peer.as_ref())
        .map(|((_, ours, _), peer)| ours.per_second / peer.per_second);
    if options.is_json() {
        let workloads: Vec<Value> = ours.into_iter().map(|(.., report)| report).collect();
        let report = json!({
            "machine": machine, "command": command_line(), "settings": settings, "shanraq": workloads,
            "peer": peer, "batch_to_peer": ratio, "kernel": kernel.shown(),
        });
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        if let Some(peer) = &peer {
            print_line("stored procedures", peer);
        }
        if let Some(ratio) = ratio {
            println!("batch makes {ratio:.0} times the transfers of the stored procedures");
        }
    }
    Ok(())
}

fn print_line(name: &str, figures: &Figures) {
    println!(
        "{name:<18} {:>9.0} transfers/s   P50 {:>7.2} ms   P99 {:>7.2} ms   max {:>8.2} ms",
        figures.per_second, figures.p50_ms, figures.p99_ms, figures.max_ms
    );
}

fn measure(
    options: &Options,
    binary: &Path,
    folder: &Path,
    workload: &str,
    settings: &[(String, String)],
) -> Result<Value> {
    let servers = start(folder, settings)?;
    let config = configure(binary, folder, &servers)?;
    servers.recycle_wal(RECYCLED)?;
    let mut bench = Command::new(binary);
    bench.args(["bench", "--json", "--workload", workload, "--directory"]);
    bench.arg(folder).arg("--config").arg(&config);
    bench.arg(format!("--seed={}", options.load().seed));
    let said = capture(&mut bench)?;
    let report: Value =
        serde_json::from_str(&said).with_context(|| format!("`{}` printed no JSON", shown(&bench)))?;
    ensure!(
        report["errors"] == 0,
        "`{}` reports errors:\n{said}",
        shown(&bench)
    );
    Ok(report)
}

fn measure_peer(options: &Options, folder: &Path, settings: &[(String, String)]) -> Result<Figures> {
    let servers = start(folder, settings)?;
    servers.recycle_wal(RECYCLED)?;
    peer::measure(&servers.primary, options.load())
}

fn start(folder: &Path, settings: &[(String, String)]) -> Result<Replicated> {
    std::fs::create_dir(folder)?;
    make_reachable(folder)?;
    Replicated::start(folder, settings, STANDBYS)
}

/// Makes the journal's schema, and gives the configuration of a node that writes there.
fn configure(binary: &Path, folder: &Path, servers: &Replicated) -> Result<PathBuf> {
    let port = servers.port();
    servers.primary.sql("create database shanraq")?;
    let mut migrate = Command::new(binary);
    migrate.args(["journal", "migrate", "--url"]);
    migrate.arg(format!("postgresql://postgres@127.0.0.1:{port}/shanraq"));
    capture(&mut migrate)?;
    servers
        .primary
        .sql("create role bench_writer login in role shanraq_writer")?;
    let names: Vec<String> = STANDBYS.iter().map(|name| format!("{name:?}")).collect();
    let text = format!(
        "[node]\nkey_file = {:?}\n\n[journal.postgres]\nhosts = [\"127.0.0.1:{port}\"]\nuser = \"bench_writer\"\ndurability = \"standbys\"\nstandbys = [{}]\n",
        folder.join("keys"),
        names.join(", ")
    );
    let path = folder.join("node.toml");
    std::fs::write(&path, text)?;
    Ok(path)
}
