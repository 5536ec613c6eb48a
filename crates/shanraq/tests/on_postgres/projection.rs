//! `shanraq projection` beside a node: the tables follow, say how far they are, and are made anew by one command.

use crate::support::{DATABASE, World, all, run, shanraq, stdout};
use postgres_servers::SUPERUSER;
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn configure(world: &World) {
    let port = world.servers.primary.port;
    let sql = "create role test_projection login password 'only for tests' in role shanraq_projection";
    let _ = world.servers.primary.sql_in(DATABASE, sql);
    let names: Vec<_> = world.servers.standbys.iter().map(|it| it.name.clone()).collect();
    let server = format!(
        "hosts = [\"127.0.0.1:{port}\"]\ndatabase = {DATABASE:?}\nuser = \"test_projection\"\npassword_file = {:?}\n",
        world.path("password")
    );
    let config = format!(
        "key_file = {:?}\nmetrics = \"127.0.0.1:0\"\n[journal.postgres]\n{server}durability = \"standbys\"\n\
         standbys = {names:?}\n[target]\n{server}[pace]\ninterval_ms = 20\n",
        world.path("keys")
    );
    std::fs::write(world.path("projection.toml"), config).unwrap();
}

fn projection(world: &World, words: &[&str]) -> Command {
    let mut command = shanraq();
    command
        .arg("projection")
        .args(words)
        .arg("--config")
        .arg(world.path("projection.toml"));
    command
}

fn status(world: &World) -> Value {
    serde_json::from_str(&stdout(&run(&mut projection(world, &["status", "--json"])))).unwrap()
}

#[test]
fn the_tables_follow_a_node_through_kills_and_are_made_anew_by_one_command() {
    let world = World::start(2);
    let url = format!(
        "postgresql://{SUPERUSER}@127.0.0.1:{}/{DATABASE}",
        world.servers.primary.port
    );
    let migrate = || {
        let mut command = shanraq();
        command.args(["projection", "migrate", "--url", &url, "--password-file"]);
        stdout(&run(command.arg(world.servers.password_file())))
    };
    assert!(migrate().contains("from version 0"));
    assert!(migrate().contains("already"));
    let node = world.serve("node");
    configure(&world);
    node.open_accounts();
    let credits = "select trim_scale(credits_posted) from ledger.balance(ledger.to_uuid(2))";
    for round in 0..5 {
        assert!(all(&node.pay(100 + round * 100..200 + round * 100), "created"));
        let mut child = projection(&world, &["run", "--json"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = child.stdout.take().unwrap();
        let child = Killed(child);
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line).unwrap();
        let running: Value = serde_json::from_str(&line).unwrap();
        assert!(all(&node.pay(5_000 + round..5_001 + round), "created"));
        // The very last transfer, with nothing behind it.
        let expected = ((round + 1) * 505).to_string();
        world.servers.primary.wait_for_in(DATABASE, credits, &expected);
        let metrics = get(running["metrics"].as_str().unwrap(), "/metrics");
        assert!(metrics.contains("shanraq_projection_lag_blocks"), "{metrics}");
        drop(child);
    }
    let before = status(&world);
    assert_eq!(
        (&before["lag_blocks"], &before["transfers"]),
        (&0.into(), &505.into())
    );
    let refused = projection(&world, &["rebuild"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&refused.stderr).contains("--yes"));
    let _ = run(&mut projection(&world, &["rebuild", "--yes"]));
    // The last block may still have waited for a standby when the rebuild ended; who runs takes it in.
    let running = Killed(projection(&world, &["run"]).spawn().unwrap());
    let rows = "select transfers from ledger.position";
    world.servers.primary.wait_for_in(DATABASE, rows, "505");
    drop(running);
    assert_eq!(status(&world), before);
    let totals = "select sum(debits_posted) = sum(credits_posted) and sum(debits_posted) = 2525 from ledger.trial_balance(1)";
    assert_eq!(world.servers.primary.sql_in(DATABASE, totals), "t");
}

fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn the_ledger_of_a_directory_is_projected_too() {
    let world = World::start(0);
    let url = format!(
        "postgresql://{SUPERUSER}@127.0.0.1:{}/{DATABASE}",
        world.servers.primary.port
    );
    let mut command = shanraq();
    command.args(["projection", "migrate", "--url", &url, "--password-file"]);
    let _ = run(command.arg(world.servers.password_file()));
    let mut node = world.serve_embedded("embedded");
    node.open_accounts();
    assert!(all(&node.pay(100..150), "created"));
    configure(&world);
    let target = std::fs::read_to_string(world.path("projection.toml")).unwrap();
    let (_, target) = target.split_once("[target]").unwrap();
    let config = format!(
        "[journal]\ndirectory = {:?}\n[target]{target}",
        world.path("embedded")
    );
    std::fs::write(world.path("projection.toml"), config).unwrap();
    let refused = projection(&world, &["run"]).output().unwrap();
    assert!(
        String::from_utf8_lossy(&refused.stderr).contains("is in use"),
        "{refused:?}"
    );
    node.child.kill().unwrap();
    node.child.wait().unwrap();
    let _ = run(&mut projection(&world, &["run"]));
    let rows = "select count(*) from ledger.transfers";
    assert_eq!(world.servers.primary.sql_in(DATABASE, rows), "50");
}
