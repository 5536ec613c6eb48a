//! The settings of this machine's kernel while a cluster is measured or disturbed: those that a host of it would have.

use anyhow::Result;
use std::path::{Path, PathBuf};

/// What `shanraq cluster render` writes for a host's kernel; the file is held against it by a test.
const RENDERED: &str = include_str!("../../crates/cluster/tests/golden/three/h1/sysctl/shanraq.conf");

/// The kernel's settings as rendered for a host, for as long as this lives. Without the right to change them they stay as they are.
pub struct Kernel {
    /// Path below `/proc/sys`, and what was there.
    before: Vec<(PathBuf, String)>,
    changed: bool,
}

impl Kernel {
    /// Sets them.
    ///
    /// # Errors
    /// One cannot be read.
    pub fn tune() -> Result<Self> {
        let mut kernel = Self {
            before: Vec::new(),
            changed: true,
        };
        for (name, value) in RENDERED.lines().filter_map(|line| line.split_once(" = ")) {
            let path = Path::new("/proc/sys").join(name.replace('.', "/"));
            let before = std::fs::read_to_string(&path)?;
            // Setting an absolute bound empties the relative one, which is put back in its stead.
            let relative = path.with_file_name(name.replace("vm.", "").replace("_bytes", "_ratio"));
            let of_ratio = before.trim() == "0" && relative != path;
            let kept = match of_ratio {
                true => (relative.clone(), std::fs::read_to_string(&relative)?),
                false => (path.clone(), before),
            };
            if std::fs::write(&path, value).is_err() {
                kernel.changed = false;
                continue;
            }
            kernel.before.push(kept);
        }
        Ok(kernel)
    }

    /// For a reader of what was measured.
    pub fn shown(&self) -> String {
        match self.changed {
            true => RENDERED
                .lines()
                .filter(|line| line.contains(" = "))
                .collect::<Vec<_>>()
                .join("  "),
            false => "as it was: not root".to_owned(),
        }
    }
}

impl Drop for Kernel {
    fn drop(&mut self) {
        for (path, value) in &self.before {
            if let Err(error) = std::fs::write(path, value) {
                eprintln!(
                    "{} could not be put back to {}: {error}",
                    path.display(),
                    value.trim()
                );
            }
        }
    }
}
