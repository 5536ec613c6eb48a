//! Accounts and transfers as clients give them and as the ledger keeps them (pure).

use crate::{AccountId, Amount, Code, LedgerId, TimestampNs, TransferId};
use bitflags::bitflags;
use std::sync::Arc;

bitflags! {
    /// Properties of an account. Bits not named here are reserved and refused.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct AccountFlags: u16 {
        /// Succeeds or fails together with the next event of the request.
        const LINKED = 1 << 0;
        /// Debits (pending and posted) may never exceed credits posted.
        const DEBITS_MUST_NOT_EXCEED_CREDITS = 1 << 1;
        /// Credits (pending and posted) may never exceed debits posted.
        const CREDITS_MUST_NOT_EXCEED_DEBITS = 1 << 2;
        /// Accepted for compatibility; every account keeps its history.
        const HISTORY = 1 << 3;
        /// The timestamp is given by the client.
        const IMPORTED = 1 << 4;
        /// Admits only voids and expiries.
        const CLOSED = 1 << 5;
    }
}

bitflags! {
    /// Properties of a transfer. Bits not named here are reserved and refused.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct TransferFlags: u16 {
        /// Succeeds or fails together with the next event of the request.
        const LINKED = 1 << 0;
        /// Reserves the amount until it is posted, voided or expires.
        const PENDING = 1 << 1;
        /// Posts the pending transfer named by `pending_id`.
        const POST_PENDING_TRANSFER = 1 << 2;
        /// Voids the pending transfer named by `pending_id`.
        const VOID_PENDING_TRANSFER = 1 << 3;
        /// Takes at most what the debit account has free.
        const BALANCING_DEBIT = 1 << 4;
        /// Takes at most what the credit account has free.
        const BALANCING_CREDIT = 1 << 5;
        /// Closes the debit account; needs `PENDING`.
        const CLOSING_DEBIT = 1 << 6;
        /// Closes the credit account; needs `PENDING`.
        const CLOSING_CREDIT = 1 << 7;
        /// The timestamp is given by the client.
        const IMPORTED = 1 << 8;
    }
}

/// The four running totals of an account, in minor units.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Balances {
    /// Reserved by pending transfers on the debit side.
    pub debits_pending: Amount,
    /// Settled on the debit side.
    pub debits_posted: Amount,
    /// Reserved by pending transfers on the credit side.
    pub credits_pending: Amount,
    /// Settled on the credit side.
    pub credits_posted: Amount,
}

/// An account. In a request, balances must be zero, and so must the timestamp unless imported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// Chosen by the client.
    pub id: AccountId,
    /// Running totals.
    pub balances: Balances,
    /// For the client's own use; indexed.
    pub user_data_128: u128,
    /// For the client's own use; indexed.
    pub user_data_64: u64,
    /// For the client's own use; indexed.
    pub user_data_32: u32,
    /// The one currency or asset that the account holds.
    pub ledger: LedgerId,
    /// Chart of accounts.
    pub code: Code,
    /// See [`AccountFlags`]; kept with unknown bits, so that they can be refused.
    pub flags: AccountFlags,
    /// When it was created; assigned by the ledger unless imported.
    pub timestamp: TimestampNs,
}

/// A transfer from one account to another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Transfer {
    /// Chosen by the client, used once for ever.
    pub id: TransferId,
    /// Debited; zero in a post or void means "as in the pending transfer".
    pub debit_account_id: AccountId,
    /// Credited; zero in a post or void means "as in the pending transfer".
    pub credit_account_id: AccountId,
    /// Minor units. In a post [`Amount::ALL`], in a void 0 means all that is pending.
    pub amount: Amount,
    /// The pending transfer that is posted or voided; otherwise 0.
    pub pending_id: TransferId,
    /// For the client's own use; indexed.
    pub user_data_128: u128,
    /// For the client's own use; indexed.
    pub user_data_64: u64,
    /// For the client's own use; indexed.
    pub user_data_32: u32,
    /// Seconds until a pending transfer expires; 0: never.
    pub timeout: u32,
    /// The ledger of both accounts.
    pub ledger: LedgerId,
    /// Kind of business.
    pub code: Code,
    /// See [`TransferFlags`]; kept with unknown bits, so that they can be refused.
    pub flags: TransferFlags,
    /// When it was applied; assigned by the ledger unless imported.
    pub timestamp: TimestampNs,
}

/// Metadata as ciphertext. The encryption is deterministic under its key, so that equal bytes mean equal
/// metadata; the ledger only ever compares it. At most 4 KiB of plaintext; the sealing is done at the edge.
pub type Sealed = Arc<[u8]>;

/// What is known of a ledger. One that was never described is usable, with scale 0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LedgerDescription {
    /// Which one.
    pub ledger: LedgerId,
    /// For people; at most 128 bytes.
    pub name: String,
    /// ISO 4217 code or an asset's own; at most 16 bytes.
    pub currency: String,
    /// How many decimals an amount has for people, 0 to 18.
    pub scale: u8,
}
