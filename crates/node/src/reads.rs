//! Reads of the ledger's state. Owns: what a read sees and on which block its answer rests. Must not: wait.

use ledger::{
    Account, AccountId, AccountNumber, Height, Ledger, LedgerDescription, LedgerId, Snapshot, TimestampNs,
};
use tokio::sync::oneshot;

/// A read at the sequencer.
pub enum Read {
    /// Accounts by id, in the order asked, missing ones left out.
    Accounts(Vec<AccountId>, oneshot::Sender<Vec<(AccountNumber, Account)>>),
    /// Accounts by number.
    Numbers(Vec<AccountNumber>, oneshot::Sender<Vec<(AccountNumber, Account)>>),
    /// The whole state.
    State(oneshot::Sender<State>),
}

/// The whole state at one height; the snapshot is a cheap handle.
pub struct State {
    /// At which height.
    pub height: Height,
    /// Timestamp of the last event.
    pub timestamp: TimestampNs,
    /// Balances of every account.
    pub snapshot: Snapshot,
    /// Every described ledger.
    pub descriptions: Vec<LedgerDescription>,
}

impl State {
    /// The description of a ledger, empty when it was never described.
    pub fn description(&self, ledger: LedgerId) -> LedgerDescription {
        let described = self
            .descriptions
            .iter()
            .find(|description| description.ledger == ledger);
        described.cloned().unwrap_or(LedgerDescription {
            ledger,
            ..LedgerDescription::default()
        })
    }
}

/// An answer that waits until the block it rests on is durable.
pub enum ReadAnswer {
    /// Of `Accounts` and `Numbers`.
    Accounts(
        Vec<(AccountNumber, Account)>,
        oneshot::Sender<Vec<(AccountNumber, Account)>>,
    ),
    /// Of `State`.
    State(Box<State>, oneshot::Sender<State>),
}

impl Read {
    /// Looks the answer up, and says on which block it rests: the last that changed anything it saw.
    /// `state` is the block that the ledger as a whole stands at.
    pub fn answer(self, ledger: &mut Ledger, touched: &[Height], state: Height) -> (ReadAnswer, Height) {
        let (accounts, sender) = match self {
            Self::Accounts(ids, sender) => {
                let found = |id| ledger.account(id).map(|(number, account)| (number, *account));
                (ids.into_iter().filter_map(found).collect::<Vec<_>>(), sender)
            }
            Self::Numbers(numbers, sender) => (
                numbers
                    .into_iter()
                    .map(|number| (number, *ledger.account_at(number)))
                    .collect(),
                sender,
            ),
            Self::State(sender) => {
                let whole = State {
                    height: state,
                    timestamp: ledger.last_timestamp(),
                    snapshot: ledger.snapshot(),
                    descriptions: ledger.descriptions().cloned().collect(),
                };
                return (ReadAnswer::State(Box::new(whole), sender), state);
            }
        };
        let seen = accounts
            .iter()
            .map(|(number, _)| touched[number.0 as usize])
            .max();
        (ReadAnswer::Accounts(accounts, sender), seen.unwrap_or(Height(0)))
    }
}

impl ReadAnswer {
    /// Sends it; whoever asked may have gone away.
    pub fn send(self) {
        match self {
            Self::Accounts(accounts, sender) => drop(sender.send(accounts)),
            Self::State(state, sender) => drop(sender.send(*state)),
        }
    }
}
