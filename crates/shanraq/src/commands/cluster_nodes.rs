//! `shanraq cluster nodes`: who is there, from etcd alone. Owns: what is read, and how it is told.

use crate::commands::etcd_place::{EtcdPlace, Reach};
use anyhow::Result;
use clap::Args;
use configuration::{NodeReport, NodeState, Origin, Revision, Store};
use election::{Present, Role};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// List the ledger's nodes with role, address and settings, as etcd knows them; no node is asked.
#[derive(Debug, Args)]
pub struct NodesArgs {
    #[command(flatten)]
    place: EtcdPlace,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// A node as etcd knows it.
#[derive(Default)]
pub struct NodeRow {
    /// What the election knows of it; none of one that takes part no more.
    present: Option<Present>,
    /// What it says of its settings; none where it says nothing.
    state: Option<Result<NodeState, String>>,
}

impl NodeRow {
    /// Whether it applies the document of that revision.
    pub fn has(&self, revision: Revision) -> bool {
        matches!(&self.state, Some(Ok(state)) if state.has(revision))
    }

    /// What it applies and what it does not, in words.
    pub fn settings(&self) -> String {
        let state = match &self.state {
            Some(Ok(state)) => state,
            Some(Err(reason)) => return format!("what it says of its settings is not understood: {reason}"),
            None => return "says nothing of its settings".to_owned(),
        };
        let version = state
            .applied
            .version
            .map_or("none".to_owned(), |it| it.to_string());
        let applied = match state.applied.origin {
            Origin::Etcd => format!("settings version {version}"),
            Origin::Copy => format!("settings version {version} of its own copy"),
            Origin::File => "settings of its own file".to_owned(),
        };
        match &state.rejected {
            Some(rejected) => format!("{applied}; does not accept what is in etcd: {}", rejected.reason),
            None => applied,
        }
    }

    /// For scripts.
    pub fn json(&self, name: &str) -> Value {
        let member = self.present.as_ref().map(|it| &it.member);
        let (settings, problem) = match &self.state {
            Some(Ok(state)) => (json!(state), None),
            Some(Err(reason)) => (Value::Null, Some(reason)),
            None => (Value::Null, None),
        };
        json!({
            "name": name,
            "role": self.role(),
            "grpc_address": member.map(|it| &it.grpc_address),
            "rest_address": member.map(|it| &it.rest_address),
            "may_write": member.map(|it| it.may_write),
            "settings": settings,
            "problem": problem,
        })
    }

    fn role(&self) -> Option<&'static str> {
        self.present.as_ref().map(|it| match it.role {
            Role::Writer => "writer",
            Role::Candidate => "follower",
            Role::Observer => "observer",
        })
    }
}

/// All nodes that are there, by name, by two linearizable reads.
pub async fn look(reach: &Reach, store: &Store) -> Result<BTreeMap<String, NodeRow>> {
    let mut rows = BTreeMap::<String, NodeRow>::new();
    for present in election::present(&reach.etcd, &reach.key_prefix()).await? {
        let name = present.member.name.to_string();
        rows.entry(name).or_default().present = Some(present);
    }
    for NodeReport { name, state } in store.nodes().await? {
        rows.entry(name).or_default().state = Some(state.map_err(|refusal| refusal.to_string()));
    }
    Ok(rows)
}

/// Runs the command.
pub fn run(args: &NodesArgs) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (reach, rows) = runtime.block_on(async {
        let reach = args.place.reach()?;
        let store = Store::new(reach.etcd.clone(), &reach.ledger)?;
        let rows = look(&reach, &store).await?;
        anyhow::Ok((reach, rows))
    })?;
    if args.json {
        let nodes: Vec<_> = rows.iter().map(|(name, row)| row.json(name)).collect();
        println!("{}", json!({ "ledger": reach.ledger, "nodes": nodes }));
        return Ok(());
    }
    if rows.is_empty() {
        println!("no node of ledger {} is there", reach.ledger);
    }
    for (name, row) in &rows {
        let role = row.role().unwrap_or("leaves");
        let address = row.present.as_ref().map_or("", |it| &it.member.grpc_address);
        println!("{name:<12} {role:<9} {address:<21} {}", row.settings());
    }
    Ok(())
}
