//! Confirming leadership for linearizable reads. One read in flight serves all who asked before it began, and nobody
//! who asked after.

use crate::shared::Shared;
use crate::{ElectionError, TermRevision};
use std::sync::{Mutex, PoisonError};
use tokio::sync::{Notify, oneshot};

type Answer = Result<TermRevision, ElectionError>;

/// Those who wait for the next read.
#[derive(Default)]
pub(crate) struct Confirmations {
    waiting: Mutex<Vec<oneshot::Sender<Answer>>>,
    arrived: Notify,
}

impl Confirmations {
    /// Queues up for a read that has not begun.
    pub(crate) fn join(&self) -> oneshot::Receiver<Answer> {
        let (sender, receiver) = oneshot::channel();
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.push(sender);
        drop(waiting);
        self.arrived.notify_one();
        receiver
    }

    fn take(&self) -> Vec<oneshot::Sender<Answer>> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *waiting)
    }
}

/// Answers for as long as it is polled.
pub(crate) async fn serve(shared: &Shared) {
    loop {
        shared.confirmations.arrived.notified().await;
        let waiting = shared.confirmations.take();
        if waiting.iter().all(oneshot::Sender::is_closed) {
            continue;
        }
        let answer = confirm(shared).await;
        for sender in waiting {
            // Who has gone meanwhile does not want to know.
            let _ = sender.send(answer.clone());
        }
    }
}

async fn confirm(shared: &Shared) -> Answer {
    let term = shared.term().ok_or(ElectionError::NotLeading)?;
    let key = shared.etcd.get(&shared.keys.writer).await?;
    let own = shared.ask(|standing, now| standing.lease(now));
    let is_ours =
        key.is_some_and(|it| it.create_revision == term.0 && own.is_some_and(|own| own.0 == it.lease));
    if !is_ours {
        shared.update(|standing, _| standing.depose(term));
        shared.poke.notify_one();
    }
    // The read may have taken longer than the lease, and the term may have been given up meanwhile.
    match shared.term() {
        Some(now) if now == term && is_ours => Ok(term),
        _ => Err(ElectionError::NotLeading),
    }
}
