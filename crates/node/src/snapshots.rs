//! Snapshots of the ledger's state, which bound the time of a restart. Owns: their files.
//!
//! A snapshot is derived from the journal and may be deleted at any time. One that does not open is passed over
//! with an ERROR in the log, and the replay begins earlier: never a guess, since every byte is authenticated.
//!
//! File: `magic (8) · format version u32 · key id u32 · height u64 · block hash (32) · rows u64 · rules version u32 ·
//! salt (16)`, little endian, then pieces of at most 1 MiB, each `length u32 · tag (16) · ciphertext`. The key is
//! derived for the salt, the nonce is the piece's number; the header and "last" are associated data.

use crate::NodeError;
use ledger::{Height, Ledger, RowNumber, Snapshot};
use std::io;
use std::path::{Path, PathBuf};
use storage::{DataKey, KeyId, KeyRing, NONCE_BYTES, Nonce, Storage, TAG_BYTES};

const MAGIC: &[u8; 8] = b"SHQSNAP\0";
const FORMAT_VERSION: u32 = 1;
const HEADER_BYTES: usize = 8 + 4 + 4 + 8 + 32 + 8 + 4 + 16;
const PIECE_BYTES: usize = 1 << 20;
/// How many are kept: history may be behind the newest.
const KEPT: usize = 3;

/// At which block a snapshot stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotPosition {
    /// The block's height.
    pub height: Height,
    /// The block's hash.
    pub hash: [u8; 32],
    /// Next row of history.
    pub rows: RowNumber,
}

/// Writes a snapshot durably and removes those that are no longer needed.
pub fn write(
    storage: &dyn Storage,
    directory: &Path,
    keys: &KeyRing,
    position: SnapshotPosition,
    snapshot: &Snapshot,
) -> Result<(), NodeError> {
    let mut plain = Vec::new();
    snapshot.encode(&mut plain).expect("a vector takes any bytes");
    let mut salt = [0; 16];
    aws_lc_rs::rand::fill(&mut salt).expect("the system's random generator works");
    let mut file = header(keys.current().id(), position, salt);
    let head: [u8; HEADER_BYTES] = file[..].try_into().expect("a header has its length");
    let key = file_key(keys.current(), &salt);
    let pieces = plain.chunks_mut(PIECE_BYTES);
    let last = pieces.len().saturating_sub(1);
    for (number, piece) in pieces.enumerate() {
        let tag = key.seal(nonce(number), &associated(&head, number == last), piece);
        file.extend_from_slice(
            &u32::try_from(piece.len())
                .expect("a piece is small")
                .to_le_bytes(),
        );
        file.extend_from_slice(&tag);
        file.extend_from_slice(piece);
    }
    let path = directory.join(name(position.height));
    storage
        .replace(&path, &file)
        .map_err(|source| NodeError::File { path, source })?;
    prune(storage, directory, position.height)
}

/// Removes what a crash left of a snapshot that was being written.
pub fn remove_unfinished(storage: &dyn Storage, directory: &Path) -> Result<(), NodeError> {
    let listed = storage.list(directory).map_err(|source| NodeError::File {
        path: directory.to_owned(),
        source,
    })?;
    for name in listed.iter().filter(|name| name.ends_with(".tmp")) {
        remove(storage, &directory.join(name))?;
    }
    Ok(())
}

/// Removes the snapshots of which `contradicts` says that the journal surely holds another block in their place, or none. One
/// whose header cannot be read is left alone.
pub fn remove_contradicted(
    storage: &dyn Storage,
    directory: &Path,
    mut contradicts: impl FnMut(SnapshotPosition) -> bool,
) -> Result<(), NodeError> {
    for path in existing(storage, directory)? {
        let Some(position) = position(storage, &path) else {
            continue;
        };
        if contradicts(position) {
            tracing::warn!(code = "NOD-0025", file = %path.display(), "a snapshot is not of this journal; it is removed");
            remove(storage, &path)?;
        }
    }
    Ok(())
}

fn position(storage: &dyn Storage, path: &Path) -> Option<SnapshotPosition> {
    let mut head = [0; HEADER_BYTES];
    storage.open(path).ok()?.read_exact_at(&mut head, 0).ok()?;
    parse_header(&head).ok().map(|(position, ..)| position)
}

/// The newest snapshot that opens and that `accept` takes, with the ledger in it.
pub fn load_newest(
    storage: &dyn Storage,
    directory: &Path,
    keys: &KeyRing,
    hash_seed: u64,
    mut accept: impl FnMut(SnapshotPosition) -> bool,
) -> Result<Option<(SnapshotPosition, Ledger)>, NodeError> {
    for path in existing(storage, directory)?.into_iter().rev() {
        match load(storage, &path, keys, hash_seed, &mut accept) {
            Ok(Some(found)) => return Ok(Some(found)),
            Ok(None) => {}
            Err(reason) => {
                tracing::error!(code = "NOD-0014", file = %path.display(), reason, "a snapshot does not open; passing it over");
            }
        }
    }
    Ok(None)
}

fn load(
    storage: &dyn Storage,
    path: &Path,
    keys: &KeyRing,
    hash_seed: u64,
    accept: &mut impl FnMut(SnapshotPosition) -> bool,
) -> Result<Option<(SnapshotPosition, Ledger)>, String> {
    let file = storage.read(path).map_err(|error| error.to_string())?;
    let (head, mut rest) = file
        .split_first_chunk::<HEADER_BYTES>()
        .ok_or("it is shorter than its header")?;
    let (position, key_id, salt) = parse_header(head)?;
    if !accept(position) {
        return Ok(None);
    }
    let key = file_key(keys.get(key_id).map_err(|error| error.to_string())?, &salt);
    let mut plain = Vec::with_capacity(rest.len());
    let mut number = 0;
    while !rest.is_empty() {
        let (length, after) = rest.split_first_chunk::<4>().ok_or("a piece is cut off")?;
        let (tag, after) = after
            .split_first_chunk::<TAG_BYTES>()
            .ok_or("a piece is cut off")?;
        let length = u32::from_le_bytes(*length) as usize;
        let (piece, after) = after.split_at_checked(length).ok_or("a piece is cut off")?;
        let start = plain.len();
        plain.extend_from_slice(piece);
        key.open(
            nonce(number),
            &associated(head, after.is_empty()),
            &mut plain[start..],
            tag,
        )
        .map_err(|error| error.to_string())?;
        rest = after;
        number += 1;
    }
    let ledger = Ledger::restore_with_hash_seed(&plain, hash_seed).map_err(|error| error.to_string())?;
    if ledger.rows() != position.rows {
        return Err("its rows differ from its header".to_owned());
    }
    Ok(Some((position, ledger)))
}

fn existing(storage: &dyn Storage, directory: &Path) -> Result<Vec<PathBuf>, NodeError> {
    let names = storage.list(directory).map_err(|source| NodeError::File {
        path: directory.to_owned(),
        source,
    })?;
    let snapshots = names
        .into_iter()
        .filter(|name| name.starts_with("snapshot-") && name.ends_with(".bin"));
    Ok(snapshots.map(|name| directory.join(name)).collect())
}

/// Removes those that are no longer needed now that there is one at `newest`. One above it is of blocks that the journal does
/// not hold any more, and would take the place of those that can be used.
fn prune(storage: &dyn Storage, directory: &Path, newest: Height) -> Result<(), NodeError> {
    let mut existing = existing(storage, directory)?;
    let newest = directory.join(name(newest));
    let above = existing.partition_point(|path| *path <= newest);
    for path in existing.drain(above..) {
        remove(storage, &path)?;
    }
    let surplus = existing.len().saturating_sub(KEPT);
    for path in &existing[..surplus] {
        remove(storage, path)?;
    }
    Ok(())
}

fn remove(storage: &dyn Storage, path: &Path) -> Result<(), NodeError> {
    match storage.remove(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(NodeError::File {
            path: path.to_owned(),
            source,
        }),
        _ => Ok(()),
    }
}

fn name(height: Height) -> String {
    format!("snapshot-{:020}.bin", height.0)
}

fn header(key: KeyId, position: SnapshotPosition, salt: [u8; 16]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER_BYTES);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
    bytes.extend_from_slice(&key.0.to_le_bytes());
    bytes.extend_from_slice(&position.height.0.to_le_bytes());
    bytes.extend_from_slice(&position.hash);
    bytes.extend_from_slice(&position.rows.0.to_le_bytes());
    bytes.extend_from_slice(&ledger::RULES_VERSION.to_le_bytes());
    bytes.extend_from_slice(&salt);
    bytes
}

fn parse_header(head: &[u8; HEADER_BYTES]) -> Result<(SnapshotPosition, KeyId, [u8; 16]), String> {
    let number = |at: usize| u32::from_le_bytes(head[at..at + 4].try_into().expect("four bytes"));
    let long = |at: usize| u64::from_le_bytes(head[at..at + 8].try_into().expect("eight bytes"));
    if head[..8] != *MAGIC {
        return Err("it is not a snapshot".to_owned());
    }
    if number(8) != FORMAT_VERSION {
        return Err(format!(
            "its format version is {}; this binary knows {FORMAT_VERSION}",
            number(8)
        ));
    }
    if number(64) != ledger::RULES_VERSION {
        return Err(format!(
            "its rules version is {}; this binary knows {}",
            number(64),
            ledger::RULES_VERSION
        ));
    }
    let hash = head[24..56].try_into().expect("32 bytes");
    let position = SnapshotPosition {
        height: Height(long(16)),
        hash,
        rows: RowNumber(long(56)),
    };
    Ok((
        position,
        KeyId(number(12)),
        head[68..84].try_into().expect("16 bytes"),
    ))
}

fn file_key(key: &DataKey, salt: &[u8; 16]) -> DataKey {
    let mut purpose = b"snapshot ".to_vec();
    purpose.extend_from_slice(salt);
    key.derive(&purpose)
}

fn nonce(piece: usize) -> Nonce {
    let mut nonce = [0; NONCE_BYTES];
    nonce[..8].copy_from_slice(&(piece as u64).to_le_bytes());
    nonce
}

fn associated(head: &[u8; HEADER_BYTES], last: bool) -> [u8; HEADER_BYTES + 1] {
    let mut bytes = [u8::from(last); HEADER_BYTES + 1];
    bytes[..HEADER_BYTES].copy_from_slice(head);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use storage::faulty::FaultyStorage;

    fn at(height: u64) -> SnapshotPosition {
        SnapshotPosition {
            height: Height(height),
            hash: [height as u8; 32],
            rows: RowNumber(0),
        }
    }

    fn with_snapshots(heights: impl IntoIterator<Item = u64>) -> (FaultyStorage, &'static Path) {
        let (storage, directory) = (FaultyStorage::new(3), Path::new("/snapshots"));
        storage.create_directory(directory).unwrap();
        let keys = KeyRing::new(DataKey::new(KeyId(1), [7; 32]));
        let snapshot = Ledger::with_hash_seed(1).snapshot();
        for height in heights {
            write(&storage, directory, &keys, at(height), &snapshot).unwrap();
        }
        (storage, directory)
    }

    fn names(heights: &[u64]) -> Vec<String> {
        heights.iter().map(|height| name(Height(*height))).collect()
    }

    #[test]
    fn the_newest_are_kept_and_none_of_a_later_time_that_was_given_up() {
        let (storage, directory) = with_snapshots(1..=5);
        assert_eq!(storage.list(directory).unwrap(), names(&[3, 4, 5]));
        let (storage, directory) = with_snapshots([10, 20, 30, 15, 16]);
        assert_eq!(storage.list(directory).unwrap(), names(&[10, 15, 16]));
    }

    #[test]
    fn only_those_that_contradict_the_journal_are_removed_and_not_what_cannot_be_read() {
        let (storage, directory) = with_snapshots([1, 2, 3]);
        let unread = directory.join(name(Height(4)));
        storage.replace(&unread, b"short").unwrap();
        remove_contradicted(&storage, directory, |position| position == at(2)).unwrap();
        assert_eq!(storage.list(directory).unwrap(), names(&[1, 3, 4]));
    }
}
