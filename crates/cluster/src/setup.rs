//! The programs of the cluster: Debian's packages by apt, Patroni from PyPI, pinned file by file.
//!
//! The virtual environment is below `/var/lib/shanraq/tools`: user `postgres` must be able to read it (root's own cache
//! directory is closed to it), it must outlive `cargo clean`, and all clusters of the machine share it. Its name holds
//! the hash of the pins, so that an environment made from other pins is never used.

use crate::links::run;
use crate::{ClusterError, Role, Topology, host};
use aws_lc_rs::digest;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Patroni and all it needs, each file with its SHA-256.
const PINS: &str = include_str!("../setup/patroni.txt");

/// Left in an environment that is complete.
const MARKER: &str = "complete";

/// Where programs are kept that Debian has not.
pub fn tools_directory() -> PathBuf {
    PathBuf::from("/var/lib/shanraq/tools")
}

fn environment() -> PathBuf {
    let hash = digest::digest(&digest::SHA256, PINS.as_bytes());
    let name: String = hash.as_ref()[..6]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    tools_directory().join(format!("patroni-{name}"))
}

/// Patroni in the environment of this version's pins.
pub(crate) fn patroni_program() -> PathBuf {
    environment().join("bin").join("patroni")
}

/// Installs what the topology needs and the machine has not; `tell` hears what is being done. Does nothing, and needs no
/// network, where all is there.
///
/// # Errors
/// Something is missing and we are not root, or apt or pip fails; the error holds the end of what they said.
pub fn install(topology: &Topology, tell: &mut dyn FnMut(&str)) -> Result<(), ClusterError> {
    let missing = missing_packages(topology);
    let patroni = patroni_program();
    let makes_environment = topology.programs.patroni == patroni && !environment().join(MARKER).exists();
    if missing.is_empty() && !makes_environment {
        return Ok(());
    }
    host::require_root("installs programs")?;
    let tools = tools_directory();
    fs::create_dir_all(&tools).map_err(|e| ClusterError::io("create", &tools, e))?;
    // Two clusters that start at one moment must not install at one moment.
    let path = tools.join("lock");
    let lock = File::create(&path).map_err(|e| ClusterError::io("create", &path, e))?;
    lock.lock().map_err(|e| ClusterError::io("lock", &path, e))?;
    let missing = missing_packages(topology);
    if !missing.is_empty() {
        tell(&format!("apt-get install {}", missing.join(" ")));
        install_packages(&missing)?;
    }
    if makes_environment && !environment().join(MARKER).exists() {
        tell("pip install patroni into a virtual environment");
        make_environment()?;
    }
    Ok(())
}

fn missing_packages(topology: &Topology) -> Vec<&'static str> {
    let programs = &topology.programs;
    let has = |role| topology.hosts_with(role).next().is_some();
    let own_network = !topology.is_loopback();
    let needed = [
        (
            "postgresql-15",
            programs.postgres_directory.join("postgres"),
            has(Role::Postgres),
        ),
        ("etcd-server", programs.etcd.clone(), has(Role::Etcd)),
        (
            "haproxy",
            programs.haproxy.clone(),
            has(Role::Balancer) || own_network,
        ),
        ("pgbouncer", programs.pgbouncer.clone(), has(Role::Pooler)),
        (
            "keepalived",
            programs.keepalived.clone(),
            topology.shared_address.is_some(),
        ),
        (
            "python3-venv",
            "/usr/lib/python3.11/ensurepip".into(),
            has(Role::Postgres),
        ),
        ("iproute2", "/usr/sbin/ip".into(), own_network),
        ("nftables", "/usr/sbin/nft".into(), own_network),
    ];
    needed
        .into_iter()
        .filter_map(|(package, file, needed)| (needed && !file.exists()).then_some(package))
        .collect()
}

/// Debian starts and enables the services of packages with their default ports; ours are started by us only. So starting is
/// forbidden while they are installed, and the units are disabled afterwards.
fn install_packages(packages: &[&str]) -> Result<(), ClusterError> {
    let policy = Path::new("/usr/sbin/policy-rc.d");
    let ours = !policy.exists();
    if ours {
        fs::write(policy, "#!/bin/sh\nexit 101\n").map_err(|e| ClusterError::io("write", policy, e))?;
        run("chmod", &["755", "/usr/sbin/policy-rc.d"])?;
    }
    let installed = apt(&["update", "-q"]).and_then(|()| apt_install(packages));
    if ours {
        fs::remove_file(policy).map_err(|e| ClusterError::io("remove", policy, e))?;
    }
    installed?;
    for (package, unit) in [
        ("postgresql-15", "postgresql.service"),
        ("etcd-server", "etcd.service"),
        ("haproxy", "haproxy.service"),
        ("pgbouncer", "pgbouncer.service"),
        ("keepalived", "keepalived.service"),
    ] {
        if packages.contains(&package) && Path::new("/usr/bin/systemctl").exists() {
            run("systemctl", &["disable", "--quiet", unit])?;
        }
    }
    Ok(())
}

/// Installs Debian packages from what is known of them, once nobody else installs.
///
/// # Errors
/// [`ClusterError`] with the end of what apt said.
pub fn apt_install(packages: &[&str]) -> Result<(), ClusterError> {
    let options = [
        "install",
        "-y",
        "-q",
        "-o",
        "DPkg::Lock::Timeout=600",
        "--no-install-recommends",
    ];
    apt(&[&options[..], packages].concat())
}

fn apt(arguments: &[&str]) -> Result<(), ClusterError> {
    let mut command = Command::new("apt-get");
    command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
    finish(command, "apt-get")
}

/// Debian's own Python, as user `postgres` may run it; a Python of root's home would be closed to it.
fn make_environment() -> Result<(), ClusterError> {
    let environment = environment();
    if environment.exists() {
        fs::remove_dir_all(&environment).map_err(|e| ClusterError::io("remove", &environment, e))?;
    }
    let text = |path: PathBuf| path.to_string_lossy().into_owned();
    public(&["/usr/bin/python3", "-m", "venv", &text(environment.clone())])?;
    let pins = environment.join("patroni.txt");
    fs::write(&pins, PINS).map_err(|e| ClusterError::io("write", &pins, e))?;
    let pip = text(environment.join("bin").join("pip"));
    let pins = text(pins);
    public(&[
        &pip,
        "install",
        "--quiet",
        "--no-cache-dir",
        "--require-hashes",
        "-r",
        &pins,
    ])?;
    let marker = environment.join(MARKER);
    fs::write(&marker, "").map_err(|e| ClusterError::io("write", &marker, e))
}

/// Runs a program so that what it writes can be read by all.
fn public(arguments: &[&str]) -> Result<(), ClusterError> {
    let mut command = Command::new("/bin/sh");
    command
        .args(["-c", "umask 022; exec \"$0\" \"$@\""])
        .args(arguments);
    finish(command, arguments[0])
}

fn finish(mut command: Command, program: &str) -> Result<(), ClusterError> {
    let output = command
        .output()
        .map_err(|e| ClusterError::io("run", Path::new(program), e))?;
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    let lines: Vec<&str> = said.lines().rev().take(12).collect();
    Err(ClusterError::Program {
        program: program.to_owned(),
        status: output.status.to_string(),
        output: lines.into_iter().rev().collect::<Vec<_>>().join("\n"),
    })
}
