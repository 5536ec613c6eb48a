//! Flags as names (pure). The names are those of the rules; unknown and repeated ones are refused by the caller.

use ledger::{AccountFlags, TransferFlags};

/// Names of account flags, in the order of their bits.
pub const ACCOUNT_FLAGS: [(&str, AccountFlags); 6] = [
    ("linked", AccountFlags::LINKED),
    (
        "debits_must_not_exceed_credits",
        AccountFlags::DEBITS_MUST_NOT_EXCEED_CREDITS,
    ),
    (
        "credits_must_not_exceed_debits",
        AccountFlags::CREDITS_MUST_NOT_EXCEED_DEBITS,
    ),
    ("history", AccountFlags::HISTORY),
    ("imported", AccountFlags::IMPORTED),
    ("closed", AccountFlags::CLOSED),
];

/// Names of transfer flags, in the order of their bits.
pub const TRANSFER_FLAGS: [(&str, TransferFlags); 9] = [
    ("linked", TransferFlags::LINKED),
    ("pending", TransferFlags::PENDING),
    ("post_pending_transfer", TransferFlags::POST_PENDING_TRANSFER),
    ("void_pending_transfer", TransferFlags::VOID_PENDING_TRANSFER),
    ("balancing_debit", TransferFlags::BALANCING_DEBIT),
    ("balancing_credit", TransferFlags::BALANCING_CREDIT),
    ("closing_debit", TransferFlags::CLOSING_DEBIT),
    ("closing_credit", TransferFlags::CLOSING_CREDIT),
    ("imported", TransferFlags::IMPORTED),
];

/// Names and bits of account flags.
pub fn account_names() -> impl Iterator<Item = (&'static str, u16)> + Clone {
    ACCOUNT_FLAGS.iter().map(|(name, flag)| (*name, flag.bits()))
}

/// Names and bits of transfer flags.
pub fn transfer_names() -> impl Iterator<Item = (&'static str, u16)> + Clone {
    TRANSFER_FLAGS.iter().map(|(name, flag)| (*name, flag.bits()))
}

/// The names of the set bits, in the order of the bits.
pub fn names_of(
    bits: u16,
    names: impl Iterator<Item = (&'static str, u16)> + Clone,
) -> impl Iterator<Item = &'static str> + Clone {
    names
        .filter(move |(_, flag)| bits & flag != 0)
        .map(|(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flag_of_the_rules_has_exactly_one_name() {
        let all = ACCOUNT_FLAGS
            .iter()
            .fold(AccountFlags::empty(), |sum, (_, flag)| {
                assert!(!sum.intersects(*flag));
                sum | *flag
            });
        assert_eq!(all, AccountFlags::all());
        let all = TRANSFER_FLAGS
            .iter()
            .fold(TransferFlags::empty(), |sum, (_, flag)| {
                assert!(!sum.intersects(*flag));
                sum | *flag
            });
        assert_eq!(all, TransferFlags::all());
    }
}
