//! The runbooks' commands must exist: each is parsed as our command line parses it, or names a program and a unit that a
//! host has.

use crate::Cli;
use clap::Parser;
use std::path::{Path, PathBuf};

/// Programs of a Debian host that the pages may use.
const PROGRAMS: &[&str] = &[
    "curl",
    "date",
    "df",
    "journalctl",
    "ping",
    "runuser",
    "systemctl",
    "timedatectl",
];
/// Ports that the rendered files listen at.
const PORTS: &[&str] = &["2379", "5000", "7400", "7410", "7411", "7480", "8008"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Every line of every shell block, with the page that it stands in.
fn commands() -> Vec<(String, String)> {
    let mut commands = Vec::new();
    for page in std::fs::read_dir(root().join("docs/runbooks")).unwrap() {
        let page = page.unwrap().path();
        let text = std::fs::read_to_string(&page).unwrap();
        let name = page.file_name().unwrap().to_string_lossy().into_owned();
        let blocks = text.split("```sh\n").skip(1);
        let lines = blocks.flat_map(|block| block.split("```").next().unwrap().lines());
        commands.extend(lines.map(|line| (name.clone(), line.to_owned())));
    }
    commands
}

/// Words as a shell splits them; double quotes alone are used.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (index, part) in line.split('"').enumerate() {
        if index % 2 == 1 {
            words.push(part.to_owned());
        } else {
            words.extend(part.split_whitespace().map(str::to_owned));
        }
    }
    words
}

#[test]
fn every_command_of_ours_is_one_that_we_take() {
    let ours: Vec<(String, String)> = commands()
        .into_iter()
        .filter(|(_, line)| line.starts_with("shanraq "))
        .collect();
    assert!(ours.len() > 20, "the pages have commands: {}", ours.len());
    for (page, line) in ours {
        if let Err(error) = Cli::try_parse_from(words(&line)) {
            panic!("{page}: `{line}`: {error}");
        }
    }
}

#[test]
fn every_other_command_names_a_program_a_unit_and_a_port_that_there_are() {
    let units = root().join("crates/cluster/tests/golden/three/h1/systemd");
    for (page, line) in commands() {
        let words = words(&line);
        let program = words[0].as_str();
        assert!(
            program == "shanraq" || PROGRAMS.contains(&program),
            "{page}: `{line}`"
        );
        for word in words
            .iter()
            .filter(|word| program != "shanraq" && word.starts_with("shanraq-"))
        {
            let unit = format!("{}.service", word.trim_end_matches(".service"));
            assert!(units.join(&unit).exists(), "{page}: no unit {unit}");
        }
        for url in words.iter().filter(|word| word.starts_with("http://")) {
            let port = url.split(':').nth(2).and_then(|rest| rest.split('/').next());
            assert!(port.is_some_and(|port| PORTS.contains(&port)), "{page}: `{line}`");
        }
    }
}

#[test]
fn every_fault_of_the_campaign_is_in_the_index() {
    let index = std::fs::read_to_string(root().join("docs/runbooks/README.md")).unwrap();
    let faults = std::fs::read_to_string(root().join("crates/campaign/src/faults/fault.rs")).unwrap();
    let names = faults.lines().filter_map(|line| {
        let (_, rest) = line.strip_prefix("    ")?.split_once(" \"")?;
        let (name, rest) = rest.split_once("\" ")?;
        rest.ends_with("\";").then(|| name.to_owned())
    });
    let names: Vec<String> = names.collect();
    assert!(names.len() > 40, "the list was found: {names:?}");
    for name in names {
        assert!(index.contains(&format!("`{name}`")), "no page for {name}");
    }
}
