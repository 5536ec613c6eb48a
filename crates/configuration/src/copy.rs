//! The last good document in a node's data directory. Owns: its file. Must not: be the truth; etcd is.

use crate::{ConfigurationError, Document};
use std::fs::File;
use std::io::{ErrorKind, Write as _};
use std::path::Path;

/// The copy, if there is one.
pub(crate) fn read(path: &Path) -> Result<Option<Document>, ConfigurationError> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            return Err(ConfigurationError::System {
                action: "read the copy of the settings",
                reason: format!("{}: {error}", path.display()),
            });
        }
    };
    let document = Document::parse(&bytes).map_err(|refusal| ConfigurationError::Document {
        place: path.display().to_string(),
        refusal,
    })?;
    Ok(Some(document))
}

/// Replaces the copy as a whole, or not at all.
pub(crate) fn write(path: &Path, document: &Document) -> Result<(), ConfigurationError> {
    let beside = path.with_extension("new");
    let written = File::create(&beside).and_then(|mut file| {
        file.write_all(&document.encode())?;
        file.sync_all()?;
        std::fs::rename(&beside, path)
    });
    written.map_err(|error| ConfigurationError::System {
        action: "write the copy of the settings",
        reason: format!("{}: {error}", path.display()),
    })
}
