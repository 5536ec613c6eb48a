//! The real binary with its journal in a real PostgreSQL: what was acknowledged is there whatever ends the process, and
//! the data directory is worth nothing.

use postgres_servers::{Options, SUPERUSER, Servers};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

const DATABASE: &str = "shanraq";
/// Of the writer, in tests.
const WRITER_PASSWORD: &str = "only for tests";

/// Servers with the schema and a writer, and the files of a node.
struct World {
    servers: Servers,
    folder: tempfile::TempDir,
}

impl World {
    fn start(standbys: usize) -> Self {
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

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn configure(&self) {
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

    fn serve(&self, directory: &str) -> Node {
        let mut command = shanraq();
        command
            .args(["serve", "--json", "--listen", "127.0.0.1:0", "--config"])
            .arg(self.path("config.toml"))
            .arg("--dir")
            .arg(self.path(directory));
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        let output = child.stdout.take().unwrap();
        BufReader::new(output).read_line(&mut line).unwrap();
        let listening: Value = serde_json::from_str(&line).expect("the node serves");
        let address = listening["address"].as_str().unwrap().to_owned();
        Node { child, address }
    }
}

/// A node that is killed when dropped.
struct Node {
    child: Child,
    address: String,
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Node {
    fn post(&self, path: &str, body: &Value) -> Value {
        let body = body.to_string();
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
            self.address,
            body.len()
        );
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.write_all((head + &body).as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").expect("an HTTP answer");
        assert!(head.starts_with("HTTP/1.1 200"), "{answer}");
        serde_json::from_str(body).unwrap()
    }

    fn results(&self, path: &str, body: &Value) -> Vec<String> {
        let answer = self.post(path, body);
        let results = answer["results"].as_array().unwrap();
        let name = |result: &Value| result["result"].as_str().unwrap().to_owned();
        results.iter().map(name).collect()
    }

    fn open_accounts(&self) {
        let account = |id: u32| json!({ "id": id, "ledger": 1, "code": 10 });
        let body = json!({ "accounts": [account(1), account(2)] });
        assert_eq!(self.results("/v1/accounts", &body), ["created", "created"]);
    }

    fn pay(&self, ids: std::ops::Range<u32>) -> Vec<String> {
        let transfer = |id| json!({ "id": id, "debit_account_id": 1, "credit_account_id": 2, "amount": 5, "ledger": 1, "code": 7 });
        let transfers: Vec<_> = ids.map(transfer).collect();
        self.results("/v1/transfers", &json!({ "transfers": transfers }))
    }

    fn credits_of_2(&self) -> String {
        let answer = self.post("/v1/accounts/lookup", &json!({ "ids": [2] }));
        answer["accounts"][0]["credits_posted"]
            .as_str()
            .unwrap()
            .to_owned()
    }
}

fn shanraq() -> Command {
    Command::new(Path::new(env!("CARGO_BIN_EXE_shanraq")))
}

fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{errors}");
    output
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn all(results: &[String], name: &str) -> bool {
    results.iter().all(|result| result == name)
}

#[test]
fn what_was_acknowledged_survives_the_process_and_its_data_directory() {
    let world = World::start(0);
    let mut node = world.serve("first");
    node.open_accounts();
    for block in 0..20 {
        assert!(all(&node.pay(100 + block * 50..100 + block * 50 + 50), "created"));
    }
    node.child.kill().unwrap();
    node.child.wait().unwrap();
    // Nothing of the first directory is needed: state and history come from the journal.
    let node = world.serve("second");
    assert_eq!(node.credits_of_2(), "5000");
    assert!(all(&node.pay(100..1_100), "exists"), "every id is known");
    assert!(all(&node.pay(2_000..2_010), "created"));
    assert_eq!(node.credits_of_2(), "5050");
}

#[test]
fn an_answer_waits_for_a_standby_and_the_node_goes_on_where_it_was() {
    let world = World::start(2);
    let mut node = world.serve("node");
    node.open_accounts();
    assert!(all(&node.pay(100..400), "created"));
    node.child.kill().unwrap();
    node.child.wait().unwrap();
    let node = world.serve("node");
    assert_eq!(node.credits_of_2(), "1500");
    let on_standby = &world.servers.standbys[0];
    let blocks = "select count(distinct height) >= 4 from shanraq.journal";
    on_standby.wait_for_in(DATABASE, blocks, "t");
}

#[test]
fn a_second_writer_ends_the_first_and_both_agree_on_what_was_acknowledged() {
    let world = World::start(0);
    let mut first = world.serve("first");
    first.open_accounts();
    assert!(all(&first.pay(100..200), "created"));
    let second = world.serve("second");
    assert_eq!(second.credits_of_2(), "500");
    assert!(all(&second.pay(200..300), "created"));
    // The first learns it with its next block: it gives no answer, and ends.
    let address = first.address.clone();
    let asked = std::thread::spawn(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        let body = json!({ "transfers": [{ "id": 900, "debit_account_id": 1, "credit_account_id": 2, "amount": 5, "ledger": 1, "code": 7 }] }).to_string();
        let head = "POST /v1/transfers HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nconnection: close\r\n";
        write!(stream, "{head}content-length: {}\r\n\r\n{body}", body.len()).unwrap();
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        answer
    });
    let answer = asked.join().unwrap();
    assert!(!answer.starts_with("HTTP/1.1 200"), "{answer}");
    let status = first.child.wait().unwrap();
    assert!(!status.success(), "it does not go on as if nothing had happened");
    assert!(all(&second.pay(900..901), "created"), "nothing of it landed");
    assert_eq!(second.credits_of_2(), "1005");
}
