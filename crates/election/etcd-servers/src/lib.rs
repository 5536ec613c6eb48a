//! A real etcd cluster for tests: members on this machine's loopback, each of which can be killed, frozen and
//! started again.
//!
//! Owns: starting, breaking and ending them. Must not: ship in the product, or leave a process behind: servers end
//! when their handle is dropped, and also when the process that started them dies in whatever way.

mod process;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustix::process::{Pid, Signal, kill_process};
use std::fs::OpenOptions;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long anything may take before a test gives up; far above what it takes.
const PATIENCE: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(10);
/// How long a question to one member may take; a frozen one does not answer.
const QUESTION: Duration = Duration::from_secs(2);

/// An etcd cluster. All its members end when this is dropped.
pub struct Servers {
    members: Vec<Server>,
    _root: TempDir,
}

struct Server {
    name: String,
    client: SocketAddr,
    peer: SocketAddr,
    data: PathBuf,
    child: Option<Child>,
}

impl Servers {
    /// Makes and starts so many members; returns when each answers linearizable reads.
    ///
    /// # Panics
    /// When etcd is not installed or does not start.
    #[must_use]
    pub fn start(count: usize) -> Self {
        let root = TempDir::with_prefix("shanraq-etcd-").expect("a temporary directory can be made");
        let members = (1..=count)
            .map(|number| Server {
                name: format!("etcd{number}"),
                client: free_address(),
                peer: free_address(),
                data: root.path().join(format!("etcd{number}")),
                child: None,
            })
            .collect();
        let mut servers = Self { members, _root: root };
        for member in 0..count {
            servers.launch(member);
        }
        for member in 0..count {
            servers.wait_healthy(member);
        }
        servers
    }

    /// `http://127.0.0.1:port` of each member.
    #[must_use]
    pub fn endpoints(&self) -> Vec<String> {
        let endpoint = |it: &Server| format!("http://{}", it.client);
        self.members.iter().map(endpoint).collect()
    }

    /// Which member leads, by its own word and after a majority has confirmed it.
    ///
    /// # Panics
    /// When nobody does for a long time.
    #[must_use]
    pub fn leader(&self) -> usize {
        let leads = |it: &Server| it.child.is_some() && it.says_leading() && it.is_healthy();
        let mut found = None;
        wait("a leader of etcd", || {
            found = self.members.iter().position(leads);
            found.is_some()
        });
        found.expect("waited for")
    }

    /// `kill -9`.
    ///
    /// # Panics
    /// When it does not run.
    pub fn kill(&mut self, member: usize) {
        let mut child = self.members[member].child.take().expect("it runs");
        child.kill().expect("it is our child");
        let _ = child.wait();
    }

    /// Starts a member that was killed, with the data that it had, and does not wait for it.
    ///
    /// # Panics
    /// When it runs or cannot be started.
    pub fn launch(&mut self, member: usize) {
        let peer = |it: &Server| format!("{}=http://{}", it.name, it.peer);
        let peers: Vec<_> = self.members.iter().map(peer).collect();
        self.members[member].launch(&peers.join(","));
    }

    /// Waits until a member answers linearizable reads.
    ///
    /// # Panics
    /// When it never does.
    pub fn wait_healthy(&self, member: usize) {
        let server = &self.members[member];
        wait(&format!("{} to be healthy", server.name), || server.is_healthy());
    }

    /// Whether a key stands.
    ///
    /// # Panics
    /// When the first member does not answer.
    #[must_use]
    pub fn has_key(&self, key: &str) -> bool {
        let body = format!(r#"{{"key":"{}","count_only":true}}"#, STANDARD.encode(key));
        let answer = self.members[0].ask("POST", "/v3/kv/range", &body);
        answer.expect("etcd answers")["count"] == "1"
    }

    /// Removes a key, as an operator might.
    ///
    /// # Panics
    /// When it is not there.
    pub fn remove_key(&self, key: &str) {
        let body = format!(r#"{{"key":"{}"}}"#, STANDARD.encode(key));
        let answer = self.members[0].ask("POST", "/v3/kv/deleterange", &body);
        let answer = answer.expect("etcd answers");
        assert_eq!(answer["deleted"], "1", "{key}");
    }

    /// Forgets all history before the present revision, as a long-lived etcd does by itself.
    ///
    /// # Panics
    /// When the member does not answer.
    pub fn compact(&self, member: usize) {
        let member = &self.members[member];
        let status = member.ask("POST", "/v3/maintenance/status", "{}");
        let revision = status.expect("etcd answers")["header"]["revision"].clone();
        let body = format!(r#"{{"revision":{revision},"physical":true}}"#);
        let answer = member.ask("POST", "/v3/kv/compaction", &body);
        let answer = answer.expect("etcd answers");
        assert!(answer["header"]["revision"].is_string(), "{answer}");
    }

    /// Stops a member in its tracks, as a host without time does.
    pub fn freeze(&self, member: usize) {
        self.members[member].signal(Signal::STOP);
    }

    /// Lets it go on.
    pub fn thaw(&self, member: usize) {
        self.members[member].signal(Signal::CONT);
    }
}

impl Server {
    fn launch(&mut self, peers: &str) {
        assert!(self.child.is_none(), "{} runs already", self.name);
        let log = OpenOptions::new().create(true).append(true).open(self.log_path());
        let client = format!("http://{}", self.client);
        let peer = format!("http://{}", self.peer);
        let mut command = Command::new("etcd");
        command
            .args(["--name", &self.name, "--data-dir"])
            .arg(&self.data)
            .args([
                "--listen-client-urls",
                &client,
                "--advertise-client-urls",
                &client,
            ])
            .args([
                "--listen-peer-urls",
                &peer,
                "--initial-advertise-peer-urls",
                &peer,
            ])
            .args(["--initial-cluster", peers, "--initial-cluster-token", "test"])
            .args(["--logger", "zap"]);
        self.child = Some(process::spawn(&command, log.expect("a log can be written")));
    }

    /// A linearizable read, by etcd's own account.
    fn is_healthy(&self) -> bool {
        let answer = self.ask("GET", "/health", "");
        answer.is_some_and(|it| it["health"] == "true")
    }

    fn says_leading(&self) -> bool {
        let answer = self.ask("POST", "/v3/maintenance/status", "{}");
        answer.is_some_and(|it| it["leader"].is_string() && it["leader"] == it["header"]["member_id"])
    }

    fn ask(&self, method: &str, path: &str, body: &str) -> Option<serde_json::Value> {
        let mut socket = TcpStream::connect_timeout(&self.client, QUESTION).ok()?;
        socket.set_read_timeout(Some(QUESTION)).ok()?;
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: etcd\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        socket.write_all(request.as_bytes()).ok()?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer).ok()?;
        let from = answer.find('{')?;
        let to = answer.rfind('}')?;
        serde_json::from_str(&answer[from..=to]).ok()
    }

    fn signal(&self, signal: Signal) {
        let child = self.child.as_ref().expect("it runs");
        kill_process(Pid::from_child(child), signal).expect("it is our child");
    }

    fn log_path(&self) -> PathBuf {
        self.data.with_extension("log")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.log_path()).unwrap_or_default();
            let lines: Vec<_> = log.lines().collect();
            let tail = &lines[lines.len().saturating_sub(20)..];
            eprintln!("end of the log of {}:\n{}", self.name, tail.join("\n"));
        }
    }
}

fn wait(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "waited too long for {what}");
        std::thread::sleep(POLL);
    }
}

/// An odd port that nobody listens on, below those that the kernel gives to outgoing connections. Even ones are for PostgreSQL,
/// which the same tests start at the same time.
fn free_address() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = (std::process::id() % 400) as u16 * 25;
    loop {
        let port = 12_001 + (start + NEXT.fetch_add(1, Ordering::Relaxed)) % 10_000 * 2;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}
