//! A former primary that was rewound needs log that the new primary has no more, and that `pg_rewind` removes.

use postgres_servers::{Mode, Options, Server, Servers, program};
use std::process::Command;
use std::thread;
use std::time::Duration;

/// Of 1 MiB each.
const SEGMENTS: u32 = 4;

/// Fills segments, so that the ones before can be recycled.
fn fill(server: &Server, segments: u32) {
    for _ in 0..segments {
        let _ = server.sql("select pg_logical_emit_message(false, 'fill', ''), pg_switch_wal()");
    }
}

/// Takes its time, as checkpoints under load do: segments are filled between where it begins and where it is recorded,
/// fewer of them than any server keeps, however quickly it fills them.
fn slow_checkpoint(server: &Server) {
    let _ = server.sql("create table pages as select repeat('x', 4000) from generate_series(1, 60)");
    thread::scope(|scope| {
        let _ = scope.spawn(|| server.sql("select pg_backup_start('slow', fast => false)"));
        for _ in 0..8 * SEGMENTS {
            fill(server, 1);
            thread::sleep(Duration::from_millis(50));
        }
    });
}

#[test]
fn a_former_primary_keeps_the_log_in_which_the_last_checkpoint_of_both_began() {
    let mut options = Options {
        standbys: 1,
        ..Options::default()
    };
    let no_other_checkpoint = ["checkpoint_timeout = 1h", "max_wal_size = 4GB"];
    options.settings.extend(no_other_checkpoint.map(str::to_owned));
    let mut servers = Servers::start(&options);
    servers.set("synchronous_standby_names", "");
    let binary = servers.directory().join("shanraq");
    let Servers {
        primary: old,
        standbys,
        ..
    } = &mut servers;
    let new = &standbys[0];
    let _ = old.sql("create table rows as select 1 as row");
    slow_checkpoint(old);
    let segments =
        "select pg_walfile_name(redo_lsn), pg_walfile_name(checkpoint_lsn) from pg_control_checkpoint()";
    let segments = old.sql(segments);
    let (began, recorded) = segments.split_once('|').unwrap();
    assert!(began < recorded, "{segments}");
    fill(old, SEGMENTS);
    let all = old.sql("select pg_current_wal_flush_lsn()");
    new.wait_for(&format!("select pg_last_wal_replay_lsn() >= '{all}'"), "t");

    // Histories part, and the new primary recycles what both share; what is its own is kept for the former one.
    let _ = new.sql("select pg_promote()");
    let _ = old.sql("insert into rows values (2)");
    old.stop(Mode::Fast);
    new.set("wal_keep_size", "0");
    let _ = new.sql("insert into rows values (3)");
    let _ = new.sql("checkpoint");
    let _ = new.sql("select pg_create_physical_replication_slot('waits', true)");
    fill(new, SEGMENTS);
    let _ = new.sql("checkpoint");
    let has = |server: &Server| server.data.join("pg_wal").join(began).exists();
    assert!(
        has(old) && !has(new),
        "{began} must be left at the old primary alone"
    );

    // The binary lies where the servers' user need not be able to go.
    std::fs::copy(env!("CARGO_BIN_EXE_shanraq"), &binary).unwrap();
    let mut rewind = Command::new(binary);
    rewind
        .args(["rewind", "--pg-rewind"])
        .arg(program("pg_rewind"))
        .arg("--");
    rewind
        .arg("-D")
        .arg(&old.data)
        .args(["--source-server", &new.connection()]);
    old.run_beside(&mut rewind);

    assert!(has(old), "{began} is kept");
    old.follow(new);
    old.start();
    old.wait_for("select string_agg(row::text, ' ' order by row) from rows", "1 3");
    new.wait_for("select state from pg_stat_replication", "streaming");

    // Where nothing is to be rewound nothing was taken away.
    old.stop(Mode::Fast);
    old.run_beside(&mut rewind);
}
