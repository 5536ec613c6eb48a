//! The promises that can be broken. Owns: their names, which a report tells.

use super::record::Read;
use ledger::{AccountId, CreateTransferResult, TimestampNs, TransferId};

/// A broken promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Violation {
    /// Acknowledged and not there.
    Lost(TransferId),
    /// There more than once, or acknowledged as new more than once.
    Doubled(TransferId),
    /// There, but not as it was asked for.
    Changed(TransferId, &'static str),
    /// There with another timestamp than the client was told.
    TimestampChanged {
        /// Which.
        id: TransferId,
        /// As the client was told.
        told: TimestampNs,
        /// As it is there.
        there: TimestampNs,
    },
    /// The client was told other balances than the rows give at that point.
    BalancesChanged(TransferId),
    /// The row shows other balances than the rows up to it give.
    RowBalancesDiffer(TimestampNs),
    /// There, and nobody asked for it.
    Invented(TransferId),
    /// There, though the client was told that it was refused.
    RefusedButApplied(TransferId, CreateTransferResult),
    /// There, though no call under the id can have done it.
    DoneWithoutCause(TransferId),
    /// The answer does not know what an earlier answer under the id said.
    Forgotten(TransferId, CreateTransferResult),
    /// The answer says that the id was used before, and it cannot have been.
    NeverUsed(TransferId, CreateTransferResult),
    /// Some events of a chain are there and some are not.
    ChainTorn(TransferId),
    /// A row does not come after the one before it.
    OrderBroken(TimestampNs),
    /// Answered before the other was asked, and stamped after it.
    RealTimeBroken {
        /// Answered first.
        first: TransferId,
        /// Asked afterwards.
        second: TransferId,
    },
    /// Acknowledged with a timestamp that the campaign's own clock had not reached when the answer came, by more than the second
    /// that clocks may differ.
    StampedAhead {
        /// Which.
        id: TransferId,
        /// By how much more, in milliseconds.
        by_ms: u64,
    },
    /// A row cannot stand where it stands.
    RowImpossible(TransferId, String),
    /// An account's totals differ from the sum of its rows.
    BalanceDiffers(AccountId),
    /// A read showed totals that the account never had.
    ReadInvented(Read),
    /// A read showed totals older than what was promised: acknowledged before it, by more than its age where it has one.
    ReadStale(Read),
    /// A linearizable read showed older totals than a linearizable read that ended before it.
    ReadWentBack(Read),
    /// A read showed a transfer that was asked for only after it.
    ReadAhead(Read),
    /// Over all accounts, debits and credits are not equal.
    MoneyMade(String),
    /// The totals that a ledger tells of itself are not those of its accounts.
    TotalsDiffer(String),
    /// Two nodes, or a node and the SQL projection, show different books.
    StatesDiffer {
        /// Whose are taken as right.
        first: String,
        /// Whose differ.
        second: String,
        /// Where they first differ.
        at: String,
    },
    /// The SQL projection has not reached the ledger's height.
    ProjectionBehind {
        /// Where the tables stand.
        projected: u64,
        /// Where the ledger stood before that was looked at.
        height: u64,
    },
    /// What stood at the end of a round does not stand later.
    SealBroken {
        /// Of which round.
        round: u32,
        /// What is different.
        what: String,
    },
}

impl Violation {
    /// The transfer that it is about, if it is about one.
    #[must_use]
    pub fn transfer(&self) -> Option<TransferId> {
        match self {
            Self::Lost(id)
            | Self::Doubled(id)
            | Self::Changed(id, _)
            | Self::TimestampChanged { id, .. }
            | Self::StampedAhead { id, .. }
            | Self::BalancesChanged(id)
            | Self::Invented(id)
            | Self::RefusedButApplied(id, _)
            | Self::DoneWithoutCause(id)
            | Self::Forgotten(id, _)
            | Self::NeverUsed(id, _)
            | Self::ChainTorn(id)
            | Self::RealTimeBroken { second: id, .. }
            | Self::RowImpossible(id, _) => Some(*id),
            Self::RowBalancesDiffer(_)
            | Self::OrderBroken(_)
            | Self::BalanceDiffers(_)
            | Self::ReadInvented(_)
            | Self::ReadStale(_)
            | Self::ReadWentBack(_)
            | Self::ReadAhead(_)
            | Self::MoneyMade(_)
            | Self::TotalsDiffer(_)
            | Self::StatesDiffer { .. }
            | Self::ProjectionBehind { .. }
            | Self::SealBroken { .. } => None,
        }
    }
}
