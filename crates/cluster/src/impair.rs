//! Bad lines between hosts: starting, listing and ending the processes that make them ([`crate::relay`]).

use crate::links::require_networks;
use crate::process::Identity;
use crate::{ClusterError, Host, HostName, Local};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A relay that has not made its route by then never will.
const READY_WITHIN: Duration = Duration::from_secs(10);

/// How bad a line is, in one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Impairment {
    /// Packets lost, in a million.
    pub loss_ppm: u32,
    /// How late packets come, in microseconds.
    pub delay_us: u32,
    /// How much earlier or later than that, at most, in microseconds.
    pub jitter_us: u32,
}

/// A bad line.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct BadLine {
    /// Whose packets.
    pub from: HostName,
    /// To whom.
    pub to: HostName,
    /// How bad.
    pub impairment: Impairment,
    /// The process that makes it so.
    process: Identity,
}

impl BadLine {
    /// Whether it is still bad.
    pub fn stands(&self) -> bool {
        self.process.is_alive()
    }
}

impl fmt::Display for Impairment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |us: u32| f64::from(us) / 1_000.0;
        let percent = f64::from(self.loss_ppm) / 10_000.0;
        write!(
            f,
            "{percent} % lost, {} ms ± {} ms late",
            ms(self.delay_us),
            ms(self.jitter_us)
        )
    }
}

/// Makes what one host sends to another bad; what it was before counts no more.
///
/// # Errors
/// The hosts have no networks of their own or are not two known ones, a value cannot be, or the line does not come about.
pub fn impair(local: &Local, from: &HostName, to: &HostName, bad: Impairment) -> Result<(), ClusterError> {
    require_networks(local.topology())?;
    let (from, to) = (local.topology().host(from)?, local.topology().host(to)?);
    if from.name == to.name {
        let text = format!("{} has no line to itself", to.name);
        return Err(ClusterError::Refused(text));
    }
    if bad.loss_ppm > 1_000_000 {
        return Err(ClusterError::field("loss", "must be 0 to 100 %"));
    }
    if bad.jitter_us > bad.delay_us {
        let problem = "must not be greater than the delay: a packet cannot come before it was sent";
        return Err(ClusterError::field("jitter", problem));
    }
    let mut lines = bad_lines(local.directory())?;
    let is_this = |line: &BadLine| line.from == from.name && line.to == to.name;
    for line in lines.iter().filter(|line| is_this(line)) {
        end(line)?;
    }
    lines.retain(|line| !is_this(line));
    write(local.directory(), &lines)?;
    let process = start(local, from, to, bad)?;
    lines.push(BadLine {
        from: from.name.clone(),
        to: to.name.clone(),
        impairment: bad,
        process,
    });
    write(local.directory(), &lines)
}

/// Makes every line good again.
pub(crate) fn mend(directory: &Path) -> Result<(), ClusterError> {
    for line in bad_lines(directory)? {
        end(&line)?;
    }
    write(directory, &[])
}

/// The bad lines.
pub(crate) fn bad_lines(directory: &Path) -> Result<Vec<BadLine>, ClusterError> {
    let path = file(directory);
    match fs::read_to_string(&path) {
        Ok(text) => serde_json::from_str(&text).map_err(|error| ClusterError::Damaged {
            path,
            problem: error.to_string(),
        }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(ClusterError::io("read", &path, error)),
    }
}

fn file(directory: &Path) -> PathBuf {
    directory.join("run").join("bad-lines.json")
}

fn write(directory: &Path, lines: &[BadLine]) -> Result<(), ClusterError> {
    let path = file(directory);
    let text = serde_json::to_string(lines).expect("lines are names and numbers");
    fs::write(&path, text).map_err(|e| ClusterError::io("write", &path, e))
}

fn start(local: &Local, from: &Host, to: &Host, bad: Impairment) -> Result<Identity, ClusterError> {
    let hosts = &local.topology().hosts;
    let number = hosts.iter().position(|host| host.name == to.name).unwrap_or(0);
    let device = format!("bad{number}");
    let program = &local.topology().programs.shanraq;
    // A line does not wait for a core that others keep busy.
    let arguments = [
        "-n".to_owned(),
        "-20".to_owned(),
        program.to_string_lossy().into_owned(),
        "cluster".to_owned(),
        "relay".to_owned(),
        format!("--device={device}"),
        format!("--interface={}", from.interface),
        format!("--to={}", to.address),
        format!("--loss-ppm={}", bad.loss_ppm),
        format!("--delay-us={}", bad.delay_us),
        format!("--jitter-us={}", bad.jitter_us),
    ];
    let path = from.directories.log.join("relay.log");
    let log = File::create(&path).map_err(|e| ClusterError::io("create", &path, e))?;
    let mut command = local.command_on(from, "root", Path::new("nice"), &arguments);
    let mut child = command
        .stderr(log)
        .process_group(0)
        .spawn()
        .map_err(|e| ClusterError::io("run", program, e))?;
    let deadline = Instant::now() + READY_WITHIN;
    loop {
        let ended = child
            .try_wait()
            .map_err(|e| ClusterError::io("wait for", program, e))?;
        if ended.is_some() || Instant::now() >= deadline {
            let _ = child.kill();
            let status = child
                .wait()
                .map_err(|e| ClusterError::io("wait for", program, e))?;
            return Err(ClusterError::Program {
                program: format!("the line from {} to {}", from.name, to.name),
                status: status.to_string(),
                output: fs::read_to_string(&path).unwrap_or_default().trim().to_owned(),
            });
        }
        let namespace = crate::namespace(local.directory(), &from.name);
        let routes = crate::links::run("ip", &["-n", &namespace, "route", "show"])?;
        let process = Identity::of(child.id().cast_signed());
        if let (true, Some(process)) = (routes.contains(&format!("dev {device} ")), process) {
            return Ok(process);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn end(line: &BadLine) -> Result<(), ClusterError> {
    line.process.signal(Signal::KILL);
    let deadline = Instant::now() + READY_WITHIN;
    while line.stands() {
        if Instant::now() >= deadline {
            let text = format!("the line from {} to {}", line.from, line.to);
            return Err(ClusterError::Left(text));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}
