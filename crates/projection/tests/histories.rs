//! What stands in the tables is what the model says, whatever the history, the steps and the restarts.

mod common;

use common::{DATABASE, History, World};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// Set to repeat one that failed.
const SEEDS: std::ops::Range<u64> = 0..4;

#[test]
fn random_histories_stand_in_the_tables_as_in_the_model() {
    let world = World::start();
    for seed in SEEDS {
        eprintln!("seed {seed}");
        let database = format!("books_{seed}");
        world.create(&database, 10);
        let directory = tempfile::tempdir().unwrap();
        let mut random = StdRng::seed_from_u64(seed);
        let mut history = History::new(directory.path(), seed, 1);
        let mut projector = world.projector(&database, &history);
        for round in 0..12 {
            history.grow(random.random_range(1..60));
            // Some steps end early, some projectors are new and know what the tables tell, nothing else.
            let rows = random.random_range(10..400);
            loop {
                let stepped = projector.step(rows).unwrap();
                if random.random_ratio(1, 5) {
                    projector = world.projector(&database, &history);
                }
                if stepped.position.height == stepped.head {
                    break;
                }
            }
            assert_eq!(projector.position().hash, history.hash());
            let what = format!("seed {seed}, round {round}");
            world.assert_as_in(&database, &history.chapters.books, &what);
        }
        let kinds = "select count(distinct kind) from ledger.transfers";
        assert_eq!(world.sql_in(&database, kinds), "5", "the history has every kind");
        let partitions =
            "select count(*) > 3 from pg_inherits where inhparent = 'ledger.transfers'::regclass";
        assert_eq!(world.sql_in(&database, partitions), "t", "it crosses partitions");
        let late = "select count(*) from pg_inherits join pg_class on pg_class.oid = inhrelid \
             where inhparent = 'ledger.transfers'::regclass \
             and not coalesce(reloptions, '{}') @> '{autovacuum_vacuum_insert_scale_factor=0}'";
        assert_eq!(world.sql_in(&database, late), "0", "each is vacuumed early");
    }
}

#[test]
fn metadata_never_enters() {
    let world = World::start();
    let directory = tempfile::tempdir().unwrap();
    let mut history = History::new(directory.path(), 3, 1);
    history.grow(200);
    while world
        .projector(DATABASE, &history)
        .step(usize::MAX)
        .unwrap()
        .blocks
        > 0
    {}
    let with_metadata = history.chapters.books.model.transfers.values();
    assert!(with_metadata.filter(|it| it.metadata.is_some()).count() > 20);
    let columns = "select string_agg(distinct data_type, ',' order by data_type) from information_schema.columns \
         where table_schema = 'ledger' and table_name in ('transfers', 'accounts', 'open_pendings')";
    // No column could hold it but `kind`.
    assert_eq!(world.sql(columns), "bigint,integer,numeric,text,uuid");
    assert_eq!(
        world.sql("select count(*) from ledger.transfers where kind not in ('transfer', 'pending', 'post', 'void', 'expiry')"),
        "0"
    );
}
