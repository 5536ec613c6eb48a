//! The command line's way to a running node, over gRPC. Owns: connecting, waiting and printing.

use anyhow::{Context, Result, bail};
use clap::Args;
use ledger::{Balances, TimestampNs};
use proto::ledger_client::LedgerClient;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::runtime::Runtime;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use wire::convert;
use wire::v1 as proto;

/// Answers may be this large.
const ANSWER_BYTES_MAX: usize = 32 << 20;
/// How long a refused request is tried again before the command gives up.
const PATIENCE: Duration = Duration::from_secs(30);

/// Which node, and how to print.
#[derive(Clone, Debug, Args)]
pub struct RemoteArgs {
    /// The node, host:port.
    #[arg(long, default_value = "127.0.0.1:7400")]
    pub address: String,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// A connection with a runtime to wait on.
pub struct Remote {
    runtime: Runtime,
    client: LedgerClient<Channel>,
}

impl Remote {
    /// Connects.
    pub fn connect(address: &str) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        let endpoint = Endpoint::from_shared(format!("http://{address}"))
            .with_context(|| format!("--address: {address} is no host:port"))?
            .tcp_nodelay(true)
            .initial_stream_window_size(8 << 20)
            .initial_connection_window_size(16 << 20);
        let channel = runtime.block_on(endpoint.connect());
        let channel =
            channel.with_context(|| format!("no node answers at {address}; is `shanraq serve` running?"))?;
        let client = LedgerClient::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX);
        Ok(Self { runtime, client })
    }

    /// Calls, and tries again while the node says that nothing was done and to come back. Requests carry their ids,
    /// so that repeating one is safe.
    pub fn call<Request: Clone, Reply>(
        &mut self,
        request: Request,
        call: impl AsyncFn(&mut LedgerClient<Channel>, Request) -> Result<tonic::Response<Reply>, Status>,
    ) -> Result<Reply> {
        let client = &mut self.client;
        self.runtime.block_on(async {
            let deadline = tokio::time::Instant::now() + PATIENCE;
            loop {
                match call(client, request.clone()).await {
                    Ok(reply) => return Ok(reply.into_inner()),
                    Err(status) if retryable(&status) && tokio::time::Instant::now() < deadline => {
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                    Err(status) => bail!("{}", told(&status)),
                }
            }
        })
    }
}

fn retryable(status: &Status) -> bool {
    matches!(status.code(), Code::Unavailable | Code::ResourceExhausted)
}

fn told(status: &Status) -> String {
    match status.code() {
        Code::DeadlineExceeded => format!(
            "{}; repeating the command with the same ids is safe",
            status.message()
        ),
        _ => status.message().to_owned(),
    }
}

/// An account for people and scripts.
pub fn account_json(wire: &proto::Account) -> Result<Value> {
    let account = convert::account_from_wire(wire)?;
    let mut value = json!({
        "id": account.id.to_string(),
        "ledger": account.ledger.0,
        "code": account.code.0,
        "flags": names(account.flags.iter_names()),
        "user_data_128": account.user_data_128.to_string(),
        "user_data_64": account.user_data_64.to_string(),
        "user_data_32": account.user_data_32,
        "timestamp": account.timestamp.to_string(),
    });
    merge(&mut value, balances_json(&account.balances));
    Ok(value)
}

/// Totals for people and scripts.
pub fn balances_json(balances: &Balances) -> Value {
    json!({
        "debits_pending": balances.debits_pending.to_string(),
        "debits_posted": balances.debits_posted.to_string(),
        "credits_pending": balances.credits_pending.to_string(),
        "credits_posted": balances.credits_posted.to_string(),
    })
}

/// A transfer for people and scripts.
fn transfer_json(stored: &proto::StoredTransfer) -> Result<Value> {
    let wire = stored
        .transfer
        .as_ref()
        .context("the node answered without a transfer")?;
    let transfer = convert::transfer_from_wire(wire)?;
    Ok(json!({
        "id": transfer.id.to_string(),
        "debit_account_id": transfer.debit_account_id.to_string(),
        "credit_account_id": transfer.credit_account_id.to_string(),
        "amount": transfer.amount.to_string(),
        "pending_id": transfer.pending_id.to_string(),
        "user_data_128": transfer.user_data_128.to_string(),
        "user_data_64": transfer.user_data_64.to_string(),
        "user_data_32": transfer.user_data_32,
        "timeout": transfer.timeout,
        "ledger": transfer.ledger.0,
        "code": transfer.code.0,
        "flags": names(transfer.flags.iter_names()),
        "timestamp": transfer.timestamp.to_string(),
        "expired": stored.expired,
    }))
}

/// Prints transfers.
pub fn print_transfers(transfers: &[proto::StoredTransfer], json: bool) -> Result<()> {
    let values = transfers.iter().map(transfer_json).collect::<Result<Vec<_>>>()?;
    print(&values, json)
}

/// Prints what became of the one event of a request; whether it is there now.
pub fn print_result(result: &str, timestamp: TimestampNs, json: bool) -> Result<bool> {
    let value = json!({ "result": result, "timestamp": timestamp.to_string() });
    print(&[value], json)?;
    Ok(["created", "exists"].contains(&result))
}

/// Prints values: as JSON, or one `name value` a line with a blank line between values.
pub fn print(values: &[Value], json: bool) -> Result<()> {
    if json {
        println!("{}", serde_json::to_string_pretty(values)?);
        return Ok(());
    }
    for (number, value) in values.iter().enumerate() {
        if number > 0 {
            println!();
        }
        for (name, value) in value.as_object().into_iter().flatten() {
            match value {
                Value::String(text) => println!("{name:<20} {text}"),
                other => println!("{name:<20} {other}"),
            }
        }
    }
    Ok(())
}

/// Adds the fields of `more` to `value`.
pub fn merge(value: &mut Value, more: Value) {
    if let (Value::Object(value), Value::Object(more)) = (value, more) {
        value.extend(more);
    }
}

fn names<F>(flags: impl Iterator<Item = (&'static str, F)>) -> Vec<String> {
    flags.map(|(name, _)| name.to_ascii_lowercase()).collect()
}
