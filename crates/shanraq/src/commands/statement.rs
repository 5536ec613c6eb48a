//! `shanraq statement`: an account's entries over a time, as camt.053, CSV or JSON.

use crate::commands::account::moment;
use crate::port::GrpcPort;
use crate::progress::Bar;
use crate::remote::Remote;
use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};
use ledger::{AccountId, TimestampNs};
use payments::{AccountKind, AccountRef, StatementFormat, StatementPort, StatementRequest, write_statement};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};
use wire::v1 as proto;

/// Write an account's statement; balances and entries are those of one history.
#[derive(Debug, Args)]
pub struct StatementArgs {
    /// The node, host:port.
    #[arg(long, default_value = "127.0.0.1:7400")]
    address: String,
    /// The account's id in the ledger, or its IBAN (then with --currency).
    account: String,
    /// The currency of an account that is given by IBAN.
    #[arg(long)]
    currency: Option<String>,
    /// From when, inclusive: RFC 3339 or nanoseconds; default: the beginning.
    #[arg(long)]
    from: Option<String>,
    /// To when, inclusive; default: now.
    #[arg(long)]
    to: Option<String>,
    /// In which form.
    #[arg(long, value_enum, default_value_t = Format::Camt053)]
    format: Format,
    /// Also list what is reserved at the end.
    #[arg(long)]
    pending: bool,
    /// Where to write; default: standard output.
    #[arg(long)]
    output: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// ISO 20022 camt.053.001.08.
    Camt053,
    /// ISO 20022 camt.053.001.02.
    Camt053V02,
    /// Comma-separated values.
    Csv,
    /// JSON.
    Json,
}

/// Runs the command.
pub fn run(args: &StatementArgs) -> Result<()> {
    let mut remote = Remote::connect(&args.address)?;
    let (account, identification) = account_of(args)?;
    let ledgers = remote.call(proto::ListLedgersRequest {}, async |client, request| {
        client.list_ledgers(request).await
    })?;
    let mut port = GrpcPort::new(remote);
    let found = port
        .account(account)?
        .with_context(|| format!("account {account} does not exist"))?;
    let description = ledgers
        .ledgers
        .into_iter()
        .find(|ledger| ledger.ledger == found.ledger.0)
        .unwrap_or_default();
    let created = u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos())?;
    let from = args.from.as_deref().map_or(Ok(1), moment)?.max(1);
    let to = args.to.as_deref().map_or(Ok(created), moment)?;
    ensure!(from <= to, "--from: must not be after --to");
    let request = StatementRequest {
        account,
        identification,
        currency: description.currency,
        scale: u8::try_from(description.scale).unwrap_or(0),
        owner: None,
        servicer_bic: None,
        from: TimestampNs(from),
        to: TimestampNs(to),
        created: TimestampNs(created),
        statement_id: format!("{:x}-{created:x}", account.0 as u64),
        with_pending: args.pending,
    };
    let bar = Bar::new("statement");
    let format = args.format.format();
    let mut show = |progress| bar.show(progress);
    match &args.output {
        None => {
            let mut output = BufWriter::new(std::io::stdout().lock());
            write_statement(&mut port, &request, format, &mut output, &mut show)?;
            output.flush()?;
        }
        Some(path) => {
            // A statement that fails half-way must not stand there like a whole one.
            let directory = path
                .parent()
                .filter(|parent| !parent.as_os_str().is_empty())
                .unwrap_or(Path::new("."));
            let file = tempfile::NamedTempFile::new_in(directory)
                .with_context(|| format!("cannot write below {}", directory.display()))?;
            let mut output = BufWriter::new(file);
            write_statement(&mut port, &request, format, &mut output, &mut show)?;
            let file = output.into_inner().map_err(|error| error.into_error())?;
            file.persist(path)
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
    }
    Ok(())
}

fn account_of(args: &StatementArgs) -> Result<(AccountId, Option<AccountRef>)> {
    if let Ok(id) = args.account.parse() {
        return Ok((AccountId(id), None));
    }
    let iban = payments::parse_iban(&args.account).context("the account is neither a number nor an IBAN")?;
    let account = AccountRef::Iban(iban);
    let currency = args
        .currency
        .as_deref()
        .context("--currency: is needed with an IBAN")?;
    Ok((
        payments::account_id(AccountKind::Own, &account, currency),
        Some(account),
    ))
}

impl Format {
    fn format(self) -> StatementFormat {
        match self {
            Self::Camt053 => StatementFormat::Camt053V08,
            Self::Camt053V02 => StatementFormat::Camt053V02,
            Self::Csv => StatementFormat::Csv,
            Self::Json => StatementFormat::Json,
        }
    }
}
