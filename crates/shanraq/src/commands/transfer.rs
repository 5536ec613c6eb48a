//! `shanraq transfer`: transfers of a running node.

use crate::remote::{self, Remote, RemoteArgs};
use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use ledger::{AccountId, Amount, Code, LedgerId, Transfer, TransferFlags, TransferId};
use wire::convert;
use wire::v1 as proto;

/// Create transfers and show them.
#[derive(Debug, Args)]
pub struct TransferArgs {
    #[command(flatten)]
    remote: RemoteArgs,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Create a transfer; exits with 2 when the ledger refuses it.
    Create(Box<Create>),
    /// Show transfers.
    Get {
        /// Their ids.
        #[arg(required = true)]
        ids: Vec<u128>,
    },
}

#[derive(Debug, Args)]
struct Create {
    /// Chosen by you, used once for ever.
    #[arg(long)]
    id: u128,
    /// The account to debit; leave out to post or void.
    #[arg(long, default_value_t = 0)]
    debit: u128,
    /// The account to credit; leave out to post or void.
    #[arg(long, default_value_t = 0)]
    credit: u128,
    /// Minor units of the ledger.
    #[arg(long)]
    amount: u128,
    /// The ledger of both accounts; leave out to post or void.
    #[arg(long, default_value_t = 0)]
    ledger: u32,
    /// Kind of business; leave out to post or void.
    #[arg(long, default_value_t = 0)]
    code: u16,
    /// A flag's name, such as pending or post_pending_transfer; may be repeated.
    #[arg(long = "flag")]
    flags: Vec<String>,
    /// The pending transfer to post or void.
    #[arg(long, default_value_t = 0)]
    pending_id: u128,
    /// Seconds until a pending transfer expires; 0: never.
    #[arg(long, default_value_t = 0)]
    timeout: u32,
}

/// Runs the command; false when the ledger refused.
pub fn run(args: &TransferArgs) -> Result<bool> {
    let mut remote = Remote::connect(&args.remote.address)?;
    match &args.action {
        Action::Create(create) => {
            let request = proto::CreateTransfersRequest {
                transfers: vec![convert::transfer_to_wire(&create.transfer()?)],
            };
            let reply = remote.call(request, async |client, request| {
                client.create_transfers(request).await
            })?;
            let result = reply.results.first().context("the node gave no result")?;
            let reply = convert::result_from_wire(result)?;
            remote::print_result(reply.result.name(), reply.timestamp, args.remote.json)
        }
        Action::Get { ids } => {
            let request = proto::LookupRequest {
                ids: ids.iter().map(|id| (*id).into()).collect(),
            };
            let page = remote.call(request, async |client, request| {
                client.lookup_transfers(request).await
            })?;
            remote::print_transfers(&page.transfers, args.remote.json)?;
            Ok(page.transfers.len() == ids.len())
        }
    }
}

impl Create {
    fn transfer(&self) -> Result<Transfer> {
        let mut flags = TransferFlags::empty();
        for name in &self.flags {
            match TransferFlags::from_name(&name.to_ascii_uppercase()) {
                Some(flag) => flags |= flag,
                None => bail!("--flag: {name:?} is no flag of a transfer"),
            }
        }
        Ok(Transfer {
            id: TransferId(self.id),
            debit_account_id: AccountId(self.debit),
            credit_account_id: AccountId(self.credit),
            amount: Amount(self.amount),
            pending_id: TransferId(self.pending_id),
            timeout: self.timeout,
            ledger: LedgerId(self.ledger),
            code: Code(self.code),
            flags,
            ..Transfer::default()
        })
    }
}
