//! The ledger as imports and statements need it, over gRPC. Owns: nothing but the conversion.

use crate::remote::Remote;
use anyhow::Error;
use ledger::{
    Account, AccountId, AccountReply, DescribeLedgerResult, LedgerDescription, RowKind, RowNumber,
    TimestampNs, TransferReply,
};
use payments::{
    BalanceReading, EntryPage, EntryRow, LedgerPort, NewAccount, NewTransfer, PortError, StatementPort,
};
use wire::convert::{self, ConvertError};
use wire::v1 as proto;

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
        let results = reply.map_err(fault)?.results;
        let replies = results.iter().map(convert::account_result_from_wire);
        replies.collect::<Result<_, _>>().map_err(unreadable)
    }

    fn create_transfers(&mut self, transfers: &[NewTransfer]) -> Result<Vec<TransferReply>, PortError> {
        let request = proto::CreateTransfersRequest {
            transfers: transfers.iter().map(transfer_out).collect(),
        };
        let reply = self.remote.call(request, async |client, request| {
            client.create_transfers(request).await
        });
        let results = reply.map_err(fault)?.results;
        let replies = results.iter().map(convert::result_from_wire);
        replies.collect::<Result<_, _>>().map_err(unreadable)
    }

    fn describe_ledger(
        &mut self,
        description: &LedgerDescription,
    ) -> Result<DescribeLedgerResult, PortError> {
        let request = proto::DescribeLedgerRequest {
            description: Some(convert::description_to_wire(description)),
        };
        let reply = self.remote.call(request, async |client, request| {
            client.describe_ledger(request).await
        });
        let code = reply.map_err(fault)?.result;
        let result = u16::try_from(code).ok().and_then(DescribeLedgerResult::from_code);
        result
            .ok_or_else(|| PortError::new(format!("the node answered with an unknown result: {code}"), false))
    }
}

impl StatementPort for GrpcPort {
    fn account(&mut self, id: AccountId) -> Result<Option<Account>, PortError> {
        let request = proto::LookupRequest {
            ids: vec![id.0.into()],
        };
        let page = self.remote.call(request, async |client, request| {
            client.lookup_accounts(request).await
        });
        let accounts = page.map_err(fault)?.accounts;
        let found = accounts.first().map(convert::account_from_wire);
        found.transpose().map_err(unreadable)
    }

    fn balances_at(&mut self, id: AccountId, at: TimestampNs) -> Result<BalanceReading, PortError> {
        let request = proto::AccountBalanceRequest {
            account_id: Some(id.0.into()),
            at: at.0,
        };
        let reply = self.remote.call(request, async |client, request| {
            client.account_balance(request).await
        });
        let reply = reply.map_err(fault)?;
        Ok(BalanceReading {
            balances: convert::balances_from_wire(reply.balances.as_ref()),
            timestamp: TimestampNs(reply.timestamp),
        })
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
                account_id: Some(id.0.into()),
                debits: true,
                credits: true,
            }),
            ..proto::QueryRequest::default()
        };
        let found = self.remote.call(request, async |client, request| {
            client.query_transfers(request).await
        });
        let found = found.map_err(fault)?;
        let rows = found
            .transfers
            .into_iter()
            .map(entry_in)
            .collect::<Result<_, _>>()?;
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

fn unreadable(error: ConvertError) -> PortError {
    PortError::new(format!("the node answered what cannot be: {error}"), false)
}

fn account_out(new: &NewAccount) -> proto::Account {
    proto::Account {
        metadata_json: new.metadata.clone().unwrap_or_default(),
        ..convert::account_to_wire(&new.account)
    }
}

fn transfer_out(new: &NewTransfer) -> proto::Transfer {
    proto::Transfer {
        metadata_json: new.metadata.clone().unwrap_or_default(),
        ..convert::transfer_to_wire(&new.transfer)
    }
}

fn entry_in(stored: proto::StoredTransfer) -> Result<EntryRow, PortError> {
    let wire = stored.transfer.unwrap_or_default();
    let transfer = convert::transfer_from_wire(&wire).map_err(unreadable)?;
    Ok(EntryRow {
        // The API pages by token and gives no row numbers; a row's timestamp is as unique.
        number: RowNumber(transfer.timestamp.0),
        kind: if stored.expired {
            RowKind::Expired
        } else {
            RowKind::Applied
        },
        metadata: Some(wire.metadata_json).filter(|text| !text.is_empty()),
        transfer,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ledger::{Amount, Code, EVENTS_PER_REQUEST_MAX, LedgerId, Transfer, TransferFlags, TransferId};
    use payments::METADATA_BYTES_PER_CALL_MAX;
    use prost::Message;

    #[test]
    fn the_largest_call_of_an_import_is_one_that_a_node_takes() {
        let transfer = Transfer {
            id: TransferId(u128::MAX - 1),
            debit_account_id: AccountId(u128::MAX - 1),
            credit_account_id: AccountId(u128::MAX - 1),
            amount: Amount(u128::MAX),
            pending_id: TransferId(u128::MAX - 1),
            user_data_128: u128::MAX,
            user_data_64: u64::MAX,
            user_data_32: u32::MAX,
            timeout: u32::MAX,
            ledger: LedgerId(u32::MAX),
            code: Code(u16::MAX),
            flags: TransferFlags::all(),
            timestamp: TimestampNs(u64::MAX),
        };
        let metadata = "x".repeat(METADATA_BYTES_PER_CALL_MAX / EVENTS_PER_REQUEST_MAX);
        let new = NewTransfer {
            transfer,
            metadata: Some(metadata),
        };
        let request = proto::CreateTransfersRequest {
            transfers: vec![transfer_out(&new); EVENTS_PER_REQUEST_MAX],
        };
        let most = wire::REQUEST_BYTES_MAX;
        assert!(request.encoded_len() < most, "{} bytes", request.encoded_len());
    }
}
