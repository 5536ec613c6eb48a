//! From a draft to a sealed block and back. Owns: the block's hash, keys and nonces of sealing.
//! The same for every journal: a sealed block is a header and its ciphertext, wherever they are kept.

use crate::codec::decode;
use crate::header::{HEADER_BYTES, Header, SALT_BYTES};
use crate::merkle::finish;
use crate::{BODY_VERSION, Block, BlockHash, Damage, Draft, Head, ShardId, Term};
use aws_lc_rs::digest::{Context, SHA256};
use ledger::Height;
use storage::{DataKey, KeyError, KeyId, KeyRing, NONCE_BYTES};

/// Seals blocks. Each sealer derives a key of its own from the data key and a random salt, and counts its
/// nonces: so no nonce is used twice under one key, whatever is retried, restarted or copied.
#[derive(Debug)]
pub struct Sealer {
    shard: ShardId,
    key: DataKey,
    salt: [u8; SALT_BYTES],
    sealed: u64,
}

impl Sealer {
    /// A new session under the ring's current key.
    ///
    /// # Panics
    /// When the system's random generator fails.
    #[must_use]
    pub fn new(keys: &KeyRing, shard: ShardId) -> Self {
        let mut salt = [0; SALT_BYTES];
        aws_lc_rs::rand::fill(&mut salt).expect("the system's random generator works");
        Self {
            shard,
            key: block_key(keys.current(), &salt),
            salt,
            sealed: 0,
        }
    }

    /// Writes the draft as the block after `before` to the end of `out`: header and ciphertext.
    ///
    /// # Panics
    /// When the draft is empty or larger than [`crate::BODY_BYTES_MAX`].
    pub fn seal(&mut self, before: &Head, term: Term, draft: &Draft, out: &mut Vec<u8>) -> Header {
        assert!(!draft.is_empty(), "an empty draft is no block");
        assert!(draft.bytes() <= crate::BODY_BYTES_MAX, "the draft is too large");
        let mut nonce = [0; NONCE_BYTES];
        nonce[4..].copy_from_slice(&self.sealed.to_be_bytes());
        self.sealed += 1;
        let mut header = Header {
            body_version: BODY_VERSION,
            rules_version: ledger::RULES_VERSION,
            shard: self.shard,
            key: self.key.id(),
            height: Height(before.height.0 + 1),
            epoch: term.epoch,
            writer: term.writer,
            timestamp: draft.first_timestamp(),
            entries: draft.entries(),
            events: draft.events(),
            body_bytes: draft.bytes() as u32,
            nonce,
            salt: self.salt,
            previous: before.hash,
            hash: BlockHash::default(),
            tag: Default::default(),
        };
        header.hash = hash(&header, &draft.root());
        let start = out.len();
        out.extend_from_slice(&[0; HEADER_BYTES]);
        out.extend_from_slice(draft.body());
        let ciphertext = &mut out[start + HEADER_BYTES..];
        header.tag = self.key.seal(nonce, &header.associated(), ciphertext);
        out[start..start + HEADER_BYTES].copy_from_slice(&header.encode());
        header
    }
}

/// Opens sealed blocks; keeps the key that it derived last.
#[derive(Debug)]
pub struct Opener {
    keys: KeyRing,
    derived: Option<(KeyId, [u8; SALT_BYTES], DataKey)>,
}

impl Opener {
    /// For blocks under any key of the ring.
    #[must_use]
    pub fn new(keys: KeyRing) -> Self {
        Self { keys, derived: None }
    }

    /// Decrypts the ciphertext in place, decodes it and checks the block's hash.
    ///
    /// # Errors
    /// [`Damage::Short`] when `ciphertext` has not the length that the header states; [`Damage::Key`], `Body`, `Hash`.
    pub fn open(&mut self, header: &Header, ciphertext: &mut [u8]) -> Result<Block, Damage> {
        if ciphertext.len() != header.body_bytes as usize {
            return Err(Damage::Short);
        }
        let key = self.key(header).map_err(Damage::Key)?;
        key.open(header.nonce, &header.associated(), ciphertext, &header.tag)
            .map_err(Damage::Key)?;
        let body: &[u8] = ciphertext;
        let (entries, leaves) =
            decode(body, header.entries, header.events, header.timestamp).map_err(Damage::Body)?;
        if hash(header, &leaves.root(body)) != header.hash {
            return Err(Damage::Hash);
        }
        Ok(Block {
            shard: header.shard,
            height: header.height,
            epoch: header.epoch,
            writer: header.writer,
            timestamp: header.timestamp,
            rules_version: header.rules_version,
            previous: header.previous,
            entries,
            hash: header.hash,
        })
    }

    fn key(&mut self, header: &Header) -> Result<&DataKey, KeyError> {
        let known =
            |(id, salt, _): &(KeyId, [u8; SALT_BYTES], DataKey)| *id == header.key && *salt == header.salt;
        if !self.derived.as_ref().is_some_and(known) {
            let key = block_key(self.keys.get(header.key)?, &header.salt);
            self.derived = Some((header.key, header.salt, key));
        }
        let (_, _, key) = self.derived.as_ref().expect("it was just derived");
        Ok(key)
    }
}

fn block_key(key: &DataKey, salt: &[u8; SALT_BYTES]) -> DataKey {
    let mut purpose = *b"journal block \0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    let length = purpose.len();
    purpose[length - SALT_BYTES..].copy_from_slice(salt);
    key.derive(&purpose)
}

/// The block's hash: over what it means, not over how it is kept, so that another key or layout keeps the chain.
fn hash(header: &Header, root: &[u8; 32]) -> BlockHash {
    let mut context = Context::new(&SHA256);
    context.update(b"shanraq block hash 1\0");
    context.update(&header.body_version.to_le_bytes());
    context.update(&header.rules_version.to_le_bytes());
    context.update(&header.shard.0.to_le_bytes());
    context.update(&header.height.0.to_le_bytes());
    context.update(&header.epoch.to_le_bytes());
    context.update(&header.writer.0.to_le_bytes());
    context.update(&header.timestamp.0.to_le_bytes());
    context.update(&header.entries.to_le_bytes());
    context.update(&header.events.to_le_bytes());
    context.update(&header.body_bytes.to_le_bytes());
    context.update(&header.previous.0);
    context.update(root);
    BlockHash(finish(context))
}
