//! What the projection refuses, and what it comes back from.

mod common;

use common::{DATABASE, History, World, keys};
use journal::{Journal, LocalJournal, LocalOptions};
use postgres_servers::{Mode, Options};
use projection::{Metrics, Pace, Position, ProjectionError, Projector, ReaderSource, position, reset, run};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::cell::Cell;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use storage::FileSystem;

#[test]
fn another_journal_is_refused_and_nothing_overwritten() {
    let world = World::start();
    let (ours, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut history = History::new(ours.path(), 1, 1);
    history.grow(30);
    let mut projector = world.projector(DATABASE, &history);
    projector.step(usize::MAX).unwrap();
    // The same commands under another term, as after a restore that somebody wrote on.
    let mut other = History::new(theirs.path(), 1, 2);
    other.grow(20);
    let mut astray = world.projector(DATABASE, &other);
    assert_eq!(
        astray.step(usize::MAX).unwrap().blocks,
        0,
        "it is behind and may yet agree"
    );
    other.grow(11);
    let refused = astray.step(usize::MAX).unwrap_err();
    assert_eq!(refused.code(), "PRJ-0005", "{refused}");
    assert!(!refused.is_transient());
    world.assert_as_in(DATABASE, &history.chapters.books, "after the refusal");
    // And one that parts from ours only after what we took in.
    history.grow(5);
    projector.step(usize::MAX).unwrap();
    world.assert_as_in(DATABASE, &history.chapters.books, "going on");
}

#[test]
fn of_two_projections_each_block_is_taken_in_once() {
    let world = World::start();
    let directory = tempfile::tempdir().unwrap();
    let mut history = History::new(directory.path(), 2, 1);
    history.grow(10);
    let mut one = world.projector(DATABASE, &history);
    let mut two = world.projector(DATABASE, &history);
    one.step(usize::MAX).unwrap();
    let refused = two.step(usize::MAX).unwrap_err();
    assert!(matches!(refused, ProjectionError::Moved { .. }), "{refused}");
    world.assert_as_in(DATABASE, &history.chapters.books, "after both");
}

#[test]
fn of_projections_that_wait_for_their_turn_one_works_and_another_takes_over() {
    let world = World::start();
    let directory = tempfile::tempdir().unwrap();
    let mut history = History::new(directory.path(), 8, 1);
    history.grow(10);
    let target = world.user(DATABASE, "projection");
    let blocks = history.journal.reader();
    let pace = Pace {
        interval: Duration::from_millis(1),
        waits_for_turn: true,
        ..Pace::default()
    };
    let stopped = [AtomicBool::new(false), AtomicBool::new(false)];
    let steps = [AtomicUsize::new(0), AtomicUsize::new(0)];
    let metrics = [Arc::new(Metrics::default()), Arc::new(Metrics::default())];
    let keep = |number: usize| {
        let source = || Ok(Box::new(ReaderSource(blocks.clone())) as Box<dyn projection::Source>);
        let wait = |time: Duration| {
            std::thread::sleep(time.min(Duration::from_millis(20)));
            !stopped[number].load(Ordering::SeqCst)
        };
        let each = |_: &projection::Stepped| {
            steps[number].fetch_add(1, Ordering::SeqCst);
        };
        run(source, &target, pace, &metrics[number], wait, each).unwrap();
    };
    std::thread::scope(|scope| {
        let has_stepped = |number: usize| {
            let deadline = Instant::now() + Duration::from_secs(60);
            while steps[number].load(Ordering::SeqCst) < 5 {
                assert!(Instant::now() < deadline, "projection {number} never worked");
                std::thread::yield_now();
            }
        };
        // Whatever fails here must end both.
        let seen = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            scope.spawn(|| keep(0));
            has_stepped(0);
            scope.spawn(|| keep(1));
            let asks = "select count(*) from pg_stat_activity where application_name = 'shanraq projection' \
                        and query like '%pg_try_advisory_lock%'";
            world.servers.primary.wait_for_in(DATABASE, asks, "1");
            assert_eq!(steps[1].load(Ordering::SeqCst), 0, "the other one has the turn");
            assert!(metrics[0].render().contains("shanraq_projection_active 1\n"));
            assert!(metrics[1].render().contains("shanraq_projection_active 0\n"));
            stopped[0].store(true, Ordering::SeqCst);
            has_stepped(1);
            assert!(metrics[1].render().contains("shanraq_projection_active 1\n"));
        }));
        stopped.iter().for_each(|it| it.store(true, Ordering::SeqCst));
        seen.unwrap();
    });
    world.assert_as_in(DATABASE, &history.chapters.books, "after both");
}

#[test]
fn a_server_that_takes_the_connection_and_is_silent_is_passed_over() {
    let world = World::start();
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let mut target = world.user(DATABASE, "projection");
    target.connect_timeout = Duration::from_millis(500);
    let real = std::mem::replace(&mut target.hosts, vec![("127.0.0.1".to_owned(), port)]);
    let refused = position(&target).unwrap_err();
    assert_eq!(refused.code(), "PRJ-0013", "{refused}");
    assert!(refused.is_transient() && refused.to_string().contains(&port.to_string()));
    target.hosts.extend(real);
    target.connect_timeout = Duration::from_secs(5);
    assert_eq!(position(&target).unwrap().height.0, 0);
}

#[test]
fn of_two_servers_that_take_writes_the_tables_of_the_later_timeline_are_moved() {
    let world = World::with(Options {
        standbys: 1,
        ..Options::default()
    });
    let promoted = &world.servers.standbys[0];
    world.servers.set("synchronous_standby_names", "");
    let written = world.sql("select pg_current_wal_flush_lsn()");
    promoted.wait_for(&format!("select pg_last_wal_replay_lsn() >= '{written}'"), "t");
    let _ = promoted.sql("select pg_promote()");
    let _ = promoted.sql_in(DATABASE, "update ledger.position set transfers = 77");
    let mut target = world.user(DATABASE, "projection");
    target.hosts.push(("127.0.0.1".to_owned(), promoted.port));
    assert_eq!(position(&target).unwrap().transfers, 77);
    target.hosts.reverse();
    assert_eq!(position(&target).unwrap().transfers, 77, "in whatever order");
}

#[test]
fn a_rebuild_under_a_running_projection_ends_with_everything_in_the_tables() {
    let world = World::start();
    let directory = tempfile::tempdir().unwrap();
    let mut history = History::new(directory.path(), 4, 1);
    history.grow(60);
    let target = world.user(DATABASE, "projection");
    let metrics = Arc::new(Metrics::default());
    let blocks = history.journal.reader();
    let pace = Pace {
        interval: Duration::from_millis(1),
        step_rows: 50,
        ..Pace::default()
    };
    let mut resets = 2;
    let is_level = Cell::new(false);
    let source = || Ok(Box::new(ReaderSource(blocks.clone())) as Box<dyn projection::Source>);
    run(
        source,
        &target,
        pace,
        &metrics,
        |_| !is_level.get(),
        |stepped| {
            is_level.set(stepped.position.height == stepped.head);
            if resets > 0 && stepped.position.height.0 > 20 {
                resets -= 1;
                reset(&target).unwrap();
            }
        },
    )
    .unwrap();
    world.assert_as_in(DATABASE, &history.chapters.books, "after two rebuilds");
    let text = metrics.render();
    assert!(text.contains("shanraq_projection_height 60\n"), "{text}");
    assert!(text.contains("shanraq_projection_lag_blocks 0\n"), "{text}");
    assert!(text.contains("shanraq_projection_failures_total 2\n"), "{text}");
}

#[test]
fn tables_that_were_tampered_with_stop_the_projection() {
    let world = World::start();
    let directory = tempfile::tempdir().unwrap();
    let mut history = History::new(directory.path(), 5, 1);
    history.grow(20);
    world.projector(DATABASE, &history).step(usize::MAX).unwrap();
    let source = || Box::new(ReaderSource(history.journal.reader()));
    let target = world.user(DATABASE, "projection");
    let _ = world.sql(
        "delete from ledger.accounts where id = (select debit_account_id from ledger.transfers limit 1)",
    );
    let refused = Projector::open(source(), &target, Arc::default()).err().unwrap();
    assert_eq!(refused.code(), "PRJ-0011", "{refused}");
    reset(&target).unwrap();
    world.projector(DATABASE, &history).step(usize::MAX).unwrap();
    world.assert_as_in(DATABASE, &history.chapters.books, "after the rebuild");
}

#[test]
fn roles_do_what_they_must_and_no_more() {
    let world = World::start();
    let directory = tempfile::tempdir().unwrap();
    let mut history = History::new(directory.path(), 6, 1);
    history.grow(10);
    world.projector(DATABASE, &history).step(usize::MAX).unwrap();
    let as_role = |role: &str, sql: &str| {
        let sql = format!("set role {role}; {sql}");
        world.servers.primary.try_sql(DATABASE, &sql)
    };
    for table in [
        "accounts",
        "transfers",
        "open_pendings",
        "ledgers",
        "position",
        "entries",
        "height",
    ] {
        let count = format!("select count(*) >= 0 from ledger.{table}");
        assert_eq!(
            as_role("shanraq_projection_reader", &count).as_deref(),
            Ok("t"),
            "{table}"
        );
        let delete = format!("delete from ledger.{table}");
        let denied = as_role("shanraq_projection_reader", &delete).unwrap_err();
        assert!(
            denied.contains("permission denied") || denied.contains("cannot delete"),
            "{denied}"
        );
    }
    for forbidden in [
        "delete from ledger.transfers",
        "update ledger.transfers set amount = 0",
        "delete from ledger.accounts",
        "drop table ledger.accounts",
        "delete from ledger.position",
        "update ledger.layout set partition_s = 1",
        "create table ledger.mine ()",
    ] {
        let denied = as_role("shanraq_projection", forbidden).unwrap_err();
        assert!(
            denied.contains("permission denied") || denied.contains("must be owner"),
            "{forbidden}: {denied}"
        );
    }
    for function in ["ledger.reset()", "ledger.ensure_partition(1)"] {
        let denied = as_role("shanraq_projection_reader", &format!("select {function}")).unwrap_err();
        assert!(denied.contains("permission denied"), "{denied}");
    }
}

/// Where the child finds its journal and its server; without it, it is no child.
const CHILD: &str = "SHANRAQ_PROJECTION_TEST_CHILD";

#[test]
fn child_that_projects_until_it_is_killed() {
    let Ok(words) = std::env::var(CHILD) else {
        return;
    };
    let (directory, port) = words.rsplit_once(' ').unwrap();
    let journal = reopen(Path::new(directory));
    let target = projection::ServerOptions {
        password: Some(projection::Secret::new(common::TEST_PASSWORD)),
        ..projection::ServerOptions::new("127.0.0.1", port.parse().unwrap(), DATABASE, "test_projection")
    };
    let source = Box::new(ReaderSource(journal.reader()));
    let mut projector = Projector::open(source, &target, Arc::default()).unwrap();
    while projector.step(1).unwrap().blocks > 0 {}
}

fn reopen(directory: &Path) -> LocalJournal {
    let options = LocalOptions {
        segment_bytes: 1 << 20,
        ..LocalOptions::default()
    };
    LocalJournal::open(Arc::new(FileSystem), directory, keys(), options)
        .unwrap()
        .0
}

/// A process that is killed when dropped.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_projection_killed_at_any_moment_goes_on_where_the_tables_are() {
    let mut world = World::start();
    let directory = tempfile::tempdir().unwrap();
    let mut history = History::new(directory.path(), 7, 1);
    history.grow(900);
    let (books, head) = (history.chapters.books.clone(), history.journal.head().height);
    drop(history);
    let seed = 11;
    eprintln!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let looking = world.user(DATABASE, "projection_reader");
    let mut last: Option<Position> = None;
    for round in 0.. {
        assert!(round < 200, "it comes to no end");
        let words = format!("{} {}", directory.path().display(), world.servers.primary.port);
        let mut child = Killed(
            Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "child_that_projects_until_it_is_killed"])
                .env(CHILD, words)
                .stdout(Stdio::null())
                .spawn()
                .unwrap(),
        );
        let goal = last.map_or(0, |it| it.height.0) + random.random_range(1..120);
        let deadline = Instant::now() + Duration::from_secs(120);
        let reached = loop {
            let stands = position(&looking).unwrap();
            if stands.height.0 >= goal || stands.height == head || child.0.try_wait().unwrap().is_some() {
                break stands;
            }
            assert!(Instant::now() < deadline, "it stands at {}", stands.height);
        };
        drop(child);
        if random.random_ratio(1, 3) {
            // The last steps may be lost with the server, all of each.
            world.servers.primary.stop(Mode::Crash);
            world.servers.primary.start();
        }
        last = Some(reached);
        if position(&looking).unwrap().height == head {
            assert!(round >= 3, "it was killed on its way");
            break;
        }
    }
    world.assert_as_in(DATABASE, &books, &format!("seed {seed}"));
}
