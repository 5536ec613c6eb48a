//! Sentinels on a real etcd, with a PostgreSQL and Patronis that are made up: what is done, and that each thing which
//! forbids it does.

use etcd::proto::{KeyValue, RequestOp, TxnRequest};
use sentinel::watch::{Condition, Report, Why};
use sentinel::{Sentinel, SentinelOptions};
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Far above what anything takes.
const WITHIN: Duration = Duration::from_secs(120);
const NODES: [&str; 3] = ["h1", "h2", "h3"];

/// A Patroni that always says the same, until the test changes it.
struct Patroni {
    address: String,
    says: Arc<Mutex<String>>,
}

impl Patroni {
    fn start(state: &str, role: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let says = Arc::new(Mutex::new(answer(state, role)));
        let said = says.clone();
        std::thread::spawn(move || {
            for socket in listener.incoming() {
                let Ok(mut socket) = socket else { return };
                let mut request = [0; 1024];
                let _ = socket.read(&mut request);
                let _ = socket.write_all(said.lock().unwrap().as_bytes());
            }
        });
        Self { address, says }
    }

    fn say(&self, state: &str, role: &str) {
        *self.says.lock().unwrap() = answer(state, role);
    }
}

fn answer(state: &str, role: &str) -> String {
    format!("HTTP/1.0 200 OK\r\n\r\n{{\"state\": \"{state}\", \"role\": \"{role}\", \"timeline\": 1}}")
}

/// etcd with Patroni's keys of a cluster whose primary, h1, is dead and whose standbys run.
struct World {
    etcd: etcd_servers::Servers,
    patronis: Vec<Patroni>,
}

impl World {
    fn start() -> Self {
        Self::with_etcds(1)
    }

    fn with_etcds(count: usize) -> Self {
        let patronis = vec![
            Patroni::start("crashed", "primary"),
            Patroni::start("running", "replica"),
            Patroni::start("running", "replica"),
        ];
        let world = Self {
            etcd: etcd_servers::Servers::start(count),
            patronis,
        };
        // A port that was free a moment ago: PostgreSQL is not there.
        let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        for (name, patroni) in NODES.iter().zip(&world.patronis) {
            let member = format!(
                r#"{{"conn_url":"postgres://{nobody}/postgres","api_url":"http://{}/patroni"}}"#,
                patroni.address
            );
            world.put(&format!("/service/c/members/{name}"), &member);
        }
        world.put(
            "/service/c/sync",
            r#"{"leader":"h1","quorum":1,"sync_standby":"h2,h3"}"#,
        );
        world.put("/service/c/config", r#"{"synchronous_mode":"quorum","ttl":20}"#);
        world.put("/service/c/leader", "h1");
        world
    }

    fn ask<T>(&self, ask: impl AsyncFnOnce(etcd::Client) -> T) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let endpoints = self.etcd.endpoints();
        runtime.block_on(async {
            let client = etcd::Client::new(&endpoints, Duration::from_secs(10)).unwrap();
            ask(client).await
        })
    }

    fn change(&self, change: RequestOp) {
        let request = TxnRequest {
            compare: Vec::new(),
            success: vec![change],
        };
        self.ask(async |etcd| etcd.txn("change", request).await.unwrap());
    }

    fn put(&self, key: &str, value: &str) {
        self.change(etcd::put(key, value.into(), None));
    }

    fn remove(&self, key: &str) {
        self.change(etcd::delete(key));
    }

    fn get(&self, key: &str) -> Option<KeyValue> {
        let range = etcd::one(key);
        self.ask(async |etcd| etcd.range("read", &range).await.unwrap().kvs.into_iter().next())
    }

    fn options(&self, name: &str) -> SentinelOptions {
        let nodes = NODES.iter().map(|name| (*name).into()).collect();
        SentinelOptions::new("c", name.into(), nodes, self.etcd.endpoints())
    }

    fn sentinel(&self, name: &str) -> Sentinel {
        Sentinel::start(self.options(name), || None).unwrap()
    }
}

fn wait(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < WITHIN, "waited too long for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
    eprintln!("{what}: {} ms", began.elapsed().as_millis());
}

/// Waits until a sentinel that has seen a death for a whole second says why it does nothing.
fn wait_for_reason(sentinels: &[Sentinel], why: Why) {
    let is_it = |report: Report| {
        let seen = report
            .sees
            .is_some_and(|(_, time)| time >= Duration::from_secs(1));
        seen && report.why == Some(why)
    };
    wait(&format!("{why:?}"), || {
        sentinels.iter().any(|it| is_it(it.report()))
    });
}

/// How many keys all of them together have removed.
fn keys_removed(sentinels: &[Sentinel]) -> u64 {
    sentinels.iter().map(|it| it.report().keys_removed).sum()
}

/// etcd shows a removal before the sentinel that made it has heard so.
fn wait_for_report_of_removal(sentinels: &[Sentinel]) {
    wait("a report of it", || keys_removed(sentinels) > 0);
}

#[test]
fn two_sentinels_remove_a_dead_primarys_key_once_and_not_again_for_a_while() {
    let world = World::start();
    let sentinels = [world.sentinel("h2"), world.sentinel("h3")];
    wait("the key's removal", || world.get("/service/c/leader").is_none());
    wait_for_report_of_removal(&sentinels);
    let damping = world
        .get("/shanraq/c/sentinel/damping")
        .expect("it hangs on a lease of 30 s");
    assert_ne!(damping.lease, 0);
    // The next leader is dead too.
    world.put("/service/c/leader", "h1");
    wait_for_reason(&sentinels, Why::Damped);
    assert_eq!(keys_removed(&sentinels), 1);
    assert!(world.get("/service/c/leader").is_some());
}

#[test]
fn etcds_leader_is_moved_off_the_host_of_a_primary_that_is_well() {
    let world = World::with_etcds(3);
    let led = world.etcd.leader();
    let mut options = world.options("h1");
    options.local_etcd = Some(world.etcd.endpoints()[led].clone());
    let sentinel = Sentinel::start(options, || Some(Instant::now())).unwrap();
    wait("another member to lead", || world.etcd.leader() != led);
    wait("a report of it", || sentinel.report().leaders_moved == 1);
    assert!(world.get("/service/c/leader").is_some(), "Patroni's leader stays");
}

#[test]
fn one_sentinel_alone_does_nothing() {
    let world = World::start();
    let sentinels = [world.sentinel("h2")];
    wait_for_reason(&sentinels, Why::Alone);
    assert!(world.get("/service/c/leader").is_some());
}

#[test]
fn what_stands_in_etcd_holds_the_sentinels_back_and_they_act_when_it_is_gone() {
    let world = World::start();
    let config = "/service/c/config";
    world.put("/shanraq/c/sentinel/off", "maintenance");
    let sentinels = [world.sentinel("h2"), world.sentinel("h3")];
    wait_for_reason(&sentinels, Why::Off);
    world.put(config, r#"{"synchronous_mode":"quorum","pause":true}"#);
    world.remove("/shanraq/c/sentinel/off");
    wait_for_reason(&sentinels, Why::Paused);
    world.put(config, r#"{"synchronous_mode":"quorum","failsafe_mode":true}"#);
    wait_for_reason(&sentinels, Why::Failsafe);
    world.put(
        "/service/c/sync",
        r#"{"leader":"h3","quorum":1,"sync_standby":"h1,h2"}"#,
    );
    world.put(config, r#"{"synchronous_mode":"quorum"}"#);
    wait_for_reason(&sentinels, Why::OtherElectorate);
    world.put("/service/c/failover", r#"{"leader":"h1"}"#);
    world.put(
        "/service/c/sync",
        r#"{"leader":"h1","quorum":1,"sync_standby":"h2,h3"}"#,
    );
    wait_for_reason(&sentinels, Why::ByHand);
    world.patronis[2].say("starting", "replica");
    world.remove("/service/c/failover");
    wait_for_reason(&sentinels, Why::NoQuorum);
    assert!(world.get("/service/c/leader").is_some());
    world.patronis[2].say("running", "replica");
    wait("the key's removal", || world.get("/service/c/leader").is_none());
}

#[test]
fn who_sees_appends_acknowledged_vetoes() {
    let world = World::start();
    let writer = Sentinel::start(world.options("h1"), || Some(Instant::now())).unwrap();
    // So long that the veto comes first on a machine with other things to do.
    let patient = |name| {
        let mut options = world.options(name);
        options.window_ms = 6000;
        Sentinel::start(options, || None).unwrap()
    };
    let sentinels = [patient("h2"), patient("h3")];
    wait_for_reason(&sentinels, Why::Vetoed);
    assert!(world.get("/service/c/leader").is_some());
    assert_eq!(writer.report().sees, None);
}

/// The writer that goes down with its primary, or beside it, has had its last answer less than a window ago.
#[test]
fn an_append_that_was_acknowledged_before_the_primary_died_vetoes_nothing() {
    let world = World::start();
    let last = Instant::now();
    let start = |name| {
        let mut options = world.options(name);
        options.window_ms = 6000;
        Sentinel::start(options, move || Some(last)).unwrap()
    };
    let sentinels = ["h1", "h2", "h3"].map(start);
    wait("the key's removal", || {
        assert_eq!(world.get("/shanraq/c/sentinel/veto"), None);
        world.get("/service/c/leader").is_none()
    });
    wait_for_report_of_removal(&sentinels);
}

/// A process that stands in for a postmaster: it works in a data directory, is frozen, and ends on the signal of the
/// immediate shutdown.
struct Postmaster(std::process::Child);

impl Postmaster {
    fn start(data: &Path) -> Self {
        let child = Command::new("sleep")
            .arg("600")
            .current_dir(data)
            .spawn()
            .unwrap();
        std::fs::write(data.join("postmaster.pid"), format!("{}\n", child.id())).unwrap();
        let stop = Command::new("kill")
            .args(["-STOP", &child.id().to_string()])
            .status();
        assert!(stop.unwrap().success());
        Self(child)
    }
}

impl Drop for Postmaster {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_primary_that_takes_no_sessions_is_stopped_on_its_host_and_keeps_its_key() {
    let world = World::start();
    world.patronis[0].say("running", "primary");
    let data = tempfile::tempdir().unwrap();
    let mut postmaster = Postmaster::start(data.path());
    let mut options = world.options("h1");
    options.local_postgres = Some(data.path().to_owned());
    let sentinels = [Sentinel::start(options, || None).unwrap(), world.sentinel("h2")];
    wait("the end of PostgreSQL", || {
        postmaster.0.try_wait().unwrap().is_some()
    });
    wait("a report of it", || sentinels[0].report().servers_stopped > 0);
    wait_for_reason(&sentinels, Why::NotHere);
    let sees = sentinels[1].report().sees;
    assert!(matches!(sees, None | Some((Condition::Refusing, _))), "{sees:?}");
    assert!(world.get("/service/c/leader").is_some());
    assert_eq!(sentinels[1].report().servers_stopped, 0);
}
