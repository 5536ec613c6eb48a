//! Path, query and header parameters (pure). Owns: their meaning and the refusal of unknown ones.

use super::body::decimal;
use super::page::{self, Kind};
use super::{requests, time};
use crate::error::{ApiError, Place};
use axum::http::{HeaderMap, header};
use ledger::{Code, LedgerId, TimestampNs};
use std::borrow::Cow;
use std::time::Duration;

/// Header: how long the client will wait, such as `5`, `5s` or `250ms`.
pub(crate) const REQUEST_TIMEOUT: &str = "request-timeout";
/// Header: makes ids of events that name none.
pub(crate) const IDEMPOTENCY_KEY: &str = "idempotency-key";

fn number(name: &str, text: &str, max: u128) -> Result<u128, ApiError> {
    decimal(text, max).map_err(|detail| {
        ApiError::parameter(
            name,
            detail.unwrap_or_else(|| "must be a non-negative integer".to_owned()),
        )
    })
}

/// A number of at most 32 bits.
pub(crate) fn narrow(name: &str, text: &str, max: u32) -> Result<u32, ApiError> {
    Ok(u32::try_from(number(name, text, u128::from(max))?).expect("at most `max`"))
}

/// An id in the path.
pub(crate) fn id(text: &str) -> Result<u128, ApiError> {
    number("id", text, u128::MAX)
}

/// The parameters of a query string, each one known and given at most once.
pub(crate) fn query<'a, const N: usize>(
    query: Option<&'a str>,
    known: &[&str; N],
) -> Result<[Option<Cow<'a, str>>; N], ApiError> {
    let mut slots = [const { None }; N];
    for pair in query
        .unwrap_or_default()
        .split('&')
        .filter(|pair| !pair.is_empty())
    {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let name = unescape(name).ok_or_else(|| ApiError::parameter(name, "is badly escaped"))?;
        let Some(slot) = known.iter().position(|known| *known == name) else {
            return Err(ApiError::parameter(&name, "is not a known parameter"));
        };
        let value = unescape(value).ok_or_else(|| ApiError::parameter(&name, "is badly escaped"))?;
        if slots[slot].replace(value).is_some() {
            return Err(ApiError::parameter(&name, "is given twice"));
        }
    }
    Ok(slots)
}

/// Percent escapes undone; a plus sign is kept, so that RFC 3339 offsets may be given as they are.
fn unescape(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains('%') {
        return Some(Cow::Borrowed(text));
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        rest = tail;
        if first != b'%' {
            bytes.push(first);
            continue;
        }
        let (pair, tail) = tail.split_at_checked(2)?;
        let digit = |b: u8| char::from(b).to_digit(16).and_then(|d| u8::try_from(d).ok());
        bytes.push(digit(pair[0])? << 4 | digit(pair[1])?);
        rest = tail;
    }
    String::from_utf8(bytes).ok().map(Cow::Owned)
}

/// Parameters of an account's transfers.
pub(crate) const ENTRIES: [&str; 12] = [
    "debits",
    "credits",
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

/// Which transfers of an account are asked for: debits, credits, and the other conditions.
pub(crate) fn entries(text: Option<&str>) -> Result<(bool, bool, history::Filter), ApiError> {
    let values = query(text, &ENTRIES)?;
    let value = |name: &str| {
        let at = ENTRIES
            .iter()
            .position(|known| *known == name)
            .expect("the name is in the table");
        values[at].as_deref()
    };
    let flag = |name: &str| match value(name) {
        None | Some("true") => Ok(true),
        Some("false") => Ok(false),
        Some(_) => Err(ApiError::parameter(name, "must be true or false")),
    };
    let small = |name: &str, max: u32| value(name).map_or(Ok(0), |text| narrow(name, text, max));
    let wide = |name: &str, max: u128| value(name).map_or(Ok(0), |text| number(name, text, max));
    let (debits, credits) = (flag("debits")?, flag("credits")?);
    if !debits && !credits {
        return Err(ApiError::parameter(
            "debits",
            history::FilterError::Side.to_string(),
        ));
    }
    let filter = history::Filter {
        account: None,
        user_data_128: wide("user_data_128", u128::MAX)?,
        user_data_64: u64::try_from(wide("user_data_64", u128::from(u64::MAX))?).expect("at most 64 bits"),
        user_data_32: small("user_data_32", u32::MAX)?,
        ledger: LedgerId(small("ledger", u32::MAX)?),
        code: Code(u16::try_from(small("code", u32::from(u16::MAX))?).expect("at most 16 bits")),
        timestamp_min: moment("timestamp_min", value("timestamp_min"))?.unwrap_or_default(),
        timestamp_max: moment("timestamp_max", value("timestamp_max"))?.unwrap_or_default(),
        limit: match value("limit") {
            Some(text) => narrow("limit", text, u32::MAX)?,
            None => requests::LIMIT_DEFAULT,
        },
        order: match value("order") {
            Some(text) => {
                requests::order(text).ok_or_else(|| ApiError::parameter("order", requests::ORDER_NAMES))?
            }
            None => history::Order::default(),
        },
        after: value("page")
            .map(|text| {
                page::parse(text, Kind::Transfers).ok_or_else(|| ApiError::parameter("page", page::BAD_PAGE))
            })
            .transpose()?,
    };
    filter.validate().map_err(|error| {
        let name = if error == history::FilterError::Limit {
            "limit"
        } else {
            "timestamp_min"
        };
        ApiError::parameter(name, error.to_string())
    })?;
    Ok((debits, credits, filter))
}

/// A moment, when it is given.
pub(crate) fn moment(name: &str, text: Option<&str>) -> Result<Option<TimestampNs>, ApiError> {
    text.map(|text| time::parse(text).map_err(|detail| ApiError::parameter(name, detail)))
        .transpose()
}

/// How long the client will wait.
pub(crate) fn timeout(headers: &HeaderMap, max: Duration) -> Result<Option<Duration>, ApiError> {
    let Some(value) = headers.get(REQUEST_TIMEOUT) else {
        return Ok(None);
    };
    let place = || Place::Header("Request-Timeout");
    let max_ms = max.as_millis();
    let bad = || {
        ApiError::field(
            place(),
            format!("must be seconds or milliseconds such as 5, 5s or 250ms, up to {max_ms}ms"),
        )
    };
    let text = value.to_str().map_err(|_| bad())?;
    let (digits, unit) = match text.strip_suffix("ms") {
        Some(digits) => (digits, 1),
        None => (text.strip_suffix('s').unwrap_or(text), 1_000),
    };
    let count = decimal(digits, 1_000_000_000).map_err(|_| bad())? * unit;
    if count == 0 || count > max_ms {
        return Err(bad());
    }
    Ok(Some(Duration::from_millis(
        u64::try_from(count).map_err(|_| bad())?,
    )))
}

/// The idempotency key: 1 to 255 visible ASCII characters or spaces.
pub(crate) fn idempotency_key(headers: &HeaderMap) -> Result<Option<&[u8]>, ApiError> {
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    let bytes = value.as_bytes();
    let fits = (1..=wire::KEY_BYTES_MAX).contains(&bytes.len());
    if !fits || !bytes.iter().all(|b| (0x20..0x7f).contains(b)) || values.next().is_some() {
        let place = Place::Header("Idempotency-Key");
        return Err(ApiError::field(
            place,
            "must be given once, with 1 to 255 visible ASCII characters",
        ));
    }
    Ok(Some(bytes))
}

/// Whether the body is declared to be JSON.
pub(crate) fn is_json(headers: &HeaderMap) -> bool {
    headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .is_some_and(|essence| essence.trim().eq_ignore_ascii_case("application/json"))
}

/// See [`super::fuzz`].
pub(crate) fn fuzz(bytes: &[u8]) -> Option<ApiError> {
    let text = std::str::from_utf8(bytes).ok()?;
    entries(Some(text)).err()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn with(name: &'static str, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name.parse().unwrap(), HeaderValue::from_static(value))])
    }

    #[test]
    fn timeouts_are_seconds_or_milliseconds_within_the_bound() {
        let read = |text| timeout(&with("request-timeout", text), Duration::from_secs(300));
        assert_eq!(read("5"), Ok(Some(Duration::from_secs(5))));
        assert_eq!(read("5s"), Ok(Some(Duration::from_secs(5))));
        assert_eq!(read("250ms"), Ok(Some(Duration::from_millis(250))));
        for bad in ["0", "301", "1.5", "-1", "ms", "", "5m"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn unknown_and_repeated_parameters_are_refused_by_name() {
        let names = |text| entries(Some(text)).unwrap_err().to_string();
        assert_eq!(names("limt=5"), "limt: is not a known parameter");
        assert_eq!(names("limit=5&limit=5"), "limit: is given twice");
        assert_eq!(names("limit=%zz"), "limit: is badly escaped");
        assert!(names("debits=false&credits=false").starts_with("debits: at least one"));
        assert!(names("limit=0").starts_with("limit: limit must be"));
        assert!(names("timestamp_min=2&timestamp_max=1").starts_with("timestamp_min: "));
        let (debits, credits, filter) = entries(Some("credits=false&order=oldest%5ffirst&")).unwrap();
        assert!(debits && !credits);
        assert_eq!(filter.order, history::Order::OldestFirst);
    }

    #[test]
    fn only_json_is_taken() {
        assert!(is_json(&with("content-type", "application/json; charset=utf-8")));
        assert!(is_json(&with("content-type", "Application/JSON")));
        assert!(!is_json(&with("content-type", "text/plain")));
        assert!(!is_json(&HeaderMap::new()));
    }

    #[test]
    fn idempotency_keys_are_bounded() {
        assert_eq!(
            idempotency_key(&with("idempotency-key", "a b")),
            Ok(Some(&b"a b"[..]))
        );
        assert!(idempotency_key(&with("idempotency-key", "")).is_err());
        assert_eq!(idempotency_key(&HeaderMap::new()), Ok(None));
    }
}
