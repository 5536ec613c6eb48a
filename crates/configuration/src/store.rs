//! The settings as an operator reads and changes them. Owns: the one transaction that makes a version. Must not: retry what
//! another change overtook.

use crate::keys::Keys;
use crate::{
    Change, ConfigurationError, Document, HISTORY_KEPT, Id, NodeState, Refusal, Revision, Settings, Version,
};
use etcd::proto::{KeyValue, TxnRequest};
use etcd::{Client, compare_absent, compare_modified, delete, one, put, under};
use std::sync::Arc;

/// The most old versions that one change removes: etcd takes 128 operations in a transaction.
const REMOVED_MAX: usize = 100;

/// The settings of one ledger in etcd.
pub struct Store {
    etcd: Arc<Client>,
    keys: Keys,
}

/// The document that counts.
#[derive(Clone, Debug)]
pub struct Current {
    /// In which revision it was written.
    pub revision: Revision,
    /// What it says, or why nobody accepts it.
    pub document: Result<Document, ConfigurationError>,
}

/// What a node says.
#[derive(Clone, Debug)]
pub struct NodeReport {
    /// Its name.
    pub name: String,
    /// What it applies, or why what it says is not understood.
    pub state: Result<NodeState, Refusal>,
}

impl Store {
    /// Of a ledger; asks nothing yet.
    ///
    /// # Errors
    /// The ledger's name cannot be one.
    pub fn new(etcd: Arc<Client>, ledger: &str) -> Result<Self, ConfigurationError> {
        let keys = Keys::new(ledger)?;
        Ok(Self { etcd, keys })
    }

    /// The document that counts; none before the first.
    ///
    /// # Errors
    /// [`ConfigurationError::Etcd`].
    pub async fn current(&self) -> Result<Option<Current>, ConfigurationError> {
        let answer = self
            .etcd
            .range("read the settings", &one(&self.keys.current))
            .await?;
        Ok(answer.kvs.first().map(|row| Current {
            revision: Revision(row.mod_revision),
            document: read(row),
        }))
    }

    /// The versions that are kept, by rising number.
    ///
    /// # Errors
    /// [`ConfigurationError::Etcd`].
    pub async fn history(
        &self,
    ) -> Result<Vec<(Version, Result<Document, ConfigurationError>)>, ConfigurationError> {
        let answer = self
            .etcd
            .range("read the history", &under(&self.keys.history))
            .await?;
        let rows = answer.kvs.iter();
        Ok(rows
            .filter_map(|row| Some((self.numbered(row)?, read(row))))
            .collect())
    }

    /// A version of the history.
    ///
    /// # Errors
    /// [`ConfigurationError::NoVersion`], [`ConfigurationError::Document`], [`ConfigurationError::Etcd`].
    pub async fn version(&self, version: Version) -> Result<Document, ConfigurationError> {
        let key = self.keys.version(version);
        let answer = self.etcd.range("read a version", &one(&key)).await?;
        let row = answer
            .kvs
            .first()
            .ok_or(ConfigurationError::NoVersion { version })?;
        read(row)
    }

    /// Makes the next version, unless `seen` is not what counts any more; gives it with its revision. The history has it, too,
    /// by the same transaction, and its oldest versions go.
    ///
    /// # Errors
    /// [`ConfigurationError::Refused`] and [`ConfigurationError::Conflict`]: nothing was changed.
    /// [`ConfigurationError::Etcd`]: it may have been made; `current` tells.
    pub async fn make(
        &self,
        seen: Option<&Current>,
        settings: Settings,
        restores: Option<Version>,
        change: Change,
    ) -> Result<(Document, Revision), ConfigurationError> {
        settings.check()?;
        change.check()?;
        let kept: Vec<Version> = self
            .history()
            .await?
            .into_iter()
            .map(|(version, _)| version)
            .collect();
        let counted = seen.and_then(|it| it.document.as_ref().ok()).map(|it| it.version);
        // What somebody wrote by hand may have any number; a number is never used twice.
        let last = counted.into_iter().chain(kept.iter().copied()).max();
        let version = Version(last.map_or(1, |last| last.0.saturating_add(1)));
        let document = Document {
            version,
            id: Id(rand::random()),
            change,
            restores,
            settings,
        };
        let (bytes, key) = (document.encode(), self.keys.version(version));
        let mut success = vec![
            put(&self.keys.current, bytes.clone(), None),
            put(&key, bytes.clone(), None),
        ];
        let too_many = (kept.len() + 1).saturating_sub(HISTORY_KEPT).min(REMOVED_MAX);
        success.extend(
            kept[..too_many]
                .iter()
                .map(|old| delete(&self.keys.version(*old))),
        );
        let seen = seen.map_or(0, |it| it.revision.0);
        let request = TxnRequest {
            compare: vec![compare_modified(&self.keys.current, seen), compare_absent(&key)],
            success,
        };
        let answer = self.etcd.txn("change the settings", request).await?;
        let revision = match answer.succeeded {
            true => answer.header.map_or(0, |it| it.revision),
            // An endpoint that gave no answer may have done it before another one was asked.
            false => {
                let found = self.etcd.range("look for the version", &one(&key)).await?;
                let ours = found.kvs.first().filter(|row| row.value == bytes);
                ours.ok_or(ConfigurationError::Conflict { version })?.mod_revision
            }
        };
        Ok((document, Revision(revision)))
    }

    /// What the nodes that are there say, by name.
    ///
    /// # Errors
    /// [`ConfigurationError::Etcd`].
    pub async fn nodes(&self) -> Result<Vec<NodeReport>, ConfigurationError> {
        let answer = self
            .etcd
            .range("read what nodes apply", &under(&self.keys.nodes))
            .await?;
        let report = |row: &KeyValue| NodeReport {
            name: String::from_utf8_lossy(&row.key)
                .trim_start_matches(&self.keys.nodes)
                .to_owned(),
            state: NodeState::parse(&row.value),
        };
        Ok(answer.kvs.iter().map(report).collect())
    }

    fn numbered(&self, row: &KeyValue) -> Option<Version> {
        let key = std::str::from_utf8(&row.key).ok()?;
        key.strip_prefix(&self.keys.history)?.parse().ok().map(Version)
    }
}

/// A document as it stands under a key.
pub(crate) fn read(row: &KeyValue) -> Result<Document, ConfigurationError> {
    Document::parse(&row.value).map_err(|refusal| ConfigurationError::Document {
        place: String::from_utf8_lossy(&row.key).into_owned(),
        refusal,
    })
}
