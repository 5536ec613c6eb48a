//! Newtypes for ids, units and money (pure). Owns: nothing but the types and their bounds.

use std::fmt;

macro_rules! newtype {
    ($(#[$meta:meta])* $name:ident($inner:ty)) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

newtype! {
    /// An account's id, chosen by the client. Valid: neither 0 nor `u128::MAX`.
    AccountId(u128)
}
newtype! {
    /// A transfer's id, chosen by the client and used once for ever. Valid: neither 0 nor `u128::MAX`.
    TransferId(u128)
}
newtype! {
    /// An amount in minor units of its ledger (cents where the ledger's scale is 2).
    Amount(u128)
}
newtype! {
    /// Nanoseconds since the Unix epoch. 0 means "not given"; assigned ones run from 1 to 2^63 − 1.
    TimestampNs(u64)
}
newtype! {
    /// A ledger: one currency or asset. Valid: not 0.
    LedgerId(u32)
}
newtype! {
    /// A user's code: chart of accounts for an account, kind of business for a transfer. Valid: not 0.
    Code(u16)
}
newtype! {
    /// Dense number of an account in the order of creation, from 0. Internal; never leaves the node.
    AccountNumber(u32)
}
newtype! {
    /// Dense number of a row of history in the order of commit, from 0. See [`crate::Row`].
    RowNumber(u64)
}
newtype! {
    /// Position of a block in its shard's journal: 1, 2, 3 … 0 stands for "before the first block".
    Height(u64)
}
newtype! {
    /// Who sent a command, as authenticated at the edge. 0 is the system itself.
    ActorId(u128)
}

impl TimestampNs {
    /// The last moment there is.
    pub const MAX: Self = Self(i64::MAX as u64);
}

impl AccountNumber {
    /// "No account": stands where a burnt id's row has no account.
    pub const NONE: Self = Self(u32::MAX);
}

impl Amount {
    /// In a post: all of what is pending.
    pub const ALL: Self = Self(u128::MAX);
}
