//! The ledger's whole state (pure). Owns: accounts, open pendings, recent ids, descriptions, time.
//!
//! Must not: read clocks, draw randomness, do I/O. The rules are in the modules named after what they rule.
//! Invariant: same state, time and command give same state and outcome.

use crate::accounts::Accounts;
use crate::hash::IdHasher;
use crate::pending::OpenPendings;
use crate::recent::Recent;
use crate::undo::Undo;
use crate::{
    Account, AccountId, AccountNumber, Archive, ArchiveFault, Command, CommandBody, LedgerDescription,
    LedgerId, Outcome, Row, RowKind, RowNumber, Sealed, TimestampNs, Transfer, TransferId, Used,
};
use std::collections::BTreeMap;
use std::sync::Arc;

/// All accounts and open transfers, and the rules that change them.
#[derive(Debug)]
pub struct Ledger {
    pub(crate) accounts: Accounts,
    pub(crate) pendings: OpenPendings,
    pub(crate) recent: Recent,
    pub(crate) descriptions: Arc<BTreeMap<LedgerId, LedgerDescription>>,
    /// Of the last event of any kind.
    pub(crate) last_timestamp: TimestampNs,
    /// Of the last transfer or expiry; an imported one may be far behind `last_timestamp`.
    pub(crate) last_row_timestamp: TimestampNs,
    pub(crate) undo: Undo,
}

impl Default for Ledger {
    fn default() -> Self {
        Self::new()
    }
}

impl Ledger {
    /// An empty ledger. Where clients choose ids, use [`Ledger::with_hash_seed`].
    #[must_use]
    pub fn new() -> Self {
        Self::with_hash_seed(0)
    }

    /// An empty ledger whose tables are hashed with a secret, so that no one can craft ids that collide.
    /// The seed influences no result and no order that can be seen.
    #[must_use]
    pub fn with_hash_seed(seed: u64) -> Self {
        let hasher = IdHasher::new(seed);
        Self {
            accounts: Accounts::new(hasher),
            pendings: OpenPendings::new(hasher),
            recent: Recent::starting_at(RowNumber(0), hasher),
            descriptions: Arc::default(),
            last_timestamp: TimestampNs(0),
            last_row_timestamp: TimestampNs(0),
            undo: Undo::default(),
        }
    }

    /// Applies one command. `now` is a clock reading, or on replay the logged timestamp: the command's first event
    /// gets the greater of it and the last timestamp plus 1, and the next ones follow by one nanosecond each.
    /// `outcome` is emptied first.
    ///
    /// # Errors
    /// [`ArchiveFault`] when it cannot be known whether an id was used. The ledger is then between two states and
    /// must be dropped; the outcome means nothing.
    ///
    /// # Panics
    /// When time would pass 2^63 − 1 nanoseconds, or when an invariant of money is broken.
    pub fn apply<A: Archive>(
        &mut self,
        archive: &A,
        now: TimestampNs,
        command: &Command,
        outcome: &mut Outcome,
    ) -> Result<(), ArchiveFault> {
        outcome.clear();
        let base = TimestampNs(now.0.max(self.last_timestamp.0 + 1));
        outcome.timestamp = base;
        outcome.first_row = self.rows();
        outcome.first_account = AccountNumber(self.accounts.len());
        let events = match &command.body {
            CommandBody::BeginEpoch => 1,
            CommandBody::CreateAccounts(events) => {
                self.create_accounts(archive, base, events, outcome)?;
                events.events.len()
            }
            CommandBody::CreateTransfers(events) => {
                self.create_transfers(archive, base, events, outcome)?;
                events.events.len()
            }
            CommandBody::ExpirePending { limit } => self.expire_pending(base, *limit, outcome),
            CommandBody::DescribeLedger(description) => {
                outcome.described = Some(self.describe(description));
                1
            }
        };
        self.last_timestamp = TimestampNs(base.0 + events.max(1) as u64 - 1);
        assert!(self.last_timestamp <= TimestampNs::MAX, "time has run out");
        Ok(())
    }

    /// Of the last event of any kind; 0 before the first.
    #[must_use]
    pub fn last_timestamp(&self) -> TimestampNs {
        self.last_timestamp
    }

    /// The number of the next row.
    #[must_use]
    pub fn rows(&self) -> RowNumber {
        self.recent.next_row()
    }

    /// How many accounts there are; also the number of the next one.
    #[must_use]
    pub fn accounts_len(&self) -> u32 {
        self.accounts.len()
    }

    /// An account as it stands.
    #[must_use]
    pub fn account(&self, id: AccountId) -> Option<(AccountNumber, &Account)> {
        let number = self.accounts.find(id)?;
        Some((number, self.accounts.get(number)))
    }

    /// An account as it stands.
    ///
    /// # Panics
    /// When there is no account of that number.
    #[must_use]
    pub fn account_at(&self, number: AccountNumber) -> &Account {
        self.accounts.get(number)
    }

    /// Whether metadata was given with the account of that number.
    ///
    /// # Panics
    /// When there is no such account.
    #[must_use]
    pub fn account_has_metadata(&self, number: AccountNumber) -> bool {
        self.accounts.metadata_tag(number).is_some()
    }

    /// All accounts by number.
    pub fn accounts(&self) -> impl Iterator<Item = &Account> {
        self.accounts.iter()
    }

    /// How many pending transfers are open.
    #[must_use]
    pub fn open_pendings(&self) -> usize {
        self.pendings.len()
    }

    /// A pending transfer that is still open (it may be due already).
    #[must_use]
    pub fn open_pending(&self, id: TransferId) -> Option<&Transfer> {
        self.pendings.get(id).map(|open| &open.transfer)
    }

    /// When the first of the open pending transfers is due; `None` when none ever is.
    #[must_use]
    pub fn next_expiry(&self) -> Option<TimestampNs> {
        self.pendings.next_due()
    }

    /// The ledgers that were described, by rising id.
    pub fn descriptions(&self) -> impl Iterator<Item = &LedgerDescription> {
        self.descriptions.values()
    }

    /// A ledger's description, if it has one.
    #[must_use]
    pub fn description(&self, ledger: LedgerId) -> Option<&LedgerDescription> {
        self.descriptions.get(&ledger)
    }

    /// Says that the archive finds everything in rows below for ever. Their ids leave memory, a generation at a time:
    /// cheap enough to be called after every command.
    pub fn forget_archived(&mut self, below: RowNumber) {
        self.recent.forget(below.min(self.rows()));
    }

    /// The first row whose ids are in memory; the archive is asked for those below.
    #[must_use]
    pub fn remembered_from(&self) -> RowNumber {
        self.recent.first_row()
    }

    /// How many rows a generation of remembered ids has at least (4,096 unless told). For tests and tuning; it
    /// influences no result.
    pub fn set_generation_rows_min(&mut self, rows: u32) {
        self.recent.set_generation_rows_min(rows);
    }

    /// What an id was used for.
    #[inline]
    pub(crate) fn used<A: Archive>(&self, archive: &A, id: TransferId) -> Result<Option<Used>, ArchiveFault> {
        if let Some(used) = self.recent.find(id) {
            return Ok(Some(used));
        }
        match self.recent.first_row() {
            RowNumber(0) => Ok(None),
            before => archive.find(id, before),
        }
    }

    /// The only way to write to an account's totals and flags: what was there is noted while a chain is open.
    #[inline]
    pub(crate) fn account_mut(&mut self, number: AccountNumber) -> &mut Account {
        let account = self.accounts.get_mut(number);
        self.undo.account(number, account);
        account
    }

    /// The only way to append a row.
    #[inline]
    pub(crate) fn push_row(&mut self, row: Row, sealed: Option<&Sealed>, outcome: &mut Outcome) {
        self.recent.push(row.kind, &row.transfer, sealed);
        if row.kind != RowKind::Burnt {
            assert!(
                row.transfer.timestamp > self.last_row_timestamp,
                "rows rise in time"
            );
            self.last_row_timestamp = row.transfer.timestamp;
        }
        if let Some(sealed) = sealed {
            outcome
                .row_metadata
                .push((outcome.rows.len() as u32, sealed.clone()));
        }
        outcome.rows.push(row);
    }
}
