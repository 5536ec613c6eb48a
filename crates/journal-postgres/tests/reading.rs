//! What readers give, and what they never give.

mod common;

use common::{SHARD, World, is_as_written, keys};
use journal::{BlockReader as _, Damage, Draft, Journal as _, JournalError, WriterId};
use journal_postgres::{Durability, PostgresJournal, PostgresOptions, PostgresReader, writable_server};
use ledger::{Height, TimestampNs};
use postgres_servers::Mode;

#[test]
fn blocks_of_all_sizes_are_read_whole() {
    let world = World::start(0);
    let mut writer = world.writer(1);
    let sizes = [1, 137, 138, 139, 281, 2_000, 8_190, 1];
    for count in sizes {
        writer.append(count).unwrap();
    }
    // More rows than a reader asks for at once, with a small block on each side.
    let mut draft = Draft::new();
    let huge = common::draft_of_requests(writer.journal.head().height.0 + 1, 40, 8_190, &mut draft);
    writer.journal.append(writer.term, &mut draft).unwrap();
    writer.append(1).unwrap();
    let rows = world.sql("select max(chunk) from shanraq.journal");
    assert!(rows.parse::<i32>().unwrap() > 2_048, "{rows}");
    let reader = writer.journal.reader();
    for (height, count) in (2..).zip(sizes) {
        assert!(is_as_written(&reader.read(Height(height)).unwrap(), count));
    }
    let blocks: Vec<_> = reader.scan(Height(1)).map(Result::unwrap).collect();
    assert_eq!(blocks.len(), 11);
    assert_eq!(blocks[9].entries.len(), huge);
    assert_eq!(
        world.sql("select count(*) from shanraq.journal where octet_length(bytes) > 8000"),
        "0"
    );
    let toast = "select coalesce(sum(pg_relation_size(reltoastrelid)), 0) from pg_class \
                 where oid::regclass::text like 'shanraq.journal_0%' and reltoastrelid <> 0";
    assert_eq!(world.sql(toast), "0", "every byte stays in its row");
}

#[test]
fn a_block_that_is_not_whole_or_not_itself_is_damage() {
    let world = World::start(0);
    let mut writer = world.writer(1);
    writer.append(1).unwrap();
    writer.append(1_000).unwrap();
    writer.append(1).unwrap();
    let reader = writer.journal.reader();
    for change in [
        "delete from shanraq.journal where height = 3 and chunk = 4",
        "delete from shanraq.journal where height = 3 and chunk = 0",
        "update shanraq.journal set chunk = chunk + 100 where height = 3 and chunk > 0",
        "update shanraq.journal set bytes = set_byte(bytes, 500, get_byte(bytes, 500) # 1) where height = 3 and chunk = 2",
        "update shanraq.journal set epoch = 9 where height = 3 and chunk = 2",
        "update shanraq.journal set epoch = 9 where height = 3",
        "update shanraq.journal a set bytes = b.bytes from shanraq.journal b where a.height = 3 and b.height = 3 and a.chunk = 1 and b.chunk = 2",
        "delete from shanraq.journal where height = 3",
        "delete from shanraq.journal where height = 3; \
             update shanraq.journal set height = 3 where height = 2",
    ] {
        let _ = world.sql("create table kept as select * from shanraq.journal");
        let _ = world.sql(change);
        let read = reader.read(Height(3));
        assert!(
            matches!(
                read,
                Err(JournalError::Damaged {
                    height: Height(3),
                    ..
                })
            ),
            "{change}: {read:?}"
        );
        let scanned: Vec<_> = reader.scan(Height(1)).collect();
        assert!(scanned.last().unwrap().is_err(), "{change}");
        assert!(scanned.len() <= 3, "{change}: nothing follows damage");
        let _ = world.sql(
            "delete from shanraq.journal; insert into shanraq.journal select * from kept; drop table kept",
        );
    }
    assert_eq!(reader.scan(Height(1)).filter(Result::is_ok).count(), 4);
}

#[test]
fn an_outsider_sees_a_block_when_the_next_of_its_term_shows_it_to_be_final() {
    let world = World::start(1);
    let outsider = world.reader();
    assert_eq!(outsider.refresh().unwrap(), Height(0));
    let mut writer = world.writer(1);
    assert_eq!(outsider.refresh().unwrap(), Height(0), "an epoch block alone");
    for head in 2..40 {
        writer.append(1).unwrap();
        assert_eq!(outsider.refresh().unwrap(), Height(head - 1));
        assert_eq!(outsider.scan(Height(1)).count() as u64, head - 1);
        assert_eq!(outsider.tentative().unwrap().len(), 1);
    }
    // Terms that never got further than their epoch block show nothing of what is below them.
    for id in 2..30 {
        let mut journal = world.open();
        assert_eq!(journal.head().height, Height(38));
        journal.begin_term(WriterId(id), TimestampNs(1)).unwrap();
        assert_eq!(outsider.refresh().unwrap(), Height(38));
    }
    assert_eq!(outsider.tentative().unwrap().len(), 29);
    let mut writer = world.writer(99);
    writer.append(1).unwrap();
    assert_eq!(outsider.refresh().unwrap(), Height(68));

    // The same at the standby, once it has replayed.
    let standby = &world.servers.standbys[0];
    let count = "select max(height) from shanraq.journal";
    standby.wait_for_in(common::DATABASE, count, "69");
    let there = PostgresReader::open(world.user_at(standby, "reader"), SHARD, keys()).unwrap();
    assert_eq!(there.head(), Height(68));
    assert_eq!(there.scan(Height(1)).filter(Result::is_ok).count(), 68);
}

#[test]
fn a_height_that_was_taken_away_is_a_hole_and_no_end() {
    let world = World::start(0);
    let mut writer = world.writer(1);
    writer.fill(6);
    let _ = world.sql("delete from shanraq.journal where height = 4");
    let scanned: Vec<_> = writer.journal.reader().scan(Height(1)).collect();
    assert_eq!(scanned.len(), 4);
    assert!(
        matches!(
            &scanned[3],
            Err(JournalError::Damaged {
                damage: Damage::Hole,
                height: Height(4),
                ..
            })
        ),
        "{:?}",
        scanned[3]
    );
    let _ = world.sql("delete from shanraq.journal where height > 4");
    let scanned: Vec<_> = writer.journal.reader().scan(Height(4)).collect();
    assert!(
        matches!(scanned[..], [Err(JournalError::Io { .. })]),
        "it may be a server that is behind: {scanned:?}"
    );
}

#[test]
fn drafts_that_must_not_become_blocks_are_refused_and_the_journal_goes_on() {
    let world = World::start(0);
    assert!(matches!(world.options().durability, Durability::Local));
    let mut writer = world.writer(1);
    writer.fill(3);
    let refused = writer.journal.append(writer.term, &mut Draft::new());
    assert!(refused.is_err(), "it is empty");
    let refused = writer.journal.append(writer.term, &mut common::draft(1, 1));
    assert!(refused.is_err(), "time goes back");
    let mut other = writer.term;
    other.writer = WriterId(77);
    let refused = writer.journal.append(other, &mut common::draft(4, 1));
    assert!(refused.is_err(), "another's term");
    assert_eq!(writer.append(1).unwrap().height, Height(4));
}

/// Two servers that both take writes: what the new one holds is final, the old one was not rewound.
#[test]
fn what_is_final_is_not_taken_from_another_lineage_that_shows_another_block_there() {
    let mut world = World::start(1);
    let mut writer = world.writer(1);
    writer.fill(5);
    let old = world.user("reader");
    let standby = &world.servers.standbys[0];
    standby.wait_for_in(common::DATABASE, "select max(height) from shanraq.journal", "5");
    let _ = standby.sql("select pg_promote()");
    let new = world.user_at(standby, "reader");
    let new_writer = PostgresOptions {
        connect: world.user_at(standby, "writer"),
        durability: Durability::Local,
        shard: SHARD,
    };
    world.servers.set("synchronous_standby_names", "");
    let _ = standby.sql("alter system reset synchronous_standby_names");
    let _ = standby.sql("select pg_reload_conf()");
    standby.wait_for("show synchronous_standby_names", "");

    // Height 6 is an epoch block at each, and at the old one nothing shows that it is not final.
    let begin = |options: PostgresOptions, id: u128| {
        let mut journal = PostgresJournal::open(options, keys()).unwrap();
        let term = journal.begin_term(WriterId(id), TimestampNs(1)).unwrap();
        common::Writer { journal, term }
    };
    let mut old_writer = world.options();
    old_writer.durability = Durability::Local;
    let old_writer = begin(old_writer, 2);
    let mut new_writer = begin(new_writer, 3);
    new_writer.fill(8);
    assert_eq!(old_writer.journal.head().height, Height(6));
    let sixth = new_writer.journal.reader().read(Height(6)).unwrap().hash;

    // Both take writes; whoever is asked first, the one on the later timeline is the primary.
    let latest = writable_server(&new).unwrap();
    for order in [[&old, &new], [&new, &old]] {
        let mut both = order[0].clone();
        both.hosts.extend(order[1].hosts.clone());
        both.hears_all_out = true;
        let found = (0..20)
            .filter(|_| writable_server(&both).unwrap() == latest)
            .count();
        assert!(found > 15, "{found} of 20");
    }

    // Knows from the new one that 7 is final; sessions end there, and the next are at the old one.
    let mut both = new.clone();
    both.hosts.extend(old.hosts.clone());
    let reader = PostgresReader::open(both, SHARD, keys()).unwrap();
    assert_eq!(reader.head(), Height(7));
    world.servers.standbys[0].stop(Mode::Immediate);
    assert!(matches!(reader.read(Height(6)), Err(JournalError::Io { .. })));
    let scanned: Vec<_> = reader.scan(Height(1)).collect();
    let read = scanned.iter().filter(|block| block.is_ok()).count();
    assert_eq!(read, 4, "what the old one itself shows to be final");
    assert!(matches!(scanned[4], Err(JournalError::Io { .. })));

    // One that begins at the old one goes on to the new one when that lacks what is known to be final.
    world.servers.standbys[0].start();
    let mut both = old;
    both.hosts.extend(new.hosts);
    let reader = PostgresReader::open(both, SHARD, keys()).unwrap();
    assert_eq!(reader.head(), Height(4));
    assert!(
        !reader.holds_final(Height(6), sixth).unwrap(),
        "another stands there"
    );
    assert!(
        reader.holds_final(Height(7), sixth).is_err(),
        "nothing stands there"
    );
    assert_eq!(
        reader.refresh().unwrap(),
        Height(7),
        "the next look is at the new one"
    );
    assert_eq!(reader.read(Height(6)).unwrap().hash, sixth);
}

/// A reader that asks the standby first and the primary next.
fn reader_beside_the_standby(world: &World) -> PostgresReader {
    let mut connect = world.user_at(&world.servers.standbys[0], "reader");
    connect
        .hosts
        .push(("127.0.0.1".to_owned(), world.servers.primary.port));
    PostgresReader::open(connect, SHARD, keys()).unwrap()
}

#[test]
fn a_server_that_falls_silent_is_left_for_another() {
    let world = World::start(2);
    let mut writer = world.writer(1);
    writer.append(1).unwrap();
    let reader = reader_beside_the_standby(&world);
    reader.refresh().unwrap();
    world.servers.standbys[0].freeze();
    writer.append(1).unwrap();
    writer.append(1).unwrap();
    // The question that was under way fails by its time, and none later.
    let seen = (0..3).filter_map(|_| reader.refresh().ok()).max();
    assert_eq!(seen, Some(Height(3)));
    world.servers.standbys[0].thaw();
}

#[test]
fn a_server_that_stands_still_is_left_when_told_so() {
    let world = World::start(2);
    let mut writer = world.writer(1);
    writer.append(1).unwrap();
    let standby = &world.servers.standbys[0];
    standby.wait_for_in(common::DATABASE, "select max(height) from shanraq.journal", "2");
    let _ = standby.sql("select pg_wal_replay_pause()");
    let reader = reader_beside_the_standby(&world);
    writer.append(1).unwrap();
    writer.append(1).unwrap();
    assert_eq!(reader.refresh().unwrap(), Height(1));
    reader.look_elsewhere();
    assert_eq!(reader.refresh().unwrap(), Height(3));
}
