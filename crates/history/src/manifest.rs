//! The manifest: which files make up the index, and how far it has come. Owns: its format and its sealing.
//! Replaced as a whole, after everything that it names is durable. Format version 1; others are refused.

use crate::HistoryError;
use crate::codec::Bytes;
use crate::extent::{ExtentMeta, PagesMeta};
use crate::file::{FileStamp, Place};
use crate::run::{Bounds, RunMeta};
use crate::types::Position;
use ledger::{AccountNumber, Height, RowNumber};
use std::path::{Path, PathBuf};
use storage::{KeyId, NONCE_BYTES, TAG_BYTES};

/// Name of the file.
pub(crate) const NAME: &str = "MANIFEST";
const MAGIC: [u8; 8] = *b"SHQHIST1";
const HEADER_BYTES: usize = 8 + 4 + NONCE_BYTES;
const PURPOSE: &[u8] = b"history manifest";

/// Everything that is needed to open the index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Manifest {
    pub seed: [u8; 16],
    pub position: Position,
    /// Number of the next file to be made.
    pub next_file: u64,
    /// Offset that the next piece of metadata gets.
    pub next_blob: u64,
    pub store_files: Vec<FileStamp>,
    pub extents: Vec<ExtentMeta>,
    pub row_runs: Vec<RunMeta>,
    pub account_runs: Vec<RunMeta>,
}

impl Manifest {
    /// Writes it beside the one on disk, which stays in force until [`Manifest::put_in_force`]. Says where.
    pub fn write_beside(&self, place: &Place) -> Result<PathBuf, HistoryError> {
        let mut body = Vec::new();
        self.put(&mut body);
        let key = place.keys.current();
        let entropy = (place.entropy)();
        let nonce: [u8; NONCE_BYTES] = *entropy.first_chunk().expect("16 bytes hold 12");
        let mut bytes = Vec::with_capacity(HEADER_BYTES + body.len() + TAG_BYTES);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&key.id().0.to_le_bytes());
        bytes.extend_from_slice(&nonce);
        let tag = key.derive(PURPOSE).seal(nonce, &bytes, &mut body);
        bytes.extend_from_slice(&body);
        bytes.extend_from_slice(&tag);
        let path = place.dir.join(NAME);
        place
            .storage
            .write_beside(&path, &bytes)
            .map_err(|source| HistoryError::Io { path, source })
    }

    /// Replaces the one on disk with what was written beside it. After an error either may be in force.
    pub fn put_in_force(place: &Place, written: &Path) -> Result<(), HistoryError> {
        let path = place.dir.join(NAME);
        place
            .storage
            .put_in_place(written, &path)
            .map_err(|source| HistoryError::Io { path, source })
    }

    /// Reads the one on disk; `None` when there is none.
    pub fn read(place: &Place) -> Result<Option<Self>, HistoryError> {
        let path = place.dir.join(NAME);
        let io_error = |source| place.io_error(&path, source);
        if !place.storage.exists(&path).map_err(io_error)? {
            return Ok(None);
        }
        let mut bytes = place.storage.read(&path).map_err(io_error)?;
        let damaged = |reason: &str| HistoryError::Damaged {
            file: NAME.to_owned(),
            page: 0,
            reason: reason.to_owned(),
        };
        if bytes.len() < HEADER_BYTES + TAG_BYTES {
            return Err(damaged("it is too short"));
        }
        let (header, body) = bytes.split_at_mut(HEADER_BYTES);
        let mut fields = Bytes(header);
        if fields.take() != Some(MAGIC) {
            return Err(damaged("it is not in a format that this version knows"));
        }
        let key = KeyId(
            fields
                .take()
                .map(u32::from_le_bytes)
                .expect("the header has its length"),
        );
        let nonce = fields.take().expect("the header has its length");
        let key = place.keys.get(key).map_err(|source| HistoryError::Key {
            file: NAME.to_owned(),
            source,
        })?;
        let (body, tag) = body
            .split_last_chunk_mut::<TAG_BYTES>()
            .expect("the length was checked");
        key.derive(PURPOSE)
            .open(nonce, header, body, tag)
            .map_err(|_| damaged("it does not authenticate"))?;
        let mut body = Bytes(body);
        let manifest = Self::take(&mut body).filter(|_| body.0.is_empty());
        manifest.map(Some).ok_or_else(|| damaged("it makes no sense"))
    }

    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.seed);
        put_u64(out, self.position.height.0);
        out.extend_from_slice(&self.position.hash);
        put_u64(out, self.position.rows.0);
        put_u64(out, u64::from(self.position.accounts.0));
        put_u64(out, self.next_file);
        put_u64(out, self.next_blob);
        put_list(out, &self.store_files, put_stamp);
        put_list(out, &self.extents, put_extent);
        put_list(out, &self.row_runs, put_run);
        put_list(out, &self.account_runs, put_run);
    }

    fn take(bytes: &mut Bytes<'_>) -> Option<Self> {
        Some(Self {
            seed: bytes.take()?,
            position: Position {
                height: Height(bytes.u64()?),
                hash: bytes.take()?,
                rows: RowNumber(bytes.u64()?),
                accounts: AccountNumber(bytes.u64()?.try_into().ok()?),
            },
            next_file: bytes.u64()?,
            next_blob: bytes.u64()?,
            store_files: take_list(bytes, take_stamp)?,
            extents: take_list(bytes, take_extent)?,
            row_runs: take_list(bytes, take_run)?,
            account_runs: take_list(bytes, take_run)?,
        })
    }
}

fn put_u64(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(&value.to_le_bytes());
}

fn put_list<T>(out: &mut Vec<u8>, items: &[T], put: impl Fn(&mut Vec<u8>, &T)) {
    put_u64(out, items.len() as u64);
    for item in items {
        put(out, item);
    }
}

fn take_list<T>(bytes: &mut Bytes<'_>, take: impl Fn(&mut Bytes<'_>) -> Option<T>) -> Option<Vec<T>> {
    (0..bytes.u64()?).map(|_| take(bytes)).collect()
}

fn put_stamp(out: &mut Vec<u8>, stamp: &FileStamp) {
    put_u64(out, stamp.number);
    out.extend_from_slice(&stamp.key.0.to_le_bytes());
    out.extend_from_slice(&stamp.salt);
}

fn take_stamp(bytes: &mut Bytes<'_>) -> Option<FileStamp> {
    Some(FileStamp {
        number: bytes.u64()?,
        key: KeyId(bytes.take().map(u32::from_le_bytes)?),
        salt: bytes.take()?,
    })
}

fn put_pages(out: &mut Vec<u8>, pages: &PagesMeta) {
    for value in [pages.first, pages.count, pages.start_page, pages.pages] {
        put_u64(out, value);
    }
}

fn take_pages(bytes: &mut Bytes<'_>) -> Option<PagesMeta> {
    Some(PagesMeta {
        first: bytes.u64()?,
        count: bytes.u64()?,
        start_page: bytes.u64()?,
        pages: bytes.u64()?,
    })
}

fn put_extent(out: &mut Vec<u8>, extent: &ExtentMeta) {
    put_u64(out, extent.file);
    put_pages(out, &extent.rows);
    put_pages(out, &extent.accounts);
    for value in [
        extent.directory_page,
        extent.blob_first,
        extent.blob_bytes,
        extent.blob_page,
    ] {
        put_u64(out, value);
    }
}

fn take_extent(bytes: &mut Bytes<'_>) -> Option<ExtentMeta> {
    Some(ExtentMeta {
        file: bytes.u64()?,
        rows: take_pages(bytes)?,
        accounts: take_pages(bytes)?,
        directory_page: bytes.u64()?,
        blob_first: bytes.u64()?,
        blob_bytes: bytes.u64()?,
        blob_page: bytes.u64()?,
    })
}

fn put_run(out: &mut Vec<u8>, run: &RunMeta) {
    put_stamp(out, &run.file);
    out.push(run.tier);
    for value in [run.first, run.count, run.unique, run.posting_pages] {
        put_u64(out, value);
    }
    for bounds in [run.ids, run.pendings] {
        out.extend_from_slice(&bounds.least.to_le_bytes());
        out.extend_from_slice(&bounds.greatest.to_le_bytes());
    }
}

fn take_run(bytes: &mut Bytes<'_>) -> Option<RunMeta> {
    Some(RunMeta {
        file: take_stamp(bytes)?,
        tier: bytes.take::<1>()?[0],
        first: bytes.u64()?,
        count: bytes.u64()?,
        unique: bytes.u64()?,
        posting_pages: bytes.u64()?,
        ids: Bounds {
            least: bytes.u128()?,
            greatest: bytes.u128()?,
        },
        pendings: Bounds {
            least: bytes.u128()?,
            greatest: bytes.u128()?,
        },
    })
}
