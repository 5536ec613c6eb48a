//! Dependencies point inward. Owns: the table of which crate may lean on which, and what the core must never reach.

use crate::process::{capture, cargo};
use anyhow::{Result, ensure};
use std::collections::BTreeSet;

/// What a crate may reach, of ours, at any depth; and what of others it must never reach.
struct Rule {
    package: &'static str,
    may_reach: &'static [&'static str],
    never: &'static [&'static str],
}

/// I/O, time and randomness: what the pure core must not have.
const IMPURE: &[&str] = &[
    "tokio",
    "rand",
    "rustix",
    "tracing",
    "aws-lc-rs",
    "getrandom",
    "libc",
    "axum",
    "tonic",
];
/// What a synchronous crate has no use for.
const ASYNCHRONOUS: &[&str] = &["tokio", "axum", "tonic", "hyper"];

const RULES: &[Rule] = &[
    Rule {
        package: "ledger",
        may_reach: &[],
        never: IMPURE,
    },
    Rule {
        package: "storage",
        may_reach: &[],
        never: ASYNCHRONOUS,
    },
    Rule {
        package: "journal",
        may_reach: &["ledger", "storage"],
        never: ASYNCHRONOUS,
    },
    Rule {
        package: "history",
        may_reach: &["ledger", "storage"],
        never: ASYNCHRONOUS,
    },
    Rule {
        package: "payments",
        may_reach: &["ledger"],
        never: ASYNCHRONOUS,
    },
    Rule {
        package: "journal-postgres",
        may_reach: &["ledger", "storage", "journal"],
        never: &["axum", "tonic", "hyper"],
    },
    Rule {
        package: "etcd",
        may_reach: &[],
        never: &["axum"],
    },
    Rule {
        package: "configuration",
        may_reach: &["etcd"],
        never: &["axum"],
    },
    Rule {
        package: "sentinel",
        may_reach: &["etcd"],
        never: &["axum"],
    },
    Rule {
        package: "election",
        may_reach: &["etcd"],
        never: &["axum"],
    },
    Rule {
        package: "cluster",
        may_reach: &["storage"],
        never: ASYNCHRONOUS,
    },
    Rule {
        package: "node",
        may_reach: &["ledger", "storage", "journal", "history"],
        never: &["axum", "tonic", "hyper"],
    },
    Rule {
        package: "wire",
        may_reach: &["ledger"],
        never: &["axum"],
    },
    Rule {
        package: "client",
        may_reach: &["ledger", "wire"],
        never: &["axum"],
    },
    Rule {
        package: "api",
        may_reach: &["ledger", "wire", "storage", "journal", "history", "node"],
        never: &[],
    },
    Rule {
        package: "member",
        may_reach: &[
            "ledger",
            "storage",
            "journal",
            "history",
            "node",
            "wire",
            "api",
            "journal-postgres",
            "etcd",
            "election",
        ],
        never: &[],
    },
    Rule {
        package: "xtask",
        may_reach: &[],
        never: &["tokio", "axum", "tonic"],
    },
];

/// Checks every rule against what cargo resolves.
pub fn check() -> Result<()> {
    let ours = members()?;
    let mut broken = Vec::new();
    for rule in RULES {
        ensure!(
            ours.contains(rule.package),
            "the table names `{}`, which is no member of the workspace",
            rule.package
        );
        let reached = reached_by(rule.package)?;
        broken.extend(violations(rule, &ours, &reached));
    }
    ensure!(
        broken.is_empty(),
        "forbidden dependencies:\n  {}",
        broken.join("\n  ")
    );
    println!("{} rules hold", RULES.len());
    Ok(())
}

fn violations(rule: &Rule, ours: &BTreeSet<String>, reached: &BTreeSet<String>) -> Vec<String> {
    let inward = reached.iter().filter(|name| {
        ours.contains(*name) && *name != rule.package && !rule.may_reach.contains(&name.as_str())
    });
    let foreign = reached.iter().filter(|name| rule.never.contains(&name.as_str()));
    inward
        .chain(foreign)
        .map(|name| format!("{} reaches {name}", rule.package))
        .collect()
}

fn members() -> Result<BTreeSet<String>> {
    let text = capture(&mut cargo(&[
        "tree",
        "--workspace",
        "--depth",
        "0",
        "--prefix",
        "none",
        "--locked",
        "-e",
        "normal",
    ]))?;
    Ok(names(&text))
}

/// The crate itself and everything it is built with for this machine, build scripts and tests left out.
fn reached_by(package: &str) -> Result<BTreeSet<String>> {
    let text = capture(&mut cargo(&[
        "tree", "-p", package, "-e", "normal", "--prefix", "none", "--locked",
    ]))?;
    let reached = names(&text);
    ensure!(
        reached.contains(package),
        "`cargo tree -p {package}` does not name {package} itself:\n{text}"
    );
    Ok(reached)
}

fn names(tree: &str) -> BTreeSet<String> {
    tree.lines()
        .filter_map(|line| line.split_whitespace().next())
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    const RULE: Rule = Rule {
        package: "history",
        may_reach: &["ledger"],
        never: &["tokio"],
    };

    #[test]
    fn what_a_rule_allows_is_no_violation() {
        let found = violations(
            &RULE,
            &set(&["history", "ledger", "node"]),
            &set(&["history", "ledger", "serde"]),
        );
        assert_eq!(found, Vec::<String>::new());
    }

    #[test]
    fn a_crate_of_ours_further_out_and_a_forbidden_one_are_both_named() {
        let found = violations(
            &RULE,
            &set(&["history", "ledger", "node"]),
            &set(&["history", "node", "tokio"]),
        );
        assert_eq!(found, ["history reaches node", "history reaches tokio"]);
    }

    #[test]
    fn names_are_read_from_a_tree() {
        let tree = "ledger v0.1.0 (/x/crates/ledger)\nbitflags v2.13.2\nthiserror v2.0.1\nsyn v2.0.0 (*)\n";
        assert_eq!(names(tree), set(&["ledger", "bitflags", "thiserror", "syn"]));
    }
}
