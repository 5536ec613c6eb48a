//! Books a file of payments. Owns: the order of work, and that nothing is booked of what is refused.
//!
//! Accounts first, then transfers, in the order of the file. A fault on the way leaves what was booked, and is told
//! together with what is known by then; importing the file again finds it and goes on, since every id is derived from
//! the file.

use crate::PaymentsError;
use crate::mapping::{MappedAccount, Mapping};
use crate::model::{Batch, Initiation, Issue, Payment, Reason, Source};
use crate::plan::{self, Place, Planned};
use crate::port::{LedgerPort, METADATA_BYTES_PER_CALL_MAX, NewAccount, NewTransfer};
use crate::progress::{Progress, Stage};
use crate::report::{self, BatchReport, ImportReport, Outcome, PaymentReport};
use ledger::{
    AccountId, CreateAccountResult, CreateTransferResult, DescribeLedgerResult, EVENTS_PER_REQUEST_MAX,
    LedgerId, TransferId,
};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt;

/// Books the payments of a file that was read, and says what became of each.
///
/// # Errors
/// When the ledger does not answer, or is described otherwise than the mapping has it. Whatever was booked by then
/// is found again by the next import of the same file.
pub fn import_payments(
    mapping: &Mapping,
    file: &Initiation,
    port: &mut dyn LedgerPort,
    progress: &mut dyn FnMut(Progress),
) -> Result<ImportReport, ImportFailure> {
    let mut report = draft(mapping, file);
    let mut planned = Vec::new();
    plan_all(mapping, file, &mut report, &mut planned);
    let mut accounts = Accounts::default();
    describe_ledgers(
        mapping,
        port,
        planned.iter().map(|at| at.plan.debit.new.account.ledger),
    )?;
    accounts.create(
        port,
        planned.iter().flat_map(|at| [&at.plan.debit, &at.plan.credit]),
    )?;
    let (ready, barred): (Vec<_>, Vec<_>) = planned
        .into_iter()
        .partition(|at| accounts.barred(&at.plan).is_none());
    for at in barred {
        let text = accounts.barred(&at.plan).unwrap_or_default().to_owned();
        let payment = &mut report.batches[at.batch].payments[at.payment];
        payment.outcome = refused(payment.line, "", Reason::Narrative, text);
    }
    report.notes = accounts.notes;
    match book(&ready, &mut report, port, progress) {
        Ok(()) => Ok(report),
        Err(error) => Err(ImportFailure {
            error,
            report: Some(Box::new(report)),
        }),
    }
}

/// An import that was not carried to its end.
#[derive(Debug)]
pub struct ImportFailure {
    /// What stopped it.
    pub error: PaymentsError,
    /// What is known of each payment, when booking had begun: those that the ledger did not answer are
    /// [`Outcome::Pending`].
    pub report: Option<Box<ImportReport>>,
}

impl fmt::Display for ImportFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl std::error::Error for ImportFailure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.error.source()
    }
}

impl From<PaymentsError> for ImportFailure {
    fn from(error: PaymentsError) -> Self {
        Self { error, report: None }
    }
}

impl From<ImportFailure> for PaymentsError {
    fn from(failure: ImportFailure) -> Self {
        failure.error
    }
}

fn book(
    ready: &[At],
    report: &mut ImportReport,
    port: &mut dyn LedgerPort,
    progress: &mut dyn FnMut(Progress),
) -> Result<(), PaymentsError> {
    let total = ready.len() as u64;
    let mut done = 0;
    for call in calls(ready, |at| at.plan.new.metadata.as_deref()) {
        let transfers: Vec<NewTransfer> = call.iter().map(|at| at.plan.new.clone()).collect();
        let replies = port.create_transfers(&transfers)?;
        same_count("transfers", transfers.len(), replies.len())?;
        for (at, reply) in call.iter().zip(&replies) {
            let payment = &mut report.batches[at.batch].payments[at.payment];
            payment.outcome = outcome(reply.result, payment.line);
        }
        done += call.len() as u64;
        progress(Progress {
            stage: Stage::Booking,
            done,
            total,
        });
    }
    Ok(())
}

/// Cuts events into calls as [`LedgerPort`] wants them, bounded in number and in bytes; the order stays.
pub(crate) fn calls<T>(events: &[T], metadata: impl Fn(&T) -> Option<&str>) -> impl Iterator<Item = &[T]> {
    let mut rest = events;
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fitting = rest
            .iter()
            .take(EVENTS_PER_REQUEST_MAX)
            .take_while(|event| {
                bytes += metadata(event).map_or(0, str::len);
                bytes <= METADATA_BYTES_PER_CALL_MAX
            })
            .count();
        // One event alone is never too large; should it be, refusing it is the ledger's.
        let (call, after) = rest.split_at(fitting.max(1).min(rest.len()));
        rest = after;
        (!call.is_empty()).then_some(call)
    })
}

/// A plan and where its outcome goes.
struct At {
    batch: usize,
    payment: usize,
    plan: Planned,
}

/// The report with what bars batches or all; each payment is still open.
fn draft(mapping: &Mapping, file: &Initiation) -> ImportReport {
    let all: Vec<&Payment> = file.batches.iter().flat_map(|batch| &batch.payments).collect();
    let mut issues = file.issues.clone();
    issues.extend(plan::check_claims(file.declared, &all, "GrpHdr"));
    let mut seen = HashSet::new();
    let batches = file
        .batches
        .iter()
        .map(|batch| {
            let mut issues = batch_issues(mapping, batch);
            if file.source != Source::Csv && !seen.insert(batch.id.as_str()) {
                let text = format!("PmtInfId {:?} is there twice in the file", batch.id);
                let line = batch.line;
                issues.push(Issue {
                    line,
                    path: "PmtInf/PmtInfId".to_owned(),
                    reason: Reason::Duplicate,
                    text,
                });
            }
            let payments = batch.payments.iter().map(open_report).collect();
            BatchReport {
                id: batch.id.clone(),
                declared: batch.declared,
                issues,
                payments,
            }
        })
        .collect();
    ImportReport {
        source: file.source,
        message_id: file.message_id.clone(),
        created: file.created.clone(),
        initiator: file.initiator.clone(),
        declared: file.declared,
        issues,
        batches,
        notes: Vec::new(),
    }
}

fn batch_issues(mapping: &Mapping, batch: &Batch) -> Vec<Issue> {
    let mut issues = batch.issues.clone();
    let payments: Vec<&Payment> = batch.payments.iter().collect();
    issues.extend(plan::check_claims(batch.declared, &payments, "PmtInf"));
    if let Some(bic) = batch.debtor_agent.bic.as_ref()
        && mapping.bank_bic().is_some()
        && !mapping.accepts_foreign_debtors()
        && !mapping.is_own_agent(&batch.debtor_agent)
    {
        let (line, path) = (batch.line, "PmtInf/DbtrAgt".to_owned());
        let text = format!("the debtor's bank is {bic}, which is not this bank");
        issues.push(Issue {
            line,
            path,
            reason: Reason::DebtorAgent,
            text,
        });
    }
    let told = issues
        .iter()
        .any(|issue| issue.reason == Reason::InvalidDebtorAccount);
    let own = batch
        .debtor_account
        .account
        .as_ref()
        .map(|account| (account, mapping.is_own(account)));
    let text = match own {
        None if !told => "the debtor's account is missing".to_owned(),
        Some((account, false)) if !mapping.accepts_foreign_debtors() => {
            format!("{account} is not an account of this bank")
        }
        _ => return issues,
    };
    let (line, path) = (batch.line, "PmtInf/DbtrAcct".to_owned());
    issues.push(Issue {
        line,
        path,
        reason: Reason::InvalidDebtorAccount,
        text,
    });
    issues
}

fn open_report(payment: &Payment) -> PaymentReport {
    PaymentReport {
        line: payment.line,
        instruction_id: payment.instruction_id.clone(),
        end_to_end_id: payment.end_to_end_id.clone(),
        uetr: payment.uetr.clone(),
        amount: payment.amount,
        currency: payment.currency.clone(),
        transfer: None,
        outcome: Outcome::Pending,
    }
}

fn refused(line: u64, path: &str, reason: Reason, text: String) -> Outcome {
    Outcome::Refused(vec![Issue {
        line,
        path: path.to_owned(),
        reason,
        text,
    }])
}

fn plan_all(mapping: &Mapping, file: &Initiation, report: &mut ImportReport, planned: &mut Vec<At>) {
    let file_issues = report.issues.clone();
    let mut seen: HashMap<TransferId, u64> = HashMap::new();
    for (batch_at, batch) in file.batches.iter().enumerate() {
        let mut barring = file_issues.clone();
        barring.extend(report.batches[batch_at].issues.iter().cloned());
        for (index, payment) in batch.payments.iter().enumerate() {
            let place = Place {
                file,
                batch,
                payment,
                index,
            };
            let slot = &mut report.batches[batch_at].payments[index];
            let id = plan::transfer_id(place);
            // The first of several keeps its place even when it is refused: which one was meant is not ours to guess.
            if let Some(first) = seen.get(&id) {
                let text = format!("the same identification as the payment at line {first}");
                slot.outcome = refused(payment.line, "PmtId", Reason::Duplicate, text);
                continue;
            }
            seen.insert(id, payment.line);
            if !barring.is_empty() {
                let mut issues = barring.clone();
                issues.extend(payment.issues.iter().cloned());
                slot.outcome = Outcome::Refused(issues);
                continue;
            }
            match plan::plan(mapping, place) {
                Err(issues) => slot.outcome = Outcome::Refused(issues),
                Ok(plan) => {
                    slot.transfer = Some(plan.new.transfer.id);
                    planned.push(At {
                        batch: batch_at,
                        payment: index,
                        plan,
                    });
                }
            }
        }
    }
}

fn outcome(result: CreateTransferResult, line: u64) -> Outcome {
    match report::refusal(result) {
        None if result == CreateTransferResult::Exists => Outcome::AlreadySettled,
        None => Outcome::Settled,
        Some((reason, text)) => refused(line, "", reason, text),
    }
}

/// Names each ledger once and gives it currency and scale, before anything is booked on it.
pub(crate) fn describe_ledgers(
    mapping: &Mapping,
    port: &mut dyn LedgerPort,
    used: impl Iterator<Item = LedgerId>,
) -> Result<(), PaymentsError> {
    for ledger in used.collect::<BTreeSet<_>>() {
        let Some(currency) = mapping.currency_of(ledger) else {
            continue;
        };
        let result = port.describe_ledger(&currency.description())?;
        match result {
            DescribeLedgerResult::Described | DescribeLedgerResult::Unchanged => {}
            refused => {
                let text = format!(
                    "cannot hold {} with {} decimals: {refused}",
                    currency.code, currency.scale
                );
                return Err(PaymentsError::Ledger {
                    ledger: ledger.0,
                    text,
                });
            }
        }
    }
    Ok(())
}

/// What is known of the accounts that payments use.
#[derive(Default)]
pub(crate) struct Accounts {
    /// Those that cannot be used, and why.
    barred: HashMap<AccountId, String>,
    /// Those that are there otherwise than the mapping has them.
    pub(crate) notes: Vec<String>,
}

impl Accounts {
    /// Creates each account once, in the order of first use.
    pub(crate) fn create<'a>(
        &mut self,
        port: &mut dyn LedgerPort,
        used: impl Iterator<Item = &'a MappedAccount>,
    ) -> Result<(), PaymentsError> {
        let mut seen = HashSet::new();
        let new: Vec<NewAccount> = used
            .filter(|account| seen.insert(account.id()))
            .map(|account| account.new.clone())
            .collect();
        for call in calls(&new, |account| account.metadata.as_deref()) {
            let replies = port.create_accounts(call)?;
            same_count("accounts", call.len(), replies.len())?;
            for (account, reply) in call.iter().zip(&replies) {
                self.settle(account, reply.result);
            }
        }
        Ok(())
    }

    fn settle(&mut self, new: &NewAccount, result: CreateAccountResult) {
        use CreateAccountResult as R;
        let name = new.metadata.as_deref().unwrap_or("");
        match result {
            R::Created | R::Exists => {}
            // Its rules are the ledger's to keep; the money goes to the same place.
            R::ExistsWithDifferentFlags
            | R::ExistsWithDifferentCode
            | R::ExistsWithDifferentUserData128
            | R::ExistsWithDifferentUserData64
            | R::ExistsWithDifferentUserData32
            | R::ExistsWithDifferentMetadata => {
                self.notes
                    .push(format!("account {name}: {result}; used as it is"));
            }
            refused => {
                let text = format!("account {name} cannot be used: {refused}");
                self.barred.insert(new.account.id, text);
            }
        }
    }

    fn barred(&self, plan: &Planned) -> Option<&str> {
        self.bars(&plan.debit).or_else(|| self.bars(&plan.credit))
    }

    /// Why the account cannot be used, if it cannot.
    pub(crate) fn bars(&self, account: &MappedAccount) -> Option<&str> {
        self.barred.get(&account.id()).map(String::as_str)
    }
}

pub(crate) fn same_count(what: &str, asked: usize, answered: usize) -> Result<(), PaymentsError> {
    if asked == answered {
        return Ok(());
    }
    Err(PaymentsError::Answer(format!(
        "{answered} results for {asked} {what}"
    )))
}
