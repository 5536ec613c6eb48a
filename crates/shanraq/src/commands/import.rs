//! `shanraq import`: payment files into a running node. Owns: files in, status reports out.

use crate::port::GrpcPort;
use crate::progress::Bar;
use crate::remote::{Remote, RemoteArgs};
use anyhow::{Context, Result, ensure};
use clap::Args;
use ledger::TimestampNs;
use payments::{
    ImportReport, Initiation, Mapping, OpeningReport, Outcome, StatusReportHeader, import_opening_balances,
    import_payments, read_csv, read_pain001, write_status_report,
};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// Book payment files: ISO 20022 pain.001 (001.03 to 001.13) and CSV. Repeating an import changes nothing.
///
/// Exits with 2 when payments were refused; each file's status report (pain.002) says which and why.
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
    let mut summaries = Vec::new();
    let mut complete = true;
    if let Some(path) = &args.opening {
        let bytes = read(path)?;
        let summary = opening(&bytes, &file_name(path), &mapping, &mut port)?;
        complete &= summary.refused == 0;
        summaries.push(summary);
    }
    for path in &args.files {
        let directory = args
            .reports
            .as_deref()
            .or(path.parent())
            .unwrap_or(Path::new("."));
        let summary = payments_file(&read(path)?, &file_name(path), &mapping, &mut port, directory)?;
        complete &= summary.refused == 0;
        summaries.push(summary);
    }
    if args.remote.json {
        let all: Vec<Value> = summaries.iter().map(Summary::to_json).collect();
        println!("{}", serde_json::to_string_pretty(&all)?);
    } else {
        summaries.iter().for_each(Summary::print);
    }
    Ok(complete)
}

/// What became of a file.
pub struct Summary {
    file: String,
    settled: u64,
    already_settled: u64,
    /// Payments or balances that were not booked.
    pub refused: u64,
    reasons: BTreeMap<&'static str, Refusals>,
    notes: Vec<String>,
    report: Option<PathBuf>,
}

/// Payments refused for one reason.
#[derive(Clone, Debug, Default, serde::Serialize)]
struct Refusals {
    count: u64,
    example: String,
}

impl Summary {
    /// For people.
    pub fn print(&self) {
        let Self {
            file,
            settled,
            already_settled,
            refused,
            ..
        } = self;
        println!("{file}: {settled} settled, {already_settled} settled before, {refused} refused");
        for (reason, Refusals { count, example }) in &self.reasons {
            println!("    {reason} {count:>6}  such as: {example}");
        }
        for note in &self.notes {
            println!("    note: {note}");
        }
        if let Some(report) = &self.report {
            println!("    status report: {}", report.display());
        }
    }

    /// For scripts.
    pub fn to_json(&self) -> Value {
        json!({
            "file": self.file,
            "settled": self.settled,
            "already_settled": self.already_settled,
            "refused": self.refused,
            "reasons": self.reasons,
            "notes": self.notes,
            "status_report": self.report,
        })
    }
}

/// Books opening balances.
pub fn opening(bytes: &[u8], name: &str, mapping: &Mapping, port: &mut GrpcPort) -> Result<Summary> {
    let bar = Bar::new(name);
    let reports: Vec<OpeningReport> =
        import_opening_balances(bytes, mapping, port, &mut |progress| bar.show(progress))
            .with_context(|| format!("{name} was not booked as a whole"))?;
    Ok(summary(
        name,
        reports.iter().map(|report| &report.outcome),
        Vec::new(),
        None,
    ))
}

/// Books a payment file, pain.001 or CSV, and writes its status report.
pub fn payments_file(
    bytes: &[u8],
    name: &str,
    mapping: &Mapping,
    port: &mut GrpcPort,
    reports: &Path,
) -> Result<Summary> {
    let bar = Bar::new(name);
    let file = parse(bytes, name, mapping, &bar)?;
    let report = import_payments(mapping, &file, port, &mut |progress| bar.show(progress))
        .with_context(|| format!("{name} was not booked to its end; importing it again is safe"))?;
    let path = write_report(&report, name, mapping, reports)?;
    let payments = report
        .batches
        .iter()
        .flat_map(|batch| &batch.payments)
        .map(|payment| &payment.outcome);
    let mut summary = summary(name, payments, report.notes.clone(), Some(path));
    for issue in &report.issues {
        summary
            .notes
            .push(format!("the whole file: {} {}", issue.reason.code(), issue.text));
    }
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
    std::fs::create_dir_all(directory)?;
    let path = directory.join(format!("{name}.pain002.xml"));
    let file = std::fs::File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    let mut written = write_status_report(report, &header, std::io::BufWriter::new(file))?;
    std::io::Write::flush(&mut written)?;
    Ok(path)
}

fn summary<'a>(
    name: &str,
    outcomes: impl Iterator<Item = &'a Outcome>,
    notes: Vec<String>,
    report: Option<PathBuf>,
) -> Summary {
    let mut summary = Summary {
        file: name.to_owned(),
        settled: 0,
        already_settled: 0,
        refused: 0,
        reasons: BTreeMap::new(),
        notes,
        report,
    };
    for outcome in outcomes {
        match outcome {
            Outcome::Settled => summary.settled += 1,
            Outcome::AlreadySettled => summary.already_settled += 1,
            Outcome::Refused(issues) => {
                summary.refused += 1;
                let Some(issue) = issues.first() else { continue };
                let refusals = summary.reasons.entry(issue.reason.code()).or_default();
                refusals.count += 1;
                if refusals.example.is_empty() {
                    refusals.example = format!("line {}: {}", issue.line, issue.text);
                }
            }
        }
    }
    summary
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
