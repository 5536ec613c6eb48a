//! Disks that are full. Owns: the file that fills them. Only a disk of a host's own is ever filled.

use super::shell::run;
use anyhow::{Context, Result};
use cluster::{Host, Local};
use std::path::{Path, PathBuf};

/// Which disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// That of the data.
    Data,
    /// That of PostgreSQL's log.
    Log,
}

const FILLER: &str = "campaign-filler";
/// A larger disk is nobody's test disk.
const BYTES_MAX: u64 = 8 << 30;

/// Why it cannot be filled, if it cannot.
pub fn unavailable(local: &Local, which: Which) -> Option<String> {
    let of = |host: &Host| own_disk(local, host, which).err();
    let why = local.topology().hosts.iter().find_map(of)?;
    Some(format!("{why:#}"))
}

/// Fills a host's disk to the last byte.
///
/// # Errors
/// It has none of its own.
pub fn fill(local: &Local, host: &Host, which: Which) -> Result<String> {
    let directory = own_disk(local, host, which)?;
    let path = directory.join(FILLER).display().to_string();
    // Whole first, then what is left after rounding; a program that ends for want of room has done what it should.
    let free = run("df", &["--output=avail", "-B1", &directory.display().to_string()])?;
    let free: u64 = free.lines().last().context("df says nothing")?.trim().parse()?;
    if free > 0 {
        let _ = run("fallocate", &["-l", &free.to_string(), &path]);
    }
    let _ = run("dd", &["if=/dev/zero", &format!("of={path}.rest"), "bs=4096"]);
    Ok(format!("fill {}", directory.display()))
}

/// Frees every disk that was filled.
///
/// # Errors
/// The disk refuses.
pub fn free(local: &Local) -> Result<()> {
    for host in &local.topology().hosts {
        for directory in places(host) {
            for name in [FILLER.to_owned(), format!("{FILLER}.rest")] {
                let path = directory.join(name);
                if path.exists() {
                    std::fs::remove_file(&path)?;
                }
            }
        }
    }
    Ok(())
}

fn places(host: &Host) -> Vec<PathBuf> {
    let log = host.directories.wal.clone();
    std::iter::once(host.directories.data.clone())
        .chain(log)
        .collect()
}

fn own_disk(local: &Local, host: &Host, which: Which) -> Result<PathBuf> {
    let directories = &host.directories;
    let directory = match which {
        Which::Data => directories.data.clone(),
        Which::Log => directories
            .wal
            .clone()
            .context("the log has no directory of its own")?,
    };
    let device = |path: &Path| -> Result<String> { run("stat", &["-c", "%d", &path.display().to_string()]) };
    let size = run("stat", &["-f", "-c", "%b %S", &directory.display().to_string()])?;
    let (blocks, block) = size.split_once(' ').context("stat says nothing")?;
    let bytes = blocks.parse::<u64>()? * block.parse::<u64>()?;
    let shared = device(&directory)? == device(local.directory())?;
    anyhow::ensure!(
        !shared && bytes <= BYTES_MAX,
        "{} is on no small disk of its own",
        directory.display()
    );
    Ok(directory)
}
