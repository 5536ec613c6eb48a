//! The naive reference: the ledger's model, fed with what the node's change feed says was asked, and a list of rows.
//! Every question is answered by a look at every row. Must not: be made fast, or share code with the index.

use anyhow::{Result, ensure};
use client::{Block, Change, Query};
use ledger::{
    Account, AccountId, ActorId, Balances, Command, CommandBody, Events, Outcome, Row, RowKind, TimestampNs,
    TransferId,
};
use ledger_model::Model;
use std::collections::HashMap;

/// All that was, as the model sees it.
#[derive(Default)]
pub struct Reference {
    model: Model,
    rows: Vec<Row>,
    by_id: HashMap<TransferId, usize>,
    accounts: Vec<Account>,
}

impl Reference {
    /// Applies a block and makes sure that the node came to the same results.
    pub fn take(&mut self, block: Block) -> Result<()> {
        for entry in block.entries {
            let (body, told) = match entry.change {
                Change::Epoch => (CommandBody::BeginEpoch, Told::default()),
                Change::Accounts(pairs) => {
                    let (events, results) = pairs.into_iter().unzip();
                    let told = Told {
                        accounts: results,
                        ..Told::default()
                    };
                    (CommandBody::CreateAccounts(without_metadata(events)), told)
                }
                Change::Transfers(pairs) => {
                    let (events, results) = pairs.into_iter().unzip();
                    let told = Told {
                        transfers: results,
                        ..Told::default()
                    };
                    (CommandBody::CreateTransfers(without_metadata(events)), told)
                }
                Change::Expired(ids) => {
                    let limit = ids.len() as u32;
                    let told = Told {
                        expired: ids,
                        ..Told::default()
                    };
                    (CommandBody::ExpirePending { limit }, told)
                }
                Change::Described(description, result) => {
                    let told = Told {
                        described: Some(result),
                        ..Told::default()
                    };
                    (CommandBody::DescribeLedger(description), told)
                }
            };
            let command = Command {
                actor: ActorId(0),
                body,
            };
            let outcome = self.model.apply(entry.timestamp, &command);
            ensure!(
                outcome.timestamp == entry.timestamp && told == Told::of(&outcome),
                "block {}: the model comes to other results than the node",
                block.height
            );
            self.keep(outcome);
        }
        Ok(())
    }

    fn keep(&mut self, outcome: Outcome) {
        self.accounts.extend(outcome.new_accounts);
        for row in outcome.rows.into_iter().filter(|row| row.kind != RowKind::Burnt) {
            if row.kind == RowKind::Applied {
                self.by_id.insert(row.transfer.id, self.rows.len());
            }
            self.rows.push(row);
        }
    }

    /// Whether no pending transfer is open, so that nothing more happens by itself.
    pub fn is_settled(&self) -> bool {
        self.model.open.is_empty()
    }

    /// Every row of history, in order.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// The stored transfer of an id.
    pub fn transfer(&self, id: TransferId) -> Option<&Row> {
        self.by_id.get(&id).map(|index| &self.rows[*index])
    }

    /// Every account as it stands, in the order of creation.
    pub fn accounts(&self) -> Vec<Account> {
        let now = |account: &Account| self.model.account(account.id).expect("it was created");
        self.accounts.iter().map(now).collect()
    }

    /// Ids that were used up by a refusal.
    pub fn burnt(&self) -> impl Iterator<Item = TransferId> {
        self.model.burnt.iter().copied()
    }

    /// All transfers and expiries that match, from the page's begin to the end.
    pub fn transfers(&self, query: &Query) -> Vec<&Row> {
        let mut found: Vec<&Row> = self.rows.iter().filter(|row| matches(row, query)).collect();
        if !query.oldest_first {
            found.reverse();
        }
        found
    }

    /// All accounts that match.
    pub fn matching_accounts(&self, query: &Query) -> Vec<Account> {
        let mut found = self.accounts();
        found.retain(|account| {
            equals(query.user_data_128, account.user_data_128)
                && equals(query.user_data_64, account.user_data_64)
                && equals(query.user_data_32, account.user_data_32)
                && equals(query.ledger.0, account.ledger.0)
                && equals(query.code.0, account.code.0)
                && within(query, account.timestamp)
        });
        if !query.oldest_first {
            found.reverse();
        }
        found
    }

    /// An account's totals after everything stamped at or before a moment.
    pub fn balance_at(&self, account: AccountId, at: TimestampNs) -> Balances {
        let touches = |row: &&Row| {
            let transfer = &row.transfer;
            transfer.timestamp <= at
                && (transfer.debit_account_id == account || transfer.credit_account_id == account)
        };
        let last = self.rows.iter().rfind(touches);
        last.map_or_else(Balances::default, |row| {
            if row.transfer.debit_account_id == account {
                row.debit_balances
            } else {
                row.credit_balances
            }
        })
    }
}

/// What the node says came of a command.
#[derive(Debug, Default, PartialEq, Eq)]
struct Told {
    accounts: Vec<ledger::CreateAccountResult>,
    transfers: Vec<ledger::CreateTransferResult>,
    expired: Vec<TransferId>,
    described: Option<ledger::DescribeLedgerResult>,
}

impl Told {
    fn of(outcome: &Outcome) -> Self {
        Self {
            accounts: outcome.accounts.iter().map(|reply| reply.result).collect(),
            transfers: outcome.transfers.iter().map(|reply| reply.result).collect(),
            expired: outcome.expired.clone(),
            described: outcome.described,
        }
    }
}

/// The feed leaves metadata out. The load never repeats an id with other metadata, so no result rests on it.
fn without_metadata<E>(events: Vec<E>) -> Events<E> {
    Events {
        events,
        metadata: Vec::new(),
    }
}

fn equals<T: PartialEq + Default>(wanted: T, found: T) -> bool {
    wanted == T::default() || wanted == found
}

fn within(query: &Query, timestamp: TimestampNs) -> bool {
    timestamp >= query.timestamp_min && (query.timestamp_max.0 == 0 || timestamp <= query.timestamp_max)
}

fn matches(row: &Row, query: &Query) -> bool {
    let transfer = &row.transfer;
    let side = query.of.is_none_or(|of| {
        of.debits && transfer.debit_account_id == of.account
            || of.credits && transfer.credit_account_id == of.account
    });
    side && equals(query.user_data_128, transfer.user_data_128)
        && equals(query.user_data_64, transfer.user_data_64)
        && equals(query.user_data_32, transfer.user_data_32)
        && equals(query.ledger.0, transfer.ledger.0)
        && equals(query.code.0, transfer.code.0)
        && within(query, transfer.timestamp)
}

#[cfg(test)]
mod tests {
    use super::*;
    use client::{Entry, Sides};
    use ledger::{
        Amount, Code, CreateAccountResult, CreateTransferResult, Height, LedgerId, Transfer, TransferFlags,
    };

    fn account(id: u128) -> Account {
        Account {
            id: AccountId(id),
            ledger: LedgerId(1),
            code: Code(1),
            ..Account::default()
        }
    }

    fn transfer(id: u128, amount: u128) -> Transfer {
        Transfer {
            id: TransferId(id),
            debit_account_id: AccountId(1),
            credit_account_id: AccountId(2),
            amount: Amount(amount),
            user_data_64: id as u64,
            ledger: LedgerId(1),
            code: Code(1),
            ..Transfer::default()
        }
    }

    fn block(height: u64, change: Change) -> Block {
        let timestamp = TimestampNs(height * 1_000);
        Block {
            height: Height(height),
            epoch: 1,
            timestamp,
            previous_hash: [0; 32],
            hash: [0; 32],
            entries: vec![Entry {
                timestamp,
                actor: ActorId(0),
                change,
            }],
        }
    }

    /// Rows at 2,000 (5 moved), 3,000 (7 more) and 4,000 (a hold of 2).
    fn reference() -> Reference {
        let mut reference = Reference::default();
        let created = CreateAccountResult::Created;
        let accounts = vec![(account(1), created), (account(2), created)];
        reference.take(block(1, Change::Accounts(accounts))).unwrap();
        let pending = Transfer {
            flags: TransferFlags::PENDING,
            ..transfer(12, 2)
        };
        for (height, transfer) in [(2, transfer(10, 5)), (3, transfer(11, 7)), (4, pending)] {
            let change = Change::Transfers(vec![(transfer, CreateTransferResult::Created)]);
            reference.take(block(height, change)).unwrap();
        }
        reference
    }

    fn ids(rows: &[&Row]) -> Vec<u128> {
        rows.iter().map(|row| row.transfer.id.0).collect()
    }

    #[test]
    fn a_result_that_the_model_does_not_come_to_is_told() {
        let mut reference = reference();
        for (event, result) in [
            (transfer(10, 5), CreateTransferResult::Created),
            (transfer(13, 1), CreateTransferResult::Exists),
        ] {
            let wrong = block(5, Change::Transfers(vec![(event, result)]));
            assert!(reference.take(wrong).is_err());
        }
        let wrong = block(6, Change::Expired(vec![TransferId(12)]));
        assert!(
            reference.take(wrong).is_err(),
            "a hold without a timeout never expires"
        );
    }

    #[test]
    fn every_condition_is_looked_at() {
        let reference = reference();
        let all = Query::default();
        assert_eq!(ids(&reference.transfers(&all)), [12, 11, 10]);
        let oldest_first = Query {
            oldest_first: true,
            timestamp_min: TimestampNs(2_001),
            timestamp_max: TimestampNs(4_000),
            ..Query::default()
        };
        assert_eq!(ids(&reference.transfers(&oldest_first)), [11, 12]);
        let user_data = Query {
            user_data_64: 11,
            ..Query::default()
        };
        assert_eq!(ids(&reference.transfers(&user_data)), [11]);
        for (query, found) in [
            (
                Query {
                    code: Code(2),
                    ..Query::default()
                },
                0,
            ),
            (
                Query {
                    ledger: LedgerId(2),
                    ..Query::default()
                },
                0,
            ),
            (
                Query {
                    user_data_32: 1,
                    ..Query::default()
                },
                0,
            ),
            (
                Query {
                    user_data_128: 1,
                    ..Query::default()
                },
                0,
            ),
            (
                Query {
                    code: Code(1),
                    ..Query::default()
                },
                3,
            ),
        ] {
            assert_eq!(reference.transfers(&query).len(), found, "{query:?}");
        }
        for (account, debits, credits, found) in [
            (1, true, false, 3),
            (1, false, true, 0),
            (2, false, true, 3),
            (2, true, true, 3),
            (3, true, true, 0),
        ] {
            let of = Sides {
                account: AccountId(account),
                debits,
                credits,
            };
            let query = Query {
                of: Some(of),
                ..Query::default()
            };
            assert_eq!(reference.transfers(&query).len(), found, "{query:?}");
        }
    }

    #[test]
    fn a_balance_is_that_after_the_last_event_at_or_before_the_moment() {
        let reference = reference();
        let posted = |at| {
            reference
                .balance_at(AccountId(2), TimestampNs(at))
                .credits_posted
                .0
        };
        assert_eq!([1_999, 2_000, 2_999, 3_000, 9_000].map(posted), [0, 5, 5, 12, 12]);
        let debit = reference.balance_at(AccountId(1), TimestampNs(4_000));
        assert_eq!((debit.debits_posted.0, debit.debits_pending.0), (12, 2));
        assert!(!reference.is_settled());
    }
}
