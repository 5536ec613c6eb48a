//! Questions to history, and their answers found naively. Owns: how a query is answered by looking at every row.

use crate::live::Live;
use crate::truth::Truth;
use crate::{Broken, ensure};
use history::{AccountSide, Filter, Matches, Order, StoredRow};
use ledger::{AccountNumber, Balances, Code, Height, LedgerId, RowKind, RowNumber, TimestampNs, TransferId};
use rand::Rng;
use rand::rngs::StdRng;

/// A question.
#[derive(Clone, Debug)]
pub enum Question {
    /// Transfers by id.
    Transfers(Vec<TransferId>),
    /// Transfers that match.
    Query(Filter),
    /// Accounts that match.
    Accounts(Filter),
    /// An account's totals as of a time.
    BalanceAt(AccountNumber, TimestampNs),
}

type Balance = Option<(RowNumber, TimestampNs, Balances)>;

impl Question {
    /// Draws one that has an answer now and then.
    pub fn draw(random: &mut StdRng, truth: &Truth) -> Self {
        let rows = truth.rows.len() as u64;
        let accounts = truth.accounts.len() as u64;
        let mut below = |end: u64| random.next_u64() % end.max(1);
        let time = |row: u64| {
            truth
                .rows
                .get(row as usize)
                .map_or(TimestampNs(0), |(row, _)| row.transfer.timestamp)
        };
        let account = AccountNumber(below(accounts) as u32);
        match below(4) {
            0 => Self::Transfers((0..5).map(|_| TransferId(below(rows + 3).into())).collect()),
            1 if accounts > 0 => Self::BalanceAt(account, time(below(rows))),
            kind => {
                let sides = below(6);
                let mut filter = Filter {
                    account: (sides < 3 && accounts > 0).then_some(AccountSide {
                        account,
                        debits: sides != 1,
                        credits: sides != 2,
                    }),
                    user_data_128: below(3).into(),
                    user_data_64: if below(3) == 0 { below(3) } else { 0 },
                    user_data_32: if below(3) == 0 { below(3) as u32 } else { 0 },
                    ledger: LedgerId(below(3) as u32),
                    code: Code(below(2) as u16),
                    limit: below(20) as u32 + 1,
                    order: [Order::NewestFirst, Order::OldestFirst][below(2) as usize],
                    ..Filter::default()
                };
                if below(3) > 0 {
                    (filter.user_data_128, filter.ledger) = (0, LedgerId(0));
                }
                if below(3) == 0 {
                    filter.timestamp_min = time(below(rows));
                }
                if below(3) == 0 {
                    filter.timestamp_max = time(below(rows)).max(filter.timestamp_min);
                }
                if below(3) == 0 {
                    filter.after = Some(RowNumber(below(rows + 2)));
                }
                if kind == 3 {
                    Self::Accounts(filter)
                } else {
                    Self::Query(filter)
                }
            }
        }
    }

    /// Puts it, and compares. `trouble`: the disk may have failed, so that a clear error is right as well.
    pub fn check(&self, live: &Live, truth: &Truth, floor: Height, trouble: bool) -> Result<(), Broken> {
        let reader = &live.reader;
        let position = reader.published();
        ensure!(
            position.height >= floor && position.height <= truth.head(),
            "history stands at {}; it must be between {floor} and {}",
            position.height,
            truth.head()
        );
        let at = position.height;
        let compared = match self {
            Self::Transfers(ids) => reader.transfers(ids).map(|found| {
                let right: Vec<_> = ids.iter().map(|id| find(truth, at, *id)).collect();
                (format!("{found:?}"), format!("{right:?}"))
            }),
            Self::Query(filter) => reader
                .query_transfers(filter)
                .map(|found| (format!("{found:?}"), format!("{:?}", query(truth, at, filter)))),
            Self::Accounts(filter) => reader
                .query_accounts(filter)
                .map(|found| (format!("{found:?}"), format!("{:?}", accounts(truth, at, filter)))),
            Self::BalanceAt(account, time) => reader.balance_at(*account, *time).map(|found| {
                (
                    format!("{found:?}"),
                    format!("{:?}", balance(truth, at, *account, *time)),
                )
            }),
        };
        match compared {
            Ok((found, right)) => ensure!(
                found == right,
                "history at {at} answers {self:?} with {found}, right is {right}"
            ),
            Err(error) => ensure!(trouble, "history cannot answer {self:?}: {error}"),
        }
        Ok(())
    }
}

fn rows(truth: &Truth, at: Height) -> impl DoubleEndedIterator<Item = StoredRow> {
    let end = truth.known(at).rows as usize;
    let rows = truth.rows[..end].iter().enumerate();
    rows.map(|(number, (row, metadata))| StoredRow {
        number: RowNumber(number as u64),
        row: *row,
        metadata: metadata.clone(),
    })
}

fn find(truth: &Truth, at: Height, id: TransferId) -> Option<StoredRow> {
    rows(truth, at).find(|stored| stored.row.kind == RowKind::Applied && stored.row.transfer.id == id)
}

fn within(filter: &Filter, time: TimestampNs) -> bool {
    time >= filter.timestamp_min && (filter.timestamp_max.0 == 0 || time <= filter.timestamp_max)
}

fn beyond(filter: &Filter, number: u64) -> bool {
    filter.after.is_none_or(|after| match filter.order {
        Order::NewestFirst => number < after.0,
        Order::OldestFirst => number > after.0,
    })
}

fn page<T>(filter: &Filter, mut all: Vec<T>) -> Matches<T> {
    if filter.order == Order::NewestFirst {
        all.reverse();
    }
    let more = all.len() > filter.limit as usize;
    all.truncate(filter.limit as usize);
    Matches { items: all, more }
}

fn query(truth: &Truth, at: Height, filter: &Filter) -> Matches<StoredRow> {
    let matches = |stored: &StoredRow| {
        let row = &stored.row;
        let transfer = &row.transfer;
        row.kind != RowKind::Burnt
            && beyond(filter, stored.number.0)
            && within(filter, transfer.timestamp)
            && filter.account.is_none_or(|side| {
                (side.debits && row.debit == side.account) || (side.credits && row.credit == side.account)
            })
            && (filter.user_data_128 == 0 || filter.user_data_128 == transfer.user_data_128)
            && (filter.user_data_64 == 0 || filter.user_data_64 == transfer.user_data_64)
            && (filter.user_data_32 == 0 || filter.user_data_32 == transfer.user_data_32)
            && (filter.ledger.0 == 0 || filter.ledger == transfer.ledger)
            && (filter.code.0 == 0 || filter.code == transfer.code)
    };
    page(filter, rows(truth, at).filter(matches).collect())
}

fn accounts(truth: &Truth, at: Height, filter: &Filter) -> Matches<AccountNumber> {
    let matches = |number: &AccountNumber| {
        let account = truth.model.accounts[&truth.accounts[number.0 as usize].id].given;
        beyond(filter, number.0.into())
            && within(filter, account.timestamp)
            && (filter.user_data_128 == 0 || filter.user_data_128 == account.user_data_128)
            && (filter.user_data_64 == 0 || filter.user_data_64 == account.user_data_64)
            && (filter.user_data_32 == 0 || filter.user_data_32 == account.user_data_32)
            && (filter.ledger.0 == 0 || filter.ledger == account.ledger)
            && (filter.code.0 == 0 || filter.code == account.code)
    };
    let numbers = (0..truth.known(at).accounts).map(AccountNumber);
    page(filter, numbers.filter(matches).collect())
}

fn balance(truth: &Truth, at: Height, account: AccountNumber, time: TimestampNs) -> Balance {
    let touching = |stored: &StoredRow| {
        let row = &stored.row;
        row.kind != RowKind::Burnt
            && row.transfer.timestamp <= time
            && (row.debit == account || row.credit == account)
    };
    let StoredRow { number, row, .. } = rows(truth, at).rev().find(touching)?;
    let balances = if row.debit == account {
        row.debit_balances
    } else {
        row.credit_balances
    };
    Some((number, row.transfer.timestamp, balances))
}
