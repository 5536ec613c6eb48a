//! Commits whose wait for the standbys was cut short: cancelled, terminated, shut down, crashed, given up. PostgreSQL
//! answers some of them with success. None may count, and all must be settled by the next term.

mod common;

use common::proxy::Proxy;
use common::{WAITING, World, Writer, is_as_written, wait_until};
use journal::{AppendError, BlockReader as _, Head, Journal as _, WriterId};
use journal_postgres::PostgresJournal;
use ledger::{Height, TimestampNs};
use postgres_servers::Mode;
use std::thread::JoinHandle;

/// A block under way while no standby answers.
struct Stuck {
    append: JoinHandle<(Writer, Result<Head, AppendError>)>,
}

impl Stuck {
    /// Appends a block at height 4 that its server commits, but no standby hears of.
    fn begin(world: &World, mut writer: Writer) -> Self {
        writer.fill(3);
        // So that the reader has a session that what follows may break.
        writer.journal.reader().read(Height(3)).unwrap();
        world.freeze_standbys();
        let append = std::thread::spawn(move || {
            let appended = writer.append(1);
            (writer, appended)
        });
        world.wait_until_a_commit_waits();
        Self { append }
    }

    /// The append comes back, though no standby answers.
    fn end(self) -> (Writer, Result<Head, AppendError>) {
        wait_until("the append's end", || self.append.is_finished());
        self.append.join().unwrap()
    }

    /// The append comes back as unknown, for the reason with this code.
    fn ends_as_unknown(self, code: &str) -> PostgresJournal {
        let (mut writer, appended) = self.end();
        assert!(matches!(appended, Err(AppendError::Unknown)), "{appended:?}");
        let why = writer.journal.stopped_by().expect("it tells why");
        assert_eq!(why.code(), code, "{why}");
        assert_eq!(writer.journal.unsettled().unwrap().0, Height(4));
        assert_eq!(writer.journal.head().height, Height(3));
        assert_eq!(
            writer.journal.reader().head(),
            Height(3),
            "nobody may read it yet"
        );
        assert!(
            matches!(writer.append(1), Err(AppendError::Unknown)),
            "nothing is taken before the next term"
        );
        writer.journal
    }
}

/// The next term settles it: the block stands, whole, below the epoch block, or it never was.
fn settle(world: &World, journal: &mut PostgresJournal) -> bool {
    let (height, hash) = journal.unsettled().unwrap();
    let term = journal.begin_term(WriterId(1_000), TimestampNs(1)).unwrap();
    assert_eq!(term.epoch, 2);
    let reader = journal.reader();
    let stands = reader.read(height).unwrap().hash == hash;
    let expected = if stands { 5 } else { 4 };
    assert_eq!(journal.head().height, Height(expected));
    let blocks: Vec<_> = reader.scan(Height(1)).map(Result::unwrap).collect();
    assert_eq!(blocks.len() as u64, expected);
    assert_eq!(blocks.last().unwrap().writer, WriterId(1_000));
    if stands {
        assert!(is_as_written(&blocks[3], 1));
    }
    let mut writer = Writer {
        journal: world.open(),
        term,
    };
    assert_eq!(
        writer.journal.reader().head(),
        Height(expected - if stands { 2 } else { 1 })
    );
    assert!(
        writer.append(1).is_err(),
        "a term belongs to the journal that began it"
    );
    stands
}

#[test]
fn a_cancelled_wait_is_unknown_though_the_server_answers_success() {
    let world = World::start(2);
    let proxy = Proxy::start(world.servers.primary.port);
    let mut options = world.options();
    options.connect.hosts[0].1 = proxy.port;
    let mut journal = PostgresJournal::open(options, common::keys()).unwrap();
    let term = journal.begin_term(WriterId(7), TimestampNs(1)).unwrap();
    let stuck = Stuck::begin(&world, Writer { journal, term });
    proxy.forget();
    let _ = world.sql("select pg_cancel_backend(pid) from pg_stat_activity where wait_event = 'SyncRep'");
    let mut journal = stuck.ends_as_unknown("PGJ-0004");
    let said = proxy.said();
    assert!(
        said.starts_with("2CNZ"),
        "bound, complete, then the warning, then ready: {said}"
    );
    world.wait_for("select count(*) from shanraq.journal where height = 4", "1");
    let outsider = world.reader();
    assert_eq!(
        outsider.head(),
        Height(3),
        "block 4 shows that 3 was final, and nothing shows that of 4"
    );
    let tentative: Vec<_> = outsider
        .tentative()
        .unwrap()
        .iter()
        .map(|block| block.height.0)
        .collect();
    assert_eq!(tentative, [4]);
    world.thaw_standbys();
    assert!(settle(&world, &mut journal), "it was visible, and so it stays");
    assert_eq!(outsider.refresh().unwrap(), Height(3));
}

#[test]
fn a_terminated_backend_is_unknown() {
    let world = World::start(2);
    let stuck = Stuck::begin(&world, world.writer(7));
    let _ = world.sql("select pg_terminate_backend(pid) from pg_stat_activity where wait_event = 'SyncRep'");
    let (writer, appended) = stuck.end();
    assert!(matches!(appended, Err(AppendError::Unknown)), "{appended:?}");
    let mut journal = writer.journal;
    let code = journal.stopped_by().unwrap().code();
    assert!(["PGJ-0003", "PGJ-0004"].contains(&code), "{code}");
    world.thaw_standbys();
    assert!(settle(&world, &mut journal));
}

#[test]
fn a_fast_shutdown_under_the_commit_is_unknown() {
    let mut world = World::start(2);
    let stuck = Stuck::begin(&world, world.writer(7));
    world.servers.primary.begin_fast_shutdown();
    let (writer, appended) = stuck.end();
    assert!(matches!(appended, Err(AppendError::Unknown)), "{appended:?}");
    world.thaw_standbys();
    world.servers.primary.stop(Mode::Fast);
    world.servers.primary.start();
    let mut journal = writer.journal;
    settle(&world, &mut journal);
}

#[test]
fn a_crash_under_the_commit_is_unknown() {
    let mut world = World::start(2);
    let stuck = Stuck::begin(&world, world.writer(7));
    world.servers.primary.stop(Mode::Crash);
    let mut journal = stuck.ends_as_unknown("PGJ-0003");
    assert!(
        matches!(
            journal.begin_term(WriterId(8), TimestampNs(1)),
            Err(AppendError::SteppedDown)
        ),
        "nobody is there to begin a term with"
    );
    world.thaw_standbys();
    world.servers.primary.start();
    // Which block was under way is for the node to remember beyond a term that did not begin.
    assert!(journal.unsettled().is_none());
    let term = journal.begin_term(WriterId(9), TimestampNs(1)).unwrap();
    assert_eq!(
        journal.reader().scan(Height(1)).filter(Result::is_ok).count() as u64,
        journal.head().height.0
    );
    let mut writer = Writer { journal, term };
    writer.append(1).unwrap();
}

#[test]
fn an_append_that_was_given_up_is_unknown_and_may_still_land() {
    let world = World::start(2);
    let writer = world.writer(7);
    let abort = writer.journal.abort_handle();
    let stuck = Stuck::begin(&world, writer);
    abort.abort();
    let mut journal = stuck.ends_as_unknown("PGJ-0011");
    assert_eq!(
        world.sql(WAITING),
        "1",
        "no cancel was sent: its commit goes on waiting"
    );
    assert_eq!(
        world.sql("select count(*) from shanraq.journal where height = 4"),
        "0",
        "and nobody sees it"
    );
    world.thaw_standbys();
    world.wait_for("select count(*) from shanraq.journal where height = 4", "1");
    assert!(settle(&world, &mut journal), "it landed late");
}

#[test]
fn names_emptied_under_the_commit_make_it_unknown_though_no_warning_comes() {
    let world = World::start(2);
    let stuck = Stuck::begin(&world, world.writer(7));
    // Releases all who wait, as if a standby had answered.
    world.servers.set("synchronous_standby_names", "");
    let mut journal = stuck.ends_as_unknown("PGJ-0014");
    world.wait_for("select count(*) from shanraq.journal where height = 4", "1");
    world.servers.set("synchronous_standby_names", "ANY 1 (pg2,pg3)");
    world.thaw_standbys();
    assert!(settle(&world, &mut journal));
}

#[test]
fn a_warning_counts_in_every_language_and_whatever_the_role_was_told() {
    let mut world = World::start(2);
    assert!(
        world.servers.speak_german(),
        "the German locale and PostgreSQL's German messages are there (localedef, postgres-15.mo)"
    );
    // What would hide the warning, and what would cause more of them.
    for setting in [
        "client_min_messages = error",
        "statement_timeout = 60000",
        "lock_timeout = 60000",
        "default_transaction_isolation = serializable",
    ] {
        let _ = world.sql(&format!("alter role test_writer set {setting}"));
    }
    let stuck = Stuck::begin(&world, world.writer(7));
    let _ = world.sql("select pg_cancel_backend(pid) from pg_stat_activity where wait_event = 'SyncRep'");
    let journal = stuck.ends_as_unknown("PGJ-0004");
    let text = journal.stopped_by().unwrap().to_string();
    assert!(text.contains("synchrone Replikation"), "{text}");
}

#[test]
fn no_reply_leaves_before_a_standby_of_the_topology_has_flushed() {
    let world = World::start(2);
    let stuck = Stuck::begin(&world, world.writer(7));
    assert!(!stuck.append.is_finished());
    world.thaw_standbys();
    let (mut writer, appended) = stuck.end();
    assert_eq!(appended.unwrap().height, Height(4));

    // Now somebody else may confirm the commit in their place: the server is content with it, we are not.
    let _stranger = world.servers.stranger("stranger");
    world
        .servers
        .set("synchronous_standby_names", "ANY 1 (pg2,pg3,stranger)");
    writer.append(1).unwrap();
    world.freeze_standbys();
    let append = std::thread::spawn(move || {
        let appended = writer.append(1);
        (writer, appended)
    });
    world.wait_for("select count(*) from shanraq.journal where height = 6", "1");
    std::thread::sleep(std::time::Duration::from_millis(100));
    assert!(
        !append.is_finished(),
        "it is committed, but only a stranger has it"
    );
    world.thaw_standbys();
    let (writer, appended) = append.join().unwrap();
    assert_eq!(appended.unwrap().height, Height(6));
    wait_until("the reader's head", || {
        writer.journal.reader().head() == Height(6)
    });
}
