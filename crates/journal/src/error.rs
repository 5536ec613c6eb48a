//! What can go wrong with a journal. Codes are stable: `JRN-00xx` for the journal, `JRN-01xx` for an append.

use crate::{DecodeError, WriterId};
use ledger::{Height, TimestampNs};
use std::io;
use std::path::PathBuf;
use storage::KeyError;

/// The journal cannot be opened, read or written as it must be.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The system refused.
    #[error("JRN-0001: cannot {action} {path}: {source}")]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// What stands there is not what was acknowledged. Never repaired by guessing.
    #[error("JRN-0002: {file} at byte {offset}, height {height}: {damage}")]
    Damaged {
        /// Which file.
        file: PathBuf,
        /// Where the block begins.
        offset: u64,
        /// The height that belongs there.
        height: Height,
        /// What is wrong.
        #[source]
        damage: Damage,
    },
    /// There is no block of that height (yet).
    #[error("JRN-0003: there is no block {height}; the last one is {head}")]
    NoBlock {
        /// Asked for.
        height: Height,
        /// The last one.
        head: Height,
    },
    /// Blocks that were acknowledged are missing at the end.
    #[error("JRN-0004: {directory} ends at height {head}, but height {durable} was acknowledged")]
    Missing {
        /// The journal's directory.
        directory: PathBuf,
        /// The last block found.
        head: Height,
        /// The last block that is known to have been durable.
        durable: Height,
    },
    /// The segments do not follow each other.
    #[error("JRN-0005: {file} begins at height {found}, but {expected} is next")]
    Segment {
        /// Which file.
        file: PathBuf,
        /// From its name.
        found: Height,
        /// What must follow the segment before.
        expected: Height,
    },
    /// A file in the journal's directory looks like a segment but is not named like one.
    #[error("JRN-0006: {file} is not a segment's name (20 digits and `.segment`)")]
    Name {
        /// Which file.
        file: PathBuf,
    },
    /// The file that tells the last durable height is damaged.
    #[error("JRN-0007: {file} is damaged; run verify, and remove the file if nothing else is found")]
    Watermark {
        /// Which file.
        file: PathBuf,
    },
    /// A draft that must not become a block.
    #[error("JRN-0008: the draft is refused: {0}")]
    Draft(&'static str),
    /// A draft whose time is not after the last block's.
    #[error("JRN-0009: the draft begins at {draft} ns, not after the last entry's {last} ns")]
    Time {
        /// Of the draft's first entry.
        draft: TimestampNs,
        /// Of the journal's last entry.
        last: TimestampNs,
    },
    /// An earlier append failed for good; this journal takes nothing more until it is opened again.
    #[error("JRN-0010: an earlier write failed; the journal must be opened again")]
    Stopped,
}

/// What is wrong with a block.
#[derive(Debug, thiserror::Error)]
pub enum Damage {
    /// The header's checksum or its fixed fields are wrong.
    #[error("the header is damaged")]
    Header,
    /// Space that must be zero is not, or a block was erased and later ones stand.
    #[error("there is no block here, yet the space from here on is not empty")]
    Hole,
    /// Written by a version that this one does not know. Not guessed.
    #[error("{what} {found} is not known to this version")]
    Version {
        /// Which version or flag.
        what: &'static str,
        /// What stands there.
        found: u32,
    },
    /// Another journal's block.
    #[error("the block is of shard {0}")]
    Shard(u32),
    /// Missing, duplicate or swapped block.
    #[error("the block's height is {0}")]
    Height(Height),
    /// The chain is broken.
    #[error("the hash of the block before does not match")]
    Previous,
    /// Terms must not fall.
    #[error("epoch {found} of {writer:?} follows epoch {previous}")]
    Term {
        /// The block's.
        found: u64,
        /// Its writer.
        writer: WriterId,
        /// Of the block before.
        previous: u64,
    },
    /// Time must rise.
    #[error("its time {found} ns is not after {previous} ns of the block before")]
    Time {
        /// The block's.
        found: TimestampNs,
        /// Of the block before.
        previous: TimestampNs,
    },
    /// The file ends inside the block.
    #[error("the file is cut short")]
    Short,
    /// The file's length is not a whole number of pages.
    #[error("the file's length of {0} bytes is not a whole number of pages")]
    Length(u64),
    /// The filler after the block was changed.
    #[error("the padding is damaged")]
    Padding,
    /// Where a block is kept in parts: a part is missing, doubled, or not of this block.
    #[error("the block's parts do not fit together: {0}")]
    Parts(&'static str),
    /// Ciphertext, tag or header were changed, or the key is not at hand.
    #[error("the body cannot be decrypted: {0}")]
    Key(#[source] KeyError),
    /// The decrypted body is not a canonical encoding.
    #[error("the body cannot be decoded: {0}")]
    Body(#[source] DecodeError),
    /// The content does not have the hash that the header states.
    #[error("the content does not match the block's hash")]
    Hash,
}

/// A block was not appended.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// No room. Nothing was written; the same draft may be appended later.
    #[error("JRN-0101: no room for the block: {0}")]
    Full(#[source] io::Error),
    /// Nothing was written: another term has begun, or the server is not as it must be. Drop the state and become a follower.
    #[error("JRN-0102: nothing was written, and this term is over")]
    SteppedDown,
    /// The block may or may not stand; only a later block settles it.
    #[error("JRN-0103: the outcome is unknown")]
    Unknown,
    /// The process must stop; it must not retry.
    #[error("JRN-0104: the journal failed: {0}")]
    Fatal(#[source] JournalError),
}

impl JournalError {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Io { .. } => "JRN-0001",
            Self::Damaged { .. } => "JRN-0002",
            Self::NoBlock { .. } => "JRN-0003",
            Self::Missing { .. } => "JRN-0004",
            Self::Segment { .. } => "JRN-0005",
            Self::Name { .. } => "JRN-0006",
            Self::Watermark { .. } => "JRN-0007",
            Self::Draft(_) => "JRN-0008",
            Self::Time { .. } => "JRN-0009",
            Self::Stopped => "JRN-0010",
        }
    }
}

impl AppendError {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Full(_) => "JRN-0101",
            Self::SteppedDown => "JRN-0102",
            Self::Unknown => "JRN-0103",
            Self::Fatal(_) => "JRN-0104",
        }
    }

    /// Whether the same draft may be appended again later.
    #[must_use]
    pub fn retryable(&self) -> bool {
        matches!(self, Self::Full(_))
    }
}
