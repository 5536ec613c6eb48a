//! `shanraq cluster config`: settings that nodes take while they run. Owns: its command line and output; what is accepted and
//! how it is kept is in the crate `configuration`.

use crate::commands::cluster_nodes::{NodeRow, look};
use crate::commands::etcd_place::{EtcdPlace, Reach};
use anyhow::{Context, Result, bail, ensure};
use clap::{Args, Subcommand};
use configuration::{
    Change, Current, Document, Refusal, Revision, SETTINGS, Setting, Settings, Store, Version,
};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

/// How often it is looked who has applied a change.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Read and change settings of all nodes while they run: versioned in etcd, checked before they are accepted.
///
/// What is not set is as each node's own file says. Nothing here changes rules, durability or who writes.
#[derive(Debug, Args)]
pub struct ClusterConfigArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Tell what is set, and which nodes apply it.
    Show {
        #[command(flatten)]
        place: EtcdPlace,
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Change settings: makes the next version and waits until all nodes apply it; exits with 2 when some do not in time.
    Set(SetArgs),
    /// Tell the versions that are kept, the newest first.
    History {
        #[command(flatten)]
        place: EtcdPlace,
        /// How many at most.
        #[arg(long, default_value_t = 20)]
        limit: usize,
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Make the settings of an old version the next version; exits as `set` does.
    Rollback {
        /// The version whose settings shall count again.
        version: u64,
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// Check a file of settings (TOML) as `set --file` would, changing nothing; exits with 2 when it is refused.
    Check {
        /// The file.
        file: PathBuf,
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Args)]
struct SetArgs {
    /// NAME=VALUE, such as `log.level=debug`; `show` lists the names.
    #[arg(value_name = "NAME=VALUE")]
    values: Vec<String>,
    /// Leave a setting to the nodes' own files again; may be repeated.
    #[arg(long, value_name = "NAME")]
    unset: Vec<String>,
    /// Begin with the settings of this file (TOML, sections as in a node's own file) instead of those that count now.
    #[arg(long)]
    file: Option<PathBuf>,
    /// Refuse unless this version counts now; 0: none does.
    #[arg(long, value_name = "VERSION")]
    expect: Option<u64>,
    #[command(flatten)]
    change: ChangeArgs,
}

#[derive(Debug, Args)]
struct ChangeArgs {
    #[command(flatten)]
    place: EtcdPlace,
    /// Why; kept in the history.
    #[arg(long)]
    why: String,
    /// Who; kept in the history as given. Default: user@host.
    #[arg(long)]
    who: Option<String>,
    /// How long to wait until all nodes apply it, in seconds.
    #[arg(long, default_value_t = 5)]
    wait_seconds: u64,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// Runs the command; false when the answer is no.
pub fn run(args: &ClusterConfigArgs) -> Result<bool> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        match &args.action {
            Action::Show { place, json } => show(&Asked::new(place)?, *json).await.map(|()| true),
            Action::Set(args) => set(args).await,
            Action::History { place, limit, json } => {
                history(&Asked::new(place)?, *limit, *json).await.map(|()| true)
            }
            Action::Rollback { version, change } => rollback(Version(*version), change).await,
            Action::Check { file, json } => check(file, *json),
        }
    })
}

/// A ledger's settings in etcd.
struct Asked {
    reach: Reach,
    store: Store,
}

impl Asked {
    fn new(place: &EtcdPlace) -> Result<Self> {
        let reach = place.reach()?;
        let store = Store::new(reach.etcd.clone(), &reach.ledger)?;
        Ok(Self { reach, store })
    }
}

async fn show(asked: &Asked, as_json: bool) -> Result<()> {
    let current = asked.store.current().await?;
    let nodes = look(&asked.reach, &asked.store).await?;
    let off = asked.reach.sentinel_is_off().await?;
    if as_json {
        println!("{}", show_json(&current, &nodes, &asked.reach.scope, off));
        return Ok(());
    }
    let none = Settings::default();
    let settings = match current.as_ref().map(|it| &it.document) {
        Some(Ok(document)) => {
            println!("{}", headline(document));
            &document.settings
        }
        Some(Err(error)) => {
            println!("{error}; nodes go on with what they had");
            &none
        }
        None => {
            println!("nothing was ever set: each node's own file counts");
            &none
        }
    };
    for setting in &SETTINGS {
        let value = setting.get(settings).map_or("-".to_owned(), |it| plain(&it));
        let (name, range, default) = (setting.name, setting.range(), plain(&setting.default()));
        println!(
            "  {name:<27} {value:<10} {} ({range}; default {default})",
            setting.meaning
        );
    }
    match &current {
        Some(current) => tell_who_applies(&nodes, current.revision),
        None => nodes
            .iter()
            .for_each(|(name, row)| println!("  {name}: {}", row.settings())),
    }
    let switch = if off { "switched off" } else { "not switched off" };
    println!("sentinel of {}: {switch} in etcd", asked.reach.scope);
    Ok(())
}

fn show_json(current: &Option<Current>, nodes: &BTreeMap<String, NodeRow>, scope: &str, off: bool) -> Value {
    let document = current.as_ref().map(|it| &it.document);
    let applied = |row: &NodeRow| current.as_ref().is_some_and(|it| row.has(it.revision));
    json!({
        "revision": current.as_ref().map(|it| it.revision.0),
        "document": document.and_then(|it| it.as_ref().ok()).map(Document::json),
        "problem": document.and_then(|it| it.as_ref().err()).map(ToString::to_string),
        "applied_by": nodes.values().filter(|row| applied(row)).count(),
        "nodes": nodes.iter().map(|(name, row)| row.json(name)).collect::<Vec<_>>(),
        "sentinel": { "scope": scope, "off": off },
    })
}

async fn set(args: &SetArgs) -> Result<bool> {
    ensure!(
        args.file.is_some() || !args.values.is_empty() || !args.unset.is_empty(),
        "nothing to change: give NAME=VALUE, --unset NAME or --file FILE"
    );
    let asked = Asked::new(&args.change.place)?;
    let seen = asked.store.current().await?;
    if let Some(expected) = args.expect {
        let counts = seen
            .as_ref()
            .map(|it| it.document.as_ref().map_or(0, |it| it.version.0));
        let counts = counts.unwrap_or(0);
        ensure!(
            counts == expected,
            "--expect: version {counts} counts, not {expected}"
        );
    }
    let mut settings = match (&args.file, seen.as_ref().map(|it| &it.document)) {
        (Some(file), _) => read_file(file)?.with_context(|| format!("{} is refused", file.display()))?,
        (None, None) => Settings::default(),
        (None, Some(Ok(document))) => document.settings.clone(),
        (None, Some(Err(error))) => bail!("{error}; `rollback`, or `set --file`, replaces it"),
    };
    change_values(&mut settings, &args.values, &args.unset)?;
    make(&asked, seen, settings, None, &args.change).await
}

/// Applies what stands on the command line.
fn change_values(settings: &mut Settings, values: &[String], unset: &[String]) -> Result<()> {
    for text in values {
        let (name, value) = text
            .split_once('=')
            .with_context(|| format!("{text:?} is not of the form NAME=VALUE"))?;
        let setting = Setting::named(name)?;
        setting.put(settings, Some(&setting.value(value)))?;
    }
    for name in unset {
        Setting::named(name)?.put(settings, None)?;
    }
    settings.check()?;
    Ok(())
}

async fn rollback(version: Version, change: &ChangeArgs) -> Result<bool> {
    let asked = Asked::new(&change.place)?;
    let seen = asked.store.current().await?;
    let old = asked.store.version(version).await?;
    make(&asked, seen, old.settings, Some(version), change).await
}

/// Makes the next version, and waits for the nodes.
async fn make(
    asked: &Asked,
    seen: Option<Current>,
    settings: Settings,
    restores: Option<Version>,
    args: &ChangeArgs,
) -> Result<bool> {
    if let Some(Ok(document)) = seen.as_ref().map(|it| &it.document)
        && document.settings == settings
    {
        match args.json {
            true => println!("{}", json!({ "changed": false, "document": document.json() })),
            false => println!("nothing to change: version {} says the same", document.version),
        }
        return Ok(true);
    }
    let change = Change {
        who: args.who.clone().unwrap_or_else(whoami),
        when_ms: now_ms()?,
        why: args.why.clone(),
    };
    let (document, revision) = asked
        .store
        .make(seen.as_ref(), settings, restores, change)
        .await?;
    let before = match seen.map(|it| it.document) {
        Some(Ok(before)) => before.settings,
        _ => Settings::default(),
    };
    if !args.json {
        println!("{}", headline(&document));
        for (name, before, after) in before.differences(&document.settings) {
            let told = |value: Option<Value>| value.map_or("-".to_owned(), |it| plain(&it));
            println!("  {name}: {} instead of {}", told(after), told(before));
        }
    }
    let looked = wait(asked, revision, Duration::from_secs(args.wait_seconds)).await;
    Ok(tell_outcome(&document, revision, looked, args.json))
}

/// Tells of a change that was made; true when all nodes apply it. That nodes could not be asked must not look as if nothing
/// had been changed.
fn tell_outcome(
    document: &Document,
    revision: Revision,
    looked: Result<BTreeMap<String, NodeRow>>,
    as_json: bool,
) -> bool {
    let problem = looked.as_ref().err();
    let problem = problem.map(|error| format!("who applies it cannot be told: {error:#}"));
    let nodes = looked.ok();
    if as_json {
        let applied = |nodes: &BTreeMap<_, NodeRow>| nodes.values().filter(|row| row.has(revision)).count();
        let rows = |nodes: &BTreeMap<String, NodeRow>| -> Value {
            nodes.iter().map(|(name, row)| row.json(name)).collect()
        };
        let told = json!({
            "changed": true,
            "revision": revision.0,
            "document": document.json(),
            "applied_by": nodes.as_ref().map(applied),
            "nodes": nodes.as_ref().map(rows),
            "problem": problem,
        });
        println!("{told}");
    } else if let Some(nodes) = &nodes {
        tell_who_applies(nodes, revision);
    } else if let Some(problem) = &problem {
        println!("{problem}");
    }
    nodes.is_some_and(|nodes| nodes.values().all(|row| row.has(revision)))
}

/// The nodes once all apply that revision, or as they are when the time is over.
async fn wait(asked: &Asked, revision: Revision, within: Duration) -> Result<BTreeMap<String, NodeRow>> {
    let deadline = Instant::now() + within;
    loop {
        let looked = look(&asked.reach, &asked.store).await;
        let is_done = |nodes: &BTreeMap<String, NodeRow>| nodes.values().all(|row| row.has(revision));
        if looked.as_ref().is_ok_and(is_done) || Instant::now() >= deadline {
            return looked;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn tell_who_applies(nodes: &BTreeMap<String, NodeRow>, revision: Revision) {
    let applied = nodes.values().filter(|row| row.has(revision)).count();
    match nodes.len() {
        0 => println!("no node is there to apply it"),
        there => println!("applied by {applied} of {there}"),
    }
    for (name, row) in nodes.iter().filter(|(_, row)| !row.has(revision)) {
        println!("  {name}: {}", row.settings());
    }
}

async fn history(asked: &Asked, limit: usize, as_json: bool) -> Result<()> {
    let versions = asked.store.history().await?;
    let newest = versions.iter().rev().take(limit);
    if as_json {
        let told = newest.map(|(version, document)| match document {
            Ok(document) => document.json(),
            Err(error) => json!({ "version": version.0, "problem": error.to_string() }),
        });
        println!("{}", json!({ "versions": told.collect::<Vec<_>>() }));
        return Ok(());
    }
    for (version, document) in newest {
        match document {
            Ok(document) => {
                println!("{}", headline(document));
                for setting in &SETTINGS {
                    if let Some(value) = setting.get(&document.settings) {
                        println!("  {} = {}", setting.name, plain(&value));
                    }
                }
            }
            Err(error) => println!("version {version}: {error}"),
        }
    }
    Ok(())
}

fn check(file: &Path, as_json: bool) -> Result<bool> {
    let checked = read_file(file)?;
    match (&checked, as_json) {
        (Ok(settings), true) => {
            println!("{}", json!({ "accepted": true, "settings": settings.sections() }));
        }
        (Ok(settings), false) => {
            println!(
                "{} is good: {}",
                file.display(),
                Value::Object(settings.sections())
            );
        }
        (Err(refusal), true) => {
            let (field, reason) = (&refusal.field, &refusal.reason);
            println!(
                "{}",
                json!({ "accepted": false, "field": field, "reason": reason })
            );
        }
        (Err(refusal), false) => println!("{} is refused: {refusal}", file.display()),
    }
    Ok(checked.is_ok())
}

/// The settings of a file, or why they are refused; the error is that it cannot be read as TOML.
fn read_file(file: &Path) -> Result<Result<Settings, Refusal>> {
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let sections: Map<String, Value> =
        toml::from_str(&text).with_context(|| format!("{} is refused", file.display()))?;
    Ok(Settings::parse(&sections))
}

fn headline(document: &Document) -> String {
    let Change { who, when_ms, why } = &document.change;
    let when = i64::try_from(*when_ms)
        .ok()
        .map(jiff::Timestamp::from_millisecond);
    let when = match when {
        Some(Ok(when)) => when.to_string(),
        _ => format!("{when_ms} ms after 1970"),
    };
    let restores = document
        .restores
        .map_or(String::new(), |it| format!(" (version {it} again)"));
    format!("version {}{restores}, {when} by {who}: {why}", document.version)
}

/// A value without the quotes of JSON.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn whoami() -> String {
    let user = ["USER", "LOGNAME"]
        .iter()
        .find_map(|name| std::env::var(name).ok());
    let user = user.unwrap_or_else(|| match rustix::process::getuid() {
        id if id.is_root() => "root".to_owned(),
        id => format!("uid {}", id.as_raw()),
    });
    format!("{user}@{}", rustix::system::uname().nodename().to_string_lossy())
}

fn now_ms() -> Result<u64> {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let since = since.context("this machine's clock is before 1970")?;
    Ok(u64::try_from(since.as_millis())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_on_the_command_line_is_refused_by_name_and_changes_nothing() {
        let refused = |values: &[&str], unset: &[&str]| {
            let own = |texts: &[&str]| texts.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>();
            change_values(&mut Settings::default(), &own(values), &own(unset))
                .unwrap_err()
                .to_string()
        };
        assert!(refused(&["log.level"], &[]).contains("log.level"));
        assert!(refused(&["log.level=loud"], &[]).starts_with("log.level: "));
        assert!(refused(&["node.queue_requests_max=0"], &[]).starts_with("node.queue_requests_max: "));
        assert!(refused(&["cluster.lease_s=5"], &[]).starts_with("cluster.lease_s: "));
        assert!(refused(&[], &["journal.durability"]).starts_with("journal.durability: "));
        let both = ["server.default_timeout_ms=5000", "server.timeout_max_ms=4000"];
        assert!(refused(&both, &[]).starts_with("server.default_timeout_ms: "));
    }

    #[test]
    fn a_file_of_settings_is_read_as_sections_and_refused_by_name() {
        let directory = tempfile::tempdir().unwrap();
        let read = |text: &str| {
            let path = directory.path().join("settings.toml");
            std::fs::write(&path, text).unwrap();
            read_file(&path).unwrap()
        };
        let settings = read("[log]\nlevel = \"debug\"\n[node]\noverload_retry_ms = 50\n").unwrap();
        assert_eq!(settings.overload_retry_ms, Some(50));
        assert_eq!(
            read("[node]\noverload_retry_ms = -1\n").unwrap_err().field,
            "node.overload_retry_ms"
        );
        assert_eq!(
            read("[node]\nsnapshot_rows = 9\n").unwrap_err().field,
            "node.snapshot_rows"
        );
    }
}
