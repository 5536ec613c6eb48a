//! The table of accounts (pure). Owns: accounts by number and by id, and what is kept to recognise a repeat.
//!
//! Must not: know rules. Invariant: numbers are dense and timestamps rise with them.
//! Memory: 128 bytes for the account, 8 beside it, about 10 for the index: under 200 all in.

use crate::cow::{CowChunks, SharedChunks};
use crate::hash::IdHasher;
use crate::{Account, AccountFlags, AccountId, AccountNumber, TimestampNs};
use hashbrown::HashTable;

/// How many bytes of sealed metadata tell it from another's: its synthetic nonce and tag come first.
const TAG_BYTES: usize = 32;

/// Enough of an account's sealed metadata to tell a repeat from a difference.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct MetadataTag {
    pub(crate) len: u8,
    pub(crate) bytes: [u8; TAG_BYTES],
}

impl MetadataTag {
    pub(crate) fn of(sealed: &[u8]) -> Self {
        let len = sealed.len().min(TAG_BYTES);
        let mut bytes = [0; TAG_BYTES];
        bytes[..len].copy_from_slice(&sealed[..len]);
        Self {
            len: len as u8,
            bytes,
        }
    }
}

/// What is kept beside an account, outside the hot path.
#[derive(Clone, Copy, Debug, Default)]
struct Extra {
    /// Index into the tags plus 1; 0: created without metadata.
    tag: u32,
    /// Created closed: nothing reopens it, and a repeat must say so too.
    created_closed: bool,
}

/// What a snapshot holds of the accounts.
#[derive(Clone, Debug)]
pub(crate) struct SharedAccounts {
    accounts: SharedChunks<Account>,
    extras: SharedChunks<Extra>,
    tags: SharedChunks<MetadataTag>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Accounts {
    accounts: CowChunks<Account>,
    extras: CowChunks<Extra>,
    tags: CowChunks<MetadataTag>,
    index: HashTable<u32>,
    hasher: IdHasher,
}

impl Accounts {
    pub(crate) fn new(hasher: IdHasher) -> Self {
        Self {
            accounts: CowChunks::default(),
            extras: CowChunks::default(),
            tags: CowChunks::default(),
            index: HashTable::new(),
            hasher,
        }
    }

    pub(crate) fn len(&self) -> u32 {
        self.accounts.len() as u32
    }

    #[inline]
    pub(crate) fn find(&self, id: AccountId) -> Option<AccountNumber> {
        let hash = self.hasher.hash(id.0);
        self.index
            .find(hash, |&number| self.accounts.get(number as usize).id == id)
            .map(|&number| AccountNumber(number))
    }

    /// # Panics
    /// When there is no such account.
    #[inline]
    pub(crate) fn get(&self, number: AccountNumber) -> &Account {
        self.accounts.get(number.0 as usize)
    }

    /// # Panics
    /// When there is no such account.
    #[inline]
    pub(crate) fn get_mut(&mut self, number: AccountNumber) -> &mut Account {
        self.accounts.get_mut(number.0 as usize)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Account> {
        self.accounts.iter()
    }

    /// The account's id must not be in the table yet.
    ///
    /// # Panics
    /// When 2^32 − 1 accounts are there already.
    pub(crate) fn push(
        &mut self,
        account: Account,
        created_closed: bool,
        tag: Option<MetadataTag>,
    ) -> AccountNumber {
        let tag = tag.map_or(0, |tag| self.tags.push(tag) as u32 + 1);
        let number = u32::try_from(self.accounts.push(account)).unwrap_or(u32::MAX);
        assert!(number != AccountNumber::NONE.0, "account numbers are used up");
        self.extras.push(Extra { tag, created_closed });
        let (accounts, hasher) = (&self.accounts, self.hasher);
        self.index
            .insert_unique(hasher.hash(account.id.0), number, |&other| {
                hasher.hash(accounts.get(other as usize).id.0)
            });
        AccountNumber(number)
    }

    /// Takes back the last [`Accounts::push`].
    pub(crate) fn pop(&mut self) {
        let Some(account) = self.accounts.pop() else {
            return;
        };
        let number = self.len();
        let hash = self.hasher.hash(account.id.0);
        if let Ok(entry) = self.index.find_entry(hash, |&other| other == number) {
            entry.remove();
        }
        if self.extras.pop().is_some_and(|extra| extra.tag != 0) {
            self.tags.pop();
        }
    }

    /// The flags as given at creation: closing an account later is no difference to a repeat.
    pub(crate) fn flags_at_creation(&self, number: AccountNumber) -> AccountFlags {
        let now = self.get(number).flags;
        let closed = AccountFlags::CLOSED;
        if self.extras.get(number.0 as usize).created_closed {
            now | closed
        } else {
            now - closed
        }
    }

    /// What was kept of the metadata given at creation.
    pub(crate) fn metadata_tag(&self, number: AccountNumber) -> Option<MetadataTag> {
        let tag = self.extras.get(number.0 as usize).tag.checked_sub(1)?;
        Some(*self.tags.get(tag as usize))
    }

    /// Of the account created last; 0 if there is none.
    pub(crate) fn last_timestamp(&self) -> TimestampNs {
        match self.accounts.len() {
            0 => TimestampNs(0),
            len => self.accounts.get(len - 1).timestamp,
        }
    }

    /// Whether an account was created at exactly that time.
    pub(crate) fn timestamp_taken(&self, timestamp: TimestampNs) -> bool {
        let (mut low, mut high) = (0, self.accounts.len());
        while low < high {
            let middle = low + (high - low) / 2;
            match self.accounts.get(middle).timestamp.cmp(&timestamp) {
                std::cmp::Ordering::Equal => return true,
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        false
    }

    pub(crate) fn share(&mut self) -> SharedAccounts {
        SharedAccounts {
            accounts: self.accounts.share(),
            extras: self.extras.share(),
            tags: self.tags.share(),
        }
    }
}

impl SharedAccounts {
    pub(crate) fn len(&self) -> u32 {
        self.accounts.len() as u32
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Account> {
        self.accounts.iter()
    }

    /// Accounts with what is kept beside them: whether created closed, and the tag of metadata.
    pub(crate) fn iter_all(&self) -> impl Iterator<Item = (&Account, bool, Option<MetadataTag>)> {
        let mut tags = self.tags.iter();
        self.accounts
            .iter()
            .zip(self.extras.iter())
            .map(move |(account, extra)| {
                // Tags are appended together with the accounts that have them, so both orders agree.
                let tag = if extra.tag == 0 {
                    None
                } else {
                    tags.next().copied()
                };
                (account, extra.created_closed, tag)
            })
    }
}
