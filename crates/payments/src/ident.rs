//! Identifiers of accounts and banks (pure): IBAN with its check digits, BIC, and everything else as a scheme
//! and a text. Owns: their form. Must not: know which of them are ours; that is the mapping's.

use std::fmt;

/// An account as a payment names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AccountRef {
    /// An IBAN in its electronic form: capitals, no blanks, check digits right.
    Iban(String),
    /// Any other identification.
    Other {
        /// Its scheme (`SchmeNm`), for example `BBAN`; empty when none is given.
        scheme: String,
        /// The identification as given, without blanks around it.
        id: String,
    },
}

impl AccountRef {
    /// The scheme that enters the derivation of ids: `IBAN` or the one given.
    #[must_use]
    pub fn scheme(&self) -> &str {
        match self {
            Self::Iban(_) => "IBAN",
            Self::Other { scheme, .. } => scheme,
        }
    }

    /// The identification itself.
    #[must_use]
    pub fn id(&self) -> &str {
        match self {
            Self::Iban(iban) => iban,
            Self::Other { id, .. } => id,
        }
    }

    /// Reads an account as a column of a CSV file or an argument gives it: `SCHEME:ID`, or an IBAN when it looks
    /// like one, or any other identification.
    ///
    /// # Errors
    /// When it looks like an IBAN but is none, or is empty or too long.
    pub fn parse(text: &str) -> Result<Self, IdentError> {
        let text = text.trim();
        if let Some((scheme, id)) = text.split_once(':') {
            if scheme.eq_ignore_ascii_case("IBAN") {
                return parse_iban(id).map(Self::Iban);
            }
            return Self::other(scheme, id);
        }
        if looks_like_iban(text) {
            return parse_iban(text).map(Self::Iban);
        }
        Self::other("", text)
    }

    /// An identification that is no IBAN.
    ///
    /// # Errors
    /// When it is empty or longer than 70 characters.
    pub fn other(scheme: &str, id: &str) -> Result<Self, IdentError> {
        let (scheme, id) = (scheme.trim(), id.trim());
        if id.is_empty() {
            return Err(IdentError::Empty);
        }
        if id.chars().count() > 70 || scheme.chars().count() > 35 {
            return Err(IdentError::TooLong);
        }
        Ok(Self::Other {
            scheme: scheme.to_owned(),
            id: id.to_owned(),
        })
    }
}

impl fmt::Display for AccountRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Other { scheme, id } if !scheme.is_empty() => write!(f, "{scheme}:{id}"),
            _ => f.write_str(self.id()),
        }
    }
}

/// Why an identifier is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentError {
    /// Nothing there.
    #[error("is empty")]
    Empty,
    /// Longer than the standard allows.
    #[error("is too long")]
    TooLong,
    /// Not two letters, two digits, 11 to 30 letters or digits.
    #[error("is not of the form of an IBAN")]
    IbanForm,
    /// The length is another one in its country.
    #[error("has {given} characters, but an IBAN of its country has {expected}")]
    IbanLength {
        /// How many were given.
        given: usize,
        /// How many there should be.
        expected: usize,
    },
    /// Modulo 97 is not 1.
    #[error("has wrong check digits")]
    IbanCheck,
    /// Not 8 or 11 characters as ISO 9362 has it.
    #[error("is not of the form of a BIC")]
    BicForm,
}

fn looks_like_iban(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() >= 15
        && bytes[..2].iter().all(u8::is_ascii_alphabetic)
        && bytes[2..4].iter().all(u8::is_ascii_digit)
}

/// Brings an IBAN into its electronic form and checks form, length and check digits.
///
/// # Errors
/// What is wrong with it.
pub fn parse_iban(text: &str) -> Result<String, IdentError> {
    let iban: String = text
        .chars()
        .filter(|c| !c.is_whitespace())
        .map(|c| c.to_ascii_uppercase())
        .take(40)
        .collect();
    if iban.is_empty() {
        return Err(IdentError::Empty);
    }
    let bytes = iban.as_bytes();
    let form = (15..=34).contains(&bytes.len())
        && bytes[..2].iter().all(u8::is_ascii_uppercase)
        && bytes[2..4].iter().all(u8::is_ascii_digit)
        && bytes[4..].iter().all(u8::is_ascii_alphanumeric);
    if !form {
        return Err(IdentError::IbanForm);
    }
    if let Some(expected) = iban_length(&iban[..2])
        && expected != bytes.len()
    {
        return Err(IdentError::IbanLength {
            given: bytes.len(),
            expected,
        });
    }
    if iban_remainder(bytes) == 1 {
        Ok(iban)
    } else {
        Err(IdentError::IbanCheck)
    }
}

/// The IBAN of a country and a BBAN, with its check digits computed.
///
/// # Panics
/// Never for ASCII letters and digits; other characters count as zero.
#[must_use]
pub fn make_iban(country: &str, bban: &str) -> String {
    let draft = format!("{country}00{bban}");
    format!("{country}{:02}{bban}", 98 - iban_remainder(draft.as_bytes()))
}

/// ISO 7064 MOD 97-10 over the characters from the fifth on, then the first four.
fn iban_remainder(bytes: &[u8]) -> u32 {
    let (head, tail) = bytes.split_at(4.min(bytes.len()));
    tail.iter().chain(head).fold(0, |sum, byte| match byte {
        b'0'..=b'9' => (sum * 10 + u32::from(byte - b'0')) % 97,
        b'A'..=b'Z' => (sum * 100 + u32::from(byte - b'A') + 10) % 97,
        _ => sum,
    })
}

/// Lengths by country; a country that is not here is checked by form and digits only.
fn iban_length(country: &str) -> Option<usize> {
    Some(match country {
        "NO" => 15,
        "BE" => 16,
        "DK" | "FI" | "FO" | "GL" | "NL" | "FK" | "SD" => 18,
        "MK" | "SI" => 19,
        "AT" | "BA" | "EE" | "KZ" | "LT" | "LU" | "XK" | "MN" => 20,
        "CH" | "CR" | "HR" | "LI" | "LV" => 21,
        "BG" | "BH" | "DE" | "GB" | "GE" | "IE" | "ME" | "RS" => 22,
        "AE" | "GI" | "IL" | "IQ" | "OM" | "TL" | "SO" => 23,
        "AD" | "CZ" | "ES" | "MD" | "PK" | "RO" | "SA" | "SE" | "SK" | "TN" | "VG" => 24,
        "LY" | "PT" | "ST" => 25,
        "IS" | "TR" => 26,
        "FR" | "GR" | "IT" | "MC" | "MR" | "SM" | "BI" | "DJ" => 27,
        "AL" | "AZ" | "BY" | "CY" | "DO" | "GT" | "HU" | "LB" | "PL" | "NI" | "SV" => 28,
        "BR" | "PS" | "QA" | "UA" => 29,
        "JO" | "KW" | "MU" | "YE" => 30,
        "MT" | "SC" => 31,
        "LC" => 32,
        "RU" => 33,
        _ => return None,
    })
}

/// Brings a BIC into capitals and checks its form: four letters or digits, two letters, two, and perhaps three
/// letters or digits.
///
/// # Errors
/// [`IdentError::BicForm`] or [`IdentError::Empty`].
pub fn parse_bic(text: &str) -> Result<String, IdentError> {
    let bic: String = text
        .trim()
        .chars()
        .take(12)
        .map(|c| c.to_ascii_uppercase())
        .collect();
    if bic.is_empty() {
        return Err(IdentError::Empty);
    }
    let bytes = bic.as_bytes();
    let form = matches!(bytes.len(), 8 | 11)
        && bytes.iter().all(u8::is_ascii_alphanumeric)
        && bytes[4..6].iter().all(u8::is_ascii_uppercase);
    if form { Ok(bic) } else { Err(IdentError::BicForm) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ibans_are_known_by_their_check_digits() {
        for iban in [
            "GB82 WEST 1234 5698 7654 32",
            "de89370400440532013000",
            "KZ86125KZT5004100100",
            "NO9386011117947",
        ] {
            assert!(parse_iban(iban).is_ok(), "{iban}");
        }
        assert_eq!(parse_iban("DE89370400440532013001"), Err(IdentError::IbanCheck));
        assert_eq!(
            parse_iban("DE8937040044053201300"),
            Err(IdentError::IbanLength {
                given: 21,
                expected: 22
            })
        );
        assert_eq!(parse_iban("DEX9370400440532013000"), Err(IdentError::IbanForm));
        assert_eq!(parse_iban("DE89ü70400440532013000"), Err(IdentError::IbanForm));
        assert_eq!(parse_iban(" "), Err(IdentError::Empty));
    }

    #[test]
    fn a_single_changed_digit_never_passes() {
        let good = "DE89370400440532013000";
        for at in 2..good.len() {
            for digit in b'0'..=b'9' {
                let mut bytes = good.as_bytes().to_vec();
                if bytes[at] == digit {
                    continue;
                }
                bytes[at] = digit;
                let text = String::from_utf8(bytes).expect("ASCII");
                assert_eq!(parse_iban(&text), Err(IdentError::IbanCheck), "{text}");
            }
        }
    }

    #[test]
    fn made_ibans_are_valid() {
        assert_eq!(make_iban("DE", "370400440532013000"), "DE89370400440532013000");
        for number in 0..500u32 {
            let iban = make_iban("KZ", &format!("999{number:013}"));
            assert_eq!(parse_iban(&iban), Ok(iban.clone()));
        }
    }

    #[test]
    fn bics_have_eight_or_eleven_characters() {
        assert_eq!(parse_bic("deutdeff"), Ok("DEUTDEFF".to_owned()));
        assert!(parse_bic("DEUTDEFF500").is_ok());
        for bad in ["DEUTDEF", "DEUT1EFF", "DEUTDEFF50", "DEUTDEFF5000", "DEUT-DEF"] {
            assert_eq!(parse_bic(bad), Err(IdentError::BicForm), "{bad}");
        }
    }

    #[test]
    fn accounts_are_read_with_and_without_a_scheme() {
        assert_eq!(
            AccountRef::parse("DE89 3704 0044 0532 0130 00"),
            Ok(AccountRef::Iban("DE89370400440532013000".to_owned()))
        );
        assert_eq!(AccountRef::parse("BBAN:123"), AccountRef::other("BBAN", "123"));
        assert_eq!(AccountRef::parse("123"), AccountRef::other("", "123"));
        assert_eq!(
            AccountRef::parse("DE89370400440532013001"),
            Err(IdentError::IbanCheck)
        );
        assert_eq!(AccountRef::parse(""), Err(IdentError::Empty));
    }
}
