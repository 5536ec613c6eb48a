//! A node of our own for a check: the real binary, in a folder that is thrown away.

use crate::process::shown;
use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A running node; dropping it kills it.
pub struct Node {
    process: Child,
    folder: TempDir,
    /// Where it listens, `host:port`.
    pub address: String,
}

impl Node {
    /// Starts one on a free port and waits until it serves.
    pub fn start(binary: &Path) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("shanraq-check-").tempdir()?;
        let mut command = Command::new(binary);
        command
            .args(["serve", "--json", "--listen", "127.0.0.1:0", "--dir"])
            .arg(folder.path().join("data"));
        let log = File::create(folder.path().join("log"))?;
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
        let mut process = command
            .spawn()
            .with_context(|| format!("cannot start `{}`", shown(&command)))?;
        let mut line = String::new();
        let output = process.stdout.take().expect("its output is piped");
        BufReader::new(output).read_line(&mut line)?;
        let mut node = Self {
            process,
            folder,
            address: String::new(),
        };
        match serde_json::from_str::<Value>(&line)
            .ok()
            .as_ref()
            .and_then(|said| said["address"].as_str())
        {
            Some(address) => node.address = address.to_owned(),
            None => bail!(
                "`{}` says `{}` instead of its address:\n{}",
                shown(&command),
                line.trim(),
                node.log()
            ),
        }
        Ok(node)
    }

    /// Asks it to stop, and makes sure that it ends well and had nothing to complain of.
    pub fn stop(mut self) -> Result<()> {
        let asked = Command::new("kill")
            .arg("-TERM")
            .arg(self.process.id().to_string())
            .status()?;
        ensure!(asked.success(), "the node is gone already:\n{}", self.log());
        let deadline = Instant::now() + Duration::from_secs(30);
        let status = loop {
            if let Some(status) = self.process.try_wait()? {
                break status;
            }
            ensure!(
                Instant::now() < deadline,
                "the node does not stop:\n{}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(20));
        };
        let log = self.log();
        ensure!(status.success(), "the node ended with {status}:\n{log}");
        let complaints: Vec<&str> = log.lines().filter(|line| is_complaint(line)).collect();
        ensure!(
            complaints.is_empty(),
            "the node logged:\n{}",
            complaints.join("\n")
        );
        Ok(())
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// An error means that somebody must look; so does a panic.
fn is_complaint(line: &str) -> bool {
    line.contains("ERROR") || line.contains("panicked at")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_and_panics_are_complaints_and_other_lines_are_not() {
        assert!(is_complaint(r#"{"level":"ERROR","message":"x"}"#));
        assert!(is_complaint("thread 'writer' panicked at src/x.rs:1:1:"));
        assert!(!is_complaint(
            r#"{"level":"INFO","message":"an error is explained"}"#
        ));
    }
}
