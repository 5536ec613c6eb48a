//! `shanraq cluster`: the cluster around the ledger. Owns: its command line, progress and output; the work is in the
//! crate `cluster`.

use crate::commands::cluster_config::{self, ClusterConfigArgs};
use crate::commands::cluster_nodes::{self, NodesArgs};
use crate::commands::cluster_report::{self, ReportArgs};
use crate::commands::serve::stop_signal;
use anyhow::{Context, Result, bail, ensure};
use clap::{Args, Subcommand, ValueEnum};
use cluster::{
    ClusterError, HostMode, HostName, Impairment, Local, Machine, Order, Role, Secrets, Status, Supervisor,
    Target, Topology, Verb,
};
use indicatif::{ProgressBar, ProgressStyle};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

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
struct Place {
    /// The cluster's directory; user postgres must be able to reach it.
    #[arg(long, default_value = "/var/lib/shanraq/cluster")]
    dir: PathBuf,
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
struct UpArgs {
    #[command(flatten)]
    place: Place,
    /// How hosts are told apart. Default: loopback, or what the directory was made for.
    #[arg(long)]
    hosts: Option<Hosts>,
    /// Return when it is healthy; it goes on running.
    #[arg(long)]
    detach: bool,
    /// End everything when standard input ends: a pipe that closes when whoever holds it dies, however that comes.
    #[arg(long, conflicts_with = "detach")]
    while_stdin: bool,
    /// How long to wait until it is healthy, in seconds.
    #[arg(long, default_value_t = 300)]
    within_seconds: u64,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Hosts {
    /// Addresses of the loopback network.
    Loopback,
    /// A network namespace each, so that hosts can be cut off from each other.
    Netns,
}

#[derive(Debug, Args)]
struct Disturb {
    #[command(flatten)]
    place: Place,
    /// HOST or HOST/PROCESS: etcd, patroni, postgres, postmaster, node, projection, haproxy, pgbouncer, keepalived.
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
        Action::Up(args) => up(args)?,
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
        Action::Supervise(place) => {
            let stop = stop_flag()?;
            supervise(&place.dir, &stop)?;
        }
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

/// Who keeps the processes while we wait.
enum Keeper {
    /// A thread of ours: in the foreground.
    Thread(JoinHandle<Result<()>>),
    /// A process of its own, and where it complains.
    Process(Child, PathBuf),
}

fn up(args: &UpArgs) -> Result<()> {
    let began = Instant::now();
    let mode = args.hosts.map(|hosts| match hosts {
        Hosts::Loopback => HostMode::Loopback,
        Hosts::Netns => HostMode::Netns,
    });
    let program = std::env::current_exe().context("where this program is")?;
    let local = cluster::prepare(&args.place.dir, mode, &program)?;
    let bar =
        ProgressBar::new_spinner().with_style(ProgressStyle::with_template("{spinner} {elapsed} {msg}")?);
    bar.enable_steady_tick(Duration::from_millis(100));
    cluster::install(local.topology(), &mut |what| {
        bar.println(format!("setup: {what}"));
        bar.set_message(what.to_owned());
    })?;
    let stop = stop_flag()?;
    if args.while_stdin {
        stop_with_stdin(&stop);
    }
    let mut keeper = if args.detach {
        detach(&local, &program)?
    } else {
        Keeper::thread(&local, &stop)
    };
    let within = Duration::from_secs(args.within_seconds);
    let done = become_healthy(&local, &bar, within, &mut keeper, &stop);
    bar.finish_and_clear();
    match (done, keeper) {
        (Ok(()), Keeper::Process(..)) => print_addresses(&local, began),
        (Err(error), Keeper::Process(..)) => Err(error),
        (done, Keeper::Thread(thread)) => {
            if !thread.is_finished() && !stop.load(Ordering::Acquire) {
                match done {
                    Ok(()) => print_addresses(&local, began)?,
                    Err(error) => {
                        eprintln!("shanraq: {error:#}; it goes on trying: `shanraq cluster status`")
                    }
                }
            }
            thread.join().expect("the supervisor does not panic")
        }
    }
}

impl Keeper {
    fn thread(local: &Local, stop: &Arc<AtomicBool>) -> Self {
        let (directory, stop) = (local.directory().to_owned(), stop.clone());
        Self::Thread(std::thread::spawn(move || supervise(&directory, &stop)))
    }

    fn check(&mut self) -> Result<()> {
        match self {
            Self::Thread(thread) => ensure!(!thread.is_finished(), "the supervisor ended"),
            Self::Process(child, log) => {
                if let Some(status) = child.try_wait()? {
                    let text = std::fs::read_to_string(log).unwrap_or_default();
                    bail!("the supervisor ended ({status}): {}", text.trim());
                }
            }
        }
        Ok(())
    }
}

/// The supervisor: from making the networks to the end of every process.
fn supervise(directory: &Path, stop: &AtomicBool) -> Result<()> {
    let local = Local::open(directory)?;
    let supervisor = Supervisor::new(local.clone())?;
    local.write_files()?;
    local.make_networks()?;
    supervisor.run(stop)?;
    Ok(())
}

/// Set at SIGINT and SIGTERM. SIGHUP is taken and does nothing: the supervisor outlives the terminal.
fn stop_flag() -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let flag = stop.clone();
    let (signals, _hangup) = {
        let _inside = runtime.enter();
        let hangup = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup())?;
        (stop_signal()?, hangup)
    };
    std::thread::spawn(move || {
        runtime.block_on(signals);
        flag.store(true, Ordering::Release);
    });
    Ok(stop)
}

/// Sets the flag when standard input ends, or cannot be read.
fn stop_with_stdin(stop: &Arc<AtomicBool>) {
    let flag = stop.clone();
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        flag.store(true, Ordering::Release);
    });
}

fn detach(local: &Local, program: &Path) -> Result<Keeper> {
    let path = local.directory().join("run").join("supervisor.log");
    let log = File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
    let mut command = Command::new(program);
    command
        .args(["cluster", "supervise", "--dir"])
        .arg(local.directory())
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .current_dir("/");
    // A group of its own, so that Ctrl-C in this terminal does not reach it.
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    Ok(Keeper::Process(command.spawn()?, path))
}

fn become_healthy(
    local: &Local,
    bar: &ProgressBar,
    within: Duration,
    keeper: &mut Keeper,
    stop: &AtomicBool,
) -> Result<()> {
    let deadline = Instant::now() + within;
    loop {
        keeper.check()?;
        ensure!(!stop.load(Ordering::Acquire), "stopped");
        // Directories appear as the supervisor makes them.
        if let Ok(status) = cluster::observe(local) {
            if let (true, Some(primary)) = (status.healthy, &status.primary) {
                prime(local, primary, bar)?;
                return Ok(());
            }
            bar.set_message(summary(&status));
            if Instant::now() >= deadline {
                return Err(ClusterError::Timeout {
                    seconds: within.as_secs(),
                    problems: status.problems.join("; "),
                }
                .into());
            }
        }
        ensure!(
            Instant::now() < deadline,
            "nothing could be seen within {} s",
            within.as_secs()
        );
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn prime(local: &Local, primary: &HostName, bar: &ProgressBar) -> Result<()> {
    let primed = cluster::prime(local, primary, &mut |done, all| {
        bar.set_message(format!(
            "filling the log with segments to recycle: {done} of {all}"
        ));
    })?;
    if let Some(primed) = primed {
        let counts: Vec<String> = primed
            .segments
            .iter()
            .map(|(host, n)| format!("{host} {n}"))
            .collect();
        bar.println(format!("log segments of 64 MiB: {}", counts.join(", ")));
    }
    Ok(())
}

fn summary(status: &Status) -> String {
    let hosts = &status.hosts;
    let etcd = hosts
        .iter()
        .filter(|h| h.etcd.as_ref().is_some_and(|e| e.has_quorum))
        .count();
    let postgres = hosts.iter().filter_map(|h| h.postgres.as_ref());
    let serving = postgres
        .filter(|p| p.streaming || (p.role == "primary" && p.state == "running"))
        .count();
    let first = status.problems.first().map_or("", String::as_str);
    let nodes = hosts.iter().filter(|h| h.node.is_some()).count();
    format!(
        "etcd {etcd} · PostgreSQL {serving} · nodes {nodes} of {} · {first}",
        hosts.len()
    )
}

fn print_addresses(local: &Local, began: Instant) -> Result<()> {
    let topology = local.topology();
    let ports = topology.ports;
    println!(
        "healthy after {:.1} s; {}",
        began.elapsed().as_secs_f64(),
        local.directory().display()
    );
    for host in topology.hosts_with(Role::Balancer) {
        let address = host.address;
        if topology.nodes {
            println!("{:<8} API         {address}:{}", host.name, ports.balancer_api);
        }
        println!(
            "{:<8} primary     {address}:{}",
            host.name, ports.balancer_primary
        );
        println!(
            "{:<8} replicas    {address}:{}",
            host.name, ports.balancer_replicas
        );
        println!("{:<8} pooled reads {address}:{}", host.name, ports.pooler);
        println!(
            "{:<8} metrics     http://{address}:{}/metrics",
            host.name, ports.balancer_health
        );
    }
    if let Some(shared) = &topology.shared_address {
        if topology.nodes {
            println!("shared   API         {}:{}", shared.address, ports.balancer_api);
        }
        println!(
            "shared   primary     {}:{}",
            shared.address, ports.balancer_primary
        );
    }
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
