//! The questions, how they are drawn, and how each answer is held against the reference.

use super::load::{ACCOUNTS, metadata_of};
use super::reference::Reference;
use anyhow::{Context, Result, ensure};
use client::{Client, Page, Query, Sides, TransferRecord};
use ledger::{AccountId, Amount, Balances, Code, LedgerId, Row, RowKind, TimestampNs, TransferId};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::future::Future;
use std::time::{Duration, Instant};

/// Pages of one list that are followed.
const PAGES_MAX: usize = 3;
/// Ids in one look-up.
const IDS: usize = 200;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Ids,
    AccountAndTime,
    UserData,
    Code,
    Ledger,
    Mixed,
    BalanceAsOf,
    Accounts,
}

const KINDS: &[(Kind, &str)] = &[
    (Kind::Ids, "transfers by id (200 at a time)"),
    (Kind::AccountAndTime, "transfers by account and time"),
    (Kind::UserData, "transfers by user data"),
    (Kind::Code, "transfers by code"),
    (Kind::Ledger, "transfers by ledger"),
    (Kind::Mixed, "transfers by several conditions"),
    (Kind::BalanceAsOf, "balance as of a time"),
    (Kind::Accounts, "accounts by user data, ledger, code"),
];

/// How the questions of one kind went; every answer was right.
#[derive(Debug)]
pub struct Tally {
    /// For people.
    pub name: &'static str,
    /// Calls made.
    pub calls: usize,
    /// Transfers, accounts or balances compared.
    pub compared: usize,
    /// Of a call, at the client.
    pub p50: Duration,
    /// Of a call, at the client.
    pub p99: Duration,
}

/// Asks so many questions of each kind.
///
/// # Errors
/// When an answer is not the reference's; it says what was asked.
pub async fn ask(client: &Client, reference: &Reference, seed: u64, count: u64) -> Result<Vec<Tally>> {
    let mut asker = Asker {
        client,
        reference,
        random: StdRng::seed_from_u64(seed),
        took: Vec::new(),
        compared: 0,
    };
    let mut tallies = Vec::new();
    for &(kind, name) in KINDS {
        for number in 0..count {
            asker
                .question(kind)
                .await
                .with_context(|| format!("{name}, question {number} of seed {seed}"))?;
        }
        tallies.push(asker.tally(name));
    }
    asker.trial_balances().await?;
    Ok(tallies)
}

struct Asker<'a> {
    client: &'a Client,
    reference: &'a Reference,
    random: StdRng,
    took: Vec<Duration>,
    compared: usize,
}

impl Asker<'_> {
    async fn question(&mut self, kind: Kind) -> Result<()> {
        match kind {
            Kind::Ids => self.ids().await,
            Kind::BalanceAsOf => self.balance().await,
            Kind::Accounts => {
                let query = self.accounts_query();
                self.accounts(query).await
            }
            Kind::AccountAndTime | Kind::UserData | Kind::Code | Kind::Ledger | Kind::Mixed => {
                let query = self.transfers_query(kind);
                let asked = format!("{query:?}");
                self.transfers(query).await.with_context(|| asked)
            }
        }
    }

    /// Ids that are there, that were burnt, and that nobody ever used.
    async fn ids(&mut self) -> Result<()> {
        let mut ids: Vec<TransferId> = (0..IDS).map(|_| self.row().transfer.id).collect();
        let skipped = self.below(1_000) as usize;
        ids.extend(self.reference.burnt().skip(skipped).take(20));
        ids.extend((0..20).map(|_| TransferId(self.random.random::<u128>() >> 1 | 1)));
        // Those of expiries are zero, which no transfer has.
        ids.retain(|id| id.0 != 0);
        let call = self.client.lookup_transfers(&ids);
        let found = timed(&mut self.took, call).await?;
        let expected: Vec<&Row> = ids.iter().filter_map(|id| self.reference.transfer(*id)).collect();
        self.same_rows(&found, &expected)
    }

    async fn balance(&mut self) -> Result<()> {
        let row = *self.row();
        let account = if self.one_in(4) {
            AccountId(u128::from(self.below(ACCOUNTS as u64)) + 1)
        } else {
            row.transfer.debit_account_id
        };
        // Exactly at an event, just before it, or between two.
        let at = TimestampNs((row.transfer.timestamp.0 + self.below(3)).max(2) - 1);
        let call = self.client.balance(account, Some(at));
        let found = timed(&mut self.took, call).await?;
        self.compared += 1;
        same(
            &found,
            &self.reference.balance_at(account, at),
            &format!("account {account} as of {at}"),
        )
    }

    async fn transfers(&mut self, mut query: Query) -> Result<()> {
        let reference = self.reference;
        let expected = reference.transfers(&query);
        let mut pages = expected.chunks(query.limit as usize);
        for _ in 0..PAGES_MAX {
            let call = self.client.query_transfers(&query);
            let Page { items, next_page } = timed(&mut self.took, call).await?;
            self.same_rows(&items, pages.next().unwrap_or_default())?;
            let Some(next) = next_page else {
                return same(&pages.len(), &0, "pages left where the list ends");
            };
            query.page = Some(next);
        }
        Ok(())
    }

    async fn accounts(&mut self, query: Query) -> Result<()> {
        let expected = self.reference.matching_accounts(&query);
        let call = self.client.query_accounts(&query);
        let found = timed(&mut self.took, call).await?;
        let found: Vec<_> = found.items.into_iter().map(|record| record.account).collect();
        let page = &expected[..expected.len().min(query.limit as usize)];
        self.compared += page.len();
        same(&found.as_slice(), &page, &format!("{query:?}"))
    }

    /// The sums of every ledger, by code.
    async fn trial_balances(&mut self) -> Result<()> {
        for ledger in [1, 2].map(LedgerId) {
            let mut sums: BTreeMap<u32, Balances> = BTreeMap::new();
            for account in self.reference.accounts().iter().filter(|a| a.ledger == ledger) {
                let sum = sums.entry(account.code.0.into()).or_default();
                let add = |sum: &mut Amount, more: Amount| sum.0 += more.0;
                add(&mut sum.debits_pending, account.balances.debits_pending);
                add(&mut sum.debits_posted, account.balances.debits_posted);
                add(&mut sum.credits_pending, account.balances.credits_pending);
                add(&mut sum.credits_posted, account.balances.credits_posted);
            }
            let trial = self.client.trial_balance(ledger).await?;
            let found: BTreeMap<u32, Balances> = trial
                .by_code
                .iter()
                .map(|line| (line.code, line.balances))
                .collect();
            same(&found, &sums, &format!("trial balance of ledger {ledger}"))?;
            ensure!(
                trial.totals.debits_posted == trial.totals.credits_posted && trial.totals.debits_posted.0 > 0,
                "ledger {ledger} does not balance"
            );
        }
        Ok(())
    }

    fn transfers_query(&mut self, kind: Kind) -> Query {
        let anchor = *self.row();
        let transfer = anchor.transfer;
        let wanted = |this: &mut Self, alone| kind == alone || kind == Kind::Mixed && this.one_in(2);
        let mut query = Query {
            limit: [1, 7, 100, 100, 100, 1_000, 8_190][self.below(7) as usize],
            oldest_first: self.one_in(2),
            ..Query::default()
        };
        if wanted(self, Kind::AccountAndTime) {
            let (debits, credits) = [(true, true), (true, false), (false, true)][self.below(3) as usize];
            query.of = Some(Sides {
                account: transfer.debit_account_id,
                debits,
                credits,
            });
        }
        if wanted(self, Kind::AccountAndTime) || self.one_in(3) {
            let mut bounds = [transfer.timestamp, self.row().transfer.timestamp];
            bounds.sort();
            [query.timestamp_min, query.timestamp_max] = bounds;
        }
        if wanted(self, Kind::UserData) {
            match self.below(3) {
                0 => query.user_data_128 = transfer.user_data_128,
                1 => query.user_data_64 = transfer.user_data_64,
                _ => query.user_data_32 = transfer.user_data_32,
            }
        }
        if wanted(self, Kind::Code) {
            query.code = transfer.code;
        }
        if wanted(self, Kind::Ledger) {
            query.ledger = transfer.ledger;
        }
        query
    }

    fn accounts_query(&mut self) -> Query {
        let mut query = Query {
            limit: [1, 50, 8_190][self.below(3) as usize],
            oldest_first: self.one_in(2),
            ..Query::default()
        };
        if self.one_in(2) {
            query.user_data_128 = self.below(6).into();
        }
        if self.one_in(3) {
            query.user_data_64 = self.below(8);
        }
        if self.one_in(3) {
            query.user_data_32 = self.below(3) as u32;
        }
        if self.one_in(2) {
            query.ledger = LedgerId(self.below(3) as u32);
        }
        if self.one_in(2) {
            query.code = Code(self.below(6) as u16);
        }
        query
    }

    fn same_rows(&mut self, found: &[TransferRecord], expected: &[&Row]) -> Result<()> {
        same(&found.len(), &expected.len(), "number of transfers")?;
        self.compared += found.len();
        for (found, expected) in found.iter().zip(expected) {
            let expired = expected.kind == RowKind::Expired;
            let wanted = TransferRecord {
                transfer: expected.transfer,
                expired,
                debit_balances: expected.debit_balances,
                credit_balances: expected.credit_balances,
                metadata_json: metadata_of(&expected.transfer),
            };
            same(found, &wanted, "a transfer")?;
        }
        Ok(())
    }

    fn row(&mut self) -> &Row {
        let rows = self.reference.rows();
        &rows[self.random.random_range(0..rows.len())]
    }

    fn below(&mut self, end: u64) -> u64 {
        self.random.random_range(0..end)
    }

    fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }

    fn tally(&mut self, name: &'static str) -> Tally {
        self.took.sort_unstable();
        let at = |share: f64| self.took[((self.took.len() - 1) as f64 * share) as usize];
        let tally = Tally {
            name,
            calls: self.took.len(),
            compared: self.compared,
            p50: at(0.5),
            p99: at(0.99),
        };
        self.took.clear();
        self.compared = 0;
        tally
    }
}

async fn timed<T>(
    took: &mut Vec<Duration>,
    call: impl Future<Output = Result<T, client::Error>>,
) -> Result<T> {
    let began = Instant::now();
    let answer = call.await?;
    took.push(began.elapsed());
    Ok(answer)
}

fn same<T: PartialEq + Debug>(found: &T, expected: &T, what: &str) -> Result<()> {
    ensure!(
        found == expected,
        "{what}: the node says\n  {found:?}\nand the reference\n  {expected:?}"
    );
    Ok(())
}
