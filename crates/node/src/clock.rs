//! Time for the node. Owns: the only reading of the system's clocks.
//!
//! A forward jump of the wall clock would expire holds for ever, so the node's time advances with the monotonic
//! clock and follows the wall clock by at most [`SLEW_PER_MILLE`]; a jump is reported, not followed.

use ledger::TimestampNs;
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How fast the node's time may approach the wall clock: this many thousandths of the time that passed.
pub const SLEW_PER_MILLE: i128 = 5;

/// A difference between wall clock and node time that is reported as a jump.
pub const JUMP: Duration = Duration::from_millis(500);

/// Where the sequencer gets its time.
pub trait Clock: Send + Sync + 'static {
    /// Nanoseconds since the Unix epoch, never going back.
    fn now(&self) -> TimestampNs;

    /// What deadlines of requests are compared with.
    fn instant(&self) -> Instant {
        Instant::now()
    }
}

/// The system's clock, steadied.
#[derive(Debug)]
pub struct SystemClock {
    state: Mutex<Reading>,
}

#[derive(Clone, Copy, Debug)]
struct Reading {
    instant: Instant,
    nanoseconds: u64,
    jumped: bool,
}

impl Default for SystemClock {
    fn default() -> Self {
        Self {
            state: Mutex::new(Reading {
                instant: Instant::now(),
                nanoseconds: wall(),
                jumped: false,
            }),
        }
    }
}

impl SystemClock {
    /// The clock of the day, as the machine has it.
    #[must_use]
    pub fn wall() -> TimestampNs {
        TimestampNs(wall())
    }

    /// Begins anew, at the clock of the day, or at `latest` where that is earlier: from there it is followed slowly. For the
    /// moment before a term.
    pub fn begin(&self, latest: Option<TimestampNs>) {
        let wall = wall();
        let nanoseconds = latest.map_or(wall, |latest| latest.0.min(wall));
        *self.state.lock().expect("no thread panics with the clock") = Reading {
            instant: Instant::now(),
            nanoseconds,
            // Told by whoever gave the bound.
            jumped: wall - nanoseconds > nanoseconds_of(JUMP),
        };
    }
}

impl Clock for SystemClock {
    fn now(&self) -> TimestampNs {
        let mut reading = self.state.lock().expect("no thread panics with the clock");
        let instant = Instant::now();
        let elapsed = nanoseconds_of(instant - reading.instant);
        let (steadied, jumped) = steady(reading.nanoseconds, elapsed, wall());
        if jumped && !reading.jumped {
            tracing::error!(code = "NOD-0010", "the system clock jumped; following it slowly");
        }
        *reading = Reading {
            instant,
            nanoseconds: steadied,
            jumped,
        };
        TimestampNs(steadied)
    }
}

/// The node's next reading after `elapsed` of monotonic time, and whether the wall clock is a jump away.
fn steady(last: u64, elapsed: u64, wall: u64) -> (u64, bool) {
    let free_running = i128::from(last) + i128::from(elapsed);
    let difference = i128::from(wall) - free_running;
    let most = i128::from(elapsed) * SLEW_PER_MILLE / 1_000;
    let steadied = free_running + difference.clamp(-most, most);
    let jumped = difference.unsigned_abs() > JUMP.as_nanos();
    (u64::try_from(steadied).unwrap_or(u64::MAX >> 1), jumped)
}

fn wall() -> u64 {
    nanoseconds_of(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

fn nanoseconds_of(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX >> 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forward_jump_of_the_wall_clock_is_followed_slowly_and_reported() {
        let hour = 3_600_000_000_000;
        let (now, jumped) = steady(hour, 1_000_000, 2 * hour);
        assert_eq!(now, hour + 1_000_000 + 5_000);
        assert!(jumped);
    }

    #[test]
    fn time_goes_on_when_the_wall_clock_goes_back() {
        let (now, jumped) = steady(1_000_000_000_000, 1_000_000, 0);
        assert_eq!(now, 1_000_000_000_000 + 1_000_000 - 5_000);
        assert!(jumped);
    }

    #[test]
    fn a_term_begins_at_the_bound_where_the_clock_of_the_day_is_later_and_goes_on_from_there() {
        let (clock, minute) = (SystemClock::default(), 60_000_000_000);
        let bound = TimestampNs(wall() - 60 * minute);
        clock.begin(Some(bound));
        let now = clock.now();
        assert!(bound <= now && now.0 < bound.0 + minute, "{now:?}");
        clock.begin(Some(TimestampNs(wall() + minute)));
        assert!(
            clock.now().0 < wall() + minute / 2,
            "a bound in the future binds nothing"
        );
    }

    #[test]
    fn a_small_difference_is_made_up_and_is_no_jump() {
        let (now, jumped) = steady(10_000_000_000, 1_000_000_000, 11_000_001_000);
        assert_eq!((now, jumped), (11_000_001_000, false));
    }
}
