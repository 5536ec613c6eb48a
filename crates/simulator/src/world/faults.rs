//! What goes wrong with the machine. Owns: when, and how, it fails.

use super::{End, Phase, World};
use crate::Broken;
use rand::RngExt;
use std::path::Path;
use storage::Storage;
use storage::faulty::{Fault, Operation};

impl World {
    /// A crash, now or inside one of the next operations of the disk.
    pub(super) fn crash(&mut self) -> Result<(), Broken> {
        let end = if self.one_in(2) {
            End::Machine
        } else {
            End::Process
        };
        if self.one_in(3) {
            self.note(format!("the {end:?} is killed"));
            return self.end(end);
        }
        self.planned = end;
        let operation = self.storage.operations() + self.random.random_range(0..12);
        self.storage.crash_at(operation);
        self.note(format!(
            "the {end:?} will end in operation {operation} of the disk"
        ));
        Ok(())
    }

    pub(super) fn end(&mut self, end: End) -> Result<(), Broken> {
        match end {
            End::Machine => self.statistics.power_losses += 1,
            End::Process => self.statistics.kills += 1,
        }
        if let Phase::Up(live) = std::mem::replace(&mut self.phase, Phase::Down(end)) {
            self.under_way = u64::from(live.is_under_way());
            // Dead before it is dropped: a process that is gone removes no files.
            self.storage.crash();
            drop(live);
            self.clients.hang_up(&self.truth);
        }
        Ok(())
    }

    pub(super) fn plan_fault(&mut self) {
        use Operation as O;
        let operations = [
            O::Read,
            O::Write,
            O::Write,
            O::Sync,
            O::Sync,
            O::Create,
            O::Rename,
            O::Remove,
            O::SyncDirectory,
        ];
        let operation = operations[self.random.random_range(0..operations.len())];
        let fault = if operation == O::Write && self.one_in(2) {
            Fault::Short
        } else {
            Fault::Io
        };
        let nth = self.random.random_range(0..6);
        self.storage.plan(operation, nth, fault);
        self.trouble = true;
        self.note(format!(
            "{operation:?} number {nth} from now will fail: {fault:?}"
        ));
    }

    pub(super) fn fill_or_free(&mut self) {
        self.limited = !self.limited;
        let most = [3_000, 30_000, 150_000][self.random.random_range(0..3)];
        let room = self.random.random_range(0..most);
        let room = self.limited.then(|| self.used() + room);
        self.storage.set_capacity(room);
        self.note(format!("the disk holds at most {room:?} bytes"));
    }

    pub(super) fn used(&self) -> u64 {
        let length = |path: &Path| {
            self.storage
                .open(path)
                .and_then(|file| file.length())
                .unwrap_or(0)
        };
        let mut used = length(&self.layout.keys);
        for directory in [&self.layout.journal, &self.layout.history, &self.layout.snapshots] {
            let names = self.storage.list(directory).unwrap_or_default();
            used += names
                .iter()
                .map(|name| length(&directory.join(name)))
                .sum::<u64>();
        }
        used
    }
}
