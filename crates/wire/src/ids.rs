//! Ids derived from a key that the client repeats (pure). Owns: the byte layout that is hashed; it never changes,
//! since a repeat after years must give the same ids.

use aws_lc_rs::digest::{Context, SHA256};
use ledger::ActorId;

/// The longest `Idempotency-Key`, in bytes.
pub const KEY_BYTES_MAX: usize = 255;

/// The id of event `index` in a request with an idempotency key: the first 16 bytes (big-endian) of SHA-256 over client,
/// key and index, each preceded by its length as 4 bytes big-endian, so that no two inputs run together. The client is
/// 16 bytes big-endian, the index 4.
#[must_use]
pub fn derive_id(client: ActorId, key: &[u8], index: u32) -> u128 {
    let mut context = Context::new(&SHA256);
    for part in [&client.0.to_be_bytes()[..], key, &index.to_be_bytes()[..]] {
        let length = u32::try_from(part.len()).expect("keys are bounded");
        context.update(&length.to_be_bytes());
        context.update(part);
    }
    first_half(context)
}

/// The id of transfer `index` of a transaction: the first 16 bytes (big-endian) of SHA-256 over the transaction's id
/// (16 bytes big-endian) and the index (4 bytes big-endian).
#[must_use]
pub fn derive_leg_id(transaction: u128, index: u32) -> u128 {
    let mut context = Context::new(&SHA256);
    context.update(&transaction.to_be_bytes());
    context.update(&index.to_be_bytes());
    first_half(context)
}

fn first_half(context: Context) -> u128 {
    let digest = context.finish();
    let half = digest.as_ref().first_chunk().expect("SHA-256 has 32 bytes");
    u128::from_be_bytes(*half)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derived_ids_follow_the_published_vectors() {
        assert_eq!(
            derive_id(ActorId(0), b"payment-2024-001", 0),
            0x6bd0_3eae_5804_f8fa_169d_7bec_db43_1751
        );
        assert_eq!(
            derive_id(ActorId(7), b"payment-2024-001", 1),
            0xdd47_7d52_f60a_bd77_9dc5_3e07_3685_04f9
        );
        assert_eq!(derive_leg_id(1, 0), 0x3173_6a8b_5d33_6a7a_1d67_2baf_93ee_3461);
    }

    #[test]
    fn neighbouring_inputs_give_different_ids() {
        let base = derive_id(ActorId(1), b"k", 1);
        assert_ne!(base, derive_id(ActorId(2), b"k", 1));
        assert_ne!(base, derive_id(ActorId(1), b"k1", 1));
        assert_ne!(base, derive_id(ActorId(1), b"k", 11));
    }
}
