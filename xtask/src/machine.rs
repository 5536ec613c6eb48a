//! What this machine is, for the head of a benchmark. Owns: nothing but the reading of it.

use crate::process::capture;
use anyhow::Result;
use serde::Serialize;
use std::path::Path;
use std::process::Command;

/// Facts that a figure means nothing without.
#[derive(Debug, Serialize)]
pub struct Machine {
    /// Cores that this process may use.
    pub cores: usize,
    /// Name of the processor.
    pub processor: String,
    /// All of its memory.
    pub memory_mib: u64,
    /// Kernel name and release.
    pub kernel: String,
    /// Kind of the file system under the benchmark's folder.
    pub file_system: String,
}

impl Machine {
    /// Reads it; `folder` is where the benchmark writes.
    pub fn read(folder: &Path) -> Result<Self> {
        Ok(Self {
            cores: std::thread::available_parallelism()?.get(),
            processor: field("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown".into()),
            memory_mib: field("/proc/meminfo", "MemTotal")
                .and_then(|text| text.split_whitespace().next()?.parse::<u64>().ok())
                .map_or(0, |kib| kib / 1024),
            kernel: capture(Command::new("uname").arg("-sr"))?.trim().to_owned(),
            file_system: capture(Command::new("stat").args(["-f", "-c", "%T"]).arg(folder))?
                .trim()
                .to_owned(),
        })
    }
}

impl std::fmt::Display for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            cores,
            processor,
            memory_mib,
            kernel,
            file_system,
        } = self;
        write!(
            f,
            "{cores} cores ({processor}), {memory_mib} MiB, {kernel}, {file_system}"
        )
    }
}

/// The value of the first `name : value` line of a file in /proc.
fn field(file: &str, name: &str) -> Option<String> {
    let text = std::fs::read_to_string(file).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}
