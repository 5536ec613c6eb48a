//! The real binary on a real PostgreSQL, and what tests ask of it over REST.

use postgres_servers::{Options, SUPERUSER, Servers};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

pub const DATABASE: &str = "shanraq";
/// Of the writer, in tests.
const WRITER_PASSWORD: &str = "only for tests";

/// Servers with the schema and a writer, and the files of a node.
pub struct World {
    pub servers: Servers,
    folder: tempfile::TempDir,
}

impl World {
    pub fn start(standbys: usize) -> Self {
        let options = Options {
            standbys,
            ..Options::default()
        };
        let servers = Servers::start(&options);
        let _ = servers.primary.sql(&format!("create database {DATABASE}"));
        let world = Self {
            servers,
            folder: tempfile::tempdir().unwrap(),
        };
        let url = format!(
            "postgresql://{SUPERUSER}@127.0.0.1:{}/{DATABASE}",
            world.servers.primary.port
        );
        let password_file = world.servers.password_file();
        let migrate = || {
            let mut command = shanraq();
            command.args(["journal", "migrate", "--url", &url, "--password-file"]);
            run(command.arg(&password_file))
        };
        assert!(stdout(&migrate()).contains("from version 0"));
        assert!(stdout(&migrate()).contains("already"));
        let sql =
            format!("create role test_writer login password '{WRITER_PASSWORD}' in role shanraq_writer");
        let _ = world.servers.primary.sql_in(DATABASE, &sql);
        world.configure();
        world
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn configure(&self) {
        std::fs::write(self.path("password"), WRITER_PASSWORD).unwrap();
        let names: Vec<_> = self.servers.standbys.iter().map(|it| it.name.clone()).collect();
        let durability = match names.is_empty() {
            true => "durability = \"local\"".to_owned(),
            false => format!("durability = \"standbys\"\nstandbys = {names:?}"),
        };
        let config = format!(
            "[node]\nkey_file = {:?}\n[journal.postgres]\nhosts = [\"127.0.0.1:{}\"]\nuser = \"test_writer\"\npassword_file = {:?}\n{durability}\n",
            self.path("keys"),
            self.servers.primary.port,
            self.path("password"),
        );
        std::fs::write(self.path("config.toml"), config).unwrap();
    }

    pub fn serve(&self, directory: &str) -> Node {
        self.serve_with("config.toml", directory, "127.0.0.1:0")
    }

    /// Starts a member of a cluster; its directory and configuration have its name.
    pub fn serve_member(&self, name: &str, etcd: &[String]) -> Node {
        Node::start(&mut self.member(name, etcd))
    }

    /// The same with a lease that does not run out during a test.
    pub fn serve_member_with_long_lease(&self, name: &str, etcd: &[String]) -> Node {
        let mut command = self.member(name, etcd);
        let path = self.path(&format!("{name}.toml"));
        let config = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, format!("{config}lease_s = 60\n")).unwrap();
        Node::start(&mut command)
    }

    /// The same with another clock of the day, later by so many seconds; what measures time is left right.
    pub fn serve_member_shifted(&self, name: &str, etcd: &[String], seconds: i64) -> Node {
        let mut command = self.member(name, etcd);
        command
            .env("LD_PRELOAD", libfaketime())
            .env("FAKETIME", format!("{seconds:+}s"))
            .env("DONT_FAKE_MONOTONIC", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        Node::start(&mut command)
    }

    /// A member whose only ways to PostgreSQL are these ports.
    pub fn serve_member_beside(&self, name: &str, etcd: &[String], ports: &[u16]) -> Node {
        let alone = std::fs::read_to_string(self.path("config.toml")).unwrap();
        let primary = format!("\"127.0.0.1:{}\"", self.servers.primary.port);
        let hosts = ports.iter().map(|port| format!("\"127.0.0.1:{port}\""));
        let config = alone.replace(&primary, &hosts.collect::<Vec<_>>().join(", "));
        Node::start(&mut self.member_of(&config, name, etcd))
    }

    fn member(&self, name: &str, etcd: &[String]) -> Command {
        let alone = std::fs::read_to_string(self.path("config.toml")).unwrap();
        self.member_of(&alone, name, etcd)
    }

    fn member_of(&self, alone: &str, name: &str, etcd: &[String]) -> Command {
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let address = format!("127.0.0.1:{port}");
        let member = format!("[cluster]\nname = {name:?}\netcd = {etcd:?}\nadvertise = {address:?}\n");
        let config = format!("{name}.toml");
        std::fs::write(self.path(&config), format!("{alone}{member}")).unwrap();
        self.serve_command(&config, name, &address)
    }

    fn serve_with(&self, config: &str, directory: &str, listen: &str) -> Node {
        Node::start(&mut self.serve_command(config, directory, listen))
    }

    fn serve_command(&self, config: &str, directory: &str, listen: &str) -> Command {
        let mut command = shanraq();
        command
            .args(["serve", "--json", "--listen", listen, "--config"])
            .arg(self.path(config))
            .arg("--dir")
            .arg(self.path(directory));
        command
    }

    /// A node whose journal is in its directory.
    pub fn serve_embedded(&self, directory: &str) -> Node {
        let mut command = shanraq();
        command.args(["serve", "--json", "--listen", "127.0.0.1:0", "--dir"]);
        Node::start(command.arg(self.path(directory)))
    }
}

/// A node that is killed when dropped.
pub struct Node {
    pub child: Child,
    pub address: String,
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Node {
    fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        let output = child.stdout.take().unwrap();
        BufReader::new(output).read_line(&mut line).unwrap();
        let listening: Value = serde_json::from_str(&line).expect("the node serves");
        let address = listening["address"].as_str().unwrap().to_owned();
        Self { child, address }
    }

    pub fn post(&self, path: &str, body: &Value) -> Value {
        let (status, answer) = self
            .ask("POST", path, "", &body.to_string())
            .expect("an HTTP answer");
        assert_eq!(status, 200, "{answer}");
        answer
    }

    /// Status and body, or none when there is no whole answer. `header` is whole lines.
    pub fn ask(&self, method: &str, path: &str, header: &str, body: &str) -> Option<(u16, Value)> {
        ask_at(&self.address, method, path, header, body)
    }

    pub fn results(&self, path: &str, body: &Value) -> Vec<String> {
        names(&self.post(path, body))
    }

    pub fn signal(&self, name: &str) {
        run(Command::new("kill").args([format!("-{name}"), self.child.id().to_string()]));
    }

    pub fn open_accounts(&self) {
        let account = |id: u32| json!({ "id": id, "ledger": 1, "code": 10 });
        let body = json!({ "accounts": [account(1), account(2)] });
        assert_eq!(self.results("/v1/accounts", &body), ["created", "created"]);
    }

    pub fn pay(&self, ids: std::ops::Range<u32>) -> Vec<String> {
        self.results("/v1/transfers", &payments(ids))
    }

    /// The results, or none when the node gives no answer that settles it.
    pub fn try_pay(&self, ids: std::ops::Range<u32>) -> Option<Vec<String>> {
        try_pay_at(&self.address, ids)
    }

    pub fn credits_of_2(&self) -> String {
        let answer = self.post("/v1/accounts/lookup", &json!({ "ids": [2] }));
        answer["accounts"][0]["credits_posted"]
            .as_str()
            .unwrap()
            .to_owned()
    }
}

/// [`Node::ask`] at an address.
pub fn ask_at(host: &str, method: &str, path: &str, header: &str, body: &str) -> Option<(u16, Value)> {
    let mut stream = TcpStream::connect(host).ok()?;
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\nconnection: close\r\n{header}"
    );
    write!(stream, "{head}content-length: {length}\r\n\r\n{body}").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, serde_json::from_str(body).ok()?))
}

/// [`Node::try_pay`] at an address.
pub fn try_pay_at(host: &str, ids: std::ops::Range<u32>) -> Option<Vec<String>> {
    let body = payments(ids).to_string();
    let (status, answer) = ask_at(host, "POST", "/v1/transfers", "", &body)?;
    (status == 200).then(|| names(&answer))
}

/// Debian's; installed where it is missing.
fn libfaketime() -> &'static str {
    const LIBRARY: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";
    if !Path::new(LIBRARY).exists() {
        cluster::apt_install(&["libfaketime"]).unwrap();
    }
    LIBRARY
}

pub fn shanraq() -> Command {
    Command::new(Path::new(env!("CARGO_BIN_EXE_shanraq")))
}

pub fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{errors}");
    output
}

pub fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub fn all(results: &[String], name: &str) -> bool {
    results.iter().all(|result| result == name)
}

fn payments(ids: std::ops::Range<u32>) -> Value {
    let transfer = |id| json!({ "id": id, "debit_account_id": 1, "credit_account_id": 2, "amount": 5, "ledger": 1, "code": 7 });
    json!({ "transfers": ids.map(transfer).collect::<Vec<_>>() })
}

fn names(answer: &Value) -> Vec<String> {
    let results = answer["results"].as_array().unwrap();
    let name = |result: &Value| result["result"].as_str().unwrap().to_owned();
    results.iter().map(name).collect()
}
