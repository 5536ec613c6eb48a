//! Requests drawn from the OpenAPI description against a running node. Owns: how Schemathesis is run.

use anyhow::{Result, bail};

/// Starts a node, runs Schemathesis against it, stops it.
pub fn run() -> Result<()> {
    bail!("the node cannot be started yet")
}
