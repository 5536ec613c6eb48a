//! What to do about what was seen. Pure. Must not: do it.

use crate::view::{Keys, View};
use crate::{Member, TermRevision};
use etcd::LeaseId;

/// The next step. Each is one transaction that may be repeated safely.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Make the member key.
    Register,
    /// Another process holds our name; wait until it is gone.
    WaitForName,
    /// A process that is surely gone holds our name, and may hold the writer key: end its lease.
    EndPredecessor(LeaseId),
    /// Remove the writer key that hangs on our lease but belongs to no term of ours: what we gave up, or won without
    /// hearing of it. A term begins with an answer that was heard or not at all.
    Release(TermRevision),
    /// Try to become the writer.
    Campaign {
        /// Because leadership was handed to us, so without waiting for others.
        is_invited: bool,
    },
    /// State that the writer of this term is silent.
    StateSilence(TermRevision),
    /// Take the statement back: the writer is heard, or another one writes.
    TakeBack,
    /// Remove the writer key of this term: its writer is silent to a majority.
    EndTerm(TermRevision),
    /// Nothing, until something changes.
    Wait,
}

/// What is known of ourselves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Own<'a> {
    pub(crate) member: &'a Member,
    pub(crate) lease: LeaseId,
    pub(crate) term: Option<TermRevision>,
    pub(crate) is_resigning: bool,
    /// Resigned a moment ago.
    pub(crate) is_barred: bool,
    /// The term of another whose writer is not heard.
    pub(crate) silent: Option<TermRevision>,
}

/// Decides.
pub(crate) fn plan(keys: &Keys, view: &View, own: Own<'_>) -> Action {
    match view.member(keys, &own.member.name) {
        None => return Action::Register,
        Some(held) if held.lease != own.lease => {
            let instance = &own.member.instance;
            let is_our_own = held.value.as_ref().is_ok_and(|it| it.instance == *instance);
            return match is_our_own && !instance.is_empty() {
                true => Action::EndPredecessor(held.lease),
                false => Action::WaitForName,
            };
        }
        Some(_) => {}
    }
    if let Some(writer) = &view.writer {
        return match writer.lease == own.lease {
            true if own.term != Some(writer.created) && !own.is_resigning => Action::Release(writer.created),
            true => Action::Wait,
            false => watch_writer(keys, view, own, writer.created),
        };
    }
    if !own.member.may_write || own.is_resigning {
        return Action::Wait;
    }
    match &view.handover {
        Some(held) if held.value.as_ref() == Ok(&own.member.name) => Action::Campaign { is_invited: true },
        Some(_) => Action::Wait,
        None if own.is_barred => Action::Wait,
        None => Action::Campaign { is_invited: false },
    }
}

/// What to do while another one writes.
fn watch_writer(keys: &Keys, view: &View, own: Own<'_>, term: TermRevision) -> Action {
    let (is_silent, stated) = (own.silent == Some(term), view.silence(keys, &own.member.name));
    match stated {
        Some(_) if !is_silent => Action::TakeBack,
        Some(of) if of == term && view.agrees_that_silent(term) => Action::EndTerm(term),
        Some(of) if of == term => Action::Wait,
        _ if is_silent => Action::StateSilence(term),
        _ => Action::Wait,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemberName;
    use crate::view::{Held, Silence};

    const MINE: LeaseId = LeaseId(1);
    const OTHERS: LeaseId = LeaseId(2);
    const INSTANCE: &str = "i";

    fn name(text: &str) -> MemberName {
        MemberName::new(text).unwrap()
    }

    fn member(text: &str) -> Member {
        Member {
            name: name(text),
            grpc_address: "a:1".into(),
            rest_address: "a:2".into(),
            may_write: true,
            instance: INSTANCE.into(),
        }
    }

    fn held<T>(key: String, lease: LeaseId, value: T) -> Held<T> {
        let created = TermRevision(7);
        Held {
            key,
            created,
            lease,
            value: Ok(value),
        }
    }

    /// Asks for member `a`, which is registered, after `change`.
    fn planned(change: impl FnOnce(&Keys, &mut View, &mut Member, &mut Own<'static>)) -> Action {
        let keys = Keys::new("/t/");
        let mut view = View::default();
        let key = keys.member(&name("a"));
        view.members.push(held(key, MINE, member("a")));
        let mut me = member("a");
        let mut own = Own {
            member: Box::leak(Box::new(member("a"))),
            lease: MINE,
            term: None,
            is_resigning: false,
            is_barred: false,
            silent: None,
        };
        change(&keys, &mut view, &mut me, &mut own);
        let own = Own { member: &me, ..own };
        plan(&keys, &view, own)
    }

    fn write(keys: &Keys, view: &mut View, lease: LeaseId) {
        view.writer = Some(held(keys.writer.clone(), lease, member("b")));
    }

    #[test]
    fn a_free_place_is_campaigned_for_by_those_who_may() {
        let open = Action::Campaign { is_invited: false };
        assert_eq!(planned(|_, _, _, _| ()), open);
        assert_eq!(planned(|_, _, me, _| me.may_write = false), Action::Wait);
        assert_eq!(planned(|_, _, _, own| own.is_barred = true), Action::Wait);
        assert_eq!(planned(|_, _, _, own| own.is_resigning = true), Action::Wait);
        assert_eq!(
            planned(|keys, view, _, _| write(keys, view, OTHERS)),
            Action::Wait
        );
    }

    #[test]
    fn nobody_campaigns_before_its_name_is_its_own() {
        assert_eq!(planned(|_, view, _, _| view.members.clear()), Action::Register);
    }

    #[test]
    fn only_a_process_of_the_same_instance_is_known_to_be_gone() {
        let held_by = |instance: &str| {
            planned(|_, view, _, _| {
                view.members[0].lease = OTHERS;
                view.members[0].value.as_mut().unwrap().instance = instance.to_owned();
            })
        };
        assert_eq!(held_by("other"), Action::WaitForName);
        assert_eq!(held_by(""), Action::WaitForName);
        let nameless = planned(|_, view, member, own| {
            view.members[0].lease = OTHERS;
            view.members[0].value.as_mut().unwrap().instance.clear();
            member.instance.clear();
            own.member = Box::leak(Box::new(member.clone()));
        });
        assert_eq!(nameless, Action::WaitForName);
        assert_eq!(held_by(INSTANCE), Action::EndPredecessor(OTHERS));
    }

    #[test]
    fn a_handover_is_for_the_named_one_only() {
        let to = |it: &str| {
            let to = name(it);
            planned(move |keys, view, _, own| {
                own.is_barred = true;
                view.handover = Some(held(keys.handover.clone(), OTHERS, to));
            })
        };
        assert_eq!(to("a"), Action::Campaign { is_invited: true });
        assert_eq!(to("b"), Action::Wait);
    }

    #[test]
    fn our_own_key_without_a_term_is_released_and_with_one_kept() {
        let released = planned(|keys, view, _, _| write(keys, view, MINE));
        assert_eq!(released, Action::Release(TermRevision(7)));
        let kept = planned(|keys, view, _, own| {
            write(keys, view, MINE);
            own.term = Some(TermRevision(7));
        });
        assert_eq!(kept, Action::Wait);
        let resigning = planned(|keys, view, _, own| {
            write(keys, view, MINE);
            own.is_resigning = true;
        });
        assert_eq!(
            resigning,
            Action::Wait,
            "the handover's own transaction removes it"
        );
    }

    /// Asks for member `a` of `count` while `b` writes term 7 and those in `stating` state that it is silent.
    fn about_silence(count: usize, stating: &[&str], silent: Option<i64>) -> Action {
        planned(|keys, view, _, own| {
            let names = ["b", "c", "d", "e"].map(name);
            for other in &names[..count - 1] {
                let held = held(keys.member(other), OTHERS, member(other.as_str()));
                view.members.push(held);
            }
            write(keys, view, OTHERS);
            let silences = stating
                .iter()
                .map(|it| held(keys.silence(&name(it)), OTHERS, Silence { term: 7 }));
            view.silences.extend(silences);
            own.silent = silent.map(TermRevision);
        })
    }

    #[test]
    fn a_silent_writer_is_stated_and_ended_only_by_a_majority_that_agrees() {
        let term = TermRevision(7);
        assert_eq!(about_silence(3, &[], Some(7)), Action::StateSilence(term));
        assert_eq!(about_silence(3, &["c"], Some(7)), Action::StateSilence(term));
        assert_eq!(about_silence(3, &["a"], Some(7)), Action::Wait, "alone");
        assert_eq!(about_silence(3, &["a", "c"], Some(7)), Action::EndTerm(term));
        assert_eq!(
            about_silence(5, &["a", "c"], Some(7)),
            Action::Wait,
            "two of five"
        );
        assert_eq!(about_silence(5, &["a", "c", "d"], Some(7)), Action::EndTerm(term));
        assert_eq!(
            about_silence(2, &["a"], Some(7)),
            Action::Wait,
            "one of two says nothing"
        );
    }

    #[test]
    fn a_writer_that_is_heard_again_is_not_ended_whatever_others_state() {
        assert_eq!(about_silence(3, &["a", "c"], None), Action::TakeBack);
        assert_eq!(about_silence(3, &["c"], None), Action::Wait);
        assert_eq!(
            about_silence(3, &["a", "c"], Some(6)),
            Action::TakeBack,
            "an earlier term's"
        );
    }

    #[test]
    fn what_was_stated_of_an_earlier_term_says_nothing_of_this_one() {
        let planned = planned(|keys, view, _, own| {
            write(keys, view, OTHERS);
            for stating in ["a", "c"] {
                view.silences
                    .push(held(keys.silence(&name(stating)), OTHERS, Silence { term: 6 }));
            }
            own.silent = Some(TermRevision(7));
        });
        assert_eq!(planned, Action::StateSilence(TermRevision(7)));
    }
}
