//! What the tasks of one elector share. Owns: the one lock under which standing changes and is published, so that
//! no two publications overtake each other.

use crate::confirm::Confirmations;
use crate::standing::Standing;
use crate::store::Etcd;
use crate::view::{Keys, View};
use crate::{BootTime, ElectionError, ElectionOptions, Leadership, MemberName, TermRevision};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, watch};

/// See the module.
pub(crate) struct Shared {
    pub(crate) options: ElectionOptions,
    pub(crate) keys: Keys,
    pub(crate) etcd: Etcd,
    /// Something may have changed: look.
    pub(crate) poke: Notify,
    pub(crate) confirmations: Confirmations,
    pub(crate) state: watch::Sender<Leadership>,
    standing: Mutex<Standing>,
    is_troubled: AtomicBool,
    has_ended: AtomicBool,
}

impl Shared {
    /// Must be called within the runtime that drives it.
    pub(crate) fn new(options: ElectionOptions) -> Result<Self, ElectionError> {
        Ok(Self {
            keys: Keys::new(&options.key_prefix),
            etcd: Etcd::new(&options)?,
            poke: Notify::new(),
            confirmations: Confirmations::default(),
            state: watch::Sender::new(Leadership::Unknown),
            standing: Mutex::default(),
            is_troubled: AtomicBool::new(false),
            has_ended: AtomicBool::new(false),
            options,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Standing> {
        // Each change is one assignment after another of plain values: none is half made by a panic elsewhere.
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the standing and tells those who watch.
    pub(crate) fn update<T>(&self, change: impl FnOnce(&mut Standing, BootTime) -> T) -> T {
        let mut standing = self.lock();
        let output = change(&mut standing, BootTime::now());
        let leadership = standing.leadership(BootTime::now());
        self.state.send_if_modified(|it| {
            let is_new = *it != leadership;
            if is_new {
                tracing::info!(member = %self.options.member.name, ?leadership, "leadership changed");
                *it = leadership;
            }
            is_new
        });
        output
    }

    /// Reads the standing as of now.
    pub(crate) fn ask<T>(&self, question: impl FnOnce(&Standing, BootTime) -> T) -> T {
        let standing = self.lock();
        // Read under the lock: a clock read before it could be older than what the standing has become.
        question(&standing, BootTime::now())
    }

    /// Nothing changes any more; wakes those who wait for it.
    pub(crate) fn close(&self) {
        self.has_ended.store(true, Ordering::SeqCst);
        self.state.send_modify(|_| ());
    }

    /// Whether that has happened.
    pub(crate) fn has_ended(&self) -> bool {
        self.has_ended.load(Ordering::SeqCst)
    }

    pub(crate) fn term(&self) -> Option<TermRevision> {
        self.ask(Standing::term)
    }

    /// Takes note of what a linearizable read saw; has it acted on when it is new.
    pub(crate) fn saw(&self, view: View) {
        if self.update(|standing, now| standing.seen(now, view)) {
            self.poke.notify_one();
        }
    }

    /// Takes note of whether the writer answered; has it acted on where that may make a difference.
    pub(crate) fn hear(&self, writer: &MemberName, answered: bool) {
        let after = self.options.silent_after();
        if self.update(|standing, now| standing.hear(now, writer, answered, after)) {
            self.poke.notify_one();
        }
    }

    /// Logs the first of a row of troubles.
    pub(crate) fn trouble(&self, error: &ElectionError) {
        if !self.is_troubled.swap(true, Ordering::Relaxed) {
            tracing::warn!(code = error.code(), %error, "etcd does not serve the election");
        }
    }

    /// Logs the end of it.
    pub(crate) fn well(&self) {
        if self.is_troubled.swap(false, Ordering::Relaxed) {
            tracing::info!("etcd serves the election again");
        }
    }
}
