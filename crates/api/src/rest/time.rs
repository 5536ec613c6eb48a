//! Moments in requests (pure): nanoseconds since the Unix epoch, or RFC 3339.

use ledger::TimestampNs;

const WHAT: &str = "must be nanoseconds since 1970, or RFC 3339 such as 2026-01-31T12:00:00Z";

/// The moment that the text names.
pub(crate) fn parse(text: &str) -> Result<TimestampNs, String> {
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        let number = super::body::decimal(text, u128::from(u64::MAX))
            .map_err(|detail| detail.unwrap_or_else(|| WHAT.to_owned()))?;
        return u64::try_from(number)
            .map(TimestampNs)
            .map_err(|_| WHAT.to_owned());
    }
    let moment: jiff::Timestamp = text.parse().map_err(|_| WHAT.to_owned())?;
    // Before 1970 nothing was stamped, nor will be after 2554; 0 would mean "any".
    let nanoseconds = moment.as_nanosecond().clamp(1, i128::from(u64::MAX));
    Ok(TimestampNs(u64::try_from(nanoseconds).expect("clamped")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nanoseconds_and_rfc_3339_name_the_same_moment() {
        let moment = Ok(TimestampNs(1_769_860_800_000_000_001));
        assert_eq!(parse("1769860800000000001"), moment);
        assert_eq!(parse("2026-01-31T12:00:00.000000001Z"), moment);
        assert_eq!(parse("2026-01-31T17:00:00.000000001+05:00"), moment);
    }

    #[test]
    fn other_texts_are_refused() {
        for text in ["", "yesterday", "2026-01-31", "-1", "1.5", "18446744073709551616"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn moments_that_no_timestamp_can_name_are_the_nearest_one() {
        assert_eq!(parse("1969-12-31T23:59:59Z"), Ok(TimestampNs(1)));
        assert_eq!(parse("3000-01-01T00:00:00Z"), Ok(TimestampNs(u64::MAX)));
    }
}
