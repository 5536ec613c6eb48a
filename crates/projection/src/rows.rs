//! What a step writes, collected while blocks are applied (pure). Owns: how rows of the tables look.

use crate::replica::Replica;
use crate::values::{CopyBuffer, Numeric, Uuid};
use journal::{Block, BlockHash};
use ledger::{
    Account, Balances, Height, Outcome, Row, RowKind, TimestampNs, Transfer, TransferFlags, TransferId,
};
use std::collections::{BTreeSet, HashMap};

/// The tables' changes from one block to another.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// The last block that is in it; 0 while there is none.
    pub(crate) height: Height,
    pub(crate) hash: BlockHash,
    pub(crate) timestamp: TimestampNs,
    pub(crate) transfers: CopyBuffer,
    pub(crate) accounts: CopyBuffer,
    pub(crate) pendings: CopyBuffer,
    pub(crate) touched: Touched,
    /// Pending transfers that are no longer open.
    pub(crate) closed: Vec<Uuid>,
    /// Partitions of `transfers` that are written to, by number.
    pub(crate) partitions: BTreeSet<u64>,
    /// Whether a ledger was described.
    pub(crate) is_described: bool,
    opened: HashMap<TransferId, Transfer>,
    numbers: Vec<u32>,
    is_touched: Vec<bool>,
}

/// Accounts that stood before the step and changed, column by column.
#[derive(Debug, Default)]
pub(crate) struct Touched {
    pub(crate) ids: Vec<Uuid>,
    pub(crate) flags: Vec<i32>,
    pub(crate) debits_pending: Vec<Numeric>,
    pub(crate) debits_posted: Vec<Numeric>,
    pub(crate) credits_pending: Vec<Numeric>,
    pub(crate) credits_posted: Vec<Numeric>,
}

impl Changes {
    /// Forgets everything and keeps the buffers.
    pub(crate) fn clear(&mut self) {
        for buffer in [&mut self.transfers, &mut self.accounts, &mut self.pendings] {
            buffer.clear();
        }
        self.height = Height(0);
        self.touched.clear();
        self.closed.clear();
        self.partitions.clear();
        self.opened.clear();
        self.is_described = false;
        for number in self.numbers.drain(..) {
            self.is_touched[number as usize] = false;
        }
    }

    /// Takes in what a part of a block did. `accounts_before` stood when the step began.
    pub(crate) fn outcome(&mut self, outcome: &Outcome, accounts_before: u32, partition_ns: u64) {
        self.is_described |= outcome.described.is_some();
        for row in &outcome.rows {
            if row.kind == RowKind::Burnt {
                continue;
            }
            put_transfer(&mut self.transfers, row);
            self.partitions.insert(row.transfer.timestamp.0 / partition_ns);
            self.pending(row);
            for number in [row.debit.0, row.credit.0] {
                if number < accounts_before {
                    self.touch(number);
                }
            }
        }
    }

    /// The step now ends behind this block.
    pub(crate) fn block(&mut self, block: &Block) {
        self.height = block.height;
        self.hash = block.hash;
        self.timestamp = block.last_event_timestamp();
    }

    /// Writes down the accounts as they stand at the step's end.
    pub(crate) fn finish(&mut self, replica: &Replica, accounts_before: u32) {
        for number in accounts_before..replica.accounts() {
            put_account(&mut self.accounts, replica.account(number));
        }
        // In the order in which they lie on the server's pages.
        self.numbers.sort_unstable();
        for &number in &self.numbers {
            self.touched.push(replica.account(number));
        }
        for transfer in self.opened.values() {
            put_pending(&mut self.pendings, transfer);
        }
    }

    fn pending(&mut self, row: &Row) {
        let transfer = &row.transfer;
        if transfer.pending_id != TransferId(0) {
            if self.opened.remove(&transfer.pending_id).is_none() {
                self.closed.push(Uuid(transfer.pending_id.0));
            }
        } else if transfer.flags.contains(TransferFlags::PENDING) {
            self.opened.insert(transfer.id, *transfer);
        }
    }

    fn touch(&mut self, number: u32) {
        let at = number as usize;
        if self.is_touched.len() <= at {
            self.is_touched.resize(at + 1, false);
        }
        if !std::mem::replace(&mut self.is_touched[at], true) {
            self.numbers.push(number);
        }
    }
}

impl Touched {
    fn clear(&mut self) {
        let Self {
            ids,
            flags,
            debits_pending,
            debits_posted,
            credits_pending,
            credits_posted,
        } = self;
        ids.clear();
        flags.clear();
        for column in [debits_pending, debits_posted, credits_pending, credits_posted] {
            column.clear();
        }
    }

    fn push(&mut self, account: &Account) {
        let balances = &account.balances;
        self.ids.push(Uuid(account.id.0));
        self.flags.push(account.flags.bits().into());
        self.debits_pending.push(Numeric(balances.debits_pending.0));
        self.debits_posted.push(Numeric(balances.debits_posted.0));
        self.credits_pending.push(Numeric(balances.credits_pending.0));
        self.credits_posted.push(Numeric(balances.credits_posted.0));
    }
}

/// What a row of `transfers` is called.
fn kind(row: &Row) -> &'static str {
    let flags = row.transfer.flags;
    if row.kind == RowKind::Expired {
        "expiry"
    } else if flags.contains(TransferFlags::POST_PENDING_TRANSFER) {
        "post"
    } else if flags.contains(TransferFlags::VOID_PENDING_TRANSFER) {
        "void"
    } else if flags.contains(TransferFlags::PENDING) {
        "pending"
    } else {
        "transfer"
    }
}

pub(crate) const TRANSFER_COLUMNS: &str = "timestamp_ns, id, kind, debit_account_id, credit_account_id, amount, \
     pending_id, ledger, code, flags, timeout_s, user_data_128, user_data_64, user_data_32, debit_debits_pending, \
     debit_debits_posted, debit_credits_pending, debit_credits_posted, credit_debits_pending, credit_debits_posted, \
     credit_credits_pending, credit_credits_posted";

fn put_transfer(out: &mut CopyBuffer, row: &Row) {
    let transfer = &row.transfer;
    out.row(22)
        .int8(transfer.timestamp.0 as i64)
        .uuid_or_null(transfer.id.0)
        .text(kind(row))
        .uuid(transfer.debit_account_id.0)
        .uuid(transfer.credit_account_id.0)
        .numeric(transfer.amount.0)
        .uuid_or_null(transfer.pending_id.0)
        .int8(transfer.ledger.0.into())
        .int4(transfer.code.0.into())
        .int4(transfer.flags.bits().into())
        .int8_or_null(transfer.timeout)
        .uuid_or_null(transfer.user_data_128)
        .numeric_or_null(transfer.user_data_64.into())
        .int8_or_null(transfer.user_data_32);
    put_balances(out, &row.debit_balances);
    put_balances(out, &row.credit_balances);
}

fn put_balances(out: &mut CopyBuffer, balances: &Balances) {
    out.numeric(balances.debits_pending.0)
        .numeric(balances.debits_posted.0)
        .numeric(balances.credits_pending.0)
        .numeric(balances.credits_posted.0);
}

pub(crate) const ACCOUNT_COLUMNS: &str = "id, ledger, code, flags, debits_pending, debits_posted, credits_pending, \
     credits_posted, user_data_128, user_data_64, user_data_32, timestamp_ns";

fn put_account(out: &mut CopyBuffer, account: &Account) {
    out.row(12)
        .uuid(account.id.0)
        .int8(account.ledger.0.into())
        .int4(account.code.0.into())
        .int4(account.flags.bits().into());
    put_balances(out, &account.balances);
    out.uuid_or_null(account.user_data_128)
        .numeric_or_null(account.user_data_64.into())
        .int8_or_null(account.user_data_32)
        .int8(account.timestamp.0 as i64);
}

pub(crate) const PENDING_COLUMNS: &str = "id, timestamp_ns, debit_account_id, credit_account_id, amount, ledger, \
     code, flags, timeout_s, user_data_128, user_data_64, user_data_32";

fn put_pending(out: &mut CopyBuffer, transfer: &Transfer) {
    out.row(12)
        .uuid(transfer.id.0)
        .int8(transfer.timestamp.0 as i64)
        .uuid(transfer.debit_account_id.0)
        .uuid(transfer.credit_account_id.0)
        .numeric(transfer.amount.0)
        .int8(transfer.ledger.0.into())
        .int4(transfer.code.0.into())
        .int4(transfer.flags.bits().into())
        .int8_or_null(transfer.timeout)
        .uuid_or_null(transfer.user_data_128)
        .numeric_or_null(transfer.user_data_64.into())
        .int8_or_null(transfer.user_data_32);
}
