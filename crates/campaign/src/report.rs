//! What a campaign found, a row a fault (pure).

use crate::faults::{Expect, Fault};
use crate::round::Outcome;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

/// A campaign.
#[derive(Default)]
pub struct Report {
    /// Rounds that ended, good or bad.
    pub outcomes: Vec<Outcome>,
    /// Faults that could not be made here, and why.
    pub unavailable: Vec<(Fault, String)>,
    /// Rounds that could not be ended: the cluster did not heal, or could not be looked at.
    pub broken: Vec<(Fault, u64, String)>,
    /// What a walk through the whole journal of each cluster said at its end; an error if something is not as it must be.
    pub verified: Vec<Result<String, String>>,
}

/// One fault's row.
#[derive(Debug, Serialize)]
pub struct Row {
    /// Its name.
    pub fault: &'static str,
    /// How often it was made.
    pub injections: usize,
    /// How often writes went on while it lasted.
    pub recovered: usize,
    /// Longest time without an acknowledged write, all clients together: median and worst.
    pub writes_ms: [u128; 2],
    /// The same for the client that waited longest.
    pub writes_client_ms: [u128; 2],
    /// The same for linearizable reads, all clients together.
    pub linearizable_ms: [u128; 2],
    /// The same for reads of bounded age.
    pub bounded_ms: [u128; 2],
    /// The same for reads of any age.
    pub any_ms: [u128; 2],
    /// Terms of writing begun while it lasted, all rounds together; those included that were claimed and not completed.
    pub epochs: u64,
    /// Timelines of PostgreSQL begun.
    pub timelines: u64,
    /// From healing until nothing was wrong.
    pub healthy_ms: [u128; 2],
    /// Attempts whose outcome a client did not learn.
    pub unknown: usize,
    /// Rounds in which a promise was broken.
    pub failed: usize,
}

/// What 99.99 % of a year leave: 52.56 minutes.
const BUDGET: Duration = Duration::from_secs(3_153);
/// A shorter time without acknowledged writes is an answer that took long, not an outage.
const OUTAGE_MIN: Duration = Duration::from_secs(1);

/// How much of a year's error budget the faults take. Those under which writes must stop until somebody heals them are
/// left out: how long they last is the campaign's choice.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct ErrorBudget {
    /// A year's, for 99.99 %.
    pub budget_ms: u128,
    /// Faults that were made.
    pub injections: usize,
    /// Those that stopped writes for more than a second.
    pub outages: usize,
    /// How long these stopped writes, together.
    pub outage_ms: u128,
    /// How many such faults a year has room for; none where nothing stopped writes.
    pub faults_a_year: Option<u128>,
}

impl Report {
    /// What the outages come to.
    #[must_use]
    pub fn error_budget(&self) -> ErrorBudget {
        let heals = |outcome: &&Outcome| outcome.plan.fault.expect() != Expect::Patience;
        let gaps: Vec<Duration> = self
            .outcomes
            .iter()
            .filter(heals)
            .map(|it| it.writes.service)
            .collect();
        let outages = gaps.iter().filter(|gap| **gap > OUTAGE_MIN);
        let outage: Duration = outages.clone().sum();
        let faults = BUDGET.as_millis() * gaps.len() as u128;
        ErrorBudget {
            budget_ms: BUDGET.as_millis(),
            injections: gaps.len(),
            outages: outages.count(),
            outage_ms: outage.as_millis(),
            faults_a_year: faults.checked_div(outage.as_millis()),
        }
    }

    /// A row for each fault that was made.
    #[must_use]
    pub fn rows(&self) -> Vec<Row> {
        let mut by_fault: BTreeMap<Fault, Vec<&Outcome>> = BTreeMap::new();
        for outcome in &self.outcomes {
            by_fault.entry(outcome.plan.fault).or_default().push(outcome);
        }
        by_fault
            .into_iter()
            .map(|(fault, outcomes)| row(fault, &outcomes))
            .collect()
    }

    /// Rounds with a broken promise, those that could not be ended, and journals that do not verify.
    #[must_use]
    pub fn failures(&self) -> usize {
        let failed = self
            .outcomes
            .iter()
            .filter(|outcome| !outcome.problems.is_empty());
        let journals = self.verified.iter().filter(|verified| verified.is_err());
        failed.count() + self.broken.len() + journals.count()
    }

    /// All of it as JSON.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        let sum = |of: fn(&Outcome) -> usize| self.outcomes.iter().map(of).sum::<usize>();
        serde_json::json!({
            "injections": self.outcomes.len(),
            "transfers_answered": sum(|outcome| outcome.answered),
            "unknown": sum(|outcome| outcome.unknown),
            "reads_checked": sum(|outcome| outcome.reads),
            "rows_checked": sum(|outcome| outcome.rows),
            "failures": self.failures(),
            "error_budget": self.error_budget(),
            "faults": self.rows(),
            "verified": self.verified.iter().map(Result::is_ok).collect::<Vec<_>>(),
            "rounds": self.outcomes.iter().map(round_json).collect::<Vec<_>>(),
            "unavailable": self.unavailable.iter().map(|(fault, why)| [fault.name(), why]).collect::<Vec<_>>(),
            "broken": self.broken.iter().map(|(fault, seed, why)| serde_json::json!({
                "fault": fault.name(), "seed": seed, "why": why,
            })).collect::<Vec<_>>(),
        })
    }

    fn budget_line(&self) -> String {
        let budget = self.error_budget();
        let seconds = |ms: u128| ms as f64 / 1_000.0;
        let mut text = format!(
            "\nError budget: 99.99 % of a year leave {} s. Of {} faults that need nobody to heal them, {} stopped writes for more than a second, {:.1} s in all",
            budget.budget_ms / 1_000,
            budget.injections,
            budget.outages,
            seconds(budget.outage_ms)
        );
        match budget.faults_a_year {
            Some(faults) => {
                let _ = writeln!(text, ": room for {faults} such faults a year.");
            }
            None => text += ".\n",
        }
        text
    }

    /// For `docs/campaign.md`.
    #[must_use]
    pub fn markdown(&self) -> String {
        let json = self.json();
        let mut text = format!(
            "{} injections; {} transfers answered, {} attempts of unknown outcome, {} reads and {} rows checked; {} rounds failed.\n\n",
            json["injections"],
            json["transfers_answered"],
            json["unknown"],
            json["reads_checked"],
            json["rows_checked"],
            self.failures()
        );
        text += "Times are median / worst, in milliseconds: the longest time in which no client had an acknowledged write (one client: the client that waited longest), a linearizable read, a read of bounded age (5 s), or a read of any age. Epochs and timelines are those begun while the fault lasted, of all rounds together: how often the ledger's writer and PostgreSQL's primary changed.\n\n";
        text += "| fault | injections | recovered before it was healed | writes | writes, one client | linearizable reads | bounded reads | reads of any age | epochs | timelines | healthy after healing | unknown | failed |\n";
        text += "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n";
        for row in self.rows() {
            let [writes, client, linearizable, bounded, any, healthy] = [
                row.writes_ms,
                row.writes_client_ms,
                row.linearizable_ms,
                row.bounded_ms,
                row.any_ms,
                row.healthy_ms,
            ]
            .map(|[median, worst]| format!("{median} / {worst}"));
            let _ = writeln!(
                text,
                "| `{}` | {} | {} | {writes} | {client} | {linearizable} | {bounded} | {any} | {} | {} | {healthy} | {} | {} |",
                row.fault, row.injections, row.recovered, row.epochs, row.timelines, row.unknown, row.failed
            );
        }
        text += &self.budget_line();
        for (fault, why) in &self.unavailable {
            let _ = writeln!(text, "\nNot made here: `{fault}`: {why}.");
        }
        for outcome in self
            .outcomes
            .iter()
            .filter(|outcome| !outcome.problems.is_empty())
        {
            let (fault, seed) = (outcome.plan.fault, outcome.plan.seed);
            let _ = writeln!(text, "\nFailed: `{fault}`, seed {seed} ({}):", outcome.done);
            for problem in &outcome.problems {
                let _ = writeln!(text, "- {problem}");
            }
        }
        for (fault, seed, why) in &self.broken {
            let _ = writeln!(text, "\nNot ended: `{fault}`, seed {seed}: {why}.");
        }
        for verified in &self.verified {
            let (Ok(said) | Err(said)) = verified;
            let word = if verified.is_ok() {
                "verifies"
            } else {
                "does NOT verify"
            };
            let _ = writeln!(text, "\nThe whole journal {word}:\n\n```\n{said}\n```");
        }
        text
    }
}

fn row(fault: Fault, outcomes: &[&Outcome]) -> Row {
    let spread = |of: fn(&Outcome) -> Duration| {
        let mut all: Vec<u128> = outcomes.iter().map(|outcome| of(outcome).as_millis()).collect();
        all.sort_unstable();
        [all[all.len() / 2], all[all.len() - 1]]
    };
    let count = |is: fn(&Outcome) -> bool| outcomes.iter().filter(|outcome| is(outcome)).count();
    Row {
        fault: fault.name(),
        injections: outcomes.len(),
        recovered: count(|outcome| outcome.recovered),
        writes_ms: spread(|outcome| outcome.writes.service),
        writes_client_ms: spread(|outcome| outcome.writes.client),
        linearizable_ms: spread(|outcome| outcome.linearizable.service),
        bounded_ms: spread(|outcome| outcome.bounded.service),
        any_ms: spread(|outcome| outcome.any.service),
        epochs: outcomes.iter().map(|outcome| outcome.changes.epochs).sum(),
        timelines: outcomes.iter().map(|outcome| outcome.changes.timelines).sum(),
        healthy_ms: spread(|outcome| outcome.healthy_after),
        unknown: outcomes.iter().map(|outcome| outcome.unknown).sum(),
        failed: count(|outcome| !outcome.problems.is_empty()),
    }
}

fn round_json(outcome: &Outcome) -> serde_json::Value {
    serde_json::json!({
        "fault": outcome.plan.fault.name(),
        "seed": outcome.plan.seed,
        "done": outcome.done,
        "held_ms": outcome.held.as_millis(),
        "recovered": outcome.recovered,
        "writes_ms": outcome.writes.service.as_millis(),
        "writes_client_ms": outcome.writes.client.as_millis(),
        "linearizable_ms": outcome.linearizable.service.as_millis(),
        "bounded_ms": outcome.bounded.service.as_millis(),
        "any_ms": outcome.any.service.as_millis(),
        "epochs": outcome.changes.epochs,
        "timelines": outcome.changes.timelines,
        "healthy_ms": outcome.healthy_after.as_millis(),
        "answered": outcome.answered,
        "unknown": outcome.unknown,
        "problems": outcome.problems,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gaps::Gap;
    use crate::round::{Changes, Plan};

    fn outcome(fault: Fault, writes_ms: u64, problems: &[&str]) -> Outcome {
        let gap = Gap {
            service: Duration::from_millis(writes_ms),
            client: Duration::from_millis(2 * writes_ms),
        };
        Outcome {
            plan: Plan {
                number: 1,
                seed: 5,
                fault,
                hold: None,
            },
            done: "kill h1/node".to_owned(),
            held: Duration::from_secs(2),
            recovered: true,
            changes: Changes::default(),
            writes: gap,
            linearizable: gap,
            bounded: Gap::default(),
            any: Gap::default(),
            healthy_after: Duration::from_secs(1),
            answered: 100,
            unknown: 1,
            reads: 50,
            rows: 90,
            problems: problems.iter().map(|text| (*text).to_owned()).collect(),
        }
    }

    #[test]
    fn a_row_tells_the_median_the_worst_and_what_failed() {
        let report = Report {
            outcomes: vec![
                outcome(Fault::WriterKill, 900, &[]),
                outcome(Fault::WriterKill, 100, &[]),
                outcome(Fault::WriterKill, 3_000, &["Lost(7)"]),
            ],
            unavailable: vec![(Fault::WalFull, "no small disk".to_owned())],
            broken: vec![(Fault::HostSilent, 9, "not healthy".to_owned())],
            verified: vec![Err("results differ at height 3".to_owned())],
        };
        let rows = report.rows();
        assert_eq!((rows.len(), rows[0].injections, rows[0].failed), (1, 3, 1));
        assert_eq!(
            (rows[0].writes_ms, rows[0].writes_client_ms),
            ([900, 3_000], [1_800, 6_000])
        );
        assert_eq!(report.failures(), 3);
        let text = report.markdown();
        for wanted in [
            "3 injections",
            "Lost(7)",
            "seed 5",
            "wal-full",
            "host-silent",
            "seed 9",
        ] {
            assert!(text.contains(wanted), "{wanted}: {text}");
        }
    }

    #[test]
    fn the_error_budget_counts_outages_that_heal_by_themselves() {
        let nothing = Report::default();
        assert_eq!(nothing.error_budget().faults_a_year, None);
        assert!(nothing.markdown().contains("0 stopped writes"));
        let report = Report {
            outcomes: vec![
                outcome(Fault::WriterKill, 2_000, &[]),
                outcome(Fault::WriterKill, 1_000, &[]),
                outcome(Fault::PrimaryKill, 4_000, &[]),
                outcome(Fault::EtcdQuorum, 90_000, &[]),
            ],
            ..Report::default()
        };
        let expected = ErrorBudget {
            budget_ms: 3_153_000,
            injections: 3,
            outages: 2,
            outage_ms: 6_000,
            faults_a_year: Some(1_576),
        };
        assert_eq!(report.error_budget(), expected);
        let text = report.markdown();
        assert!(
            text.contains("6.0 s in all: room for 1576 such faults a year"),
            "{text}"
        );
        assert_eq!(report.json()["error_budget"]["outage_ms"], 6_000);
    }
}
