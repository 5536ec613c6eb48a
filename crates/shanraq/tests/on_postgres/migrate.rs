//! A ledger goes from a directory into PostgreSQL and back; a node serves from each, and nothing is filled twice.

use crate::support::{DATABASE, Node, World, all, run, shanraq, stdout};
use serde_json::Value;
use std::path::Path;
use std::process::{Command, Stdio};

fn migrate(world: &World, from: &str, to: &str, more: &[&str]) -> Command {
    let mut command = shanraq();
    command.args([
        "migrate",
        "--json",
        "--from",
        from,
        "--to",
        to,
        "--durability",
        "local",
    ]);
    let password = world.path("password");
    for (place, option) in [(from, "--from-password-file"), (to, "--to-password-file")] {
        if place.contains("://") {
            command.arg(option).arg(&password);
        }
    }
    command.args(more);
    command
}

fn url(world: &World) -> String {
    format!(
        "postgresql://test_writer@127.0.0.1:{}/{DATABASE}",
        world.servers.primary.port
    )
}

fn report(command: &mut Command) -> Value {
    serde_json::from_str(&stdout(&run(command))).unwrap()
}

fn refusal(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(!output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn verified(directory: &Path) -> Value {
    report(shanraq().args(["verify", "--json", "--dir"]).arg(directory))
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn end(mut node: Node) {
    node.child.kill().unwrap();
    node.child.wait().unwrap();
}

#[test]
fn a_ledger_goes_into_postgresql_and_back_with_every_hash_the_same() {
    let world = World::start(0);
    let (embedded, back, url) = (world.path("embedded"), world.path("back"), url(&world));
    let node = world.serve_embedded("embedded");
    node.open_accounts();
    for block in 0..30 {
        assert!(all(&node.pay(100 + block * 10..110 + block * 10), "created"));
    }
    assert!(
        refusal(&mut migrate(&world, text(&embedded), &url, &[])).contains("is in use"),
        "not under a running node"
    );
    end(node);

    let there = report(&mut migrate(&world, text(&embedded), &url, &[]));
    let proved = verified(&embedded);
    assert_eq!(there["height"], proved["height"]);
    assert_eq!(there["hash"], proved["hash"]);
    let again = refusal(&mut migrate(&world, text(&embedded), &url, &[]));
    assert!(
        again.contains("not empty") && again.contains("drop schema"),
        "{again}"
    );

    // A node of the cluster has the same keys.
    std::fs::copy(embedded.join("keys"), world.path("keys")).unwrap();
    let node = world.serve("member");
    assert_eq!(node.credits_of_2(), "1500");
    assert!(all(&node.pay(100..400), "exists"));
    assert!(all(&node.pay(400..410), "created"));
    end(node);

    let key_file = world.path("keys");
    let keys = ["--key-file", text(&key_file)];
    let returned = report(&mut migrate(&world, &url, text(&back), &keys));
    let proved = verified(&back);
    assert_eq!(proved["ok"], true);
    assert_eq!(returned["hash"], proved["hash"]);
    assert!(
        refusal(&mut migrate(&world, &url, text(&back), &keys)).contains("not empty"),
        "once is enough"
    );
    let node = world.serve_embedded("back");
    assert_eq!(node.credits_of_2(), "1550");
    assert!(all(&node.pay(100..410), "exists"));
    assert!(all(&node.pay(410..420), "created"));
}

#[test]
fn a_migration_that_was_killed_leaves_no_ledger_and_goes_on_when_repeated() {
    let world = World::start(0);
    let (embedded, copy) = (world.path("embedded"), world.path("copy"));
    let node = world.serve_embedded("embedded");
    node.open_accounts();
    for block in 0..300 {
        assert!(all(&node.pay(100 + block..101 + block), "created"));
    }
    end(node);
    let before = verified(&embedded);
    let mut kills = 0;
    loop {
        let mut command = migrate(&world, text(&embedded), text(&copy), &[]);
        let mut child = command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(std::time::Duration::from_millis(5 + kills * 7));
        if child.try_wait().unwrap().is_some() {
            break;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // It stands under its own name only when it is whole.
        if copy.exists() {
            break;
        }
        kills += 1;
    }
    if !copy.exists() {
        let _ = run(&mut migrate(&world, text(&embedded), text(&copy), &[]));
    }
    eprintln!("{kills} kills");
    assert!(kills > 0);
    let after = verified(&copy);
    assert_eq!(
        (&after["ok"], &after["hash"]),
        (&Value::Bool(true), &before["hash"])
    );
}

#[test]
fn what_cannot_be_migrated_is_refused_by_name() {
    let world = World::start(0);
    let (missing, target, url) = (world.path("missing"), world.path("target"), url(&world));
    let node = world.serve_embedded("embedded");
    node.open_accounts();
    end(node);
    let embedded = world.path("embedded");
    let refused = |from: &str, to: &str, more: &[&str]| refusal(&mut migrate(&world, from, to, more));
    assert!(refused(text(&missing), &url, &[]).contains("--key-file"));
    assert!(refused(&url, text(&target), &[]).contains("--key-file"));
    assert!(refused(&url, text(&target), &["--standbys", "a"]).contains("--standbys"));
    let with_password = url.replace("test_writer@", "test_writer:secret@");
    let refusal = refused(text(&embedded), &with_password, &[]);
    assert!(
        refusal.contains("password") && !refusal.contains("secret"),
        "{refusal}"
    );
    let keys = embedded.join("keys");
    let empty = refused(&url, text(&target), &["--key-file", text(&keys)]);
    assert!(empty.contains("empty"), "{empty}");
    // Other keys than the ledger's would leave what was sealed under them closed for ever.
    let other = world.path("other-keys");
    let _ = run(shanraq().args([
        "migrate",
        "--from",
        text(&embedded),
        "--to",
        text(&world.path("second")),
    ]));
    std::fs::copy(world.path("second").join("keys"), &other).unwrap();
    std::fs::write(&other, "shanraq-keys 1\n").unwrap();
    let to_other = ["--to-key-file", text(&other)];
    assert!(refused(text(&embedded), text(&target), &to_other).contains("other keys"));
    assert!(!target.exists());
}
