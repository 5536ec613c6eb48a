//! Building the binaries that checks run. Owns: which profile for what.

use crate::process::{cargo, shown};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::path::PathBuf;
use std::process::Stdio;

/// What is built beside the binary that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beside {
    /// Nothing: quickest for who wants this one.
    Nothing,
    /// All that `cargo test --workspace` builds, so that it is built once: cargo chooses the features of a dependency by
    /// what is built together, and builds it, and all that leans on it, again for another choice.
    Workspace,
}

/// A binary as tests run it. The package has the same name.
pub fn debug(name: &str, beside: Beside) -> Result<PathBuf> {
    match beside {
        Beside::Nothing => build(name, &["-p", name]),
        Beside::Workspace => build(name, &["--workspace", "--all-targets"]),
    }
}

/// The product's binary as users run it.
pub fn release() -> Result<PathBuf> {
    build("shanraq", &["-p", "shanraq", "--release"])
}

fn build(name: &str, arguments: &[&str]) -> Result<PathBuf> {
    let mut command = cargo(&[
        "build",
        "--locked",
        "--quiet",
        "--message-format=json-render-diagnostics",
    ]);
    command.args(arguments).stderr(Stdio::inherit());
    eprintln!("$ {}", shown(&command));
    let output = command.output().context("cannot start cargo")?;
    ensure!(
        output.status.success(),
        "`{}` failed: {}",
        shown(&command),
        output.status
    );
    let messages = String::from_utf8(output.stdout)?;
    executable(&messages, name).with_context(|| format!("`{}` makes no binary {name}", shown(&command)))
}

/// The binary of that name among cargo's messages; its unit tests are an executable of the same name.
fn executable(messages: &str, name: &str) -> Option<PathBuf> {
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| message["target"]["name"] == name && message["target"]["kind"][0] == "bin")
        .filter(|message| message["profile"]["test"] == false)
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_binary_is_found_among_the_messages_and_its_tests_are_not_taken_for_it() {
        let messages = r#"{"reason":"compiler-artifact","target":{"name":"checks","kind":["lib"]},"profile":{"test":false},"executable":null}
{"reason":"compiler-artifact","target":{"name":"checks","kind":["bin"]},"profile":{"test":true},"executable":"/x/deps/checks-1"}
{"reason":"compiler-artifact","target":{"name":"other","kind":["bin"]},"profile":{"test":false},"executable":"/x/other"}
{"reason":"compiler-artifact","target":{"name":"checks","kind":["bin"]},"profile":{"test":false},"executable":"/x/checks"}
{"reason":"build-finished","success":true}"#;
        assert_eq!(executable(messages, "checks"), Some(PathBuf::from("/x/checks")));
        assert_eq!(executable("", "checks"), None);
    }
}
