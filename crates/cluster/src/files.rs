//! Rendered files on their way to the disk: mode and owner with each, replaced whole.

use crate::{ClusterError, HostName};
use std::fs::{self, File, Permissions};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// A file that a host needs, relative to its configuration directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RenderedFile {
    /// Where, below the configuration directory.
    pub path: PathBuf,
    /// Whose it is.
    pub owner: FileOwner,
    /// Its mode.
    pub mode: u32,
    /// What is in it.
    pub text: String,
}

/// Whose a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileOwner {
    /// The administrator.
    Root,
    /// The user that runs PostgreSQL, Patroni and PgBouncer.
    Postgres,
}

/// Writes a host's files below a directory; those of `postgres` are given to that user where we are root.
///
/// # Errors
/// The disk or the system refuses.
pub fn write_host(directory: &Path, files: &[RenderedFile]) -> Result<(), ClusterError> {
    for file in files {
        let path = directory.join(&file.path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(|e| ClusterError::io("create", parent, e))?;
        }
        let written = write(&path, file).map_err(|e| ClusterError::io("write", &path, e))?;
        if file.owner == FileOwner::Postgres && crate::host::is_root() {
            crate::host::give(&written, &crate::host::user("postgres")?)?;
        }
        fs::rename(&written, &path).map_err(|e| ClusterError::io("rename", &written, e))?;
    }
    Ok(())
}

/// Writes the files of several hosts, each below a directory of its name.
///
/// # Errors
/// The disk or the system refuses.
pub fn write_tree(out: &Path, hosts: &[(HostName, Vec<RenderedFile>)]) -> Result<(), ClusterError> {
    for (host, files) in hosts {
        write_host(&out.join(&host.0), files)?;
    }
    Ok(())
}

fn write(path: &Path, file: &RenderedFile) -> std::io::Result<PathBuf> {
    let mut name = path.as_os_str().to_owned();
    name.push(".part");
    let part = PathBuf::from(name);
    let mut open = File::options();
    let mut handle = open
        .create(true)
        .truncate(true)
        .write(true)
        .mode(file.mode)
        .open(&part)?;
    handle.set_permissions(Permissions::from_mode(file.mode))?;
    handle.write_all(file.text.as_bytes())?;
    handle.sync_all()?;
    Ok(part)
}
