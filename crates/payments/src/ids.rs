//! Derives ids (pure): the same file under the same mapping always gives the same ids, so that a repeated import
//! changes nothing. Owns: the byte layout, which must never change. Described in `docs/payments.md`.

use crate::AccountRef;
use aws_lc_rs::digest::{Context, SHA256};
use ledger::{AccountId, TransferId};

/// What an account is for; part of its id, so that no identification from outside can name one of the bank's own
/// clearing or equity accounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u32)]
pub enum AccountKind {
    /// Held by a customer or by the bank under an outside identification.
    Own = 1,
    /// The bank's own, through which others settle.
    Clearing = 2,
    /// The bank's own, against which opening balances are booked.
    Opening = 3,
}

impl AccountKind {
    fn scheme(self) -> &'static str {
        match self {
            Self::Own => "",
            Self::Clearing => "shanraq:clearing",
            Self::Opening => "shanraq:opening",
        }
    }
}

/// SHA-256 over a domain and its parts, each led by its length as four bytes, big-endian.
fn digest(domain: &str, parts: &[&str]) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    for part in std::iter::once(&domain).chain(parts) {
        context.update(&(part.len() as u32).to_be_bytes());
        context.update(part.as_bytes());
    }
    let mut out = [0; 32];
    out.copy_from_slice(context.finish().as_ref());
    out
}

/// The first 16 bytes, big-endian; never 0 nor the maximum, which are no ids.
fn id128(domain: &str, parts: &[&str]) -> u128 {
    let bytes = digest(domain, parts);
    let mut head = [0; 16];
    head.copy_from_slice(&bytes[..16]);
    u128::from_be_bytes(head).clamp(1, u128::MAX - 1)
}

/// The ledger's account for an identification and a currency.
#[must_use]
pub fn account_id(kind: AccountKind, account: &AccountRef, currency: &str) -> AccountId {
    AccountId(id128(
        "account",
        &[kind.scheme(), account.scheme(), account.id(), currency],
    ))
}

/// Common to an identification's accounts in all currencies: their `user_data_128`.
#[must_use]
pub fn account_reference(kind: AccountKind, account: &AccountRef) -> u128 {
    id128(
        "account-reference",
        &[kind.scheme(), account.scheme(), account.id()],
    )
}

/// A payment's transfer.
#[must_use]
pub fn transfer_id(parts: &[&str]) -> TransferId {
    TransferId(id128("transfer", parts))
}

/// What a payer calls a payment (UETR, else EndToEndId): its `user_data_128`. 0 when there is neither.
#[must_use]
pub fn payment_reference(text: &str) -> u128 {
    if text.is_empty() {
        0
    } else {
        id128("payment-reference", &[text])
    }
}

/// The file that payments came in: their `user_data_64`, so that all of a file can be queried.
#[must_use]
pub fn file_reference(initiator: &str, message_id: &str) -> u64 {
    let bytes = digest("file-reference", &[initiator, message_id]);
    let mut head = [0; 8];
    head.copy_from_slice(&bytes[..8]);
    u64::from_be_bytes(head).max(1)
}

/// SHA-256 in hexadecimal.
pub(crate) fn sha256_hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    let hash = aws_lc_rs::digest::digest(&SHA256, bytes);
    hash.as_ref()
        .iter()
        .fold(String::with_capacity(64), |mut hex, byte| {
            // Writing to a String cannot fail.
            let _ = write!(hex, "{byte:02x}");
            hex
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    // Computed apart, with another implementation of SHA-256.
    #[test]
    fn ids_are_pinned_for_ever() {
        let iban = AccountRef::Iban("DE89370400440532013000".to_owned());
        assert_eq!(account_id(AccountKind::Own, &iban, "EUR").0, PINNED_ACCOUNT);
        assert_eq!(
            transfer_id(&["pain.001", "party", "MSG", "PMT", "INSTR", "E2E", ""]).0,
            PINNED_TRANSFER
        );
    }

    const PINNED_ACCOUNT: u128 = 46_370_872_178_271_895_437_517_312_445_175_179_574;
    const PINNED_TRANSFER: u128 = 304_271_816_224_901_415_948_130_626_839_895_913_308;

    #[test]
    fn parts_cannot_be_shifted_into_one_another() {
        assert_ne!(transfer_id(&["ab", "c"]), transfer_id(&["a", "bc"]));
        assert_ne!(transfer_id(&["a", ""]), transfer_id(&["a"]));
    }

    #[test]
    fn an_outside_identification_never_names_a_clearing_account() {
        let name = AccountRef::other("", "TARGET").expect("valid");
        let own = account_id(AccountKind::Own, &name, "EUR");
        assert_ne!(own, account_id(AccountKind::Clearing, &name, "EUR"));
        assert_ne!(own, account_id(AccountKind::Own, &name, "USD"));
    }
}
