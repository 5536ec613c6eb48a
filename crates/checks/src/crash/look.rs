//! What a node shows, asked through its interface, and how that is held against what clients heard.

use anyhow::{Result, ensure};
use campaign::history::{Call, Heard, Observed, ObservedRow, Violation, check};
use campaign::load::World;
use client::{Client, Query};
use ledger::{Account, AccountId, CreateTransferResult, RowKind, TimestampNs, TransferId};

/// The most ids in one look-up, rows in one page.
pub const PAGE: usize = 8_190;

/// Whether the node promised that it is done.
pub fn is_acknowledged(call: &Call) -> bool {
    matches!(
        call.heard.result(),
        Some(CreateTransferResult::Created | CreateTransferResult::Exists)
    )
}

/// Looks up everything that was acknowledged among the calls, and says how much that is.
pub async fn look_up(client: &Client, calls: &[Call]) -> Result<usize> {
    let acknowledged: Vec<&Call> = calls.iter().filter(|call| is_acknowledged(call)).collect();
    for chunk in acknowledged.chunks(PAGE) {
        let ids: Vec<TransferId> = chunk.iter().map(|call| call.transfer.id).collect();
        let found = client.lookup_transfers(&ids).await?;
        ensure!(
            found.len() == ids.len(),
            "{} of {} acknowledged transfers are gone",
            ids.len() - found.len(),
            ids.len()
        );
        for (call, record) in chunk.iter().zip(found) {
            let Heard::Reply(reply) = call.heard else { continue };
            let same = record.transfer.id == call.transfer.id && record.transfer.timestamp == reply.timestamp;
            ensure!(
                same,
                "{:?} was acknowledged as {reply:?} and is there as {record:?}",
                call.transfer
            );
        }
    }
    Ok(acknowledged.len())
}

/// Broken promises, each with the calls under its id.
pub fn violations(calls: &[Call], observed: &Observed) -> Vec<(Violation, Vec<Call>)> {
    let under = |id| {
        calls
            .iter()
            .filter(|call| Some(call.transfer.id) == id)
            .copied()
            .collect()
    };
    check(calls, observed)
        .into_iter()
        .map(|found| (found.clone(), under(found.transfer())))
        .collect()
}

/// Everything that the node shows, all of one moment: pending transfers expire while it is looked at, so it is looked again
/// until no row came after the accounts were read.
pub async fn observe(client: &Client) -> Result<Observed> {
    let mut rows = rows_after(client, TimestampNs(0)).await?;
    loop {
        let accounts = accounts(client).await?;
        let last = rows.last().map_or(TimestampNs(0), |row| row.transfer.timestamp);
        let more = rows_after(client, last).await?;
        if more.is_empty() {
            return Ok(Observed { rows, accounts });
        }
        rows.extend(more);
    }
}

async fn rows_after(client: &Client, last: TimestampNs) -> Result<Vec<ObservedRow>> {
    let mut query = Query {
        timestamp_min: TimestampNs(last.0 + 1),
        limit: PAGE as u32,
        oldest_first: true,
        ..Query::default()
    };
    let mut rows = Vec::new();
    loop {
        let page = client.query_transfers(&query).await?;
        rows.extend(page.items.into_iter().map(|record| ObservedRow {
            kind: if record.expired {
                RowKind::Expired
            } else {
                RowKind::Applied
            },
            transfer: record.transfer,
            debit: record.debit_balances,
            credit: record.credit_balances,
            metadata: record.metadata_json,
        }));
        let Some(next) = page.next_page else {
            return Ok(rows);
        };
        query.page = Some(next);
    }
}

async fn accounts(client: &Client) -> Result<Vec<Account>> {
    let ids: Vec<AccountId> = World::default()
        .accounts()
        .iter()
        .map(|account| account.id)
        .collect();
    let found = client.lookup_accounts(&ids).await?;
    ensure!(
        found.len() == ids.len(),
        "{} of {} accounts are gone",
        ids.len() - found.len(),
        ids.len()
    );
    Ok(found.into_iter().map(|record| record.account).collect())
}
