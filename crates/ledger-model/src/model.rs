//! The naive ledger: requests, chains, accounts, expiry, descriptions. Transfers are in `transfer_rules`.
//!
//! Chains are tried on a copy of everything. Whether an account is closed is found by looking at all open transfers.

use ledger::{
    Account, AccountFlags, AccountId, AccountNumber, AccountReply, Balances, Command, CommandBody,
    CreateAccountResult, CreateTransferResult, DescribeLedgerResult, Events, LedgerDescription, LedgerId,
    Outcome, Row, RowKind, RowNumber, Sealed, TimestampNs, Transfer, TransferFlags, TransferId,
    TransferReply,
};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// What became of a pending transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Nothing yet.
    Open,
    /// Posted.
    Posted,
    /// Voided.
    Voided,
    /// Released.
    Expired,
}

/// An account of the model.
#[derive(Clone, Debug)]
pub struct ModelAccount {
    /// As given, with the timestamp that it got.
    pub given: Account,
    /// In the order of creation.
    pub number: AccountNumber,
    /// As given.
    pub metadata: Option<Sealed>,
    /// Its totals.
    pub balances: Balances,
}

/// A transfer of the model.
#[derive(Clone, Debug)]
pub struct ModelTransfer {
    /// As stored.
    pub transfer: Transfer,
    /// As given.
    pub metadata: Option<Sealed>,
    /// Of a pending one.
    pub fate: Fate,
}

/// The naive ledger.
#[derive(Clone, Debug, Default)]
pub struct Model {
    /// By id.
    pub accounts: BTreeMap<AccountId, ModelAccount>,
    /// By id; for ever.
    pub transfers: HashMap<TransferId, ModelTransfer>,
    /// Ids of the pending transfers whose fate is open, kept beside only so that the model ends in time.
    pub open: BTreeSet<TransferId>,
    /// Ids that failed for ever.
    pub burnt: HashSet<TransferId>,
    /// Ledgers that were described.
    pub descriptions: BTreeMap<LedgerId, LedgerDescription>,
    /// Of all accounts.
    pub account_times: BTreeSet<TimestampNs>,
    /// Of all transfers and expiries.
    pub transfer_times: BTreeSet<TimestampNs>,
    /// Of the last event.
    pub last_timestamp: TimestampNs,
    /// How many rows there are.
    pub rows: u64,
}

/// Which event of which request is being looked at.
#[derive(Clone, Copy)]
pub(crate) struct Moment {
    pub(crate) now: TimestampNs,
    pub(crate) request: TimestampNs,
    pub(crate) imported: bool,
}

impl Model {
    /// Applies a command and says what must come of it.
    pub fn apply(&mut self, now: TimestampNs, command: &Command) -> Outcome {
        let base = TimestampNs(now.0.max(self.last_timestamp.0 + 1));
        let mut outcome = Outcome {
            timestamp: base,
            first_row: RowNumber(self.rows),
            first_account: AccountNumber(self.accounts.len() as u32),
            ..Outcome::default()
        };
        let events = match &command.body {
            CommandBody::BeginEpoch => 1,
            CommandBody::CreateAccounts(events) => {
                self.create_accounts(base, events, &mut outcome);
                events.events.len() as u64
            }
            CommandBody::CreateTransfers(events) => {
                self.create_transfers(base, events, &mut outcome);
                events.events.len() as u64
            }
            CommandBody::ExpirePending { limit } => self.expire(base, *limit, &mut outcome),
            CommandBody::DescribeLedger(description) => {
                outcome.described = Some(self.describe(description));
                1
            }
        };
        self.last_timestamp = TimestampNs(base.0 + events.max(1) - 1);
        outcome
    }

    /// An account as it stands, closed flag included.
    #[must_use]
    pub fn account(&self, id: AccountId) -> Option<Account> {
        let account = self.accounts.get(&id)?;
        let mut flags = account.given.flags;
        flags.set(AccountFlags::CLOSED, self.is_closed(id));
        Some(Account {
            flags,
            balances: account.balances,
            ..account.given
        })
    }

    /// Created closed, or closed by a pending transfer that is open.
    pub(crate) fn is_closed(&self, id: AccountId) -> bool {
        self.accounts[&id].given.flags.contains(AccountFlags::CLOSED)
            || self
                .open
                .iter()
                .map(|open| &self.transfers[open].transfer)
                .any(|t| {
                    (t.flags.contains(TransferFlags::CLOSING_DEBIT) && t.debit_account_id == id)
                        || (t.flags.contains(TransferFlags::CLOSING_CREDIT) && t.credit_account_id == id)
                })
    }

    /// When the first open transfer is due.
    #[must_use]
    pub fn next_expiry(&self) -> Option<TimestampNs> {
        self.open
            .iter()
            .filter_map(|id| due(&self.transfers[id].transfer))
            .min()
    }

    fn create_accounts(&mut self, base: TimestampNs, request: &Events<Account>, outcome: &mut Outcome) {
        let events = &request.events;
        let imported = events
            .first()
            .is_some_and(|e| e.flags.contains(AccountFlags::IMPORTED));
        for (chain, open) in chains(events, |event| event.flags.contains(AccountFlags::LINKED)) {
            let before = (self.clone(), outcome.clone());
            let mut culprit = None;
            for index in chain.clone() {
                let moment = Moment {
                    now: at(base, index),
                    request: base,
                    imported,
                };
                let result = if open && index + 1 == chain.end {
                    Err(CreateAccountResult::LinkedEventChainOpen)
                } else {
                    self.create_account(moment, &events[index], metadata(request, index), outcome)
                };
                match result {
                    Ok(reply) => {
                        outcome.accounts.push(reply);
                        if reply.result != CreateAccountResult::Created {
                            culprit = Some((index, reply));
                            break;
                        }
                    }
                    Err(result) => {
                        culprit = Some((
                            index,
                            AccountReply {
                                result,
                                timestamp: at(base, index),
                            },
                        ));
                        break;
                    }
                }
            }
            let Some((culprit, reply)) = culprit else { continue };
            (*self, *outcome) = before;
            for index in chain.clone() {
                let other = if open && index + 1 == chain.end {
                    CreateAccountResult::LinkedEventChainOpen
                } else {
                    CreateAccountResult::LinkedEventFailed
                };
                let other = AccountReply {
                    result: other,
                    timestamp: at(base, index),
                };
                outcome
                    .accounts
                    .push(if index == culprit { reply } else { other });
            }
        }
    }

    fn create_account(
        &mut self,
        moment: Moment,
        event: &Account,
        metadata: Option<Sealed>,
        outcome: &mut Outcome,
    ) -> Result<AccountReply, CreateAccountResult> {
        use CreateAccountResult as R;
        let imported = event.flags.contains(AccountFlags::IMPORTED);
        let existing = self.accounts.get(&event.id);
        let first_wrong =
            |checks: &[(bool, R)]| checks.iter().find(|(wrong, _)| *wrong).map(|&(_, code)| code);
        let early = first_wrong(&[
            (moment.imported && !imported, R::ImportedEventExpected),
            (!moment.imported && imported, R::ImportedEventNotExpected),
            (!imported && event.timestamp.0 != 0, R::TimestampMustBeZero),
            (
                imported && !(1..=i64::MAX as u64).contains(&event.timestamp.0),
                R::ImportedEventTimestampOutOfRange,
            ),
            (
                imported && event.timestamp >= moment.request,
                R::ImportedEventTimestampMustNotAdvance,
            ),
            (event.flags.bits() > 0b11_1111, R::ReservedFlag),
            (event.id.0 == 0, R::IdMustNotBeZero),
            (event.id.0 == u128::MAX, R::IdMustNotBeIntMax),
        ]);
        if let Some(code) = early {
            return Err(code);
        }
        if let Some(ModelAccount {
            given,
            metadata: stored,
            ..
        }) = existing
        {
            let different = first_wrong(&[
                (event.flags != given.flags, R::ExistsWithDifferentFlags),
                (
                    event.user_data_128 != given.user_data_128,
                    R::ExistsWithDifferentUserData128,
                ),
                (
                    event.user_data_64 != given.user_data_64,
                    R::ExistsWithDifferentUserData64,
                ),
                (
                    event.user_data_32 != given.user_data_32,
                    R::ExistsWithDifferentUserData32,
                ),
                (event.ledger != given.ledger, R::ExistsWithDifferentLedger),
                (event.code != given.code, R::ExistsWithDifferentCode),
                (metadata != *stored, R::ExistsWithDifferentMetadata),
            ]);
            return Ok(AccountReply {
                result: R::Exists,
                timestamp: match different {
                    Some(code) => return Err(code),
                    None => given.timestamp,
                },
            });
        }
        let both =
            AccountFlags::DEBITS_MUST_NOT_EXCEED_CREDITS | AccountFlags::CREDITS_MUST_NOT_EXCEED_DEBITS;
        let regress = self
            .account_times
            .last()
            .is_some_and(|last| event.timestamp <= *last)
            || self.transfer_times.contains(&event.timestamp);
        let late = first_wrong(&[
            (event.flags.contains(both), R::FlagsAreMutuallyExclusive),
            (event.balances.debits_pending.0 != 0, R::DebitsPendingMustBeZero),
            (event.balances.debits_posted.0 != 0, R::DebitsPostedMustBeZero),
            (event.balances.credits_pending.0 != 0, R::CreditsPendingMustBeZero),
            (event.balances.credits_posted.0 != 0, R::CreditsPostedMustBeZero),
            (event.ledger.0 == 0, R::LedgerMustNotBeZero),
            (event.code.0 == 0, R::CodeMustNotBeZero),
            (imported && regress, R::ImportedEventTimestampMustNotRegress),
        ]);
        if let Some(code) = late {
            return Err(code);
        }
        let timestamp = if imported { event.timestamp } else { moment.now };
        let given = Account { timestamp, ..*event };
        let number = AccountNumber(self.accounts.len() as u32);
        if let Some(sealed) = &metadata {
            outcome
                .account_metadata
                .push((outcome.new_accounts.len() as u32, sealed.clone()));
        }
        outcome.new_accounts.push(given);
        self.account_times.insert(timestamp);
        self.accounts.insert(
            event.id,
            ModelAccount {
                given,
                number,
                metadata,
                balances: Balances::default(),
            },
        );
        Ok(AccountReply {
            result: R::Created,
            timestamp,
        })
    }

    fn create_transfers(&mut self, base: TimestampNs, request: &Events<Transfer>, outcome: &mut Outcome) {
        use CreateTransferResult as R;
        let events = &request.events;
        let imported = events
            .first()
            .is_some_and(|e| e.flags.contains(TransferFlags::IMPORTED));
        let refusal = |result, index| TransferReply {
            result,
            timestamp: at(base, index),
            debit: Balances::default(),
            credit: Balances::default(),
        };
        for (chain, open) in chains(events, |event| event.flags.contains(TransferFlags::LINKED)) {
            let before = (chain.len() > 1 || open).then(|| (self.clone(), outcome.clone()));
            let mut culprit = None;
            for index in chain.clone() {
                let moment = Moment {
                    now: at(base, index),
                    request: base,
                    imported,
                };
                let reply = if open && index + 1 == chain.end {
                    refusal(R::LinkedEventChainOpen, index)
                } else {
                    self.create_transfer(moment, &events[index], metadata(request, index), outcome)
                        .unwrap_or_else(|code| refusal(code, index))
                };
                outcome.transfers.push(reply);
                if reply.result != R::Created {
                    culprit = Some((index, reply));
                    break;
                }
            }
            let Some((culprit, mut reply)) = culprit else {
                continue;
            };
            if let Some(before) = before {
                let accounts = self.transfers.get(&events[culprit].id).map(|stored| {
                    (
                        stored.transfer.debit_account_id,
                        stored.transfer.credit_account_id,
                    )
                });
                (*self, *outcome) = before;
                if let (R::Exists, Some((debit, credit))) = (reply.result, accounts) {
                    // What the chain did is not: these are the balances that stand.
                    reply.debit = self.accounts[&debit].balances;
                    reply.credit = self.accounts[&credit].balances;
                }
                for index in chain.clone() {
                    let last_of_open = open && index + 1 == chain.end;
                    let other = if last_of_open {
                        R::LinkedEventChainOpen
                    } else {
                        R::LinkedEventFailed
                    };
                    outcome.transfers.push(if index == culprit {
                        reply
                    } else {
                        refusal(other, index)
                    });
                }
            }
            if BURNING.contains(&reply.result) {
                self.burn(events[culprit].id, outcome);
            }
        }
    }

    fn burn(&mut self, id: TransferId, outcome: &mut Outcome) {
        self.burnt.insert(id);
        let timestamp = self.transfer_times.last().copied().unwrap_or_default();
        self.rows += 1;
        outcome.rows.push(Row {
            kind: RowKind::Burnt,
            transfer: Transfer {
                id,
                timestamp,
                ..Transfer::default()
            },
            debit: AccountNumber::NONE,
            credit: AccountNumber::NONE,
            debit_balances: Balances::default(),
            credit_balances: Balances::default(),
        });
    }

    fn expire(&mut self, base: TimestampNs, limit: u32, outcome: &mut Outcome) -> u64 {
        let mut all: Vec<(TimestampNs, TransferId)> = self
            .open
            .iter()
            .filter_map(|id| Some((due(&self.transfers[id].transfer)?, *id)))
            .filter(|(due, _)| *due <= base)
            .collect();
        all.sort_unstable();
        all.truncate(limit as usize);
        for (index, &(_, id)) in all.iter().enumerate() {
            let pending = self.transfers[&id].transfer;
            self.end(id, Fate::Expired, 0);
            let timestamp = at(base, index);
            let transfer = Transfer {
                id: TransferId(0),
                pending_id: id,
                timestamp,
                ..pending
            };
            self.row(RowKind::Expired, transfer, None, outcome);
            outcome.expired.push(id);
        }
        all.len() as u64
    }

    /// A pending transfer ends: its amount is released, `posted` of it settles.
    pub(crate) fn end(&mut self, id: TransferId, fate: Fate, posted: u128) {
        let Some(pending) = self.transfers.get_mut(&id) else {
            return;
        };
        pending.fate = fate;
        let transfer = pending.transfer;
        self.open.remove(&id);
        if let Some(account) = self.accounts.get_mut(&transfer.debit_account_id) {
            account.balances.debits_pending.0 -= transfer.amount.0;
            account.balances.debits_posted.0 += posted;
        }
        if let Some(account) = self.accounts.get_mut(&transfer.credit_account_id) {
            account.balances.credits_pending.0 -= transfer.amount.0;
            account.balances.credits_posted.0 += posted;
        }
    }

    /// Appends a row of a transfer or expiry, with the balances as they are now.
    pub(crate) fn row(
        &mut self,
        kind: RowKind,
        transfer: Transfer,
        metadata: Option<Sealed>,
        outcome: &mut Outcome,
    ) {
        let debit = &self.accounts[&transfer.debit_account_id];
        let credit = &self.accounts[&transfer.credit_account_id];
        if let Some(sealed) = metadata {
            outcome.row_metadata.push((outcome.rows.len() as u32, sealed));
        }
        outcome.rows.push(Row {
            kind,
            transfer,
            debit: debit.number,
            credit: credit.number,
            debit_balances: debit.balances,
            credit_balances: credit.balances,
        });
        self.transfer_times.insert(transfer.timestamp);
        self.rows += 1;
    }

    fn describe(&mut self, description: &LedgerDescription) -> DescribeLedgerResult {
        use DescribeLedgerResult as R;
        let before = self.descriptions.get(&description.ledger);
        let checks = [
            (description.ledger.0 == 0, R::LedgerMustNotBeZero),
            (description.name.len() > 128, R::NameTooLong),
            (description.currency.len() > 16, R::CurrencyTooLong),
            (description.scale > 18, R::ScaleOutOfRange),
            (
                before.is_some_and(|b| !b.currency.is_empty() && b.currency != description.currency),
                R::CurrencyMustNotChange,
            ),
            (
                before.is_some_and(|b| b.scale != description.scale),
                R::ScaleMustNotChange,
            ),
            (before == Some(description), R::Unchanged),
        ];
        if let Some((_, code)) = checks.iter().find(|(holds, _)| *holds) {
            return *code;
        }
        self.descriptions.insert(description.ledger, description.clone());
        R::Described
    }
}

const BURNING: [CreateTransferResult; 7] = [
    CreateTransferResult::DebitAccountNotFound,
    CreateTransferResult::CreditAccountNotFound,
    CreateTransferResult::PendingTransferNotFound,
    CreateTransferResult::ExceedsCredits,
    CreateTransferResult::ExceedsDebits,
    CreateTransferResult::DebitAccountAlreadyClosed,
    CreateTransferResult::CreditAccountAlreadyClosed,
];

/// When a pending transfer is released.
pub(crate) fn due(transfer: &Transfer) -> Option<TimestampNs> {
    (transfer.timeout > 0)
        .then(|| TimestampNs(transfer.timestamp.0 + u64::from(transfer.timeout) * 1_000_000_000))
}

fn at(base: TimestampNs, index: usize) -> TimestampNs {
    TimestampNs(base.0 + index as u64)
}

fn metadata<E>(request: &Events<E>, index: usize) -> Option<Sealed> {
    request
        .metadata
        .iter()
        .find(|m| m.index as usize == index)
        .map(|m| m.sealed.clone())
}

/// Cuts a request into chains (single events are chains of one); `true`: the request ends before the chain does.
fn chains<E>(events: &[E], linked: impl Fn(&E) -> bool) -> Vec<(std::ops::Range<usize>, bool)> {
    let mut chains = Vec::new();
    let mut start = 0;
    for (index, event) in events.iter().enumerate() {
        if !linked(event) {
            chains.push((start..index + 1, false));
            start = index + 1;
        }
    }
    if start < events.len() {
        chains.push((start..events.len(), true));
    }
    chains
}
