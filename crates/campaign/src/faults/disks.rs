//! Small disks, a file system in a file each, and the files that fill them. Only a disk of a host's own is ever filled.

use super::shell::run;
use anyhow::{Context, Result, ensure};
use cluster::{Host, Local, Topology};
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
/// The least that a topology takes; PostgreSQL keeps at most half of it as log. The files are sparse.
const DISK_GIB: u64 = 4;

/// Gives each host of a cluster that does not run yet two disks: for its data, and for PostgreSQL's log.
///
/// # Errors
/// The kernel refuses, or we are not root.
pub fn mount(directory: &Path, topology: &mut Topology) -> Result<()> {
    let images = directory.join("disks");
    std::fs::create_dir_all(&images)?;
    for host in &mut topology.hosts {
        let data = host.directories.data.clone();
        let log = data.with_file_name("log-disk");
        for (name, at) in [("data", &data), ("log", &log)] {
            let image = images.join(format!("{}-{name}", host.name)).display().to_string();
            run("truncate", &["-s", &format!("{DISK_GIB}G"), &image])?;
            run("mkfs.ext4", &["-q", "-F", &image])?;
            std::fs::create_dir_all(at)?;
            run("mount", &["-o", "loop", &image, &at.display().to_string()])?;
        }
        host.disk_gb = Some(DISK_GIB);
        // initdb wants an empty directory, and a file system has `lost+found` at its root.
        host.directories.wal = Some(log.join("wal"));
    }
    Ok(())
}

/// Takes away every disk below a cluster's directory; the cluster does not run any more.
///
/// # Errors
/// One is in use.
pub fn unmount(directory: &Path) -> Result<()> {
    let mounts = std::fs::read_to_string("/proc/mounts")?;
    let places = mounts.lines().filter_map(|line| line.split(' ').nth(1));
    for place in places.filter(|place| Path::new(place).starts_with(directory)) {
        run("umount", &[place])?;
    }
    Ok(())
}

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
    let data = host.directories.data.clone();
    std::iter::once(data).chain(log_disk(host)).collect()
}

/// The root of the file system that holds the log.
fn log_disk(host: &Host) -> Option<PathBuf> {
    Some(host.directories.wal.as_ref()?.parent()?.to_owned())
}

fn own_disk(local: &Local, host: &Host, which: Which) -> Result<PathBuf> {
    let directory = match which {
        Which::Data => host.directories.data.clone(),
        Which::Log => log_disk(host).context("the log has no disk of its own")?,
    };
    let device = |path: &Path| -> Result<String> { run("stat", &["-c", "%d", &path.display().to_string()]) };
    let size = run("stat", &["-f", "-c", "%b %S", &directory.display().to_string()])?;
    let (blocks, block) = size.split_once(' ').context("stat says nothing")?;
    let bytes = blocks.parse::<u64>()? * block.parse::<u64>()?;
    let shared = device(&directory)? == device(local.directory())?;
    ensure!(
        !shared && bytes <= BYTES_MAX,
        "{} is on no small disk of its own",
        directory.display()
    );
    Ok(directory)
}
