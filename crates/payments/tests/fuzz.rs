//! Mutated files: whatever the bytes are, reading returns. The seed is printed; SHANRAQ_SEED repeats one,
//! SHANRAQ_LONG=1 runs longer.

use payments::{demo, fuzz_csv, fuzz_mapping, fuzz_pain001};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

fn seed() -> u64 {
    let seed = std::env::var("SHANRAQ_SEED")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(20_261_122);
    println!("seed {seed}");
    seed
}

fn rounds() -> usize {
    if std::env::var_os("SHANRAQ_LONG").is_some() {
        200_000
    } else {
        3_000
    }
}

/// Flips, cuts, repeats and splices bytes; splices words that mean something to the reader.
fn mutate(random: &mut StdRng, original: &[u8], words: &[&[u8]]) -> Vec<u8> {
    let mut bytes = original.to_vec();
    for _ in 0..random.random_range(1..6) {
        if bytes.is_empty() {
            break;
        }
        let at = random.random_range(0..bytes.len());
        let end = (at + random.random_range(0..40)).min(bytes.len());
        match random.random_range(0..6) {
            0 => bytes[at] = random.random(),
            1 => drop(bytes.drain(at..end)),
            2 => {
                let piece = bytes[at..end].to_vec();
                let to = random.random_range(0..=bytes.len());
                bytes.splice(to..to, piece);
            }
            3 => bytes.truncate(at),
            _ => {
                let word = words[random.random_range(0..words.len())];
                let end = if random.random() { at } else { end };
                bytes.splice(at..end, word.iter().copied());
            }
        }
    }
    bytes
}

#[test]
fn mutated_pain001_never_panics() {
    let mut random = StdRng::seed_from_u64(seed());
    let words: &[&[u8]] = &[
        b"<PmtInf>",
        b"</PmtInf>",
        b"<Amt>",
        b"<EqvtAmt>",
        b"&amp;",
        b"&#x0;",
        b"&#xFFFFFFFF;",
        b"<![CDATA[",
        b"]]>",
        b"<!--",
        b"-->",
        b"<?xml version=\"1.1\" encoding=\"utf-16\"?>",
        b"<!DOCTYPE a>",
        b"99999999999999999999999999999999",
        b"-1",
        b"1e9",
        b"\xff\xfe",
        b"\0",
        b"xmlns=\"\"",
        b"Ccy=\"\"",
        b"<a:b xmlns:a='x'/>",
        "\u{202e}é".as_bytes(),
    ];
    let folder = format!("{}/tests/golden", env!("CARGO_MANIFEST_DIR"));
    let mut originals = Vec::new();
    for number in 3..=13 {
        originals
            .push(std::fs::read(format!("{folder}/pain.001.001.{number:02}.xml")).expect("a golden file"));
    }
    for round in 0..rounds() {
        fuzz_pain001(&mutate(&mut random, &originals[round % originals.len()], words));
    }
}

#[test]
fn mutated_csv_never_panics() {
    let mut random = StdRng::seed_from_u64(seed());
    let words: &[&[u8]] = &[
        b"\"",
        b"\n",
        b"\r",
        b";",
        b",",
        b"\t",
        b"x_",
        b"amount",
        b"clearing:",
        b"1.5",
        b"-",
        b"\xef\xbb\xbf",
        b"\xff\xfe",
    ];
    let original = &demo::RENTS_CSV[..600];
    for _ in 0..rounds() {
        fuzz_csv(&mutate(&mut random, original, words));
    }
}

#[test]
fn mutated_mappings_never_panic() {
    let mut random = StdRng::seed_from_u64(seed());
    let words: &[&[u8]] = &[
        b"[[own]]",
        b"[bank]",
        b"=",
        b"code = 0",
        b"scale = 255",
        b"ledger = 0",
        b"'''",
        b"\"",
        "é".as_bytes(),
    ];
    for _ in 0..rounds() / 3 {
        fuzz_mapping(&mutate(&mut random, demo::MAPPING_TOML.as_bytes(), words));
    }
}
