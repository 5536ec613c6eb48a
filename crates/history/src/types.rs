//! What goes in and what comes out (pure). Owns: options, positions and results of queries.

use ledger::{AccountNumber, Height, Row, RowNumber, Sealed};
use rand::TryRng;
use rand::rngs::SysRng;

/// How the index works. None of it changes an answer.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Rows gathered in memory before they are written as a run. Default 131,072.
    pub flush_rows: u32,
    /// Bytes of metadata gathered in memory before a run is written early. Default 32 MiB.
    pub flush_metadata_bytes: u64,
    /// How many runs of a size are merged into one of the next. At least 2; default 8.
    pub merge_fan_in: u32,
    /// A store file is followed by a new one beyond this size. Default 1 GiB.
    pub store_file_bytes: u64,
    /// Where salts, nonces and the hash seed come from: the system, except in a simulation.
    pub entropy: fn() -> [u8; 16],
}

impl Default for Options {
    fn default() -> Self {
        Self {
            flush_rows: 131_072,
            flush_metadata_bytes: 32 << 20,
            merge_fan_in: 8,
            store_file_bytes: 1 << 30,
            entropy: system_entropy,
        }
    }
}

fn system_entropy() -> [u8; 16] {
    let mut bytes = [0; 16];
    SysRng
        .try_fill_bytes(&mut bytes)
        .expect("the system's random generator works");
    bytes
}

/// How far the index has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// The last block that is in it; 0 before the first.
    pub height: Height,
    /// Hash of that block; zeros before the first.
    pub hash: [u8; 32],
    /// The number that the next row will have.
    pub rows: RowNumber,
    /// The number that the next account will have.
    pub accounts: AccountNumber,
}

/// A row as history keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRow {
    /// Its number.
    pub number: RowNumber,
    /// The row.
    pub row: Row,
    /// Its metadata, if it has some.
    pub metadata: Option<Sealed>,
}

/// One page of results.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Matches<T> {
    /// In the order asked, at most as many as the filter's limit.
    pub items: Vec<T>,
    /// Whether there are more beyond the last one.
    pub more: bool,
}
