//! The node under test as a process: started, killed without warning, started again on the same files.

use anyhow::{Context, Result, bail, ensure};
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A node that runs or ran in a folder; dropping it kills it.
pub struct NodeProcess {
    binary: PathBuf,
    data: PathBuf,
    config: PathBuf,
    log: PathBuf,
    port: u16,
    child: Option<Child>,
}

impl NodeProcess {
    /// Chooses a port that stays the same over restarts, so that clients find the node again. Starts nothing.
    pub fn new(binary: &Path, folder: &Path) -> Result<Self> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let node = Self {
            binary: binary.to_path_buf(),
            data: folder.join("data"),
            config: folder.join("config.toml"),
            log: folder.join("node.log"),
            port,
            child: None,
        };
        node.configure("")?;
        Ok(node)
    }

    /// Keeps its data elsewhere than in the folder.
    #[must_use]
    pub fn with_data(mut self, data: &Path) -> Self {
        self.data = data.to_path_buf();
        self
    }

    /// Gives it another configuration (TOML), which holds from its next start on.
    pub fn configure(&self, toml: &str) -> Result<()> {
        std::fs::write(&self.config, toml).with_context(|| format!("cannot write {}", self.config.display()))
    }

    /// `host:port`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// For clients.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address())
    }

    /// Starts it without waiting for anything.
    pub fn spawn(&mut self) -> Result<()> {
        assert!(self.child.is_none(), "it runs already");
        let log = OpenOptions::new().create(true).append(true).open(&self.log)?;
        let mut command = Command::new(&self.binary);
        command
            .args(["serve", "--json", "--listen", &self.address(), "--dir"])
            .arg(&self.data)
            .arg("--config")
            .arg(&self.config)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log);
        let child = command
            .spawn()
            .with_context(|| format!("cannot start {}", self.binary.display()))?;
        self.child = Some(child);
        Ok(())
    }

    /// Waits until it says that it serves. Gives how long it took.
    pub fn wait_until_ready(&mut self) -> Result<Duration> {
        let began = Instant::now();
        let child = self.child.as_mut().context("the node does not run")?;
        let output = child.stdout.take().context("the node was waited for already")?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        if !line.contains("\"address\"") {
            let status = child.wait()?;
            bail!(
                "the node did not start ({status}); it said `{}`:\n{}",
                line.trim(),
                self.log_tail()
            );
        }
        Ok(began.elapsed())
    }

    /// Ends it at once, as a power cut ends a process: no signal handler, no flush.
    pub fn kill(&mut self) -> Result<()> {
        let mut child = self.child.take().context("the node does not run")?;
        if let Some(status) = child.try_wait()? {
            bail!("the node ended by itself ({status}):\n{}", self.log_tail());
        }
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// Asks it to stop, and makes sure that it ends well.
    pub fn stop(&mut self) -> Result<()> {
        let mut child = self.child.take().context("the node does not run")?;
        let asked = Command::new("kill")
            .arg("-TERM")
            .arg(child.id().to_string())
            .status()?;
        ensure!(asked.success(), "the node is gone already");
        let status = child.wait()?;
        ensure!(
            status.success(),
            "asked to stop, the node ended with {status}:\n{}",
            self.log_tail()
        );
        Ok(())
    }

    /// Has the binary verify the files that the node left. Gives what it printed.
    pub fn verify(&self) -> Result<String> {
        self.verify_at(&self.data)
    }

    /// The same on a copy below the folder: to verify takes room for a second index, which a small disk may not have.
    pub fn verify_copy(&self) -> Result<String> {
        let copy = self.log.with_file_name("copy");
        let copied = Command::new("cp").arg("-a").arg(&self.data).arg(&copy).status()?;
        ensure!(copied.success(), "cannot copy {}: {copied}", self.data.display());
        self.verify_at(&copy)
    }

    fn verify_at(&self, data: &Path) -> Result<String> {
        let log = self.log.with_file_name("verify.log");
        let mut command = Command::new(&self.binary);
        command
            .args(["verify", "--json", "--dir"])
            .arg(data)
            .stderr(File::create(&log)?);
        let output = command.output()?;
        let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        ensure!(
            output.status.success(),
            "`shanraq verify` failed ({}): {said}\n{}",
            output.status,
            std::fs::read_to_string(&log).unwrap_or_default()
        );
        Ok(said)
    }

    /// Fails when it logged an error or a panic.
    pub fn ensure_no_complaints(&self) -> Result<()> {
        let complaints = self.complaints();
        ensure!(
            complaints.is_empty(),
            "the node logged:\n{}",
            complaints.join("\n")
        );
        Ok(())
    }

    /// Errors and panics that it logged.
    pub fn complaints(&self) -> Vec<String> {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let complains = |line: &&str| line.contains("ERROR") || line.contains("panicked at");
        log.lines().filter(complains).map(str::to_owned).collect()
    }

    fn log_tail(&self) -> String {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

impl Drop for NodeProcess {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
