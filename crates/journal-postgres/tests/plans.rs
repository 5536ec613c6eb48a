//! The plans of the journal's own questions, as the server really ran them: it logs each with what it looked at.

mod common;

use common::{DATABASE, SHARD, World, keys};
use journal::BlockReader as _;
use journal_postgres::{Maintainer, PostgresReader};
use ledger::Height;
use std::collections::BTreeSet;

/// With partitions of eight heights: 26 of them, two of which stand ready.
const BLOCKS: u64 = 190;

/// A statement that a server ran.
struct Run {
    sql: String,
    plan: String,
}

impl Run {
    /// The partitions of which rows were sought, other than to be written.
    fn partitions(&self) -> BTreeSet<&str> {
        let scans = self.plan.lines().filter(|line| line.contains("Scan"));
        let run = scans.filter(|line| !line.contains("never executed"));
        run.flat_map(|line| line.split_whitespace().filter(|word| is_partition(word)))
            .collect()
    }
}

fn is_partition(word: &str) -> bool {
    word.strip_prefix("journal_").is_some_and(|rest| {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        digits == 19 && digits == rest.len()
    })
}

/// What `auto_explain` left in a log: an entry, then lines that begin with a tab.
fn runs(log: &str) -> Vec<Run> {
    let entries = log.split("  plan:\n").skip(1);
    let parsed = entries.map(|entry| {
        let lines = entry.lines().take_while(|line| line.starts_with('\t'));
        let (plan, sql): (Vec<&str>, Vec<&str>) =
            lines.partition(|line| line.contains("(actual") || line.starts_with("\t  "));
        Run {
            sql: sql.join(" ").replace('\t', " "),
            plan: plan.join("\n"),
        }
    });
    parsed.collect()
}

#[test]
fn no_question_of_the_journal_reads_a_partition_from_end_to_end_or_opens_those_it_has_no_business_with() {
    let world = World::start(0);
    for setting in [
        "session_preload_libraries = 'auto_explain'",
        "auto_explain.log_min_duration = 0",
        "auto_explain.log_analyze = on",
        "auto_explain.log_timing = off",
        "auto_explain.log_nested_statements = on",
    ] {
        let _ = world.sql(&format!("alter database {DATABASE} set {setting}"));
    }
    let mut writer = world.writer(1);
    writer.fill(BLOCKS - 1);
    // Of several chunks.
    writer.append(400).unwrap();
    let mut maintainer = Maintainer::open(&world.user("owner")).unwrap();
    maintainer.maintain(SHARD).unwrap();
    // Another writer finds the head, a reader alone finds what is final, by itself and step by step.
    let mut next = world.writer(2);
    next.fill(BLOCKS + 4);
    let reader = PostgresReader::open(world.user("reader"), SHARD, keys()).unwrap();
    assert!(reader.refresh().unwrap() >= Height(BLOCKS));
    let block = reader.read(Height(77)).unwrap();
    assert!(reader.holds_final(Height(77), block.hash).unwrap());
    assert!(!reader.tentative().unwrap().is_empty());
    assert_eq!(reader.scan(Height(1)).count() as u64, reader.head().0);

    let runs = runs(&world.servers.primary.log());
    // The schema's own tables have a row or two; everything else that was asked must be here, or nothing was shown.
    let mut kinds = BTreeSet::new();
    for run in &runs {
        let Run { sql, plan } = run;
        let kind = match sql {
            sql if sql.contains("insert into shanraq.journal") && sql.contains("unnest") => {
                "append of several"
            }
            sql if sql.contains("insert into shanraq.journal") => "append",
            sql if sql.contains("order by height desc limit 1") => "highest of a partition",
            sql if sql.contains("chunk = 0 order by height desc") => "who wrote",
            sql if sql.contains("order by height, chunk limit") => "blocks",
            _ => continue,
        };
        kinds.insert(kind);
        assert!(!plan.contains("Seq Scan on journal"), "{sql}\n{plan}");
        assert!(!plan.contains("Sort"), "an index has that order: {sql}\n{plan}");
        let partitions = run.partitions();
        let most = match kind {
            "append" | "append of several" | "highest of a partition" => 1,
            // Sixteen heights of eight a partition.
            "who wrote" => 3,
            // As many as were asked for.
            _ => usize::MAX,
        };
        assert!(partitions.len() <= most, "{partitions:?}: {sql}\n{plan}");
    }
    assert_eq!(
        kinds.into_iter().collect::<Vec<_>>(),
        [
            "append",
            "append of several",
            "blocks",
            "highest of a partition",
            "who wrote"
        ]
    );
}
