//! The clock by which a lease runs out. Must not: be the wall clock, which others may set.
//!
//! It is `CLOCK_BOOTTIME`, which goes on while the machine is suspended: etcd's clock goes on too, and
//! `CLOCK_MONOTONIC`, which [`std::time::Instant`] reads, would stand still and believe in a lease that is long gone.

use rustix::time::{ClockId, clock_gettime};
use std::time::Duration;

/// Nanoseconds since this machine booted, suspension included. The same for all processes of one machine,
/// meaningless on another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BootTime(pub u64);

impl BootTime {
    /// Now.
    #[must_use]
    pub fn now() -> Self {
        let time = clock_gettime(ClockId::Boottime);
        // Since boot, so never negative.
        Self(time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
    }

    /// Later by so much.
    pub(crate) fn plus(self, time: Duration) -> Self {
        let ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(ns))
    }

    /// How long it is from `earlier` until this; none when it is not later.
    pub(crate) fn after(self, earlier: Self) -> Option<Duration> {
        let ns = self.0.checked_sub(earlier.0)?;
        (ns > 0).then(|| Duration::from_nanos(ns))
    }
}
