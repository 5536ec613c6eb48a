//! Building the binaries that checks run. Owns: which profile for what.

use crate::process::{cargo, shown};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::path::PathBuf;
use std::process::Stdio;

/// The binary as tests use it: the profile that `cargo test` has compiled most of already.
pub fn debug() -> Result<PathBuf> {
    of("shanraq", &[])
}

/// The binary as users run it; for figures.
pub fn release() -> Result<PathBuf> {
    of("shanraq", &["--release"])
}

/// Builds a package and gives the path of its executable, which has the same name.
pub fn of(package: &str, arguments: &[&str]) -> Result<PathBuf> {
    let mut command = cargo(&[
        "build",
        "--locked",
        "-p",
        package,
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
    executable(&messages, package).with_context(|| format!("`{}` names no executable", shown(&command)))
}

/// The executable that cargo's messages name.
fn executable(messages: &str, name: &str) -> Option<PathBuf> {
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| message["target"]["name"] == name)
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_executable_is_found_among_the_messages() {
        let messages = r#"{"reason":"compiler-artifact","target":{"name":"shanraq"},"executable":null}
{"reason":"compiler-artifact","target":{"name":"other"},"executable":"/x/other"}
{"reason":"compiler-artifact","target":{"name":"shanraq"},"executable":"/x/debug/shanraq"}
{"reason":"build-finished","success":true}"#;
        assert_eq!(
            executable(messages, "shanraq"),
            Some(PathBuf::from("/x/debug/shanraq"))
        );
        assert_eq!(executable("", "shanraq"), None);
    }
}
