//! Requests drawn from the OpenAPI description against a running node. Owns: how Schemathesis is run.

use crate::binary::{self, Beside};
use crate::node::Node;
use crate::process::{root, run as run_command};
use crate::python;
use anyhow::Result;
use std::process::Command;

/// How much to try, and how the requests are drawn.
#[derive(clap::Args)]
pub struct Options {
    /// Requests drawn for each operation and phase.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..))]
    pub examples: u32,
    /// Seed of the requests.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Only operations on this path, for example `/v1/accounts`.
    #[arg(long)]
    pub path: Option<String>,
}

/// Starts a node, runs Schemathesis against it, stops it.
pub fn run(options: &Options, beside: Beside) -> Result<()> {
    let node = Node::start(&binary::debug("shanraq", beside)?)?;
    // It leaves files where it runs.
    let folder = tempfile::tempdir()?;
    let mut schemathesis = Command::new(python::tool("schemathesis")?);
    schemathesis.current_dir(folder.path());
    schemathesis
        .arg("--config-file")
        .arg(root().join("xtask/python/schemathesis.toml"));
    schemathesis
        .arg("run")
        .arg(format!("http://{}/openapi.json", node.address));
    schemathesis.args([
        "--checks=all",
        "--wait-for-schema=10",
        "--no-color",
        "--continue-on-failure",
    ]);
    schemathesis.arg(format!("--max-examples={}", options.examples));
    schemathesis.arg(format!("--seed={}", options.seed));
    // A schema cannot say all that is refused: a page token that was never given out, postings that do not balance, time
    // bounds that cross, an id left out without an Idempotency-Key, an integer written as 80.0.
    schemathesis.arg("--exclude-checks=positive_data_acceptance");
    // How fast inputs are drawn or answered depends on what else the machine does.
    schemathesis.arg("--max-response-time=120");
    schemathesis.arg("--suppress-health-check=too_slow,filter_too_much");
    if let Some(path) = &options.path {
        schemathesis.arg(format!("--include-path={path}"));
    }
    run_command(&mut schemathesis)?;
    node.stop()
}
