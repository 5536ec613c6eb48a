//! What must be true. Owns: the naive model fed with the blocks that the journal made durable, and, beside it, what
//! every account and row was after each block, so that answers can be held against any height.

use crate::{Broken, ensure};
use journal::{Block, Results};
use ledger::{
    Account, AccountId, AccountNumber, AccountReply, CommandBody, DescribeLedgerResult, Height, Outcome, Row,
    Sealed, TimestampNs, TransferReply,
};
use ledger_model::Model;
use std::collections::BTreeMap;

/// How many commands were applied: a moment between two of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(pub u64);

/// The answer that a request must get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Of `CreateAccounts`.
    Accounts(Vec<AccountReply>),
    /// Of `CreateTransfers`.
    Transfers(Vec<TransferReply>),
    /// Of `DescribeLedger`.
    Described(DescribeLedgerResult),
}

impl Answer {
    /// How many events it answers for.
    pub fn events(&self) -> u64 {
        match self {
            Self::Accounts(replies) => replies.len() as u64,
            Self::Transfers(replies) => replies.len() as u64,
            Self::Described(_) => 1,
        }
    }
}

/// A block that the truth knows.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    /// Its hash.
    pub hash: [u8; 32],
    /// Next row after it.
    pub rows: u64,
    /// Next account after it.
    pub accounts: u32,
    /// Of the last event.
    pub timestamp: TimestampNs,
    /// After its last command.
    pub end: Moment,
}

/// All that is known of an account.
pub struct AccountPage {
    /// Its id.
    pub id: AccountId,
    /// As given.
    pub metadata: Option<Sealed>,
    /// As it stood after the commands that changed it.
    versions: Vec<(Moment, Account)>,
}

/// See the module.
#[derive(Default)]
pub struct Truth {
    /// The state after the last block.
    pub model: Model,
    /// By height, from 1.
    blocks: Vec<Known>,
    /// Every row of history.
    pub rows: Vec<(Row, Option<Sealed>)>,
    /// By number.
    pub accounts: Vec<AccountPage>,
    /// Where each request was applied, and what it must be told; by the actor that names it.
    pub applied: BTreeMap<u128, (Moment, Answer)>,
    /// What clients sent and what may therefore stand in a block, by actor.
    pub sent: BTreeMap<u128, CommandBody>,
}

impl Truth {
    /// The last block.
    pub fn head(&self) -> Height {
        Height(self.blocks.len() as u64)
    }

    /// After the last command of the last block.
    pub fn now(&self) -> Moment {
        self.known(self.head()).end
    }

    /// What is known of a block; for height 0 of the empty ledger.
    pub fn known(&self, height: Height) -> Known {
        match height.0.checked_sub(1) {
            None => Known {
                hash: [0; 32],
                rows: 0,
                accounts: 0,
                timestamp: TimestampNs(0),
                end: Moment(0),
            },
            Some(index) => self.blocks[index as usize],
        }
    }

    /// An account as it stood at a moment.
    pub fn account_at(&self, id: AccountId, moment: Moment) -> Option<(AccountNumber, Account)> {
        let number = self.model.accounts.get(&id)?.number;
        self.number_at(number, moment).map(|account| (number, account))
    }

    /// The same by number.
    pub fn number_at(&self, number: AccountNumber, moment: Moment) -> Option<Account> {
        let page = self.accounts.get(number.0 as usize)?;
        let version = page.versions.iter().rev().find(|(at, _)| *at <= moment);
        version.map(|(_, account)| *account)
    }

    /// Takes in the next durable block: the model applies it and must come to the results logged.
    pub fn adopt(&mut self, block: &Block) -> Result<(), Broken> {
        let height = block.height;
        ensure!(
            height.0 == self.head().0 + 1,
            "block {height} follows block {}",
            self.head()
        );
        ensure!(
            block.previous.0 == self.known(self.head()).hash,
            "block {height} does not lead on from the block before"
        );
        let mut now = self.now();
        for (index, entry) in block.entries.iter().enumerate() {
            self.check_sender(height, index, entry.command.actor.0, &entry.command.body)?;
            let outcome = self.model.apply(entry.timestamp, &entry.command);
            ensure!(
                outcome.timestamp == entry.timestamp,
                "block {height}, entry {index}: logged at {}, the model says {}",
                entry.timestamp,
                outcome.timestamp
            );
            ensure!(
                same_results(&entry.results, &outcome),
                "block {height}, entry {index}: logged {:?}, the model says {outcome:?} of {:?}",
                entry.results,
                entry.command
            );
            now.0 += 1;
            self.note(now, entry.command.actor.0, &entry.command.body, outcome);
        }
        self.blocks.push(Known {
            hash: block.hash.0,
            rows: self.model.rows,
            accounts: self.accounts.len() as u32,
            timestamp: self.model.last_timestamp,
            end: now,
        });
        Ok(())
    }

    fn check_sender(
        &self,
        height: Height,
        index: usize,
        actor: u128,
        body: &CommandBody,
    ) -> Result<(), Broken> {
        match body {
            CommandBody::BeginEpoch => ensure!(
                actor == 0 && index == 0,
                "block {height}, entry {index}: a term begins in the midst of a block"
            ),
            CommandBody::ExpirePending { .. } => {
                ensure!(
                    actor == 0,
                    "block {height}, entry {index}: a client released holds"
                );
            }
            _ => {
                ensure!(
                    self.sent.get(&actor) == Some(body),
                    "block {height}, entry {index}: nobody sent request {actor} like this"
                );
                ensure!(
                    !self.applied.contains_key(&actor),
                    "block {height}, entry {index}: request {actor} was applied before"
                );
            }
        }
        Ok(())
    }

    fn note(&mut self, now: Moment, actor: u128, body: &CommandBody, outcome: Outcome) {
        let metadata = |of: &[(u32, Sealed)], index: usize| {
            let found = of.iter().find(|(at, _)| *at as usize == index);
            found.map(|(_, sealed)| sealed.clone())
        };
        for (index, row) in outcome.rows.iter().enumerate() {
            self.rows.push((*row, metadata(&outcome.row_metadata, index)));
        }
        for (index, account) in outcome.new_accounts.iter().enumerate() {
            self.accounts.push(AccountPage {
                id: account.id,
                metadata: metadata(&outcome.account_metadata, index),
                versions: Vec::new(),
            });
        }
        for page in &mut self.accounts {
            let account = self.model.account(page.id).expect("a numbered account is there");
            if page.versions.last().is_none_or(|(_, last)| *last != account) {
                page.versions.push((now, account));
            }
        }
        let answer = match body {
            CommandBody::CreateAccounts(_) => Answer::Accounts(outcome.accounts),
            CommandBody::CreateTransfers(_) => Answer::Transfers(outcome.transfers),
            CommandBody::DescribeLedger(_) => {
                Answer::Described(outcome.described.expect("a description has a result"))
            }
            CommandBody::BeginEpoch | CommandBody::ExpirePending { .. } => return,
        };
        self.applied.insert(actor, (now, answer));
    }
}

fn same_results(logged: &Results, outcome: &Outcome) -> bool {
    match logged {
        Results::None => true,
        Results::Accounts(codes) => codes
            .iter()
            .copied()
            .eq(outcome.accounts.iter().map(|reply| reply.result)),
        Results::Transfers(codes) => codes
            .iter()
            .copied()
            .eq(outcome.transfers.iter().map(|reply| reply.result)),
        Results::Expired(ids) => *ids == outcome.expired,
        Results::Described(result) => outcome.described == Some(*result),
    }
}
