//! Bodies of requests, as the ledger's types (pure). Owns: which fields there are and what each may hold.

use super::body::{Path, Value, parse};
use super::page::{self, Kind};
use super::time;
use crate::error::ApiError;
use ledger::{
    Account, AccountFlags, AccountId, Amount, Balances, Code, EVENTS_PER_REQUEST_MAX, LedgerDescription,
    LedgerId, Posting, Side, TimestampNs, TransactionHead, Transfer, TransferFlags, TransferId,
};
use wire::flags;

/// Fields of an account.
pub(crate) const ACCOUNT: [&str; 13] = [
    "id",
    "debits_pending",
    "debits_posted",
    "credits_pending",
    "credits_posted",
    "user_data_128",
    "user_data_64",
    "user_data_32",
    "ledger",
    "code",
    "flags",
    "timestamp",
    "metadata",
];

/// Fields of a transfer.
pub(crate) const TRANSFER: [&str; 14] = [
    "id",
    "debit_account_id",
    "credit_account_id",
    "amount",
    "pending_id",
    "user_data_128",
    "user_data_64",
    "user_data_32",
    "timeout",
    "ledger",
    "code",
    "flags",
    "timestamp",
    "metadata",
];

/// Fields of a transaction.
pub(crate) const TRANSACTION: [&str; 7] = [
    "id",
    "postings",
    "code",
    "user_data_128",
    "user_data_64",
    "user_data_32",
    "metadata",
];

/// Fields of a posting.
pub(crate) const POSTING: [&str; 4] = ["account_id", "ledger", "side", "amount"];

/// Fields of a query.
pub(crate) const QUERY: [&str; 10] = [
    "user_data_128",
    "user_data_64",
    "user_data_32",
    "ledger",
    "code",
    "timestamp_min",
    "timestamp_max",
    "limit",
    "order",
    "page",
];

/// Fields of a ledger's description.
pub(crate) const DESCRIPTION: [&str; 3] = ["name", "currency", "scale"];

/// How many results a query gives when it does not say.
pub(crate) const LIMIT_DEFAULT: u32 = 100;

/// Events of a request, with what only some have.
#[derive(Debug)]
pub(crate) struct Batch<E> {
    /// In order.
    pub events: Vec<E>,
    /// Index and kept form, by rising index.
    pub metadata: Vec<(u32, String)>,
    /// Those that name no id, by rising index.
    pub without_id: Vec<u32>,
}

/// A transaction before it is split.
#[derive(Debug)]
pub(crate) struct Transaction {
    /// `id` 0 when none is given.
    pub head: TransactionHead,
    pub has_id: bool,
    pub postings: Vec<Posting>,
    pub metadata: Option<String>,
}

/// An object's fields: reads each by its place in the table of names.
struct Reader<'a, 'p, const N: usize> {
    names: &'p [&'static str; N],
    values: [Option<Value<'a>>; N],
    path: Path<'p>,
}

impl<'a, 'p, const N: usize> Reader<'a, 'p, N> {
    fn new(value: Value<'a>, path: Path<'p>, names: &'p [&'static str; N]) -> Result<Self, ApiError> {
        Ok(Self {
            names,
            values: value.object(&path, names)?,
            path,
        })
    }

    fn value(&self, name: &str) -> Option<(Value<'a>, Path<'_>)> {
        let at = self
            .names
            .iter()
            .position(|known| *known == name)
            .expect("the name is in the table");
        self.values[at].map(|value| (value, Path::Key(&self.path, self.names[at])))
    }

    fn required(&self, name: &'static str) -> Result<(Value<'a>, Path<'_>), ApiError> {
        self.value(name)
            .ok_or_else(|| Path::Key(&self.path, name).fail("is missing"))
    }

    fn wide(&self, name: &str, max: u128) -> Result<u128, ApiError> {
        self.value(name)
            .map_or(Ok(0), |(value, path)| value.wide(&path, max))
    }

    fn u128(&self, name: &str) -> Result<u128, ApiError> {
        self.wide(name, u128::MAX)
    }

    fn u64(&self, name: &str) -> Result<u64, ApiError> {
        Ok(u64::try_from(self.wide(name, u128::from(u64::MAX))?).expect("at most 64 bits"))
    }

    fn narrow(&self, name: &str, max: u32) -> Result<u32, ApiError> {
        self.value(name)
            .map_or(Ok(0), |(value, path)| value.narrow(&path, max))
    }

    fn code(&self) -> Result<Code, ApiError> {
        let code = self.narrow("code", u32::from(u16::MAX))?;
        Ok(Code(u16::try_from(code).expect("at most 16 bits")))
    }

    fn text(&self, name: &str) -> Result<String, ApiError> {
        self.value(name).map_or(Ok(String::new()), |(value, path)| {
            Ok(value.string(&path)?.into_owned())
        })
    }

    fn time(&self, name: &str) -> Result<TimestampNs, ApiError> {
        let Some((value, path)) = self.value(name) else {
            return Ok(TimestampNs(0));
        };
        if let Ok(text) = value.string(&path) {
            return time::parse(&text).map_err(|detail| path.fail(detail));
        }
        Ok(TimestampNs(self.u64(name)?))
    }
}

/// The one array that a body consists of; from 1 to 8,190 elements.
fn elements<'a>(body: &'a [u8], name: &'static str) -> Result<Vec<Value<'a>>, ApiError> {
    let root = Path::Root;
    let [value] = parse(body)?.object(&root, &[name])?;
    let path = Path::Key(&root, name);
    let elements = value.ok_or_else(|| path.fail("is missing"))?.array(&path)?;
    if elements.is_empty() || elements.len() > EVENTS_PER_REQUEST_MAX {
        return Err(path.fail("from 1 to 8190 are needed"));
    }
    Ok(elements)
}

fn batch<'a, const N: usize, E>(
    body: &'a [u8],
    name: &'static str,
    names: &[&'static str; N],
    read: impl Fn(&Reader<'a, '_, N>) -> Result<E, ApiError>,
) -> Result<Batch<E>, ApiError> {
    let elements = elements(body, name)?;
    let mut batch = Batch {
        events: Vec::with_capacity(elements.len()),
        metadata: Vec::new(),
        without_id: Vec::new(),
    };
    let list = Path::Key(&Path::Root, name);
    for (at, (index, element)) in (0u32..).zip(elements).enumerate() {
        let reader = Reader::new(element, Path::Index(&list, at), names)?;
        batch.events.push(read(&reader)?);
        if reader.value("id").is_none() {
            batch.without_id.push(index);
        }
        if let Some((value, path)) = reader.value("metadata") {
            batch.metadata.push((index, value.metadata(&path)?));
        }
    }
    Ok(batch)
}

/// `{"accounts": […]}`
pub(crate) fn accounts(body: &[u8]) -> Result<Batch<Account>, ApiError> {
    batch(body, "accounts", &ACCOUNT, |fields| {
        Ok(Account {
            id: AccountId(fields.u128("id")?),
            balances: Balances {
                debits_pending: Amount(fields.u128("debits_pending")?),
                debits_posted: Amount(fields.u128("debits_posted")?),
                credits_pending: Amount(fields.u128("credits_pending")?),
                credits_posted: Amount(fields.u128("credits_posted")?),
            },
            user_data_128: fields.u128("user_data_128")?,
            user_data_64: fields.u64("user_data_64")?,
            user_data_32: fields.narrow("user_data_32", u32::MAX)?,
            ledger: LedgerId(fields.narrow("ledger", u32::MAX)?),
            code: fields.code()?,
            flags: AccountFlags::from_bits_retain(
                fields
                    .value("flags")
                    .map_or(Ok(0), |(value, path)| value.flags(&path, flags::account_names()))?,
            ),
            timestamp: TimestampNs(fields.u64("timestamp")?),
        })
    })
}

/// `{"transfers": […]}`
pub(crate) fn transfers(body: &[u8]) -> Result<Batch<Transfer>, ApiError> {
    batch(body, "transfers", &TRANSFER, |fields| {
        Ok(Transfer {
            id: TransferId(fields.u128("id")?),
            debit_account_id: AccountId(fields.u128("debit_account_id")?),
            credit_account_id: AccountId(fields.u128("credit_account_id")?),
            amount: Amount(fields.u128("amount")?),
            pending_id: TransferId(fields.u128("pending_id")?),
            user_data_128: fields.u128("user_data_128")?,
            user_data_64: fields.u64("user_data_64")?,
            user_data_32: fields.narrow("user_data_32", u32::MAX)?,
            timeout: fields.narrow("timeout", u32::MAX)?,
            ledger: LedgerId(fields.narrow("ledger", u32::MAX)?),
            code: fields.code()?,
            flags: TransferFlags::from_bits_retain(
                fields
                    .value("flags")
                    .map_or(Ok(0), |(value, path)| value.flags(&path, flags::transfer_names()))?,
            ),
            timestamp: TimestampNs(fields.u64("timestamp")?),
        })
    })
}

/// `{"ids": […]}`
pub(crate) fn lookup(body: &[u8]) -> Result<Vec<u128>, ApiError> {
    let list = Path::Key(&Path::Root, "ids");
    let elements = elements(body, "ids")?;
    elements
        .into_iter()
        .enumerate()
        .map(|(at, value)| value.wide(&Path::Index(&list, at), u128::MAX))
        .collect()
}

/// `{"id": …, "postings": […], …}`
pub(crate) fn transaction(body: &[u8]) -> Result<Transaction, ApiError> {
    let fields = Reader::new(parse(body)?, Path::Root, &TRANSACTION)?;
    let (value, path) = fields.required("postings")?;
    let elements = value.array(&path)?;
    if elements.is_empty() || elements.len() > EVENTS_PER_REQUEST_MAX {
        return Err(path.fail("from 1 to 8190 are needed"));
    }
    let postings = elements
        .into_iter()
        .enumerate()
        .map(|(at, element)| posting(element, Path::Index(&path, at)))
        .collect::<Result<_, _>>()?;
    let metadata = fields
        .value("metadata")
        .map(|(value, path)| value.metadata(&path))
        .transpose()?;
    Ok(Transaction {
        head: TransactionHead {
            id: fields.u128("id")?,
            code: fields.code()?,
            user_data_128: fields.u128("user_data_128")?,
            user_data_64: fields.u64("user_data_64")?,
            user_data_32: fields.narrow("user_data_32", u32::MAX)?,
        },
        has_id: fields.value("id").is_some(),
        postings,
        metadata,
    })
}

fn posting(value: Value<'_>, path: Path<'_>) -> Result<Posting, ApiError> {
    let fields = Reader::new(value, path, &POSTING)?;
    for name in POSTING {
        fields.required(name)?;
    }
    let (side, path) = fields.required("side")?;
    let side = match &*side.string(&path)? {
        "debit" => Side::Debit,
        "credit" => Side::Credit,
        _ => return Err(path.fail("must be debit or credit")),
    };
    Ok(Posting {
        account: AccountId(fields.u128("account_id")?),
        ledger: LedgerId(fields.narrow("ledger", u32::MAX)?),
        side,
        amount: Amount(fields.u128("amount")?),
    })
}

/// `{"name": …, "currency": …, "scale": …}`
pub(crate) fn description(ledger: LedgerId, body: &[u8]) -> Result<LedgerDescription, ApiError> {
    let fields = Reader::new(parse(body)?, Path::Root, &DESCRIPTION)?;
    let scale = fields.narrow("scale", u32::from(u8::MAX))?;
    Ok(LedgerDescription {
        ledger,
        name: fields.text("name")?,
        currency: fields.text("currency")?,
        scale: u8::try_from(scale).expect("at most 8 bits"),
    })
}

/// `{"ledger": …, "limit": …, …}`
pub(crate) fn query(body: &[u8], kind: Kind) -> Result<history::Filter, ApiError> {
    let fields = Reader::new(parse(body)?, Path::Root, &QUERY)?;
    let limit = match fields.value("limit") {
        Some((value, path)) => value.narrow(&path, u32::MAX)?,
        None => LIMIT_DEFAULT,
    };
    let order = match fields.value("order") {
        Some((value, path)) => order(&value.string(&path)?).ok_or_else(|| path.fail(ORDER_NAMES))?,
        None => history::Order::default(),
    };
    let after = match fields.value("page") {
        Some((value, path)) => {
            Some(page::parse(&value.string(&path)?, kind).ok_or_else(|| path.fail(page::BAD_PAGE))?)
        }
        None => None,
    };
    let filter = history::Filter {
        account: None,
        user_data_128: fields.u128("user_data_128")?,
        user_data_64: fields.u64("user_data_64")?,
        user_data_32: fields.narrow("user_data_32", u32::MAX)?,
        ledger: LedgerId(fields.narrow("ledger", u32::MAX)?),
        code: fields.code()?,
        timestamp_min: fields.time("timestamp_min")?,
        timestamp_max: fields.time("timestamp_max")?,
        limit,
        order,
        after,
    };
    filter.validate()?;
    Ok(filter)
}

pub(crate) const ORDER_NAMES: &str = "must be newest_first or oldest_first";

pub(crate) fn order(name: &str) -> Option<history::Order> {
    match name {
        "newest_first" => Some(history::Order::NewestFirst),
        "oldest_first" => Some(history::Order::OldestFirst),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal<T>(result: Result<T, ApiError>) -> String {
        result.err().expect("it must be refused").to_string()
    }

    #[test]
    fn a_transfer_is_read_with_all_its_fields() {
        let body = br#"{"transfers":[{"id":"340282366920938463463374607431768211454","debit_account_id":1,
            "credit_account_id":"2","amount":18446744073709551616,"pending_id":"3","user_data_128":"4","user_data_64":5,
            "user_data_32":6,"timeout":7,"ledger":8,"code":9,"flags":["pending","linked"],"timestamp":"10",
            "metadata":{ "a" : [1] }},{"amount":1}]}"#;
        let batch = transfers(body).unwrap();
        let expected = Transfer {
            id: TransferId(u128::MAX - 1),
            debit_account_id: AccountId(1),
            credit_account_id: AccountId(2),
            amount: Amount(1 << 64),
            pending_id: TransferId(3),
            user_data_128: 4,
            user_data_64: 5,
            user_data_32: 6,
            timeout: 7,
            ledger: LedgerId(8),
            code: Code(9),
            flags: TransferFlags::PENDING | TransferFlags::LINKED,
            timestamp: TimestampNs(10),
        };
        assert_eq!(batch.events[0], expected);
        assert_eq!(batch.metadata, [(0, r#"{"a":[1]}"#.to_owned())]);
        assert_eq!(batch.without_id, [1]);
    }

    #[test]
    fn what_is_wrong_is_named_by_its_pointer() {
        let cases: [(&[u8], &str); 9] = [
            (
                br#"{"transfers":[{"id":1},{"id":1,"amount":-5}]}"#,
                "/transfers/1/amount: must be a non-negative",
            ),
            (
                br#"{"transfers":[{"amout":1}]}"#,
                "/transfers/0/amout: is not a known field",
            ),
            (
                br#"{"transfers":[{"flags":["pending","pending"]}]}"#,
                "/transfers/0/flags/1: is given twice",
            ),
            (
                br#"{"transfers":[{"flags":["closed"]}]}"#,
                "/transfers/0/flags/0: is not the name of a flag",
            ),
            (
                br#"{"transfers":[{"code":65536}]}"#,
                "/transfers/0/code: must be at most 65535",
            ),
            (
                br#"{"transfers":[{"metadata":[]}]}"#,
                "/transfers/0/metadata: must be a JSON object",
            ),
            (br#"{"transfers":[]}"#, "/transfers: from 1 to 8190"),
            (br#"{"transfers":[7]}"#, "/transfers/0: must be an object"),
            (br#"{"x":1}"#, "/x: is not a known field"),
        ];
        for (body, expected) in cases {
            let text = refusal(transfers(body));
            assert!(text.starts_with(expected), "{text}");
        }
        assert_eq!(refusal(transfers(b"{}")), "/transfers: is missing");
        assert_eq!(
            refusal(lookup(br#"{"ids":[1,1.5]}"#)).split(':').next(),
            Some("/ids/1")
        );
    }

    #[test]
    fn a_request_holds_at_most_8190_events() {
        let body = |count: usize| format!("{{\"ids\":[{}]}}", vec!["1"; count].join(","));
        assert_eq!(lookup(body(8_190).as_bytes()).unwrap().len(), 8_190);
        assert_eq!(
            refusal(lookup(body(8_191).as_bytes())),
            "/ids: from 1 to 8190 are needed"
        );
    }

    #[test]
    fn senseless_queries_are_refused_with_the_reason() {
        let read = |body: &str| query(body.as_bytes(), Kind::Transfers);
        assert_eq!(read("{}").unwrap().limit, LIMIT_DEFAULT);
        assert_eq!(
            refusal(read(r#"{"limit":0}"#)),
            "/limit: limit must be from 1 to 8190"
        );
        let bounds = r#"{"timestamp_min":"2","timestamp_max":"1"}"#;
        assert!(refusal(read(bounds)).starts_with("/timestamp_min: "));
        assert!(refusal(read(r#"{"order":"up"}"#)).starts_with("/order: must be newest_first"));
        assert!(refusal(read(r#"{"page":"a1.5"}"#)).starts_with("/page: "));
        assert_eq!(
            read(r#"{"page":"t1.5"}"#).unwrap().after,
            Some(ledger::RowNumber(5))
        );
        let dated = read(r#"{"timestamp_max":"1970-01-01T00:00:01Z"}"#).unwrap();
        assert_eq!(dated.timestamp_max, TimestampNs(1_000_000_000));
    }

    #[test]
    fn a_transaction_needs_all_of_each_posting() {
        let body = br#"{"id":"1","postings":[{"account_id":1,"ledger":1,"side":"debit"}]}"#;
        assert_eq!(refusal(transaction(body)), "/postings/0/amount: is missing");
        let body = br#"{"id":"1","postings":[{"account_id":1,"ledger":1,"side":"up","amount":1}]}"#;
        assert_eq!(
            refusal(transaction(body)),
            "/postings/0/side: must be debit or credit"
        );
    }
}
