//! Payments as files give them (pure), whatever the format. Owns: the types between the readers and the import.

use crate::ident::AccountRef;
use crate::money::Decimal;
use jiff::civil::Date;

/// A version of pain.001.001 that is read: 3 to 13.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pain001Version(u8);

impl Pain001Version {
    /// The oldest that is read.
    pub const FIRST: Self = Self(3);
    /// The newest that is read.
    pub const LAST: Self = Self(13);

    /// The version with that number, if it is read.
    #[must_use]
    pub fn new(number: u8) -> Option<Self> {
        let version = Self(number);
        (Self::FIRST..=Self::LAST).contains(&version).then_some(version)
    }

    /// All that are read, the oldest first.
    pub fn all() -> impl Iterator<Item = Self> {
        (Self::FIRST.0..=Self::LAST.0).map(Self)
    }

    /// Its number.
    #[must_use]
    pub fn number(self) -> u8 {
        self.0
    }

    /// The name of the message, `pain.001.001.09` for example.
    #[must_use]
    pub fn message_name(self) -> String {
        format!("pain.001.001.{:02}", self.0)
    }

    /// The number of the pain.002.001 version published in the same message set: the standard's own numbers
    /// part ways after version 8.
    #[must_use]
    pub fn status_report_number(self) -> u8 {
        match self.0 {
            older @ ..=8 => older,
            9 => 10,
            10 => 11,
            11 => 12,
            12 => 14,
            _ => 15,
        }
    }
}

/// What kind of file a group of payments came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// ISO 20022.
    Pain001(Pain001Version),
    /// Columns.
    Csv,
}

/// A file of payments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Initiation {
    /// What kind of file.
    pub source: Source,
    /// `MsgId`.
    pub message_id: String,
    /// `CreDtTm` as given.
    pub created: Option<String>,
    /// `InitgPty`.
    pub initiator: Party,
    /// What the header claims.
    pub declared: Declared,
    /// `PmtInf`, in order.
    pub batches: Vec<Batch>,
    /// What is wrong with the file as a whole: nothing of it is booked.
    pub issues: Vec<Issue>,
}

/// Counts and sums that a header claims; each may be missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Declared {
    /// `NbOfTxs`.
    pub count: Option<u64>,
    /// Where it stands; 0 without one.
    pub count_line: u64,
    /// `CtrlSum`.
    pub sum: Option<Decimal>,
    /// Where it stands; 0 without one.
    pub sum_line: u64,
}

/// A person or company.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Party {
    /// `Nm`.
    pub name: Option<String>,
    /// The first identification found.
    pub id: Option<String>,
}

/// A bank.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Agent {
    /// `BIC` or `BICFI`, in capitals, of the right form.
    pub bic: Option<String>,
    /// `ClrSysMmbId/MmbId`.
    pub member_id: Option<String>,
}

/// An account as a payment names it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NamedAccount {
    /// `None` when missing, or when it was given but is invalid: then there is an issue.
    pub account: Option<AccountRef>,
    /// `Ccy`.
    pub currency: Option<String>,
}

/// `PmtInf`: payments of one debtor.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// Where it begins.
    pub line: u64,
    /// `PmtInfId`.
    pub id: String,
    /// What it claims.
    pub declared: Declared,
    /// `ReqdExctnDt`.
    pub execution_date: Option<Date>,
    /// `CtgyPurp`, for the code of the transfers.
    pub category_purpose: Option<String>,
    /// `Dbtr`.
    pub debtor: Party,
    /// `DbtrAcct`.
    pub debtor_account: NamedAccount,
    /// `DbtrAgt`.
    pub debtor_agent: Agent,
    /// In order.
    pub payments: Vec<Payment>,
    /// What is wrong with all of it: none of its payments is booked.
    pub issues: Vec<Issue>,
}

/// `CdtTrfTxInf`: one payment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Payment {
    /// Where it begins.
    pub line: u64,
    /// `InstrId`.
    pub instruction_id: Option<String>,
    /// `EndToEndId`.
    pub end_to_end_id: Option<String>,
    /// `UETR`.
    pub uetr: Option<String>,
    /// `InstdAmt`, not yet in minor units.
    pub amount: Option<Decimal>,
    /// Of `InstdAmt`.
    pub currency: Option<String>,
    /// `Cdtr`.
    pub creditor: Party,
    /// `CdtrAcct`.
    pub creditor_account: NamedAccount,
    /// `CdtrAgt`.
    pub creditor_agent: Agent,
    /// `Purp` or `CtgyPurp`.
    pub purpose: Option<String>,
    /// `RmtInf`: lines and references.
    pub remittance: Vec<String>,
    /// What is wrong with it: it is not booked.
    pub issues: Vec<Issue>,
}

/// Something that bars a payment, a batch or a file from being booked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issue {
    /// Where it was seen, from 1; 0 when it concerns all of it.
    pub line: u64,
    /// Path of the element or name of the column.
    pub path: String,
    /// For the status report.
    pub reason: Reason,
    /// For people.
    pub text: String,
}

/// Why a payment is refused, by the code that the status report carries (ISO 20022 external code set of status reasons).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// AC01: the account number is not of a valid form.
    IncorrectAccountNumber,
    /// AC02: the debtor's account is missing, invalid or not ours.
    InvalidDebtorAccount,
    /// AC03: the creditor's account is missing or invalid.
    InvalidCreditorAccount,
    /// AC04: the debtor's account is closed.
    ClosedAccount,
    /// AC07: the creditor's account is closed.
    ClosedCreditorAccount,
    /// AC10: the debtor's account is held in another currency.
    DebtorAccountCurrency,
    /// AC11: the creditor's account is held in another currency.
    CreditorAccountCurrency,
    /// AG03: this kind of payment is not supported.
    NotSupported,
    /// AM01: nothing to pay.
    ZeroAmount,
    /// AM02: the amount cannot be booked.
    NotAllowedAmount,
    /// AM03: the currency is not known here.
    UnknownCurrency,
    /// AM04: not enough funds.
    InsufficientFunds,
    /// AM05: the identification was used before.
    Duplicate,
    /// AM10: the control sum is not the sum of the amounts.
    ControlSum,
    /// AM12: the amount is not a valid one for its currency.
    InvalidAmount,
    /// AM18: the number of payments is not the one claimed.
    PaymentCount,
    /// DT01: the date is invalid.
    InvalidDate,
    /// FF01: the file's form is wrong.
    FileFormat,
    /// RC03: the debtor's bank is not identified validly.
    DebtorAgent,
    /// RC04: the creditor's bank is not identified validly, or there is no way to it.
    CreditorAgent,
    /// NARR: see the text.
    Narrative,
}

impl Reason {
    /// Every reason, for tables and tests.
    pub const ALL: &'static [Self] = &[
        Self::IncorrectAccountNumber,
        Self::InvalidDebtorAccount,
        Self::InvalidCreditorAccount,
        Self::ClosedAccount,
        Self::ClosedCreditorAccount,
        Self::DebtorAccountCurrency,
        Self::CreditorAccountCurrency,
        Self::NotSupported,
        Self::ZeroAmount,
        Self::NotAllowedAmount,
        Self::UnknownCurrency,
        Self::InsufficientFunds,
        Self::Duplicate,
        Self::ControlSum,
        Self::InvalidAmount,
        Self::PaymentCount,
        Self::InvalidDate,
        Self::FileFormat,
        Self::DebtorAgent,
        Self::CreditorAgent,
        Self::Narrative,
    ];

    /// The four letters of the code set.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::IncorrectAccountNumber => "AC01",
            Self::InvalidDebtorAccount => "AC02",
            Self::InvalidCreditorAccount => "AC03",
            Self::ClosedAccount => "AC04",
            Self::ClosedCreditorAccount => "AC07",
            Self::DebtorAccountCurrency => "AC10",
            Self::CreditorAccountCurrency => "AC11",
            Self::NotSupported => "AG03",
            Self::ZeroAmount => "AM01",
            Self::NotAllowedAmount => "AM02",
            Self::UnknownCurrency => "AM03",
            Self::InsufficientFunds => "AM04",
            Self::Duplicate => "AM05",
            Self::ControlSum => "AM10",
            Self::InvalidAmount => "AM12",
            Self::PaymentCount => "AM18",
            Self::InvalidDate => "DT01",
            Self::FileFormat => "FF01",
            Self::DebtorAgent => "RC03",
            Self::CreditorAgent => "RC04",
            Self::Narrative => "NARR",
        }
    }
}
