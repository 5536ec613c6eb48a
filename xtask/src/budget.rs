//! Budgets: limits on what `shanraq bench` measures. Owns: reading `benchmarks/budgets.toml`, and the verdicts.
//!
//! Must not: measure anything itself; what is not in a workload's report cannot have a budget.

use crate::binary;
use crate::process::{capture, root, shown};
use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fmt;
use std::path::Path;
use std::process::Command;

/// The file, typed.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Budgets {
    budget: Vec<Budget>,
}

/// One limit; exactly one of the two is given.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Budget {
    /// Of `shanraq bench`.
    workload: String,
    /// A field of its report; dots lead into inner objects.
    figure: String,
    /// The figure may not be below.
    at_least: Option<f64>,
    /// The figure may not be above.
    at_most: Option<f64>,
}

/// A limit, and which side of it is good.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Limit {
    AtLeast(f64),
    AtMost(f64),
}

/// A budget beside what was measured.
#[derive(Debug, Serialize)]
struct Verdict {
    workload: String,
    figure: String,
    /// None: the report has no such figure.
    measured: Option<f64>,
    #[serde(flatten)]
    limit: Limit,
    kept: bool,
}

impl Budgets {
    fn read() -> Result<Self> {
        let path = root().join("benchmarks/budgets.toml");
        let text =
            std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("{} is refused", path.display()))
    }

    fn parse(text: &str) -> Result<Self> {
        let budgets: Self = toml::from_str(text)?;
        for budget in &budgets.budget {
            budget.limit()?;
        }
        Ok(budgets)
    }

    /// The workloads in the order of the file, each once; only those asked for, which must be there.
    fn workloads(&self, only: &[String]) -> Result<Vec<&str>> {
        let mut names: Vec<&str> = Vec::new();
        for budget in &self.budget {
            if !names.contains(&budget.workload.as_str()) {
                names.push(&budget.workload);
            }
        }
        if let Some(unknown) = only.iter().find(|name| !names.contains(&name.as_str())) {
            bail!("--only: {unknown} has no budget; there are {}", names.join(", "));
        }
        names.retain(|name| only.is_empty() || only.iter().any(|wanted| wanted == name));
        Ok(names)
    }

    /// Holds a workload's report against its budgets.
    fn judge(&self, workload: &str, report: &Value) -> Result<Vec<Verdict>> {
        let budgets = self.budget.iter().filter(|budget| budget.workload == workload);
        budgets.map(|budget| budget.judge(report)).collect()
    }
}

impl Budget {
    fn limit(&self) -> Result<Limit> {
        match (self.at_least, self.at_most) {
            (Some(limit), None) => Ok(Limit::AtLeast(limit)),
            (None, Some(limit)) => Ok(Limit::AtMost(limit)),
            _ => bail!(
                "{} {}: exactly one of at_least and at_most is needed",
                self.workload,
                self.figure
            ),
        }
    }

    fn judge(&self, report: &Value) -> Result<Verdict> {
        let limit = self.limit()?;
        let found = self
            .figure
            .split('.')
            .try_fold(report, |inner, name| inner.get(name));
        let measured = found.and_then(Value::as_f64);
        let kept = match limit {
            Limit::AtLeast(limit) => measured.is_some_and(|measured| measured >= limit),
            Limit::AtMost(limit) => measured.is_some_and(|measured| measured <= limit),
        };
        Ok(Verdict {
            workload: self.workload.clone(),
            figure: self.figure.clone(),
            measured,
            limit,
            kept,
        })
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let measured = self.measured.map_or_else(|| "no such figure".to_owned(), short);
        let limit = match self.limit {
            Limit::AtLeast(limit) => format!(">= {}", short(limit)),
            Limit::AtMost(limit) => format!("<= {}", short(limit)),
        };
        let kept = if self.kept { "kept" } else { "BROKEN" };
        write!(
            f,
            "{:<12} {:<30} {measured:>16} {limit:>16}  {kept}",
            self.workload, self.figure
        )
    }
}

/// Whole when it is large.
fn short(number: f64) -> String {
    if number.abs() >= 1_000.0 {
        format!("{number:.0}")
    } else {
        format!("{number:.3}")
    }
}

/// Runs the workloads one after the other and holds each against its budgets.
///
/// # Errors
/// When a budget is broken, a workload fails, or answers were other than expected.
pub fn run(only: &[String], folder: &Path, seed: u64, json: bool) -> Result<()> {
    let budgets = Budgets::read()?;
    let workloads = budgets.workloads(only)?;
    let binary = binary::release()?;
    let mut verdicts = Vec::new();
    for workload in workloads {
        eprintln!("measuring {workload}");
        let report = measure(&binary, workload, folder, seed)?;
        let judged = budgets.judge(workload, &report)?;
        if !json {
            judged.iter().for_each(|verdict| println!("{verdict}"));
        }
        verdicts.extend(judged);
    }
    if json {
        println!("{}", serde_json::to_string_pretty(&verdicts)?);
    }
    let broken = verdicts.iter().filter(|verdict| !verdict.kept).count();
    ensure!(broken == 0, "{broken} of {} budgets are broken", verdicts.len());
    Ok(())
}

fn measure(binary: &Path, workload: &str, folder: &Path, seed: u64) -> Result<Value> {
    let mut bench = Command::new(binary);
    bench
        .args(["bench", "--json", "--workload", workload, "--directory"])
        .arg(folder)
        .arg(format!("--seed={seed}"));
    let said = capture(&mut bench)?;
    serde_json::from_str(&said).with_context(|| format!("`{}` printed no JSON", shown(&bench)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const TWO: &str = r#"
        [[budget]]
        workload = "batch"
        figure = "transfers_per_second"
        at_least = 400_000
        [[budget]]
        workload = "history"
        figure = "newest_100.p99_us"
        at_most = 5_000.5
    "#;

    fn kept(workload: &str, report: &Value) -> bool {
        let verdicts = Budgets::parse(TWO).unwrap().judge(workload, report).unwrap();
        assert_eq!(verdicts.len(), 1);
        verdicts[0].kept
    }

    #[test]
    fn a_figure_on_the_wrong_side_of_its_limit_breaks_the_budget() {
        assert!(kept("batch", &json!({"transfers_per_second": 400_000})));
        assert!(!kept("batch", &json!({"transfers_per_second": 399_999.9})));
        let history = |p99: f64| json!({"newest_100": {"p99_us": p99}});
        assert!(kept("history", &history(5_000.5)));
        assert!(!kept("history", &history(5_000.6)));
    }

    #[test]
    fn a_figure_that_is_not_there_breaks_the_budget() {
        assert!(!kept("history", &json!({"p99_us": 1.0})));
        assert!(!kept("batch", &json!({"transfers_per_second": "fast"})));
    }

    #[test]
    fn a_budget_without_a_limit_with_two_or_with_an_unknown_key_is_refused() {
        for text in [
            TWO.replace("at_least = 400_000", ""),
            TWO.replace("at_least = 400_000", "at_least = 1\nat_most = 2"),
            TWO.replace("at_least", "at_leats"),
        ] {
            assert!(Budgets::parse(&text).is_err(), "{text}");
        }
    }

    #[test]
    fn only_names_workloads_that_have_budgets() {
        let budgets = Budgets::parse(TWO).unwrap();
        assert_eq!(budgets.workloads(&[]).unwrap(), ["batch", "history"]);
        assert_eq!(budgets.workloads(&["history".into()]).unwrap(), ["history"]);
        let error = budgets.workloads(&["histroy".into()]).unwrap_err().to_string();
        assert!(error.contains("histroy") && error.contains("batch"), "{error}");
    }

    #[test]
    fn the_projects_budgets_are_well_formed() {
        let budgets = Budgets::read().unwrap();
        for name in ["batch", "open-100k", "growth", "engine"] {
            assert!(budgets.workloads(&[name.to_owned()]).is_ok(), "{name}");
        }
    }
}
