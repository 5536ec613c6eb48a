//! The canonical encoding of a block's body (pure). Owns: how entries become bytes and back, one way only.
//!
//! Described in `docs/format-journal.md`. Every sequence of entries has exactly one encoding, and every byte
//! string that decodes re-encodes to itself: what is not in that form is refused.

mod decode;
mod encode;

pub(crate) use decode::decode;
pub use decode::{DecodeError, Problem};
pub(crate) use encode::{Scratch, Target, put_account, put_code, put_transfer};

/// Version of the encoding below; part of the block's hash.
pub const BODY_VERSION: u16 = 1;
/// The most bytes that a body may have. A request of 8,190 events with 4 KiB of metadata each has about 35 MB.
pub const BODY_BYTES_MAX: usize = 256 << 20;

/// Events are cut into groups of this many; a group's results follow it, and a leaf holds whole groups.
pub(crate) const GROUP_EVENTS: usize = 64;

/// Kinds of entries; numbered once, never renumbered; 0 is never used. The top bit says that an actor follows.
pub(crate) mod kind {
    pub(crate) const BEGIN_EPOCH: u8 = 1;
    pub(crate) const CREATE_ACCOUNTS: u8 = 2;
    pub(crate) const CREATE_TRANSFERS: u8 = 3;
    pub(crate) const EXPIRE_PENDING: u8 = 4;
    pub(crate) const DESCRIBE_LEDGER: u8 = 5;
    pub(crate) const ACTOR: u8 = 0x80;
}

/// Which fields of a transfer follow, in this order; those that do not are zero.
pub(crate) mod transfer {
    pub(crate) const ID: u16 = 1 << 0;
    pub(crate) const DEBIT: u16 = 1 << 1;
    pub(crate) const CREDIT: u16 = 1 << 2;
    pub(crate) const AMOUNT: u16 = 1 << 3;
    pub(crate) const PENDING_ID: u16 = 1 << 4;
    pub(crate) const USER_DATA_128: u16 = 1 << 5;
    pub(crate) const USER_DATA_64: u16 = 1 << 6;
    pub(crate) const USER_DATA_32: u16 = 1 << 7;
    pub(crate) const TIMEOUT: u16 = 1 << 8;
    pub(crate) const LEDGER: u16 = 1 << 9;
    pub(crate) const CODE: u16 = 1 << 10;
    pub(crate) const FLAGS: u16 = 1 << 11;
    pub(crate) const TIMESTAMP: u16 = 1 << 12;
    pub(crate) const METADATA: u16 = 1 << 13;
    pub(crate) const KNOWN: u16 = (1 << 14) - 1;
}

/// Which fields of an account follow, in this order; those that do not are zero.
pub(crate) mod account {
    pub(crate) const ID: u16 = 1 << 0;
    pub(crate) const DEBITS_PENDING: u16 = 1 << 1;
    pub(crate) const DEBITS_POSTED: u16 = 1 << 2;
    pub(crate) const CREDITS_PENDING: u16 = 1 << 3;
    pub(crate) const CREDITS_POSTED: u16 = 1 << 4;
    pub(crate) const USER_DATA_128: u16 = 1 << 5;
    pub(crate) const USER_DATA_64: u16 = 1 << 6;
    pub(crate) const USER_DATA_32: u16 = 1 << 7;
    pub(crate) const LEDGER: u16 = 1 << 8;
    pub(crate) const CODE: u16 = 1 << 9;
    pub(crate) const FLAGS: u16 = 1 << 10;
    pub(crate) const TIMESTAMP: u16 = 1 << 11;
    pub(crate) const METADATA: u16 = 1 << 12;
    pub(crate) const KNOWN: u16 = (1 << 13) - 1;
}
