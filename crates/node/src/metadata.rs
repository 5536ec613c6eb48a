//! Sealing of metadata. Owns: the layout of sealed metadata.
//!
//! `key id (4, little endian) · nonce (12) · tag (16) · ciphertext`. The nonce is a MAC of the plaintext, so equal
//! metadata gives equal bytes and the ledger can compare without a key; two plaintexts share a nonce with a
//! chance of 2^-96 a pair. Destroying the key leaves ciphertext that still hashes as before.

use ledger::Sealed;
use storage::{DataKey, KeyError, KeyId, KeyRing, NONCE_BYTES, Nonce, TAG_BYTES};

const KEY_BYTES: usize = 4;
const HEADER_BYTES: usize = KEY_BYTES + NONCE_BYTES + TAG_BYTES;
const ENCRYPTION: &[u8] = b"metadata encryption";
const NONCE: &[u8] = b"metadata nonce";

/// Seals and opens metadata under the keys of a ring.
#[derive(Debug)]
pub struct MetadataSealer {
    keys: KeyRing,
    encryption: DataKey,
    nonce: DataKey,
}

impl MetadataSealer {
    /// Under the ring's current key.
    pub fn new(keys: KeyRing) -> Self {
        let encryption = keys.current().derive(ENCRYPTION);
        let nonce = keys.current().derive(NONCE);
        Self {
            keys,
            encryption,
            nonce,
        }
    }

    /// Encrypts.
    pub fn seal(&self, plain: &[u8]) -> Sealed {
        let nonce: Nonce = self.nonce.mac(plain)[..NONCE_BYTES]
            .try_into()
            .expect("a MAC is longer than a nonce");
        let mut sealed = Vec::with_capacity(HEADER_BYTES + plain.len());
        sealed.extend_from_slice(&self.encryption.id().0.to_le_bytes());
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(&[0; TAG_BYTES]);
        sealed.extend_from_slice(plain);
        let tag = self.encryption.seal(nonce, &[], &mut sealed[HEADER_BYTES..]);
        sealed[KEY_BYTES + NONCE_BYTES..HEADER_BYTES].copy_from_slice(&tag);
        sealed.into()
    }

    /// Decrypts.
    ///
    /// # Errors
    /// [`KeyError`] when the key is gone or the bytes were changed.
    pub fn open(&self, sealed: &[u8]) -> Result<Vec<u8>, KeyError> {
        let id = sealed.first_chunk().map_or(0, |id| u32::from_le_bytes(*id));
        let key = self.keys.get(KeyId(id))?.derive(ENCRYPTION);
        let (header, ciphertext) = sealed
            .split_at_checked(HEADER_BYTES)
            .ok_or(KeyError::Authentication(id))?;
        let nonce = header[KEY_BYTES..KEY_BYTES + NONCE_BYTES]
            .try_into()
            .expect("the header has a nonce");
        let tag = header[KEY_BYTES + NONCE_BYTES..]
            .try_into()
            .expect("the header has a tag");
        let mut plain = ciphertext.to_vec();
        key.open(nonce, &[], &mut plain, tag)?;
        Ok(plain)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealer() -> MetadataSealer {
        MetadataSealer::new(KeyRing::new(DataKey::new(KeyId(1), [7; 32])))
    }

    #[test]
    fn what_is_sealed_opens_and_equal_metadata_gives_equal_bytes() {
        let sealed = sealer().seal(br#"{"name":"Anna"}"#);
        assert_eq!(sealer().open(&sealed).unwrap(), br#"{"name":"Anna"}"#);
        assert_eq!(sealed, sealer().seal(br#"{"name":"Anna"}"#));
        assert_ne!(sealed[..32], sealer().seal(br#"{"name":"Bert"}"#)[..32]);
    }

    #[test]
    fn a_changed_bit_anywhere_does_not_open() {
        let sealed = sealer().seal(b"{}");
        for bit in 0..sealed.len() * 8 {
            let mut bytes = sealed.to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(sealer().open(&bytes).is_err(), "bit {bit}");
        }
        assert!(sealer().open(&sealed[..20]).is_err());
    }
}
