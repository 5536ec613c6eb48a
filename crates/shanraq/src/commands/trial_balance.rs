//! `shanraq trial-balance`: the totals of every ledger of a running node.

use crate::remote::{self, Remote, RemoteArgs};
use anyhow::Result;
use clap::Args;
use ledger::{Amount, Balances};
use serde_json::{Value, json};
use wire::convert::balances_from_wire;
use wire::v1 as proto;

/// Print the trial balance of one ledger or of all; exits with 2 when debits and credits differ.
#[derive(Debug, Args)]
pub struct TrialBalanceArgs {
    #[command(flatten)]
    remote: RemoteArgs,
    /// Only this ledger.
    #[arg(long)]
    ledger: Option<u32>,
}

/// Runs the command; false when a ledger does not balance.
pub fn run(args: &TrialBalanceArgs) -> Result<bool> {
    let mut remote = Remote::connect(&args.remote.address)?;
    let trials = trials(&mut remote, args.ledger)?;
    if args.remote.json {
        println!(
            "{}",
            serde_json::to_string_pretty(&trials.iter().map(json_of).collect::<Vec<_>>())?
        );
    } else {
        print_table(&trials);
    }
    Ok(trials.iter().all(is_balanced))
}

/// The trial balances of all ledgers, or of one.
pub fn trials(remote: &mut Remote, only: Option<u32>) -> Result<Vec<proto::TrialBalanceReply>> {
    let ledgers = match only {
        Some(ledger) => vec![ledger],
        None => {
            let request = proto::ListLedgersRequest {};
            let reply = remote.call(request, async |client, request| {
                client.list_ledgers(request).await
            })?;
            reply
                .ledgers
                .iter()
                .map(|description| description.ledger)
                .collect()
        }
    };
    let ask = |ledger| {
        let request = proto::TrialBalanceRequest { ledger };
        remote.call(request, async |client, request| {
            client.trial_balance(request).await
        })
    };
    ledgers.into_iter().map(ask).collect()
}

/// Whether debits equal credits, posted and pending.
pub fn is_balanced(trial: &proto::TrialBalanceReply) -> bool {
    let totals = balances_from_wire(trial.totals.as_ref());
    totals.debits_posted == totals.credits_posted && totals.debits_pending == totals.credits_pending
}

/// For scripts: integers in minor units, as strings.
pub fn json_of(trial: &proto::TrialBalanceReply) -> Value {
    let description = trial.description.clone().unwrap_or_default();
    let line = |line: &proto::TrialBalanceLine| {
        let mut value = json!({ "code": line.code, "accounts": line.accounts });
        let balances = balances_from_wire(line.balances.as_ref());
        remote::merge(&mut value, remote::balances_json(&balances));
        value
    };
    json!({
        "ledger": description.ledger,
        "name": description.name,
        "currency": description.currency,
        "scale": description.scale,
        "height": trial.height.to_string(),
        "accounts": trial.accounts,
        "balanced": is_balanced(trial),
        "totals": remote::balances_json(&balances_from_wire(trial.totals.as_ref())),
        "by_code": trial.by_code.iter().map(line).collect::<Vec<_>>(),
    })
}

/// For people: amounts in the ledger's own decimals.
pub fn print_table(trials: &[proto::TrialBalanceReply]) {
    for trial in trials {
        let description = trial.description.clone().unwrap_or_default();
        let scale = u8::try_from(description.scale).unwrap_or(0);
        let amount = |minor: Amount| payments::format_minor(minor.0, scale);
        println!(
            "\nledger {} {} {}",
            description.ledger, description.currency, description.name
        );
        println!(
            "{:>8} {:>9} {:>24} {:>24} {:>18} {:>18}",
            "code", "accounts", "debits", "credits", "debits pending", "credits pending"
        );
        let row = |label: String, accounts: u64, totals: Balances| {
            println!(
                "{label:>8} {accounts:>9} {:>24} {:>24} {:>18} {:>18}",
                amount(totals.debits_posted),
                amount(totals.credits_posted),
                amount(totals.debits_pending),
                amount(totals.credits_pending),
            );
        };
        for line in &trial.by_code {
            row(
                line.code.to_string(),
                line.accounts,
                balances_from_wire(line.balances.as_ref()),
            );
        }
        row(
            "total".to_owned(),
            trial.accounts,
            balances_from_wire(trial.totals.as_ref()),
        );
        println!(
            "{}",
            if is_balanced(trial) {
                "balanced"
            } else {
                "NOT BALANCED"
            }
        );
    }
}
