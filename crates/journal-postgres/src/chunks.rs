//! A sealed block in rows that stay inline (pure). Owns: how it is cut and put together again.
//! Invariant: what is put together is whole, of one block, and in order, or it is refused.

use journal::{BODY_BYTES_MAX, BlockHash, Damage, HEADER_BYTES, Header, ShardId, WriterId};
use ledger::Height;

/// Bytes of every chunk but the last. A row of it fits a page of 8 KiB; two would not, and none may be moved out of line.
pub const CHUNK_BYTES: usize = 8_000;
/// What stands before the sealed block in chunk 0.
pub(crate) const PREFIX_BYTES: usize = 48;
/// `chunk` is a smallint.
pub(crate) const CHUNKS_MAX: usize = i16::MAX as usize + 1;
/// The most bytes that a draft may have here: 262 MB less the headers.
pub const DRAFT_BYTES_MAX: usize = CHUNKS_MAX * CHUNK_BYTES - PREFIX_BYTES - HEADER_BYTES;

const MAGIC: [u8; 8] = *b"SHQCHNK1";

/// Whether so long a body fits.
pub(crate) fn fits(body_bytes: usize) -> bool {
    body_bytes <= DRAFT_BYTES_MAX.min(BODY_BYTES_MAX)
}

/// Completes a buffer of [`PREFIX_BYTES`] bytes and a sealed block after them; its chunks are then
/// `buffer.chunks(CHUNK_BYTES)`. Gives their number.
pub(crate) fn complete(buffer: &mut [u8], hash: BlockHash) -> usize {
    let count = buffer.len().div_ceil(CHUNK_BYTES);
    assert!((1..=CHUNKS_MAX).contains(&count), "the block fits its chunks");
    let total = buffer.len() as u32;
    buffer[..8].copy_from_slice(&MAGIC);
    buffer[8..12].copy_from_slice(&(count as u32).to_le_bytes());
    buffer[12..16].copy_from_slice(&total.to_le_bytes());
    buffer[16..48].copy_from_slice(&hash.0);
    count
}

/// One row as it was read.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) height: Height,
    pub(crate) chunk: i16,
    pub(crate) epoch: u64,
    pub(crate) writer: WriterId,
    pub(crate) bytes: Vec<u8>,
}

/// Whether rows that begin with a block's first are all of it; the first alone tells how many there must be.
pub(crate) fn count(first: &Row) -> Result<usize, Damage> {
    let magic = first.bytes.get(..8).ok_or(Damage::Short)?;
    if magic != MAGIC {
        return Err(Damage::Parts("the first chunk does not begin as one"));
    }
    let count = first.bytes.get(8..12).and_then(|bytes| bytes.first_chunk());
    Ok(u32::from_le_bytes(*count.ok_or(Damage::Short)?) as usize)
}

/// The header and the ciphertext of the block whose rows, all of them, these are.
pub(crate) fn join(shard: ShardId, height: Height, rows: &[Row]) -> Result<(Header, Vec<u8>), Damage> {
    let first = rows.first().ok_or(Damage::Hole)?;
    if count(first)? != rows.len() {
        return Err(Damage::Parts("chunks are missing or too many"));
    }
    for (i, row) in rows.iter().enumerate() {
        let is_last = i + 1 == rows.len();
        let sound = row.height == height
            && row.chunk as usize == i
            && row.epoch == first.epoch
            && row.writer == first.writer
            && (is_last || row.bytes.len() == CHUNK_BYTES);
        if !sound {
            return Err(Damage::Parts(
                "a chunk is of another place, term or length than its block",
            ));
        }
    }
    let total: usize = rows.iter().map(|row| row.bytes.len()).sum();
    let stated: &[u8; PREFIX_BYTES] = first.bytes.first_chunk().ok_or(Damage::Short)?;
    if stated[12..16] != (total as u32).to_le_bytes() {
        return Err(Damage::Short);
    }
    let mut sealed = Vec::with_capacity(total);
    for row in rows {
        sealed.extend_from_slice(&row.bytes);
    }
    let header = Header::decode(&sealed[PREFIX_BYTES..])?;
    check(&header, shard, height, first, stated)?;
    let ciphertext = sealed.split_off(PREFIX_BYTES + HEADER_BYTES);
    Ok((header, ciphertext))
}

fn check(
    header: &Header,
    shard: ShardId,
    height: Height,
    first: &Row,
    stated: &[u8; PREFIX_BYTES],
) -> Result<(), Damage> {
    if header.shard != shard {
        return Err(Damage::Shard(header.shard.0));
    }
    if header.height != height {
        return Err(Damage::Height(header.height));
    }
    if (header.epoch, header.writer) != (first.epoch, first.writer) {
        return Err(Damage::Parts("the rows' term is not that of the block"));
    }
    if header.hash.0 != stated[16..] {
        return Err(Damage::Hash);
    }
    if header.body_bytes as usize > BODY_BYTES_MAX {
        return Err(Damage::Header);
    }
    Ok(())
}
