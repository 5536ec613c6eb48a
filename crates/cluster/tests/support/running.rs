//! A real cluster in a temporary directory, ended on drop.

use cluster::{HostMode, HostName, Local, Order, Status, Supervisor, Target, Verb};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Generous: the machine is shared, and what runs may be frozen for a minute.
const WITHIN: Duration = Duration::from_secs(300);

/// A running cluster.
pub struct Running {
    pub local: Local,
    directory: tempfile::TempDir,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    guard: Child,
}

/// In place of `shanraq`, of which a cluster without nodes needs little: every promotion may go on, and a rewind is PostgreSQL's own.
const PROGRAM: &str = "#!/bin/sh
[ \"$1\" = rewind ] || exit 0
program=\"$3\"
shift 4
exec \"$program\" \"$@\"
";

/// Which directory a guard guards.
const GUARDED: &str = "SHANRAQ_GUARDED_CLUSTER";

/// A process that outlives this one, and ends the cluster when this one dies without having done so: the kernel then
/// closes the pipe that it reads.
fn guard(directory: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args([
            "--ignored",
            "--exact",
            "support::running::ends_what_a_dead_test_left",
        ])
        .env(GUARDED, directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
#[ignore = "is no test: the others start it as their guard"]
fn ends_what_a_dead_test_left() {
    let Some(directory) = std::env::var_os(GUARDED) else {
        return;
    };
    let mut said = Vec::new();
    std::io::stdin().read_to_end(&mut said).unwrap();
    if said.is_empty() {
        let _ = cluster::down(Path::new(&directory));
        let _ = std::fs::remove_dir_all(&directory);
    }
}

impl Running {
    /// Starts one; it is healthy when this returns.
    pub fn start(mode: HostMode) -> Self {
        let directory = tempfile::Builder::new()
            .prefix("shqc")
            .tempdir_in("/tmp")
            .unwrap();
        std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let program = directory.path().join("program");
        std::fs::write(&program, PROGRAM).unwrap();
        let local = cluster::prepare(directory.path(), Some(mode), &program)
            .unwrap()
            .without_nodes()
            .unwrap();
        cluster::install(local.topology(), &mut |what| eprintln!("setup: {what}")).unwrap();
        let guard = guard(directory.path());
        let stop = Arc::new(AtomicBool::new(false));
        let supervisor = Supervisor::new(local.clone()).unwrap();
        local.write_files().unwrap();
        local.make_networks().unwrap();
        let flag = stop.clone();
        let thread = std::thread::spawn(move || supervisor.run(&flag).unwrap());
        let running = Self {
            local,
            directory,
            stop,
            thread: Some(thread),
            guard,
        };
        running.wait("healthy after the start", |status| status.healthy);
        running
    }

    /// Looks until a condition holds; says how long it took.
    pub fn wait(&self, what: &str, holds: impl Fn(&Status) -> bool) -> Status {
        let began = Instant::now();
        loop {
            let status = cluster::observe(&self.local).unwrap();
            if holds(&status) {
                eprintln!("{what}: {:.1} s", began.elapsed().as_secs_f64());
                return status;
            }
            assert!(
                began.elapsed() < WITHIN,
                "not {what}: {:#?}\n{status:?}{}",
                status.problems,
                self.logs()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Gives an order.
    pub fn order(&self, verb: Verb, target: &str) {
        let target: Target = target.parse().unwrap();
        cluster::send(self.local.directory(), &Order { verb, target }).unwrap();
    }

    /// A query through an address, as a role; its password goes by a file.
    pub fn query(&self, host: &HostName, port: u16, role: &str, sql: &str) -> Result<String, String> {
        let secret = role.trim_start_matches("shanraq_");
        let secret = self.local.directory().join("secrets").join(secret);
        let password = std::fs::read_to_string(secret).unwrap();
        let address = self.local.topology().host(host).unwrap().address.to_string();
        let pass = self.directory.path().join(format!("pass-{role}"));
        std::fs::write(&pass, format!("*:*:*:*:{}", password.trim())).unwrap();
        std::fs::set_permissions(&pass, std::fs::Permissions::from_mode(0o600)).unwrap();
        let psql = self.local.topology().programs.postgres_directory.join("psql");
        let output = Command::new(psql)
            .env("PGPASSFILE", &pass)
            .env("PGCONNECT_TIMEOUT", "30")
            .args([
                "-X",
                "-t",
                "-A",
                "-q",
                "-w",
                "-h",
                &address,
                "-p",
                &port.to_string(),
            ])
            .args(["-U", role, "-d", "shanraq", "-c", sql])
            .output()
            .unwrap();
        if output.status.success() {
            Ok(String::from_utf8(output.stdout).unwrap().trim().to_owned())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }

    /// Ends it as `cluster down` does, and sees that no process is left.
    pub fn end(mut self) {
        let began = Instant::now();
        self.stop.store(true, Ordering::Release);
        self.thread.take().unwrap().join().unwrap();
        eprintln!("ended: {:.1} s", began.elapsed().as_secs_f64());
        let left = processes_of(self.local.directory());
        assert!(left.is_empty(), "left: {left:?}");
    }

    fn logs(&self) -> String {
        let mut text = String::new();
        for host in &self.local.topology().hosts {
            for name in [
                "patroni.log",
                "etcd.log",
                "haproxy.log",
                "pgbouncer.log",
                "keepalived.log",
            ] {
                let path = host.directories.log.join(name);
                let log = std::fs::read_to_string(&path).unwrap_or_default();
                let lines: Vec<&str> = log.lines().collect();
                let tail = &lines[lines.len().saturating_sub(15)..];
                text += &format!("\n== {}\n{}", path.display(), tail.join("\n"));
            }
        }
        text
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        // Networks, and whatever a supervisor that panicked has left.
        if let Err(error) = cluster::down(self.local.directory()) {
            eprintln!("cluster down: {error}");
        }
        if let Some(mut pipe) = self.guard.stdin.take() {
            let _ = pipe.write_all(b"ended");
        }
        let _ = self.guard.wait();
    }
}

/// Processes whose command line or working directory is in a directory.
fn processes_of(directory: &Path) -> Vec<PathBuf> {
    let needle = directory.to_string_lossy().into_owned();
    let own = std::process::id().to_string();
    std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy() != own))
        .filter(|path| {
            let line = std::fs::read(path.join("cmdline")).unwrap_or_default();
            let works = std::fs::read_link(path.join("cwd")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains(&needle) || works.starts_with(directory)
        })
        .collect()
}
