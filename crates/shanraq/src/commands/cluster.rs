//! `shanraq cluster`: the cluster around the ledger. Owns: its command line, progress and output; the work is in the
//! crate `cluster`.

use crate::commands::cluster_config::{self, ClusterConfigArgs};
use crate::commands::cluster_nodes::{self, NodesArgs};
use crate::commands::cluster_report::{self, ReportArgs};
use crate::commands::cluster_up::{self, Place, UpArgs};
use anyhow::{Result, ensure};
use clap::{Args, Subcommand};
use cluster::{HostName, Impairment, Local, Machine, Order, Secrets, Target, Topology, Verb};
use indicatif::{ProgressBar, ProgressStyle};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Describe, render, run and disturb a cluster: PostgreSQL under Patroni, etcd, HAProxy, PgBouncer.
#[derive(Debug, Args)]
pub struct ClusterArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Write everything that the hosts of a topology need, one directory a host.
    Render(RenderArgs),
    /// Run a whole cluster on this machine: installs what is missing, waits until it is healthy, stays.
    Up(UpArgs),
    /// End every process of the cluster on this machine, by process id and start time. Data stays.
    Down(Place),
    /// Tell how the cluster on this machine is; exits with 2 when it is not healthy.
    Status {
        #[command(flatten)]
        place: Place,
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// End a process, or all of a host, in good order; it stays down (PostgreSQL alone: Patroni starts it again).
    Stop(Disturb),
    /// Start what was stopped or killed; let go on what was frozen.
    Start(Disturb),
    /// SIGKILL: a process is started again by its keeper, a whole host stays down.
    Kill(Disturb),
    /// SIGSTOP, until `start`.
    Freeze(Disturb),
    /// Cut two hosts off from each other (netns only).
    Cut(CutArgs),
    /// Make the lines between two hosts lose packets or hold them up (netns only).
    Impair(ImpairArgs),
    /// Undo every cut, and make every line good.
    Heal(Place),
    /// Take a host out of the pools of nodes and replicas, or put it back: no new connections, those it has go on.
    Drain {
        #[command(flatten)]
        place: Place,
        /// The host.
        host: String,
        /// Put it back.
        #[arg(long)]
        back: bool,
    },
    /// Have the writer answer what it took in and give its place to another node: a pause, no error.
    Handover {
        #[command(flatten)]
        place: Place,
        /// The host whose node shall write. Default: whoever is elected.
        host: Option<String>,
    },
    Config(ClusterConfigArgs),
    Nodes(NodesArgs),
    /// Tell what the last changes of the writer came to; exits with 2 when the newest says that not all is well.
    Report(ReportArgs),
    /// What `up --detach` runs: the supervisor alone.
    #[command(hide = true)]
    Supervise(Place),
    /// What `impair` runs: a line, in the sender's network.
    #[command(hide = true)]
    Relay(RelayArgs),
}

#[derive(Debug, Args)]
struct RenderArgs {
    /// The topology.
    #[arg(long, default_value = "cluster.toml")]
    topology: PathBuf,
    /// Where to write; a directory a host is made in it.
    #[arg(long)]
    out: PathBuf,
    /// Passwords, one file each of mode 0600; made where missing. Default: `secrets` beside the topology.
    #[arg(long)]
    secrets: Option<PathBuf>,
    /// This host alone. A host without memory_mb or disk_gb is taken to be the machine that renders.
    #[arg(long)]
    host: Option<String>,
}

#[derive(Debug, Args)]
struct Disturb {
    #[command(flatten)]
    place: Place,
    /// HOST or HOST/PROCESS: etcd, patroni, postgres, postmaster, node, projection, maintenance, haproxy, pgbouncer,
    /// keepalived.
    target: String,
}

#[derive(Debug, Args)]
struct CutArgs {
    #[command(flatten)]
    place: Place,
    /// A host.
    from: String,
    /// Another host, or `all`.
    to: String,
    /// Drop only what the first sends to the second.
    #[arg(long)]
    one_way: bool,
    /// Drop only new TCP connections.
    #[arg(long)]
    new_only: bool,
}

#[derive(Debug, Args)]
struct ImpairArgs {
    #[command(flatten)]
    place: Place,
    /// A host.
    from: String,
    /// Another host, or `all`.
    to: String,
    /// Packets lost, such as `1%`.
    #[arg(long, value_parser = parts_per_million, default_value = "0%")]
    loss: u32,
    /// How late packets come, such as `20ms`.
    #[arg(long, value_parser = microseconds, default_value = "0ms")]
    delay: u32,
    /// How much earlier or later than that at most, such as `5ms`; packets keep their order.
    #[arg(long, value_parser = microseconds, default_value = "0ms")]
    jitter: u32,
    /// Only what the first sends to the second.
    #[arg(long)]
    one_way: bool,
}

#[derive(Debug, Args)]
struct RelayArgs {
    #[arg(long)]
    device: String,
    #[arg(long)]
    interface: String,
    #[arg(long)]
    to: std::net::Ipv4Addr,
    #[arg(long)]
    loss_ppm: u32,
    #[arg(long)]
    delay_us: u32,
    #[arg(long)]
    jitter_us: u32,
}

fn parts_per_million(text: &str) -> Result<u32, String> {
    let percent = text
        .strip_suffix('%')
        .and_then(|number| number.trim().parse::<f64>().ok());
    let percent = percent.filter(|percent| (0.0..=100.0).contains(percent));
    let percent = percent.ok_or_else(|| format!("{text:?} is not a percentage such as 1%"))?;
    Ok((percent * 10_000.0).round() as u32)
}

fn microseconds(text: &str) -> Result<u32, String> {
    let ms = text
        .strip_suffix("ms")
        .and_then(|number| number.trim().parse::<f64>().ok());
    let ms = ms.filter(|ms| (0.0..=60_000.0).contains(ms));
    let ms = ms.ok_or_else(|| format!("{text:?} is not a time such as 20ms, of a minute at most"))?;
    Ok((ms * 1_000.0).round() as u32)
}

/// Runs the command; false when a status is not healthy.
pub fn run(args: &ClusterArgs) -> Result<bool> {
    match &args.action {
        Action::Render(args) => render(args)?,
        Action::Up(args) => cluster_up::run(args)?,
        Action::Down(place) => down(place)?,
        Action::Status { place, json } => return status(place, *json),
        Action::Stop(disturb) => order(disturb, Verb::Stop)?,
        Action::Start(disturb) => order(disturb, Verb::Start)?,
        Action::Kill(disturb) => order(disturb, Verb::Kill)?,
        Action::Freeze(disturb) => order(disturb, Verb::Freeze)?,
        Action::Cut(args) => cut(args)?,
        Action::Impair(args) => impair(args)?,
        Action::Relay(args) => {
            let bad = Impairment {
                loss_ppm: args.loss_ppm,
                delay_us: args.delay_us,
                jitter_us: args.jitter_us,
            };
            cluster::relay(&args.device, &args.interface, args.to, &bad)?;
        }
        Action::Heal(place) => {
            let local = Local::open(&place.dir)?;
            cluster::heal(local.directory(), local.topology())?;
        }
        Action::Drain { place, host, back } => {
            let local = Local::open(&place.dir)?;
            cluster::drain(local.topology(), &HostName(host.clone()), !back)?;
        }
        Action::Handover { place, host } => {
            let local = Local::open(&place.dir)?;
            let done = cluster::hand_over(&local, host.clone().map(HostName).as_ref())?;
            let seconds = done.took.as_secs_f64();
            println!(
                "{} writes instead of {}, after {seconds:.2} s",
                done.to, done.from
            );
        }
        Action::Config(args) => return cluster_config::run(args),
        Action::Nodes(args) => cluster_nodes::run(args)?,
        Action::Report(args) => return cluster_report::run(args),
        Action::Supervise(place) => cluster_up::supervise_until_stopped(&place.dir)?,
    }
    Ok(true)
}

fn render(args: &RenderArgs) -> Result<()> {
    let topology = Topology::read(&args.topology)?;
    let beside = args.topology.parent().unwrap_or(Path::new("."));
    let secrets = args.secrets.clone().unwrap_or_else(|| beside.join("secrets"));
    let secrets = Secrets::open(&secrets)?;
    let chosen = args.host.clone().map(HostName);
    if let Some(name) = &chosen {
        topology.host(name)?;
    }
    let mut tree = Vec::new();
    for host in topology
        .hosts
        .iter()
        .filter(|h| chosen.as_ref().is_none_or(|name| *name == h.name))
    {
        let machine = Machine::of(host, Machine::measure(&host.directories.data)?);
        let files = cluster::render(&topology, host, machine, &secrets);
        println!(
            "{}: {} files for {}",
            host.name,
            files.len(),
            host.directories.config.display()
        );
        tree.push((host.name.clone(), files));
    }
    cluster::write_tree(&args.out, &tree)?;
    Ok(())
}

fn down(place: &Place) -> Result<()> {
    let bar =
        ProgressBar::new_spinner().with_style(ProgressStyle::with_template("{spinner} {elapsed} ending")?);
    bar.enable_steady_tick(Duration::from_millis(100));
    cluster::down(&place.dir)?;
    bar.finish_and_clear();
    Ok(())
}

fn order(disturb: &Disturb, verb: Verb) -> Result<()> {
    let target: Target = disturb.target.parse()?;
    cluster::send(&disturb.place.dir, &Order { verb, target })?;
    Ok(())
}

fn impair(args: &ImpairArgs) -> Result<()> {
    let local = Local::open(&args.place.dir)?;
    let (from, others) = ends(&local, &args.from, &args.to);
    let bad = Impairment {
        loss_ppm: args.loss,
        delay_us: args.delay,
        jitter_us: args.jitter,
    };
    ensure!(
        bad != Impairment::default(),
        "--loss, --delay or --jitter is needed; `heal` makes lines good"
    );
    for to in &others {
        cluster::impair(&local, &from, to, bad)?;
        if !args.one_way {
            cluster::impair(&local, to, &from, bad)?;
        }
    }
    Ok(())
}

/// A host, and another one or all others.
fn ends(local: &Local, from: &str, to: &str) -> (HostName, Vec<HostName>) {
    let from = HostName(from.to_owned());
    let others = match to {
        "all" => {
            let names = local.topology().hosts.iter().map(|host| host.name.clone());
            names.filter(|name| *name != from).collect()
        }
        one => vec![HostName(one.to_owned())],
    };
    (from, others)
}

fn cut(args: &CutArgs) -> Result<()> {
    let local = Local::open(&args.place.dir)?;
    let (from, others) = ends(&local, &args.from, &args.to);
    for to in &others {
        cluster::cut(
            local.directory(),
            local.topology(),
            &from,
            to,
            !args.one_way,
            args.new_only,
        )?;
    }
    Ok(())
}

fn status(place: &Place, json: bool) -> Result<bool> {
    let local = Local::open(&place.dir)?;
    let status = cluster::observe(&local)?;
    if json {
        println!("{}", serde_json::to_string(&status)?);
        return Ok(status.healthy);
    }
    let name = |host: &Option<HostName>| host.as_ref().map_or("none".to_owned(), ToString::to_string);
    let word = if status.healthy { "healthy" } else { "not healthy" };
    println!(
        "{}: {word}; writer {}{}, primary {}, etcd leader {}",
        status.name,
        name(&status.writer),
        status
            .epoch
            .map(|epoch| format!(" (epoch {epoch})"))
            .unwrap_or_default(),
        name(&status.primary),
        name(&status.etcd_leader)
    );
    for problem in &status.problems {
        println!("  ! {problem}");
    }
    if status.sentinel_rests {
        println!(
            "  a sentinel acted within the last half minute: a primary lost now waits for Patroni's ttl"
        );
    }
    if let (Some(shared), Some(holder)) = (local.topology().shared_address, &status.address_holder) {
        println!("shared {} at {holder}", shared.address);
    }
    for host in &status.hosts {
        let free = host.disk_free_bytes >> 30;
        println!("{} {} ({free} GiB free)", host.name, host.address);
        for process in &host.processes {
            let id = process
                .process_id
                .map(|id| format!("process {id}"))
                .unwrap_or_default();
            let state = format!("{:?}", process.state).to_lowercase();
            println!(
                "    {:<11}{state:<9}{id:<16}restarts {}",
                process.process.as_str(),
                process.restarts
            );
        }
        if let Some(node) = &host.node {
            let lag = node.lag_blocks.filter(|lag| *lag > 0);
            let lag = lag
                .map(|lag| format!(", {lag} blocks behind"))
                .unwrap_or_default();
            println!(
                "    {} at block {}, indexed to {}{lag}",
                node.role, node.height, node.indexed
            );
        }
        if let Some(tables) = host.projection.as_ref().filter(|it| it.active) {
            let height = tables.height.unwrap_or_default();
            let lag = tables.lag_blocks.filter(|lag| *lag > 0);
            let lag = lag
                .map(|lag| format!(", {lag} blocks behind"))
                .unwrap_or_default();
            println!("    projection at block {height}{lag}");
        }
        if let Some(server) = &host.postgres {
            let lag = server
                .lag_bytes
                .map(|lag| format!(", {lag} bytes behind"))
                .unwrap_or_default();
            let sync = if server.synchronous { ", synchronous" } else { "" };
            println!("    {} {}{sync}{lag}", server.role, server.state);
        }
    }
    Ok(status.healthy)
}
