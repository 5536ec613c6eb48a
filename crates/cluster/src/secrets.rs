//! The secrets of a cluster: its passwords and its ledger's data keys. Made once, one file each of mode 0600, never on a
//! command line and never in a log.

use crate::ClusterError;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use std::fmt;
use std::fs::{self, File, Permissions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use storage::{FileSystem, KeyRing};

/// The roles that log in to PostgreSQL, who may change Patroni's state over its REST interface, and what blocks are
/// encrypted with.
#[derive(Clone, PartialEq, Eq)]
pub struct Secrets {
    /// PostgreSQL's superuser; used by Patroni over the local socket only.
    pub superuser: String,
    /// Streams the log to standbys.
    pub replication: String,
    /// Rewinds a server that was primary.
    pub rewind: String,
    /// Looks at servers before a promotion, and points standbys to the candidate.
    pub fence: String,
    /// Owns the schema; migrations only.
    pub owner: String,
    /// Appends to the journal.
    pub writer: String,
    /// Reads the journal and the projection.
    pub reader: String,
    /// Moves the tables of the SQL projection.
    pub projector: String,
    /// Patroni's REST interface, where it changes something.
    pub rest: String,
    /// The file of the ledger's data keys, as it is; the same at every node, or none could read another's blocks.
    pub ledger_keys: String,
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secrets(..)")
    }
}

impl Secrets {
    /// The secrets in a directory; those that are missing are made.
    ///
    /// # Errors
    /// The directory cannot be written, or a file is open to others or damaged.
    pub fn open(directory: &Path) -> Result<Self, ClusterError> {
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true).mode(0o700);
        builder
            .create(directory)
            .map_err(|e| ClusterError::io("create", directory, e))?;
        let secret = |name: &str| secret(&directory.join(name));
        Ok(Self {
            superuser: secret("superuser")?,
            replication: secret("replication")?,
            rewind: secret("rewind")?,
            fence: secret("fence")?,
            owner: secret("owner")?,
            writer: secret("writer")?,
            reader: secret("reader")?,
            projector: secret("projector")?,
            rest: secret("rest")?,
            ledger_keys: ledger_keys(&directory.join("ledger-keys"))?,
        })
    }
}

/// Made and checked by the code that nodes read it with, so that no node finds at its start what is wrong with it.
fn ledger_keys(path: &Path) -> Result<String, ClusterError> {
    KeyRing::from_file(&FileSystem, path).map_err(|error| damaged(path, error.to_string()))?;
    fs::read_to_string(path).map_err(|e| ClusterError::io("read", path, e))
}

fn secret(path: &Path) -> Result<String, ClusterError> {
    match fs::metadata(path) {
        Ok(metadata) => {
            let mode = metadata.permissions().mode() & 0o777;
            if mode & 0o077 != 0 {
                let problem = format!("its mode is {mode:o}; it must be 600");
                return Err(damaged(path, problem));
            }
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => make(path)?,
        Err(error) => return Err(ClusterError::io("read", path, error)),
    }
    let text = fs::read_to_string(path).map_err(|e| ClusterError::io("read", path, e))?;
    let text = text.trim_end();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
    if text.len() < 16 || !text.chars().all(plain) {
        let problem = "a password must be of letters, digits, - and _, 16 at least".to_owned();
        return Err(damaged(path, problem));
    }
    Ok(text.to_owned())
}

/// Written beside and renamed, so that a crash leaves no half of a password.
fn make(path: &Path) -> Result<(), ClusterError> {
    let mut bytes = [0_u8; 32];
    aws_lc_rs::rand::fill(&mut bytes)
        .map_err(|e| ClusterError::io("make a password for", path, std::io::Error::other(e)))?;
    let part = path.with_extension("part");
    let write = || -> std::io::Result<()> {
        let mut file = File::options()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(&part)?;
        file.set_permissions(Permissions::from_mode(0o600))?;
        writeln!(file, "{}", URL_SAFE_NO_PAD.encode(bytes))?;
        file.sync_all()?;
        fs::rename(&part, path)
    };
    write().map_err(|e| ClusterError::io("write", path, e))
}

fn damaged(path: &Path, problem: String) -> ClusterError {
    ClusterError::Damaged {
        path: path.to_owned(),
        problem,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_made_once_and_kept() {
        let directory = tempfile::tempdir().unwrap();
        let made = Secrets::open(&directory.path().join("secrets")).unwrap();
        assert_eq!(made, Secrets::open(&directory.path().join("secrets")).unwrap());
        assert_ne!(made.writer, made.reader);
    }

    #[test]
    fn a_password_that_others_can_read_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        Secrets::open(directory.path()).unwrap();
        let file = directory.path().join("writer");
        fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
        let error = Secrets::open(directory.path()).unwrap_err().to_string();
        assert!(error.contains("writer") && error.contains("644"), "{error}");
    }

    #[test]
    fn damaged_data_keys_are_refused_and_never_made_anew() {
        let directory = tempfile::tempdir().unwrap();
        let made = Secrets::open(directory.path()).unwrap().ledger_keys;
        let file = directory.path().join("ledger-keys");
        let changed = made.replacen("1 ", "2 ", 1);
        fs::write(&file, &changed).unwrap();
        let error = Secrets::open(directory.path()).unwrap_err().to_string();
        assert!(
            error.contains("ledger-keys") && error.contains("check"),
            "{error}"
        );
        assert_eq!(fs::read_to_string(&file).unwrap(), changed);
    }

    #[test]
    fn a_damaged_password_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        Secrets::open(directory.path()).unwrap();
        fs::write(directory.path().join("reader"), "short\n").unwrap();
        let error = Secrets::open(directory.path()).unwrap_err().to_string();
        assert!(
            error.starts_with("CLU-0011") && error.contains("reader"),
            "{error}"
        );
    }
}
