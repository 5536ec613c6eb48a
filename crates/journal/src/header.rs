//! The header in clear in front of a sealed block (pure). Owns: its layout, checksum and version checks.
//! Laid out in `docs/format-journal.md`; all numbers little endian.

use crate::{BODY_VERSION, BlockHash, Damage, Head, ShardId, WriterId};
use aws_lc_rs::digest::{SHA256, digest};
use ledger::{Height, TimestampNs};
use storage::{KeyId, NONCE_BYTES, Nonce, TAG_BYTES};

/// Version of the header and of what follows it.
pub const FORMAT_VERSION: u16 = 1;
/// Bytes of a header.
pub const HEADER_BYTES: usize = 200;
/// Bytes of a sealing session's salt; see [`Header::salt`].
pub const SALT_BYTES: usize = 16;

/// The part that the tag authenticates: all before the tag itself.
pub(crate) const ASSOCIATED_BYTES: usize = 176;
const MAGIC: [u8; 8] = *b"SHQBLOCK";
const CHECKED_BYTES: usize = ASSOCIATED_BYTES + TAG_BYTES;

/// What stands in clear before a block's ciphertext.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Version of the body's encoding.
    pub body_version: u16,
    /// Under which rules the block was applied.
    pub rules_version: u32,
    /// Which journal.
    pub shard: ShardId,
    /// The data key from which the block's key is derived.
    pub key: KeyId,
    /// Position: 1, 2, 3 …
    pub height: Height,
    /// The writer's term.
    pub epoch: u64,
    /// Who wrote it.
    pub writer: WriterId,
    /// Of the first entry.
    pub timestamp: TimestampNs,
    /// How many entries the body holds.
    pub entries: u32,
    /// How many events those hold.
    pub events: u32,
    /// Bytes of the body; the ciphertext has as many.
    pub body_bytes: u32,
    /// Never used twice under one derived key.
    pub nonce: Nonce,
    /// Random for each sealing session; the block's key is derived from the data key and this.
    pub salt: [u8; SALT_BYTES],
    /// Hash of the block before.
    pub previous: BlockHash,
    /// The block's hash.
    pub hash: BlockHash,
    /// The authentication tag.
    pub tag: [u8; TAG_BYTES],
}

impl Header {
    /// The bytes that the tag authenticates.
    pub(crate) fn associated(&self) -> [u8; ASSOCIATED_BYTES] {
        let mut writer = Writer {
            bytes: [0; ASSOCIATED_BYTES],
            position: 0,
        };
        writer.put(&MAGIC);
        writer.put(&FORMAT_VERSION.to_le_bytes());
        writer.put(&(HEADER_BYTES as u16).to_le_bytes());
        writer.put(&0_u32.to_le_bytes());
        writer.put(&self.body_version.to_le_bytes());
        writer.put(&0_u16.to_le_bytes());
        writer.put(&self.rules_version.to_le_bytes());
        writer.put(&self.shard.0.to_le_bytes());
        writer.put(&self.key.0.to_le_bytes());
        writer.put(&self.height.0.to_le_bytes());
        writer.put(&self.epoch.to_le_bytes());
        writer.put(&self.writer.0.to_le_bytes());
        writer.put(&self.timestamp.0.to_le_bytes());
        writer.put(&self.entries.to_le_bytes());
        writer.put(&self.events.to_le_bytes());
        writer.put(&self.body_bytes.to_le_bytes());
        writer.put(&self.nonce);
        writer.put(&self.salt);
        writer.put(&self.previous.0);
        writer.put(&self.hash.0);
        assert!(writer.position == ASSOCIATED_BYTES, "the header's fields fill it");
        writer.bytes
    }

    /// All of it.
    #[must_use]
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..ASSOCIATED_BYTES].copy_from_slice(&self.associated());
        bytes[ASSOCIATED_BYTES..CHECKED_BYTES].copy_from_slice(&self.tag);
        let checksum = checksum(&bytes[..CHECKED_BYTES]);
        bytes[CHECKED_BYTES..].copy_from_slice(&checksum);
        bytes
    }

    /// Reads it. The checksum comes first, so that a flipped bit is never taken for a new version.
    ///
    /// # Errors
    /// [`Damage::Header`], [`Damage::Short`], [`Damage::Version`].
    pub fn decode(bytes: &[u8]) -> Result<Self, Damage> {
        let bytes: &[u8; HEADER_BYTES] = bytes.first_chunk().ok_or(Damage::Short)?;
        if bytes[..8] != MAGIC || checksum(&bytes[..CHECKED_BYTES]) != bytes[CHECKED_BYTES..] {
            return Err(Damage::Header);
        }
        let mut reader = Reader { bytes, position: 8 };
        let known = |what, found: u32, known: u32| {
            if found == known {
                Ok(())
            } else {
                Err(Damage::Version { what, found })
            }
        };
        known(
            "block format",
            u16::from_le_bytes(reader.take()).into(),
            FORMAT_VERSION.into(),
        )?;
        known(
            "header length",
            u16::from_le_bytes(reader.take()).into(),
            HEADER_BYTES as u32,
        )?;
        known("block flags", u32::from_le_bytes(reader.take()), 0)?;
        let body_version = u16::from_le_bytes(reader.take());
        known("body encoding", body_version.into(), BODY_VERSION.into())?;
        known("reserved field", u16::from_le_bytes(reader.take()).into(), 0)?;
        Ok(Self {
            body_version,
            rules_version: u32::from_le_bytes(reader.take()),
            shard: ShardId(u32::from_le_bytes(reader.take())),
            key: KeyId(u32::from_le_bytes(reader.take())),
            height: Height(u64::from_le_bytes(reader.take())),
            epoch: u64::from_le_bytes(reader.take()),
            writer: WriterId(u128::from_le_bytes(reader.take())),
            timestamp: TimestampNs(u64::from_le_bytes(reader.take())),
            entries: u32::from_le_bytes(reader.take()),
            events: u32::from_le_bytes(reader.take()),
            body_bytes: u32::from_le_bytes(reader.take()),
            nonce: reader.take::<NONCE_BYTES>(),
            salt: reader.take(),
            previous: BlockHash(reader.take()),
            hash: BlockHash(reader.take()),
            tag: reader.take(),
        })
    }

    /// The head that the block makes, as far as the header tells: its time is that of the first entry.
    pub(crate) fn as_head(&self) -> Head {
        Head {
            height: self.height,
            hash: self.hash,
            epoch: self.epoch,
            writer: self.writer,
            timestamp: self.timestamp,
        }
    }

    /// Checks that the block may follow `before` in this journal.
    ///
    /// # Errors
    /// The first of [`Damage::Shard`], `Height`, `Previous`, `Term` and `Time` that is wrong.
    pub fn follows(&self, shard: ShardId, before: &Head) -> Result<(), Damage> {
        if self.shard != shard {
            return Err(Damage::Shard(self.shard.0));
        }
        if self.height.0 != before.height.0 + 1 {
            return Err(Damage::Height(self.height));
        }
        if self.previous != before.hash {
            return Err(Damage::Previous);
        }
        let same_term = self.epoch == before.epoch && self.writer == before.writer;
        if self.epoch <= before.epoch && !same_term {
            return Err(Damage::Term {
                found: self.epoch,
                writer: self.writer,
                previous: before.epoch,
            });
        }
        if self.timestamp <= before.timestamp {
            return Err(Damage::Time {
                found: self.timestamp,
                previous: before.timestamp,
            });
        }
        Ok(())
    }
}

fn checksum(bytes: &[u8]) -> [u8; 8] {
    *digest(&SHA256, bytes)
        .as_ref()
        .first_chunk()
        .expect("SHA-256 gives 32 bytes")
}

struct Writer {
    bytes: [u8; ASSOCIATED_BYTES],
    position: usize,
}

impl Writer {
    fn put(&mut self, bytes: &[u8]) {
        self.bytes[self.position..self.position + bytes.len()].copy_from_slice(bytes);
        self.position += bytes.len();
    }
}

struct Reader<'a> {
    bytes: &'a [u8; HEADER_BYTES],
    position: usize,
}

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let bytes = self.bytes[self.position..]
            .first_chunk()
            .expect("the header is long enough");
        self.position += N;
        *bytes
    }
}
