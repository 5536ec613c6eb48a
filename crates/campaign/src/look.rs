//! What one node shows of one world, asked through its interface at a consistency of choice.

use crate::history::{NamedState, Observed, ObservedRow};
use crate::load::World;
use anyhow::{Context, Result, ensure};
use ledger::{Account, Balances, RowKind};
use std::time::Duration;
use tonic::Request;
use tonic::transport::{Channel, Endpoint};
use wire::convert::{account_from_wire, balances_from_wire, transfer_from_wire};
use wire::v1;
use wire::v1::ledger_client::LedgerClient;

/// Rows in one page.
const PAGE: u32 = 8_190;
/// The largest answer: a page with metadata.
const ANSWER_BYTES_MAX: usize = 64 << 20;
const ANSWER_WITHIN: Duration = Duration::from_secs(20);

/// Who is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// The writer, however it is reached.
    Linearizable,
    /// The node itself, whatever it knows.
    Own,
}

/// A way to look at a node's books.
pub struct Looker {
    grpc: LedgerClient<Channel>,
    view: View,
}

impl Looker {
    /// At a node or a balancer, `host:port`. It connects when it is used.
    ///
    /// # Errors
    /// The address makes no sense.
    pub fn new(address: &str, view: View) -> Result<Self> {
        let endpoint = Endpoint::from_shared(format!("http://{address}"))?
            .connect_timeout(Duration::from_secs(2))
            .timeout(ANSWER_WITHIN);
        let grpc = LedgerClient::new(endpoint.connect_lazy()).max_decoding_message_size(ANSWER_BYTES_MAX);
        Ok(Self { grpc, view })
    }

    /// Everything of a world, under a name.
    ///
    /// # Errors
    /// The node does not answer, or an account is not there.
    pub async fn state(&self, name: &str, world: World) -> Result<NamedState> {
        let observed = self.observe(world).await;
        let totals = self.totals(world).await;
        Ok(NamedState {
            name: name.to_owned(),
            observed: observed.with_context(|| format!("looking at {name}"))?,
            totals: Some(totals.with_context(|| format!("looking at {name}"))?),
        })
    }

    /// All rows and accounts of a world.
    ///
    /// # Errors
    /// The node does not answer, or an account is not there.
    pub async fn observe(&self, world: World) -> Result<Observed> {
        let rows = self.rows(world).await?;
        let wanted = world.accounts();
        let ids = wanted.iter().map(|account| account.id.0.into()).collect();
        let page = self
            .grpc
            .clone()
            .lookup_accounts(self.ask(v1::LookupRequest { ids }))
            .await?;
        let found = page.into_inner().accounts;
        let gone = wanted.len() - found.len();
        ensure!(gone == 0, "{gone} of {} accounts are gone", wanted.len());
        let accounts: Result<Vec<Account>, _> = found.iter().map(account_from_wire).collect();
        Ok(Observed {
            rows,
            accounts: accounts?,
        })
    }

    async fn rows(&self, world: World) -> Result<Vec<ObservedRow>> {
        let mut query = v1::QueryRequest {
            ledger: world.ledger().0,
            limit: PAGE,
            order: v1::Order::OldestFirst.into(),
            ..v1::QueryRequest::default()
        };
        let mut rows = Vec::new();
        loop {
            let page = self.grpc.clone().query_transfers(self.ask(query.clone())).await?;
            let page = page.into_inner();
            for stored in &page.transfers {
                rows.push(row(stored)?);
            }
            if page.next_page.is_empty() {
                return Ok(rows);
            }
            query.page = page.next_page;
        }
    }

    /// What the node says of a world's ledger as a whole.
    async fn totals(&self, world: World) -> Result<Balances> {
        let request = v1::TrialBalanceRequest {
            ledger: world.ledger().0,
        };
        let answer = self.grpc.clone().trial_balance(self.ask(request)).await?;
        Ok(balances_from_wire(answer.into_inner().totals.as_ref()))
    }

    fn ask<M>(&self, message: M) -> Request<M> {
        let mut request = Request::new(message);
        if self.view == View::Own {
            let any = "any".parse().expect("it is ASCII");
            request.metadata_mut().insert(wire::CONSISTENCY, any);
        }
        request
    }
}

fn row(stored: &v1::StoredTransfer) -> Result<ObservedRow> {
    let transfer = stored.transfer.as_ref().context("a row without a transfer")?;
    let metadata = &transfer.metadata_json;
    Ok(ObservedRow {
        kind: if stored.expired {
            RowKind::Expired
        } else {
            RowKind::Applied
        },
        transfer: transfer_from_wire(transfer)?,
        debit: balances_from_wire(stored.debit_balances.as_ref()),
        credit: balances_from_wire(stored.credit_balances.as_ref()),
        metadata: (!metadata.is_empty()).then(|| metadata.clone()),
    })
}
