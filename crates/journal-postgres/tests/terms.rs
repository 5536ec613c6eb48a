//! One writer at a time: settings, gaps, conflicts, and how the next term begins.

mod common;

use common::{World, Writer, is_as_written, keys};
use journal::{AppendError, Block, Journal as _, Term, WriterId};
use journal_postgres::{PostgresError, PostgresJournal};
use ledger::{Height, TimestampNs};

const COUNT: &str = "select count(*) from shanraq.journal";

#[track_caller]
fn assert_stepped_down(writer: &Writer, appended: Result<journal::Head, AppendError>, code: &str) {
    assert!(matches!(appended, Err(AppendError::SteppedDown)), "{appended:?}");
    let why = writer.journal.stopped_by().expect("it tells why");
    assert_eq!(why.code(), code, "{why}");
    assert_eq!(writer.journal.unsettled(), None, "surely nothing was written");
}

#[test]
fn settings_under_which_a_commit_proves_nothing_are_refused_and_nothing_is_written() {
    let world = World::start(2);
    let good = "ANY 1 (pg2,pg3)";
    let mut count = 0;
    for (name, bad, value) in [
        ("synchronous_standby_names", "", good),
        ("synchronous_standby_names", "*", good),
        ("synchronous_standby_names", "ANY 1 (*)", good),
        ("synchronous_standby_names", "FIRST 1 (pg2, \"*\")", good),
        ("synchronous_commit", "off", "on"),
        ("synchronous_commit", "local", "on"),
        ("synchronous_commit", "remote_write", "on"),
    ] {
        let mut writer = world.writer(count + 1);
        writer.append(1).unwrap();
        count += 1;
        world.servers.set(name, bad);
        let appended = writer.append(1);
        assert_stepped_down(&writer, appended, "PGJ-0005");
        assert_eq!(world.sql(COUNT), (2 * count).to_string(), "{name} = {bad}");
        let begun = writer.journal.begin_term(WriterId(99), TimestampNs(1));
        assert!(
            matches!(begun, Err(AppendError::SteppedDown)),
            "{name} = {bad}: {begun:?}"
        );
        assert_eq!(world.sql(COUNT), (2 * count).to_string(), "{name} = {bad}");
        world.servers.set(name, value);
    }
}

#[test]
fn one_server_alone_must_be_asked_for() {
    let world = World::start(0);
    let mut writer = world.writer(1);
    writer.append(1).unwrap();
    let mut options = world.options();
    options.durability = journal_postgres::Durability::any_of(["pg2"]);
    let mut journal = PostgresJournal::open(options, keys()).unwrap();
    let begun = journal.begin_term(WriterId(2), TimestampNs(1));
    assert!(matches!(begun, Err(AppendError::SteppedDown)), "{begun:?}");
    assert_eq!(journal.stopped_by().unwrap().code(), "PGJ-0005");
    assert_eq!(world.sql(COUNT), "2");
}

#[test]
fn of_two_writers_at_one_height_the_one_whose_claim_is_gone_steps_down() {
    let world = World::start(2);
    let mut first = world.writer(1);
    first.fill(3);
    let mut second = world.writer(2);
    let appended = first.append(1);
    assert_stepped_down(&first, appended, "PGJ-0010");
    let again = first.append(1);
    assert_stepped_down(&first, again, "PGJ-0010");
    assert_eq!(second.append(1).unwrap().height, Height(5));
    assert_eq!(world.sql(COUNT), "5");
}

#[test]
fn a_block_is_written_only_after_the_very_block_that_its_writer_saw() {
    let world = World::start(2);
    // Another block of the same height, as a standby that was promoted without ours would have it.
    for change in [
        "update shanraq.journal set writer = gen_random_uuid() where height = 3",
        "update shanraq.journal set epoch = epoch + 1 where height = 3",
        // None at all: a gap.
        "delete from shanraq.journal where height = 3",
    ] {
        let _ = world.sql("delete from shanraq.journal");
        let mut writer = world.writer(1);
        writer.fill(3);
        let _ = world.sql(change);
        let appended = writer.append(1);
        assert_stepped_down(&writer, appended, "PGJ-0010");
        assert_eq!(
            world.sql("select count(*) from shanraq.journal where height = 4"),
            "0",
            "{change}"
        );
    }
}

#[test]
fn a_block_that_stands_is_never_overwritten() {
    let world = World::start(2);
    let mut writer = world.writer(1);
    writer.fill(3);
    let copy = "insert into shanraq.journal select shard, height + 1, chunk, epoch + 1, gen_random_uuid(), bytes \
                from shanraq.journal where height = 3";
    let _ = world.sql(copy);
    let digest = "select md5(string_agg(j::text, ',' order by height, chunk)) from shanraq.journal j";
    let before = world.sql(digest);
    for count in [1, 1_000] {
        let appended = writer.append(count);
        assert!(matches!(appended, Err(AppendError::SteppedDown)), "{appended:?}");
        assert_eq!(world.sql(digest), before);
    }
}

#[test]
fn a_busy_writer_does_not_starve_the_next_term() {
    let world = World::start(2);
    let mut writer = world.writer(1);
    for id in 2..8 {
        let busy = std::thread::spawn(move || {
            let mut finals = 0;
            loop {
                match writer.append(1) {
                    Ok(_) => finals += 1,
                    Err(AppendError::SteppedDown) => return finals,
                    Err(other) => panic!("{other}"),
                }
            }
        });
        writer = world.writer(id);
        let _ = busy.join().unwrap();
        assert_eq!(u128::from(writer.term.epoch), id);
    }
    writer.append(1).unwrap();
    let reader = writer.journal.reader();
    let blocks: Vec<_> = reader.scan(Height(1)).map(Result::unwrap).collect();
    assert_eq!(blocks.len() as u64, writer.journal.head().height.0);
}

/// Holds the inserts of one term up after they have looked at claim and predecessor.
struct Hold<'a> {
    world: &'a World,
    term: u64,
}

const HELD: &str = "select count(*) from pg_stat_activity where wait_event = 'PgSleep'";
const BLOCKED: &str = "select count(*) from pg_stat_activity where wait_event = 'advisory'";

impl Hold<'_> {
    fn prepare(world: &World) {
        let _ = world.sql(
            "create function hold() returns trigger language plpgsql as \
             $$ begin perform pg_advisory_xact_lock_shared(new.epoch); return new; end $$; \
             create trigger hold before insert on shanraq.journal for each row execute function hold()",
        );
    }

    /// Until released.
    fn hold(&self) {
        let sql = format!("select pg_advisory_lock({}), pg_sleep(600)", self.term);
        let _ = self.world.servers.primary.try_sql(common::DATABASE, &sql);
    }

    fn release(&self) {
        let _ = self.world.sql(&format!(
            "select pg_terminate_backend(pid) from pg_locks \
             where locktype = 'advisory' and objid = {} and mode = 'ExclusiveLock'",
            self.term
        ));
    }
}

#[test]
fn a_claim_stops_the_writer_before_it_even_before_the_epoch_block_stands() {
    let world = World::start(2);
    let mut first = world.writer(1);
    first.fill(3);
    Hold::prepare(&world);
    let two = Hold {
        world: &world,
        term: 2,
    };
    std::thread::scope(|scope| {
        scope.spawn(|| two.hold());
        world.wait_for(HELD, "1");
        let second = scope.spawn(|| world.writer(2));
        world.wait_for(BLOCKED, "1");
        let appended = first.append(1);
        two.release();
        assert_stepped_down(&first, appended, "PGJ-0010");
        assert_eq!(second.join().unwrap().journal.head().height, Height(4));
    });
}

#[test]
fn an_epoch_block_that_meets_the_last_block_of_the_writer_before_goes_above_it() {
    let world = World::start(2);
    let mut first = world.writer(1);
    first.fill(3);
    let [one, two] = [1, 2].map(|term| Hold { world: &world, term });
    Hold::prepare(&world);
    std::thread::scope(|scope| {
        scope.spawn(|| one.hold());
        scope.spawn(|| two.hold());
        world.wait_for(HELD, "2");
        let append = scope.spawn(|| first.append(1));
        world.wait_for(BLOCKED, "1");
        let second = scope.spawn(|| world.writer(2));
        world.wait_for(BLOCKED, "2");
        one.release();
        assert_eq!(
            append.join().unwrap().unwrap().height,
            Height(4),
            "its last block, after the claim"
        );
        two.release();
        let second = second.join().unwrap();
        assert_eq!(second.journal.head().height, Height(5));
        assert!(is_as_written(
            &second.journal.reader().read(Height(4)).unwrap(),
            1
        ));
    });
    let appended = first.append(1);
    assert_stepped_down(&first, appended, "PGJ-0010");
}

#[test]
fn a_writer_that_cannot_see_the_standbys_or_finds_none_that_takes_writes_is_refused() {
    let world = World::start(1);
    let mut options = world.options();
    options.connect.hosts[0].1 = world.servers.standbys[0].port;
    let refused = PostgresJournal::open(options.clone(), keys()).err().unwrap();
    assert_eq!(refused.code(), "PGJ-0001", "{refused}");
    // The primary is found behind it.
    let primary = world.options().connect.hosts[0].clone();
    options.connect.hosts.push(primary);
    PostgresJournal::open(options, keys()).unwrap();

    let _ = world.sql("revoke pg_read_all_stats from shanraq_writer");
    let refused = PostgresJournal::open(world.options(), keys()).err().unwrap();
    assert!(
        matches!(
            refused,
            PostgresError::Setting {
                name: "pg_read_all_stats",
                ..
            }
        ),
        "{refused}"
    );
}

#[test]
fn a_full_disk_is_told_apart_from_what_ends_the_term() {
    let world = World::start(0);
    let mut writer = world.writer(1);
    writer.fill(3);
    let fail_with = |state: &str| {
        let _ = world.sql(&format!(
            "create or replace function fail() returns trigger language plpgsql as \
             $$ begin raise exception 'as told' using errcode = '{state}'; end $$; \
             create or replace trigger fail before insert on shanraq.journal for each row execute function fail()"
        ));
    };
    fail_with("53100");
    let mut draft = common::draft(4, 1);
    let appended = writer.journal.append(writer.term, &mut draft);
    assert!(matches!(appended, Err(AppendError::Full(_))), "{appended:?}");
    assert!(!draft.is_empty(), "the draft is as it was");
    let _ = world.sql("drop trigger fail on shanraq.journal");
    assert_eq!(
        writer.journal.append(writer.term, &mut draft).unwrap().height,
        Height(4)
    );
    fail_with("57014");
    let appended = writer.append(1);
    assert_stepped_down(&writer, appended, "PGJ-0002");
    let _ = world.sql("drop trigger fail on shanraq.journal");
    let term = writer.journal.begin_term(WriterId(2), TimestampNs(1)).unwrap();
    assert_eq!((term.epoch, writer.journal.head().height), (2, Height(5)));
}

#[test]
fn a_journal_is_filled_from_another_block_by_block_with_the_same_hashes() {
    let world = World::start(1);
    let mut source = world.writer(1);
    source.fill(5);
    let mut source = world.writer(2);
    source.fill(12);
    let blocks: Vec<_> = source
        .journal
        .reader()
        .scan(Height(1))
        .map(Result::unwrap)
        .collect();
    let mut full = world.open();
    assert!(full.begin_import(WriterId(50)).is_err(), "it is not empty");
    let _ = world.sql("create table kept as select * from shanraq.journal; delete from shanraq.journal");

    let mut copy = world.open();
    copy.begin_import(WriterId(51)).unwrap();
    for block in &blocks {
        let mut draft = journal::Draft::new();
        for entry in &block.entries {
            draft.push_entry(entry);
        }
        let Block { epoch, writer, .. } = *block;
        let head = copy.append(Term { epoch, writer }, &mut draft).unwrap();
        assert_eq!((head.height, head.hash), (block.height, block.hash));
    }
    let term = copy.begin_term(WriterId(3), TimestampNs(1)).unwrap();
    assert_eq!(
        (term.epoch, copy.head().height),
        (4, Height(13)),
        "above every claim"
    );
    let read: Vec<_> = world
        .open()
        .reader()
        .scan(Height(1))
        .map(Result::unwrap)
        .collect();
    assert_eq!(
        read,
        blocks[..11],
        "an outsider waits for one more block of the term"
    );
}
