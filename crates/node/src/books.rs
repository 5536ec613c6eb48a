//! A second set of books (pure): balances added up from rows alone, independent of the ledger that made them.
//! Owns: what `verify` believes an account's totals must be after each row.

use ledger::{AccountNumber, Amount, Balances, Row, RowKind, TimestampNs, TransferFlags, TransferId};
use std::collections::HashMap;

/// See the module.
#[derive(Default)]
pub struct Books {
    accounts: Vec<Balances>,
    /// Amounts of pending transfers that are neither posted, voided nor expired.
    open: HashMap<TransferId, Amount>,
    last_row: TimestampNs,
    last_account: TimestampNs,
}

impl Books {
    /// Opens an account's page.
    ///
    /// # Errors
    /// What is wrong, for people.
    pub fn account(&mut self, timestamp: TimestampNs) -> Result<(), String> {
        if timestamp <= self.last_account {
            return Err(format!(
                "account timestamps do not rise: {timestamp} after {}",
                self.last_account
            ));
        }
        self.last_account = timestamp;
        self.accounts.push(Balances::default());
        Ok(())
    }

    /// Books a row and compares the totals that it states.
    ///
    /// # Errors
    /// What is wrong, for people.
    pub fn row(&mut self, row: &Row) -> Result<(), String> {
        if row.kind == RowKind::Burnt {
            return Ok(());
        }
        if row.transfer.timestamp <= self.last_row {
            return Err(format!(
                "row timestamps do not rise: {} after {}",
                row.transfer.timestamp, self.last_row
            ));
        }
        self.last_row = row.transfer.timestamp;
        let change = self.change(row)?;
        let debit = self.page(row.debit)?;
        subtract(&mut debit.debits_pending, change.released)?;
        add(&mut debit.debits_pending, change.reserved)?;
        add(&mut debit.debits_posted, change.posted)?;
        if *debit != row.debit_balances {
            return Err(format!(
                "transfer {}: the debit account's totals are not the sum of its entries",
                row.transfer.id
            ));
        }
        let credit = self.page(row.credit)?;
        subtract(&mut credit.credits_pending, change.released)?;
        add(&mut credit.credits_pending, change.reserved)?;
        add(&mut credit.credits_posted, change.posted)?;
        if *credit != row.credit_balances {
            return Err(format!(
                "transfer {}: the credit account's totals are not the sum of its entries",
                row.transfer.id
            ));
        }
        Ok(())
    }

    /// What an account's totals must be.
    pub fn balances(&self, account: AccountNumber) -> Option<&Balances> {
        self.accounts.get(account.0 as usize)
    }

    fn change(&mut self, row: &Row) -> Result<Change, String> {
        let transfer = &row.transfer;
        let mut take = |id: TransferId| {
            self.open
                .remove(&id)
                .ok_or_else(|| format!("pending transfer {id} is resolved but was not open"))
        };
        if row.kind == RowKind::Expired {
            return Ok(Change {
                released: take(transfer.pending_id)?,
                ..Change::default()
            });
        }
        if transfer.flags.contains(TransferFlags::POST_PENDING_TRANSFER) {
            return Ok(Change {
                released: take(transfer.pending_id)?,
                posted: transfer.amount,
                ..Change::default()
            });
        }
        if transfer.flags.contains(TransferFlags::VOID_PENDING_TRANSFER) {
            return Ok(Change {
                released: take(transfer.pending_id)?,
                ..Change::default()
            });
        }
        if transfer.flags.contains(TransferFlags::PENDING) {
            self.open.insert(transfer.id, transfer.amount);
            return Ok(Change {
                reserved: transfer.amount,
                ..Change::default()
            });
        }
        Ok(Change {
            posted: transfer.amount,
            ..Change::default()
        })
    }

    fn page(&mut self, account: AccountNumber) -> Result<&mut Balances, String> {
        self.accounts
            .get_mut(account.0 as usize)
            .ok_or_else(|| format!("account number {account} does not exist"))
    }
}

#[derive(Clone, Copy, Default)]
struct Change {
    reserved: Amount,
    released: Amount,
    posted: Amount,
}

fn add(total: &mut Amount, amount: Amount) -> Result<(), String> {
    total.0 = total
        .0
        .checked_add(amount.0)
        .ok_or("a total is beyond 128 bits")?;
    Ok(())
}

fn subtract(total: &mut Amount, amount: Amount) -> Result<(), String> {
    total.0 = total
        .0
        .checked_sub(amount.0)
        .ok_or("more is released than was pending")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ledger::Transfer;

    fn row(
        id: u128,
        flags: TransferFlags,
        pending_id: u128,
        amount: u128,
        debit: Balances,
        credit: Balances,
    ) -> Row {
        let transfer = Transfer {
            id: TransferId(id),
            pending_id: TransferId(pending_id),
            amount: Amount(amount),
            timestamp: TimestampNs(id as u64 + 10),
            flags,
            ..Transfer::default()
        };
        Row {
            kind: RowKind::Applied,
            transfer,
            debit: AccountNumber(0),
            credit: AccountNumber(1),
            debit_balances: debit,
            credit_balances: credit,
        }
    }

    fn books() -> Books {
        let mut books = Books::default();
        books.account(TimestampNs(1)).unwrap();
        books.account(TimestampNs(2)).unwrap();
        books
    }

    #[test]
    fn a_partial_post_releases_the_rest() {
        let mut books = books();
        let debit = Balances {
            debits_pending: Amount(10),
            ..Balances::default()
        };
        let credit = Balances {
            credits_pending: Amount(10),
            ..Balances::default()
        };
        books
            .row(&row(1, TransferFlags::PENDING, 0, 10, debit, credit))
            .unwrap();
        let debit = Balances {
            debits_posted: Amount(4),
            ..Balances::default()
        };
        let credit = Balances {
            credits_posted: Amount(4),
            ..Balances::default()
        };
        books
            .row(&row(2, TransferFlags::POST_PENDING_TRANSFER, 1, 4, debit, credit))
            .unwrap();
        assert!(
            books
                .row(&row(3, TransferFlags::VOID_PENDING_TRANSFER, 1, 0, debit, credit))
                .is_err()
        );
    }

    #[test]
    fn a_wrong_total_and_a_time_that_goes_back_are_found() {
        let credit = Balances {
            credits_posted: Amount(5),
            ..Balances::default()
        };
        let wrong = Balances {
            debits_posted: Amount(6),
            ..Balances::default()
        };
        assert!(
            books()
                .row(&row(1, TransferFlags::empty(), 0, 5, wrong, credit))
                .is_err()
        );
        let right = Balances {
            debits_posted: Amount(5),
            ..Balances::default()
        };
        let mut books = books();
        books
            .row(&row(2, TransferFlags::empty(), 0, 5, right, credit))
            .unwrap();
        assert!(
            books
                .row(&row(1, TransferFlags::empty(), 0, 0, right, credit))
                .is_err()
        );
    }
}
