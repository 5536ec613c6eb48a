//! The readers of foreign bytes. Owns: the table.

use super::seeds;
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

const JSON_WORDS: &[&[u8]] = &[
    b"null",
    b"true",
    b"[]",
    b"{}",
    b"\"\"",
    b"[[[[[[[[[[[[[[[[",
    b"\"\\ud800\"",
    b"\"linked\"",
    b"\"pending\"",
    b"\"post_pending_transfer\"",
    b"\"imported\"",
    b"1.5",
    b"-0",
    b"1e9",
    b"\"debit\"",
    b"2026-11-22T10:00:00Z",
];
const XML_WORDS: &[&[u8]] = &[
    b"<!DOCTYPE a [<!ENTITY b \"c\">]>",
    b"&b;",
    b"<![CDATA[",
    b"]]>",
    b"<!--",
    b"-->",
    b"<PmtInf>",
    b"</PmtInf>",
    b"<CdtTrfTxInf>",
    b"<Othr><Id>1</Id></Othr>",
    b"xmlns=\"\"",
    b" Ccy=\"XXX\"",
    b" encoding=\"utf-16\"",
    b"<a>",
];
const CSV_WORDS: &[&[u8]] = &[
    b"\"", b"\"\"", b";", b",", b"\t", b"\r\n", b"\r", b"EUR", b"KWD", b"JPY",
];
const TOML_WORDS: &[&[u8]] = &[
    b"[[",
    b"]]",
    b"=",
    b"\"\"\"",
    b"[a.b]",
    b"true",
    b"1979-05-27",
    b"{ a = 1 }",
];

/// Every reader.
#[must_use]
pub fn targets() -> Vec<Target> {
    vec![
        Target {
            name: "journal-block",
            seeds: seeds::blocks,
            dictionary: &[],
            read: read_block,
        },
        Target {
            name: "ledger-snapshot",
            seeds: seeds::snapshots,
            dictionary: &[],
            read: read_snapshot,
        },
        Target {
            name: "rest-body",
            seeds: seeds::rest_bodies,
            dictionary: JSON_WORDS,
            read: read_rest_body,
        },
        Target {
            name: "pain001",
            seeds: seeds::pain001,
            dictionary: XML_WORDS,
            read: payments::fuzz_pain001,
        },
        Target {
            name: "payments-csv",
            seeds: seeds::csv,
            dictionary: CSV_WORDS,
            read: payments::fuzz_csv,
        },
        Target {
            name: "mapping",
            seeds: seeds::mappings,
            dictionary: TOML_WORDS,
            read: payments::fuzz_mapping,
        },
    ]
}

fn read_block(bytes: &[u8]) {
    let _ = journal::fuzz_decode(bytes);
}

fn read_snapshot(bytes: &[u8]) {
    // A refusal is as good an answer as a ledger.
    let _ = Ledger::restore(bytes);
}

/// The first byte chooses the route.
fn read_rest_body(bytes: &[u8]) {
    if let Some((kind, body)) = bytes.split_first() {
        api::fuzz_rest_body(*kind, body);
    }
}
