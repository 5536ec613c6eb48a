//! What can go wrong with a projection. Codes are stable: `PRJ-00xx`. Texts are for operators, never for clients.

use journal::JournalError;
use journal_postgres::PostgresError;
use ledger::{ArchiveFault, Height, RestoreError};
use std::io;

/// The projection cannot go on as it is.
#[derive(Debug, thiserror::Error)]
pub enum ProjectionError {
    /// No session could be opened with the projection's database, or with that of the journal.
    #[error(
        "PRJ-0001: cannot connect to {target}: {}",
        journal_postgres::server_words(source)
    )]
    Connect {
        /// Hosts and database.
        target: String,
        /// Why.
        #[source]
        source: tokio_postgres::Error,
    },
    /// The server refused a statement, or the connection ended. A step that was under way is in the tables as a whole
    /// or not at all.
    #[error("PRJ-0002: cannot {action}: {}", journal_postgres::server_words(source))]
    Database {
        /// What was tried, as a verb.
        action: &'static str,
        /// Why.
        #[source]
        source: tokio_postgres::Error,
    },
    /// The schema is not the one that this version writes and reads.
    #[error(
        "PRJ-0003: the projection's schema has version {found}, this program knows {known}; {}",
        if found < known { "run the migration" } else { "run a newer program" }
    )]
    Schema {
        /// In the database; 0 when there is none.
        found: i32,
        /// Of this program.
        known: i32,
    },
    /// A configured value cannot be used.
    #[error("PRJ-0004: `{field}` {reason}")]
    Option {
        /// Which one.
        field: &'static str,
        /// Why.
        reason: String,
    },
    /// The journal is not the one from which the tables were made. Nothing is overwritten.
    #[error(
        "PRJ-0005: the tables stand at block {height} with hash {projected}, but the journal has {found} there: \
         another journal, or one that was restored; look into it, then rebuild the projection"
    )]
    Lineage {
        /// Where the tables stand.
        height: Height,
        /// Hash of the block there as it was projected, in hexadecimal.
        projected: String,
        /// What the journal has there.
        found: String,
    },
    /// Somebody else moved the tables since they were read: another projection runs, or they were reset.
    #[error("PRJ-0006: the tables are no longer at block {height}: somebody else moved them")]
    Moved {
        /// Where they were.
        height: Height,
    },
    /// The journal cannot be read.
    #[error("PRJ-0007: the journal cannot be read: {0}")]
    Journal(#[from] JournalError),
    /// The journal's database does not answer as it must.
    #[error("PRJ-0008: the journal's database: {0}")]
    JournalDatabase(#[from] PostgresError),
    /// A block came out other than logged.
    #[error("PRJ-0009: block {height}, entry {entry}, came out other than logged: {detail}")]
    Differs {
        /// Which block.
        height: Height,
        /// Which of its entries, from 0.
        entry: usize,
        /// What differs.
        detail: String,
    },
    /// A block was made under rules that this version does not know.
    #[error("PRJ-0010: block {height} follows rules {found}, this program knows {known}")]
    UnknownRules {
        /// Which block.
        height: Height,
        /// Its rules.
        found: u32,
        /// Ours.
        known: u32,
    },
    /// What stands in the tables cannot be the state of a ledger.
    #[error("PRJ-0011: the tables contradict themselves ({0}); rebuild the projection")]
    Tables(String),
    /// A server took the connection and said nothing: it is frozen, or lost.
    #[error("PRJ-0013: {server} is silent")]
    Silent {
        /// Address and port.
        server: String,
    },
    /// The system refused.
    #[error("PRJ-0012: cannot {action}: {source}")]
    System {
        /// What was tried, as a verb.
        action: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl ProjectionError {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Connect { .. } => "PRJ-0001",
            Self::Database { .. } => "PRJ-0002",
            Self::Schema { .. } => "PRJ-0003",
            Self::Option { .. } => "PRJ-0004",
            Self::Lineage { .. } => "PRJ-0005",
            Self::Moved { .. } => "PRJ-0006",
            Self::Journal(_) => "PRJ-0007",
            Self::JournalDatabase(_) => "PRJ-0008",
            Self::Differs { .. } => "PRJ-0009",
            Self::UnknownRules { .. } => "PRJ-0010",
            Self::Tables(_) => "PRJ-0011",
            Self::System { .. } => "PRJ-0012",
            Self::Silent { .. } => "PRJ-0013",
        }
    }

    /// Whether it may pass by itself, as a failover does. The others need somebody to look.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Connect { .. } | Self::Silent { .. } => true,
            // Data and definitions that do not fit each other will not fit them later either.
            Self::Database { source, .. } => source
                .code()
                .is_none_or(|state| !["22", "23", "42"].contains(&&state.code()[..2])),
            Self::Journal(error) => matches!(error, JournalError::Io { .. }),
            Self::JournalDatabase(error) => !matches!(
                error,
                PostgresError::Block(_) | PostgresError::Schema { .. } | PostgresError::Option { .. }
            ),
            _ => false,
        }
    }
}

impl From<RestoreError> for ProjectionError {
    fn from(error: RestoreError) -> Self {
        Self::Tables(error.to_string())
    }
}

/// What a block's replay says of an archive that was never asked.
pub(crate) fn unexpected(height: Height, entry: usize, fault: &ArchiveFault) -> ProjectionError {
    ProjectionError::Differs {
        height,
        entry,
        detail: fault.to_string(),
    }
}

/// A failed request.
pub(crate) fn failed(action: &'static str) -> impl FnOnce(tokio_postgres::Error) -> ProjectionError {
    move |source| ProjectionError::Database { action, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_stands_in_its_own_text() {
        let height = Height(7);
        let (text, word) = (String::new, "x");
        let errors = [
            ProjectionError::Schema { found: 0, known: 2 },
            ProjectionError::Option {
                field: word,
                reason: text(),
            },
            ProjectionError::Lineage {
                height,
                projected: text(),
                found: text(),
            },
            ProjectionError::Moved { height },
            ProjectionError::Journal(JournalError::Stopped),
            ProjectionError::JournalDatabase(PostgresError::Superseded(word)),
            ProjectionError::Differs {
                height,
                entry: 0,
                detail: text(),
            },
            ProjectionError::UnknownRules {
                height,
                found: 2,
                known: 1,
            },
            ProjectionError::Tables(text()),
            ProjectionError::System {
                action: word,
                source: io::ErrorKind::Other.into(),
            },
            ProjectionError::Silent { server: text() },
        ];
        let codes: Vec<_> = errors.iter().map(ProjectionError::code).collect();
        let numbers = [3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13];
        assert_eq!(codes, numbers.map(|number| format!("PRJ-{number:04}")));
        for error in &errors {
            let text = error.to_string();
            assert!(text.starts_with(&format!("{}: ", error.code())), "{text}");
        }
        let transient = errors.iter().filter(|error| error.is_transient());
        let transient: Vec<_> = transient.map(ProjectionError::code).collect();
        assert_eq!(transient, ["PRJ-0008", "PRJ-0013"]);
    }
}
