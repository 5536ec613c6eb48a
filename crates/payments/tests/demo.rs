//! The embedded demonstration: what it books, and that it cannot change unnoticed.

mod support;

use payments::{ImportReport, Mapping, Outcome, demo};
use std::collections::BTreeMap;
use support::{MemoryLedger, quiet, statuses};

fn mapping() -> Mapping {
    Mapping::parse(demo::MAPPING_TOML, "mapping.toml").expect("valid")
}

fn run(port: &mut MemoryLedger, bytes: &[u8]) -> ImportReport {
    let file = if bytes.starts_with(b"<?xml") {
        payments::read_pain001(bytes, &mut quiet()).expect("reads")
    } else {
        payments::read_csv(bytes, &mapping(), &mut quiet()).expect("reads")
    };
    payments::import_payments(&mapping(), &file, port, &mut quiet()).expect("imports")
}

fn counted(report: &ImportReport) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for status in statuses(report) {
        *counts.entry(status).or_default() += 1;
    }
    counts
}

#[test]
fn the_demonstration_shows_every_common_refusal_and_repeats_without_effect() {
    let mut port = MemoryLedger::default();
    let openings = payments::import_opening_balances(demo::OPENING_CSV, &mapping(), &mut port, &mut quiet())
        .expect("reads");
    assert!(openings.iter().all(|report| report.outcome == Outcome::Settled));
    let report = run(&mut port, demo::PAYMENTS_XML);
    let counts = counted(&report);
    for code in ["AC03", "AM01", "AM03", "AM04", "AM05", "AM10", "AM12", "RC04"] {
        assert!(
            counts.get(code).is_some_and(|count| *count > 0),
            "{code}: {counts:?}"
        );
    }
    assert!(report.totals().settled > 2_900, "{counts:?}");
    assert_eq!(report.totals().all(), 2_988);
    let rents = run(&mut port, demo::RENTS_CSV);
    assert!(rents.totals().settled > 50, "{:?}", counted(&rents));
    assert_eq!(port.ledger.check_invariants().len(), 0);
    let before = port.fingerprint();
    assert_eq!(
        run(&mut port, demo::PAYMENTS_XML).totals().already_settled,
        report.totals().settled
    );
    assert_eq!(
        run(&mut port, demo::RENTS_CSV).totals().already_settled,
        rents.totals().settled
    );
    assert_eq!(port.fingerprint(), before);
}

#[test]
fn the_generator_gives_the_files_that_are_embedded() {
    let folder = tempfile::tempdir().expect("a folder");
    let example = std::env::current_exe().expect("a path");
    let built = example
        .parent()
        .and_then(|deps| deps.parent())
        .expect("target")
        .join("examples/generate_demo");
    // Tests of this crate build its examples; a test binary run by itself may not have them.
    if !built.exists() {
        println!("skipped: {} is not built", built.display());
        return;
    }
    let status = std::process::Command::new(built)
        .args(["20261122".as_ref(), folder.path().as_os_str()])
        .status();
    assert!(status.expect("runs").success());
    for (name, embedded) in [
        ("payments.xml", demo::PAYMENTS_XML),
        ("opening.csv", demo::OPENING_CSV),
        ("rents.csv", demo::RENTS_CSV),
    ] {
        let made = std::fs::read(folder.path().join(name)).expect("written");
        assert!(
            made == embedded,
            "{name} differs: run the generator again and look at the difference"
        );
    }
}
