//! A whole cluster with ledger nodes, run by the real binary: load through both HAProxy while one process of each kind is
//! killed, one after another; then every acknowledged transfer is there exactly once, and nothing is left running.

use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Generous: the machine is shared, and what runs may be frozen for a minute.
const WITHIN: Duration = Duration::from_secs(300);
const CLIENTS: u64 = 4;

/// A cluster in a temporary directory, ended on drop; and, as it runs only while its standard input is open, when this
/// process dies.
struct Cluster {
    directory: tempfile::TempDir,
    balancers: Vec<String>,
    process: Child,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let output = self.command("down", &[]);
        eprintln!("{}", String::from_utf8_lossy(&output.stderr));
        let _ = self.process.kill();
        let _ = self.process.wait();
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
        let mut process = Command::new(env!("CARGO_BIN_EXE_shanraq"))
            .args(["cluster", "up", "--while-stdin", "--dir"])
            .arg(directory.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = process.stdout.take().unwrap();
        let mut cluster = Self {
            directory,
            balancers: Vec::new(),
            process,
        };
        // It says nothing before it is healthy, then all addresses; that of the last balancer's metrics is the last.
        let mut said = String::new();
        for line in BufReader::new(output).lines().map(Result::unwrap) {
            said += &format!("{line}\n");
            if line.contains(" API ") {
                let address = line.split_whitespace().last().unwrap();
                cluster.balancers.push(address.to_owned());
            }
            if cluster.balancers.len() == 2 && line.contains(" metrics ") {
                break;
            }
        }
        assert_eq!(cluster.balancers.len(), 2, "{said}{}", cluster.logs());
        cluster
    }

    /// Asks the primary every question in SQL that the runbooks have, as they say it, but for where a cluster on one machine keeps
    /// its sockets. Some change settings; they set right what is right here.
    fn ask_what_the_runbooks_ask(&self) {
        let host = self.status()["primary"]
            .as_str()
            .expect("there is one")
            .to_owned();
        let sockets = self.path().join(host).join("run");
        let pages = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/runbooks");
        let mut asked = 0;
        for page in std::fs::read_dir(pages).unwrap() {
            let text = std::fs::read_to_string(page.unwrap().path()).unwrap();
            for line in text.lines().filter(|line| line.starts_with("runuser ")) {
                let line = line.replace("/run/shanraq", &sockets.display().to_string());
                let output = Command::new("sh").args(["-c", &line]).output().unwrap();
                assert!(output.status.success(), "{line}: {output:?}");
                asked += 1;
            }
        }
        assert!(asked > 5, "the pages have questions: {asked}");
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

    /// Waits until the newest report of a change of the writer says that all is well again, and for one of these reasons.
    fn wait_for_report(&self, reasons: &[&str]) {
        let began = Instant::now();
        loop {
            let output = self.command("report", &["--json"]);
            let reports: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
            let newest = &reports[0];
            assert_ne!(newest["outcome"], "failed", "{newest}");
            if newest["outcome"] == "completed" && reasons.iter().any(|it| newest["reason"] == *it) {
                eprintln!("reported: {}, a gap of {} ms", newest["reason"], newest["gap_ms"]);
                return;
            }
            assert!(began.elapsed() < WITHIN, "no report of {reasons:?}: {newest}");
            std::thread::sleep(Duration::from_millis(200));
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

    /// Waits until the SQL projection shows as many transfers of 5, through PgBouncer, as a reader sees it.
    fn wait_for_tables(&self, transfers: usize) {
        let sql = "select (select count(*) from ledger.transfers), trim_scale(credits_posted) \
                   from ledger.balance(ledger.to_uuid(2))";
        let expected = format!("{transfers}|{}", 5 * transfers);
        let password = std::fs::read_to_string(self.path().join("secrets/reader")).unwrap();
        let (host, _) = self.balancers[0].split_once(':').unwrap();
        let url = format!("postgresql://shanraq_reader@{host}:6432/shanraq");
        let began = Instant::now();
        loop {
            let output = Command::new("psql")
                .args(["-X", "-t", "-A", "-q", "-w", "-c", sql, &url])
                .env("PGPASSWORD", password.trim())
                .output()
                .unwrap();
            let seen = String::from_utf8_lossy(&output.stdout).trim().to_owned();
            if seen == expected {
                eprintln!("the tables hold all: {:.1} s", began.elapsed().as_secs_f64());
                return;
            }
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(
                began.elapsed() < WITHIN,
                "the tables hold {seen} instead of {expected}: {said}{}",
                self.logs()
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// As when this process dies: the pipe closes, and nothing may be left.
    fn end_with_its_starter(mut self) {
        drop(self.process.stdin.take());
        let status = self.process.wait().unwrap();
        assert!(status.success(), "{status}");
        let left = processes_of(self.path());
        assert!(left.is_empty(), "left: {left:?}");
    }

    fn logs(&self) -> String {
        let mut text = String::new();
        for host in ["h1", "h2", "h3"] {
            for name in ["node.log", "patroni.log", "projection.log"] {
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

/// Processes whose command line or working directory is in a directory.
fn processes_of(directory: &Path) -> Vec<PathBuf> {
    let needle = directory.to_string_lossy().into_owned();
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    all.map(|entry| entry.path())
        .filter(|path| {
            let line = std::fs::read(path.join("cmdline")).unwrap_or_default();
            let works = std::fs::read_link(path.join("cwd")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains(&needle) || works.starts_with(directory)
        })
        .collect()
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
            cluster.wait_for_report(&["handed_over"]);
            gap("handover");
            cluster.kill("writer", "node");
            // The former writer may be back first, and has not heard then who wrote before, nor where.
            cluster.wait_for_report(&["lease_lost", "unknown"]);
            gap("writer's node");
            cluster.kill("primary", "postgres");
            cluster.wait_for_report(&["primary_changed", "stepped_down", "unknown"]);
            gap("PostgreSQL primary");
            cluster.kill("etcd_leader", "etcd");
            gap("etcd leader");
            cluster.kill("primary", "patroni");
            gap("Patroni of the primary");
            cluster.kill_at("h1", "haproxy");
            gap("HAProxy");
            cluster.kill_at("h1", "pgbouncer");
            gap("PgBouncer");
            cluster.kill("projection", "projection");
            gap("SQL projection");
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
    cluster.wait_for_tables(done.len());
    cluster.ask_what_the_runbooks_ask();
    cluster.end_with_its_starter();
}
