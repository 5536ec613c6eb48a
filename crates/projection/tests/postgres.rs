//! The journal in PostgreSQL, read beside its writer: what is final is taken in, also the last block, and nothing else.

mod common;

use common::{Books, Chapters, DATABASE, TEST_PASSWORD, World, keys};
use journal::{Journal, ShardId, Term, WriterId};
use journal_postgres::{ConnectOptions, Durability, Password, PostgresJournal, PostgresOptions};
use ledger::{ActorId, Command, CommandBody, TimestampNs};
use postgres_servers::Options;
use projection::{Log, PostgresSource, Projector, Source};
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::{Duration, Instant};

const SHARD: ShardId = ShardId(0);

/// A replicated server that holds the journal and the tables.
struct Cluster {
    world: World,
}

impl Cluster {
    fn start() -> Self {
        let world = World::with(Options::default());
        let admin = ConnectOptions {
            password: Some(Password::from_file(&world.servers.password_file()).unwrap()),
            ..ConnectOptions::new(
                "127.0.0.1",
                world.servers.primary.port,
                postgres_servers::SUPERUSER,
            )
        };
        assert_eq!(journal_postgres::migrate(&admin, NonZeroU64::new(8)).unwrap(), 0);
        let _ = world.sql(&format!(
            "create role test_writer login password '{TEST_PASSWORD}' in role shanraq_writer; \
             grant shanraq_reader, pg_read_all_stats to shanraq_projection"
        ));
        Self { world }
    }

    fn connect(&self, user: &str) -> ConnectOptions {
        ConnectOptions {
            password: Some(Password::new(TEST_PASSWORD)),
            ..ConnectOptions::new("127.0.0.1", self.world.servers.primary.port, user)
        }
    }

    fn durability(&self) -> Durability {
        Durability::any_of(self.world.servers.standbys.iter().map(|it| it.name.as_str()))
    }

    fn source(&self) -> PostgresSource {
        let source = PostgresSource::open(
            self.connect("test_projection"),
            self.world.user(DATABASE, "projection"),
            self.durability(),
            SHARD,
            keys(),
        );
        source.unwrap()
    }

    fn projector(&self) -> Projector {
        let server = self.world.user(DATABASE, "projection");
        Projector::open(Box::new(self.source()), &server, Arc::default()).unwrap()
    }

    fn writer(&self, chapters: &mut Chapters, id: u128) -> (PostgresJournal, Term) {
        let options = PostgresOptions {
            connect: self.connect("test_writer"),
            durability: self.durability(),
            shard: SHARD,
        };
        let mut journal = PostgresJournal::open(options, keys()).unwrap();
        let now = TimestampNs(chapters.books.model.last_timestamp.0 + 1);
        let term = journal.begin_term(WriterId(id), now).unwrap();
        // The model lives through the epoch block as well.
        let command = Command {
            actor: ActorId(0),
            body: CommandBody::BeginEpoch,
        };
        let _ = chapters.books.model.apply(now, &command);
        (journal, term)
    }
}

fn step_until(projector: &mut Projector, height: u64) {
    let deadline = Instant::now() + Duration::from_secs(120);
    while projector.step(usize::MAX).unwrap().position.height.0 < height {
        assert!(
            Instant::now() < deadline,
            "it stays at {:?}",
            projector.position()
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn the_last_block_is_taken_in_when_a_standby_has_it_and_not_before() {
    let cluster = Cluster::start();
    let world = &cluster.world;
    let mut chapters = Chapters::new(9);
    let mut projector = cluster.projector();
    for id in 1..4 {
        let (mut journal, term) = cluster.writer(&mut chapters, id);
        step_until(&mut projector, journal.head().height.0);
        for _ in 0..10 {
            journal.append(term, chapters.next_draft()).unwrap();
            // Nothing follows it.
            step_until(&mut projector, journal.head().height.0);
        }
        assert_eq!(projector.position().hash, journal.head().hash);
        world.assert_as_in(DATABASE, &chapters.books, &format!("term {id}"));
    }
    // A block whose wait for the standbys was cancelled can be seen, and may be nowhere else.
    let (mut journal, term) = cluster.writer(&mut chapters, 9);
    step_until(&mut projector, journal.head().height.0);
    let height = projector.position().height;
    for standby in &world.servers.standbys {
        standby.freeze();
    }
    let before: Books = chapters.books.clone();
    chapters.next_draft();
    let mut draft = chapters.take_draft();
    let writing = std::thread::spawn(move || journal.append(term, &mut draft).is_err());
    let waiting = "from pg_stat_activity where wait_event = 'SyncRep' and usename = 'test_writer'";
    world
        .servers
        .primary
        .wait_for(&format!("select count(*) {waiting}"), "1");
    let _ = world.sql(&format!("select pg_cancel_backend(pid) {waiting}"));
    assert!(
        writing.join().unwrap(),
        "the writer knows that it is not confirmed"
    );
    let seen = format!("select max(height) = {height} + 1 from shanraq.journal");
    assert_eq!(world.sql(&seen), "t", "but everybody can see it");
    for _ in 0..20 {
        assert_eq!(projector.step(usize::MAX).unwrap().position.height, height);
    }
    world.assert_as_in(DATABASE, &before, "while no standby answers");
    for standby in &world.servers.standbys {
        standby.thaw();
    }
    step_until(&mut projector, height.0 + 1);
    world.assert_as_in(DATABASE, &chapters.books, "once a standby has it");
}

#[test]
fn what_no_standby_has_flushed_is_under_way_until_one_has() {
    const MIB: u64 = 1 << 20;
    let cluster = Cluster::start();
    let world = &cluster.world;
    let mut source = cluster.source();
    let mut log = || source.log().unwrap().expect("a commit waits for a standby");
    let under_way = |it: Log| it.logged - it.carried;
    for standby in &world.servers.standbys {
        standby.freeze();
    }
    let before = log();
    let message = format!(
        "select pg_logical_emit_message(false, 'test', repeat('x', {}))",
        2 * MIB
    );
    let _ = world.sql(&message);
    let after = log();
    assert!(after.logged >= before.logged + 2 * MIB, "{before:?}, {after:?}");
    assert!(under_way(after) >= 2 * MIB, "{before:?}, {after:?}");
    assert!(
        (before.flushed..=after.logged).contains(&after.flushed),
        "{after:?}"
    );
    assert_eq!(after.checkpoints, before.checkpoints);
    world.servers.standbys[0].thaw();
    let deadline = Instant::now() + Duration::from_secs(120);
    while log().carried < after.logged {
        assert!(Instant::now() < deadline, "one of two is enough: {:?}", log());
        // The end of the log may lie in memory until something follows it.
        let _ = world.sql("select pg_switch_wal()");
    }
    let _ = world.sql("checkpoint");
    while log().checkpoints == before.checkpoints {
        assert!(Instant::now() < deadline, "a checkpoint is counted");
    }
    world.servers.standbys[1].thaw();
}
