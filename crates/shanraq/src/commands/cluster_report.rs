//! `shanraq cluster report`: what the last changes of the writer came to. Owns: asking the nodes, and how a report is printed.

use anyhow::{Context, Result, bail};
use clap::Args;
use cluster::{Local, Role};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;
use tonic::transport::Endpoint;
use wire::members::ReportsRequest;
use wire::members::members_client::MembersClient;

/// How long a node may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// Which cluster, and how to print.
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// The directory of a cluster on this machine.
    #[arg(long, default_value = "/var/lib/shanraq/cluster")]
    dir: PathBuf,
    /// Nodes to ask instead, host:port; repeat it for several.
    #[arg(long)]
    address: Vec<String>,
    /// How many of the last ones.
    #[arg(long, default_value_t = 1)]
    last: usize,
    /// Print one JSON array, the newest first.
    #[arg(long)]
    json: bool,
}

/// Asks every node and prints the last reports; false when the newest says that something is not as it must be.
pub fn run(args: &ReportArgs) -> Result<bool> {
    let mut addresses = args.address.clone();
    if addresses.is_empty() {
        let local = Local::open(&args.dir)?;
        let topology = local.topology();
        let port = topology.ports.node;
        let hosts = topology.hosts_with(Role::Node);
        addresses.extend(hosts.map(|host| format!("{}:{port}", host.address)));
    }
    let mut reports: Vec<Value> = ask(&addresses)?.into_values().rev().take(args.last).collect();
    for earlier in reports.iter_mut().skip(1) {
        // Its maker was followed by another before all was well.
        if earlier["outcome"] == "open" {
            earlier["outcome"] = "left_open".into();
        }
    }
    if args.json {
        println!("{}", serde_json::to_string_pretty(&reports)?);
    } else if reports.is_empty() {
        println!("no change of the writer was reported yet");
    } else {
        for report in &reports {
            print!("{}", text(report));
        }
    }
    let newest = reports.first().map(|report| &report["outcome"]);
    Ok(newest.is_none_or(|outcome| outcome == "completed" || outcome == "open"))
}

/// What the nodes have, by term; of one that several have, what its maker says.
fn ask(addresses: &[String]) -> Result<BTreeMap<u64, Value>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (mut found, mut refused) = (BTreeMap::new(), Vec::new());
    for address in addresses {
        match runtime.block_on(reports(address)) {
            Ok((name, texts)) => {
                for text in texts {
                    let report: Value = serde_json::from_str(&text)
                        .with_context(|| format!("{address} gives a report that is no JSON"))?;
                    let epoch = report["epoch"].as_u64();
                    let epoch = epoch.with_context(|| format!("{address} gives a report without a term"))?;
                    if report["node"] == *name || !found.contains_key(&epoch) {
                        found.insert(epoch, report);
                    }
                }
            }
            Err(error) => refused.push(format!("{address}: {error:#}")),
        }
    }
    if refused.len() == addresses.len() {
        bail!("no node answers: {}", refused.join("; "));
    }
    for refusal in refused {
        eprintln!("not asked: {refusal}");
    }
    Ok(found)
}

async fn reports(address: &str) -> Result<(String, Vec<String>)> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))
        .with_context(|| format!("--address: {address} is no host:port"))?;
    let asked = tokio::time::timeout(PATIENCE, async {
        let channel = endpoint.connect_timeout(PATIENCE).connect().await?;
        let answer = MembersClient::new(channel).reports(ReportsRequest {}).await?;
        let answer = answer.into_inner();
        Ok((answer.name, answer.reports))
    });
    asked.await.context("it does not answer in time")?
}

/// A report for people.
fn text(report: &Value) -> String {
    let word = |value: &Value| match value {
        Value::String(text) => text.replace('_', " "),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    };
    let name = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let mut lines = vec![format!(
        "term {}: {} writes since {}: {}, {}",
        report["epoch"],
        name(&report["node"]),
        moment(&report["writes_since_ms"]),
        word(&report["reason"]),
        word(&report["outcome"]),
    )];
    let (before, after) = (&report["before"], &report["after"]);
    if before.is_object() {
        lines.push(format!(
            "  before   term {} of {} ended at height {}, stamped {}",
            before["epoch"],
            name(&before["node"]),
            before["height"],
            moment(&before["stamped_at_ms"]),
        ));
    }
    lines.push(format!(
        "  after    height {}, {} ms after the last block, {} ms after the election",
        after["height"],
        word(&report["gap_ms"]),
        report["took_ms"],
    ));
    for (label, check) in [("chain", &report["chain"]), ("books", &report["books"])] {
        let detail = check.get("seen").or_else(|| check.get("problem"));
        let detail = name(detail.unwrap_or(&Value::Null));
        lines.push(format!("  {label}    {}: {detail}", word(&check["result"])));
    }
    let primary = &report["primary"];
    if primary.is_object() {
        let from = primary["before"]
            .as_str()
            .filter(|before| primary["server"] != **before);
        let from = from.map_or(String::new(), |before| format!(", was {before}"));
        let synchronous = primary["synchronous"].as_array().map_or(0, Vec::len);
        lines.push(format!(
            "  primary  {}{from}; {synchronous} synchronous standbys, {} needed",
            name(&primary["server"]),
            primary["needed"],
        ));
    }
    for follower in report["followers"].as_array().into_iter().flatten() {
        lines.push(format!(
            "  node     {}: height {}, {} behind, heard {} ms before",
            name(&follower["name"]),
            word(&follower["height"]),
            word(&follower["behind_blocks"]),
            word(&follower["heard_ms_ago"]),
        ));
    }
    for degraded in report["degraded"].as_array().into_iter().flatten() {
        lines.push(format!("  !        {}", name(degraded)));
    }
    lines.push(format!("  watched  {} ms", report["watched_ms"]));
    lines.join("\n") + "\n"
}

fn moment(ms: &Value) -> String {
    let ms = ms
        .as_i64()
        .and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    ms.map_or("-".to_owned(), |moment| moment.to_string())
}
