//! An entry point for fuzzing. Owns: what must hold of any bytes at all.

use crate::codec::decode;
use crate::{Draft, HEADER_BYTES, Header};
use ledger::TimestampNs;

/// Feeds arbitrary bytes to the decoders: as a header, and as the body of a block. Returns whether the body
/// was a canonical encoding.
///
/// # Panics
/// When a decoder panics, or takes bytes for canonical that encode differently: both are bugs.
#[must_use]
pub fn fuzz_decode(bytes: &[u8]) -> bool {
    if let Ok(header) = Header::decode(bytes) {
        assert!(
            header.encode() == bytes[..HEADER_BYTES],
            "a header encodes to other bytes than it came from"
        );
    }
    // Two counts in front, so that the bytes alone say everything.
    let Some((&[entries, low, high], body)) = bytes.split_first_chunk() else {
        return false;
    };
    let first = TimestampNs(1_000);
    let Ok((found, leaves)) = decode(
        body,
        entries.into(),
        u16::from_le_bytes([low, high]).into(),
        first,
    ) else {
        return false;
    };
    let mut draft = Draft::new();
    for entry in &found {
        draft.push_entry(entry);
    }
    assert!(
        draft.body() == body,
        "entries encode to other bytes than they came from"
    );
    assert!(draft.root() == leaves.root(body), "leaves are cut differently");
    true
}
