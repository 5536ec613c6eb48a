//! What the tests share: electors on a real etcd cluster, and waiting for what must come.
#![allow(dead_code, reason = "each test binary uses a part")]

use election::{
    BootTime, ElectionError, ElectionOptions, Elector, Leadership, Member, MemberName, TermRevision,
};
use std::future::Future;
use std::time::{Duration, Instant};

/// How long anything may take before a test gives up; far above what it takes.
pub const PATIENCE: Duration = Duration::from_secs(120);

pub fn name(text: &str) -> MemberName {
    MemberName::new(text).unwrap()
}

pub fn options(endpoints: &[String], member: &str) -> ElectionOptions {
    let member = Member {
        name: name(member),
        grpc_address: format!("{member}:7400"),
        rest_address: format!("{member}:7401"),
        may_write: true,
        instance: String::new(),
    };
    let mut options = ElectionOptions::new(endpoints, "test", member).unwrap();
    // So long that a machine with other things to do does not take leadership away in the middle of a test.
    options.lease_ttl_s = 10;
    options.handover_wait_s = 10;
    options
}

pub fn start(endpoints: &[String], member: &str) -> Elector {
    Elector::start(options(endpoints, member)).unwrap()
}

/// With a lease that a test can wait for.
pub fn start_brief(endpoints: &[String], member: &str) -> Elector {
    let mut options = options(endpoints, member);
    options.lease_ttl_s = 2;
    Elector::start(options).unwrap()
}

pub fn wait(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "waited too long for {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// On an event loop of its own, as a caller would who has another than the elector.
pub fn block_on<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(work)
}

pub fn resign(elector: &Elector, to: Option<&str>) -> Result<(), ElectionError> {
    block_on(elector.resign(to.map(name)))
}

pub fn confirm(elector: &Elector) -> Result<TermRevision, ElectionError> {
    block_on(elector.confirm_leadership())
}

/// The name of whom `elector` follows, if anybody.
pub fn writer_of(elector: &Elector) -> Option<String> {
    match elector.leadership() {
        Leadership::Following { writer: Some(member) } => Some(member.name.to_string()),
        _ => None,
    }
}

/// Fails when two electors lead in the same moment. Each is asked twice, the second time after all others were asked
/// once: one and the same term in both answers spans the moment in between.
pub fn check_one_leads(electors: &[&Elector]) -> Option<usize> {
    let first: Vec<_> = electors.iter().map(|it| it.term_now()).collect();
    let now = BootTime::now();
    let second: Vec<_> = electors.iter().map(|it| it.term_now()).collect();
    let leads = |i: &usize| first[*i].is_some() && first[*i] == second[*i];
    let leaders: Vec<_> = (0..electors.len()).filter(leads).collect();
    assert!(leaders.len() <= 1, "{leaders:?} all lead at {now:?}: {first:?}");
    leaders.first().copied()
}

/// Samples until somebody leads for whom it holds.
pub fn wait_leader(electors: &[&Elector], is_wanted: impl Fn(usize) -> bool) -> usize {
    let mut found = None;
    wait("a writer", || {
        found = check_one_leads(electors).filter(|it| is_wanted(*it));
        found.is_some()
    });
    found.unwrap()
}
