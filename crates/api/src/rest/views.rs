//! Answers in JSON (pure). Owns: their shape. 64- and 128-bit numbers are decimal strings, flags are names.

use super::page::{self, Kind};
use crate::error::ApiError;
use crate::placement::Place as WriterPlace;
use crate::settings::SettingsStatus;
use ledger::{AccountReply, Balances, LedgerDescription, RowKind, TransferReply};
use node::{AccountView, BalanceAt, Page, Status, TransferView, TrialBalance, TrialBalanceLine};
use serde::ser::{Serialize, SerializeSeq, Serializer};
use serde_json::value::RawValue;
use wire::flags;

/// A number as a decimal string.
pub(crate) struct Text(pub u128);

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

fn text64(number: u64) -> Text {
    Text(u128::from(number))
}

struct Names<I>(I);

impl<I: Iterator<Item = &'static str> + Clone> Serialize for Names<I> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut names = serializer.serialize_seq(None)?;
        for name in self.0.clone() {
            names.serialize_element(name)?;
        }
        names.end()
    }
}

/// The four totals of an account.
#[derive(serde::Serialize)]
pub(crate) struct Totals {
    debits_pending: Text,
    debits_posted: Text,
    credits_pending: Text,
    credits_posted: Text,
}

impl From<&Balances> for Totals {
    fn from(balances: &Balances) -> Self {
        Self {
            debits_pending: Text(balances.debits_pending.0),
            debits_posted: Text(balances.debits_posted.0),
            credits_pending: Text(balances.credits_pending.0),
            credits_posted: Text(balances.credits_posted.0),
        }
    }
}

/// The results of a request's events.
#[derive(serde::Serialize)]
pub(crate) struct Results {
    pub results: Vec<EventResult>,
}

/// The result of one event.
#[derive(serde::Serialize)]
pub(crate) struct EventResult {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<Text>,
    result: &'static str,
    timestamp: Text,
    #[serde(skip_serializing_if = "Option::is_none")]
    debit_account: Option<Totals>,
    #[serde(skip_serializing_if = "Option::is_none")]
    credit_account: Option<Totals>,
}

/// The id is given where the client did not choose it.
pub(crate) fn account_result(reply: &AccountReply, id: Option<u128>) -> EventResult {
    EventResult {
        id: id.map(Text),
        result: reply.result.name(),
        timestamp: text64(reply.timestamp.0),
        debit_account: None,
        credit_account: None,
    }
}

/// As [`account_result`].
pub(crate) fn transfer_result(reply: &TransferReply, id: Option<u128>) -> EventResult {
    use ledger::CreateTransferResult::{Created, Exists};
    let stands = matches!(reply.result, Created | Exists);
    EventResult {
        id: id.map(Text),
        result: reply.result.name(),
        timestamp: text64(reply.timestamp.0),
        debit_account: stands.then(|| Totals::from(&reply.debit)),
        credit_account: stands.then(|| Totals::from(&reply.credit)),
    }
}

/// The result of a transaction.
#[derive(serde::Serialize)]
pub(crate) struct TransactionResult {
    pub result: &'static str,
    pub id: Text,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed_transfer: Option<usize>,
    pub transfers: Vec<EventResult>,
}

/// The result of a ledger's description.
#[derive(serde::Serialize)]
pub(crate) struct Described {
    pub result: &'static str,
}

/// Stored text, as it is.
fn metadata(json: Option<Vec<u8>>) -> Result<Option<Box<RawValue>>, ApiError> {
    let raw = |json| RawValue::from_string(String::from_utf8(json).ok()?).ok();
    json.map(|json| {
        raw(json).ok_or_else(|| {
            tracing::error!("stored metadata is not JSON");
            ApiError::Fault
        })
    })
    .transpose()
}

/// An account as JSON.
pub(crate) fn account(view: AccountView) -> Result<impl Serialize, ApiError> {
    #[derive(serde::Serialize)]
    struct Account<F: Serialize> {
        id: Text,
        #[serde(flatten)]
        totals: Totals,
        user_data_128: Text,
        user_data_64: Text,
        user_data_32: u32,
        ledger: u32,
        code: u16,
        flags: F,
        timestamp: Text,
        #[serde(skip_serializing_if = "Option::is_none")]
        metadata: Option<Box<RawValue>>,
    }
    let account = &view.account;
    Ok(Account {
        id: Text(account.id.0),
        totals: Totals::from(&account.balances),
        user_data_128: Text(account.user_data_128),
        user_data_64: text64(account.user_data_64),
        user_data_32: account.user_data_32,
        ledger: account.ledger.0,
        code: account.code.0,
        flags: Names(flags::names_of(account.flags.bits(), flags::account_names())),
        timestamp: text64(account.timestamp.0),
        metadata: metadata(view.metadata)?,
    })
}

/// A row of history as JSON.
pub(crate) fn transfer(view: TransferView) -> Result<impl Serialize, ApiError> {
    #[derive(serde::Serialize)]
    struct Transfer<F: Serialize> {
        kind: &'static str,
        id: Text,
        debit_account_id: Text,
        credit_account_id: Text,
        amount: Text,
        pending_id: Text,
        user_data_128: Text,
        user_data_64: Text,
        user_data_32: u32,
        timeout: u32,
        ledger: u32,
        code: u16,
        flags: F,
        timestamp: Text,
        debit_account: Totals,
        credit_account: Totals,
        #[serde(skip_serializing_if = "Option::is_none")]
        metadata: Option<Box<RawValue>>,
    }
    let (row, transfer) = (&view.row, &view.row.transfer);
    Ok(Transfer {
        kind: if row.kind == RowKind::Expired {
            "expiry"
        } else {
            "transfer"
        },
        id: Text(transfer.id.0),
        debit_account_id: Text(transfer.debit_account_id.0),
        credit_account_id: Text(transfer.credit_account_id.0),
        amount: Text(transfer.amount.0),
        pending_id: Text(transfer.pending_id.0),
        user_data_128: Text(transfer.user_data_128),
        user_data_64: text64(transfer.user_data_64),
        user_data_32: transfer.user_data_32,
        timeout: transfer.timeout,
        ledger: transfer.ledger.0,
        code: transfer.code.0,
        flags: Names(flags::names_of(transfer.flags.bits(), flags::transfer_names())),
        timestamp: text64(transfer.timestamp.0),
        debit_account: Totals::from(&row.debit_balances),
        credit_account: Totals::from(&row.credit_balances),
        metadata: metadata(view.metadata)?,
    })
}

/// `{"accounts": […], "next_page": …}`
#[derive(serde::Serialize)]
pub(crate) struct Accounts<A> {
    accounts: Vec<A>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_page: Option<String>,
}

/// Accounts and the way to the next page.
pub(crate) fn accounts(page: Page<AccountView>) -> Result<Accounts<impl Serialize>, ApiError> {
    let next_page = page.next.map(|after| page::token(Kind::Accounts, after));
    Ok(Accounts {
        accounts: page.items.into_iter().map(account).collect::<Result<_, _>>()?,
        next_page,
    })
}

/// `{"transfers": […], "next_page": …}`
#[derive(serde::Serialize)]
pub(crate) struct Transfers<T> {
    transfers: Vec<T>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_page: Option<String>,
}

/// Transfers and the way to the next page.
pub(crate) fn transfers(page: Page<TransferView>) -> Result<Transfers<impl Serialize>, ApiError> {
    let next_page = page.next.map(|after| page::token(Kind::Transfers, after));
    Ok(Transfers {
        transfers: page.items.into_iter().map(transfer).collect::<Result<_, _>>()?,
        next_page,
    })
}

/// An account's totals at a moment.
#[derive(serde::Serialize)]
pub(crate) struct Balance {
    account_id: Text,
    timestamp: Text,
    #[serde(flatten)]
    totals: Totals,
}

pub(crate) fn balance(account: u128, at: &BalanceAt) -> Balance {
    Balance {
        account_id: Text(account),
        timestamp: text64(at.timestamp.0),
        totals: Totals::from(&at.balances),
    }
}

/// What is known of a ledger.
#[derive(serde::Serialize)]
pub(crate) struct Ledger {
    ledger: u32,
    name: String,
    currency: String,
    scale: u8,
}

impl From<LedgerDescription> for Ledger {
    fn from(description: LedgerDescription) -> Self {
        Self {
            ledger: description.ledger.0,
            name: description.name,
            currency: description.currency,
            scale: description.scale,
        }
    }
}

/// `{"ledgers": […]}`
#[derive(serde::Serialize)]
pub(crate) struct Ledgers {
    pub ledgers: Vec<Ledger>,
}

/// A ledger's totals at one height.
#[derive(serde::Serialize)]
pub(crate) struct Trial {
    #[serde(flatten)]
    ledger: Ledger,
    height: Text,
    timestamp: Text,
    accounts: Text,
    totals: Totals,
    by_code: Vec<TrialLine>,
}

#[derive(serde::Serialize)]
struct TrialLine {
    code: u16,
    accounts: Text,
    #[serde(flatten)]
    totals: Totals,
}

impl From<TrialBalance> for Trial {
    fn from(trial: TrialBalance) -> Self {
        let line = |line: &TrialBalanceLine| TrialLine {
            code: line.code.0,
            accounts: text64(line.accounts),
            totals: Totals::from(&line.balances),
        };
        Self {
            height: text64(trial.height.0),
            timestamp: text64(trial.timestamp.0),
            accounts: text64(trial.accounts),
            totals: Totals::from(&trial.totals),
            by_code: trial.by_code.iter().map(line).collect(),
            ledger: trial.description.into(),
        }
    }
}

/// How the node is.
#[derive(serde::Serialize)]
pub(crate) struct Ready {
    ready: bool,
    height: Text,
    indexed: Text,
    epoch: Text,
}

impl From<&Status> for Ready {
    fn from(status: &Status) -> Self {
        Self {
            ready: status.writable,
            height: text64(status.height.0),
            indexed: text64(status.indexed.0),
            epoch: text64(status.epoch),
        }
    }
}

/// How the node is, and what it knows of the writer.
#[derive(serde::Serialize)]
pub(crate) struct NodeStatus<'a> {
    name: Option<&'a str>,
    role: &'static str,
    writer: Option<&'a str>,
    epoch: Text,
    height: Text,
    indexed: Text,
    reason: String,
    process_id: u32,
    settings: Option<AppliedSettings>,
}

/// The settings that a node applies.
#[derive(serde::Serialize)]
struct AppliedSettings {
    version: Option<Text>,
    origin: &'static str,
    problem: Option<String>,
}

impl From<SettingsStatus> for AppliedSettings {
    fn from(settings: SettingsStatus) -> Self {
        Self {
            version: settings.version.map(text64),
            origin: settings.origin,
            problem: settings.problem,
        }
    }
}

impl<'a> NodeStatus<'a> {
    pub(crate) fn new(
        status: &Status,
        name: Option<&'a str>,
        place: &'a WriterPlace,
        settings: Option<SettingsStatus>,
    ) -> Self {
        let (role, writer) = match place {
            WriterPlace::Here => ("writer", name),
            WriterPlace::At(writer, _) => ("follower", Some(writer.as_str())),
            WriterPlace::Nowhere => ("follower", None),
        };
        Self {
            name,
            role,
            writer,
            epoch: text64(status.epoch),
            height: text64(status.height.0),
            indexed: text64(status.indexed.0),
            reason: status.reason.clone(),
            process_id: std::process::id(),
            settings: settings.map(AppliedSettings::from),
        }
    }
}
