//! Python tools in an environment of their own. Owns: which (`xtask/python/requirements.txt`, pinned with hashes), and where.

use crate::process::{apt_install, capture, root, run, target_folder};
use anyhow::{Context, Result};
use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// Everything that is installed, each file by its hash. Made by `pip-compile --generate-hashes` from `requirements.in`.
const REQUIREMENTS: &str = "xtask/python/requirements.txt";

/// The path of a tool; installs all of them when they are not there as pinned.
pub fn tool(name: &str) -> Result<PathBuf> {
    let folder = target_folder().join("python");
    let stamp = folder.join("installed.txt");
    let requirements = root().join(REQUIREMENTS);
    let wanted =
        fs::read_to_string(&requirements).with_context(|| format!("{REQUIREMENTS} cannot be read"))?;
    if fs::read_to_string(&stamp).ok().as_deref() != Some(wanted.as_str()) {
        install(&folder, &requirements)?;
        // Last, so that an installation that broke off is done anew.
        fs::write(&stamp, wanted)?;
    }
    Ok(folder.join("bin").join(name))
}

fn install(folder: &PathBuf, requirements: &PathBuf) -> Result<()> {
    if capture(Command::new("python3").args(["-c", "import ensurepip, venv"])).is_err() {
        apt_install(&["python3", "python3-venv"])?;
    }
    run(Command::new("python3")
        .args(["-m", "venv", "--clear"])
        .arg(folder))?;
    let mut pip = Command::new(folder.join("bin/python"));
    pip.args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--require-hashes",
        "--only-binary=:all:",
        "-r",
    ]);
    run(pip.arg(requirements))
}
