//! The ledger's state as of the tables, and what a block does to it (pure). Owns: which part of a command is applied.
//! Must not: know SQL, or reach a server.
//!
//! Only what was logged as created is applied, by the ledger's own rules, and must come out created again. Failures
//! change no balance, so the projection needs neither their replay nor the ids that were ever used: accounts and open
//! pending transfers are all of its state, and both stand in the tables.

use crate::ProjectionError;
use crate::error::unexpected;
use journal::{Block, Entry, Results};
use ledger::{
    Account, AccountNumber, Command, CommandBody, CreateAccountResult, CreateTransferResult,
    DescribeLedgerResult, Events, Height, Ledger, LedgerDescription, NoArchive, Outcome, TimestampNs,
    Transfer,
};
use std::ops::Range;

/// What the tables hold of the state.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    /// By rising timestamp.
    pub(crate) accounts: Vec<Account>,
    /// Those that are open, by rising timestamp.
    pub(crate) pendings: Vec<Transfer>,
    /// By rising ledger.
    pub(crate) descriptions: Vec<LedgerDescription>,
    /// Of the last event.
    pub(crate) last_timestamp: TimestampNs,
    /// Of the last row of `transfers`.
    pub(crate) last_row_timestamp: TimestampNs,
    /// How many rows `transfers` has.
    pub(crate) rows: u64,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Replica {
    ledger: Ledger,
    outcome: Outcome,
}

impl Replica {
    /// The state that the tables hold.
    ///
    /// # Errors
    /// [`ProjectionError::Tables`] when they cannot be the state of a ledger.
    pub(crate) fn restore(parts: &Parts) -> Result<Self, ProjectionError> {
        let numbers: std::collections::HashMap<_, _> = (0_u32..)
            .zip(&parts.accounts)
            .map(|(number, account)| (account.id, number))
            .collect();
        let mut bytes = Vec::with_capacity(64 + 152 * parts.accounts.len() + 128 * parts.pendings.len());
        let out = &mut bytes;
        out.extend_from_slice(b"SHLG");
        out.extend_from_slice(&1_u32.to_le_bytes());
        out.extend_from_slice(&parts.last_timestamp.0.to_le_bytes());
        out.extend_from_slice(&parts.last_row_timestamp.0.to_le_bytes());
        out.extend_from_slice(&parts.rows.to_le_bytes());
        out.extend_from_slice(&(parts.accounts.len() as u32).to_le_bytes());
        for account in &parts.accounts {
            put_account(out, account);
        }
        out.extend_from_slice(&(parts.pendings.len() as u64).to_le_bytes());
        for pending in &parts.pendings {
            put_transfer(out, pending);
            for account in [pending.debit_account_id, pending.credit_account_id] {
                let number = numbers.get(&account).copied().unwrap_or(AccountNumber::NONE.0);
                out.extend_from_slice(&number.to_le_bytes());
            }
        }
        out.extend_from_slice(&(parts.descriptions.len() as u32).to_le_bytes());
        for description in &parts.descriptions {
            put_description(out, description);
        }
        Ok(Self {
            ledger: Ledger::restore(out)?,
            outcome: Outcome::default(),
        })
    }

    /// How many accounts there are.
    pub(crate) fn accounts(&self) -> u32 {
        self.ledger.accounts_len()
    }

    /// An account as it stands.
    pub(crate) fn account(&self, number: u32) -> &Account {
        self.ledger.account_at(AccountNumber(number))
    }

    /// Applies a block and tells of what each part of it did.
    ///
    /// # Errors
    /// [`ProjectionError::Differs`] and `UnknownRules`. The state is then between two blocks and must be dropped.
    pub(crate) fn apply(
        &mut self,
        block: &Block,
        mut each: impl FnMut(&Outcome),
    ) -> Result<(), ProjectionError> {
        if block.rules_version != ledger::RULES_VERSION {
            return Err(ProjectionError::UnknownRules {
                height: block.height,
                found: block.rules_version,
                known: ledger::RULES_VERSION,
            });
        }
        for (index, entry) in block.entries.iter().enumerate() {
            let place = (block.height, index);
            match (&entry.command.body, &entry.results) {
                (CommandBody::BeginEpoch, Results::None) => {}
                (CommandBody::CreateAccounts(events), Results::Accounts(results)) => {
                    let is_created = |at: usize| results[at] == CreateAccountResult::Created;
                    self.runs(
                        place,
                        entry,
                        events,
                        is_created,
                        CommandBody::CreateAccounts,
                        &mut each,
                    )?;
                }
                (CommandBody::CreateTransfers(events), Results::Transfers(results)) => {
                    let is_created = |at: usize| results[at] == CreateTransferResult::Created;
                    self.runs(
                        place,
                        entry,
                        events,
                        is_created,
                        CommandBody::CreateTransfers,
                        &mut each,
                    )?;
                }
                (CommandBody::ExpirePending { .. }, Results::Expired(ids)) => {
                    self.command(place, entry.timestamp, &entry.command)?;
                    if self.outcome.expired != *ids {
                        return differs(place, "other pending transfers expire");
                    }
                    each(&self.outcome);
                }
                (CommandBody::DescribeLedger(_), Results::Described(result)) => {
                    if *result == DescribeLedgerResult::Described {
                        self.command(place, entry.timestamp, &entry.command)?;
                        if self.outcome.described != Some(*result) {
                            return differs(place, "the description is refused");
                        }
                        each(&self.outcome);
                    }
                }
                _ => return differs(place, "the results are not of the entry's command"),
            }
        }
        // The ids of what is done are never asked for.
        self.ledger.forget_archived(self.ledger.rows());
        Ok(())
    }

    /// Applies what was created of a request: as a whole where that is all of it, otherwise each stretch of events
    /// that follow each other. A linked chain is created whole or not at all, so it lies in one stretch.
    fn runs<E: Copy>(
        &mut self,
        place: (Height, usize),
        entry: &Entry,
        events: &Events<E>,
        is_created: impl Fn(usize) -> bool,
        body: fn(Events<E>) -> CommandBody,
        each: &mut impl FnMut(&Outcome),
    ) -> Result<(), ProjectionError> {
        let all = events.events.len();
        if entry.results.events() != all {
            return differs(place, "a result is missing");
        }
        let mut at = 0;
        while at < all {
            let start = at;
            while at < all && is_created(at) {
                at += 1;
            }
            if (start, at) == (0, all) {
                self.created(place, entry.timestamp, &entry.command, all)?;
                each(&self.outcome);
            } else if start < at {
                let part = Command {
                    actor: entry.command.actor,
                    body: body(stretch(events, start..at)),
                };
                let first = TimestampNs(entry.timestamp.0 + start as u64);
                self.created(place, first, &part, at - start)?;
                each(&self.outcome);
            }
            at += 1;
        }
        Ok(())
    }

    /// Applies a command all of whose events were created.
    fn created(
        &mut self,
        place: (Height, usize),
        timestamp: TimestampNs,
        command: &Command,
        events: usize,
    ) -> Result<(), ProjectionError> {
        self.command(place, timestamp, command)?;
        let Outcome {
            accounts, transfers, ..
        } = &self.outcome;
        let refused = accounts
            .iter()
            .map(|reply| (reply.result == CreateAccountResult::Created, reply.result.name()))
            .chain(
                transfers
                    .iter()
                    .map(|reply| (reply.result == CreateTransferResult::Created, reply.result.name())),
            )
            .find(|(is_created, _)| !is_created);
        match refused {
            Some((_, name)) => differs(place, &format!("logged as created, {name} came out")),
            None if accounts.len() + transfers.len() != events => differs(place, "a result is missing"),
            None => Ok(()),
        }
    }

    fn command(
        &mut self,
        place: (Height, usize),
        timestamp: TimestampNs,
        command: &Command,
    ) -> Result<(), ProjectionError> {
        self.ledger
            .apply(&NoArchive, timestamp, command, &mut self.outcome)
            .map_err(|fault| unexpected(place.0, place.1, &fault))?;
        if self.outcome.timestamp != timestamp {
            return differs(place, "another timestamp came out");
        }
        Ok(())
    }

    /// The ledgers that were described, by rising id.
    pub(crate) fn descriptions(&self) -> impl Iterator<Item = &LedgerDescription> {
        self.ledger.descriptions()
    }
}

fn stretch<E: Copy>(events: &Events<E>, range: Range<usize>) -> Events<E> {
    Events {
        events: events.events[range].to_vec(),
        metadata: Vec::new(),
    }
}

fn differs<T>((height, entry): (Height, usize), detail: &str) -> Result<T, ProjectionError> {
    Err(ProjectionError::Differs {
        height,
        entry,
        detail: detail.to_owned(),
    })
}

// The form that `ledger::Snapshot` describes, checked by it when it is read.

fn put_account(out: &mut Vec<u8>, account: &Account) {
    let balances = &account.balances;
    for value in [
        account.id.0,
        balances.debits_pending.0,
        balances.debits_posted.0,
        balances.credits_pending.0,
        balances.credits_posted.0,
        account.user_data_128,
    ] {
        out.extend_from_slice(&value.to_le_bytes());
    }
    out.extend_from_slice(&account.user_data_64.to_le_bytes());
    out.extend_from_slice(&account.user_data_32.to_le_bytes());
    out.extend_from_slice(&account.ledger.0.to_le_bytes());
    out.extend_from_slice(&account.code.0.to_le_bytes());
    out.extend_from_slice(&account.flags.bits().to_le_bytes());
    out.extend_from_slice(&account.timestamp.0.to_le_bytes());
    // Whether it was created closed, and its metadata: only a repeat is compared with them, and none is applied.
    out.extend_from_slice(&[0, 0]);
}

fn put_transfer(out: &mut Vec<u8>, transfer: &Transfer) {
    for value in [
        transfer.id.0,
        transfer.debit_account_id.0,
        transfer.credit_account_id.0,
        transfer.amount.0,
        transfer.user_data_128,
    ] {
        out.extend_from_slice(&value.to_le_bytes());
    }
    out.extend_from_slice(&transfer.user_data_64.to_le_bytes());
    out.extend_from_slice(&transfer.user_data_32.to_le_bytes());
    out.extend_from_slice(&transfer.timeout.to_le_bytes());
    out.extend_from_slice(&transfer.ledger.0.to_le_bytes());
    out.extend_from_slice(&transfer.code.0.to_le_bytes());
    out.extend_from_slice(&transfer.flags.bits().to_le_bytes());
    out.extend_from_slice(&transfer.timestamp.0.to_le_bytes());
}

fn put_description(out: &mut Vec<u8>, description: &LedgerDescription) {
    out.extend_from_slice(&description.ledger.0.to_le_bytes());
    // The rules bound both texts far below 256 bytes.
    out.extend_from_slice(&[
        description.scale,
        description.name.len() as u8,
        description.currency.len() as u8,
    ]);
    out.extend_from_slice(description.name.as_bytes());
    out.extend_from_slice(description.currency.as_bytes());
}
