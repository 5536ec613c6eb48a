//! The rules alone. Owns: `engine`.

use super::stream::Outcome;
use super::traffic::{self, ACCOUNTS, Ids, Shape, Traffic};
use super::workloads::{BATCH, command_to_repeat, name};
use super::{BenchArgs, Machine, Report};
use anyhow::Result;
use std::time::{Duration, Instant};

/// The rules alone: no server, no journal; ids are forgotten as history would take them over.
pub fn engine(args: &BenchArgs) -> Result<Report> {
    use ledger::{ActorId, Command, CommandBody, Events, Ledger, NoArchive, RowNumber, TimestampNs};
    let transfers = args.transfers.unwrap_or(10_000_000);
    let mut ledger = Ledger::with_hash_seed(args.seed);
    let mut reply = ledger::Outcome::default();
    let events = (1..=ACCOUNTS).map(traffic::ledger_account).collect::<Vec<_>>();
    let command = |body| Command {
        actor: ActorId(0),
        body,
    };
    for chunk in events.chunks(BATCH) {
        let body = CommandBody::CreateAccounts(Events {
            events: chunk.to_vec(),
            metadata: Vec::new(),
        });
        ledger.apply(&NoArchive, TimestampNs(1), &command(body), &mut reply)?;
    }
    let mut traffic = Traffic::new(args.seed, 0, Shape::Uniform, Ids::Ordered);
    let (mut outcome, mut busy) = (Outcome::default(), Duration::ZERO);
    let mut batches = 0_u64;
    while outcome.transfers < transfers {
        let events: Vec<_> = (0..BATCH).map(|_| traffic.ledger_transfer()).collect();
        let body = CommandBody::CreateTransfers(Events {
            events,
            metadata: Vec::new(),
        });
        let command = command(body);
        reply.clear();
        let started = Instant::now();
        ledger.apply(&NoArchive, TimestampNs(1), &command, &mut reply)?;
        batches += 1;
        if batches.is_multiple_of(16) {
            ledger.forget_archived(RowNumber(ledger.rows().0));
        }
        let elapsed = started.elapsed();
        busy += elapsed;
        outcome.latencies.record(elapsed);
        outcome.transfers += reply.transfers.len() as u64;
        let created = ledger::CreateTransferResult::Created;
        outcome.errors += reply
            .transfers
            .iter()
            .filter(|reply| reply.result != created)
            .count() as u64;
    }
    let millions = outcome.transfers as f64 / 1e6;
    Ok(Report {
        workload: name(args.workload),
        transfers: outcome.transfers,
        transfers_per_second: outcome.transfers as f64 / busy.as_secs_f64(),
        latency: outcome.latencies.percentiles(),
        cpu_seconds_per_million: busy.as_secs_f64() / millions,
        client_cpu_seconds_per_million: 0.0,
        resident_bytes: 0,
        disk_bytes_per_transfer: 0.0,
        durability: "none: the rules alone, in memory".to_owned(),
        errors: outcome.errors,
        error_example: None,
        seed: args.seed,
        machine: Machine::this(),
        command: command_to_repeat(args),
        extra: serde_json::Map::new(),
    })
}
