//! Plain REST over one connection at a time. Owns: the bytes of a request, and what an answer means.
//!
//! Nothing is repeated here, and nothing hidden: a connection that breaks is an outcome that nobody knows.

use crate::history::{Consistency, Heard, metadata_of};
use anyhow::{Context, Result, bail, ensure};
use ledger::{AccountId, Amount, Balances, CreateTransferResult, TimestampNs, Transfer, TransferReply};
use serde_json::{Map, Value, json};
use std::io::ErrorKind;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use wire::CONSISTENCY;

/// No answer is longer: a page of transfers is some megabytes.
const BODY_BYTES_MAX: usize = 64 << 20;

/// A host that is gone is silent; another address is tried then.
const CONNECT_WITHIN: Duration = Duration::from_millis(300);

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// 200, 503 …
    pub status: u16,
    /// How long to wait before another try, where the server says so.
    pub retry_after: Option<Duration>,
    /// JSON; null where there is none.
    pub body: Value,
}

/// Why there is none.
#[derive(Debug)]
pub enum NoAnswer {
    /// It was not sent: nothing was done.
    NotSent,
    /// It was sent, in part at least.
    Lost,
}

/// Asks several addresses in turn: the next one after each failure.
pub struct RestClient {
    addresses: Vec<String>,
    current: usize,
    connection: Option<BufReader<TcpStream>>,
    timeout: Duration,
}

impl RestClient {
    /// For `host:port` addresses, of which there is at least one; `first` says which is asked first.
    pub fn new(addresses: &[String], first: usize, timeout: Duration) -> Self {
        assert!(!addresses.is_empty(), "a client needs an address");
        Self {
            addresses: addresses.to_vec(),
            current: first % addresses.len(),
            connection: None,
            timeout,
        }
    }

    /// Asks once. A body, if there is one, is JSON.
    ///
    /// # Errors
    /// Whether it may have been done.
    pub async fn ask(
        &mut self,
        method: &str,
        path: &str,
        consistency: Consistency,
        body: &str,
    ) -> Result<Answer, NoAnswer> {
        let asked = tokio::time::timeout(
            self.timeout,
            self.connect_and_ask(method, path, consistency, body),
        );
        let answer = match asked.await {
            Ok(answer) => answer,
            Err(_) => Err(NoAnswer::Lost),
        };
        if answer.is_err() {
            self.turn();
        }
        answer
    }

    /// The next address from now on, over a new connection.
    pub fn turn(&mut self) {
        self.connection = None;
        self.current = (self.current + 1) % self.addresses.len();
    }

    async fn connect_and_ask(
        &mut self,
        method: &str,
        path: &str,
        consistency: Consistency,
        body: &str,
    ) -> Result<Answer, NoAnswer> {
        let address = &self.addresses[self.current];
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => {
                let connecting = tokio::time::timeout(CONNECT_WITHIN, TcpStream::connect(address)).await;
                let stream = connecting.map_err(|_| NoAnswer::NotSent)?;
                let stream = stream.map_err(|_| NoAnswer::NotSent)?;
                stream.set_nodelay(true).map_err(|_| NoAnswer::NotSent)?;
                BufReader::new(stream)
            }
        };
        let consistency = match consistency {
            Consistency::Linearizable => String::new(),
            Consistency::Bounded(age_ns) => {
                format!("{CONSISTENCY}: bounded; max-age-ms={}\r\n", age_ns / 1_000_000)
            }
            Consistency::Any => format!("{CONSISTENCY}: any\r\n"),
        };
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {address}\r\n{consistency}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let (answer, keep) = exchange(&mut connection, &request)
            .await
            .map_err(|_| NoAnswer::Lost)?;
        if keep {
            self.connection = Some(connection);
        }
        Ok(answer)
    }
}

async fn exchange(connection: &mut BufReader<TcpStream>, request: &str) -> Result<(Answer, bool)> {
    connection.get_mut().write_all(request.as_bytes()).await?;
    let mut line = String::new();
    connection.read_line(&mut line).await?;
    let status = line.split(' ').nth(1).context("no status")?.parse()?;
    let (mut length, mut chunked, mut retry_after, mut keep) = (None, false, None, true);
    loop {
        line.clear();
        if connection.read_line(&mut line).await? == 0 {
            return Err(std::io::Error::from(ErrorKind::UnexpectedEof).into());
        }
        let Some((name, value)) = line.trim().split_once(':') else {
            break;
        };
        let value = value.trim();
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = Some(value.parse::<usize>()?),
            "connection" => keep = !value.eq_ignore_ascii_case("close"),
            "transfer-encoding" => chunked = value.eq_ignore_ascii_case("chunked"),
            "retry-after-ms" => retry_after = Some(Duration::from_millis(value.parse()?)),
            _ => {}
        }
    }
    let body = if chunked {
        read_chunks(connection).await?
    } else {
        let length = length.context("the answer does not say how long it is")?;
        read_bytes(connection, length).await?
    };
    // HAProxy's own errors are pages for people.
    let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let answer = Answer {
        status,
        retry_after,
        body,
    };
    Ok((answer, keep))
}

async fn read_bytes(connection: &mut BufReader<TcpStream>, length: usize) -> Result<Vec<u8>> {
    ensure!(length <= BODY_BYTES_MAX, "the answer is {length} bytes long");
    let mut bytes = vec![0; length];
    connection.read_exact(&mut bytes).await?;
    Ok(bytes)
}

async fn read_chunks(connection: &mut BufReader<TcpStream>) -> Result<Vec<u8>> {
    let (mut body, mut line) = (Vec::new(), String::new());
    loop {
        line.clear();
        connection.read_line(&mut line).await?;
        let length = usize::from_str_radix(line.trim(), 16)?;
        body.extend(read_bytes(connection, length).await?);
        ensure!(body.len() <= BODY_BYTES_MAX, "the answer is too long");
        line.clear();
        connection.read_line(&mut line).await?;
        if length == 0 {
            return Ok(body);
        }
    }
}

/// The body that asks for transfers.
pub fn transfers_body(transfers: &[Transfer]) -> String {
    let transfers: Vec<Value> = transfers.iter().map(transfer_json).collect();
    json!({ "transfers": transfers }).to_string()
}

fn transfer_json(transfer: &Transfer) -> Value {
    let mut fields = Map::new();
    let wide: [(&str, u128); 6] = [
        ("id", transfer.id.0),
        ("debit_account_id", transfer.debit_account_id.0),
        ("credit_account_id", transfer.credit_account_id.0),
        ("amount", transfer.amount.0),
        ("pending_id", transfer.pending_id.0),
        ("user_data_128", transfer.user_data_128),
    ];
    for (name, value) in wide {
        fields.insert(name.to_owned(), value.to_string().into());
    }
    fields.insert(
        "user_data_64".to_owned(),
        transfer.user_data_64.to_string().into(),
    );
    fields.insert("user_data_32".to_owned(), transfer.user_data_32.into());
    fields.insert("timeout".to_owned(), transfer.timeout.into());
    fields.insert("ledger".to_owned(), transfer.ledger.0.into());
    fields.insert("code".to_owned(), transfer.code.0.into());
    let flags: Vec<String> = transfer
        .flags
        .iter_names()
        .map(|(name, _)| name.to_lowercase())
        .collect();
    fields.insert("flags".to_owned(), flags.into());
    if let Some(metadata) = metadata_of(transfer) {
        let metadata = serde_json::from_str(&metadata).expect("the load's metadata is JSON");
        fields.insert("metadata".to_owned(), metadata);
    }
    Value::Object(fields)
}

/// What an answer to `count` transfers means for each of them.
///
/// # Errors
/// When it is an answer that no fault explains.
pub fn heard(answer: &Answer, count: usize) -> Result<Vec<Heard>> {
    match answer.status {
        200 => {
            let results = answer.body["results"].as_array().context("no results")?;
            ensure!(
                results.len() == count,
                "{count} transfers, {} results",
                results.len()
            );
            results.iter().map(reply).collect()
        }
        429 | 503 => Ok(vec![Heard::NotDone; count]),
        500 | 502 | 504 => Ok(vec![Heard::Nothing; count]),
        other => bail!("transfers were answered {other}: {}", answer.body),
    }
}

fn reply(result: &Value) -> Result<Heard> {
    let name = result["result"].as_str().context("no result")?;
    let known = CreateTransferResult::from_name(name);
    Ok(Heard::Reply(TransferReply {
        result: known.with_context(|| format!("unknown result {name}"))?,
        timestamp: TimestampNs(text(&result["timestamp"])?.parse()?),
        debit: optional_totals(&result["debit_account"])?,
        credit: optional_totals(&result["credit_account"])?,
    }))
}

fn optional_totals(value: &Value) -> Result<Balances> {
    if value.is_null() {
        return Ok(Balances::default());
    }
    totals(value)
}

/// The four totals of an account.
///
/// # Errors
/// When one of them is missing or no number.
pub fn totals(value: &Value) -> Result<Balances> {
    let amount = |name: &str| Ok::<_, anyhow::Error>(Amount(text(&value[name])?.parse()?));
    Ok(Balances {
        debits_pending: amount("debits_pending")?,
        debits_posted: amount("debits_posted")?,
        credits_pending: amount("credits_pending")?,
        credits_posted: amount("credits_posted")?,
    })
}

fn text(value: &Value) -> Result<&str> {
    value.as_str().with_context(|| format!("{value} is no text"))
}

/// Where an account is read.
pub fn account_path(account: AccountId) -> String {
    format!("/v1/accounts/{}", account.0)
}
