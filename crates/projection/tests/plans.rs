//! The shipped queries: right answers, and plans that do not read a big table from end to end.

mod common;

use common::{DATABASE, World};

/// 200,000 transfers in 20 partitions among 20,000 accounts in 20 ledgers.
const FILL: &str = "
    select ledger.ensure_partition(s * 10 * 1000000000::bigint + 1) from generate_series(0, 19) s;
    insert into ledger.accounts select ledger.to_uuid(n), n % 20 + 1, n / 20 % 5 + 1, 0, 0, 0, 0, 0, null, null, null, n
        from generate_series(1, 20000) n;
    insert into ledger.transfers select n * 1000000::bigint + 1, ledger.to_uuid(n), 'transfer',
        ledger.to_uuid(n * 7919::bigint % 20000 + 1), ledger.to_uuid(n * 104729::bigint % 20000 + 1), n, null, 1, 1, 0, null,
        ledger.to_uuid(n / 10), n / 10, n % 20000, 0, n, 0, 0, 0, 0, 0, n from generate_series(1, 199999) n;
    analyze ledger.accounts; analyze ledger.transfers;";

const QUERIES: [&str; 12] = [
    "select * from ledger.balance(ledger.to_uuid(77))",
    "select * from ledger.balance_at(ledger.to_uuid(77), 'epoch'::timestamptz + interval '101 s')",
    "select * from ledger.statement(ledger.to_uuid(77), 'epoch'::timestamptz + interval '95 s', \
        'epoch'::timestamptz + interval '125 s')",
    "select * from ledger.newest_entries(ledger.to_uuid(77), 2)",
    "select * from ledger.trial_balance(7)",
    "select * from ledger.transfers_by_user_data_128(ledger.to_uuid(500))",
    "select * from ledger.transfers_by_user_data_64(500)",
    "select * from ledger.transfers_by_user_data_32(500)",
    "select * from ledger.transfers where id = ledger.to_uuid(500)",
    "select * from ledger.transfers where timestamp_ns between 500000001 and 600000001 order by timestamp_ns",
    "select * from ledger.entries where account_id = ledger.to_uuid(77) order by timestamp_ns desc limit 10",
    "select a.id, e.amount from ledger.accounts a join ledger.entries e on e.account_id = a.id \
        where a.id = ledger.to_uuid(77)",
];

#[test]
fn no_shipped_query_reads_a_big_table_from_end_to_end() {
    let world = World::start();
    let _ = world.sql(FILL);
    let as_reader = |sql: &str| world.sql(&format!("set role shanraq_projection_reader; {sql}"));
    for query in QUERIES {
        let plan = as_reader(&format!("explain {query}"));
        assert!(!plan.contains("Seq Scan"), "{query}\n{plan}");
        assert!(
            !plan.contains("Function Scan"),
            "it is planned as a whole: {query}\n{plan}"
        );
    }
    // A time names its partitions: three of ten seconds each, twice, for either side.
    let plan = as_reader(&format!("explain {}", QUERIES[2]));
    assert_eq!(plan.matches("Index Scan").count(), 2 * 4, "{plan}");
    // Partitions behind the newest entries are not opened.
    let plan = as_reader(&format!(
        "explain (analyze, timing off, costs off) {}",
        QUERIES[3]
    ));
    assert!(plan.matches("never executed").count() > 0, "{plan}");
}

#[test]
fn the_shipped_queries_give_what_a_plain_look_at_all_rows_gives() {
    let world = World::start();
    let _ = world.sql(FILL);
    let same = |what: &str, sql: &str| assert_eq!(world.sql(&format!("select {sql}")), "t", "{what}");
    let all = "(select timestamp_ns, debit_account_id as a, 'debit' as side from ledger.transfers union all \
         select timestamp_ns, credit_account_id, 'credit' from ledger.transfers) every";
    let of = "ledger.to_uuid(77)";
    let moment = "'epoch'::timestamptz + interval '101 s'";
    same(
        "balance_at",
        &format!(
            "(select timestamp_ns from ledger.balance_at({of}, {moment})) = \
             (select max(timestamp_ns) from {all} where a = {of} and timestamp_ns <= 101000000000)"
        ),
    );
    same(
        "statement",
        &format!(
            "(select array_agg((timestamp_ns, side)) from ledger.statement({of}, {moment}, {moment} + interval '20 s')) = \
             (select array_agg((timestamp_ns, side) order by timestamp_ns) from {all} where a = {of} \
              and timestamp_ns >= 101000000000 and timestamp_ns < 121000000000)"
        ),
    );
    same(
        "newest_entries",
        &format!(
            "(select array_agg(timestamp_ns) from ledger.newest_entries({of}, 7)) = \
             (select array_agg(timestamp_ns) from (select timestamp_ns from {all} where a = {of} \
              order by 1 desc limit 7) as newest)"
        ),
    );
    same(
        "user data",
        "(select count(*) from ledger.transfers_by_user_data_64(500)) = 10",
    );
    same(
        "trial balance",
        "(select sum(accounts) from ledger.trial_balance(7)) = 1000",
    );
    for id in [
        "0",
        "1",
        "4294967296",
        "18446744073709551615",
        "340282366920938463463374607431768211455",
    ] {
        same(id, &format!("ledger.to_number(ledger.to_uuid({id})) = {id}"));
    }
    same(
        "a time and back",
        "ledger.ns(ledger.at(1764000000123456000)) = 1764000000123456000",
    );
    let uuid = world.sql_in(DATABASE, "select ledger.to_uuid(258)");
    assert_eq!(uuid, "00000000-0000-0000-0000-000000000102");
}
