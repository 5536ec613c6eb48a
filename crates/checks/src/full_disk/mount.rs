//! A small file system, mounted for as long as this value lives. Owns: mounting, unmounting, the image behind it.
//!
//! Must not: leave a mount behind; `cargo xtask full-disk` runs all of this in a mount namespace of its own besides, so
//! that even a process that is killed leaves none.

use anyhow::{Context, Result, ensure};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What is mounted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum FileSystem {
    /// In memory.
    Tmpfs,
    /// What most machines have, in a file behind a loop device.
    Ext4,
}

/// A mounted file system; dropping it unmounts it.
pub struct Mount {
    point: PathBuf,
}

impl Mount {
    /// Mounts one of that size at `folder/disk`. The image, if there is one, lies in the folder as well.
    ///
    /// # Errors
    /// When this process may not mount, or the tools are missing. There is nothing else to test then.
    pub fn new(kind: FileSystem, folder: &Path, bytes: u64) -> Result<Self> {
        let point = folder.join("disk");
        std::fs::create_dir(&point)?;
        let mut mount = Command::new("mount");
        match kind {
            FileSystem::Tmpfs => {
                mount.args(["-t", "tmpfs", "-o"]);
                mount.arg(format!("size={bytes},mode=0700")).arg("tmpfs");
            }
            FileSystem::Ext4 => {
                let image = folder.join("image");
                File::create(&image)?.set_len(bytes)?;
                // No room set aside for root: full is to be full for whoever runs this.
                succeed(
                    Command::new("mkfs.ext4")
                        .args(["-q", "-F", "-m", "0"])
                        .arg(&image),
                )?;
                mount.args(["-o", "loop"]).arg(image);
            }
        }
        succeed(mount.arg(&point)).context("a small file system must be mounted, which root may do")?;
        Ok(Self { point })
    }

    /// Where it is.
    pub fn point(&self) -> &Path {
        &self.point
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if let Err(error) = succeed(Command::new("umount").arg(&self.point)) {
            eprintln!("{error:#}; it is taken away from the tree, and ends with its last user");
            if let Err(error) = succeed(Command::new("umount").arg("--lazy").arg(&self.point)) {
                eprintln!("{error:#}");
            }
        }
    }
}

fn succeed(command: &mut Command) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .output()
        .with_context(|| format!("cannot start {program}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "{program} failed ({}): {}",
        output.status,
        said.trim()
    );
    Ok(())
}
