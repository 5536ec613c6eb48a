//! Faults of this crate: what makes a whole file, mapping or statement impossible. Owns: stable codes.
//! A payment that is refused is no fault; see [`crate::Reason`].

use std::fmt;

/// A place in a file and what is wrong there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located {
    /// From 1; 0 when it concerns the file as a whole.
    pub line: u64,
    /// Path of the element, or name of the column or field; may be empty.
    pub path: String,
    /// What is wrong, for people.
    pub text: String,
}

impl Located {
    pub(crate) fn new(line: u64, path: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            line,
            path: path.into(),
            text: text.into(),
        }
    }
}

impl fmt::Display for Located {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line > 0 {
            write!(f, "line {}: ", self.line)?;
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.text)
    }
}

/// Why the ledger could not be asked.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub struct PortError {
    /// For people.
    pub text: String,
    /// Whether the same call may be made again as it is; it always may where ids decide.
    pub retryable: bool,
    /// What lies below, if anything.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl PortError {
    /// An error that is only a text.
    #[must_use]
    pub fn new(text: impl Into<String>, retryable: bool) -> Self {
        Self {
            text: text.into(),
            retryable,
            source: None,
        }
    }
}

/// What this crate can fail with. Nothing was booked, or what was booked is safe to import again: ids are derived
/// from the file, so that a repeat changes nothing.
#[derive(Debug, thiserror::Error)]
pub enum PaymentsError {
    /// The bytes are not text in the encoding that they claim.
    #[error("PAY-0001: {0}")]
    Encoding(Located),
    /// Not well-formed XML, cut short, or beyond a bound.
    #[error("PAY-0002: {0}")]
    Xml(Located),
    /// Another message or version than pain.001.001.03 to pain.001.001.13.
    #[error("PAY-0003: {0}")]
    UnknownMessage(Located),
    /// Well-formed, but something without which nothing can be booked is missing or twice there.
    #[error("PAY-0004: {0}")]
    Content(Located),
    /// A CSV file that cannot be read as a whole.
    #[error("PAY-0005: {0}")]
    Csv(Located),
    /// The mapping file is wrong.
    #[error("PAY-0006: {file}: {at}")]
    Mapping {
        /// Name of the file as given.
        file: String,
        /// Where and what.
        at: Located,
    },
    /// The ledger could not be asked.
    #[error("PAY-0007: the ledger did not answer: {0}")]
    Port(#[source] PortError),
    /// The ledger answered something that cannot be.
    #[error("PAY-0008: the ledger answered {0}")]
    Answer(String),
    /// A statement whose entries do not lead from the opening to the closing balance.
    #[error("PAY-0009: {0}")]
    Statement(String),
    /// Writing failed.
    #[error("PAY-0010: writing failed")]
    Write(#[source] std::io::Error),
    /// The file is larger than the bound.
    #[error("PAY-0011: the file has {bytes} bytes; at most {max} are read")]
    TooLarge {
        /// Its size.
        bytes: u64,
        /// The bound.
        max: u64,
    },
    /// The ledger's description contradicts the mapping.
    #[error("PAY-0012: ledger {ledger}: {text}")]
    Ledger {
        /// Its number.
        ledger: u32,
        /// What is wrong.
        text: String,
    },
}

impl PaymentsError {
    /// The stable code, `PAY-0001` for example.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Encoding(_) => "PAY-0001",
            Self::Xml(_) => "PAY-0002",
            Self::UnknownMessage(_) => "PAY-0003",
            Self::Content(_) => "PAY-0004",
            Self::Csv(_) => "PAY-0005",
            Self::Mapping { .. } => "PAY-0006",
            Self::Port(_) => "PAY-0007",
            Self::Answer(_) => "PAY-0008",
            Self::Statement(_) => "PAY-0009",
            Self::Write(_) => "PAY-0010",
            Self::TooLarge { .. } => "PAY-0011",
            Self::Ledger { .. } => "PAY-0012",
        }
    }

    /// Whether the same call may succeed later as it is.
    #[must_use]
    pub const fn retryable(&self) -> bool {
        match self {
            Self::Port(error) => error.retryable,
            Self::Write(_) => true,
            _ => false,
        }
    }

    /// The place in a file, when there is one.
    #[must_use]
    pub const fn at(&self) -> Option<&Located> {
        match self {
            Self::Encoding(at)
            | Self::Xml(at)
            | Self::UnknownMessage(at)
            | Self::Content(at)
            | Self::Csv(at)
            | Self::Mapping { at, .. } => Some(at),
            _ => None,
        }
    }
}

impl From<PortError> for PaymentsError {
    fn from(error: PortError) -> Self {
        Self::Port(error)
    }
}

impl From<std::io::Error> for PaymentsError {
    fn from(error: std::io::Error) -> Self {
        Self::Write(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_pinned_and_lead_every_message() {
        let at = || Located::new(7, "GrpHdr", "is wrong");
        let all = [
            PaymentsError::Encoding(at()),
            PaymentsError::Xml(at()),
            PaymentsError::UnknownMessage(at()),
            PaymentsError::Content(at()),
            PaymentsError::Csv(at()),
            PaymentsError::Mapping {
                file: "m.toml".to_owned(),
                at: at(),
            },
            PaymentsError::Port(PortError::new("no writer", true)),
            PaymentsError::Answer("nothing".to_owned()),
            PaymentsError::Statement("does not add up".to_owned()),
            PaymentsError::Write(std::io::Error::other("full")),
            PaymentsError::TooLarge { bytes: 2, max: 1 },
            PaymentsError::Ledger {
                ledger: 978,
                text: "has another scale".to_owned(),
            },
        ];
        for (number, error) in (1..).zip(&all) {
            assert_eq!(error.code(), format!("PAY-{number:04}"));
            assert!(error.to_string().starts_with(error.code()), "{error}");
        }
        assert_eq!(all[1].to_string(), "PAY-0002: line 7: GrpHdr: is wrong");
        assert!(all[6].retryable() && !all[0].retryable());
        assert_eq!(all[5].at(), Some(&at()));
    }
}
