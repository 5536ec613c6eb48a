//! Holds the timestamps of answers against the campaign's own clock (pure). One that is far ahead would have expired every
//! hold that was to run out before it.

use super::record::{Call, Heard};
use super::violation::Violation;
use ledger::TimestampNs;
use std::time::Duration;

/// How far an answer's timestamp may be beyond the moment at which it came: twice what a writer's time may be ahead.
pub const AHEAD_MAX: Duration = Duration::from_secs(1);

/// Every transfer whose answer was stamped later than its client heard it; `begun` is what the campaign's clock said at the
/// moment 0 of the calls.
#[must_use]
pub fn check_clock(calls: &[Call], begun: TimestampNs) -> Vec<Violation> {
    let ahead = |call: &Call| {
        let Heard::Reply(reply) = call.heard else {
            return None;
        };
        let limit = begun.0 + call.ended.0 + AHEAD_MAX.as_nanos() as u64;
        let by_ms = reply.timestamp.0.checked_sub(limit)?.div_ceil(1_000_000);
        (by_ms > 0).then_some(Violation::StampedAhead {
            id: call.transfer.id,
            by_ms,
        })
    };
    calls.iter().filter_map(ahead).collect()
}
