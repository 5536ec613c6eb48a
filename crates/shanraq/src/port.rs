//! The ledger as imports and statements need it, over gRPC. Owns: nothing but the conversion.

use crate::remote::{Remote, join, uint128};
use anyhow::Error;
use api::wire::v1 as proto;
use ledger::{
    Account, AccountFlags, AccountId, AccountReply, Amount, Balances, Code, CreateAccountResult,
    CreateTransferResult, DescribeLedgerResult, LedgerDescription, LedgerId, RowKind, RowNumber, TimestampNs,
    Transfer, TransferFlags, TransferId, TransferReply,
};
use payments::{EntryPage, EntryRow, LedgerPort, NewAccount, NewTransfer, PortError, StatementPort};

/// See the module. Every id of an import derives from its file, so repeating a call is safe.
pub struct GrpcPort {
    remote: Remote,
    /// Page tokens given out, by the number that stands for them.
    pages: Vec<String>,
}

impl GrpcPort {
    /// Over a connection.
    pub fn new(remote: Remote) -> Self {
        Self {
            remote,
            pages: Vec::new(),
        }
    }

    /// The connection back.
    pub fn into_remote(self) -> Remote {
        self.remote
    }
}

impl LedgerPort for GrpcPort {
    fn create_accounts(&mut self, accounts: &[NewAccount]) -> Result<Vec<AccountReply>, PortError> {
        let request = proto::CreateAccountsRequest {
            accounts: accounts.iter().map(account_out).collect(),
        };
        let reply = self.remote.call(request, async |client, request| {
            client.create_accounts(request).await
        });
        reply.map_err(fault)?.results.iter().map(account_reply).collect()
    }

    fn create_transfers(&mut self, transfers: &[NewTransfer]) -> Result<Vec<TransferReply>, PortError> {
        let request = proto::CreateTransfersRequest {
            transfers: transfers.iter().map(transfer_out).collect(),
        };
        let reply = self.remote.call(request, async |client, request| {
            client.create_transfers(request).await
        });
        reply.map_err(fault)?.results.iter().map(transfer_reply).collect()
    }

    fn describe_ledger(
        &mut self,
        description: &LedgerDescription,
    ) -> Result<DescribeLedgerResult, PortError> {
        let description = proto::LedgerDescription {
            ledger: description.ledger.0,
            name: description.name.clone(),
            currency: description.currency.clone(),
            scale: u32::from(description.scale),
        };
        let request = proto::DescribeLedgerRequest {
            description: Some(description),
        };
        let reply = self.remote.call(request, async |client, request| {
            client.describe_ledger(request).await
        });
        code(reply.map_err(fault)?.result, DescribeLedgerResult::from_code)
    }
}

impl StatementPort for GrpcPort {
    fn account(&mut self, id: AccountId) -> Result<Option<Account>, PortError> {
        let request = proto::LookupRequest {
            ids: vec![uint128(id.0)],
        };
        let page = self.remote.call(request, async |client, request| {
            client.lookup_accounts(request).await
        });
        Ok(page.map_err(fault)?.accounts.first().map(account_in))
    }

    fn balances_at(&mut self, id: AccountId, at: TimestampNs) -> Result<Balances, PortError> {
        let request = proto::AccountBalanceRequest {
            account_id: Some(uint128(id.0)),
            at: at.0,
        };
        let reply = self.remote.call(request, async |client, request| {
            client.account_balance(request).await
        });
        Ok(balances_in(&reply.map_err(fault)?.balances.unwrap_or_default()))
    }

    fn entries(
        &mut self,
        id: AccountId,
        from: TimestampNs,
        to: TimestampNs,
        after: Option<RowNumber>,
    ) -> Result<EntryPage, PortError> {
        let page = match after {
            None => String::new(),
            Some(RowNumber(number)) => self.pages[number as usize].clone(),
        };
        let request = proto::QueryRequest {
            timestamp_min: from.0,
            timestamp_max: to.0,
            limit: ledger::EVENTS_PER_REQUEST_MAX as u32,
            order: proto::Order::OldestFirst as i32,
            page,
            of: Some(proto::AccountSides {
                account_id: Some(uint128(id.0)),
                debits: true,
                credits: true,
            }),
            ..proto::QueryRequest::default()
        };
        let found = self.remote.call(request, async |client, request| {
            client.query_transfers(request).await
        });
        let found = found.map_err(fault)?;
        let rows = found.transfers.iter().map(entry_in).collect();
        let next = (!found.next_page.is_empty()).then(|| {
            self.pages.push(found.next_page);
            RowNumber(self.pages.len() as u64 - 1)
        });
        Ok(EntryPage { rows, next })
    }
}

fn fault(error: Error) -> PortError {
    PortError::new(format!("{error:#}"), true)
}

fn code<T>(code: i32, from: impl Fn(u16) -> Option<T>) -> Result<T, PortError> {
    let known = u16::try_from(code).ok().and_then(from);
    known.ok_or_else(|| PortError::new(format!("the node answered with an unknown result: {code}"), false))
}

fn high(value: u128) -> u64 {
    (value >> 64) as u64
}

fn account_out(new: &NewAccount) -> proto::Account {
    let account = &new.account;
    proto::Account {
        id: account.id.0 as u64,
        id_high: high(account.id.0),
        ledger: account.ledger.0,
        code: u32::from(account.code.0),
        flags: u32::from(account.flags.bits()),
        timestamp: account.timestamp.0,
        user_data_128: account.user_data_128 as u64,
        user_data_128_high: high(account.user_data_128),
        user_data_64: account.user_data_64,
        user_data_32: account.user_data_32,
        metadata_json: new.metadata.clone().unwrap_or_default(),
        ..proto::Account::default()
    }
}

fn account_in(account: &proto::Account) -> Account {
    Account {
        id: AccountId(join(account.id_high, account.id)),
        balances: balances_in(&account.balances.unwrap_or_default()),
        user_data_128: join(account.user_data_128_high, account.user_data_128),
        user_data_64: account.user_data_64,
        user_data_32: account.user_data_32,
        ledger: LedgerId(account.ledger),
        code: Code(account.code as u16),
        flags: AccountFlags::from_bits_retain(account.flags as u16),
        timestamp: TimestampNs(account.timestamp),
    }
}

fn balances_in(balances: &proto::Balances) -> Balances {
    Balances {
        debits_pending: Amount(join(balances.debits_pending_high, balances.debits_pending)),
        debits_posted: Amount(join(balances.debits_posted_high, balances.debits_posted)),
        credits_pending: Amount(join(balances.credits_pending_high, balances.credits_pending)),
        credits_posted: Amount(join(balances.credits_posted_high, balances.credits_posted)),
    }
}

fn transfer_out(new: &NewTransfer) -> proto::Transfer {
    let transfer = &new.transfer;
    proto::Transfer {
        id: transfer.id.0 as u64,
        id_high: high(transfer.id.0),
        debit_account_id: transfer.debit_account_id.0 as u64,
        debit_account_id_high: high(transfer.debit_account_id.0),
        credit_account_id: transfer.credit_account_id.0 as u64,
        credit_account_id_high: high(transfer.credit_account_id.0),
        amount: transfer.amount.0 as u64,
        amount_high: high(transfer.amount.0),
        pending_id: transfer.pending_id.0 as u64,
        pending_id_high: high(transfer.pending_id.0),
        user_data_128: transfer.user_data_128 as u64,
        user_data_128_high: high(transfer.user_data_128),
        user_data_64: transfer.user_data_64,
        user_data_32: transfer.user_data_32,
        timeout: transfer.timeout,
        ledger: transfer.ledger.0,
        code: u32::from(transfer.code.0),
        flags: u32::from(transfer.flags.bits()),
        timestamp: transfer.timestamp.0,
        metadata_json: new.metadata.clone().unwrap_or_default(),
    }
}

fn entry_in(stored: &proto::StoredTransfer) -> EntryRow {
    let transfer = stored.transfer.clone().unwrap_or_default();
    EntryRow {
        // The API pages by token and gives no row numbers; a row's timestamp is as unique.
        number: RowNumber(transfer.timestamp),
        kind: if stored.expired {
            RowKind::Expired
        } else {
            RowKind::Applied
        },
        metadata: Some(transfer.metadata_json.clone()).filter(|text| !text.is_empty()),
        transfer: Transfer {
            id: TransferId(join(transfer.id_high, transfer.id)),
            debit_account_id: AccountId(join(transfer.debit_account_id_high, transfer.debit_account_id)),
            credit_account_id: AccountId(join(transfer.credit_account_id_high, transfer.credit_account_id)),
            amount: Amount(join(transfer.amount_high, transfer.amount)),
            pending_id: TransferId(join(transfer.pending_id_high, transfer.pending_id)),
            user_data_128: join(transfer.user_data_128_high, transfer.user_data_128),
            user_data_64: transfer.user_data_64,
            user_data_32: transfer.user_data_32,
            timeout: transfer.timeout,
            ledger: LedgerId(transfer.ledger),
            code: Code(transfer.code as u16),
            flags: TransferFlags::from_bits_retain(transfer.flags as u16),
            timestamp: TimestampNs(transfer.timestamp),
        },
    }
}

fn account_reply(result: &proto::AccountResult) -> Result<AccountReply, PortError> {
    let timestamp = TimestampNs(result.timestamp);
    Ok(AccountReply {
        result: code(result.result, CreateAccountResult::from_code)?,
        timestamp,
    })
}

fn transfer_reply(result: &proto::TransferResult) -> Result<TransferReply, PortError> {
    let top = result.high.unwrap_or_default();
    let total = |high, low| Amount(join(high, low));
    Ok(TransferReply {
        result: code(result.result, CreateTransferResult::from_code)?,
        timestamp: TimestampNs(result.timestamp),
        debit: Balances {
            debits_pending: total(top.debit_debits_pending, result.debit_debits_pending),
            debits_posted: total(top.debit_debits_posted, result.debit_debits_posted),
            credits_pending: total(top.debit_credits_pending, result.debit_credits_pending),
            credits_posted: total(top.debit_credits_posted, result.debit_credits_posted),
        },
        credit: Balances {
            debits_pending: total(top.credit_debits_pending, result.credit_debits_pending),
            debits_posted: total(top.credit_debits_posted, result.credit_debits_posted),
            credits_pending: total(top.credit_credits_pending, result.credit_credits_pending),
            credits_posted: total(top.credit_credits_posted, result.credit_credits_posted),
        },
    })
}
