//! What a node is asked: accounts, transfers, balances, totals. Owns: what waits for which height before it is answered, and the
//! opening of metadata. Must not: change anything.

use super::Node;
use crate::reads::{FoundAccount, Read, State};
use crate::{AccountEntries, AccountView, BalanceAt, Page, ReadError, TransferView, TrialBalance, trial};
use history::{AccountSide, Filter, HistoryError, Reader, StoredRow};
use ledger::{
    AccountId, AccountNumber, EVENTS_PER_REQUEST_MAX, LedgerDescription, LedgerId, RowNumber, Sealed,
    TimestampNs, TransferId,
};
use std::collections::BTreeMap;
use tokio::sync::oneshot;

impl Node {
    /// Accounts in the order asked, missing ones left out. Linearizable.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn accounts(&self, ids: Vec<AccountId>) -> Result<Vec<AccountView>, ReadError> {
        check_ids(ids.len())?;
        let found = self.ask(|sender| Read::Accounts(ids, sender)).await?;
        self.account_views(found).await
    }

    /// Transfers in the order asked, missing ones left out.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn transfers(&self, ids: Vec<TransferId>) -> Result<Vec<TransferView>, ReadError> {
        check_ids(ids.len())?;
        let rows = self.history(move |reader| reader.transfers(&ids)).await?;
        rows.into_iter()
            .flatten()
            .map(|row| self.transfer_view(row))
            .collect()
    }

    /// Transfers and expiries that match; `of` narrows them to an account (`filter.account` is left `None`).
    ///
    /// # Errors
    /// [`ReadError`]; `NoAccount` when `of` names one that is not there.
    pub async fn query_transfers(
        &self,
        of: Option<AccountEntries>,
        mut filter: Filter,
    ) -> Result<Page<TransferView>, ReadError> {
        if let Some(AccountEntries {
            account,
            debits,
            credits,
        }) = of
        {
            let account = self.number_of(account).await?;
            filter.account = Some(AccountSide {
                account,
                debits,
                credits,
            });
        }
        filter.validate()?;
        let matches = self
            .history(move |reader| reader.query_transfers(&filter))
            .await?;
        let next = matches
            .items
            .last()
            .filter(|_| matches.more)
            .map(|row| row.number);
        let items = matches
            .items
            .into_iter()
            .map(|row| self.transfer_view(row))
            .collect::<Result<_, _>>()?;
        Ok(Page { items, next })
    }

    /// Accounts that match.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn query_accounts(&self, filter: Filter) -> Result<Page<AccountView>, ReadError> {
        filter.validate()?;
        let matches = self.history(move |reader| reader.query_accounts(&filter)).await?;
        let last = matches.items.last().filter(|_| matches.more);
        let next = last.map(|number| RowNumber(u64::from(number.0)));
        let found = self.ask(|sender| Read::Numbers(matches.items, sender)).await?;
        Ok(Page {
            items: self.account_views(found).await?,
            next,
        })
    }

    /// An account's totals as of a moment (after everything stamped at or before it).
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn balance_at(&self, account: AccountId, at: TimestampNs) -> Result<BalanceAt, ReadError> {
        let number = self.number_of(account).await?;
        let found = self.history(move |reader| reader.balance_at(number, at)).await?;
        Ok(
            found.map_or_else(BalanceAt::default, |(_, timestamp, balances)| BalanceAt {
                timestamp,
                balances,
            }),
        )
    }

    /// The totals of a ledger at one consistent height.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn trial_balance(&self, ledger: LedgerId) -> Result<TrialBalance, ReadError> {
        let state = self.ask(Read::State).await?;
        blocking(move || Ok(trial::balance(&state, ledger))).await
    }

    /// Every ledger that was described or has an account, by rising id.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn ledgers(&self) -> Result<Vec<LedgerDescription>, ReadError> {
        let state: State = self.ask(Read::State).await?;
        blocking(move || {
            let mut ledgers = BTreeMap::new();
            for account in state.snapshot.accounts() {
                ledgers
                    .entry(account.ledger)
                    .or_insert_with(|| state.description(account.ledger));
            }
            for description in state.snapshot.descriptions() {
                ledgers
                    .entry(description.ledger)
                    .or_insert_with(|| description.clone());
            }
            Ok(ledgers.into_values().collect())
        })
        .await
    }

    /// Puts a read to the sequencer and waits until its answer is final.
    async fn ask<T>(&self, read: impl FnOnce(oneshot::Sender<T>) -> Read) -> Result<T, ReadError> {
        let (sender, receiver) = oneshot::channel();
        self.inner
            .shared
            .inbox
            .read(read(sender))
            .map_err(|_| ReadError::Unavailable)?;
        receiver.await.map_err(|_| ReadError::Unavailable)
    }

    async fn number_of(&self, id: AccountId) -> Result<AccountNumber, ReadError> {
        let found = self.ask(|sender| Read::Accounts(vec![id], sender)).await?;
        found
            .first()
            .map(|found| found.number)
            .ok_or(ReadError::NoAccount(id))
    }

    /// Asks history once it holds everything that was final when the question came.
    async fn history<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Reader) -> Result<T, HistoryError> + Send + 'static,
    ) -> Result<T, ReadError> {
        let final_height = *self.inner.shared.durable.borrow();
        let mut indexed = self.inner.shared.indexed.subscribe();
        indexed
            .wait_for(|height| *height >= final_height)
            .await
            .map_err(|_| ReadError::Unavailable)?;
        let reader = self.inner.reader.clone();
        blocking(move || question(&reader).map_err(history_fault)).await
    }

    async fn account_views(&self, found: Vec<FoundAccount>) -> Result<Vec<AccountView>, ReadError> {
        let described: Vec<AccountNumber> = found
            .iter()
            .filter(|found| found.has_metadata)
            .map(|found| found.number)
            .collect();
        // Most accounts have no metadata, and their balances need not wait for history.
        let mut sealed = if described.is_empty() {
            Vec::new().into_iter()
        } else {
            let question = move |reader: &Reader| {
                described
                    .iter()
                    .map(|number| reader.account_metadata(*number))
                    .collect::<Result<Vec<_>, _>>()
            };
            self.history(question).await?.into_iter()
        };
        let view = |found: FoundAccount| {
            let sealed = if found.has_metadata {
                sealed.next().flatten()
            } else {
                None
            };
            Ok(AccountView {
                account: found.account,
                metadata: self.open_metadata(sealed)?,
            })
        };
        found.into_iter().map(view).collect()
    }

    fn transfer_view(&self, stored: StoredRow) -> Result<TransferView, ReadError> {
        let metadata = self.open_metadata(stored.metadata)?;
        Ok(TransferView {
            number: stored.number,
            row: stored.row,
            metadata,
        })
    }

    fn open_metadata(&self, sealed: Option<Sealed>) -> Result<Option<Vec<u8>>, ReadError> {
        let open = |sealed: Sealed| {
            self.inner.metadata.open(&sealed).map_err(|error| {
                tracing::error!(%error, code = "NOD-0019", "metadata does not open");
                ReadError::Fault
            })
        };
        sealed.map(open).transpose()
    }
}

fn check_ids(count: usize) -> Result<(), ReadError> {
    if count == 0 || count > EVENTS_PER_REQUEST_MAX {
        Err(ReadError::Ids)
    } else {
        Ok(())
    }
}

fn history_fault(error: HistoryError) -> ReadError {
    match error {
        HistoryError::Filter(filter) => ReadError::Filter(filter),
        error => {
            tracing::error!(%error, code = "NOD-0021", "history cannot be read");
            ReadError::Fault
        }
    }
}

/// Does what takes long beside the event loop.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ReadError> + Send + 'static,
) -> Result<T, ReadError> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or(Err(ReadError::Unavailable))
}
