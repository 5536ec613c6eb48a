//! The election as the rest of the process sees it. Owns: the thread that it runs on, and its end.

use crate::shared::Shared;
use crate::standing::Standing;
use crate::{
    ElectionError, ElectionOptions, Farewell, Leadership, MemberName, Present, TermRevision, campaign,
};
use std::future::Future;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};

/// One member's part in the election. Dropping it ends its leadership at once and gives the lease up behind the
/// caller's back; [`Elector::stop`] waits for that.
pub struct Elector {
    shared: Arc<Shared>,
    runtime: Handle,
    stop: Option<oneshot::Sender<()>>,
    ended: Option<oneshot::Receiver<()>>,
}

impl Elector {
    /// Begins to take part. Does not wait for etcd: until that answers, the state is [`Leadership::Unknown`].
    ///
    /// # Errors
    /// [`ElectionError::Option`] that names the field, [`ElectionError::System`] when no thread can be started.
    pub fn start(options: ElectionOptions) -> Result<Self, ElectionError> {
        options.check()?;
        let (stop, stopped) = oneshot::channel();
        let (end, ended) = oneshot::channel();
        let (sender, begun) = mpsc::channel();
        let body = move || {
            match begin(options) {
                Ok((runtime, shared)) => {
                    let _ = sender.send(Ok((runtime.handle().clone(), Arc::clone(&shared))));
                    runtime.block_on(work(&shared, stopped));
                    shared.close();
                }
                Err(error) => {
                    let _ = sender.send(Err(error));
                }
            }
            let _ = end.send(());
        };
        let system = |reason: String| ElectionError::System {
            action: "start the election's thread",
            reason,
        };
        let builder = std::thread::Builder::new().name("election".into());
        builder.spawn(body).map_err(|error| system(error.to_string()))?;
        let (runtime, shared) = begun.recv().map_err(|error| system(error.to_string()))??;
        Ok(Self {
            shared,
            runtime,
            stop: Some(stop),
            ended: Some(ended),
        })
    }

    /// Whether this member is the writer at this very moment, by its own clock and no later than etcd would let
    /// another become it. Asks nobody; costs a clock reading.
    #[must_use]
    pub fn is_leading_now(&self) -> bool {
        self.term_now().is_some()
    }

    /// As [`Elector::is_leading_now`], with the name of the term.
    #[must_use]
    pub fn term_now(&self) -> Option<TermRevision> {
        self.shared.term()
    }

    /// Who led before a term, as far as this member has seen it; it remembers the last two terms.
    #[must_use]
    pub fn writer_before(&self, term: TermRevision) -> Option<MemberName> {
        self.shared.ask(|standing, _| standing.writer_before(term))
    }

    /// Where this member stands at this very moment.
    #[must_use]
    pub fn leadership(&self) -> Leadership {
        self.shared.ask(Standing::leadership)
    }

    /// Tells of changes.
    #[must_use]
    pub fn changes(&self) -> Changes {
        Changes {
            receiver: self.shared.state.subscribe(),
            shared: Arc::clone(&self.shared),
        }
    }

    /// Tells whether the writer of this name answered a question that was put to it just now. Who is silent to a majority of the
    /// members for [`ElectionOptions::silent_after_ms`] loses its place, long before its lease has run out.
    pub fn hear(&self, writer: &MemberName, answered: bool) {
        self.shared.hear(writer, answered);
    }

    /// How long the lease is to be believed in if it is not renewed any more; none without one.
    #[must_use]
    pub fn lease_left(&self) -> Option<Duration> {
        self.shared.ask(Standing::left)
    }

    /// Makes sure that this member is the writer, by a linearizable read of etcd that begins after this call; gives
    /// the term that it saw. Concurrent calls share reads. Cancel safe. It takes up to half a second for
    /// each endpoint that does not answer.
    ///
    /// # Errors
    /// [`ElectionError::NotLeading`], [`ElectionError::Unreachable`], or as etcd refuses.
    pub async fn confirm_leadership(&self) -> Result<TermRevision, ElectionError> {
        let answer = self.shared.confirmations.join();
        answer.await.map_err(|_| ElectionError::Stopped)?
    }

    /// Gives leadership up. It has ended by this member's own account before etcd hears of it, so first drain what
    /// must still be answered. With a name, all others wait for that member, for
    /// [`ElectionOptions::handover_wait_s`] at most; this one leaves others the first try for as long. Goes on to
    /// its end when dropped.
    ///
    /// # Errors
    /// [`ElectionError::NotLeading`] and [`ElectionError::Handover`] change nothing. After
    /// [`ElectionError::Unreachable`] this member may have stepped down all the same ([`Elector::is_leading_now`]
    /// tells), and gives the key up as soon as it can.
    pub async fn resign(&self, to: Option<MemberName>) -> Result<(), ElectionError> {
        let shared = Arc::clone(&self.shared);
        self.run(async move { campaign::resign(&shared, to, false).await })
            .await
    }

    /// Does not try to become the writer for so long from now on; repeat it to go on with that. It changes nothing for who
    /// writes already, and a handover to this member is still taken up.
    pub fn stand_back(&self, time: Duration) {
        self.shared
            .update(|standing, now| standing.stand_back(now.plus(time)));
    }

    /// [`Elector::confirm_leadership`] for a thread that may wait, for `patience` at most.
    ///
    /// # Errors
    /// As there; [`ElectionError::Unreachable`] when there is no answer in time.
    pub fn confirm_leadership_within(&self, patience: Duration) -> Result<TermRevision, ElectionError> {
        let (sender, receiver) = mpsc::channel();
        let answer = self.shared.confirmations.join();
        self.runtime.spawn(async move {
            let _ = sender.send(answer.await.unwrap_or(Err(ElectionError::Stopped)));
        });
        receiver.recv_timeout(patience).unwrap_or_else(|_| {
            Err(ElectionError::Unreachable {
                action: "confirm leadership",
                reason: "no answer in time".to_owned(),
            })
        })
    }

    /// What the last writer that gave its place up left behind; whoever asks takes it away.
    ///
    /// # Errors
    /// [`ElectionError::Unreachable`], or [`ElectionError::Value`] when it is not understood.
    pub async fn take_farewell(&self) -> Result<Option<Farewell>, ElectionError> {
        let shared = Arc::clone(&self.shared);
        self.run(async move { campaign::take_farewell(&shared).await })
            .await
    }

    /// [`Elector::resign`] of a writer that cannot go on, from any thread; waits no longer than `patience`, and what is
    /// not done by then is left to the lease.
    pub fn resign_before_end(&self, patience: Duration) {
        let (sender, receiver) = mpsc::channel();
        let shared = Arc::clone(&self.shared);
        self.runtime.spawn(async move {
            let _ = sender.send(campaign::resign(&shared, None, true).await);
        });
        match receiver.recv_timeout(patience) {
            Ok(Ok(()) | Err(ElectionError::NotLeading)) => {}
            Ok(Err(error)) => tracing::warn!(%error, "leadership could not be given up and will run out"),
            Err(_) => tracing::warn!("leadership was not given up in time and will run out"),
        }
    }

    /// Who is there, by a linearizable read.
    ///
    /// # Errors
    /// [`ElectionError::Unreachable`], or [`ElectionError::Value`] when a member's entry is not understood.
    pub async fn members(&self) -> Result<Vec<Present>, ElectionError> {
        let shared = Arc::clone(&self.shared);
        self.run(async move { shared.etcd.look(&shared.keys).await?.present() })
            .await
    }

    /// Ends leadership, gives the lease up and returns when that is done, or cannot be.
    pub async fn stop(mut self) {
        self.begin_stop();
        if let Some(ended) = self.ended.take() {
            // An error means that the thread is gone, which is what we wait for.
            let _ = ended.await;
        }
    }

    fn begin_stop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
    }

    /// On our own event loop, which has the connections.
    async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, ElectionError>> + Send + 'static,
    ) -> Result<T, ElectionError> {
        let answer = self.runtime.spawn(work).await;
        answer.map_err(|_| ElectionError::Stopped)?
    }
}

impl Drop for Elector {
    fn drop(&mut self) {
        self.begin_stop();
    }
}

/// Tells when leadership changes, as a [`watch`] does, but never what has ceased to be true meanwhile.
#[derive(Clone)]
pub struct Changes {
    receiver: watch::Receiver<Leadership>,
    shared: Arc<Shared>,
}

impl Changes {
    /// Waits for a change that was not told yet and gives the state as of now. Changes in quick succession are told
    /// as one. Cancel safe.
    ///
    /// # Errors
    /// [`ElectionError::Stopped`] when there will be no more.
    pub async fn changed(&mut self) -> Result<Leadership, ElectionError> {
        let told = self.receiver.changed().await;
        // We keep the sender alive ourselves, so it does not close when the elector ends.
        if told.is_err() || self.shared.has_ended() {
            self.receiver.mark_changed();
            return Err(ElectionError::Stopped);
        }
        Ok(self.shared.ask(Standing::leadership))
    }

    /// The state as of now.
    #[must_use]
    pub fn current(&self) -> Leadership {
        self.shared.ask(Standing::leadership)
    }
}

fn begin(options: ElectionOptions) -> Result<(tokio::runtime::Runtime, Arc<Shared>), ElectionError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| ElectionError::System {
            action: "start the election's event loop",
            reason: error.to_string(),
        })?;
    let entered = runtime.enter();
    let shared = Shared::new(options)?;
    drop(entered);
    Ok((runtime, Arc::new(shared)))
}

async fn work(shared: &Shared, stopped: oneshot::Receiver<()>) {
    tokio::select! {
        () = campaign::run(shared) => {}
        // An error means that the elector was dropped.
        _ = stopped => {}
    }
    campaign::leave(shared).await;
}
