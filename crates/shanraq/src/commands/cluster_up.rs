//! `shanraq cluster up`: from nothing to a healthy cluster on this machine, and the supervisor that keeps it. Owns: its command
//! line, progress and output; the work is in the crate `cluster`.

use crate::commands::serve::stop_signal;
use anyhow::{Context, Result, bail, ensure};
use clap::{Args, ValueEnum};
use cluster::{ClusterError, HostMode, HostName, Local, Role, Status, Supervisor};
use indicatif::{ProgressBar, ProgressStyle};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

#[derive(Debug, Args)]
pub struct Place {
    /// The cluster's directory; user postgres must be able to reach it.
    #[arg(long, default_value = "/var/lib/shanraq/cluster")]
    pub dir: PathBuf,
}

#[derive(Debug, Args)]
pub struct UpArgs {
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

/// Runs the command.
pub fn run(args: &UpArgs) -> Result<()> {
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

/// Who keeps the processes while we wait.
enum Keeper {
    /// A thread of ours: in the foreground.
    Thread(JoinHandle<Result<()>>),
    /// A process of its own, and where it complains.
    Process(Child, PathBuf),
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

/// What `up --detach` runs.
pub fn supervise_until_stopped(directory: &Path) -> Result<()> {
    supervise(directory, &*stop_flag()?)
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
