//! From a payment to a transfer (pure). Owns: which accounts, which amount, which ids; control sums and counts.
//! Must not: ask the ledger.

use crate::ids;
use crate::mapping::{Currency, MappedAccount, Mapping, Unmapped};
use crate::model::{Agent, Batch, Declared, Initiation, Issue, NamedAccount, Party, Payment, Reason, Source};
use crate::money::{AmountError, Decimal};
use crate::port::NewTransfer;
use ledger::{Amount, Transfer, TransferFlags, TransferId};

/// A payment that can be booked.
#[derive(Clone, Debug)]
pub(crate) struct Planned {
    pub(crate) new: NewTransfer,
    pub(crate) debit: MappedAccount,
    pub(crate) credit: MappedAccount,
}

/// Where a payment stands.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) file: &'a Initiation,
    pub(crate) batch: &'a Batch,
    pub(crate) payment: &'a Payment,
    /// In its batch, from 0.
    pub(crate) index: usize,
}

/// What the file claims against what it holds: a difference bars all that the claim is about.
pub(crate) fn check_claims(declared: Declared, payments: &[&Payment], what: &str) -> Vec<Issue> {
    let mut issues = Vec::new();
    let mut add = |line, path: &str, reason, text| {
        issues.push(Issue {
            line,
            path: format!("{what}/{path}"),
            reason,
            text,
        });
    };
    let count = payments.len() as u64;
    if let Some(claimed) = declared.count
        && claimed != count
    {
        add(
            declared.count_line,
            "NbOfTxs",
            Reason::PaymentCount,
            format!("claims {claimed} payments, but there are {count}"),
        );
    }
    if let Some(claimed) = declared.sum {
        let mut sum = Some(Decimal::default());
        for payment in payments {
            sum = sum.and_then(|sum| sum.checked_add(payment.amount?));
        }
        match sum {
            Some(sum) if sum.same_value(claimed) => {}
            Some(sum) => {
                let (claimed, sum) = (claimed.to_text(), sum.to_text());
                add(
                    declared.sum_line,
                    "CtrlSum",
                    Reason::ControlSum,
                    format!("claims {claimed}, but the amounts add up to {sum}"),
                );
            }
            None => {
                let line = payments
                    .iter()
                    .find(|payment| payment.amount.is_none())
                    .map_or(0, |p| p.line);
                let text = format!("cannot be checked: the payment at line {line} has no valid amount");
                add(declared.sum_line, "CtrlSum", Reason::ControlSum, text);
            }
        }
    }
    issues
}

/// Turns a payment into a transfer, or says all that is in the way.
pub(crate) fn plan(mapping: &Mapping, place: Place<'_>) -> Result<Planned, Vec<Issue>> {
    let Place { batch, payment, .. } = place;
    let mut issues = payment.issues.clone();
    let line = payment.line;
    let mut add = |path: &str, reason, text: String| {
        issues.push(Issue {
            line,
            path: path.to_owned(),
            reason,
            text,
        });
    };
    let currency = payment.currency.as_deref().and_then(|code| {
        let known = mapping.currency(code);
        if known.is_none() {
            add(
                "currency",
                Reason::UnknownCurrency,
                format!("currency {code:?} is not known here"),
            );
        }
        known
    });
    let mut amount = Amount(0);
    let mut accounts = None;
    if let Some(currency) = currency {
        match payment.amount.map(|amount| amount.to_minor(currency.scale)) {
            Some(Ok(Amount(0))) => add("amount", Reason::ZeroAmount, AmountError::Zero.to_string()),
            Some(Ok(minor)) => amount = minor,
            Some(Err(error)) => {
                let given = payment.amount.map(Decimal::to_text).unwrap_or_default();
                add(
                    "amount",
                    Reason::InvalidAmount,
                    format!("{given} {} {error}", currency.code),
                );
            }
            None => {}
        }
        let debit = debtor_account(mapping, batch, currency, &mut add);
        let credit = creditor_account(mapping, payment, currency, &mut add);
        accounts = debit.zip(credit);
        if let Some((debit, credit)) = &accounts {
            check_pair(mapping, debit, credit, &mut add);
        }
    }
    match accounts {
        Some((debit, credit)) if issues.is_empty() => {
            let metadata = metadata(place);
            let transfer = Transfer {
                id: transfer_id(place),
                debit_account_id: debit.id(),
                credit_account_id: credit.id(),
                amount,
                user_data_128: ids::payment_reference(reference(payment)),
                user_data_64: file_reference(place),
                user_data_32: batch.execution_date.map_or(0, as_number),
                ledger: debit.new.account.ledger,
                code: mapping.payment_code(payment.purpose.as_deref().or(batch.category_purpose.as_deref())),
                flags: TransferFlags::empty(),
                ..Transfer::default()
            };
            Ok(Planned {
                new: NewTransfer {
                    transfer,
                    metadata: Some(metadata),
                },
                debit,
                credit,
            })
        }
        _ => Err(issues),
    }
}

/// A CSV file has no name of its own that would survive another row being added, so its batch stands in.
fn file_reference(place: Place<'_>) -> u64 {
    match place.file.source {
        Source::Csv => ids::file_reference("csv", &place.batch.id),
        Source::Pain001(_) => ids::file_reference(party_key(&place.file.initiator), &place.file.message_id),
    }
}

/// What identifies the payment for ever. Payments that say nothing of themselves are told apart by their place.
pub(crate) fn transfer_id(place: Place<'_>) -> TransferId {
    let Place {
        file,
        batch,
        payment,
        index,
    } = place;
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let (instruction, uetr) = (text(&payment.instruction_id), text(&payment.uetr));
    if file.source == Source::Csv {
        return ids::transfer_id(&["csv", &batch.id, &instruction]);
    }
    let end_to_end = provided(payment.end_to_end_id.as_deref()).unwrap_or("");
    // `NOTPROVIDED` tells nothing apart wherever it stands; yet as part of the id each text stays what was given,
    // so that ids of payments that are told apart by another one never change.
    let is_told_apart = [&payment.instruction_id, &payment.end_to_end_id, &payment.uetr]
        .iter()
        .any(|id| provided(id.as_deref()).is_some());
    let position = if is_told_apart {
        String::new()
    } else {
        (index + 1).to_string()
    };
    let initiator = party_key(&file.initiator);
    ids::transfer_id(&[
        "pain.001",
        initiator,
        &file.message_id,
        &batch.id,
        &instruction,
        end_to_end,
        &uetr,
        &position,
    ])
}

fn provided(id: Option<&str>) -> Option<&str> {
    id.filter(|id| !matches!(*id, "" | "NOTPROVIDED" | "NOT PROVIDED"))
}

fn party_key(party: &Party) -> &str {
    party.id.as_deref().or(party.name.as_deref()).unwrap_or("")
}

/// What the payer calls it: the UETR, else the end-to-end identification.
fn reference(payment: &Payment) -> &str {
    payment
        .uetr
        .as_deref()
        .or(provided(payment.end_to_end_id.as_deref()))
        .unwrap_or("")
}

/// 2026-11-22 as 20261122; 0 for years before the first.
fn as_number(date: jiff::civil::Date) -> u32 {
    let year = u32::try_from(date.year()).unwrap_or(0);
    let (month, day) = (date.month().unsigned_abs(), date.day().unsigned_abs());
    year * 10_000 + u32::from(month) * 100 + u32::from(day)
}

type Add<'a> = dyn FnMut(&str, Reason, String) + 'a;

fn debtor_account(
    mapping: &Mapping,
    batch: &Batch,
    currency: &Currency,
    add: &mut Add<'_>,
) -> Option<MappedAccount> {
    const PATH: &str = "DbtrAcct";
    let named = &batch.debtor_account;
    let Some(account) = &named.account else {
        // An invalid one was already told with its batch.
        add(
            PATH,
            Reason::InvalidDebtorAccount,
            "the debtor's account is missing".to_owned(),
        );
        return None;
    };
    match mapping.own_account(account, named.currency.as_deref(), currency) {
        Ok(mapped) => Some(mapped),
        Err(Unmapped::NoRule) if mapping.accepts_foreign_debtors() => {
            let found = clearing(mapping, &batch.debtor_agent, named, currency);
            if found.is_none() {
                let text = format!("{account} is at another bank, and there is no clearing account for it");
                add(PATH, Reason::DebtorAgent, text);
            }
            found
        }
        Err(Unmapped::NoRule) => {
            add(
                PATH,
                Reason::InvalidDebtorAccount,
                format!("{account} is not an account of this bank"),
            );
            None
        }
        Err(error) => {
            add(
                PATH,
                Reason::DebtorAccountCurrency,
                other_currency(named, currency, error),
            );
            None
        }
    }
}

fn creditor_account(
    mapping: &Mapping,
    payment: &Payment,
    currency: &Currency,
    add: &mut Add<'_>,
) -> Option<MappedAccount> {
    const PATH: &str = "CdtrAcct";
    let named = &payment.creditor_account;
    let own = named
        .account
        .as_ref()
        .map(|account| mapping.own_account(account, named.currency.as_deref(), currency));
    match own {
        Some(Ok(mapped)) => Some(mapped),
        Some(Err(error @ (Unmapped::Currency | Unmapped::Differs))) => {
            add(
                PATH,
                Reason::CreditorAccountCurrency,
                other_currency(named, currency, error),
            );
            None
        }
        _ if named.account.is_none() => {
            let told = payment
                .issues
                .iter()
                .any(|issue| issue.reason == Reason::InvalidCreditorAccount);
            if !told {
                add(
                    PATH,
                    Reason::InvalidCreditorAccount,
                    "the creditor's account is missing".to_owned(),
                );
            }
            None
        }
        _ if mapping.is_own_agent(&payment.creditor_agent) => {
            add(
                PATH,
                Reason::InvalidCreditorAccount,
                "is not an account of this bank".to_owned(),
            );
            None
        }
        _ => {
            let found = clearing(mapping, &payment.creditor_agent, named, currency);
            if found.is_none() {
                let code = &currency.code;
                let text = format!("there is no clearing account for the creditor's bank in {code}");
                add("CdtrAgt", Reason::CreditorAgent, text);
            }
            found
        }
    }
}

fn clearing(
    mapping: &Mapping,
    agent: &Agent,
    named: &NamedAccount,
    currency: &Currency,
) -> Option<MappedAccount> {
    mapping
        .clearing_account(agent, named.account.as_ref(), currency)
        .ok()
}

fn other_currency(named: &NamedAccount, currency: &Currency, error: Unmapped) -> String {
    let code = &currency.code;
    match (&named.currency, error) {
        (Some(named), Unmapped::Differs) => {
            format!(
                "the account is held in {named}, the payment is in {code}; currencies are not exchanged here"
            )
        }
        _ => format!("the account is not held in {code}; currencies are not exchanged here"),
    }
}

fn check_pair(mapping: &Mapping, debit: &MappedAccount, credit: &MappedAccount, add: &mut Add<'_>) {
    use ids::AccountKind::Clearing;
    if debit.id() == credit.id() {
        let text = "debtor and creditor are the same account".to_owned();
        add("CdtrAcct", Reason::InvalidCreditorAccount, text);
    } else if debit.kind == Clearing && credit.kind == Clearing && mapping.accepts_foreign_debtors() {
        let text = "neither the debtor's nor the creditor's account is at this bank".to_owned();
        add("DbtrAcct", Reason::InvalidDebtorAccount, text);
    }
}

/// At most this many bytes are kept with a transfer.
const METADATA_BYTES_MAX: usize = 4_096;
/// What remains of the remittance lines when the whole is too long.
const REMITTANCE_BYTES_CUT: usize = 1_500;
/// The standard's longest name.
const NAME_CHARS_MAX: usize = 140;

/// What the ledger keeps beside the transfer, as JSON with sorted keys: the same bytes at every import. When
/// something had to be cut, a hash of the whole stands in for it, so that a change is still seen.
fn metadata(place: Place<'_>) -> String {
    let whole = metadata_of(place, usize::MAX, None);
    let long_name = [&place.batch.debtor.name, &place.payment.creditor.name]
        .into_iter()
        .flatten()
        .any(|name| name.chars().count() > NAME_CHARS_MAX);
    if whole.len() <= METADATA_BYTES_MAX && !long_name {
        return whole;
    }
    let hash = ids::sha256_hex(whole.as_bytes());
    let cut = metadata_of(place, REMITTANCE_BYTES_CUT, Some(&hash));
    // Escapes can make a text six times as long; then the hash alone has to do.
    if cut.len() <= METADATA_BYTES_MAX {
        cut
    } else {
        format!("{{\"whole_sha256\":\"{hash}\"}}")
    }
}

fn metadata_of(place: Place<'_>, remittance_bytes: usize, hash: Option<&str>) -> String {
    let Place {
        file, batch, payment, ..
    } = place;
    let name = |party: &Party| {
        let name = party.name.clone()?;
        Some(if hash.is_some() {
            name.chars().take(NAME_CHARS_MAX).collect()
        } else {
            name
        })
    };
    let account = |named: &NamedAccount| named.account.as_ref().map(ToString::to_string);
    let agent = |agent: &Agent| agent.bic.clone().or(agent.member_id.clone());
    let mut remittance = String::new();
    for line in &payment.remittance {
        let separator = usize::from(!remittance.is_empty());
        if remittance.len() + separator + line.len() > remittance_bytes {
            break;
        }
        if separator == 1 {
            remittance.push('\n');
        }
        remittance.push_str(line);
    }
    let fields: [(&str, Option<String>); 14] = [
        ("creditor_account", account(&payment.creditor_account)),
        ("creditor_agent", agent(&payment.creditor_agent)),
        ("creditor_name", name(&payment.creditor)),
        ("debtor_account", account(&batch.debtor_account)),
        ("debtor_agent", agent(&batch.debtor_agent)),
        ("debtor_name", name(&batch.debtor)),
        ("end_to_end_id", payment.end_to_end_id.clone()),
        ("instruction_id", payment.instruction_id.clone()),
        (
            "message_id",
            (file.source != Source::Csv).then(|| file.message_id.clone()),
        ),
        (
            "payment_information_id",
            Some(batch.id.clone()).filter(|id| !id.is_empty()),
        ),
        (
            "purpose",
            payment.purpose.clone().or_else(|| batch.category_purpose.clone()),
        ),
        ("remittance", Some(remittance).filter(|text| !text.is_empty())),
        ("uetr", payment.uetr.clone()),
        ("whole_sha256", hash.map(str::to_owned)),
    ];
    let mut json = String::from("{");
    for (key, value) in fields.into_iter().filter_map(|(key, value)| Some((key, value?))) {
        if json.len() > 1 {
            json.push(',');
        }
        json.push('"');
        json.push_str(key);
        json.push_str("\":");
        json.push_str(&serde_json::Value::from(value).to_string());
    }
    json.push('}');
    json
}

/// Plans every payment of a file, for its effect on nothing: fuzzing calls it.
pub(crate) fn plan_everything(mapping: &Mapping, file: &Initiation) {
    for batch in &file.batches {
        let payments: Vec<&Payment> = batch.payments.iter().collect();
        check_claims(batch.declared, &payments, "PmtInf");
        for (index, payment) in batch.payments.iter().enumerate() {
            let planned = plan(
                mapping,
                Place {
                    file,
                    batch,
                    payment,
                    index,
                },
            );
            if let Ok(planned) = planned {
                // What is kept with a transfer is bounded, whatever was read.
                let bytes = planned.new.metadata.as_ref().map_or(0, String::len);
                assert!(bytes <= METADATA_BYTES_MAX, "metadata of {bytes} bytes");
            }
        }
    }
}
