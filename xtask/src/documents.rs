//! Documents must be true as far as a machine can tell. Owns: which documents are checked and for what.
//!
//! Every relative link of every document leads somewhere; every path that README.md and ARCHITECTURE.md name exists;
//! `docs/requirements.md` lists every promise.

use crate::process::{capture, root};
use crate::{markdown, requirements};
use anyhow::{Context, Result, ensure};
use std::path::Path;
use std::process::{Command, Stdio};

/// Their paths in backticks must exist, links aside.
const MAPS: &[&str] = &["README.md", "ARCHITECTURE.md"];
/// A word in backticks that ends so is a path even without a slash.
const EXTENSIONS: &[&str] = &[".md", ".toml", ".rs", ".sql", ".proto", ".lock"];
/// A word with a slash that begins so is not one.
const NOT_PATHS: &[&str] = &["application/", "text/", "http://", "https://"];

/// Checks all of it and names everything that is wrong.
pub fn check() -> Result<()> {
    let root = root();
    let documents = documents(&root)?;
    let mut problems = Vec::new();
    for name in &documents {
        let text = read(&root, name)?;
        let found = link_problems(&root, name, &text);
        problems.extend(found.into_iter().map(|problem| format!("{name}:{problem}")));
    }
    for name in MAPS {
        match read(&root, name) {
            Ok(text) => problems.extend(
                path_problems(&root, &text)
                    .into_iter()
                    .map(|p| format!("{name}:{p}")),
            ),
            Err(error) => problems.push(format!("{error:#}")),
        }
    }
    match read(&root, "docs/requirements.md") {
        Ok(text) => problems.extend(
            requirements::problems(&text)
                .iter()
                .map(|p| format!("docs/requirements.md: {p}")),
        ),
        Err(error) => problems.push(format!("{error:#}")),
    }
    ensure!(
        problems.is_empty(),
        "{} problems in the documents:\n  {}",
        problems.len(),
        problems.join("\n  ")
    );
    println!("{} documents hold", documents.len());
    Ok(())
}

/// Every Markdown file that is, or is about to be, under version control.
fn documents(root: &Path) -> Result<Vec<String>> {
    let mut git = Command::new("git");
    git.current_dir(root).args([
        "ls-files",
        "--cached",
        "--others",
        "--exclude-standard",
        "--",
        "*.md",
    ]);
    let listed = capture(&mut git)?;
    Ok(listed
        .lines()
        .filter(|name| root.join(name).is_file())
        .map(str::to_owned)
        .collect())
}

fn read(root: &Path, name: &str) -> Result<String> {
    std::fs::read_to_string(root.join(name)).with_context(|| format!("{name} cannot be read"))
}

fn link_problems(root: &Path, name: &str, text: &str) -> Vec<String> {
    let folder = root
        .join(name)
        .parent()
        .expect("a file lies in a folder")
        .to_path_buf();
    let local = markdown::links(text)
        .into_iter()
        .filter(|link| !has_scheme(&link.text));
    local
        .filter_map(|link| {
            let (path, anchor) = link.text.split_once('#').unwrap_or((&link.text, ""));
            let target = if path.is_empty() {
                root.join(name)
            } else {
                folder.join(path)
            };
            if !target.exists() {
                return Some(format!("{}: the link to {} leads nowhere", link.line, link.text));
            }
            let checked = !anchor.is_empty() && target.extension().is_some_and(|e| e == "md");
            let there = !checked
                || std::fs::read_to_string(&target)
                    .is_ok_and(|text| markdown::anchors(&text).iter().any(|known| known == anchor));
            (!there).then(|| format!("{}: no heading makes the anchor of {}", link.line, link.text))
        })
        .collect()
}

fn has_scheme(target: &str) -> bool {
    target.contains("://") || target.starts_with("mailto:")
}

fn path_problems(root: &Path, text: &str) -> Vec<String> {
    let paths = markdown::code_spans(text)
        .into_iter()
        .filter(|span| looks_like_a_path(&span.text));
    paths
        .filter(|span| !root.join(&span.text).exists() && !is_made_by_a_command(root, &span.text))
        .map(|span| format!("{}: `{}` does not exist", span.line, span.text))
        .collect()
}

/// What version control ignores (build results, the quick start's data) is there only after the command was run.
fn is_made_by_a_command(root: &Path, path: &str) -> bool {
    let mut git = Command::new("git");
    git.current_dir(root)
        .args(["check-ignore", "--quiet", "--", path])
        .stderr(Stdio::null());
    git.status().is_ok_and(|status| status.success())
}

fn looks_like_a_path(text: &str) -> bool {
    let plain = !text.is_empty()
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "._-/".contains(c));
    let relative = !text.starts_with('/') && !NOT_PATHS.iter().any(|start| text.starts_with(start));
    plain && relative && (text.contains('/') || EXTENSIONS.iter().any(|end| text.ends_with(end)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_told_from_other_words() {
        for path in [
            "crates/ledger",
            "docs/",
            "Cargo.toml",
            ".ci/run",
            "docs/adr/0001-x.md",
        ] {
            assert!(looks_like_a_path(path), "{path}");
        }
        for word in [
            "ledger",
            "/v1/accounts",
            "application/json",
            "cargo xtask test",
            "a::b",
            "",
        ] {
            assert!(!looks_like_a_path(word), "{word}");
        }
    }

    #[test]
    fn a_path_that_is_not_there_is_named_with_its_line() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("there.md"), "x").expect("a file");
        let found = path_problems(folder.path(), "`there.md`\n\n`crates/gone`\n");
        assert_eq!(found, ["3: `crates/gone` does not exist"]);
    }

    #[test]
    fn links_to_files_and_headings_must_lead_somewhere() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("other.md"), "# One Heading\n").expect("a file");
        let text = "[a](other.md) [b](other.md#one-heading) [c](https://example.org/x)\n[d](gone.md)\n[e](other.md#two)\n[f](#here)\n# Here\n";
        std::fs::write(folder.path().join("this.md"), text).expect("a file");
        let found = link_problems(folder.path(), "this.md", text);
        assert_eq!(
            found,
            [
                "2: the link to gone.md leads nowhere",
                "3: no heading makes the anchor of other.md#two"
            ]
        );
    }
}
