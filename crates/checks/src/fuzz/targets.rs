//! The readers of foreign bytes. Owns: the table, and a few right inputs of each.

use ledger::Ledger;

/// A reader, and what it is fed from.
pub struct Target {
    /// As reports and files name it.
    pub name: &'static str,
    /// Right inputs to begin from.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Words that the format knows.
    pub dictionary: &'static [&'static [u8]],
    /// Reads; may refuse, may not panic.
    pub read: fn(&[u8]),
}

/// Every reader.
#[must_use]
pub fn targets() -> Vec<Target> {
    vec![Target {
        name: "ledger-snapshot",
        seeds: snapshots,
        dictionary: &[],
        read: read_snapshot,
    }]
}

fn read_snapshot(bytes: &[u8]) {
    // A refusal is as good an answer as a ledger.
    let _ = Ledger::restore(bytes);
}

fn snapshots() -> Vec<Vec<u8>> {
    vec![super::seeds::snapshot(0), super::seeds::snapshot(300)]
}
