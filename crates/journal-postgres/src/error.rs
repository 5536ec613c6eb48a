//! What can go wrong between us and PostgreSQL. Codes are stable: `PGJ-00xx`. Texts are for operators, never for clients.

use journal::{Damage, JournalError};
use ledger::Height;
use std::io;
use std::path::PathBuf;
use tokio_postgres::error::{DbError, SqlState};

/// PostgreSQL, or the way to it, did not do what it must.
#[derive(Debug, thiserror::Error)]
pub enum PostgresError {
    /// No session could be opened.
    #[error("PGJ-0001: cannot connect to {target}: {}", server_words(source))]
    Connect {
        /// Hosts and database.
        target: String,
        /// Why.
        #[source]
        source: tokio_postgres::Error,
    },
    /// The server refused a statement; nothing of it was done.
    #[error("PGJ-0002: the server refused to {action}: {}", server_words(source))]
    Refused {
        /// What was tried, as a verb.
        action: &'static str,
        /// Why.
        #[source]
        source: tokio_postgres::Error,
    },
    /// The connection ended before the answer was whole: what was asked may have been done.
    #[error("PGJ-0003: the connection ended while it was to {action}: {reason}")]
    Broken {
        /// What was tried, as a verb.
        action: &'static str,
        /// What is known of it.
        reason: String,
    },
    /// The server warned before it was ready. A commit that did not wait for its standbys looks so.
    #[error("PGJ-0004: the server warned ({code}) while it was to {action}: {text}")]
    Warned {
        /// What was tried, as a verb.
        action: &'static str,
        /// SQLSTATE.
        code: String,
        /// In the server's language.
        text: String,
    },
    /// A setting of the server under which success would not mean what it must.
    #[error("PGJ-0005: `{name}` is `{value}`, but must be {wanted}")]
    Setting {
        /// Its name.
        name: &'static str,
        /// What it is.
        value: String,
        /// What it must be, in words.
        wanted: &'static str,
    },
    /// The server takes no writes.
    #[error("PGJ-0006: {target} is not the primary")]
    NotPrimary {
        /// Hosts and database.
        target: String,
    },
    /// The schema is not the one that this version writes and reads.
    #[error(
        "PGJ-0007: the schema has version {found}, this program knows {known}; {}",
        if found < known { "run the migration" } else { "run a newer program" }
    )]
    Schema {
        /// In the database; 0 when there is none.
        found: i32,
        /// Of this program.
        known: i32,
    },
    /// A configured value cannot be used.
    #[error("PGJ-0008: `{field}` {reason}")]
    Option {
        /// Which one.
        field: &'static str,
        /// Why.
        reason: String,
    },
    /// What stands in the tables is not what was acknowledged, or cannot be read.
    #[error("PGJ-0009: {0}")]
    Block(#[from] JournalError),
    /// Another term was claimed, or another block stands where ours was to follow.
    #[error("PGJ-0010: another writer holds the journal: {0}")]
    Superseded(&'static str),
    /// Given up on request; the socket was closed without a word.
    #[error("PGJ-0011: given up on request while it was to {action}")]
    Aborted {
        /// What was tried, as a verb.
        action: &'static str,
    },
    /// The system refused.
    #[error("PGJ-0012: cannot {action}: {source}")]
    System {
        /// What was tried, as a verb.
        action: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// An answer that has not the form that was asked for.
    #[error("PGJ-0013: the answer to {action} is not understood: {reason}")]
    Answer {
        /// What was asked.
        action: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// A block was committed, but it cannot be known whether any standby has it.
    #[error("PGJ-0014: the block is committed but not confirmed: {0}")]
    Unconfirmed(#[source] Box<PostgresError>),
    /// Sessions of ours that were given up still wait at the server for a standby; another would be one more.
    #[error("PGJ-0015: {0} sessions of ours wait at the server for a standby: none confirms what it commits")]
    Crowded(i64),
}

impl PostgresError {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Connect { .. } => "PGJ-0001",
            Self::Refused { .. } => "PGJ-0002",
            Self::Broken { .. } => "PGJ-0003",
            Self::Warned { .. } => "PGJ-0004",
            Self::Setting { .. } => "PGJ-0005",
            Self::NotPrimary { .. } => "PGJ-0006",
            Self::Schema { .. } => "PGJ-0007",
            Self::Option { .. } => "PGJ-0008",
            Self::Block(_) => "PGJ-0009",
            Self::Superseded(_) => "PGJ-0010",
            Self::Aborted { .. } => "PGJ-0011",
            Self::System { .. } => "PGJ-0012",
            Self::Answer { .. } => "PGJ-0013",
            Self::Unconfirmed(_) => "PGJ-0014",
            Self::Crowded(_) => "PGJ-0015",
        }
    }

    /// Whether what was asked may have been done all the same.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        matches!(
            self,
            Self::Broken { .. }
                | Self::Warned { .. }
                | Self::Aborted { .. }
                | Self::Answer { .. }
                | Self::Unconfirmed(_)
        )
    }

    /// Whether the server refused with this SQLSTATE.
    pub(crate) fn is_refusal(&self, state: &SqlState) -> bool {
        matches!(self, Self::Refused { source, .. } if source.code() == Some(state))
    }

    pub(crate) fn warned(action: &'static str, notice: &DbError) -> Self {
        Self::Warned {
            action,
            code: notice.code().code().to_owned(),
            text: notice.message().to_owned(),
        }
    }

    /// For those who ask through [`journal::BlockReader`], which speaks of files.
    pub(crate) fn into_journal(self, place: &str) -> JournalError {
        match self {
            Self::Block(error) => error,
            other => JournalError::Io {
                action: "read",
                path: PathBuf::from(place),
                source: io::Error::other(other),
            },
        }
    }
}

/// A block that is not sound, in a place that is no file.
pub(crate) fn damaged(place: &str, height: Height, damage: Damage) -> PostgresError {
    PostgresError::Block(JournalError::Damaged {
        file: PathBuf::from(place),
        offset: 0,
        height,
        damage,
    })
}

/// The server's own words, which the error's `Display` leaves out.
#[must_use]
pub fn server_words(error: &tokio_postgres::Error) -> String {
    error.as_db_error().map_or_else(
        || {
            let source = std::error::Error::source(error);
            source.map_or_else(|| error.to_string(), |source| format!("{error}: {source}"))
        },
        |refusal| format!("{} ({})", refusal.message(), refusal.code().code()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_stands_in_its_own_text() {
        let action = "x";
        let setting = PostgresError::Setting {
            name: "fsync",
            value: "off".into(),
            wanted: "`on`",
        };
        let (target, reason) = (String::new(), String::new());
        let errors = [
            PostgresError::Broken {
                action,
                reason: reason.clone(),
            },
            PostgresError::Warned {
                action,
                code: "01000".into(),
                text: String::new(),
            },
            PostgresError::NotPrimary { target },
            PostgresError::Schema { found: 0, known: 1 },
            PostgresError::Option {
                field: "url",
                reason: reason.clone(),
            },
            PostgresError::Block(JournalError::Stopped),
            PostgresError::Superseded("x"),
            PostgresError::Aborted { action },
            PostgresError::System {
                action,
                source: io::ErrorKind::Other.into(),
            },
            PostgresError::Answer { action, reason },
            PostgresError::Unconfirmed(Box::new(setting)),
        ];
        let codes: Vec<_> = errors.iter().map(PostgresError::code).collect();
        let numbers = [3, 4, 6, 7, 8, 9, 10, 11, 12, 13, 14];
        assert_eq!(codes, numbers.map(|number| format!("PGJ-{number:04}")));
        for error in &errors {
            assert!(
                error.to_string().starts_with(&format!("{}: ", error.code())),
                "{error}"
            );
        }
        let unknown: Vec<_> = errors
            .iter()
            .filter(|error| error.is_unknown())
            .map(PostgresError::code)
            .collect();
        assert_eq!(
            unknown,
            ["PGJ-0003", "PGJ-0004", "PGJ-0011", "PGJ-0013", "PGJ-0014"]
        );
    }
}
