//! Opening the index, and removing it. Owns: checking that what the manifest names is there and fits together.

use crate::appender::Appender;
use crate::cover::Covers;
use crate::extent::{Extent, PagesMeta};
use crate::file::Place;
use crate::hash::KeyHasher;
use crate::manifest::{self, Manifest};
use crate::memory::{AccountIds, Memory};
use crate::run::Run;
use crate::view::{Durable, Of, Records, View};
use crate::{HistoryError, Options, Position, Writer};
use arc_swap::ArcSwap;
use ledger::{AccountNumber, TimestampNs};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::path::Path;
use std::sync::Arc;
use storage::Storage;

const PAGES_SUFFIX: &str = ".pages";

pub(crate) fn open(place: Arc<Place>, options: Options) -> Result<Writer, HistoryError> {
    let io_error = |source| place.io_error(&place.dir, source);
    place.storage.create_directory(&place.dir).map_err(io_error)?;
    let manifest = Manifest::read(&place)?.unwrap_or_else(|| Manifest {
        seed: (place.entropy)(),
        position: Position::default(),
        next_file: 1,
        next_blob: 0,
        store_files: Vec::new(),
        extents: Vec::new(),
        row_runs: Vec::new(),
        account_runs: Vec::new(),
    });
    remove_strangers(&place, &manifest)?;
    let durable = Arc::new(open_files(&place, &manifest)?);
    let account_ids = Arc::new(AccountIds::default());
    let position = manifest.position;
    let first_account = u64::from(position.accounts.0);
    let rows = options.flush_rows as usize;
    let memory = Arc::new(Memory::new(
        position.rows.0,
        first_account,
        manifest.next_blob,
        rows,
    ));
    let hasher = KeyHasher::new(manifest.seed);
    let covers = Covers::new(position.rows.0, options.flush_rows);
    let view = View {
        position,
        durable: durable.clone(),
        memories: vec![memory.clone()],
        covers: covers.all().to_vec(),
        row_tail: None,
        account_tail: None,
        hasher,
        account_ids: account_ids.clone(),
    };
    let mut active = Appender::new(memory, hasher, account_ids.clone(), covers);
    active.account_time = load_account_ids(&view)?;
    if let Some(last) = position.rows.0.checked_sub(1) {
        active.row_time = Records::new(&view, Of::Rows).row(last)?.0.transfer.timestamp;
    }
    Ok(Writer {
        options,
        seed: manifest.seed,
        shared: Arc::new(ArcSwap::from_pointee(view)),
        account_ids,
        active,
        frozen: VecDeque::new(),
        published: position,
        durable,
        durable_blob: manifest.next_blob,
        next_file: manifest.next_file,
        store: None,
        next_ticket: 1,
        flush_under_way: None,
        merge_under_way: None,
        freeze_wanted: false,
        place,
    })
}

/// Removes what a crash or a failed job left behind.
fn remove_strangers(place: &Place, manifest: &Manifest) -> Result<(), HistoryError> {
    let runs = manifest
        .row_runs
        .iter()
        .chain(&manifest.account_runs)
        .map(|run| run.file);
    let known: BTreeSet<String> = manifest
        .store_files
        .iter()
        .copied()
        .chain(runs)
        .map(|stamp| stamp.name())
        .collect();
    let listed = place
        .storage
        .list(&place.dir)
        .map_err(|source| place.io_error(&place.dir, source))?;
    for name in listed {
        if name.ends_with(PAGES_SUFFIX) && !known.contains(&name) {
            let path = place.dir.join(name);
            place
                .storage
                .remove(&path)
                .map_err(|source| place.io_error(&path, source))?;
        }
    }
    Ok(())
}

fn open_files(place: &Place, manifest: &Manifest) -> Result<Durable, HistoryError> {
    let mut files = BTreeMap::new();
    for &stamp in &manifest.store_files {
        files.insert(stamp.number, place.open(stamp)?);
    }
    let damaged = |reason: &str| HistoryError::Damaged {
        file: manifest::NAME.to_owned(),
        page: 0,
        reason: reason.to_owned(),
    };
    let mut durable = Durable {
        position: manifest.position,
        ..Durable::default()
    };
    for meta in &manifest.extents {
        let file = files
            .get(&meta.file)
            .ok_or_else(|| damaged("an extent lies in no file"))?;
        durable
            .extents
            .push(Arc::new(Extent::open(file.clone(), meta.clone())?));
    }
    for of in [Of::Rows, Of::Accounts] {
        let metas = if of == Of::Rows {
            &manifest.row_runs
        } else {
            &manifest.account_runs
        };
        let runs: Result<Vec<_>, _> = metas
            .iter()
            .map(|meta| Run::open(place, meta.clone()).map(Arc::new))
            .collect();
        *durable.runs_mut(of) = runs?;
        let end = match of {
            Of::Rows => manifest.position.rows.0,
            Of::Accounts => u64::from(manifest.position.accounts.0),
        };
        let pages = durable.extents.iter().map(|extent| of.pages(extent).meta.clone());
        let in_pages = follows(pages.map(|PagesMeta { first, count, .. }| (first, count)));
        let in_runs = follows(metas.iter().map(|run| (run.first, run.count)));
        if in_pages != Some(end) || in_runs != Some(end) {
            return Err(damaged("its files do not cover its records"));
        }
    }
    Ok(durable)
}

/// The number after the last record when each part begins where the one before it ends.
fn follows(parts: impl Iterator<Item = (u64, u64)>) -> Option<u64> {
    let mut end = 0;
    for (first, count) in parts {
        if first != end {
            return None;
        }
        end = first.checked_add(count)?;
    }
    Some(end)
}

/// Fills the table of ids; gives the time of the last account.
fn load_account_ids(view: &View) -> Result<TimestampNs, HistoryError> {
    let mut records = Records::new(view, Of::Accounts);
    let mut time = TimestampNs(0);
    for number in 0..view.position.accounts.0 {
        let (account, _) = records.account(u64::from(number))?;
        view.account_ids.set(AccountNumber(number), account.id);
        time = account.timestamp;
    }
    Ok(time)
}

pub(crate) fn reset(storage: &dyn Storage, dir: &Path) -> Result<(), HistoryError> {
    let io_error = |path: &Path, source: io::Error| HistoryError::Io {
        path: path.to_owned(),
        source,
    };
    storage
        .create_directory(dir)
        .map_err(|source| io_error(dir, source))?;
    let remove = |name: &str| {
        let path = dir.join(name);
        storage.remove(&path).map_err(|source| io_error(&path, source))
    };
    let names = storage.list(dir).map_err(|source| io_error(dir, source))?;
    if names.iter().any(|name| name == manifest::NAME) {
        remove(manifest::NAME)?;
        // Without a manifest the other files mean nothing, so that a crash from here on is harmless.
        storage
            .sync_directory(dir)
            .map_err(|source| io_error(dir, source))?;
    }
    for name in names.iter().filter(|name| name.ends_with(PAGES_SUFFIX)) {
        remove(name)?;
    }
    storage
        .sync_directory(dir)
        .map_err(|source| io_error(dir, source))
}
