//! A whole cluster with ledger nodes, run by the real binary: load through both HAProxy while one process of each kind is
//! killed, one after another; then every acknowledged transfer is there exactly once, and nothing is left running.

use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Generous: the machine is shared, and what runs may be frozen for a minute.
const WITHIN: Duration = Duration::from_secs(300);
const CLIENTS: u64 = 4;

/// A cluster in a temporary directory, ended on drop.
struct Cluster {
    directory: tempfile::TempDir,
    balancers: Vec<String>,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let output = self.command("down", &[]);
        eprintln!("{}", String::from_utf8_lossy(&output.stderr));
    }
}

impl Cluster {
    fn start() -> Self {
        let directory = tempfile::Builder::new()
            .prefix("shqn")
            .tempdir_in("/tmp")
            .unwrap();
        let everybody = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(directory.path(), everybody).unwrap();
        let mut cluster = Self {
            directory,
            balancers: Vec::new(),
        };
        let output = cluster.command("up", &["--detach"]);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "{said}{}{}",
            String::from_utf8_lossy(&output.stderr),
            cluster.logs()
        );
        let addresses = said.lines().filter(|line| line.contains(" API "));
        let addresses = addresses.filter_map(|line| line.split_whitespace().last());
        cluster.balancers = addresses.map(str::to_owned).collect();
        assert_eq!(cluster.balancers.len(), 2, "{said}");
        cluster
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn command(&self, action: &str, more: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_shanraq"));
        command.args(["cluster", action, "--dir"]).arg(self.path());
        command.args(more).output().unwrap()
    }

    fn status(&self) -> Value {
        let output = self.command("status", &["--json"]);
        serde_json::from_slice(&output.stdout).expect("a status")
    }

    /// Waits until a condition holds; says how long it took.
    fn wait(&self, what: &str, holds: impl Fn(&Value) -> bool) {
        let began = Instant::now();
        loop {
            let status = self.status();
            if holds(&status) {
                eprintln!("{what}: {:.1} s", began.elapsed().as_secs_f64());
                return;
            }
            assert!(
                began.elapsed() < WITHIN,
                "not {what}: {}{}",
                status["problems"],
                self.logs()
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Kills a process of whoever has a role now, and waits until all is well again.
    fn kill(&self, role: &str, process: &str) {
        let host = self.status()[role].as_str().expect("somebody has it").to_owned();
        self.kill_at(&host, process);
    }

    fn kill_at(&self, host: &str, process: &str) {
        let process_id = |status: &Value| {
            let hosts = status["hosts"].as_array().unwrap();
            let host = hosts.iter().find(|it| it["name"] == host).unwrap();
            let processes = host["processes"].as_array().unwrap();
            let found = processes.iter().find(|it| it["process"] == process).unwrap();
            found["process_id"].as_i64()
        };
        let before = process_id(&self.status());
        let killed = self.command("kill", &[&format!("{host}/{process}")]);
        assert!(killed.status.success(), "{killed:?}");
        self.wait(&format!("healthy after {host}/{process} was killed"), |status| {
            status["healthy"] == true && process_id(status) != before
        });
    }

    fn logs(&self) -> String {
        let mut text = String::new();
        for host in ["h1", "h2", "h3"] {
            for name in ["node.log", "patroni.log"] {
                let path = self.path().join(host).join("log").join(name);
                let log = std::fs::read_to_string(&path).unwrap_or_default();
                let lines: Vec<&str> = log.lines().collect();
                let tail = &lines[lines.len().saturating_sub(15)..];
                text += &format!("\n== {}\n{}", path.display(), tail.join("\n"));
            }
        }
        text
    }
}

/// One request on a connection of its own; none when there is no answer of 200.
fn post(address: &str, path: &str, body: &Value) -> Option<Value> {
    let body = body.to_string();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    stream.write_all((head + &body).as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let is_good = head.starts_with("HTTP/1.1 200");
    // A transport that chunks puts the lengths around the one object.
    let object = body.get(body.find('{')?..=body.rfind('}')?)?;
    is_good.then(|| serde_json::from_str(object).ok()).flatten()
}

/// What was heard of transfers, by all clients.
#[derive(Default)]
struct Heard {
    /// Ids that were acknowledged.
    done: Vec<u64>,
    longest_gap: Duration,
    last: Option<Instant>,
}

impl Heard {
    fn note(&mut self, id: u64) {
        let now = Instant::now();
        let gap = self.last.map_or(Duration::ZERO, |last| now - last);
        self.longest_gap = self.longest_gap.max(gap);
        self.last = Some(now);
        self.done.push(id);
    }
}

/// One transfer after another, each repeated under its id, at the other HAProxy, until it is acknowledged.
fn pay(cluster: &Cluster, client: u64, heard: &Mutex<Heard>, stop: &AtomicBool) {
    let mut balancer = client as usize;
    for number in 0.. {
        if stop.load(Ordering::Acquire) {
            return;
        }
        let id = 1_000_000 * (client + 1) + number;
        let transfer = json!({ "id": id, "debit_account_id": 1, "credit_account_id": 2, "amount": 5, "ledger": 1, "code": 7 });
        let body = json!({ "transfers": [transfer] });
        let began = Instant::now();
        let answer = loop {
            let address = &cluster.balancers[balancer % cluster.balancers.len()];
            if let Some(answer) = post(address, "/v1/transfers", &body) {
                break answer;
            }
            assert!(began.elapsed() < WITHIN, "transfer {id} was never answered");
            balancer += 1;
            std::thread::sleep(Duration::from_millis(20));
        };
        let result = answer["results"][0]["result"].as_str().unwrap();
        assert!(
            result == "created" || result == "exists",
            "transfer {id}: {answer}"
        );
        heard.lock().unwrap().note(id);
    }
}

/// Until the cluster answers: a look-up may fall into a change of the writer.
fn ask(cluster: &Cluster, path: &str, body: &Value) -> Value {
    let began = Instant::now();
    loop {
        if let Some(answer) = post(&cluster.balancers[0], path, body) {
            return answer;
        }
        assert!(began.elapsed() < WITHIN, "no answer to {path}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn acknowledged_transfers_are_there_exactly_once_after_one_kill_of_each_kind() {
    let cluster = Cluster::start();
    let account = |id: u32| json!({ "id": id, "ledger": 1, "code": 10 });
    let opened = ask(
        &cluster,
        "/v1/accounts",
        &json!({ "accounts": [account(1), account(2)] }),
    );
    assert_eq!(opened["results"][1]["result"], "created");
    let (heard, stop) = (Mutex::new(Heard::default()), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            let (cluster, heard, stop) = (&cluster, &heard, &stop);
            scope.spawn(move || pay(cluster, client, heard, stop));
        }
        let gap = |what: &str| {
            let mut heard = heard.lock().unwrap();
            let longest = std::mem::take(&mut heard.longest_gap);
            eprintln!("{what}: longest gap {:.2} s", longest.as_secs_f64());
        };
        // Whatever fails here must end the clients too.
        let killed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let handed = cluster.command("handover", &[]);
            assert!(handed.status.success(), "{handed:?}");
            cluster.wait("healthy after the handover", |status| status["healthy"] == true);
            gap("handover");
            cluster.kill("writer", "node");
            gap("writer's node");
            cluster.kill("primary", "postgres");
            gap("PostgreSQL primary");
            cluster.kill("etcd_leader", "etcd");
            gap("etcd leader");
            cluster.kill_at("h1", "haproxy");
            gap("HAProxy");
        }));
        stop.store(true, Ordering::Release);
        if let Err(panic) = killed {
            std::panic::resume_unwind(panic);
        }
    });
    let done = heard.into_inner().unwrap().done;
    assert!(done.len() > 100, "{} transfers are no load", done.len());
    for ids in done.chunks(1_000) {
        let found = ask(&cluster, "/v1/transfers/lookup", &json!({ "ids": ids }));
        let found = found["transfers"].as_array().unwrap();
        assert_eq!(found.len(), ids.len(), "acknowledged transfers are lost");
    }
    // Every client ended with an answer, so what is in the account is what was acknowledged, and nothing twice.
    let answer = ask(&cluster, "/v1/accounts/lookup", &json!({ "ids": [2] }));
    let credits = &answer["accounts"][0]["credits_posted"];
    assert_eq!(*credits, (5 * done.len()).to_string());
    eprintln!("{} transfers", done.len());
    let down = cluster.command("down", &[]);
    assert!(down.status.success(), "{down:?}");
}
