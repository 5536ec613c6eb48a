//! What a node shows of one world, asked through its interface.

use crate::history::{Observed, ObservedRow};
use crate::load::World;
use anyhow::{Result, ensure};
use client::{Client, Query};
use ledger::{AccountId, Balances, RowKind};

/// Rows in one page.
const PAGE: u32 = 8_190;

/// All rows and accounts of a world.
///
/// # Errors
/// The node does not answer, or an account is not there.
pub async fn observe(client: &Client, world: World) -> Result<Observed> {
    let mut query = Query {
        ledger: world.ledger(),
        limit: PAGE,
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
        let Some(next) = page.next_page else { break };
        query.page = Some(next);
    }
    let ids: Vec<AccountId> = world.accounts().iter().map(|account| account.id).collect();
    let found = client.lookup_accounts(&ids).await?;
    let gone = ids.len() - found.len();
    ensure!(gone == 0, "{gone} of {} accounts are gone", ids.len());
    Ok(Observed {
        rows,
        accounts: found.into_iter().map(|record| record.account).collect(),
    })
}

/// What a node says of a world's ledger as a whole.
///
/// # Errors
/// The node does not answer.
pub async fn totals(client: &Client, world: World) -> Result<Balances> {
    Ok(client.trial_balance(world.ledger()).await?.totals)
}
