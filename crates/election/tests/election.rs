//! Electing, resigning and handing over, against a real etcd cluster.

mod common;

use common::{
    block_on, check_one_leads, confirm, name, options, resign, start, wait, wait_leader, writer_of,
};
use election::{ElectionError, Elector, Leadership, Role};
use etcd_servers::Servers;
use std::time::Duration;

fn three(servers: &Servers) -> [Elector; 3] {
    ["a", "b", "c"].map(|it| start(&servers.endpoints(), it))
}

#[test]
fn one_of_three_wins_and_the_others_know_whom_to_follow() {
    let servers = Servers::start(3);
    let electors = three(&servers);
    let all = electors.each_ref();
    let leader = wait_leader(&all, |_| true);
    let leader_name = ["a", "b", "c"][leader];
    for (i, elector) in electors.iter().enumerate().filter(|(i, _)| *i != leader) {
        wait("followers to know", || {
            writer_of(elector).as_deref() == Some(leader_name)
        });
        assert_eq!(confirm(elector), Err(ElectionError::NotLeading), "{i}");
        assert_eq!(resign(elector, None), Err(ElectionError::NotLeading), "{i}");
    }
    let term = electors[leader].term_now().unwrap();
    assert_eq!(confirm(&electors[leader]), Ok(term));
    let many = async {
        let ask = || electors[leader].confirm_leadership();
        tokio::join!(ask(), ask(), ask())
    };
    assert_eq!(block_on(many), (Ok(term), Ok(term), Ok(term)));

    let mut present = block_on(electors[0].members()).unwrap();
    present.sort_by(|x, y| x.member.name.cmp(&y.member.name));
    let roles: Vec<_> = present
        .iter()
        .map(|it| (it.member.name.as_str(), it.role))
        .collect();
    let role = |it: &'static str| {
        if it == leader_name {
            Role::Writer
        } else {
            Role::Candidate
        }
    };
    assert_eq!(roles, ["a", "b", "c"].map(|it| (it, role(it))));
    assert_eq!(present[1].member, options(&servers.endpoints(), "b").member);
}

#[test]
fn leadership_moves_when_it_is_given_up_handed_over_or_its_holder_stops() {
    let servers = Servers::start(3);
    let mut electors = three(&servers).map(Some);
    let leader = wait_leader(&electors.each_ref().map(|it| it.as_ref().unwrap()), |_| true);
    let first = electors[leader].as_ref().unwrap().term_now().unwrap();

    // Given up: another follows.
    let all = electors.each_ref().map(|it| it.as_ref().unwrap());
    resign(all[leader], None).unwrap();
    assert_ne!(all[leader].term_now(), Some(first));
    let next = wait_leader(&all, |it| it != leader);
    let second = all[next].term_now().unwrap();
    assert!(second > first, "{second} is later than {first}");

    // Handed to one who cannot take it: nothing changes.
    let names = ["a", "b", "c"];
    for (to, reason) in [("nobody", "not there"), (names[next], "is the writer")] {
        let refused = resign(all[next], Some(to)).unwrap_err();
        assert_eq!(refused.code(), "ELE-0008");
        assert!(refused.to_string().contains(reason), "{refused}");
    }
    assert_eq!(confirm(all[next]), Ok(second));

    // Handed over, to and fro: the very next term is that of the named one.
    let mut from = next;
    for _ in 0..4 {
        let to = (from + 1) % 3;
        resign(all[from], Some(names[to])).unwrap();
        let heir = wait_leader(&all, |_| true);
        assert_eq!(names[heir], names[to]);
        from = to;
    }

    // Stopped: its lease is given up, and its name is gone from the list.
    block_on(electors[from].take().unwrap().stop());
    let rest: Vec<_> = electors.iter().flatten().collect();
    wait_leader(&rest, |_| true);
    let present = block_on(rest[0].members()).unwrap();
    assert!(
        present.iter().all(|it| it.member.name != name(names[from])),
        "{present:?}"
    );
}

#[test]
fn who_may_not_write_never_does_and_a_name_is_not_shared() {
    let servers = Servers::start(1);
    let mut observer = options(&servers.endpoints(), "o");
    observer.member.may_write = false;
    let observer = Elector::start(observer).unwrap();
    let follows_nobody = Leadership::Following { writer: None };
    wait("the observer to be there", || {
        observer.leadership() == follows_nobody
    });
    let mut brief = options(&servers.endpoints(), "a");
    brief.handover_wait_s = 1;
    let a = Elector::start(brief).unwrap();
    wait_leader(&[&observer, &a], |it| it == 1);
    let refused = resign(&a, Some("o")).unwrap_err();
    assert!(
        refused.to_string().contains("may not become the writer"),
        "{refused}"
    );
    assert!(a.is_leading_now());

    let twin = start(&servers.endpoints(), "a");
    wait("the twin to follow", || writer_of(&twin).is_some());
    resign(&a, None).unwrap();
    // The only candidate there is comes back; the twin is none while its name is another's.
    assert_eq!(wait_leader(&[&a, &twin], |_| true), 0);
    block_on(a.stop());
    wait_leader(&[&twin], |_| true);
    let mut changes = twin.changes();
    assert!(matches!(changes.current(), Leadership::Leading { .. }));
    resign(&twin, None).unwrap();
    block_on(changes.changed()).unwrap();
    assert_eq!(check_one_leads(&[&observer]), None);
    block_on(twin.stop());
    for _ in 0..2 {
        assert_eq!(block_on(changes.changed()), Err(ElectionError::Stopped));
        assert_eq!(changes.current(), Leadership::Unknown);
    }
}

#[test]
fn a_writer_whose_key_was_removed_or_taken_is_told_so_by_its_next_confirmation() {
    let servers = Servers::start(1);
    let a = start(&servers.endpoints(), "a");
    wait_leader(&[&a], |_| true);
    let term = a.term_now().unwrap();
    assert_eq!(confirm(&a), Ok(term));
    servers.remove_key("/shanraq/test/election/writer");
    // Whether it has heard of it already or not: never that term again.
    assert_ne!(confirm(&a), Ok(term));
    assert_ne!(a.term_now(), Some(term));
    wait("another term", || a.term_now().is_some_and(|it| it > term));
}

#[test]
fn a_wrong_endpoint_is_a_clear_error() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", closed.local_addr().unwrap());
    drop(closed);
    let elector = start(std::slice::from_ref(&endpoint), "a");
    let error = block_on(elector.members()).unwrap_err();
    assert_eq!(error.code(), "ELE-0002");
    assert!(error.to_string().contains(&endpoint), "{error}");
    assert_eq!(elector.leadership(), Leadership::Unknown);
    let mut wrong = options(&[endpoint], "a");
    wrong.endpoints = vec!["127.0.0.1:2379".into()];
    let error = Elector::start(wrong).err().unwrap();
    assert_eq!(error.code(), "ELE-0001");
    assert!(error.to_string().contains("`endpoints`"), "{error}");
}

#[test]
fn endpoints_of_two_clusters_are_refused() {
    let (one, other) = (Servers::start(1), Servers::start(1));
    let mut endpoints = one.endpoints();
    endpoints.extend(other.endpoints());
    let elector = start(&endpoints, "a");
    wait_leader(&[&elector], |_| true);
    drop(one);
    let error = std::cell::RefCell::new(None);
    wait("the other cluster to be noticed", || {
        let refused = block_on(elector.members()).unwrap_err();
        let is_foreign = refused.code() == "ELE-0004";
        *error.borrow_mut() = Some(refused);
        is_foreign
    });
    assert!(
        error
            .take()
            .unwrap()
            .to_string()
            .contains("different etcd clusters")
    );
    wait("it to stand down", || !elector.is_leading_now());
}

/// Who states in etcd that the writer is silent.
fn stating(servers: &Servers) -> Vec<String> {
    let keys = etcd::under("/shanraq/test/election/silences/");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let read = runtime.block_on(async {
        let client = etcd::Client::new(&servers.endpoints(), Duration::from_secs(10)).unwrap();
        client.range("read", &keys).await.unwrap()
    });
    let name = |key: &[u8]| {
        String::from_utf8_lossy(key)
            .rsplit('/')
            .next()
            .unwrap()
            .to_owned()
    };
    read.kvs.iter().map(|row| name(&row.key)).collect()
}

#[test]
fn a_writer_loses_its_place_when_a_majority_hears_nothing_of_it_and_keeps_it_when_one_does() {
    let servers = Servers::start(3);
    let names = ["a", "b", "c"];
    let electors = three(&servers);
    let all = electors.each_ref();
    let writer = wait_leader(&all, |_| true);
    let term = all[writer].term_now().unwrap();
    let (deaf, other) = ((writer + 1) % 3, (writer + 2) % 3);
    let hears = |who: usize, answered| all[who].hear(&name(names[writer]), answered);

    wait("one to state it", || {
        hears(deaf, false);
        hears(other, true);
        stating(&servers) == [names[deaf]]
    });
    // What others do about it they do as they look, which a confirmation follows.
    assert_eq!(confirm(all[writer]), Ok(term), "one alone");
    wait("it to be taken back", || {
        hears(deaf, true);
        stating(&servers).is_empty()
    });
    assert_eq!(all[writer].term_now(), Some(term));

    wait("both to end the term", || {
        hears(deaf, false);
        hears(other, false);
        all[writer].term_now() != Some(term)
    });
    assert!(all[writer].lease_left().is_some(), "its lease has not run out");
    let next = wait_leader(&all, |_| true);
    assert!(all[next].term_now() > Some(term));
}
