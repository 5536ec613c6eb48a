//! The mapping file's own form: TOML, every key typed, unknown ones refused (pure).

use super::{Currency, matches_prefix};
use crate::{AccountRef, Located, ident, iso4217};
use ledger::{AccountFlags, LedgerId};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use toml::Spanned;

/// The whole file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MappingFile {
    pub(super) bank: Bank,
    #[serde(default)]
    pub(super) opening: Opening,
    #[serde(default)]
    pub(super) transfer_codes: TransferCodes,
    #[serde(default)]
    pub(super) csv: CsvOptions,
    /// Own accounts whose rule forbids overdrafts, but which have one.
    #[serde(default)]
    overdraft: Vec<Spanned<String>>,
    currency: Vec<Spanned<CurrencyRule>>,
    pub(super) own: Vec<Spanned<OwnRule>>,
    #[serde(default)]
    pub(super) clearing: Vec<Spanned<ClearingRule>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Bank {
    pub(super) name: String,
    /// Of 8 or 11 characters; one of 8 stands for all its branches.
    #[serde(default)]
    pub(super) bics: Vec<String>,
    #[serde(default)]
    pub(super) accept_foreign_debtors: bool,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Opening {
    pub(super) account: String,
    pub(super) code: u16,
}

impl Default for Opening {
    fn default() -> Self {
        Self {
            account: "OPENING-EQUITY".to_owned(),
            code: 3_900,
        }
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct TransferCodes {
    pub(super) payment: u16,
    pub(super) opening: u16,
    /// By `Purp` or `CtgyPurp`.
    pub(super) purpose: BTreeMap<String, u16>,
}

impl Default for TransferCodes {
    fn default() -> Self {
        Self {
            payment: 1,
            opening: 2,
            purpose: BTreeMap::new(),
        }
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct CsvOptions {
    pub(super) encoding: Option<String>,
    pub(super) decimal_comma: bool,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CurrencyRule {
    code: String,
    /// Default: the numeric code of ISO 4217.
    ledger: Option<u32>,
    /// Default: the minor units of ISO 4217.
    scale: Option<u8>,
    name: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OwnRule {
    /// `?` stands for any character.
    pub(super) iban_prefix: Option<String>,
    /// For identifications that are no IBAN.
    pub(super) scheme: Option<String>,
    /// `?` stands for any character; may be empty to take the whole scheme.
    pub(super) id_prefix: Option<String>,
    pub(super) code: u16,
    #[serde(default)]
    pub(super) flags: Vec<FlagName>,
    /// Empty: all.
    #[serde(default)]
    pub(super) currencies: Vec<String>,
    /// Whether one identification holds an account in each currency.
    #[serde(default)]
    pub(super) per_currency: bool,
}

impl OwnRule {
    /// Whether the account is one that this rule is about.
    pub(super) fn takes(&self, account: &AccountRef) -> bool {
        match account {
            AccountRef::Iban(iban) => self
                .iban_prefix
                .as_ref()
                .is_some_and(|pattern| matches_prefix(pattern, iban)),
            AccountRef::Other { scheme, id } => self.id_prefix.as_ref().is_some_and(|pattern| {
                self.scheme.as_deref().unwrap_or("") == scheme && matches_prefix(pattern, id)
            }),
        }
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ClearingRule {
    pub(super) agent: Option<String>,
    pub(super) iban_prefix: Option<String>,
    pub(super) currency: Option<String>,
    pub(super) account: String,
    pub(super) code: u16,
    #[serde(default)]
    pub(super) flags: Vec<FlagName>,
}

/// The flags that make sense for accounts made on first use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum FlagName {
    DebitsMustNotExceedCredits,
    CreditsMustNotExceedDebits,
    History,
}

impl FlagName {
    pub(super) fn flag(self) -> AccountFlags {
        match self {
            Self::DebitsMustNotExceedCredits => AccountFlags::DEBITS_MUST_NOT_EXCEED_CREDITS,
            Self::CreditsMustNotExceedDebits => AccountFlags::CREDITS_MUST_NOT_EXCEED_DEBITS,
            Self::History => AccountFlags::HISTORY,
        }
    }
}

/// A mapping file and what its texts stand for.
pub(super) struct Parsed {
    pub(super) file: MappingFile,
    pub(super) currencies: BTreeMap<String, Currency>,
    pub(super) overdraft: BTreeSet<AccountRef>,
}

pub(super) fn parse(text: &str) -> Result<Parsed, Located> {
    let file: MappingFile = toml::from_str(text).map_err(|error| {
        let line = error.span().map_or(0, |span| line_of(text, span.start));
        let field = error.span().map_or("", |span| key_at(text, span.start));
        Located::new(
            line,
            field,
            error.message().lines().collect::<Vec<_>>().join("; "),
        )
    })?;
    let currencies = currencies(text, &file)?;
    check_bank(&file)?;
    for (index, rule) in file.own.iter().enumerate() {
        let line = line_of(text, rule.span().start);
        check_own(rule.get_ref(), &currencies)
            .map_err(|(field, why)| Located::new(line, format!("own[{index}].{field}"), why))?;
    }
    for (index, rule) in file.clearing.iter().enumerate() {
        let line = line_of(text, rule.span().start);
        check_clearing(rule.get_ref(), &currencies)
            .map_err(|(field, why)| Located::new(line, format!("clearing[{index}].{field}"), why))?;
    }
    let overdraft = overdraft(text, &file)?;
    Ok(Parsed {
        file,
        currencies,
        overdraft,
    })
}

/// Accounts that may be overdrawn, each one that a rule can take: a text that never applies is a mistake.
fn overdraft(text: &str, file: &MappingFile) -> Result<BTreeSet<AccountRef>, Located> {
    let mut accounts = BTreeSet::new();
    for (index, spanned) in file.overdraft.iter().enumerate() {
        let given = spanned.get_ref();
        let wrong = |why: String| {
            let line = line_of(text, spanned.span().start);
            Located::new(line, format!("overdraft[{index}]"), format!("{given:?} {why}"))
        };
        let account = AccountRef::parse(given).map_err(|error| wrong(error.to_string()))?;
        if !file.own.iter().any(|rule| rule.get_ref().takes(&account)) {
            return Err(wrong(
                "is no account that a rule of [[own]] takes; write it as an IBAN or SCHEME:ID".to_owned(),
            ));
        }
        accounts.insert(account);
    }
    Ok(accounts)
}

fn line_of(text: &str, at: usize) -> u64 {
    let before = text.as_bytes().get(..at).unwrap_or(text.as_bytes());
    1 + before.iter().filter(|byte| **byte == b'\n').count() as u64
}

/// The key on the line of a mistake, if there is one.
fn key_at(text: &str, at: usize) -> &str {
    let start = text
        .get(..at)
        .and_then(|before| before.rfind('\n'))
        .map_or(0, |newline| newline + 1);
    let line = text
        .get(start..)
        .and_then(|rest| rest.lines().next())
        .unwrap_or("");
    line.split_once('=').map_or(line, |(key, _)| key).trim()
}

fn currencies(text: &str, file: &MappingFile) -> Result<BTreeMap<String, Currency>, Located> {
    let mut currencies: BTreeMap<String, Currency> = BTreeMap::new();
    for (index, spanned) in file.currency.iter().enumerate() {
        let line = line_of(text, spanned.span().start);
        let wrong =
            |field: &str, why: String| Err(Located::new(line, format!("currency[{index}].{field}"), why));
        let rule = spanned.get_ref();
        let iso = iso4217::iso_currency(&rule.code);
        if rule.code.is_empty() || rule.code.len() > 16 {
            return wrong("code", "must have 1 to 16 bytes".to_owned());
        }
        let Some(ledger) = rule
            .ledger
            .or(iso.map(|iso| u32::from(iso.number)))
            .filter(|ledger| *ledger > 0)
        else {
            return wrong(
                "ledger",
                format!(
                    "{} is not in ISO 4217, so a ledger (not 0) must be given",
                    rule.code
                ),
            );
        };
        let Some(scale) = rule
            .scale
            .or(iso.map(|iso| iso.minor_units))
            .filter(|scale| *scale <= 18)
        else {
            return wrong("scale", format!("{} needs a scale from 0 to 18", rule.code));
        };
        let name = rule.name.clone().unwrap_or_else(|| rule.code.clone());
        if name.len() > 128 {
            return wrong("name", "must have at most 128 bytes".to_owned());
        }
        if currencies.values().any(|other| other.ledger.0 == ledger) {
            return wrong("ledger", format!("ledger {ledger} already has a currency"));
        }
        let currency = Currency {
            code: rule.code.clone(),
            ledger: LedgerId(ledger),
            scale,
            name,
        };
        if currencies.insert(rule.code.clone(), currency).is_some() {
            return wrong("code", format!("{} is there twice", rule.code));
        }
    }
    Ok(currencies)
}

fn check_bank(file: &MappingFile) -> Result<(), Located> {
    for bic in &file.bank.bics {
        if ident::parse_bic(bic).as_ref() != Ok(bic) {
            return Err(Located::new(
                0,
                "bank.bics",
                format!("{bic:?} is not a BIC in capitals"),
            ));
        }
    }
    for (field, code) in [
        ("opening.code", file.opening.code),
        ("transfer_codes.payment", file.transfer_codes.payment),
        ("transfer_codes.opening", file.transfer_codes.opening),
    ] {
        if code == 0 {
            return Err(Located::new(0, field, "must not be 0"));
        }
    }
    if let Some((purpose, _)) = file.transfer_codes.purpose.iter().find(|(_, code)| **code == 0) {
        return Err(Located::new(
            0,
            format!("transfer_codes.purpose.{purpose}"),
            "must not be 0",
        ));
    }
    Ok(())
}

type Wrong = (&'static str, String);

fn check_own(rule: &OwnRule, currencies: &BTreeMap<String, Currency>) -> Result<(), Wrong> {
    match (&rule.iban_prefix, &rule.id_prefix) {
        (Some(prefix), None) => {
            let form = |c: char| c == '?' || c.is_ascii_uppercase() || c.is_ascii_digit();
            if prefix.len() < 5 || !prefix.chars().all(form) {
                let why = "needs country, check digits (??) and bank code, in capitals, for example KZ??998";
                return Err(("iban_prefix", why.to_owned()));
            }
        }
        (None, Some(_)) => {}
        _ => {
            return Err((
                "iban_prefix",
                "exactly one of iban_prefix and id_prefix must be given".to_owned(),
            ));
        }
    }
    if rule.scheme.is_some() && rule.id_prefix.is_none() {
        return Err(("scheme", "goes with id_prefix only".to_owned()));
    }
    check_code_and_flags(rule.code, &rule.flags)?;
    match rule
        .currencies
        .iter()
        .find(|code| !currencies.contains_key(*code))
    {
        Some(code) => Err(("currencies", format!("{code:?} is not among [[currency]]"))),
        None => Ok(()),
    }
}

fn check_clearing(rule: &ClearingRule, currencies: &BTreeMap<String, Currency>) -> Result<(), Wrong> {
    if rule.account.is_empty() || rule.account.len() > 70 {
        return Err(("account", "must have 1 to 70 bytes".to_owned()));
    }
    check_code_and_flags(rule.code, &rule.flags)?;
    match rule
        .currency
        .as_ref()
        .filter(|code| !currencies.contains_key(*code))
    {
        Some(code) => Err(("currency", format!("{code:?} is not among [[currency]]"))),
        None => Ok(()),
    }
}

fn check_code_and_flags(code: u16, flags: &[FlagName]) -> Result<(), Wrong> {
    if code == 0 {
        return Err(("code", "must not be 0".to_owned()));
    }
    let both = [
        FlagName::DebitsMustNotExceedCredits,
        FlagName::CreditsMustNotExceedDebits,
    ];
    if both.iter().all(|flag| flags.contains(flag)) {
        return Err((
            "flags",
            "debits_must_not_exceed_credits excludes credits_must_not_exceed_debits".to_owned(),
        ));
    }
    Ok(())
}
