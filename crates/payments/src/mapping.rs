//! The mapping file: which accounts are the bank's own, how others settle, which currencies there are.
//! Owns: its form and its checks, each error with file, line and field. Must not: know payments.

mod file;

use crate::ids::{self, AccountKind};
use crate::model::Agent;
use crate::port::NewAccount;
use crate::{AccountRef, PaymentsError};
use file::{ClearingRule, MappingFile, OwnRule};
use ledger::{Account, AccountFlags, AccountId, Code, LedgerDescription, LedgerId};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// A currency that payments may be in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Currency {
    /// As in files.
    pub code: String,
    /// Its ledger.
    pub ledger: LedgerId,
    /// Decimals of its amounts.
    pub scale: u8,
    /// For people.
    pub name: String,
}

impl Currency {
    /// As the ledger keeps it.
    #[must_use]
    pub fn description(&self) -> LedgerDescription {
        LedgerDescription {
            ledger: self.ledger,
            name: self.name.clone(),
            currency: self.code.clone(),
            scale: self.scale,
        }
    }
}

/// Why a named account leads to none of the ledger's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unmapped {
    /// Neither one of the bank's own nor reachable through a clearing account.
    NoRule,
    /// One of the bank's own, but not held in that currency.
    Currency,
    /// The account is named in one currency, the payment is in another, and the rule has one currency an account.
    Differs,
}

/// A mapping file, checked.
#[derive(Clone, Debug)]
pub struct Mapping {
    file: MappingFile,
    currencies: BTreeMap<String, Currency>,
    overdraft: BTreeSet<AccountRef>,
}

/// An account of the ledger that a payment leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MappedAccount {
    /// Whose it is.
    pub kind: AccountKind,
    /// As it is created on first use.
    pub new: NewAccount,
}

impl MappedAccount {
    /// Its id.
    #[must_use]
    pub fn id(&self) -> AccountId {
        self.new.account.id
    }
}

impl Mapping {
    /// Reads and checks a mapping file.
    ///
    /// # Errors
    /// [`PaymentsError::Mapping`] with file, line and field.
    pub fn read(path: &Path) -> Result<Self, PaymentsError> {
        let file = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|error| PaymentsError::Mapping {
            file: file.clone(),
            at: crate::Located::new(0, "", format!("cannot be read: {error}")),
        })?;
        Self::parse(&text, &file)
    }

    /// Checks the text of a mapping file; `name` is for messages.
    ///
    /// # Errors
    /// As [`Mapping::read`].
    pub fn parse(text: &str, name: &str) -> Result<Self, PaymentsError> {
        let file::Parsed {
            file,
            currencies,
            overdraft,
        } = file::parse(text).map_err(|at| PaymentsError::Mapping {
            file: name.to_owned(),
            at,
        })?;
        Ok(Self {
            file,
            currencies,
            overdraft,
        })
    }

    /// The currency with that code, if payments may be in it.
    #[must_use]
    pub fn currency(&self, code: &str) -> Option<&Currency> {
        self.currencies.get(code)
    }

    /// The currency of that ledger.
    #[must_use]
    pub fn currency_of(&self, ledger: LedgerId) -> Option<&Currency> {
        self.currencies
            .values()
            .find(|currency| currency.ledger == ledger)
    }

    /// All currencies, by code.
    pub fn currencies(&self) -> impl Iterator<Item = &Currency> {
        self.currencies.values()
    }

    /// The bank's name.
    #[must_use]
    pub fn bank_name(&self) -> &str {
        &self.file.bank.name
    }

    /// The bank's first BIC, for statements and reports.
    #[must_use]
    pub fn bank_bic(&self) -> Option<&str> {
        self.file.bank.bics.first().map(String::as_str)
    }

    /// Whether that bank is this one.
    #[must_use]
    pub fn is_own_agent(&self, agent: &Agent) -> bool {
        agent.bic.as_ref().is_some_and(|bic| {
            self.file
                .bank
                .bics
                .iter()
                .any(|own| bic.starts_with(own.as_str()))
        })
    }

    /// Whether payments from accounts at other banks are booked, through clearing.
    #[must_use]
    pub fn accepts_foreign_debtors(&self) -> bool {
        self.file.bank.accept_foreign_debtors
    }

    /// Whether the account is one of the bank's own.
    #[must_use]
    pub fn is_own(&self, account: &AccountRef) -> bool {
        self.own_rule(account).is_some()
    }

    /// The encoding of CSV files without byte order mark; `None`: UTF-8.
    #[must_use]
    pub fn csv_encoding(&self) -> Option<&str> {
        self.file.csv.encoding.as_deref()
    }

    /// Whether amounts in CSV files have a comma before their decimals.
    #[must_use]
    pub fn csv_decimal_comma(&self) -> bool {
        self.file.csv.decimal_comma
    }

    /// The code of a payment's transfer, by its purpose.
    #[must_use]
    pub fn payment_code(&self, purpose: Option<&str>) -> Code {
        let codes = &self.file.transfer_codes;
        Code(
            purpose
                .and_then(|purpose| codes.purpose.get(purpose).copied())
                .unwrap_or(codes.payment),
        )
    }

    /// The code of an opening balance's transfer.
    #[must_use]
    pub fn opening_code(&self) -> Code {
        Code(self.file.transfer_codes.opening)
    }

    /// The ledger's account for one of the bank's own identifications.
    ///
    /// # Errors
    /// When it is not one of the bank's own, or not in that currency.
    pub fn own_account(
        &self,
        account: &AccountRef,
        named_currency: Option<&str>,
        currency: &Currency,
    ) -> Result<MappedAccount, Unmapped> {
        let rule = self.own_rule(account).ok_or(Unmapped::NoRule)?;
        if !rule.per_currency && named_currency.is_some_and(|named| named != currency.code) {
            return Err(Unmapped::Differs);
        }
        if !rule.currencies.is_empty() && !rule.currencies.contains(&currency.code) {
            return Err(Unmapped::Currency);
        }
        let mut flags = flags_of(&rule.flags);
        if self.overdraft.contains(account) {
            flags -= AccountFlags::DEBITS_MUST_NOT_EXCEED_CREDITS;
        }
        Ok(mapped(AccountKind::Own, account, currency, rule.code, flags))
    }

    /// The clearing account through which an account at another bank settles. The most specific rule wins: the
    /// longest prefix of the agent, then of the IBAN, then the one that names the currency.
    ///
    /// # Errors
    /// When no rule fits.
    pub fn clearing_account(
        &self,
        agent: &Agent,
        account: Option<&AccountRef>,
        currency: &Currency,
    ) -> Result<MappedAccount, Unmapped> {
        let iban = account
            .filter(|account| matches!(account, AccountRef::Iban(_)))
            .map(AccountRef::id);
        let rule = self
            .file
            .clearing
            .iter()
            .map(toml::Spanned::get_ref)
            .filter(|rule| is_of(rule, agent) && fits(&rule.iban_prefix, iban))
            .filter(|rule| rule.currency.as_ref().is_none_or(|code| *code == currency.code))
            .max_by_key(|rule| specificity(rule))
            .ok_or(Unmapped::NoRule)?;
        Ok(self.clearing_of(rule, currency))
    }

    /// A clearing account by its name, for opening balances.
    ///
    /// # Errors
    /// When no rule has that name.
    pub fn clearing_by_name(&self, name: &str, currency: &Currency) -> Result<MappedAccount, Unmapped> {
        let rules = || {
            self.file
                .clearing
                .iter()
                .map(toml::Spanned::get_ref)
                .filter(|rule| rule.account == name)
        };
        if rules().next().is_none() {
            return Err(Unmapped::NoRule);
        }
        let rule = rules().find(|rule| rule.currency.as_ref().is_none_or(|code| *code == currency.code));
        rule.map(|rule| self.clearing_of(rule, currency))
            .ok_or(Unmapped::Currency)
    }

    /// The account against which opening balances are booked.
    #[must_use]
    pub fn opening_account(&self, currency: &Currency) -> MappedAccount {
        let opening = &self.file.opening;
        let account = AccountRef::Other {
            scheme: String::new(),
            id: opening.account.clone(),
        };
        mapped(
            AccountKind::Opening,
            &account,
            currency,
            opening.code,
            AccountFlags::empty(),
        )
    }

    fn clearing_of(&self, rule: &ClearingRule, currency: &Currency) -> MappedAccount {
        let account = AccountRef::Other {
            scheme: String::new(),
            id: rule.account.clone(),
        };
        mapped(
            AccountKind::Clearing,
            &account,
            currency,
            rule.code,
            flags_of(&rule.flags),
        )
    }

    fn own_rule(&self, account: &AccountRef) -> Option<&OwnRule> {
        self.file
            .own
            .iter()
            .map(toml::Spanned::get_ref)
            .find(|rule| rule.takes(account))
    }
}

/// `?` stands for any one character: the check digits of an IBAN, for example.
fn matches_prefix(pattern: &str, text: &str) -> bool {
    let mut letters = text.chars();
    pattern.chars().all(|wanted| {
        letters
            .next()
            .is_some_and(|letter| wanted == '?' || wanted == letter)
    })
}

fn fits(wanted: &Option<String>, given: Option<&str>) -> bool {
    wanted
        .as_ref()
        .is_none_or(|wanted| given.is_some_and(|given| matches_prefix(wanted, given)))
}

/// Whether the bank is the one that the rule is about, by either of its identifications.
fn is_of(rule: &ClearingRule, agent: &Agent) -> bool {
    fits(&rule.agent, agent.bic.as_deref()) || fits(&rule.agent, agent.member_id.as_deref())
}

fn specificity(rule: &ClearingRule) -> (usize, usize, bool) {
    let length = |pattern: &Option<String>| pattern.as_ref().map_or(0, String::len);
    (
        length(&rule.agent),
        length(&rule.iban_prefix),
        rule.currency.is_some(),
    )
}

fn flags_of(names: &[file::FlagName]) -> AccountFlags {
    names.iter().map(|name| name.flag()).collect()
}

fn mapped(
    kind: AccountKind,
    account: &AccountRef,
    currency: &Currency,
    code: u16,
    flags: AccountFlags,
) -> MappedAccount {
    let name = match kind {
        AccountKind::Own => "account",
        AccountKind::Clearing => "clearing",
        AccountKind::Opening => "opening",
    };
    let text = |text: &str| serde_json::Value::from(text).to_string();
    let metadata = format!(
        "{{\"{name}\":{},\"currency\":{}}}",
        text(&account.to_string()),
        text(&currency.code)
    );
    let created = Account {
        id: ids::account_id(kind, account, &currency.code),
        user_data_128: ids::account_reference(kind, account),
        user_data_32: kind as u32,
        ledger: currency.ledger,
        code: Code(code),
        flags,
        ..Account::default()
    };
    MappedAccount {
        kind,
        new: NewAccount {
            account: created,
            metadata: Some(metadata),
        },
    }
}
