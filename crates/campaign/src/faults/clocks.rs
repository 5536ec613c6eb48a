//! Nodes with a clock of their own: a program in front of the node that sets libfaketime when a file says so.
//!
//! Only the clock of the day is shifted; what measures time stays right, as on a host whose clock was set wrong.

use anyhow::{Context, Result};
use cluster::{Host, HostName, Local};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

const LIBRARY: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";

/// Installs libfaketime where it is missing, and writes the program. Gives its path; none when there is no libfaketime.
///
/// # Errors
/// The disk refuses.
pub fn prepare(directory: &Path, node: &Path) -> Result<Option<PathBuf>> {
    if !Path::new(LIBRARY).exists() {
        // Without it two faults are reported as not available; nothing else depends on it.
        let _ = cluster::apt_install(&["libfaketime"]);
    }
    if !Path::new(LIBRARY).exists() {
        return Ok(None);
    }
    let path = directory.join("bin").join("with-clock");
    let text = format!(
        "#!/bin/sh
clock=\"$(dirname -- \"$3\")/clock\"
if [ \"$1\" = serve ] && [ -s \"$clock\" ]; then
    export LD_PRELOAD={LIBRARY} FAKETIME=\"$(cat \"$clock\")\" DONT_FAKE_MONOTONIC=1 FAKETIME_DONT_FAKE_MONOTONIC=1
fi
exec {} \"$@\"
",
        node.display()
    );
    std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))?;
    Ok(Some(path))
}

/// Why clocks cannot be shifted, if they cannot.
pub fn unavailable(local: &Local) -> Option<String> {
    let program = &local.topology().programs.shanraq;
    let ours = program.file_name().is_some_and(|name| name == "with-clock");
    (!ours).then(|| "libfaketime is not there".to_owned())
}

/// Shifts the clock that a host's node has from its next start on.
///
/// # Errors
/// The disk refuses.
pub fn shift(host: &Host, seconds: i64) -> Result<()> {
    let path = file(host);
    std::fs::write(&path, format!("{seconds:+}s")).with_context(|| format!("cannot write {}", path.display()))
}

/// Nodes that start from here on have the machine's clock again.
///
/// # Errors
/// The disk refuses.
pub fn heal(local: &Local) -> Result<()> {
    for host in local.topology().hosts.iter().filter(|host| file(host).exists()) {
        std::fs::remove_file(file(host))?;
    }
    Ok(())
}

/// Hosts whose nodes have another clock.
pub fn shifted(local: &Local) -> Vec<HostName> {
    let hosts = local.topology().hosts.iter().filter(|host| file(host).exists());
    hosts.map(|host| host.name.clone()).collect()
}

fn file(host: &Host) -> PathBuf {
    host.directories.config.join("clock")
}
