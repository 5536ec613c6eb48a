//! What can be asked of history (pure). Owns: filters and their validation.

use ledger::{AccountNumber, Code, EVENTS_PER_REQUEST_MAX, LedgerId, RowNumber, TimestampNs};

/// In which order results come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// The latest first.
    #[default]
    NewestFirst,
    /// The earliest first.
    OldestFirst,
}

/// Which side of a transfer the account of a filter must be on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccountSide {
    /// The account.
    pub account: AccountNumber,
    /// Match where it is debited.
    pub debits: bool,
    /// Match where it is credited.
    pub credits: bool,
}

/// Conditions that must all hold; zero means any. Used for rows of transfers and for accounts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// For transfers: one side of it. Not used for accounts.
    pub account: Option<AccountSide>,
    /// Equal to, or 0 for any.
    pub user_data_128: u128,
    /// Equal to, or 0 for any.
    pub user_data_64: u64,
    /// Equal to, or 0 for any.
    pub user_data_32: u32,
    /// Equal to, or 0 for any.
    pub ledger: LedgerId,
    /// Equal to, or 0 for any.
    pub code: Code,
    /// The earliest, inclusive; 0: no bound.
    pub timestamp_min: TimestampNs,
    /// The latest, inclusive; 0: no bound.
    pub timestamp_max: TimestampNs,
    /// From 1 to [`EVENTS_PER_REQUEST_MAX`].
    pub limit: u32,
    /// Newest or oldest first.
    pub order: Order,
    /// Continue beyond this row (or account number), in `order`: the last one of the page before.
    pub after: Option<RowNumber>,
}

/// A filter that makes no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// The limit is out of range.
    #[error("limit must be from 1 to {EVENTS_PER_REQUEST_MAX}")]
    Limit,
    /// The time bounds exclude everything.
    #[error("timestamp_min must not be above timestamp_max")]
    Time,
    /// Neither side is asked for.
    #[error("at least one of debits and credits must be asked for")]
    Side,
}

impl Filter {
    /// Checks that it can match something.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn validate(&self) -> Result<(), FilterError> {
        if self.limit == 0 || self.limit as usize > EVENTS_PER_REQUEST_MAX {
            return Err(FilterError::Limit);
        }
        if self.timestamp_max.0 != 0 && self.timestamp_min > self.timestamp_max {
            return Err(FilterError::Time);
        }
        if self.account.is_some_and(|side| !side.debits && !side.credits) {
            return Err(FilterError::Side);
        }
        Ok(())
    }
}
