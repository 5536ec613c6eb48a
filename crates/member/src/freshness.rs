//! How old a follower's answers may be at most. Owns: the last moment as of which it surely has everything.

use election::BootTime;
use std::sync::Mutex;
use std::time::Duration;

/// See the module.
#[derive(Default)]
pub(crate) struct Freshness(Mutex<Option<BootTime>>);

impl Freshness {
    /// This node has everything that was acknowledged before that moment.
    pub(crate) fn is_as_of(&self, moment: BootTime) {
        let mut latest = self.lock();
        *latest = Some(latest.map_or(moment, |known| known.max(moment)));
    }

    /// How long ago that was; none when it never was.
    pub(crate) fn age(&self, now: BootTime) -> Option<Duration> {
        let latest = (*self.lock())?;
        Some(Duration::from_nanos(now.0.saturating_sub(latest.0)))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<BootTime>> {
        self.0.lock().expect("no thread panics with the moment")
    }
}
