//! The calls that read. Owns: filters and pages in protobuf.

use super::{Service, account_ids, field, transfer_ids};
use crate::error::{ApiError, Place};
use crate::rest::{PageKind, page_from, page_token};
use history::{Filter, Order};
use ledger::{AccountId, Code, LedgerId, RowKind, TimestampNs};
use node::{AccountEntries, AccountView, Page, TransferView};
use tonic::Request;
use wire::convert;
use wire::v1;

impl Service {
    pub(super) async fn read_accounts(
        &self,
        request: Request<v1::LookupRequest>,
    ) -> Result<v1::AccountPage, ApiError> {
        let deadline = self.context(&request)?.deadline;
        let ids = account_ids(request.get_ref())?;
        let items = self.edge.read(deadline, self.edge.node.accounts(ids)).await?;
        account_page(Page { items, next: None })
    }

    pub(super) async fn read_transfers(
        &self,
        request: Request<v1::LookupRequest>,
    ) -> Result<v1::TransferPage, ApiError> {
        let deadline = self.context(&request)?.deadline;
        let ids = transfer_ids(request.get_ref())?;
        let items = self.edge.read(deadline, self.edge.node.transfers(ids)).await?;
        transfer_page(Page { items, next: None })
    }

    pub(super) async fn find_accounts(
        &self,
        request: Request<v1::QueryRequest>,
    ) -> Result<v1::AccountPage, ApiError> {
        let deadline = self.context(&request)?.deadline;
        let query = request.get_ref();
        if query.of.is_some() {
            return Err(field("of", "is for transfers only"));
        }
        let filter = filter(query, PageKind::Accounts)?;
        account_page(
            self.edge
                .read(deadline, self.edge.node.query_accounts(filter))
                .await?,
        )
    }

    pub(super) async fn find_transfers(
        &self,
        request: Request<v1::QueryRequest>,
    ) -> Result<v1::TransferPage, ApiError> {
        let deadline = self.context(&request)?.deadline;
        let query = request.get_ref();
        let filter = filter(query, PageKind::Transfers)?;
        let of = match &query.of {
            Some(of) if !of.debits && !of.credits => {
                return Err(field("of.debits", history::FilterError::Side.to_string()));
            }
            Some(of) => Some(AccountEntries {
                account: AccountId(convert::number(of.account_id)),
                debits: of.debits,
                credits: of.credits,
            }),
            None => None,
        };
        transfer_page(
            self.edge
                .read(deadline, self.edge.node.query_transfers(of, filter))
                .await?,
        )
    }

    pub(super) async fn read_balance(
        &self,
        request: Request<v1::AccountBalanceRequest>,
    ) -> Result<v1::AccountBalanceReply, ApiError> {
        let deadline = self.context(&request)?.deadline;
        let request = request.get_ref();
        let account = AccountId(convert::number(request.account_id));
        let at = TimestampNs(if request.at == 0 { u64::MAX } else { request.at });
        let balance = self
            .edge
            .read(deadline, self.edge.node.balance_at(account, at))
            .await?;
        Ok(v1::AccountBalanceReply {
            timestamp: balance.timestamp.0,
            balances: Some(convert::balances_to_wire(&balance.balances)),
        })
    }

    pub(super) async fn read_trial_balance(
        &self,
        request: Request<v1::TrialBalanceRequest>,
    ) -> Result<v1::TrialBalanceReply, ApiError> {
        let deadline = self.context(&request)?.deadline;
        let ledger = LedgerId(request.get_ref().ledger);
        let trial = self
            .edge
            .read(deadline, self.edge.node.trial_balance(ledger))
            .await?;
        let line = |line: &node::TrialBalanceLine| v1::TrialBalanceLine {
            code: u32::from(line.code.0),
            accounts: line.accounts,
            balances: Some(convert::balances_to_wire(&line.balances)),
        };
        Ok(v1::TrialBalanceReply {
            description: Some(convert::description_to_wire(&trial.description)),
            height: trial.height.0,
            timestamp: trial.timestamp.0,
            totals: Some(convert::balances_to_wire(&trial.totals)),
            accounts: trial.accounts,
            by_code: trial.by_code.iter().map(line).collect(),
        })
    }

    pub(super) async fn read_ledgers(
        &self,
        request: Request<v1::ListLedgersRequest>,
    ) -> Result<v1::ListLedgersReply, ApiError> {
        let deadline = self.context(&request)?.deadline;
        let ledgers = self.edge.read(deadline, self.edge.node.ledgers()).await?;
        Ok(v1::ListLedgersReply {
            ledgers: ledgers.iter().map(convert::description_to_wire).collect(),
        })
    }
}

fn filter(query: &v1::QueryRequest, kind: PageKind) -> Result<Filter, ApiError> {
    let code = u16::try_from(query.code).map_err(|_| field("code", "must be at most 65535"))?;
    let order = match v1::Order::try_from(query.order) {
        Ok(v1::Order::Unspecified | v1::Order::NewestFirst) => Order::NewestFirst,
        Ok(v1::Order::OldestFirst) => Order::OldestFirst,
        Err(_) => return Err(field("order", "must be ORDER_NEWEST_FIRST or ORDER_OLDEST_FIRST")),
    };
    let after = match query.page.as_str() {
        "" => None,
        token => Some(page_from(token, kind).map_err(|detail| field("page", detail))?),
    };
    let filter = Filter {
        account: None,
        user_data_128: convert::number(query.user_data_128),
        user_data_64: query.user_data_64,
        user_data_32: query.user_data_32,
        ledger: LedgerId(query.ledger),
        code: Code(code),
        timestamp_min: TimestampNs(query.timestamp_min),
        timestamp_max: TimestampNs(query.timestamp_max),
        limit: query.limit,
        order,
        after,
    };
    filter.validate().map_err(|error| {
        let name = if error == history::FilterError::Limit {
            "limit"
        } else {
            "timestamp_min"
        };
        ApiError::field(Place::Field(name.to_owned()), error.to_string())
    })?;
    Ok(filter)
}

fn text(json: Option<Vec<u8>>) -> Result<String, ApiError> {
    String::from_utf8(json.unwrap_or_default()).map_err(|_| {
        tracing::error!("stored metadata is not UTF-8");
        ApiError::Fault
    })
}

fn account_page(page: Page<AccountView>) -> Result<v1::AccountPage, ApiError> {
    let next_page = page
        .next
        .map_or(String::new(), |after| page_token(PageKind::Accounts, after));
    let accounts = page.items.into_iter().map(|view| {
        let metadata_json = text(view.metadata)?;
        Ok(v1::Account {
            metadata_json,
            ..convert::account_to_wire(&view.account)
        })
    });
    Ok(v1::AccountPage {
        accounts: accounts.collect::<Result<_, ApiError>>()?,
        next_page,
    })
}

fn transfer_page(page: Page<TransferView>) -> Result<v1::TransferPage, ApiError> {
    let next_page = page
        .next
        .map_or(String::new(), |after| page_token(PageKind::Transfers, after));
    let transfers = page.items.into_iter().map(|view| {
        let metadata_json = text(view.metadata)?;
        let row = &view.row;
        Ok(v1::StoredTransfer {
            transfer: Some(v1::Transfer {
                metadata_json,
                ..convert::transfer_to_wire(&row.transfer)
            }),
            expired: row.kind == RowKind::Expired,
            debit_balances: Some(convert::balances_to_wire(&row.debit_balances)),
            credit_balances: Some(convert::balances_to_wire(&row.credit_balances)),
        })
    });
    Ok(v1::TransferPage {
        transfers: transfers.collect::<Result<_, ApiError>>()?,
        next_page,
    })
}
