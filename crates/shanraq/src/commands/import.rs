//! `shanraq import`: payment files into a running node. Owns: files in, status reports out, and that what became of
//! every file is told, whatever became of the others.

mod reports;

use crate::port::GrpcPort;
use crate::progress::Bar;
use crate::remote::{Remote, RemoteArgs};
use anyhow::{Context, Error, Result, anyhow, ensure};
use clap::Args;
use ledger::TimestampNs;
use payments::{
    ImportFailure, ImportReport, Initiation, Issue, LedgerPort, Mapping, OpeningReport, Outcome,
    PaymentsError, StatusReportHeader, import_opening_balances, import_payments, read_csv, read_pain001,
};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// Book payment files: ISO 20022 pain.001 (001.03 to 001.13) and CSV. Repeating an import changes nothing.
///
/// Exits with 2 when payments were refused; each file's status report (pain.002) says which and why. Exits with 1 when
/// a file could not be imported to its end; the files after it are imported all the same, unless the ledger no longer
/// answers or it is the opening balances that failed. A report never overwrites an earlier one that says otherwise, but
/// takes a number: NAME.2.pain002.xml.
#[derive(Debug, Args)]
pub struct ImportArgs {
    #[command(flatten)]
    remote: RemoteArgs,
    /// Says which accounts are our bank's own and how others settle; see docs/payments.md.
    #[arg(long)]
    mapping: PathBuf,
    /// Opening balances (CSV), booked before the payments.
    #[arg(long)]
    opening: Option<PathBuf>,
    /// Where status reports are written; default: beside each file.
    #[arg(long)]
    reports: Option<PathBuf>,
    /// Payment files.
    #[arg(required = true)]
    files: Vec<PathBuf>,
}

/// Runs the command; false when something was refused.
pub fn run(args: &ImportArgs) -> Result<bool> {
    let mapping = Mapping::read(&args.mapping)?;
    let mut port = GrpcPort::new(Remote::connect(&args.remote.address)?);
    let summaries = import_all(args, &mapping, &mut port);
    if args.remote.json {
        let all: Vec<Value> = summaries.iter().map(Summary::to_json).collect();
        println!("{}", serde_json::to_string_pretty(&all)?);
    } else {
        summaries.iter().for_each(Summary::print);
    }
    let failed = summaries.iter().filter(|summary| summary.error.is_some()).count();
    let of = summaries.len();
    ensure!(
        failed == 0,
        "{failed} of {of} files could not be imported to their end"
    );
    Ok(summaries.iter().all(|summary| summary.refused == 0))
}

/// Imports every file, however the others fare. Two things stop the rest: opening balances that fail, since a payment
/// that is refused for want of them could never be made again, and a ledger that no longer answers.
fn import_all(args: &ImportArgs, mapping: &Mapping, port: &mut dyn LedgerPort) -> Vec<Summary> {
    let mut summaries = Vec::new();
    let mut barrier = None;
    if let Some(path) = &args.opening {
        let name = file_name(path);
        let done = read(path).and_then(|bytes| opening(&bytes, &name, mapping, port));
        let summary = Summary::of(&name, done);
        if summary.error.is_some() {
            barrier = Some("was not begun, since the opening balances failed");
        }
        summaries.push(summary);
    }
    for path in &args.files {
        let name = file_name(path);
        let summary = match barrier {
            Some(why) => Summary::of(&name, Err(anyhow!(why))),
            None => Summary::of(&name, file_at(path, &name, args, mapping, port)),
        };
        if barrier.is_none() && summary.is_without_answer() {
            barrier = Some("was not begun, since the ledger no longer answers");
        }
        summaries.push(summary);
    }
    summaries
}

fn file_at(
    path: &Path,
    name: &str,
    args: &ImportArgs,
    mapping: &Mapping,
    port: &mut dyn LedgerPort,
) -> Result<Summary> {
    let bytes = read(path)?;
    if reports::is_report(name, &bytes) {
        let mut summary = Summary::new(name);
        summary
            .notes
            .push("a status report of an import, no payments: passed over".to_owned());
        return Ok(summary);
    }
    let beside = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let reports = args.reports.as_deref().or(beside);
    payments_file(&bytes, name, mapping, port, reports.unwrap_or(Path::new(".")))
}

/// What became of a file.
pub struct Summary {
    file: String,
    settled: u64,
    already_settled: u64,
    /// Payments or balances that were not booked.
    pub refused: u64,
    /// Payments that the ledger did not answer.
    pending: u64,
    reasons: BTreeMap<&'static str, Refusals>,
    /// Every opening balance that was refused; what else is refused stands in the status report.
    refusals: Option<Vec<Refusal>>,
    notes: Vec<String>,
    report: Option<PathBuf>,
    /// Why it could not be imported to its end.
    error: Option<Error>,
}

/// An opening balance that was refused.
#[derive(Clone, Debug, serde::Serialize)]
struct Refusal {
    line: u64,
    account: String,
    currency: String,
    code: &'static str,
    text: String,
}

/// Payments refused for one reason.
#[derive(Clone, Debug, Default, serde::Serialize)]
struct Refusals {
    count: u64,
    example: String,
}

impl Summary {
    fn new(name: &str) -> Self {
        Self {
            file: name.to_owned(),
            settled: 0,
            already_settled: 0,
            refused: 0,
            pending: 0,
            reasons: BTreeMap::new(),
            refusals: None,
            notes: Vec::new(),
            report: None,
            error: None,
        }
    }

    fn of(name: &str, done: Result<Self>) -> Self {
        done.unwrap_or_else(|error| Self {
            error: Some(error),
            ..Self::new(name)
        })
    }

    /// An error when the file could not be imported to its end.
    pub fn complete(mut self) -> Result<Self> {
        match self.error.take() {
            None => Ok(self),
            Some(error) => Err(error),
        }
    }

    fn is_without_answer(&self) -> bool {
        let causes = self.error.iter().flat_map(Error::chain);
        causes
            .filter_map(|cause| cause.downcast_ref())
            .any(|error| matches!(error, PaymentsError::Port(_) | PaymentsError::Answer(_)))
    }

    fn count(&mut self, outcome: &Outcome) {
        let issues = match outcome {
            Outcome::Settled => return self.settled += 1,
            Outcome::AlreadySettled => return self.already_settled += 1,
            Outcome::Pending => return self.pending += 1,
            Outcome::Refused(issues) => issues,
        };
        self.refused += 1;
        let Some(issue) = issues.first() else { return };
        let refusals = self.reasons.entry(issue.reason.code()).or_default();
        refusals.count += 1;
        if refusals.example.is_empty() {
            refusals.example = told(issue);
        }
    }

    /// For people.
    pub fn print(&self) {
        print!("{}", self.text());
    }

    fn text(&self) -> String {
        let Self {
            file,
            settled,
            already_settled,
            refused,
            ..
        } = self;
        let mut lines = vec![format!(
            "{file}: {settled} settled, {already_settled} settled before, {refused} refused"
        )];
        if self.pending > 0 {
            lines[0] += &format!(", {} not answered", self.pending);
        }
        let in_short = self.reasons.iter().filter(|_| self.refusals.is_none());
        for (reason, Refusals { count, example }) in in_short {
            lines.push(format!("    {reason} {count:>6}  such as: {example}"));
        }
        for refusal in self.refusals.iter().flatten() {
            let Refusal {
                line,
                account,
                currency,
                code,
                text,
            } = refusal;
            lines.push(format!("    line {line}: {account} {currency}: {code} {text}"));
        }
        lines.extend(self.notes.iter().map(|note| format!("    note: {note}")));
        if let Some(report) = &self.report {
            lines.push(format!("    status report: {}", report.display()));
        }
        if let Some(error) = &self.error {
            lines.push(format!("    error: {error:#}"));
        }
        lines.join("\n") + "\n"
    }

    /// For scripts.
    pub fn to_json(&self) -> Value {
        let mut value = json!({
            "file": self.file,
            "settled": self.settled,
            "already_settled": self.already_settled,
            "refused": self.refused,
            "not_answered": self.pending,
            "reasons": self.reasons,
            "notes": self.notes,
            "status_report": self.report,
        });
        if let Some(refusals) = &self.refusals {
            value["refusals"] = json!(refusals);
        }
        if let Some(error) = &self.error {
            value["error"] = json!(format!("{error:#}"));
        }
        value
    }
}

fn told(issue: &Issue) -> String {
    match issue.line {
        0 => issue.text.clone(),
        line => format!("line {line}: {}", issue.text),
    }
}

/// Books opening balances.
pub fn opening(bytes: &[u8], name: &str, mapping: &Mapping, port: &mut dyn LedgerPort) -> Result<Summary> {
    let bar = Bar::new(name);
    let reports: Vec<OpeningReport> =
        import_opening_balances(bytes, mapping, port, &mut |progress| bar.show(progress))
            .with_context(|| format!("{name} was not booked as a whole"))?;
    let mut summary = Summary::new(name);
    reports.iter().for_each(|report| summary.count(&report.outcome));
    summary.refusals = Some(reports.iter().flat_map(refusals).collect());
    Ok(summary)
}

fn refusals(report: &OpeningReport) -> Vec<Refusal> {
    let issues = match &report.outcome {
        Outcome::Refused(issues) => issues.as_slice(),
        _ => &[],
    };
    let refusal = |issue: &Issue| Refusal {
        line: report.line,
        account: report.account.clone(),
        currency: report.currency.clone(),
        code: issue.reason.code(),
        text: issue.text.clone(),
    };
    issues.iter().map(refusal).collect()
}

/// Books a payment file, pain.001 or CSV, and writes its status report; also when the ledger stops answering midway.
pub fn payments_file(
    bytes: &[u8],
    name: &str,
    mapping: &Mapping,
    port: &mut dyn LedgerPort,
    reports: &Path,
) -> Result<Summary> {
    let bar = Bar::new(name);
    let file = parse(bytes, name, mapping, &bar)?;
    let broke_off = || format!("{name} was not booked to its end; importing it again is safe");
    let (report, mut error) = match import_payments(mapping, &file, port, &mut |progress| bar.show(progress))
    {
        Ok(report) => (report, None),
        Err(ImportFailure {
            error,
            report: Some(report),
        }) => (*report, Some(Error::new(error).context(broke_off()))),
        Err(failure) => return Err(failure.error).with_context(broke_off),
    };
    let mut summary = Summary::new(name);
    let payments = report.batches.iter().flat_map(|batch| &batch.payments);
    payments.for_each(|payment| summary.count(&payment.outcome));
    summary.notes.clone_from(&report.notes);
    for issue in &report.issues {
        summary
            .notes
            .push(format!("the whole file: {} {}", issue.reason.code(), told(issue)));
    }
    match write_report(&report, name, mapping, reports) {
        Ok(path) => summary.report = Some(path),
        Err(unwritten) => error = error.or(Some(unwritten.context("the status report was not written"))),
    }
    summary.error = error;
    Ok(summary)
}

fn parse(bytes: &[u8], name: &str, mapping: &Mapping, bar: &Bar) -> Result<Initiation> {
    let is_csv = Path::new(name)
        .extension()
        .is_some_and(|extension| extension.eq_ignore_ascii_case("csv"));
    let mut progress = |progress| bar.show(progress);
    let file = if is_csv {
        read_csv(bytes, mapping, &mut progress)
    } else {
        read_pain001(bytes, &mut progress)
    };
    file.with_context(|| format!("{name} is refused; nothing of it was booked"))
}

fn write_report(report: &ImportReport, name: &str, mapping: &Mapping, directory: &Path) -> Result<PathBuf> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos();
    let created = TimestampNs(u64::try_from(now)?);
    let header = StatusReportHeader {
        message_id: format!("S{:x}", created.0),
        created,
        agent_bic: mapping.bank_bic().map(str::to_owned),
    };
    reports::keep(report, &header, directory, name)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    let length = std::fs::metadata(path)
        .with_context(|| format!("cannot read {}", path.display()))?
        .len();
    let most = payments::FILE_BYTES_MAX;
    ensure!(
        length <= most,
        "{} has {length} bytes; at most {most} are read",
        path.display()
    );
    std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

fn file_name(path: &Path) -> String {
    path.file_name()
        .unwrap_or(path.as_os_str())
        .to_string_lossy()
        .into_owned()
}

#[cfg(test)]
mod tests;
