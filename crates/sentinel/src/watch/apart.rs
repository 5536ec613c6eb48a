//! Keeps etcd's leader off the primary's host (pure): whoever loses both at once waits for two elections, one after the other. Owns: when it is
//! time to move it. Must not: ask or move.

use std::time::{Duration, Instant};

/// How long the primary must have been here, with nothing wrong in sight: in a failover there is something else to do.
const SETTLED: Duration = Duration::from_secs(5);
/// How often etcd is asked who leads.
const ASK: Duration = Duration::from_secs(5);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Apart {
    here_since: Option<Instant>,
    asked: Option<Instant>,
}

impl Apart {
    /// Whether etcd's leader is to be moved away now if it is on this host. `is_here`: the primary is on this host and well.
    pub(super) fn is_due(&mut self, is_here: bool, now: Instant) -> bool {
        if !is_here {
            self.here_since = None;
            return false;
        }
        let since = *self.here_since.get_or_insert(now);
        let is_settled = now.duration_since(since) >= SETTLED;
        let was_asked = self.asked.is_some_and(|at| now.duration_since(at) < ASK);
        if is_settled && !was_asked {
            self.asked = Some(now);
        }
        is_settled && !was_asked
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_time_when_the_primary_has_been_here_for_a_while_and_then_now_and_again() {
        let (mut apart, start) = (Apart::default(), Instant::now());
        let mut due = |is_here, ms| apart.is_due(is_here, start + Duration::from_millis(ms));
        assert!(!due(true, 0));
        assert!(!due(true, 4_999));
        assert!(due(true, 5_000));
        assert!(!due(true, 5_250), "it was asked just now");
        assert!(due(true, 10_000));
        assert!(!due(false, 16_000), "another host's");
        assert!(!due(true, 16_250), "it has only come back");
        assert!(due(true, 21_250));
    }
}
