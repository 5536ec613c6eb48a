//! The primary's host is lost, refusing or silent, with and without the sentinel: how long until another server takes a
//! commit. By command, as it measures: `cargo test -p shanraq --test failover -- --ignored --nocapture lost_host`.

use crate::support::{Running, WITHIN};
use cluster::{HostName, Verb};
use sentinel::{Sentinel, SentinelOptions};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

const ROUNDS: usize = 3;
/// Tells a process of this program that it is the sentinel of a host.
const NAME: &str = "SHANRAQ_TEST_SENTINEL";
const ETCD: &str = "SHANRAQ_TEST_ETCD";

#[derive(Clone, Copy, Debug)]
enum Loss {
    /// All its processes are gone; its address answers that nobody is there.
    Refusing,
    /// It is frozen, and nothing of it arrives.
    Silent,
}

#[test]
#[ignore = "measures, for minutes"]
fn lost_host_with_and_without_the_sentinel() {
    let running = Running::start();
    let mut worst = Duration::ZERO;
    for watched in [true, false] {
        for loss in [Loss::Silent, Loss::Refusing] {
            let rounds = if watched { ROUNDS } else { 1 };
            for _ in 0..rounds {
                let took = lose(&running, loss, watched);
                eprintln!("{loss:?}, sentinel {watched}: {:.2} s", took.as_secs_f64());
                if watched {
                    worst = worst.max(took);
                }
            }
        }
    }
    assert!(worst < Duration::from_millis(4_500), "{worst:?}");
}

/// One loss; gives the time until another server takes a commit.
fn lose(running: &Running, loss: Loss, watched: bool) -> Duration {
    let status = running.wait("healthy", |status| status.healthy);
    running.wait_for_quorum();
    running.etcd(async |etcd| {
        let request = etcd::proto::TxnRequest {
            compare: Vec::new(),
            success: vec![etcd::delete("/shanraq/shanraq/sentinel/damping")],
        };
        etcd.txn("undo the damping", request).await.unwrap();
    });
    let lost = status.primary.clone().unwrap();
    let names: Vec<HostName> = status.hosts.iter().map(|host| host.name.clone()).collect();
    let others: Vec<&HostName> = names.iter().filter(|name| **name != lost).collect();
    eprintln!("lost: {lost}, etcd led by {:?}", status.etcd_leader);
    let sentinels = watched.then(|| Sentinels::start(running, &others));
    let (directory, topology) = (running.local.directory(), running.local.topology());
    let began = Instant::now();
    match loss {
        Loss::Refusing => running.order(Verb::Kill, &lost.0),
        Loss::Silent => {
            for other in &others {
                cluster::cut(directory, topology, &lost, other, true, false).unwrap();
            }
            running.order(Verb::Freeze, &lost.0);
        }
    }
    let took = loop {
        assert!(began.elapsed() < WITHIN, "a new primary{}", running.logs());
        let promoted = others
            .iter()
            .find(|host| running.sql(host, "select pg_is_in_recovery()") == "f");
        if let Some(host) = promoted {
            let promoted = began.elapsed();
            running.sql(host, "create table taken (); drop table taken");
            eprintln!(
                "promoted after {} ms{}",
                promoted.as_millis(),
                running.log_end(host, 25)
            );
            break began.elapsed();
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    drop(sentinels);
    cluster::heal(directory, topology).unwrap();
    running.order(Verb::Start, &lost.0);
    took
}

/// A process in the namespace of each host that is not lost.
struct Sentinels(Vec<Child>);

impl Sentinels {
    fn start(running: &Running, hosts: &[&HostName]) -> Self {
        let topology = running.local.topology();
        let port = topology.ports.etcd_client;
        let endpoints: Vec<_> = topology
            .hosts
            .iter()
            .map(|it| format!("http://{}:{port}", it.address))
            .collect();
        let processes = hosts.iter().map(|host| {
            let mut command = Command::new("ip");
            command
                .args([
                    "netns",
                    "exec",
                    &cluster::namespace(running.local.directory(), host),
                ])
                .arg(std::env::current_exe().unwrap())
                .args([
                    "--ignored",
                    "--exact",
                    "--nocapture",
                    "lost_host::the_sentinel_of_a_host",
                ])
                .env(NAME, &host.0)
                .env(ETCD, endpoints.join(","));
            command.spawn().unwrap()
        });
        Self(processes.collect())
    }
}

impl Drop for Sentinels {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Not a test: what the processes above run, until they are ended.
#[test]
#[ignore = "is started by another test"]
fn the_sentinel_of_a_host() {
    let (Ok(name), Ok(etcd)) = (std::env::var(NAME), std::env::var(ETCD)) else {
        return;
    };
    let nodes = ["h1", "h2", "h3"].map(Into::into).into();
    let etcd = etcd.split(',').map(str::to_owned).collect();
    let options = SentinelOptions::new("shanraq", name.as_str().into(), nodes, etcd);
    let sentinel = Sentinel::start(options, || None).unwrap();
    let mut last = sentinel.report();
    let began = Instant::now();
    loop {
        let report = sentinel.report();
        if (report.why, report.keys_removed) != (last.why, last.keys_removed)
            || report.trouble != last.trouble
        {
            eprintln!(
                "{} ms: sentinel of {name}: {report:?}",
                began.elapsed().as_millis()
            );
        }
        last = report;
        std::thread::sleep(Duration::from_millis(20));
    }
}
