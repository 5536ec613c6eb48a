//! The server that a benchmark drives. Owns: its process, its directory and what the system says of both.

use super::BenchArgs;
use crate::commands::serve::Listening;
use anyhow::{Context, Result, bail};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A server process of our own, or one that runs elsewhere.
pub struct Server {
    address: String,
    process: Option<Own>,
}

struct Own {
    child: Child,
    directory: TempDir,
    config: Option<PathBuf>,
}

impl Server {
    /// Starts this binary's `serve` in a temporary directory below the one given (or the system's), unless an address is
    /// given.
    pub fn start(args: &BenchArgs) -> Result<Self> {
        if let Some(address) = &args.address {
            return Ok(Self {
                address: address.clone(),
                process: None,
            });
        }
        let directory = match &args.directory {
            Some(parent) => tempfile::Builder::new()
                .prefix("shanraq-bench-")
                .tempdir_in(parent),
            None => tempfile::Builder::new().prefix("shanraq-bench-").tempdir(),
        };
        let directory = directory.context("cannot make a temporary directory")?;
        let config = args.config.clone();
        let (child, listening) = spawn(directory.path(), config.as_deref())?;
        Ok(Self {
            address: listening.address,
            process: Some(Own {
                child,
                directory,
                config,
            }),
        })
    }

    /// Where it listens for gRPC, `host:port`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Kills the process with -9, starts it anew on the same directory and tells how long it took until it served.
    pub fn kill_and_restart(&mut self) -> Result<Duration> {
        let Some(own) = &mut self.process else {
            bail!("restart: needs a server of its own, without --address")
        };
        own.child.kill()?;
        own.child.wait()?;
        let started = Instant::now();
        let (child, listening) = spawn(own.directory.path(), own.config.as_deref())?;
        own.child = child;
        self.address = listening.address;
        Ok(started.elapsed())
    }

    /// CPU seconds that the process has used so far; 0 for one that runs elsewhere.
    pub fn cpu_seconds(&self) -> f64 {
        self.process
            .as_ref()
            .map_or(0.0, |own| cpu_seconds_of(own.child.id()))
    }

    /// Bytes of memory that the process holds now; 0 for one that runs elsewhere.
    pub fn resident_bytes(&self) -> u64 {
        self.process
            .as_ref()
            .map_or(0, |own| resident_bytes_of(own.child.id()))
    }

    /// Bytes allocated on the disk below its directory; 0 for one that runs elsewhere.
    pub fn disk_bytes(&self) -> u64 {
        self.process
            .as_ref()
            .map_or(0, |own| disk_bytes_below(own.directory.path()))
    }

    /// The directory of a server of our own.
    pub fn directory(&self) -> Option<PathBuf> {
        self.process.as_ref().map(|own| own.directory.path().to_owned())
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(directory: &Path, config: Option<&Path>) -> Result<(Child, Listening)> {
    let binary = std::env::current_exe().context("cannot find this binary")?;
    let mut child = Command::new(binary)
        .args(["serve", "--json", "--listen", "127.0.0.1:0", "--dir"])
        .arg(directory)
        .args(config.iter().flat_map(|path| [Path::new("--config"), path]))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start the server")?;
    let mut line = String::new();
    let output = child.stdout.take().expect("its output is piped");
    BufReader::new(output).read_line(&mut line)?;
    let Ok(listening) = serde_json::from_str(&line) else {
        let _ = child.kill();
        let _ = child.wait();
        bail!("the server did not start; it said: {line:?}");
    };
    Ok((child, listening))
}

/// User and system time of a process and those of its children that ended.
fn cpu_seconds_of(process: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks: f64 = after_name
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|n| n.parse::<f64>().ok())
        .sum();
    ticks / rustix::param::clock_ticks_per_second() as f64
}

/// User and system time of this process.
pub fn own_cpu_seconds() -> f64 {
    cpu_seconds_of(std::process::id())
}

fn resident_bytes_of(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kilobytes.unwrap_or(0) * 1_024
}

fn disk_bytes_below(directory: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let Ok(entries) = std::fs::read_dir(directory) else {
        return 0;
    };
    let size = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => disk_bytes_below(&entry.path()),
        Ok(metadata) => metadata.blocks() * 512,
        Err(_) => 0,
    };
    entries.flatten().map(size).sum()
}
