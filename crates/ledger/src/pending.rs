//! Open pending transfers (pure). Owns: which are open, by id and by when they are due.
//!
//! Must not: know rules. Invariant: slots are never visible, only ids and the order of (due, id) are.

use crate::cow::{CowChunks, SharedChunks};
use crate::hash::IdHasher;
use crate::{AccountNumber, TimestampNs, Transfer, TransferId};
use hashbrown::HashTable;
use std::collections::BTreeSet;

const NS_PER_S: u64 = 1_000_000_000;

/// A pending transfer that is neither posted, voided nor released.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Open {
    /// As stored. Id 0: the slot is free.
    pub(crate) transfer: Transfer,
    pub(crate) debit: AccountNumber,
    pub(crate) credit: AccountNumber,
}

impl Open {
    /// When it is released; `None`: never.
    #[inline]
    pub(crate) fn due(&self) -> Option<TimestampNs> {
        if self.transfer.timeout == 0 {
            return None;
        }
        // Whether the sum fits was checked when the transfer was created.
        Some(TimestampNs(
            self.transfer.timestamp.0 + u64::from(self.transfer.timeout) * NS_PER_S,
        ))
    }
}

/// The moment a transfer with that timestamp and timeout would be due, if time reaches so far.
pub(crate) fn due_at(timestamp: TimestampNs, timeout_s: u32) -> Option<TimestampNs> {
    let due = timestamp.0.checked_add(u64::from(timeout_s) * NS_PER_S)?;
    (due <= TimestampNs::MAX.0).then_some(TimestampNs(due))
}

/// See the module.
#[derive(Debug)]
pub(crate) struct OpenPendings {
    slots: CowChunks<Open>,
    free: Vec<u32>,
    index: HashTable<u32>,
    due: BTreeSet<(TimestampNs, TransferId)>,
    hasher: IdHasher,
}

impl OpenPendings {
    pub(crate) fn new(hasher: IdHasher) -> Self {
        Self {
            slots: CowChunks::default(),
            free: Vec::new(),
            index: HashTable::new(),
            due: BTreeSet::new(),
            hasher,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.index.len()
    }

    #[inline]
    pub(crate) fn get(&self, id: TransferId) -> Option<&Open> {
        let hash = self.hasher.hash(id.0);
        let slot = self
            .index
            .find(hash, |&slot| self.slots.get(slot as usize).transfer.id == id)?;
        Some(self.slots.get(*slot as usize))
    }

    /// The id must not be open yet.
    pub(crate) fn insert(&mut self, open: Open) {
        let slot = match self.free.pop() {
            Some(slot) => {
                *self.slots.get_mut(slot as usize) = open;
                slot
            }
            None => self.slots.push(open) as u32,
        };
        let (slots, hasher) = (&self.slots, self.hasher);
        self.index
            .insert_unique(hasher.hash(open.transfer.id.0), slot, |&other| {
                hasher.hash(slots.get(other as usize).transfer.id.0)
            });
        if let Some(due) = open.due() {
            self.due.insert((due, open.transfer.id));
        }
    }

    /// Takes it out, if it is open.
    pub(crate) fn remove(&mut self, id: TransferId) -> Option<Open> {
        let hash = self.hasher.hash(id.0);
        let slots = &self.slots;
        let entry = self
            .index
            .find_entry(hash, |&slot| slots.get(slot as usize).transfer.id == id)
            .ok()?;
        let (slot, _) = entry.remove();
        let open = std::mem::take(self.slots.get_mut(slot as usize));
        self.free.push(slot);
        if let Some(due) = open.due() {
            self.due.remove(&(due, id));
        }
        Some(open)
    }

    /// When the first is due.
    pub(crate) fn next_due(&self) -> Option<TimestampNs> {
        self.due.first().map(|&(due, _)| due)
    }

    /// The one that has been due the longest at that time.
    pub(crate) fn first_due(&self, at: TimestampNs) -> Option<TransferId> {
        self.due.first().filter(|&&(due, _)| due <= at).map(|&(_, id)| id)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Open> {
        self.slots.iter().filter(|open| open.transfer.id.0 != 0)
    }

    pub(crate) fn share(&mut self) -> SharedChunks<Open> {
        self.slots.share()
    }
}
