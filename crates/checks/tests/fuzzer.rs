//! The fuzzer must find a reader that panics, save the input, and leave right readers alone.

use checks::fuzz::{Target, fuzz, read_one};
use std::time::Duration;

fn target(name: &'static str, read: fn(&[u8])) -> Target {
    Target {
        name,
        seeds: || vec![b"count=0001;".to_vec()],
        dictionary: &[b"count="],
        read,
    }
}

/// Trusts a length that it read.
fn careless(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let count = text
        .strip_prefix("count=")
        .and_then(|rest| rest.split(';').next()?.parse::<usize>().ok());
    if let Some(count) = count {
        assert!(count <= 5, "five slots, {count} wanted");
    }
}

#[test]
fn a_careless_reader_is_found_and_a_careful_one_is_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let targets = [target("careless", careless), target("careful", |_| {})];
    let report = fuzz(&targets, 1, Duration::from_millis(600), folder.path()).expect("a run");

    assert_eq!(report.failures.len(), 1, "{report:?}");
    let failure = &report.failures[0];
    assert_eq!(failure.target, "careless");
    assert!(failure.panic.contains("five slots"), "{}", failure.panic);
    assert!(report.tried.iter().all(|tried| tried.inputs > 1), "{report:?}");
    // The saved input shows the failure again, and nothing else is left behind.
    let again = std::panic::catch_unwind(|| read_one(&targets, "careless", &failure.file));
    assert!(again.is_err());
    assert_eq!(std::fs::read_dir(folder.path()).expect("the folder").count(), 1);
}

#[test]
fn an_unknown_reader_is_refused_with_the_names_that_there_are() {
    let error = read_one(&[target("careful", |_| {})], "other", "x".as_ref()).expect_err("no such reader");
    assert!(error.to_string().contains("careful"), "{error}");
}
