//! The command line's way to a running node, over gRPC. Owns: connecting, waiting and printing.

use anyhow::{Context, Result, bail};
use api::wire::v1 as proto;
use clap::Args;
use proto::ledger_client::LedgerClient;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::runtime::Runtime;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

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

/// A 128-bit number on the wire.
pub fn uint128(value: u128) -> proto::Uint128 {
    proto::Uint128 {
        high: (value >> 64) as u64,
        low: value as u64,
    }
}

/// Of two halves.
pub fn join(high: u64, low: u64) -> u128 {
    u128::from(high) << 64 | u128::from(low)
}

/// An account for people and scripts.
pub fn account_json(account: &proto::Account) -> Value {
    let balances = account.balances.unwrap_or_default();
    let mut value = json!({
        "id": join(account.id_high, account.id).to_string(),
        "ledger": account.ledger,
        "code": account.code,
        "flags": names(ledger::AccountFlags::from_bits_retain(account.flags as u16).iter_names()),
        "user_data_128": join(account.user_data_128_high, account.user_data_128).to_string(),
        "user_data_64": account.user_data_64.to_string(),
        "user_data_32": account.user_data_32,
        "timestamp": account.timestamp.to_string(),
    });
    merge(&mut value, balances_json(&balances));
    value
}

/// Totals for people and scripts.
pub fn balances_json(balances: &proto::Balances) -> Value {
    json!({
        "debits_pending": join(balances.debits_pending_high, balances.debits_pending).to_string(),
        "debits_posted": join(balances.debits_posted_high, balances.debits_posted).to_string(),
        "credits_pending": join(balances.credits_pending_high, balances.credits_pending).to_string(),
        "credits_posted": join(balances.credits_posted_high, balances.credits_posted).to_string(),
    })
}

/// A transfer for people and scripts.
pub fn transfer_json(stored: &proto::StoredTransfer) -> Value {
    let transfer = stored.transfer.clone().unwrap_or_default();
    json!({
        "id": join(transfer.id_high, transfer.id).to_string(),
        "debit_account_id": join(transfer.debit_account_id_high, transfer.debit_account_id).to_string(),
        "credit_account_id": join(transfer.credit_account_id_high, transfer.credit_account_id).to_string(),
        "amount": join(transfer.amount_high, transfer.amount).to_string(),
        "pending_id": join(transfer.pending_id_high, transfer.pending_id).to_string(),
        "user_data_128": join(transfer.user_data_128_high, transfer.user_data_128).to_string(),
        "user_data_64": transfer.user_data_64.to_string(),
        "user_data_32": transfer.user_data_32,
        "timeout": transfer.timeout,
        "ledger": transfer.ledger,
        "code": transfer.code,
        "flags": names(ledger::TransferFlags::from_bits_retain(transfer.flags as u16).iter_names()),
        "timestamp": transfer.timestamp.to_string(),
        "expired": stored.expired,
    })
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

/// The name of an account's result on the wire.
pub fn account_result_name(code: i32) -> Result<&'static str> {
    let result = u16::try_from(code)
        .ok()
        .and_then(ledger::CreateAccountResult::from_code);
    Ok(result
        .with_context(|| format!("the node answered with an unknown result: {code}"))?
        .name())
}

/// The name of a transfer's result on the wire.
pub fn transfer_result_name(code: i32) -> Result<&'static str> {
    let result = u16::try_from(code)
        .ok()
        .and_then(ledger::CreateTransferResult::from_code);
    Ok(result
        .with_context(|| format!("the node answered with an unknown result: {code}"))?
        .name())
}
