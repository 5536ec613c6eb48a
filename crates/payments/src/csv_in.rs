//! Reads payments from CSV (pure). Owns: the columns, described in `docs/payments.md`. Must not: know the ledger.
//! What is wrong with one row is an issue of that payment, by line; what makes rows doubtful refuses the file.

use crate::mapping::Mapping;
use crate::model::{Agent, Batch, Declared, Initiation, Issue, NamedAccount, Party, Payment, Reason, Source};
use crate::money::Decimal;
use crate::progress::{Progress, Stage};
use crate::{AccountRef, Located, PaymentsError, ident, ids, text};

/// The columns that are read; those that begin with `x_` are ignored, any other is refused.
pub const CSV_COLUMNS: &[&str] = &[
    "payment_id",
    "debtor_account",
    "creditor_account",
    "amount",
    "currency",
    "batch_id",
    "end_to_end_id",
    "uetr",
    "execution_date",
    "debtor_name",
    "debtor_agent",
    "creditor_name",
    "creditor_agent",
    "remittance",
    "purpose",
];

/// The first five must be there.
const REQUIRED: usize = 5;

/// After how many rows progress is told.
const PROGRESS_EVERY: u64 = 1_000;

/// Reads a whole file. The delimiter (comma, semicolon or tab) is the one that the header uses.
///
/// # Errors
/// Encoding, unknown, missing or repeated columns, line breaks inside a field.
pub fn read_csv(
    bytes: &[u8],
    mapping: &Mapping,
    progress: &mut dyn FnMut(Progress),
) -> Result<Initiation, PaymentsError> {
    let mut table = Table::open(bytes, mapping.csv_encoding(), CSV_COLUMNS, REQUIRED)?;
    let mut batches: Vec<Batch> = Vec::new();
    let mut key: Option<Vec<String>> = None;
    let total = bytes.len() as u64;
    let mut rows = 0;
    while let Some(row) = table.next()? {
        rows += 1;
        if rows % PROGRESS_EVERY == 1 {
            progress(Progress {
                stage: Stage::Reading,
                done: row.position.min(total),
                total,
            });
        }
        let this: Vec<String> = BATCH_COLUMNS
            .iter()
            .map(|name| row.get(name).unwrap_or("").to_owned())
            .collect();
        if key.as_ref() != Some(&this) {
            batches.push(batch(&row));
            key = Some(this);
        }
        if let Some(batch) = batches.last_mut() {
            batch.payments.push(payment(&row, mapping.csv_decimal_comma()));
        }
    }
    Ok(Initiation {
        source: Source::Csv,
        message_id: format!("CSV-{}", &ids::sha256_hex(bytes)[..24]),
        created: None,
        initiator: Party::default(),
        declared: Declared::default(),
        batches,
        issues: Vec::new(),
    })
}

/// Rows that follow one another and agree in these are one batch.
const BATCH_COLUMNS: &[&str] = &[
    "batch_id",
    "debtor_account",
    "debtor_name",
    "debtor_agent",
    "execution_date",
];

fn batch(row: &Row<'_>) -> Batch {
    let mut batch = Batch {
        line: row.line,
        id: row.get("batch_id").unwrap_or("").to_owned(),
        debtor: Party {
            name: row.owned("debtor_name"),
            id: None,
        },
        ..Batch::default()
    };
    if let Some(date) = row.get("execution_date") {
        match date.parse() {
            Ok(date) => batch.execution_date = Some(date),
            Err(_) => batch.issues.push(row.issue(
                "execution_date",
                Reason::InvalidDate,
                format!("{date:?} is not of the form 2026-11-22"),
            )),
        }
    }
    if batch.id.chars().count() > 35 {
        batch.issues.push(row.issue(
            "batch_id",
            Reason::FileFormat,
            "is longer than 35 characters".to_owned(),
        ));
    }
    batch.debtor_account = account(
        row,
        "debtor_account",
        Reason::InvalidDebtorAccount,
        &mut batch.issues,
    );
    batch.debtor_agent = agent(row, "debtor_agent", Reason::DebtorAgent, &mut batch.issues);
    batch
}

fn payment(row: &Row<'_>, decimal_comma: bool) -> Payment {
    let mut payment = Payment {
        line: row.line,
        instruction_id: row.owned("payment_id"),
        end_to_end_id: row.owned("end_to_end_id"),
        uetr: row.owned("uetr"),
        currency: row.owned("currency"),
        creditor: Party {
            name: row.owned("creditor_name"),
            id: None,
        },
        purpose: row.owned("purpose"),
        remittance: row.owned("remittance").into_iter().collect(),
        ..Payment::default()
    };
    let issues = &mut payment.issues;
    if let Some(text) = &row.wrong {
        issues.push(row.issue("", Reason::FileFormat, text.clone()));
    }
    match &payment.instruction_id {
        None => {
            let text = "is empty: payments cannot be told apart without it".to_owned();
            issues.push(row.issue("payment_id", Reason::FileFormat, text));
        }
        Some(id) if id.chars().count() > 35 => {
            let text = "is longer than 35 characters".to_owned();
            issues.push(row.issue("payment_id", Reason::FileFormat, text));
        }
        Some(_) => {}
    }
    if payment
        .end_to_end_id
        .as_ref()
        .is_some_and(|id| id.chars().count() > 35)
    {
        let text = "is longer than 35 characters".to_owned();
        issues.push(row.issue("end_to_end_id", Reason::FileFormat, text));
    }
    if payment.currency.is_none() {
        issues.push(row.issue("currency", Reason::UnknownCurrency, "is empty".to_owned()));
    }
    match row.get("amount").map(|text| (text, decimal(text, decimal_comma))) {
        None => issues.push(row.issue("amount", Reason::InvalidAmount, "is empty".to_owned())),
        Some((_, Ok(amount))) => payment.amount = Some(amount),
        Some((text, Err(error))) => {
            issues.push(row.issue("amount", Reason::InvalidAmount, format!("{text:?} {error}")));
        }
    }
    payment.creditor_account = account(row, "creditor_account", Reason::InvalidCreditorAccount, issues);
    payment.creditor_agent = agent(row, "creditor_agent", Reason::CreditorAgent, issues);
    payment
}

/// With a decimal comma there is no point, and the other way round: no thousands' separators, so nothing to guess.
pub(crate) fn decimal(text: &str, decimal_comma: bool) -> Result<Decimal, crate::AmountError> {
    match (decimal_comma, text.contains('.')) {
        (true, true) => Err(crate::AmountError::NotADecimal),
        (true, false) => Decimal::parse(&text.replace(',', ".")),
        (false, _) => Decimal::parse(text),
    }
}

fn account(row: &Row<'_>, column: &'static str, reason: Reason, issues: &mut Vec<Issue>) -> NamedAccount {
    let account = row.get(column).and_then(|text| match AccountRef::parse(text) {
        Ok(account) => Some(account),
        Err(error) => {
            issues.push(row.issue(column, reason, format!("account {text:?} {error}")));
            None
        }
    });
    NamedAccount {
        account,
        currency: None,
    }
}

fn agent(row: &Row<'_>, column: &'static str, reason: Reason, issues: &mut Vec<Issue>) -> Agent {
    let bic = row.get(column).and_then(|text| match ident::parse_bic(text) {
        Ok(bic) => Some(bic),
        Err(error) => {
            issues.push(row.issue(column, reason, format!("{text:?} {error}")));
            None
        }
    });
    Agent { bic, member_id: None }
}

/// A CSV file with a header of known columns.
pub(crate) struct Table {
    reader: csv::Reader<std::io::Cursor<Vec<u8>>>,
    columns: Vec<String>,
    record: csv::StringRecord,
    fields: usize,
}

/// One row of it.
pub(crate) struct Row<'a> {
    columns: &'a [String],
    record: &'a csv::StringRecord,
    /// From 1; the header is line 1.
    pub(crate) line: u64,
    /// Bytes read before it.
    pub(crate) position: u64,
    /// It has too many or too few fields.
    pub(crate) wrong: Option<String>,
}

impl Table {
    /// Reads the header and checks it.
    pub(crate) fn open(
        bytes: &[u8],
        encoding: Option<&str>,
        known: &[&str],
        required: usize,
    ) -> Result<Self, PaymentsError> {
        let text = text::decode_csv(bytes, encoding)?;
        let header = text.lines().find(|line| !line.is_empty());
        let delimiter = delimiter(header.unwrap_or(""));
        let mut reader = csv::ReaderBuilder::new()
            .delimiter(delimiter)
            .flexible(true)
            .trim(csv::Trim::All)
            .from_reader(std::io::Cursor::new(text.into_owned().into_bytes()));
        let header = reader
            .headers()
            .map_err(|error| wrong(1, "", error.to_string()))?
            .clone();
        let columns: Vec<String> = header.iter().map(str::to_ascii_lowercase).collect();
        if let Some(missing) = known[..required]
            .iter()
            .find(|name| !columns.iter().any(|column| column == *name))
        {
            return Err(wrong(1, missing, "this column is missing".to_owned()));
        }
        for (at, column) in columns.iter().enumerate() {
            if columns[..at].contains(column) {
                return Err(wrong(1, column, "this column is there twice".to_owned()));
            }
            if !known.contains(&column.as_str()) && !column.starts_with("x_") {
                let text = format!(
                    "unknown column; known are {}, and x_… is ignored",
                    known.join(", ")
                );
                return Err(wrong(1, column, text));
            }
        }
        Ok(Self {
            reader,
            fields: columns.len(),
            columns,
            record: csv::StringRecord::new(),
        })
    }

    /// The next row, if there is one.
    pub(crate) fn next(&mut self) -> Result<Option<Row<'_>>, PaymentsError> {
        let more = self.reader.read_record(&mut self.record).map_err(|error| {
            let line = error.position().map_or(0, |at| line_at(&self.reader, at));
            wrong(line, "", error.to_string())
        })?;
        if !more {
            return Ok(None);
        }
        let at = self.record.position();
        let line = at.map_or(0, |at| line_at(&self.reader, at));
        let position = at.map_or(0, csv::Position::byte);
        if let Some(at) = self.record.iter().position(|field| field.contains('\n')) {
            let column = self.columns.get(at).map_or("", String::as_str);
            return Err(wrong(
                line,
                column,
                "a line break inside a field: is a closing quote missing?".to_owned(),
            ));
        }
        let given = self.record.len();
        let wrong =
            (given != self.fields).then(|| format!("has {given} fields, the header has {}", self.fields));
        Ok(Some(Row {
            columns: &self.columns,
            record: &self.record,
            line,
            position,
            wrong,
        }))
    }
}

/// The line on which a record begins. Its position is where the one before it ended: that may be between `\r` and
/// `\n`, or before blank lines.
fn line_at(reader: &csv::Reader<std::io::Cursor<Vec<u8>>>, at: &csv::Position) -> u64 {
    let text = reader.get_ref().get_ref();
    let from = usize::try_from(at.byte()).map_or(text.len(), |byte| byte.min(text.len()));
    let breaks = text[from..]
        .iter()
        .take_while(|byte| matches!(byte, b'\r' | b'\n'));
    at.line() + breaks.filter(|byte| **byte == b'\n').count() as u64
}

impl Row<'_> {
    /// The field of that column, without blanks; `None` when empty or absent.
    pub(crate) fn get(&self, column: &str) -> Option<&str> {
        let at = self.columns.iter().position(|name| name == column)?;
        self.record.get(at).filter(|field| !field.is_empty())
    }

    fn owned(&self, column: &str) -> Option<String> {
        self.get(column).map(str::to_owned)
    }

    /// An issue of this row.
    pub(crate) fn issue(&self, column: &str, reason: Reason, text: String) -> Issue {
        Issue {
            line: self.line,
            path: column.to_owned(),
            reason,
            text,
        }
    }
}

fn wrong(line: u64, column: &str, text: String) -> PaymentsError {
    PaymentsError::Csv(Located::new(line, column, text))
}

/// The one that occurs most in the header.
fn delimiter(header: &str) -> u8 {
    let count = |delimiter: u8| header.bytes().filter(|byte| *byte == delimiter).count();
    [b',', b';', b'\t']
        .into_iter()
        .max_by_key(|delimiter| (count(*delimiter), *delimiter == b','))
        .unwrap_or(b',')
}
