//! Losing etcd, or time, against a real etcd cluster.

mod common;

use common::{PATIENCE, block_on, check_one_leads, confirm, start_brief, wait, wait_leader};
use election::{BootTime, ElectionError, Elector, Leadership};
use etcd_servers::Servers;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

#[test]
fn killing_the_leader_of_etcd_leaves_one_writer_at_most_and_then_one() {
    let mut servers = Servers::start(3);
    let electors = ["a", "b", "c"].map(|it| start_brief(&servers.endpoints(), it));
    let all = electors.each_ref();
    for _ in 0..2 {
        wait_leader(&all, |_| true);
        let killed = servers.leader();
        servers.kill(killed);
        // Every sample checks that no two lead. A new leader of etcd is one that serves a read.
        let (done, is_done) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            scope.spawn(|| done.send(servers.leader()).unwrap());
            wait("etcd to have a leader", || {
                check_one_leads(&all);
                is_done.try_recv().is_ok()
            });
        });
        wait_leader(&all, |it| confirm(all[it]).is_ok());
        servers.launch(killed);
        servers.wait_healthy(killed);
    }
}

#[test]
fn an_endpoint_that_takes_the_connection_and_is_silent_is_not_waited_for() {
    let servers = Servers::start(1);
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut endpoints = vec![format!("http://{}", silent.local_addr().unwrap())];
    endpoints.extend(servers.endpoints());
    let range = etcd::one("/nothing");
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        // Whoever waits for the first one waits an hour.
        let client = etcd::Client::new(&endpoints, Duration::from_secs(3_600)).unwrap();
        for _ in 0..3 {
            let read = client.range("read", &range);
            tokio::time::timeout(PATIENCE, read).await.unwrap().unwrap();
        }
        assert_eq!(
            *client.moves().borrow(),
            1,
            "the one that answers is asked first by now"
        );
    });
}

#[test]
fn without_a_quorum_nobody_leads_and_with_it_somebody_does_again() {
    let mut servers = Servers::start(3);
    let electors = ["a", "b"].map(|it| start_brief(&servers.endpoints(), it));
    let all = electors.each_ref();
    let writer = wait_leader(&all, |_| true);
    let term = all[writer].term_now();
    servers.kill(0);
    servers.kill(1);
    for elector in all {
        wait("everybody to know that nobody knows", || {
            check_one_leads(&all);
            elector.leadership() == Leadership::Unknown
        });
    }
    assert_eq!(check_one_leads(&all), None);
    let error = confirm(all[writer]).unwrap_err();
    assert_eq!(error, ElectionError::NotLeading);
    assert_eq!(block_on(all[writer].members()).unwrap_err().code(), "ELE-0002");
    servers.launch(0);
    let again = wait_leader(&all, |_| true);
    assert!(
        all[again].term_now() > term,
        "a term that ended does not come back"
    );
}

/// A member in a process of its own; ends with this one's interest in it.
struct Process {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Process {
    /// This very test program, told to be a member.
    fn start(endpoints: &[String], member: &str) -> Self {
        // Ends with the thread that runs the test, in whatever way that ends.
        let mut child = Command::new("setpriv")
            .args(["--pdeathsig=KILL", "--"])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "a_member_in_a_process_of_its_own", "--nocapture"])
            .env(
                "ELECTION_TEST_MEMBER",
                format!("{member} {}", endpoints.join(" ")),
            )
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self { child, lines }
    }

    /// The next sample: when it was begun, and whether it said "leading".
    fn sample(&mut self) -> (BootTime, bool) {
        loop {
            let mut line = String::new();
            assert!(
                self.lines.read_line(&mut line).unwrap() > 0,
                "the member has ended"
            );
            let mut words = line.split_whitespace();
            if words.next() == Some("sample") {
                let ns = words.next().unwrap().parse().unwrap();
                return (BootTime(ns), words.next() == Some("leading"));
            }
        }
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Not a test: what [`Process`] runs. It says, over and over, when it began to ask and what the answer was.
#[test]
fn a_member_in_a_process_of_its_own() {
    let Ok(text) = std::env::var("ELECTION_TEST_MEMBER") else {
        return;
    };
    let mut words = text.split(' ').map(str::to_owned);
    let member = words.next().unwrap();
    let elector: Elector = start_brief(&words.collect::<Vec<_>>(), &member);
    let mut out = std::io::stdout().lock();
    loop {
        let begun = BootTime::now();
        let leadership = elector.leadership();
        // Both ways of asking must agree that it is over.
        let leads = elector.is_leading_now() || matches!(leadership, Leadership::Leading { .. });
        let word = if leads { "leading" } else { "not" };
        if writeln!(out, "sample {} {word}", begun.0).is_err() {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_writer_that_was_frozen_never_leads_again_in_that_term() {
    let servers = Servers::start(3);
    let mut frozen = Process::start(&servers.endpoints(), "a");
    while !frozen.sample().1 {}
    let b = start_brief(&servers.endpoints(), "b");
    frozen.signal(rustix::process::Signal::STOP);
    wait_leader(&[&b], |_| true);
    let term = b.term_now();
    assert!(term.is_some());
    let taken_over = BootTime::now();
    frozen.signal(rustix::process::Signal::CONT);
    // What it says of moments after the other had won, many of them right after it woke.
    let mut late = 0;
    while late < 1_000 {
        let (begun, leads) = frozen.sample();
        if begun >= taken_over {
            // Unless the other has lost it meanwhile.
            let is_over = b.term_now() != term;
            assert!(!leads || is_over, "leading at {begun:?}, after {taken_over:?}");
            late += 1;
        }
    }
    wait("a confirmed writer", || confirm(&b).is_ok() || frozen.sample().1);
}
