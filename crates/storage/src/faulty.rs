//! A file system in memory that fails as real ones do. For tests and the simulator; deterministic by its seed.
//!
//! What it models: data that was written but not synced may be kept, lost or torn (sector by sector, 512 bytes)
//! by a crash; so may a file's length; names are not durable until their directory is synced, and then in the
//! order they were given; a failed sync forgets what it was to write, so that a later one succeeds without it;
//! a write may stop halfway; bits flip; the disk fills. What it does not: modes, links, directories that get lost.

use crate::{Storage, StorageFile};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What a disk writes whole or not at all.
pub const SECTOR_BYTES: usize = 512;

/// Something that changes or reads files; what faults and crashes count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    /// [`StorageFile::read_exact_at`].
    Read,
    /// [`StorageFile::write_all_at`].
    Write,
    /// [`StorageFile::sync_data`].
    Sync,
    /// [`StorageFile::set_length`].
    SetLength,
    /// [`Storage::create`].
    Create,
    /// [`Storage::rename`].
    Rename,
    /// [`Storage::remove`].
    Remove,
    /// [`Storage::sync_directory`].
    SyncDirectory,
}

/// How an operation fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Input/output error. A failed sync also forgets what it was to write.
    Io,
    /// No room. A write stops at a random byte before its end.
    Full,
    /// Input/output error of a write that stopped at a random byte before its end. For others as `Io`.
    Short,
}

/// How often operations fail by themselves, in a million.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FaultRates {
    /// Reads that fail.
    pub read_ppm: u32,
    /// Writes that fail, half of them short.
    pub write_ppm: u32,
    /// Syncs of files that fail.
    pub sync_ppm: u32,
    /// Reads that see one flipped bit; the file itself stays as it is.
    pub flip_ppm: u32,
}

/// What has gone wrong so far, for those who must show that something did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Operations that failed by plan or by rate.
    pub faults: u64,
    /// Files of which a crash kept some unsynced sectors and lost others.
    pub torn: u64,
    /// Writes that found no room.
    pub full: u64,
    /// Reads that saw a flipped bit.
    pub flipped_reads: u64,
}

/// The file system; clones are the same one.
#[derive(Clone)]
pub struct FaultyStorage {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    random: u64,
    inodes: Vec<Inode>,
    /// Names as processes see them, and as a crash would leave them at the least.
    names: BTreeMap<PathBuf, usize>,
    durable_names: BTreeMap<PathBuf, usize>,
    /// Changes of names that are not durable yet, in order.
    changes: Vec<Change>,
    directories: BTreeSet<PathBuf>,
    operations: u64,
    crash_at: Option<u64>,
    crashed: bool,
    /// Handles of an earlier life are dead.
    life: u64,
    planned: BTreeMap<(Operation, u64), Fault>,
    counts: BTreeMap<Operation, u64>,
    rates: FaultRates,
    capacity: Option<u64>,
    quiet: bool,
    tally: Tally,
}

#[derive(Clone)]
enum Change {
    Set(PathBuf, usize),
    Unset(PathBuf),
    Move(PathBuf, PathBuf, usize),
}

#[derive(Default)]
struct Inode {
    /// As processes see it.
    bytes: Vec<u8>,
    /// As the disk holds it.
    durable: Vec<u8>,
    /// Sectors that the next sync will write; others may differ because a sync failed.
    dirty: BTreeSet<usize>,
}

struct FaultyFile {
    storage: FaultyStorage,
    inode: usize,
    life: u64,
}

impl FaultyStorage {
    /// An empty file system that draws its chances from `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let state = State {
            random: seed,
            ..State::default()
        };
        Self {
            state: Arc::new(Mutex::new(state)),
        }
    }

    /// How many operations that change something were tried so far.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.lock().operations
    }

    /// The machine stops in the middle of the operation of that number (the first has number 0): a write may
    /// land in part, a sync may not have happened, and all operations fail from then on until [`Self::restart`].
    pub fn crash_at(&self, operation: u64) {
        self.lock().crash_at = Some(operation);
    }

    /// The machine stops now.
    pub fn crash(&self) {
        self.lock().crashed = true;
    }

    /// Whether it has stopped.
    #[must_use]
    pub fn has_crashed(&self) -> bool {
        self.lock().crashed
    }

    /// The machine starts again after a stop: what was not durable is kept, lost or torn. Old handles stay dead,
    /// planned faults are forgotten.
    pub fn restart(&self) {
        let mut state = self.lock();
        let state = &mut *state;
        state.crashed = false;
        state.crash_at = None;
        state.planned.clear();
        state.life += 1;
        let mode = state.random() % 4;
        // Names: a file system keeps the order in which they were changed.
        let kept = match mode {
            0 => 0,
            1 => state.changes.len(),
            _ => (state.random() % (state.changes.len() as u64 + 1)) as usize,
        };
        let changes = std::mem::take(&mut state.changes);
        for change in &changes[..kept] {
            change.apply(&mut state.durable_names);
        }
        state.names = state.durable_names.clone();
        for i in 0..state.inodes.len() {
            state.settle(i, mode);
        }
    }

    /// The process stops and starts again, and the machine goes on: nothing is lost, old handles are dead,
    /// planned faults are forgotten.
    pub fn restart_process(&self) {
        let mut state = self.lock();
        state.crashed = false;
        state.crash_at = None;
        state.life += 1;
        state.planned.clear();
    }

    /// The `nth` next operation of that kind (0: the very next) fails.
    pub fn plan(&self, operation: Operation, nth: u64, fault: Fault) {
        let mut state = self.lock();
        let count = state.counts.get(&operation).copied().unwrap_or_default();
        state.planned.insert((operation, count + nth), fault);
    }

    /// From now on operations fail at these rates.
    pub fn set_rates(&self, rates: FaultRates) {
        self.lock().rates = rates;
    }

    /// How many bytes all files together may have; `None`: no limit.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.lock().capacity = bytes;
    }

    /// While quiet, nothing fails, nothing is counted and a machine that has stopped can be read: for an observer,
    /// who must not change what he observes.
    pub fn set_quiet(&self, quiet: bool) {
        self.lock().quiet = quiet;
    }

    /// What has gone wrong so far.
    #[must_use]
    pub fn tally(&self) -> Tally {
        self.lock().tally
    }

    /// Flips a bit (0 to 7) of the byte at `offset`, in memory and on disk.
    ///
    /// # Panics
    /// When there is no such file or byte.
    pub fn flip_bit(&self, path: &Path, offset: usize, bit: u8) {
        let mut state = self.lock();
        let inode = state.names[path];
        let inode = &mut state.inodes[inode];
        inode.bytes[offset] ^= 1 << bit;
        if let Some(byte) = inode.durable.get_mut(offset) {
            *byte ^= 1 << bit;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A test that panicked elsewhere must not hide its own message behind ours.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Change {
    fn apply(&self, names: &mut BTreeMap<PathBuf, usize>) {
        match self {
            Self::Set(path, inode) => {
                names.insert(path.clone(), *inode);
            }
            Self::Unset(path) => {
                names.remove(path);
            }
            Self::Move(from, to, inode) => {
                names.remove(from);
                names.insert(to.clone(), *inode);
            }
        }
    }

    fn touches(&self, directory: &Path) -> bool {
        match self {
            Self::Set(path, _) | Self::Unset(path) => path.parent() == Some(directory),
            Self::Move(from, to, _) => [from, to].iter().any(|path| path.parent() == Some(directory)),
        }
    }
}

impl State {
    /// The next random number (splitmix64).
    fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn chance(&mut self, ppm: u32) -> bool {
        ppm > 0 && self.random() % 1_000_000 < u64::from(ppm)
    }

    /// Counts an operation. `Err`: the machine is stopped; `Ok(Some)`: it stops in this one or fails.
    fn begin(&mut self, operation: Operation) -> io::Result<Option<Fault>> {
        if self.quiet {
            return Ok(None);
        }
        if self.crashed {
            return Err(stopped());
        }
        let count = self.counts.entry(operation).or_default();
        let key = (operation, *count);
        *count += 1;
        let planned = self.planned.remove(&key);
        if operation != Operation::Read {
            self.operations += 1;
            if self.crash_at.is_some_and(|at| self.operations > at) {
                self.crashed = true;
                return Ok(Some(Fault::Io));
            }
        }
        if planned.is_some() {
            self.tally.faults += 1;
            return Ok(planned);
        }
        let ppm = match operation {
            Operation::Read => self.rates.read_ppm,
            Operation::Write => self.rates.write_ppm,
            Operation::Sync => self.rates.sync_ppm,
            _ => 0,
        };
        if !self.chance(ppm) {
            return Ok(None);
        }
        self.tally.faults += 1;
        let short = operation == Operation::Write && self.random().is_multiple_of(2);
        Ok(Some(if short { Fault::Short } else { Fault::Io }))
    }

    /// Begins an operation that has no halfway.
    fn begin_whole(&mut self, operation: Operation) -> io::Result<()> {
        self.begin(operation)?.map_or(Ok(()), |fault| Err(fault.error()))
    }

    fn used(&self) -> u64 {
        let named: BTreeSet<usize> = self.names.values().copied().collect();
        named
            .iter()
            .map(|&inode| self.inodes[inode].bytes.len() as u64)
            .sum()
    }

    /// What a crash leaves of a file: `mode` 0 nothing that was not synced, 1 all of it, else sector by sector.
    fn settle(&mut self, inode: usize, mode: u64) {
        let Inode {
            bytes,
            mut durable,
            dirty,
            ..
        } = std::mem::take(&mut self.inodes[inode]);
        let keeps_length = mode == 1 || (mode > 1 && self.random().is_multiple_of(2));
        if keeps_length {
            durable.resize(bytes.len(), 0);
        }
        let (mut kept, all) = (0, dirty.len());
        for sector in dirty {
            if mode == 1 || (mode > 1 && self.random().is_multiple_of(2)) {
                kept += 1;
                copy_sector(&bytes, &mut durable, sector);
            }
        }
        self.tally.torn += u64::from((1..all).contains(&kept));
        self.inodes[inode] = Inode {
            bytes: durable.clone(),
            durable,
            ..Inode::default()
        };
    }

    fn write(&mut self, inode: usize, bytes: &[u8], offset: u64) -> io::Result<()> {
        let fault = self.begin(Operation::Write)?;
        let offset = offset as usize;
        let mut length = bytes.len();
        let mut result = Ok(());
        if let Some(fault) = fault {
            result = Err(fault.error());
            let cut = (self.random() % (length as u64).max(1)) as usize;
            length = match fault {
                // Of a write in which the machine stops, the crash decides what lands.
                Fault::Io if self.crashed => length,
                Fault::Io => 0,
                Fault::Full | Fault::Short => cut,
            };
        }
        let old = self.inodes[inode].bytes.len();
        let grows = (offset + length).saturating_sub(old) as u64;
        let room = self
            .capacity
            .map_or(u64::MAX, |capacity| capacity.saturating_sub(self.used()));
        if grows > room {
            self.tally.full += 1;
            length = (old + room as usize).saturating_sub(offset);
            result = Err(Fault::Full.error());
        }
        self.inodes[inode].write(&bytes[..length], offset);
        result
    }

    fn sync(&mut self, inode: usize) -> io::Result<()> {
        let fault = self.begin(Operation::Sync)?;
        let crashed = self.crashed;
        let inode = &mut self.inodes[inode];
        match fault {
            None => inode.sync(),
            Some(fault) => {
                if !crashed {
                    // Only a new write of these sectors can make them durable now.
                    inode.dirty.clear();
                }
                return Err(fault.error());
            }
        }
        Ok(())
    }

    fn set_length(&mut self, inode: usize, length: u64) -> io::Result<()> {
        self.begin_whole(Operation::SetLength)?;
        let inode = &mut self.inodes[inode];
        let old = inode.bytes.len();
        inode.bytes.resize(length as usize, 0);
        let changed = old.min(length as usize)..old.max(length as usize);
        inode.mark(changed.start, changed.len());
        Ok(())
    }

    fn change(&mut self, change: Change) {
        change.apply(&mut self.names);
        self.changes.push(change);
    }

    /// Whether whoever asks finds the machine stopped.
    fn is_dead(&self) -> bool {
        self.crashed && !self.quiet
    }

    fn inode(&self, path: &Path) -> io::Result<usize> {
        if self.is_dead() {
            return Err(stopped());
        }
        self.names
            .get(path)
            .copied()
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Inode {
    fn write(&mut self, bytes: &[u8], offset: usize) {
        let end = offset + bytes.len();
        if bytes.is_empty() {
            return;
        }
        if self.bytes.len() < end {
            let old = self.bytes.len();
            self.bytes.resize(end, 0);
            self.mark(old, end - old);
        }
        self.bytes[offset..end].copy_from_slice(bytes);
        self.mark(offset, bytes.len());
    }

    fn mark(&mut self, offset: usize, length: usize) {
        if length > 0 {
            for sector in offset / SECTOR_BYTES..=(offset + length - 1) / SECTOR_BYTES {
                self.dirty.insert(sector);
            }
        }
    }

    fn sync(&mut self) {
        self.durable.resize(self.bytes.len(), 0);
        for sector in std::mem::take(&mut self.dirty) {
            copy_sector(&self.bytes, &mut self.durable, sector);
        }
    }
}

impl Fault {
    fn error(self) -> io::Error {
        match self {
            Self::Io | Self::Short => io::Error::from_raw_os_error(5),
            Self::Full => io::ErrorKind::StorageFull.into(),
        }
    }
}

fn copy_sector(from: &[u8], to: &mut [u8], sector: usize) {
    let start = sector * SECTOR_BYTES;
    let end = (start + SECTOR_BYTES).min(from.len()).min(to.len());
    if start < end {
        to[start..end].copy_from_slice(&from[start..end]);
    }
}

fn stopped() -> io::Error {
    io::Error::other("the simulated machine has stopped")
}

impl FaultyFile {
    fn state(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.storage.lock();
        if state.life == self.life {
            Ok(state)
        } else {
            Err(stopped())
        }
    }
}

impl StorageFile for FaultyFile {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let mut state = self.state()?;
        state.begin_whole(Operation::Read)?;
        let end = offset as usize + buffer.len();
        let bytes = &state.inodes[self.inode].bytes;
        if end > bytes.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        buffer.copy_from_slice(&bytes[offset as usize..end]);
        let ppm = state.rates.flip_ppm;
        if !buffer.is_empty() && !state.quiet && state.chance(ppm) {
            state.tally.flipped_reads += 1;
            let bit = state.random() % (buffer.len() as u64 * 8);
            buffer[(bit / 8) as usize] ^= 1 << (bit % 8);
        }
        Ok(())
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.state()?.write(self.inode, bytes, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.state()?.sync(self.inode)
    }

    fn length(&self) -> io::Result<u64> {
        let state = self.state()?;
        if state.is_dead() {
            return Err(stopped());
        }
        Ok(state.inodes[self.inode].bytes.len() as u64)
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        self.state()?.set_length(self.inode, length)
    }
}

impl Storage for FaultyStorage {
    fn open(&self, path: &Path) -> io::Result<Arc<dyn StorageFile>> {
        let state = self.lock();
        let inode = state.inode(path)?;
        Ok(Arc::new(FaultyFile {
            storage: self.clone(),
            inode,
            life: state.life,
        }))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn StorageFile>> {
        let mut state = self.lock();
        state.begin_whole(Operation::Create)?;
        if state.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        if path
            .parent()
            .is_some_and(|parent| !state.directories.contains(parent))
        {
            return Err(io::ErrorKind::NotFound.into());
        }
        let inode = state.inodes.len();
        state.inodes.push(Inode::default());
        state.change(Change::Set(path.to_owned(), inode));
        Ok(Arc::new(FaultyFile {
            storage: self.clone(),
            inode,
            life: state.life,
        }))
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        let state = self.lock();
        match state.inode(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(state.directories.contains(path)),
            found => found.map(|_| true),
        }
    }

    fn is_private(&self, path: &Path) -> io::Result<bool> {
        self.lock().inode(path).map(|_| true)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.lock();
        state.begin_whole(Operation::Rename)?;
        let inode = state.inode(from)?;
        state.change(Change::Move(from.to_owned(), to.to_owned(), inode));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.lock();
        state.begin_whole(Operation::Remove)?;
        state.inode(path)?;
        state.change(Change::Unset(path.to_owned()));
        Ok(())
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        let state = self.lock();
        if state.is_dead() {
            return Err(stopped());
        }
        if !state.directories.contains(directory) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let inside = state.names.keys().filter(|path| path.parent() == Some(directory));
        Ok(inside
            .filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()))
            .collect())
    }

    fn create_directory(&self, directory: &Path) -> io::Result<()> {
        let mut state = self.lock();
        if state.is_dead() {
            return Err(stopped());
        }
        state
            .directories
            .extend(directory.ancestors().map(Path::to_owned));
        Ok(())
    }

    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        let mut state = self.lock();
        state.begin_whole(Operation::SyncDirectory)?;
        let State {
            changes,
            durable_names,
            ..
        } = &mut *state;
        changes.retain(|change| {
            let touches = change.touches(directory);
            if touches {
                change.apply(durable_names);
            }
            !touches
        });
        Ok(())
    }

    fn available_bytes(&self, _: &Path) -> io::Result<u64> {
        let state = self.lock();
        Ok(state
            .capacity
            .map_or(u64::MAX, |capacity| capacity.saturating_sub(state.used())))
    }
}

#[cfg(test)]
#[path = "faulty_tests.rs"]
mod tests;
