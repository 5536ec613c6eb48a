//! The clients of the crash test. Owns: what they share, and the record of what each did and heard.

use anyhow::{Result, bail};
use campaign::history::{Call, Heard, Moment, metadata_of};
use campaign::load::{Load, Request};
use client::{Client, Error};
use ledger::TransferReply;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// What all clients and the campaign share.
#[derive(Default)]
pub struct Shared {
    moments: AtomicU64,
    /// Odd while the node is down: raised before it is killed, and when it serves again.
    life: AtomicU64,
    answered: AtomicU64,
    stopped: AtomicBool,
    calls: Mutex<Vec<Call>>,
}

impl Shared {
    /// The next moment.
    pub fn now(&self) -> Moment {
        Moment(self.moments.fetch_add(1, Ordering::SeqCst))
    }

    /// From here on a call may have been cut.
    pub fn goes_down(&self) {
        assert!(
            self.life.fetch_add(1, Ordering::SeqCst).is_multiple_of(2),
            "it is down already"
        );
    }

    /// The node serves again.
    pub fn is_up(&self) {
        assert!(
            !self.life.fetch_add(1, Ordering::SeqCst).is_multiple_of(2),
            "it is up already"
        );
    }

    /// How many transfers were answered so far.
    pub fn answered(&self) -> u64 {
        self.answered.load(Ordering::SeqCst)
    }

    /// Ends the clients after their current request.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
    }

    /// Calls recorded from the given one on.
    pub fn calls_from(&self, first: usize) -> Vec<Call> {
        self.calls.lock().expect("no holder panics")[first..].to_vec()
    }
}

/// Makes requests until it is told to stop. A request without an answer is tried again, as it was, or given up.
///
/// # Errors
/// When the client library answers what no fault of the node explains.
pub async fn run_client(shared: &Shared, client: &Client, mut load: Load) -> Result<()> {
    let stopped = || shared.stopped.load(Ordering::SeqCst);
    while !stopped() {
        let request = load.next_request();
        loop {
            let heard = attempt(shared, client, &request).await?;
            let mut unanswered = false;
            for (transfer, heard) in request.transfers.iter().zip(&heard) {
                match heard.result() {
                    Some(result) => load.learn(transfer, result),
                    None => unanswered = true,
                }
            }
            if !unanswered || stopped() || load.gives_up() {
                break;
            }
        }
    }
    Ok(())
}

/// Sends a request once and records what came of it.
///
/// # Errors
/// As [`run_client`].
pub async fn attempt(shared: &Shared, client: &Client, request: &Request) -> Result<Vec<Heard>> {
    let life = shared.life.load(Ordering::SeqCst);
    let begun = shared.now();
    let answer = send(client, request).await;
    let ended = shared.now();
    let undisturbed = life.is_multiple_of(2) && shared.life.load(Ordering::SeqCst) == life;
    let count = request.transfers.len();
    let heard: Vec<Heard> = match answer {
        Ok(replies) if replies.len() == count => replies.into_iter().map(Heard::Reply).collect(),
        Ok(replies) => bail!("{count} transfers were answered by {} results", replies.len()),
        Err(Error::Unknown) => vec![Heard::Nothing; count],
        Err(Error::NotDone(_)) => vec![Heard::NotDone; count],
        Err(error) => bail!("a request was refused: {error}"),
    };
    let answered = heard
        .iter()
        .filter(|heard| matches!(heard, Heard::Reply(_)))
        .count();
    let calls = request
        .transfers
        .iter()
        .zip(&heard)
        .map(|(transfer, heard)| Call {
            transfer: *transfer,
            begun,
            ended,
            heard: *heard,
            may_have_repeated: !undisturbed,
            chain: request.chain,
        });
    shared.calls.lock().expect("no holder panics").extend(calls);
    shared.answered.fetch_add(answered as u64, Ordering::SeqCst);
    Ok(heard)
}

/// One transfer alone goes the way on which concurrent calls share a request.
async fn send(client: &Client, request: &Request) -> Result<Vec<TransferReply>, Error> {
    let metadata: Vec<(usize, String)> = request
        .transfers
        .iter()
        .enumerate()
        .filter_map(|(index, transfer)| Some((index, metadata_of(transfer)?)))
        .collect();
    match request.transfers.as_slice() {
        [transfer] if metadata.is_empty() => Ok(vec![client.transfer(*transfer).await?]),
        transfers => {
            client
                .submit_transfers_with_metadata(transfers.to_vec(), metadata)
                .await
        }
    }
}
