//! `shanraq account`: accounts of a running node.

use crate::remote::{self, Remote, RemoteArgs};
use anyhow::{Context, Result, bail, ensure};
use clap::{Args, Subcommand};
use ledger::{Account, AccountFlags, AccountId, Code, LedgerId};
use serde_json::json;
use wire::convert;
use wire::v1 as proto;

/// Create accounts, show them, their transfers and balances.
#[derive(Debug, Args)]
pub struct AccountArgs {
    #[command(flatten)]
    remote: RemoteArgs,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Create an account; exits with 2 when the ledger refuses it.
    Create {
        /// Chosen by you, used once.
        #[arg(long)]
        id: u128,
        /// The ledger (currency or asset).
        #[arg(long)]
        ledger: u32,
        /// Chart of accounts.
        #[arg(long)]
        code: u16,
        /// A flag's name, such as debits_must_not_exceed_credits; may be repeated.
        #[arg(long = "flag")]
        flags: Vec<String>,
    },
    /// Show accounts.
    Get {
        /// Their ids.
        #[arg(required = true)]
        ids: Vec<u128>,
    },
    /// Show an account's newest transfers.
    Transfers {
        /// Its id.
        id: u128,
        /// How many at most, up to 8,190.
        #[arg(long, default_value_t = 20)]
        limit: u32,
    },
    /// Show an account's totals now or as of a time.
    Balance {
        /// Its id.
        id: u128,
        /// RFC 3339 or nanoseconds since 1970; default: now.
        #[arg(long)]
        at: Option<String>,
    },
}

/// Runs the command; false when the ledger refused.
pub fn run(args: &AccountArgs) -> Result<bool> {
    let mut remote = Remote::connect(&args.remote.address)?;
    match &args.action {
        Action::Create {
            id,
            ledger,
            code,
            flags,
        } => {
            let account = Account {
                id: AccountId(*id),
                ledger: LedgerId(*ledger),
                code: Code(*code),
                flags: account_flags(flags)?,
                ..Account::default()
            };
            let request = proto::CreateAccountsRequest {
                accounts: vec![convert::account_to_wire(&account)],
            };
            let reply = remote.call(request, async |client, request| {
                client.create_accounts(request).await
            })?;
            let result = reply.results.first().context("the node gave no result")?;
            let reply = convert::account_result_from_wire(result)?;
            remote::print_result(reply.result.name(), reply.timestamp, args.remote.json)
        }
        Action::Get { ids } => {
            let request = proto::LookupRequest {
                ids: ids.iter().map(|id| (*id).into()).collect(),
            };
            let page = remote.call(request, async |client, request| {
                client.lookup_accounts(request).await
            })?;
            let accounts: Vec<_> = page
                .accounts
                .iter()
                .map(remote::account_json)
                .collect::<Result<_>>()?;
            remote::print(&accounts, args.remote.json)?;
            Ok(page.accounts.len() == ids.len())
        }
        Action::Transfers { id, limit } => {
            let of = proto::AccountSides {
                account_id: Some((*id).into()),
                debits: true,
                credits: true,
            };
            let request = proto::QueryRequest {
                limit: *limit,
                of: Some(of),
                ..proto::QueryRequest::default()
            };
            let page = remote.call(request, async |client, request| {
                client.query_transfers(request).await
            })?;
            remote::print_transfers(&page.transfers, args.remote.json)?;
            Ok(true)
        }
        Action::Balance { id, at } => {
            let at = at.as_deref().map_or(Ok(0), moment)?;
            let request = proto::AccountBalanceRequest {
                account_id: Some((*id).into()),
                at,
            };
            let reply = remote.call(request, async |client, request| {
                client.account_balance(request).await
            })?;
            let mut value = json!({ "timestamp": reply.timestamp.to_string() });
            let balances = convert::balances_from_wire(reply.balances.as_ref());
            remote::merge(&mut value, remote::balances_json(&balances));
            remote::print(&[value], args.remote.json)?;
            Ok(true)
        }
    }
}

/// A moment as RFC 3339 or nanoseconds since 1970.
pub fn moment(text: &str) -> Result<u64> {
    if let Ok(nanoseconds) = text.parse::<u64>() {
        // The first tenth of a second of 1970 is nobody's wish.
        ensure!(
            text.len() != 8,
            "{text} would be nanoseconds since 1970; write a day as {}-{}-{}T00:00:00Z",
            &text[..4],
            &text[4..6],
            &text[6..]
        );
        return Ok(nanoseconds);
    }
    let timestamp: jiff::Timestamp = text
        .parse()
        .with_context(|| format!("{text:?} is neither RFC 3339 nor nanoseconds since 1970"))?;
    u64::try_from(timestamp.as_nanosecond()).with_context(|| format!("{text:?} is before 1970 or too late"))
}

fn account_flags(names: &[String]) -> Result<AccountFlags> {
    let mut flags = AccountFlags::empty();
    for name in names {
        match AccountFlags::from_name(&name.to_ascii_uppercase()) {
            Some(flag) => flags |= flag,
            None => bail!("--flag: {name:?} is no flag of an account"),
        }
    }
    Ok(flags)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_written_as_one_number_is_refused_with_a_hint_that_works() {
        let error = moment("20260101").expect_err("no moment").to_string();
        let hint = error.rsplit(' ').next().expect("a hint");
        assert_eq!(hint, "2026-01-01T00:00:00Z", "{error}");
        assert_eq!(moment(hint).expect("a moment"), 1_767_225_600_000_000_000);
        assert_eq!(
            moment("1767225600000000000").expect("a moment"),
            1_767_225_600_000_000_000
        );
        assert_eq!(moment("0").expect("a moment"), 0);
        assert!(moment("2026-01-01").is_err(), "a day has many moments");
    }
}
