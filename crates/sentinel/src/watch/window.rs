//! What one node saw of the primary over time (pure).

use crate::ServerName;
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

/// What an unbroken row of looks says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Condition {
    /// PostgreSQL does not answer, and Patroni does not report it running as primary.
    Dead,
    /// PostgreSQL takes no session, though Patroni reports it running as primary.
    Refusing,
}

/// Whom the look was at: the leader key as it was read before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Term {
    /// Who held it.
    pub leader: ServerName,
    /// Its `mod_revision`.
    pub revision: i64,
}

/// One look.
#[derive(Clone, Debug)]
pub struct Look {
    /// At whom.
    pub term: Term,
    /// When it began.
    pub began: Instant,
    /// When it ended.
    pub ended: Instant,
    /// Whether PostgreSQL answered a new connection, if only with an error.
    pub answered: bool,
    /// Whether Patroni reports it running as primary.
    pub reported: bool,
    /// When the last append was acknowledged, as far as this node knows.
    pub acknowledged: Option<Instant>,
}

/// An unbroken row of looks that all say the same of the same term.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Of whom.
    pub term: Term,
    /// What they say.
    pub condition: Condition,
    /// When the first began.
    pub since: Instant,
    /// When the last ended.
    pub until: Instant,
    /// How many there were.
    pub looks: u32,
}

impl Row {
    /// How much time it covers.
    #[must_use]
    pub fn covers(&self) -> Duration {
        self.until.saturating_duration_since(self.since)
    }
}

/// The row that goes on.
#[derive(Debug, Default)]
pub struct Window {
    row: Option<Row>,
    last: Option<Instant>,
}

impl Window {
    /// Takes a look in. `gap` is the longest pause between two looks that still makes one row: who slept saw nothing.
    pub fn note(&mut self, look: Look, gap: Duration) {
        let slept = self
            .last
            .is_some_and(|last| look.began.saturating_duration_since(last) > gap)
            || look.ended.saturating_duration_since(look.began) > gap;
        self.last = Some(look.ended);
        let condition = match (look.answered, look.reported) {
            (true, _) => None,
            (false, true) => Some(Condition::Refusing),
            (false, false) => Some(Condition::Dead),
        };
        let Some(condition) = condition.filter(|_| !slept) else {
            self.row = None;
            return;
        };
        let (since, looks) = match &self.row {
            Some(row) if row.term == look.term && row.condition == condition => (row.since, row.looks + 1),
            _ => (look.began, 1),
        };
        // An acknowledged append is life; what stands after it may count again.
        let is_alive = look.acknowledged.is_some_and(|at| at >= since);
        self.row = (!is_alive).then_some(Row {
            term: look.term,
            condition,
            since,
            until: look.ended,
            looks,
        });
    }

    /// The row that goes on, if any.
    #[must_use]
    pub fn row(&self) -> Option<&Row> {
        self.row.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GAP: Duration = Duration::from_millis(900);

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    struct Watch {
        zero: Instant,
        window: Window,
    }

    impl Watch {
        fn new() -> Self {
            Self {
                zero: Instant::now(),
                window: Window::default(),
            }
        }

        fn look(&mut self, at_ms: u64, answered: bool, reported: bool) -> &mut Self {
            self.look_of(1, at_ms, answered, reported, None)
        }

        fn look_of(
            &mut self,
            term: i64,
            at_ms: u64,
            answered: bool,
            reported: bool,
            ack_ms: Option<u64>,
        ) -> &mut Self {
            let look = Look {
                term: Term {
                    leader: "h1".into(),
                    revision: term,
                },
                began: self.zero + ms(at_ms),
                ended: self.zero + ms(at_ms + 100),
                answered,
                reported,
                acknowledged: ack_ms.map(|at| self.zero + ms(at)),
            };
            self.window.note(look, GAP);
            self
        }

        fn seen(&self) -> Option<(Condition, u128)> {
            let row = self.window.row();
            row.map(|row| (row.condition, row.covers().as_millis()))
        }
    }

    #[test]
    fn looks_that_say_the_same_make_a_row() {
        let mut watch = Watch::new();
        watch
            .look(0, false, false)
            .look(250, false, false)
            .look(500, false, false);
        assert_eq!(watch.seen(), Some((Condition::Dead, 600)));
        assert_eq!(watch.window.row().unwrap().looks, 3);
        watch.look(750, false, true);
        assert_eq!(watch.window.row().unwrap().looks, 1);
    }

    #[test]
    fn any_answer_even_an_error_breaks_it() {
        let mut watch = Watch::new();
        watch.look(0, false, false).look(250, true, false);
        assert_eq!(watch.seen(), None);
        watch.look(500, false, false);
        assert_eq!(watch.seen(), Some((Condition::Dead, 100)));
    }

    #[test]
    fn patronis_word_for_a_running_primary_makes_it_refusing_and_begins_anew() {
        let mut watch = Watch::new();
        watch
            .look(0, false, false)
            .look(250, false, true)
            .look(500, false, true);
        assert_eq!(watch.seen(), Some((Condition::Refusing, 350)));
        watch.look(750, false, false);
        assert_eq!(watch.seen(), Some((Condition::Dead, 100)));
    }

    #[test]
    fn an_acknowledged_append_breaks_it() {
        let mut watch = Watch::new();
        watch
            .look_of(1, 0, false, false, None)
            .look_of(1, 250, false, false, Some(100));
        assert_eq!(watch.seen(), None);
        watch
            .look_of(1, 500, false, false, Some(100))
            .look_of(1, 750, false, false, Some(100));
        assert_eq!(watch.seen(), Some((Condition::Dead, 350)));
    }

    #[test]
    fn a_new_term_begins_anew() {
        let mut watch = Watch::new();
        watch.look(0, false, false).look_of(2, 250, false, false, None);
        assert_eq!(watch.seen(), Some((Condition::Dead, 100)));
    }

    #[test]
    fn an_observer_who_slept_saw_nothing() {
        let mut watch = Watch::new();
        watch
            .look(0, false, false)
            .look(250, false, false)
            .look(60_000, false, false);
        assert_eq!(watch.seen(), None);
        watch.look(60_250, false, false);
        assert_eq!(watch.seen(), Some((Condition::Dead, 100)));
    }
}
