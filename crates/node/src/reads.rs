//! Reads of the ledger's state. Owns: what a read sees and on which block its answer rests. Must not: wait.

use ledger::{
    Account, AccountId, AccountNumber, Height, Ledger, LedgerDescription, LedgerId, Snapshot, TimestampNs,
};
use tokio::sync::oneshot;

/// An account as the sequencer has it.
#[derive(Clone, Copy, Debug)]
pub struct FoundAccount {
    /// Its number.
    pub number: AccountNumber,
    /// As it stands.
    pub account: Account,
    /// Whether history holds metadata of it.
    pub has_metadata: bool,
}

/// A read at the sequencer.
pub enum Read {
    /// Accounts by id, in the order asked, missing ones left out.
    Accounts(Vec<AccountId>, oneshot::Sender<Vec<FoundAccount>>),
    /// Accounts by number.
    Numbers(Vec<AccountNumber>, oneshot::Sender<Vec<FoundAccount>>),
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
}

impl State {
    /// The description of a ledger, empty when it was never described.
    pub fn description(&self, ledger: LedgerId) -> LedgerDescription {
        let described = self.snapshot.description(ledger);
        described.cloned().unwrap_or(LedgerDescription {
            ledger,
            ..LedgerDescription::default()
        })
    }
}

/// An answer that waits until the block it rests on is durable.
pub enum ReadAnswer {
    /// Of `Accounts` and `Numbers`.
    Accounts(Vec<FoundAccount>, oneshot::Sender<Vec<FoundAccount>>),
    /// Of `State`.
    State(Box<State>, oneshot::Sender<State>),
}

impl Read {
    /// Whether nobody waits for the answer any more.
    pub fn is_abandoned(&self) -> bool {
        match self {
            Self::Accounts(_, sender) | Self::Numbers(_, sender) => sender.is_closed(),
            Self::State(sender) => sender.is_closed(),
        }
    }

    /// Looks the answer up, and says on which block it rests: the last that changed anything it saw.
    /// `state` is the block that the ledger as a whole stands at.
    pub fn answer(self, ledger: &mut Ledger, touched: &[Height], state: Height) -> (ReadAnswer, Height) {
        let found = |number| FoundAccount {
            number,
            account: *ledger.account_at(number),
            has_metadata: ledger.account_has_metadata(number),
        };
        let (accounts, sender): (Vec<FoundAccount>, _) = match self {
            Self::Accounts(ids, sender) => {
                let numbers = ids
                    .into_iter()
                    .filter_map(|id| ledger.account(id).map(|(number, _)| number));
                (numbers.map(found).collect(), sender)
            }
            Self::Numbers(numbers, sender) => (numbers.into_iter().map(found).collect(), sender),
            Self::State(sender) => {
                let whole = State {
                    height: state,
                    timestamp: ledger.last_timestamp(),
                    snapshot: ledger.snapshot(),
                };
                return (ReadAnswer::State(Box::new(whole), sender), state);
            }
        };
        let seen = accounts
            .iter()
            .map(|found| touched[found.number.0 as usize])
            .max();
        (ReadAnswer::Accounts(accounts, sender), seen.unwrap_or(Height(0)))
    }
}

impl ReadAnswer {
    /// Whether nobody waits for it any more.
    pub fn is_abandoned(&self) -> bool {
        match self {
            Self::Accounts(_, sender) => sender.is_closed(),
            Self::State(_, sender) => sender.is_closed(),
        }
    }

    /// Sends it; whoever asked may have gone away.
    pub fn send(self) {
        match self {
            Self::Accounts(accounts, sender) => drop(sender.send(accounts)),
            Self::State(state, sender) => drop(sender.send(*state)),
        }
    }
}
