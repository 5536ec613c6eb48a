//! A real cluster in namespaces of its own, without nodes, ended on drop; and a session that inserts.

use cluster::{HostMode, HostName, Local, Order, Status, Supervisor, Target, Topology, Verb};
use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Far above what anything takes: the machine is shared.
pub const WITHIN: Duration = Duration::from_secs(180);

/// Run instead of the program: before a promotion it freezes whom the test names, then fences, or lets everything through. Only so
/// is a standby's Patroni frozen after its vote and before it hears of the new leader, every time. All else that is asked of the
/// program, a rewind above all, is done as ever and tells of no vote.
const HOOK: &str = r#"#!/bin/sh
d=$(dirname "$0")
[ "$1" = fence ] || exec "$d/real" "$@"
touch "$d/told/polled"
for pid in $(cat "$d/freeze" 2>/dev/null); do kill -STOP "$pid"; done
[ -e "$d/open" ] && exit 0
exec "$d/real" "$@"
"#;

/// A cluster without nodes.
pub struct Running {
    pub local: Local,
    _directory: tempfile::TempDir,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    pub fn start() -> Self {
        let directory = tempfile::Builder::new()
            .prefix("shqf")
            .tempdir_in("/tmp")
            .unwrap();
        let public = || Permissions::from_mode(0o755);
        fs::set_permissions(directory.path(), public()).unwrap();
        let hook = directory.path().join("hook");
        fs::write(&hook, HOOK).unwrap();
        let local = cluster::prepare(directory.path(), Some(HostMode::Netns), &hook).unwrap();
        let local = local.without_nodes().unwrap();
        let told = directory.path().join("bin/told");
        fs::create_dir(&told).unwrap();
        fs::set_permissions(&told, Permissions::from_mode(0o777)).unwrap();
        let real = directory.path().join("bin/real");
        fs::copy(env!("CARGO_BIN_EXE_shanraq"), &real).unwrap();
        fs::set_permissions(&real, public()).unwrap();
        cluster::install(local.topology(), &mut |what| eprintln!("setup: {what}")).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let supervisor = Supervisor::new(local.clone()).unwrap();
        local.write_files().unwrap();
        local.make_networks().unwrap();
        let flag = stop.clone();
        let thread = std::thread::spawn(move || supervisor.run(&flag).unwrap());
        let running = Self {
            local,
            _directory: directory,
            stop,
            thread: Some(thread),
        };
        running.wait("healthy", |status| status.healthy);
        running
    }

    pub fn topology(&self) -> &Topology {
        self.local.topology()
    }

    pub fn wait(&self, what: &str, holds: impl Fn(&Status) -> bool) -> Status {
        let began = Instant::now();
        loop {
            let status = cluster::observe(&self.local).unwrap();
            if holds(&status) {
                eprintln!("{what}: {:.1} s", began.elapsed().as_secs_f64());
                return status;
            }
            let logs = || self.logs();
            assert!(
                began.elapsed() < WITHIN,
                "not {what}: {:#?}{}",
                status.problems,
                logs()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    pub fn logs(&self) -> String {
        let hosts = self.topology().hosts.iter();
        hosts.map(|host| self.log_end(&host.name, 40)).collect()
    }

    /// The last lines of a host's Patroni.
    pub fn log_end(&self, host: &HostName, lines: usize) -> String {
        let log = &self.topology().host(host).unwrap().directories.log;
        let log = fs::read_to_string(log.join("patroni.log")).unwrap_or_default();
        let all: Vec<&str> = log.lines().collect();
        let end = all[all.len().saturating_sub(lines)..].join("\n");
        format!("\n== {host}\n{end}")
    }

    pub fn primary(&self) -> HostName {
        let status = self.wait("a primary", |status| status.primary.is_some());
        status.primary.unwrap()
    }

    pub fn order(&self, verb: Verb, target: &str) {
        let target: Target = target.parse().unwrap();
        cluster::send(self.local.directory(), &Order { verb, target }).unwrap();
    }

    /// `psql` at a host's own socket, as the superuser.
    pub fn psql(&self, host: &HostName) -> Command {
        let topology = self.topology();
        let socket = &topology.host(host).unwrap().directories.run;
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid", "postgres", "--regid", "postgres", "--clear-groups"])
            .arg(topology.programs.postgres_directory.join("psql"))
            .args([
                "-X",
                "-q",
                "-t",
                "-A",
                "-v",
                "ON_ERROR_STOP=1",
                "-U",
                "postgres",
                "-d",
                "postgres",
            ])
            .args(["-p", &topology.ports.postgres.to_string(), "-h"])
            .arg(socket)
            .current_dir("/");
        command
    }

    pub fn sql(&self, host: &HostName, sql: &str) -> String {
        let output = self.psql(host).args(["-c", sql]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{sql}: {said}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// In a host's namespace, its processes' way to etcd is cut or opened.
    pub fn etcd_for(&self, host: &HostName, open: bool) {
        let namespace = cluster::namespace(self.local.directory(), host);
        let port = self.topology().ports.etcd_client;
        let rules = match open {
            true => "delete table inet fence".to_owned(),
            false => format!(
                "add table inet fence
add chain inet fence out {{ type filter hook output priority 0; policy accept; }}
add rule inet fence out tcp dport {port} drop"
            ),
        };
        let nft = Command::new("ip")
            .args(["netns", "exec", &namespace, "nft", &rules])
            .status();
        assert!(nft.unwrap().success());
    }

    pub fn etcd<T>(&self, ask: impl AsyncFnOnce(etcd::Client) -> T) -> T {
        let port = self.topology().ports.etcd_client;
        let members = self.topology().hosts.iter();
        let endpoints: Vec<_> = members
            .map(|host| format!("http://{}:{port}", host.address))
            .collect();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let client = etcd::Client::new(&endpoints, Duration::from_secs(5)).unwrap();
            ask(client).await
        })
    }

    /// Waits until the primary counts on both standbys, so that either may acknowledge.
    pub fn wait_for_quorum(&self) {
        let names = self.topology().hosts.len() - 1;
        self.wait("a quorum of both standbys", |_| {
            let sync = self.etcd(async |etcd| {
                let range = etcd::one("/service/shanraq/sync");
                etcd.range("read /sync", &range).await.unwrap().kvs
            });
            sync.first().is_some_and(|row| {
                let sync: serde_json::Value = serde_json::from_slice(&row.value).unwrap();
                let standbys = sync["sync_standby"].as_str().unwrap_or_default();
                sync["quorum"] == 1 && standbys.split(',').count() == names
            })
        });
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.local.directory().join("bin").join(name)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        if let Err(error) = cluster::down(self.local.directory()) {
            eprintln!("cluster down: {error}");
        }
    }
}

/// One session that inserts numbers, one after another, as fast as they are acknowledged.
pub struct Client {
    child: Child,
    acknowledged: Arc<Mutex<BTreeSet<i64>>>,
    flows: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Client {
    pub fn start(running: &Running, host: &HostName, first: i64) -> Self {
        let mut child = running
            .psql(host)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = child.stdin.take().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let acknowledged = Arc::new(Mutex::new(BTreeSet::new()));
        let seen = acknowledged.clone();
        let flows = Arc::new(AtomicBool::new(true));
        let may_flow = flows.clone();
        let thread = std::thread::spawn(move || {
            let mut lines = output.lines();
            for n in first.. {
                while !may_flow.load(Ordering::Acquire) {
                    std::thread::sleep(Duration::from_millis(1));
                }
                let insert = format!("insert into rows values ({n}) returning n;\n");
                if input.write_all(insert.as_bytes()).is_err() {
                    return;
                }
                match lines.next() {
                    Some(Ok(line)) => seen.lock().unwrap().insert(line.parse().unwrap()),
                    _ => return,
                };
            }
        });
        Self {
            child,
            acknowledged,
            flows,
            thread,
        }
    }

    pub fn pause(&self) {
        self.flows.store(false, Ordering::Release);
    }

    pub fn resume(&self) {
        self.flows.store(true, Ordering::Release);
    }

    pub fn count(&self) -> usize {
        self.acknowledged.lock().unwrap().len()
    }

    /// Waits for so many acknowledged rows; where they never come, tells whom its primary's commits wait for.
    pub fn wait_for(&self, count: usize, running: &Running, primary: &HostName) {
        let began = Instant::now();
        let standbys = || {
            let names = running.sql(primary, "show synchronous_standby_names");
            let sql = "select application_name, state, sync_state, flush_lsn from pg_stat_replication";
            format!("{names}\n{}{}", running.sql(primary, sql), running.logs())
        };
        while self.count() < count {
            assert!(
                began.elapsed() < WITHIN,
                "{} of {count} rows acknowledged by {primary}: {}",
                self.count(),
                standbys()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn end(mut self) -> BTreeSet<i64> {
        self.resume();
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.thread.join().unwrap();
        self.acknowledged.lock().unwrap().clone()
    }
}
