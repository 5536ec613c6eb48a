//! Page tokens (pure): opaque to clients, versioned, and bound to the kind of list that they continue.

use ledger::RowNumber;

/// What a list holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Accounts,
    Transfers,
}

pub(crate) const BAD_PAGE: &str = "must be next_page of an earlier answer to the same kind of query";

/// Letter and version.
const fn prefix(kind: Kind) -> &'static str {
    match kind {
        Kind::Accounts => "a1.",
        Kind::Transfers => "t1.",
    }
}

pub(crate) fn token(kind: Kind, after: RowNumber) -> String {
    format!("{}{}", prefix(kind), after.0)
}

pub(crate) fn parse(token: &str, kind: Kind) -> Option<RowNumber> {
    let number = super::body::decimal(token.strip_prefix(prefix(kind))?, u128::from(u64::MAX)).ok()?;
    u64::try_from(number).ok().map(RowNumber)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_continues_its_own_kind_of_list_only() {
        let token = token(Kind::Accounts, RowNumber(u64::MAX));
        assert_eq!(parse(&token, Kind::Accounts), Some(RowNumber(u64::MAX)));
        assert_eq!(parse(&token, Kind::Transfers), None);
        for bad in ["", "a1.", "a2.1", "a1.-1", "a1.01", "a1.18446744073709551616"] {
            assert_eq!(parse(bad, Kind::Accounts), None, "{bad}");
        }
    }
}
