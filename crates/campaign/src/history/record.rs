//! What clients did and heard (pure).

use ledger::{AccountId, Balances, CreateTransferResult, Transfer, TransferReply};

/// A point in the order of what all clients did: of two moments the lower came first. What reads of bounded age are
/// checked by counts nanoseconds; otherwise the unit does not matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(pub u64);

/// One attempt at one transfer. A client that heard nothing tries the same id again; that is another call.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    /// What was asked.
    pub transfer: Transfer,
    /// Before it was sent.
    pub begun: Moment,
    /// After the answer came, or was given up.
    pub ended: Moment,
    /// What came back.
    pub heard: Heard,
    /// The node was killed while the call was under way, so that the client may have repeated it by itself.
    pub may_have_repeated: bool,
    /// Calls with the same number were one linked chain: all of them are applied or none.
    pub chain: Option<u64>,
}

/// How old what a read shows may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Consistency {
    /// Not older than anything that was answered before the read began.
    Linearizable,
    /// Older by so many nanoseconds at most.
    Bounded(u64),
    /// As old as it may be, but once true.
    Any,
}

/// One answered read of an account's totals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Read {
    /// Whose.
    pub account: AccountId,
    /// What was promised.
    pub consistency: Consistency,
    /// Before it was asked.
    pub begun: Moment,
    /// After the answer came.
    pub ended: Moment,
    /// What it showed.
    pub seen: Balances,
}

/// What a client heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// The node's answer. It is a promise from here on.
    Reply(TransferReply),
    /// Nothing: it may have happened or not.
    Nothing,
    /// That nothing was done. This is a promise too.
    NotDone,
}

impl Heard {
    /// The result, if an answer came.
    #[must_use]
    pub fn result(&self) -> Option<CreateTransferResult> {
        match self {
            Self::Reply(reply) => Some(reply.result),
            Self::Nothing | Self::NotDone => None,
        }
    }
}

/// The metadata with which a transfer is always asked for; some have none.
#[must_use]
pub fn metadata_of(transfer: &Transfer) -> Option<String> {
    (transfer.user_data_32 % 10 == 7).then(|| format!(r#"{{"note":"transfer {}"}}"#, transfer.id))
}

/// Whether a refusal uses up the id for ever.
#[must_use]
pub fn burns_id(result: CreateTransferResult) -> bool {
    use CreateTransferResult as R;
    matches!(
        result,
        R::DebitAccountNotFound
            | R::CreditAccountNotFound
            | R::PendingTransferNotFound
            | R::ExceedsCredits
            | R::ExceedsDebits
            | R::DebitAccountAlreadyClosed
            | R::CreditAccountAlreadyClosed
    )
}
