//! What became of an import (pure). Owns: outcomes per payment, batch and file, and the reasons that the ledger's
//! results stand for.

use crate::model::{Declared, Issue, Party, Reason, Source};
use crate::money::Decimal;
use ledger::{CreateTransferResult, TransferId};

/// What became of one payment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Booked by this import.
    Settled,
    /// Booked by an earlier import of the same; nothing changed.
    AlreadySettled,
    /// Not booked; why. Never empty.
    Refused(Vec<Issue>),
    /// Not known: the import broke off before the ledger answered. Importing the file again tells.
    Pending,
}

impl Outcome {
    /// Whether it stands in the ledger.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        matches!(self, Self::Settled | Self::AlreadySettled)
    }
}

/// One payment and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PaymentReport {
    /// Where it begins in the file.
    pub line: u64,
    /// `InstrId`.
    pub instruction_id: Option<String>,
    /// `EndToEndId`.
    pub end_to_end_id: Option<String>,
    /// `UETR`.
    pub uetr: Option<String>,
    /// As given, if it could be read.
    pub amount: Option<Decimal>,
    /// As given.
    pub currency: Option<String>,
    /// Its transfer, when it got as far as the ledger.
    pub transfer: Option<TransferId>,
    /// What became of it.
    pub outcome: Outcome,
}

/// A batch (`PmtInf`) and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchReport {
    /// `PmtInfId`.
    pub id: String,
    /// What it claimed.
    pub declared: Declared,
    /// What barred all of it.
    pub issues: Vec<Issue>,
    /// In order.
    pub payments: Vec<PaymentReport>,
}

/// A file and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportReport {
    /// What kind of file.
    pub source: Source,
    /// `MsgId`.
    pub message_id: String,
    /// `CreDtTm`.
    pub created: Option<String>,
    /// `InitgPty`.
    pub initiator: Party,
    /// What its header claimed.
    pub declared: Declared,
    /// What barred all of it.
    pub issues: Vec<Issue>,
    /// In order.
    pub batches: Vec<BatchReport>,
    /// Accounts that exist otherwise than the mapping has them (code, flags); they were used as they are.
    pub notes: Vec<String>,
}

/// Counts of an import.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Booked now.
    pub settled: u64,
    /// Booked before.
    pub already_settled: u64,
    /// Not booked.
    pub refused: u64,
    /// Not answered.
    pub pending: u64,
}

impl Totals {
    /// Adds one payment.
    fn count(mut self, outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Settled => self.settled += 1,
            Outcome::AlreadySettled => self.already_settled += 1,
            Outcome::Refused(_) => self.refused += 1,
            Outcome::Pending => self.pending += 1,
        }
        self
    }

    /// All of them.
    #[must_use]
    pub fn all(&self) -> u64 {
        self.settled + self.already_settled + self.refused + self.pending
    }

    /// In the ledger now.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.settled + self.already_settled
    }
}

impl BatchReport {
    /// Its counts.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.payments.iter().fold(Totals::default(), |totals, payment| {
            totals.count(&payment.outcome)
        })
    }
}

impl ImportReport {
    /// Counts over all batches.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let payments = self.batches.iter().flat_map(|batch| &batch.payments);
        payments.fold(Totals::default(), |totals, payment| {
            totals.count(&payment.outcome)
        })
    }

    /// For scripts: counts, and every refusal with line, identification, code and text.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        let totals = self.totals();
        let refused: Vec<_> = self
            .batches
            .iter()
            .flat_map(|batch| batch.payments.iter().map(move |payment| (batch, payment)))
            .filter_map(|(batch, payment)| refusal_json(batch, payment))
            .collect();
        serde_json::json!({
            "message_id": self.message_id,
            "settled": totals.settled,
            "already_settled": totals.already_settled,
            "refused": totals.refused,
            "pending": totals.pending,
            "refusals": refused,
            "notes": self.notes,
        })
    }
}

fn refusal_json(batch: &BatchReport, payment: &PaymentReport) -> Option<serde_json::Value> {
    let Outcome::Refused(issues) = &payment.outcome else {
        return None;
    };
    let reasons: Vec<_> = issues
        .iter()
        .map(|issue| {
            serde_json::json!({
                "line": issue.line, "path": issue.path, "code": issue.reason.code(), "text": issue.text,
            })
        })
        .collect();
    Some(serde_json::json!({
        "line": payment.line,
        "payment_information_id": batch.id,
        "instruction_id": payment.instruction_id,
        "end_to_end_id": payment.end_to_end_id,
        "amount": payment.amount.map(Decimal::to_text),
        "currency": payment.currency,
        "reasons": reasons,
    }))
}

/// What a result of the ledger means for a payment; `None` for the two that mean that it stands.
#[must_use]
pub fn refusal(result: CreateTransferResult) -> Option<(Reason, String)> {
    use CreateTransferResult as R;
    let (reason, text) = match result {
        R::Created | R::Exists => return None,
        R::ExceedsCredits => (
            Reason::InsufficientFunds,
            "the debtor's account has not enough funds",
        ),
        R::ExceedsDebits => (
            Reason::NotAllowedAmount,
            "the creditor's account may not be credited that much",
        ),
        R::DebitAccountAlreadyClosed => (Reason::ClosedAccount, "the debtor's account is closed"),
        R::CreditAccountAlreadyClosed => (Reason::ClosedCreditorAccount, "the creditor's account is closed"),
        R::DebitAccountNotFound => (
            Reason::InvalidDebtorAccount,
            "the debtor's account does not exist",
        ),
        R::CreditAccountNotFound => (
            Reason::InvalidCreditorAccount,
            "the creditor's account does not exist",
        ),
        R::AccountsMustBeDifferent => (
            Reason::InvalidCreditorAccount,
            "debtor and creditor are the same account",
        ),
        R::IdAlreadyFailed => (
            Reason::Narrative,
            "was refused by an earlier import; give it a new identification to try again",
        ),
        R::ExistsWithDifferentFlags
        | R::ExistsWithDifferentPendingId
        | R::ExistsWithDifferentTimeout
        | R::ExistsWithDifferentDebitAccountId
        | R::ExistsWithDifferentCreditAccountId
        | R::ExistsWithDifferentAmount
        | R::ExistsWithDifferentUserData128
        | R::ExistsWithDifferentUserData64
        | R::ExistsWithDifferentUserData32
        | R::ExistsWithDifferentLedger
        | R::ExistsWithDifferentCode
        | R::ExistsWithDifferentMetadata => {
            let text = "the same identification was booked before with other contents";
            return Some((Reason::Duplicate, format!("{text} ({result})")));
        }
        R::OverflowsDebitsPosted | R::OverflowsCreditsPosted | R::OverflowsDebits | R::OverflowsCredits => {
            (Reason::NotAllowedAmount, "the account's totals would overflow")
        }
        other => return Some((Reason::Narrative, format!("the ledger refused it: {other}"))),
    };
    Some((reason, text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_result_of_the_ledger_is_either_settled_or_has_a_reason() {
        for result in CreateTransferResult::ALL {
            let settled = matches!(
                result,
                CreateTransferResult::Created | CreateTransferResult::Exists
            );
            assert_eq!(refusal(*result).is_none(), settled, "{result}");
            if result.name().starts_with("exists_with_different") {
                assert_eq!(refusal(*result).map(|r| r.0), Some(Reason::Duplicate), "{result}");
            }
        }
    }

    #[test]
    fn codes_of_reasons_are_all_different() {
        let mut codes: Vec<_> = Reason::ALL.iter().map(|reason| reason.code()).collect();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), Reason::ALL.len());
    }
}
