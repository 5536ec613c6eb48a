//! Data keys: AES-256-GCM under a named key. Owns: key material in memory and the default key file.
//! Must not: print a key. Every encrypted thing names its key, so that rotation can come later.

use crate::Storage;
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce as AeadNonce, UnboundKey};
use aws_lc_rs::digest::{SHA256, digest};
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Bytes of a nonce.
pub const NONCE_BYTES: usize = 12;
/// Bytes of an authentication tag.
pub const TAG_BYTES: usize = 16;
/// What a key file begins with, its version after it.
const FILE_NAME: &str = "shanraq-keys";
/// The first line of a key file.
const FILE_HEADER: &str = "shanraq-keys 2";
/// What the last line of a key file begins with.
const CHECK: &str = "check ";
const CHECK_BYTES: usize = 8;
/// A nonce; never used twice under one key.
pub type Nonce = [u8; NONCE_BYTES];

/// Names a data key in everything that it encrypts. 0 is never used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(pub u32);

/// An AES-256-GCM key with its name.
pub struct DataKey {
    id: KeyId,
    key: LessSafeKey,
    bytes: [u8; 32],
}

impl fmt::Debug for DataKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DataKey({})", self.id.0)
    }
}

/// A key could not be had, or did not open what it was given.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The key file cannot be read or made.
    #[error("KEY-0001: key file {path}: {source}")]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The key file is there but not in its format, or others may read it.
    #[error("KEY-0002: key file {path}: {reason}")]
    Format {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The key file is not there, though something was sealed with its keys. No other key can stand in for them.
    #[error(
        "KEY-0005: key file {path} is missing, and the journal was sealed with its keys: put it back; without it nothing can be \
         read"
    )]
    Missing {
        /// Which file.
        path: PathBuf,
    },
    /// Something names a key that is not in the ring.
    #[error("KEY-0003: data key {0} is not known here")]
    Unknown(u32),
    /// Ciphertext, tag, nonce or associated data were changed, or it is another key's.
    #[error("KEY-0004: authentication failed under data key {0}")]
    Authentication(u32),
}

impl DataKey {
    /// Makes a key from its 32 bytes.
    #[must_use]
    pub fn new(id: KeyId, bytes: [u8; 32]) -> Self {
        assert!(id.0 != 0, "key id 0 is never used");
        let unbound = UnboundKey::new(&AES_256_GCM, &bytes).expect("32 bytes are an AES-256 key");
        Self {
            id,
            key: LessSafeKey::new(unbound),
            bytes,
        }
    }

    /// Its name.
    #[must_use]
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// Encrypts in place and returns the tag. The nonce must be new under this key.
    #[must_use]
    pub fn seal(&self, nonce: Nonce, associated: &[u8], bytes: &mut [u8]) -> [u8; TAG_BYTES] {
        let nonce = AeadNonce::assume_unique_for_key(nonce);
        let tag = self
            .key
            .seal_in_place_separate_tag(nonce, Aad::from(associated), bytes)
            .expect("the length is within AES-GCM's limit");
        tag.as_ref().try_into().expect("a tag has 16 bytes")
    }

    /// Decrypts in place.
    ///
    /// # Errors
    /// [`KeyError::Authentication`]; the bytes are then undefined.
    pub fn open(
        &self,
        nonce: Nonce,
        associated: &[u8],
        bytes: &mut [u8],
        tag: &[u8; TAG_BYTES],
    ) -> Result<(), KeyError> {
        let nonce = AeadNonce::assume_unique_for_key(nonce);
        self.key
            .open_in_place_separate_tag(nonce, Aad::from(associated), tag, bytes)
            .map(|_| ())
            .or(Err(KeyError::Authentication(self.id.0)))
    }

    /// HMAC-SHA-256 of the bytes under this key.
    #[must_use]
    pub fn mac(&self, bytes: &[u8]) -> [u8; 32] {
        use aws_lc_rs::hmac;
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.bytes);
        hmac::sign(&key, bytes)
            .as_ref()
            .try_into()
            .expect("HMAC-SHA-256 gives 32 bytes")
    }

    /// A key for one purpose (a file, a kind of data), derived by HKDF-Expand with SHA-256 from this one; same id.
    #[must_use]
    pub fn derive(&self, purpose: &[u8]) -> Self {
        use aws_lc_rs::hmac;
        // One block of HKDF-Expand (RFC 5869) with the data key as the pseudorandom key.
        let prk = hmac::Key::new(hmac::HMAC_SHA256, &self.bytes);
        let mut context = hmac::Context::with_key(&prk);
        context.update(b"shanraq ");
        context.update(purpose);
        context.update(&[1]);
        let bytes = context
            .sign()
            .as_ref()
            .try_into()
            .expect("HMAC-SHA-256 gives 32 bytes");
        Self::new(self.id, bytes)
    }
}

/// The keys at hand: one to write with, and all that old data may name.
#[derive(Clone, Debug)]
pub struct KeyRing {
    current: Arc<DataKey>,
    keys: BTreeMap<KeyId, Arc<DataKey>>,
}

impl KeyRing {
    /// A ring of one key.
    #[must_use]
    pub fn new(key: DataKey) -> Self {
        let current = Arc::new(key);
        Self {
            keys: BTreeMap::from([(current.id(), current.clone())]),
            current,
        }
    }

    /// The key to write with.
    #[must_use]
    pub fn current(&self) -> &Arc<DataKey> {
        &self.current
    }

    /// The key that something names.
    ///
    /// # Errors
    /// [`KeyError::Unknown`].
    pub fn get(&self, id: KeyId) -> Result<&Arc<DataKey>, KeyError> {
        self.keys.get(&id).ok_or(KeyError::Unknown(id.0))
    }

    /// Reads the key file, making one with a fresh random key where there is none: for whoever knows that nothing was sealed
    /// yet. Others use [`KeyRing::read_file`].
    ///
    /// # Errors
    /// As [`KeyRing::read_file`], and when no file can be made.
    pub fn from_file(storage: &dyn Storage, path: &Path) -> Result<Self, KeyError> {
        let file_error = |source| KeyError::File {
            path: path.to_owned(),
            source,
        };
        if !storage.exists(path).map_err(file_error)? {
            let mut bytes = [0; 32];
            aws_lc_rs::rand::fill(&mut bytes).expect("the system's random generator works");
            let text = with_check(&format!("{FILE_HEADER}\n1 {}\n", hex(&bytes)));
            storage.replace(path, text.as_bytes()).map_err(file_error)?;
        }
        Self::read_file(storage, path)
    }

    /// Reads the key file, which must be there: for whoever opens what was sealed, and must change nothing.
    ///
    /// The first line is `shanraq-keys 2`, then comes one key a line, `id hex`, of which the last is the current one, and at
    /// the end `check hex`, the first 8 bytes of SHA-256 over all before that line: a digit that flips would make a key
    /// that is valid and wrong. Files of the first form, which had the keys alone, are read as well.
    ///
    /// # Errors
    /// [`KeyError::Missing`], [`KeyError::File`] and [`KeyError::Format`]; the latter also when others than the owner may read
    /// it.
    pub fn read_file(storage: &dyn Storage, path: &Path) -> Result<Self, KeyError> {
        let file_error = |source| KeyError::File {
            path: path.to_owned(),
            source,
        };
        if !storage.exists(path).map_err(file_error)? {
            return Err(KeyError::Missing {
                path: path.to_owned(),
            });
        }
        let format_error = |reason: &str| KeyError::Format {
            path: path.to_owned(),
            reason: reason.to_owned(),
        };
        if !storage.is_private(path).map_err(file_error)? {
            return Err(format_error("others than its owner may read it (chmod 600)"));
        }
        let bytes = storage.read(path).map_err(file_error)?;
        let text = std::str::from_utf8(&bytes).map_err(|_| format_error("it is not text"))?;
        let mut keys = BTreeMap::new();
        let mut current = None;
        for line in checked(text).map_err(format_error)?.lines() {
            let (id, key) = line
                .split_once(' ')
                .ok_or_else(|| format_error("a line is not `id hex`"))?;
            let id: u32 = id.parse().map_err(|_| format_error("a key id is not a number"))?;
            let key = unhex(key).ok_or_else(|| format_error("a key is not 64 hexadecimal digits"))?;
            if id == 0 {
                return Err(format_error("key id 0 is never used"));
            }
            let key = Arc::new(DataKey::new(KeyId(id), key));
            if keys.insert(KeyId(id), key.clone()).is_some() {
                return Err(format_error("a key id stands twice"));
            }
            current = Some(key);
        }
        Ok(Self {
            current: current.ok_or_else(|| format_error("it holds no key"))?,
            keys,
        })
    }
}

/// The text with the line that it is checked by.
fn with_check(text: &str) -> String {
    let check = digest(&SHA256, text.as_bytes());
    format!("{text}{CHECK}{}\n", hex(&check.as_ref()[..CHECK_BYTES]))
}

/// The lines of the keys alone; an error says why the file cannot be what was written.
fn checked(text: &str) -> Result<&str, &'static str> {
    let Some(keys) = text
        .strip_prefix(FILE_HEADER)
        .and_then(|rest| rest.strip_prefix('\n'))
    else {
        return match text.starts_with(FILE_NAME) {
            true => Err("its version is not known here"),
            false => Ok(text),
        };
    };
    let end = text
        .rfind(CHECK)
        .ok_or("it is cut short: its check is not there")?;
    if with_check(&text[..end]) != text {
        return Err("it does not match its check: something in it was changed");
    }
    Ok(&keys[..end - (text.len() - keys.len())])
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (i, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * i..2 * i + 2], 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::FileSystem;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_key_file_is_made_once_and_read_back() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keys");
        let made = KeyRing::from_file(&FileSystem, &path).unwrap();
        let read = KeyRing::from_file(&FileSystem, &path).unwrap();
        let mut bytes = *b"text";
        let tag = made.current().seal([1; 12], b"where", &mut bytes);
        assert_ne!(&bytes, b"text");
        read.current().open([1; 12], b"where", &mut bytes, &tag).unwrap();
        assert_eq!(&bytes, b"text");
    }

    #[test]
    fn a_key_file_that_must_be_there_is_not_made() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keys");
        let error = KeyRing::read_file(&FileSystem, &path).unwrap_err();
        assert!(matches!(error, KeyError::Missing { .. }), "{error}");
        assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
        assert!(!path.exists());
        KeyRing::from_file(&FileSystem, &path).unwrap();
        KeyRing::read_file(&FileSystem, &path).unwrap();
    }

    #[test]
    fn a_key_file_that_others_may_read_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keys");
        KeyRing::from_file(&FileSystem, &path).unwrap();
        for mode in [0o640, 0o604, 0o620, 0o601] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            let error = KeyRing::from_file(&FileSystem, &path).unwrap_err();
            assert!(matches!(error, KeyError::Format { .. }), "mode {mode:o}: {error}");
        }
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o400)).unwrap();
        KeyRing::from_file(&FileSystem, &path).unwrap();
    }

    #[test]
    fn a_key_file_that_is_not_one_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keys");
        let key = "00".repeat(32);
        for text in [
            String::new(),
            "1".to_owned(),
            format!("0 {key}"),
            format!("one {key}"),
            format!("1 {key}0"),
            format!("1 {key}\n1 {key}"),
            "1 zz".to_owned(),
        ] {
            FileSystem.replace(&path, text.as_bytes()).unwrap();
            let error = KeyRing::from_file(&FileSystem, &path).unwrap_err();
            assert!(matches!(error, KeyError::Format { .. }), "{text}: {error}");
            assert!(!error.to_string().contains(&key), "an error must not show a key");
        }
    }

    #[test]
    fn any_changed_byte_of_a_key_file_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keys");
        KeyRing::from_file(&FileSystem, &path).unwrap();
        let sound = FileSystem.read(&path).unwrap();
        for place in 0..sound.len() {
            for bit in 0..7 {
                let mut bytes = sound.clone();
                bytes[place] ^= 1 << bit;
                FileSystem.replace(&path, &bytes).unwrap();
                let read = KeyRing::from_file(&FileSystem, &path);
                assert!(
                    matches!(read, Err(KeyError::Format { .. })),
                    "bit {bit} of byte {place}"
                );
            }
        }
        for length in 0..sound.len() {
            FileSystem.replace(&path, &sound[..length]).unwrap();
            assert!(
                KeyRing::from_file(&FileSystem, &path).is_err(),
                "cut after {length} bytes"
            );
        }
        FileSystem.replace(&path, &sound).unwrap();
        KeyRing::from_file(&FileSystem, &path).unwrap();
    }

    #[test]
    fn a_key_file_of_the_first_form_is_read_and_one_of_a_later_form_is_not_guessed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keys");
        let keys = format!("1 {}\n7 {}\n", "11".repeat(32), "22".repeat(32));
        let checked = with_check(&format!("{FILE_HEADER}\n{keys}"));
        for text in [&keys, &checked] {
            FileSystem.replace(&path, text.as_bytes()).unwrap();
            let ring = KeyRing::from_file(&FileSystem, &path).unwrap();
            assert_eq!(ring.current().id(), KeyId(7));
            ring.get(KeyId(1)).unwrap();
        }
        let later = checked.replace("shanraq-keys 2", "shanraq-keys 3");
        FileSystem.replace(&path, later.as_bytes()).unwrap();
        let error = KeyRing::from_file(&FileSystem, &path).unwrap_err().to_string();
        assert!(error.contains("version"), "{error}");
    }

    #[test]
    fn a_derived_key_opens_nothing_of_its_parent() {
        let key = DataKey::new(KeyId(1), [7; 32]);
        let mut bytes = *b"text";
        let tag = key.derive(b"one").seal([0; 12], b"", &mut bytes);
        assert!(
            key.derive(b"two")
                .open([0; 12], b"", &mut bytes.clone(), &tag)
                .is_err()
        );
        assert!(key.open([0; 12], b"", &mut bytes.clone(), &tag).is_err());
        key.derive(b"one").open([0; 12], b"", &mut bytes, &tag).unwrap();
    }
}
