//! Taking part: a lease, its renewals, the member key and the race for the writer key. Owns: the order in which etcd
//! is asked. Must not: decide who leads (that is `standing`) or what to do next (that is `plan`).

use crate::confirm;
use crate::plan::{Action, Own, plan};
use crate::shared::Shared;
use crate::view::{Silence, View};
use crate::{BootTime, ElectionError, Farewell, MemberName, TermRevision};
use etcd::LeaseId;
use etcd::{delete, put};
use rand::RngExt as _;
use std::time::Duration;
use tokio::time::sleep;

/// The key is not there.
const ABSENT: TermRevision = TermRevision(0);
/// How long to leave etcd alone after trouble; drawn at random between these, in ms.
const PAUSE_MS: std::ops::Range<u64> = 50..150;
/// Renewals in the time that a lease is believed in.
const RENEWALS: u32 = 10;

/// Takes part until dropped.
pub(crate) async fn run(shared: &Shared) {
    tokio::join!(sessions(shared), watch(shared), confirm::serve(shared));
}

/// Gives up what is left of the lease, so that others need not wait for it.
pub(crate) async fn leave(shared: &Shared) {
    let lease = shared.update(|standing, now| {
        let lease = standing.lease(now);
        standing.end();
        lease
    });
    if let Some(lease) = lease
        && let Err(error) = shared.etcd.revoke(lease).await
    {
        tracing::warn!(code = error.code(), %error, "the lease could not be given up and will run out");
    }
}

/// Whenever something changes below our keys, or may have changed unseen, pokes.
async fn watch(shared: &Shared) {
    let mut moves = shared.etcd.moves();
    loop {
        // Before the watch, so that a move made during its making is not missed.
        moves.mark_unchanged();
        if let Ok(mut events) = shared.etcd.watch(&shared.keys).await {
            loop {
                let event = tokio::select! {
                    event = events.message() => event,
                    _ = moves.changed() => break,
                };
                // The first answer says that the watch stands: what happened before it was seen by nobody.
                shared.poke.notify_one();
                match event {
                    Ok(Some(event)) if !event.canceled => {}
                    Ok(Some(event)) => {
                        tracing::debug!(reason = event.cancel_reason, "etcd ended the watch");
                        break;
                    }
                    _ => break,
                }
            }
        }
        pause().await;
    }
}

async fn pause() {
    let ms = rand::rng().random_range(PAUSE_MS);
    sleep(Duration::from_millis(ms)).await;
}

/// One lease after another.
async fn sessions(shared: &Shared) {
    loop {
        let error = session(shared).await;
        shared.trouble(&error);
        pause().await;
    }
}

/// From the granting of a lease until it is lost; tells why.
async fn session(shared: &Shared) -> ElectionError {
    let sent = BootTime::now();
    let (lease, ttl) = match shared.etcd.grant(shared.options.lease_ttl_s).await {
        Ok(granted) => granted,
        Err(error) => return error,
    };
    // Not yet "well": that is for renewals, which need more of etcd.
    shared.update(|standing, _| standing.begin(lease, promise(shared, sent, ttl)));
    let error = tokio::select! {
        error = renewals(shared, lease, ttl) => error,
        error = participate(shared, lease) => error,
        error = lapse(shared) => error,
    };
    shared.update(|standing, _| standing.end());
    // What hangs on it is ours no more, and need not be waited for.
    let _ = shared.etcd.revoke(lease).await;
    error
}

/// Until when a lease that etcd began to count after `sent` is believed in.
fn promise(shared: &Shared, sent: BootTime, ttl: Duration) -> BootTime {
    sent.plus(ttl.saturating_sub(shared.options.margin()))
}

/// Ends when the lease has run out by our own clock.
async fn lapse(shared: &Shared) -> ElectionError {
    while let Some(left) = shared.ask(|standing, now| standing.until().and_then(|it| it.after(now))) {
        sleep(left).await;
    }
    ElectionError::Unreachable {
        action: "keep the lease",
        reason: "it ran out by our own clock".into(),
    }
}

/// Keeps the lease alive; ends when it is lost.
async fn renewals(shared: &Shared, lease: LeaseId, granted: Duration) -> ElectionError {
    let interval = granted.saturating_sub(shared.options.margin()) / RENEWALS;
    loop {
        sleep(interval).await;
        loop {
            match shared.etcd.renew(&shared.keys, lease).await {
                Ok(Some(renewal)) => {
                    let until = promise(shared, renewal.sent, renewal.ttl);
                    if !shared.update(|standing, now| standing.extend(now, lease, until)) {
                        return lapse(shared).await;
                    }
                    shared.well();
                    shared.saw(renewal.view);
                    break;
                }
                Ok(None) => tracing::debug!("etcd changed its leader during a renewal"),
                Err(error @ (ElectionError::Refused { .. } | ElectionError::Foreign { .. })) => return error,
                Err(error) => shared.trouble(&error),
            }
            pause().await;
        }
    }
}

/// Looks and acts, and looks again when something changes; ends when etcd refuses, which it does when the lease is
/// gone.
async fn participate(shared: &Shared, lease: LeaseId) -> ElectionError {
    let mut is_warned = false;
    loop {
        let view = match shared.etcd.look(&shared.keys).await {
            Ok(view) => view,
            Err(error @ (ElectionError::Refused { .. } | ElectionError::Foreign { .. })) => return error,
            Err(error) => {
                shared.trouble(&error);
                pause().await;
                continue;
            }
        };
        shared.update(|standing, now| standing.seen(now, view.clone()));
        let action = decide(shared, &view, lease);
        if action == Action::WaitForName && !is_warned {
            is_warned = true;
            let name = shared.options.member.name.clone();
            let error = ElectionError::NameTaken { name };
            tracing::warn!(code = error.code(), %error, "not taking part yet");
        }
        match act(shared, &view, lease, action).await {
            Ok(()) => {}
            Err(error @ ElectionError::Refused { .. }) => return error,
            Err(error) => {
                shared.trouble(&error);
                pause().await;
            }
        }
    }
}

fn decide(shared: &Shared, view: &View, lease: LeaseId) -> Action {
    shared.ask(|standing, now| {
        let own = Own {
            member: &shared.options.member,
            lease,
            term: standing.term(now),
            is_resigning: standing.is_resigning,
            is_barred: standing.barred_until(now).is_some(),
            silent: standing.silent(now, shared.options.silent_after()),
        };
        plan(&shared.keys, view, own)
    })
}

async fn act(shared: &Shared, view: &View, lease: LeaseId, action: Action) -> Result<(), ElectionError> {
    match action {
        Action::Register => {
            let member = &shared.options.member;
            let key = shared.keys.member(&member.name);
            let then = vec![put(&key, member.encode(), Some(lease))];
            shared
                .etcd
                .change("write the member key", &[(&key, ABSENT)], then)
                .await?;
        }
        Action::Release(term) => {
            let when = [(shared.keys.writer.as_str(), term)];
            let then = vec![delete(&shared.keys.writer)];
            shared.etcd.change("remove the writer key", &when, then).await?;
        }
        Action::Campaign { is_invited } => race(shared, lease, is_invited).await?,
        Action::EndPredecessor(predecessor) => shared.etcd.revoke(predecessor).await?,
        Action::StateSilence(term) => {
            let silence = serde_json::to_vec(&Silence { term: term.0 }).expect("a number always encodes");
            let key = shared.keys.silence(&shared.options.member.name);
            let when = [(shared.keys.writer.as_str(), term)];
            let then = vec![put(&key, silence, Some(lease))];
            shared
                .etcd
                .change("state that the writer is silent", &when, then)
                .await?;
        }
        Action::TakeBack => {
            let key = shared.keys.silence(&shared.options.member.name);
            shared
                .etcd
                .change("take a statement back", &[], vec![delete(&key)])
                .await?;
        }
        Action::EndTerm(term) => {
            // Whoever hears the writer again takes its statement back: then it is decided anew.
            let stated = view.stating(term).map(|held| (held.key.as_str(), held.created));
            let when: Vec<_> = stated.chain([(shared.keys.writer.as_str(), term)]).collect();
            let then = vec![delete(&shared.keys.writer)];
            let ended = shared
                .etcd
                .change("end the term of a silent writer", &when, then)
                .await?;
            if ended.is_some() {
                tracing::warn!(code = "ELE-0011", %term, "the writer was silent to a majority: its term is ended");
            }
        }
        Action::WaitForName | Action::Wait => wait(shared).await,
    }
    Ok(())
}

/// Until somebody pokes, or we need not leave others the first try any more.
async fn wait(shared: &Shared) {
    let barred = shared.ask(|standing, now| standing.barred_until(now).and_then(|it| it.after(now)));
    tokio::select! {
        () = shared.poke.notified() => {}
        () = sleep(barred.unwrap_or(Duration::MAX)), if barred.is_some() => {}
    }
}

/// One try to make the writer key.
async fn race(shared: &Shared, lease: LeaseId, is_invited: bool) -> Result<(), ElectionError> {
    let (writer, handover) = (shared.keys.writer.as_str(), shared.keys.handover.as_str());
    let mut when = vec![(writer, ABSENT)];
    if !is_invited {
        when.push((handover, ABSENT));
        let ms = rand::rng().random_range(0..=u64::from(shared.options.jitter_ms));
        sleep(Duration::from_millis(ms)).await;
    }
    let value = shared.options.member.encode();
    let then = vec![put(writer, value, Some(lease)), delete(handover)];
    if let Some(term) = shared.etcd.change("write the writer key", &when, then).await? {
        shared.update(|standing, now| standing.won(now, lease, term));
    }
    Ok(())
}

/// Gives leadership up, to a named member if one is given.
pub(crate) async fn resign(
    shared: &Shared,
    to: Option<MemberName>,
    stepped_down: bool,
) -> Result<(), ElectionError> {
    shared.term().ok_or(ElectionError::NotLeading)?;
    let name = shared.options.member.name.clone();
    let farewell = serde_json::to_vec(&Farewell { name, stepped_down });
    let farewell = farewell.expect("a string and a truth value always encode");
    // On no lease: ours ends soon.
    let farewell = put(&shared.keys.farewell, farewell, None);
    let mut then = vec![delete(&shared.keys.writer), farewell];
    if let Some(to) = to {
        check_heir(shared, &to).await?;
        // Others wait no longer than this lease lives, whatever becomes of the named one and of us.
        let (lease, _) = shared.etcd.grant(shared.options.handover_wait_s).await?;
        let value = serde_json::to_vec(&to).expect("a string always encodes");
        then.push(put(&shared.keys.handover, value, Some(lease)));
    }
    let wait = shared.options.handover_wait();
    let term = shared.update(|standing, now| standing.step_down(now, now.plus(wait)))?;
    let when = [(shared.keys.writer.as_str(), term)];
    let changed = shared.etcd.change("hand leadership over", &when, then).await;
    // If it failed, the key is still there without a term of ours, and is released as such.
    shared.update(|standing, _| standing.is_resigning = false);
    shared.poke.notify_one();
    changed.map(|_| ())
}

/// What the last writer left behind, once.
pub(crate) async fn take_farewell(shared: &Shared) -> Result<Option<Farewell>, ElectionError> {
    let key = shared.keys.farewell.as_str();
    let Some(row) = shared.etcd.get(key).await? else {
        return Ok(None);
    };
    let when = [(key, TermRevision(row.create_revision))];
    shared
        .etcd
        .change("take the farewell", &when, vec![delete(key)])
        .await?;
    let read = serde_json::from_slice(&row.value).map_err(|error| ElectionError::Value {
        key: key.to_owned(),
        reason: error.to_string(),
    });
    read.map(Some)
}

/// Who is to follow must be there and willing.
async fn check_heir(shared: &Shared, to: &MemberName) -> Result<(), ElectionError> {
    let refuse = |reason| {
        Err(ElectionError::Handover {
            name: to.clone(),
            reason,
        })
    };
    if *to == shared.options.member.name {
        return refuse("it is the writer");
    }
    let view = shared.etcd.look(&shared.keys).await?;
    match view.member(&shared.keys, to).map(|it| &it.value) {
        None => refuse("it is not there"),
        Some(Ok(member)) if member.may_write => Ok(()),
        Some(Ok(_)) => refuse("it may not become the writer"),
        Some(Err(error)) => Err(error.clone()),
    }
}
