//! Why a call has no answer. Owns: the one error type of the client and its stable codes.

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The deadline passed; it may have been applied or not. Repeating the same ids is safe.
    #[error("CLI-0001: the deadline passed; the outcome is unknown")]
    Unknown,
    /// The deadline passed and nothing was done.
    #[error("CLI-0002: the deadline passed; nothing was done: {0}")]
    NotDone(String),
    /// The request is refused as it stands. Nothing was done.
    #[error("CLI-0003: {0}")]
    Invalid(String),
    /// The endpoint is no valid address.
    #[error("CLI-0004: endpoint: {0}")]
    Endpoint(String),
    /// The server said what this client does not understand; whether something was done is not known.
    #[error("CLI-0005: {0}")]
    Protocol(String),
    /// What is asked for does not exist.
    #[error("CLI-0006: {0}")]
    NotFound(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_keeps_its_code() {
        let text = String::new;
        let all = [
            Error::Unknown,
            Error::NotDone(text()),
            Error::Invalid(text()),
            Error::Endpoint(text()),
            Error::Protocol(text()),
            Error::NotFound(text()),
        ];
        let codes: Vec<String> = all
            .iter()
            .map(|error| error.to_string()[..8].to_owned())
            .collect();
        assert_eq!(
            codes,
            [
                "CLI-0001", "CLI-0002", "CLI-0003", "CLI-0004", "CLI-0005", "CLI-0006"
            ]
        );
    }
}
