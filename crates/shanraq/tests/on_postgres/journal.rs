//! The real binary with its journal in a real PostgreSQL: what was acknowledged is there whatever ends the process, and
//! the data directory is worth nothing.

use crate::support::{DATABASE, World, all, run, shanraq, stdout};
use postgres_servers::SUPERUSER;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpStream;

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

#[test]
fn the_journals_tables_are_looked_after_by_a_command() {
    let world = World::start(0);
    let maintain = |arguments: &[&str]| {
        let mut command = shanraq();
        command.args(["journal", "maintain", "--json"]).args(arguments);
        let told = stdout(&run(command
            .arg("--password-file")
            .arg(world.servers.password_file())));
        serde_json::from_str::<Value>(&told).unwrap()
    };
    let url = format!(
        "postgresql://{SUPERUSER}@127.0.0.1:{}/{DATABASE}",
        world.servers.primary.port
    );
    let told = maintain(&["--url", &url]);
    assert_eq!(told["standby"], false, "{told}");
    assert_eq!(told["partitions_until"], "3000000", "{told}");
    assert_eq!(told["frozen"], 0, "{told}");
    assert!(told["xid_age"].as_u64().unwrap() > 0, "{told}");
}
