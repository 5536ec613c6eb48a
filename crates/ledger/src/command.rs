//! What the ledger can be asked to do (pure).

use crate::{Account, ActorId, LedgerDescription, Sealed, Transfer};

/// One entry of the journal: who asks, and for what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// Who sent it, as authenticated at the edge.
    pub actor: ActorId,
    /// What is asked.
    pub body: CommandBody,
}

/// What is asked. A kind is part of the disk format and is never renumbered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommandBody {
    /// A term of a writer begins. Changes no balance.
    BeginEpoch,
    /// Create accounts, in order.
    CreateAccounts(Events<Account>),
    /// Create transfers, in order.
    CreateTransfers(Events<Transfer>),
    /// Release the pending transfers that are due, the oldest due first, at most `limit` of them.
    ExpirePending {
        /// At least 1.
        limit: u32,
    },
    /// Name a ledger and give it currency and scale.
    DescribeLedger(LedgerDescription),
}

/// The events of one request, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Events<E> {
    /// From 1 to [`crate::EVENTS_PER_REQUEST_MAX`].
    pub events: Vec<E>,
    /// Metadata of those events that have some, by rising index.
    pub metadata: Vec<EventMetadata>,
}

/// Metadata of one event of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventMetadata {
    /// Position of the event in its request, from 0.
    pub index: u32,
    /// The ciphertext.
    pub sealed: Sealed,
}
