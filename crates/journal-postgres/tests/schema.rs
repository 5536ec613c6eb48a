//! Migrations, roles, partitions and freezing.

mod common;

use common::{SHARD, World};
use journal_postgres::{Maintainer, PostgresJournal, SCHEMA_VERSION, migrate};
use ledger::Height;

#[test]
fn migrating_again_does_nothing_and_a_newer_schema_is_refused() {
    let world = World::empty(0);
    let refused = migrate_and_open(&world).unwrap_err();
    assert!(refused.contains("PGJ-0007"), "no schema: {refused}");
    let (a, b) = std::thread::scope(|scope| {
        let one = scope.spawn(|| migrate(&world.admin(), None).unwrap());
        let other = scope.spawn(|| migrate(&world.admin(), None).unwrap());
        (one.join().unwrap(), other.join().unwrap())
    });
    assert_eq!(
        (a.min(b), a.max(b)),
        (0, SCHEMA_VERSION),
        "two at once: one did it"
    );
    let all = "select md5(string_agg(c::text, ',' order by oid)) from pg_class c \
               where relnamespace = 'shanraq'::regnamespace";
    let before = world.sql(all);
    assert_eq!(migrate(&world.admin(), None).unwrap(), SCHEMA_VERSION);
    assert_eq!(world.sql(all), before);
    migrate_and_open(&world).unwrap();
    let _ = world.sql("insert into shanraq.schema_version values (1000)");
    let refused = migrate(&world.admin(), None).unwrap_err();
    assert_eq!(refused.code(), "PGJ-0007", "{refused}");
    assert!(refused.to_string().contains("run a newer program"), "{refused}");
    let refused = migrate_and_open(&world).unwrap_err();
    assert!(refused.contains("PGJ-0007"), "{refused}");
}

fn migrate_and_open(world: &World) -> Result<(), String> {
    let mut options = world.options();
    options.connect = world.admin();
    PostgresJournal::open(options, common::keys())
        .map(drop)
        .map_err(|error| error.to_string())
}

#[test]
fn roles_may_do_what_they_must_and_no_more() {
    let world = World::start(0);
    let mut writer = world.writer(1);
    writer.fill(3);
    let as_role = |role: &str, sql: &str| {
        let sql = format!("set role shanraq_{role}; {sql}");
        world.servers.primary.try_sql(common::DATABASE, &sql)
    };
    let first = "shanraq.journal_0000000000000000000";
    for role in ["writer", "reader"] {
        as_role(role, "select count(*) from shanraq.journal").unwrap();
        for forbidden in [
            "update shanraq.journal set epoch = 5".to_owned(),
            format!("update {first} set epoch = 5"),
            "delete from shanraq.journal".to_owned(),
            "truncate shanraq.journal".to_owned(),
            format!("drop table {first}"),
            format!("alter table shanraq.journal detach partition {first}"),
            format!("insert into {first} select * from {first}"),
            "update shanraq.term_claim set epoch = 100".to_owned(),
            "update shanraq.layout set partition_heights = 1".to_owned(),
            "insert into shanraq.schema_version values (2)".to_owned(),
            "create table shanraq.mine ()".to_owned(),
        ] {
            let refused = as_role(role, &forbidden).unwrap_err();
            assert!(
                refused.contains("permission denied") || refused.contains("must be owner"),
                "{role}: {forbidden}: {refused}"
            );
        }
    }
    for forbidden in [
        "insert into shanraq.journal select * from shanraq.journal",
        "select shanraq.claim_term(0, 1, gen_random_uuid())",
        "select shanraq.ensure_partitions(1, 1)",
    ] {
        assert!(
            as_role("reader", forbidden)
                .unwrap_err()
                .contains("permission denied")
        );
    }
}

#[test]
fn partitions_stand_ready_ahead_and_are_frozen_when_full() {
    let world = World::start(0);
    let mut writer = world.writer(1);
    let attached = "select count(*) from pg_inherits where inhparent = 'shanraq.journal'::regclass";
    assert_eq!(world.sql(attached), "3", "the one in use and two ahead");
    writer.fill(18);
    let mut maintainer = Maintainer::open(&world.user("owner")).unwrap();
    let done = maintainer.step(Height(18)).unwrap();
    assert_eq!((done.partitions_until, done.frozen), (Height(40), 2));
    assert_eq!(world.sql(attached), "5");
    let frozen = "select string_agg((age(relfrozenxid) < 8)::text, ' ' order by relname) from pg_class \
                  where relname like 'journal_0%' and relkind = 'r'";
    assert!(
        world.sql(frozen).starts_with("true true false"),
        "{}",
        world.sql(frozen)
    );
    assert!(done.xid_age > 0);
    writer.fill(33);
    assert_eq!(maintainer.step(Height(33)).unwrap().frozen, 2);
    let mut another = Maintainer::open(&world.user("owner")).unwrap();
    assert_eq!(another.step(Height(33)).unwrap().frozen, 0, "once is enough");
    // One that was taken off is put back before it is needed.
    let _ = world.sql("alter table shanraq.journal detach partition shanraq.journal_0000000000000000048");
    assert_eq!(world.sql(attached), "6");
    another.step(Height(33)).unwrap();
    assert_eq!(world.sql(attached), "7");
    assert!(
        Maintainer::open(&world.user("reader"))
            .unwrap()
            .step(Height(33))
            .is_err()
    );
}

#[test]
fn chores_are_done_at_the_primary_up_to_what_it_shows_and_nothing_at_a_standby() {
    let world = World::start(1);
    let mut writer = world.writer(1);
    writer.fill(18);
    let mut at_primary = Maintainer::open(&world.user("owner")).unwrap();
    let done = at_primary.maintain(SHARD).unwrap().unwrap();
    assert_eq!((done.partitions_until, done.frozen), (Height(40), 2));
    let standby = &world.servers.standbys[0];
    standby.wait_for_in(common::DATABASE, "select max(height) from shanraq.journal", "18");
    let mut at_standby = Maintainer::open(&world.user_at(standby, "owner")).unwrap();
    assert_eq!(at_standby.maintain(SHARD).unwrap(), None);
}
