//! Where this member stands: its lease, its term, and what it last saw. Pure: time is an argument.
//!
//! Invariant: a term ends once and for all when its lease runs out by our own clock, when its key is seen gone, or
//! when it is given up; no late answer brings it back. Must not: read clocks or reach etcd.

use crate::view::View;
use crate::{BootTime, ElectionError, Member, MemberName};
use etcd::LeaseId;
use std::fmt;
use std::time::Duration;

/// What names a term: etcd's revision at which its writer key was made. Later terms have greater ones, for as long
/// as the etcd cluster is not made anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TermRevision(pub i64);

impl fmt::Display for TermRevision {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// So many questions in a row must stay without an answer.
const UNANSWERED_MIN: u32 = 2;

/// A member that is suddenly the only one goes on answering reads for so long before it stands for election: where writers end one
/// after the other, the last one would end, too, and nobody would answer anything. Others are mostly back by then.
const ALONE: Duration = Duration::from_secs(1);

/// Where a member stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Leadership {
    /// It holds a lease, and another is the writer, or nobody.
    Following {
        /// None when there is none, or when what it wrote of itself is not understood. It may be this very member:
        /// when a key that it held before has not gone yet.
        writer: Option<Member>,
    },
    /// It is the writer, for as long as [`crate::Elector::is_leading_now`] says so.
    Leading {
        /// When it learnt that it had won.
        since: BootTime,
        /// Names the term.
        term_revision: TermRevision,
    },
    /// It holds no lease that it may believe in: etcd cannot be reached, or has no quorum.
    Unknown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Lease {
    id: LeaseId,
    until: BootTime,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Term {
    revision: TermRevision,
    since: BootTime,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Standing {
    lease: Option<Lease>,
    term: Option<Term>,
    view: View,
    /// It resigned and leaves others the first try until then.
    barred_until: Option<BootTime>,
    /// Until when this member does not want to lead, whoever else does or does not.
    stands_back_until: Option<BootTime>,
    /// The others are gone since just now: until then it stays one who answers reads.
    stays_until: Option<BootTime>,
    /// It has stepped down, and the transaction that gives its key up is under way.
    pub(crate) is_resigning: bool,
    /// The writers of the last two terms that were seen, the later one last.
    seen_writers: Vec<(TermRevision, MemberName)>,
    hearing: Option<Hearing>,
}

/// What this member hears of whoever writes.
#[derive(Clone, Copy, Debug)]
struct Hearing {
    /// Of this term. What was heard of an earlier one says nothing.
    term: TermRevision,
    /// When it answered last, or was first asked.
    at: BootTime,
    /// Questions since then that it did not answer: who was frozen itself has not asked.
    unanswered: u32,
}

impl Standing {
    /// A new lease, believed in until then.
    pub(crate) fn begin(&mut self, id: LeaseId, until: BootTime) {
        self.lease = Some(Lease { id, until });
        self.term = None;
    }

    /// Gives up lease and term.
    pub(crate) fn end(&mut self) {
        self.lease = None;
        self.term = None;
    }

    /// Believes in the lease until then; false when it had run out already, which nothing heals.
    pub(crate) fn extend(&mut self, now: BootTime, id: LeaseId, until: BootTime) -> bool {
        match self.live(now) {
            Some(lease) if lease.id == id => {
                self.lease = Some(Lease {
                    id,
                    until: lease.until.max(until),
                });
                true
            }
            _ => false,
        }
    }

    /// When the lease runs out as things stand.
    pub(crate) fn until(&self) -> Option<BootTime> {
        self.lease.map(|it| it.until)
    }

    fn live(&self, now: BootTime) -> Option<Lease> {
        self.lease.filter(|it| now < it.until)
    }

    /// The lease, if it is to be believed in.
    pub(crate) fn lease(&self, now: BootTime) -> Option<LeaseId> {
        self.live(now).map(|it| it.id)
    }

    /// Our writer key was made in this revision.
    pub(crate) fn won(&mut self, now: BootTime, id: LeaseId, revision: TermRevision) {
        if self.lease(now) == Some(id) {
            self.term = Some(Term { revision, since: now });
            self.barred_until = None;
        }
    }

    /// What a linearizable read saw. A late one that saw less than an earlier one is dropped. True when it tells
    /// anything new.
    pub(crate) fn seen(&mut self, now: BootTime, view: View) -> bool {
        if view.revision < self.view.revision {
            return false;
        }
        match (self.view.members.len(), view.members.len()) {
            (0 | 1, 1) => {}
            (_, 1) => self.stays_until = Some(now.plus(ALONE)),
            _ => self.stays_until = None,
        }
        let writer = view.writer.as_ref();
        if let Some(term) = self.term
            && view.revision.0 >= term.revision.0
            && writer.is_none_or(|it| it.created != term.revision)
        {
            self.term = None;
        }
        if writer.is_some_and(|it| self.lease.is_none_or(|own| own.id != it.lease)) {
            self.barred_until = None;
        }
        self.remember_writer(&view);
        let is_new = !self.view.tells_the_same(&view);
        self.view = view;
        is_new
    }

    fn remember_writer(&mut self, view: &View) {
        let Some(held) = &view.writer else { return };
        let is_new = self
            .seen_writers
            .last()
            .is_none_or(|(last, _)| *last < held.created);
        if let Ok(member) = &held.value
            && is_new
        {
            self.seen_writers.push((held.created, member.name.clone()));
            let too_many = self.seen_writers.len().saturating_sub(2);
            self.seen_writers.drain(..too_many);
        }
    }

    /// Who led before a term, as far as it was seen.
    pub(crate) fn writer_before(&self, term: TermRevision) -> Option<MemberName> {
        let earlier = self.seen_writers.iter().rev().find(|(seen, _)| *seen < term);
        earlier.map(|(_, name)| name.clone())
    }

    /// Ends this very term, if it is not over anyway.
    pub(crate) fn depose(&mut self, revision: TermRevision) {
        if self.term.is_some_and(|it| it.revision == revision) {
            self.term = None;
        }
    }

    /// Stops leading before the key is given up, and lets others try first until `barred_until`.
    pub(crate) fn step_down(
        &mut self,
        now: BootTime,
        barred_until: BootTime,
    ) -> Result<TermRevision, ElectionError> {
        let term = self.term(now).ok_or(ElectionError::NotLeading)?;
        self.term = None;
        self.is_resigning = true;
        self.barred_until = Some(barred_until);
        Ok(term)
    }

    /// Does not try to lead until then.
    pub(crate) fn stand_back(&mut self, until: BootTime) {
        self.stands_back_until = Some(until);
    }

    /// Until when others go first.
    pub(crate) fn barred_until(&self, now: BootTime) -> Option<BootTime> {
        self.barred_until
            .max(self.stands_back_until)
            .max(self.stays_until)
            .filter(|it| now < *it)
    }

    /// The term, if it is not over.
    pub(crate) fn term(&self, now: BootTime) -> Option<TermRevision> {
        self.live(now)?;
        self.term.map(|it| it.revision)
    }

    /// How long the lease is to be believed in as things stand.
    pub(crate) fn left(&self, now: BootTime) -> Option<Duration> {
        self.live(now).and_then(|lease| lease.until.after(now))
    }

    /// The term that another one writes, if it is the writer of this name.
    fn term_of(&self, writer: &MemberName) -> Option<TermRevision> {
        let held = self.view.writer.as_ref()?;
        let is_it = held.value.as_ref().is_ok_and(|member| member.name == *writer);
        (is_it && self.term.is_none()).then_some(held.created)
    }

    /// The writer answered, or did not. True when it is silent or was until now: something may be to be done.
    pub(crate) fn hear(
        &mut self,
        now: BootTime,
        writer: &MemberName,
        answered: bool,
        after: Duration,
    ) -> bool {
        let Some(term) = self.term_of(writer) else {
            return false;
        };
        let was_silent = self.silent(now, after).is_some();
        match &mut self.hearing {
            Some(hearing) if hearing.term == term && !answered => hearing.unanswered += 1,
            hearing => {
                *hearing = Some(Hearing {
                    term,
                    at: now,
                    unanswered: 0,
                });
            }
        }
        was_silent || self.silent(now, after).is_some()
    }

    /// The term whose writer has been asked and not been heard for so long.
    pub(crate) fn silent(&self, now: BootTime, after: Duration) -> Option<TermRevision> {
        let Hearing { term, at, unanswered } = self.hearing?;
        let writes = self.view.writer.as_ref().map(|held| held.created);
        let is_silent = unanswered >= UNANSWERED_MIN && at.plus(after) <= now;
        (is_silent && writes == Some(term)).then_some(term)
    }

    /// For those who watch.
    pub(crate) fn leadership(&self, now: BootTime) -> Leadership {
        match (self.live(now), self.term) {
            (None, _) => Leadership::Unknown,
            (Some(_), Some(term)) => Leadership::Leading {
                since: term.since,
                term_revision: term.revision,
            },
            (Some(_), None) => Leadership::Following {
                writer: self.view.writer.as_ref().and_then(|it| it.value.clone().ok()),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::{Held, Revision};

    const MINE: LeaseId = LeaseId(1);
    const NOW: BootTime = BootTime(30);
    const OTHERS: LeaseId = LeaseId(2);

    fn view(revision: i64, writer: Option<(LeaseId, i64)>) -> View {
        let held = |(lease, created)| Held {
            key: "writer".into(),
            created: TermRevision(created),
            lease,
            value: Err(ElectionError::Stopped),
        };
        View {
            revision: Revision(revision),
            writer: writer.map(held),
            ..View::default()
        }
    }

    /// Leads term 5 with a lease until 100.
    fn leading() -> Standing {
        let mut standing = Standing::default();
        standing.begin(MINE, BootTime(100));
        standing.won(BootTime(10), MINE, TermRevision(5));
        assert_eq!(standing.term(BootTime(99)), Some(TermRevision(5)));
        standing
    }

    #[test]
    fn a_term_ends_with_its_lease_whoever_asks_first() {
        let standing = leading();
        assert_eq!(standing.term(BootTime(100)), None);
        assert_eq!(standing.leadership(BootTime(100)), Leadership::Unknown);
        assert!(matches!(
            standing.leadership(BootTime(99)),
            Leadership::Leading { .. }
        ));
    }

    #[test]
    fn a_late_answer_does_not_bring_a_lease_back() {
        let mut standing = leading();
        assert!(standing.extend(BootTime(99), MINE, BootTime(150)));
        assert!(!standing.extend(BootTime(150), MINE, BootTime(300)));
        assert_eq!(standing.term(BootTime(150)), None);
        assert!(!standing.extend(BootTime(120), OTHERS, BootTime(300)));
    }

    #[test]
    fn an_earlier_promise_does_not_shorten_a_later_one() {
        let mut standing = leading();
        assert!(standing.extend(BootTime(50), MINE, BootTime(90)));
        assert_eq!(standing.until(), Some(BootTime(100)));
    }

    #[test]
    fn a_new_lease_does_not_carry_an_old_term() {
        let mut standing = leading();
        standing.begin(OTHERS, BootTime(500));
        assert_eq!(standing.term(BootTime(50)), None);
        standing.won(BootTime(60), MINE, TermRevision(6));
        assert_eq!(
            standing.term(BootTime(61)),
            None,
            "won under a lease that is not ours any more"
        );
    }

    #[test]
    fn a_writer_whose_key_is_gone_or_anothers_is_deposed() {
        for seen in [
            view(6, None),
            view(6, Some((OTHERS, 6))),
            view(7, Some((MINE, 7))),
        ] {
            let mut standing = leading();
            standing.seen(NOW, seen);
            assert_eq!(standing.term(BootTime(50)), None);
            standing.seen(NOW, view(8, Some((MINE, 5))));
            assert_eq!(standing.term(BootTime(50)), None, "deposed for good");
        }
    }

    #[test]
    fn what_was_seen_before_the_term_began_says_nothing_about_it() {
        let mut standing = leading();
        standing.seen(NOW, view(4, None));
        assert_eq!(standing.term(BootTime(50)), Some(TermRevision(5)));
        standing.seen(NOW, view(5, Some((MINE, 5))));
        assert_eq!(standing.term(BootTime(50)), Some(TermRevision(5)));
    }

    #[test]
    fn who_steps_down_leads_no_more_and_waits_until_another_is_seen() {
        let mut standing = leading();
        assert_eq!(
            standing.step_down(BootTime(20), BootTime(80)),
            Ok(TermRevision(5))
        );
        assert_eq!(standing.term(BootTime(20)), None);
        assert_eq!(
            standing.step_down(BootTime(21), BootTime(80)),
            Err(ElectionError::NotLeading)
        );
        standing.seen(NOW, view(5, Some((MINE, 5))));
        assert_eq!(standing.barred_until(BootTime(30)), Some(BootTime(80)));
        standing.seen(NOW, view(6, None));
        assert_eq!(standing.barred_until(BootTime(30)), Some(BootTime(80)));
        assert_eq!(standing.barred_until(BootTime(80)), None);
        standing.seen(NOW, view(7, Some((OTHERS, 7))));
        assert_eq!(standing.barred_until(BootTime(30)), None);
    }

    #[test]
    fn who_is_left_alone_stands_for_election_after_a_second_or_when_another_is_there() {
        let with = |revision, names: &[&str]| View {
            members: names.iter().map(|name| held_member(name)).collect(),
            ..view(revision, None)
        };
        let mut standing = Standing::default();
        standing.seen(NOW, with(1, &["a"]));
        assert_eq!(standing.barred_until(NOW), None, "it was never more than one");
        standing.seen(NOW, with(2, &["a", "b", "c"]));
        assert_eq!(standing.barred_until(NOW), None);
        standing.seen(NOW, with(3, &["a"]));
        let until = NOW.plus(ALONE);
        standing.seen(until, with(4, &["a"]));
        assert_eq!(standing.barred_until(NOW), Some(until));
        assert_eq!(standing.barred_until(until), None);
        standing.seen(NOW, with(5, &["a", "c"]));
        assert_eq!(standing.barred_until(NOW), None);
    }

    #[test]
    fn who_led_before_is_remembered_whether_or_not_the_new_writer_was_seen() {
        let before = |standing: &Standing, term| {
            standing
                .writer_before(TermRevision(term))
                .map(|it| it.to_string())
        };
        let mut standing = Standing::default();
        assert_eq!(before(&standing, 9), None);
        for (name, created) in [("a", 2), ("b", 4), ("a", 6)] {
            standing.seen(NOW, written_by(name, created));
        }
        standing.seen(NOW, view(7, None));
        assert_eq!(
            before(&standing, 9).as_deref(),
            Some("a"),
            "a term of our own, not seen yet"
        );
        assert_eq!(before(&standing, 6).as_deref(), Some("b"), "it was seen");
        standing.seen(NOW, written_by("a", 9));
        assert_eq!(before(&standing, 9).as_deref(), Some("a"), "the same one again");
        assert_eq!(before(&standing, 6), None, "forgotten");
    }

    #[test]
    fn deposing_one_term_leaves_the_next_alone() {
        let mut standing = leading();
        standing.depose(TermRevision(4));
        assert_eq!(standing.term(BootTime(50)), Some(TermRevision(5)));
        standing.depose(TermRevision(5));
        assert_eq!(standing.term(BootTime(50)), None);
    }

    const AFTER: Duration = Duration::from_nanos(30);

    fn named(text: &str) -> MemberName {
        MemberName::new(text).unwrap()
    }

    fn member(name: &str) -> Member {
        Member {
            name: named(name),
            grpc_address: "127.0.0.1:1".into(),
            rest_address: "127.0.0.1:1".into(),
            may_write: true,
            instance: String::new(),
        }
    }

    fn written_by(name: &str, created: i64) -> View {
        let mut seen = view(created, Some((OTHERS, created)));
        seen.writer.as_mut().unwrap().value = Ok(member(name));
        seen
    }

    fn held_member(name: &str) -> Held<Member> {
        Held {
            key: name.into(),
            created: TermRevision(1),
            lease: OTHERS,
            value: Ok(member(name)),
        }
    }

    #[test]
    fn a_writer_is_silent_once_it_was_asked_in_vain_for_long_enough_and_not_before() {
        let mut standing = Standing::default();
        let b = named("b");
        assert!(!standing.hear(BootTime(0), &b, false, AFTER), "nobody writes");
        standing.seen(NOW, written_by("b", 5));
        // The first question of a term counts as the moment from which it is asked.
        assert!(!standing.hear(BootTime(10), &b, false, AFTER));
        assert!(!standing.hear(BootTime(20), &b, false, AFTER));
        assert!(!standing.hear(BootTime(30), &b, false, AFTER));
        assert_eq!(standing.silent(BootTime(39), AFTER), None);
        assert_eq!(standing.silent(BootTime(40), AFTER), Some(TermRevision(5)));
        assert!(
            !standing.hear(BootTime(41), &named("c"), true, AFTER),
            "another one's answer"
        );
        assert!(standing.hear(BootTime(42), &b, true, AFTER));
        assert_eq!(
            standing.silent(BootTime(100), AFTER),
            None,
            "who does not ask knows nothing"
        );
        assert!(
            !standing.hear(BootTime(101), &b, false, AFTER),
            "a question that a freeze cut short"
        );
        assert!(standing.hear(BootTime(102), &b, false, AFTER));
    }

    #[test]
    fn silence_is_of_one_term_and_never_of_our_own() {
        let mut standing = Standing::default();
        let b = named("b");
        standing.seen(NOW, written_by("b", 5));
        for at in [0, 10, 20, 40] {
            standing.hear(BootTime(at), &b, false, AFTER);
        }
        assert_eq!(standing.silent(BootTime(40), AFTER), Some(TermRevision(5)));
        standing.seen(NOW, written_by("b", 6));
        assert_eq!(
            standing.silent(BootTime(41), AFTER),
            None,
            "the same one, elected again"
        );
        let mut standing = leading();
        standing.seen(NOW, written_by("b", 4));
        assert!(!standing.hear(BootTime(50), &b, false, AFTER), "we lead");
    }
}
