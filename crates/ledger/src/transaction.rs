//! Transactions of several postings as linked chains of transfers (pure).
//!
//! Owns: the split of n debits and m credits into transfers, how the replies of such a chain are read, and how a repeat is told
//! from another transaction under the same id.
//! Must not: compute hashes; the derivation of ids (first 16 bytes of SHA-256 over the transaction's id as 16 bytes
//! big-endian and the index as 4 bytes big-endian) is passed in, so that this crate stays free of cryptography.
//! Invariant: same head and postings give the same transfers, so that a repeat is recognised by comparing them one by one.

use crate::{
    AccountId, Amount, Code, CreateTransferResult, EVENTS_PER_REQUEST_MAX, LedgerId, Transfer, TransferFlags,
    TransferId, first_difference,
};
use std::collections::BTreeMap;

/// What all transfers of a transaction share.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TransactionHead {
    /// Chosen by the client; the ids of the transfers derive from it.
    pub id: u128,
    /// Kind of business, given to every transfer.
    pub code: Code,
    /// Given to every transfer.
    pub user_data_128: u128,
    /// Given to every transfer.
    pub user_data_64: u64,
    /// Given to every transfer.
    pub user_data_32: u32,
}

/// On which side of the account a posting stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// The account is debited.
    Debit,
    /// The account is credited.
    Credit,
}

/// One line of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Posting {
    /// Whose entry it is.
    pub account: AccountId,
    /// The ledger of the account; debits and credits balance within each.
    pub ledger: LedgerId,
    /// Debit or credit.
    pub side: Side,
    /// Minor units, above 0.
    pub amount: Amount,
}

/// Why postings make no transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransactionError {
    /// No postings.
    #[error("LGR-0010: postings: at least one debit and one credit are needed")]
    Empty,
    /// A posting of nothing.
    #[error("LGR-0011: postings[{index}].amount: must be above 0")]
    ZeroAmount {
        /// Which posting, from 0.
        index: usize,
    },
    /// Debits and credits of a ledger differ.
    #[error("LGR-0012: postings: debits and credits of ledger {ledger} are not equal")]
    Unbalanced {
        /// Which ledger.
        ledger: LedgerId,
    },
    /// A side of a ledger is beyond 128 bits.
    #[error("LGR-0013: postings: the sum of ledger {ledger} is too large")]
    Overflow {
        /// Which ledger.
        ledger: LedgerId,
    },
    /// The split is larger than a request may be.
    #[error("LGR-0014: postings: split into more than {EVENTS_PER_REQUEST_MAX} transfers")]
    TooMany,
    /// The transaction has no id of its own: two such transactions would be one.
    #[error("LGR-0015: id: must not be 0 or 2^128 - 1")]
    NoId,
}

/// Splits a balanced transaction into a chain of linked transfers.
///
/// Ledgers come in the order in which they first appear. Within a ledger the first open debit meets the first open
/// credit, the smaller amount of the two becomes a transfer, and so on until both sides are used up.
/// `derive` gives the id of the transfer with an index: see the module's header.
///
/// # Errors
/// [`TransactionError`], naming the posting or the ledger.
pub fn split(
    head: &TransactionHead,
    postings: &[Posting],
    derive: impl Fn(u128, u32) -> u128,
) -> Result<Vec<Transfer>, TransactionError> {
    if matches!(head.id, 0 | u128::MAX) {
        return Err(TransactionError::NoId);
    }
    if postings.is_empty() {
        return Err(TransactionError::Empty);
    }
    if let Some(index) = postings.iter().position(|posting| posting.amount.0 == 0) {
        return Err(TransactionError::ZeroAmount { index });
    }
    let mut transfers = Vec::with_capacity(postings.len());
    for ledger in by_ledger(postings) {
        split_ledger(ledger, &mut transfers)?;
    }
    let last = transfers.len() - 1;
    for (index, transfer) in transfers.iter_mut().enumerate() {
        let number = u32::try_from(index).map_err(|_| TransactionError::TooMany)?;
        transfer.id = TransferId(derive(head.id, number));
        transfer.code = head.code;
        transfer.user_data_128 = head.user_data_128;
        transfer.user_data_64 = head.user_data_64;
        transfer.user_data_32 = head.user_data_32;
        transfer.flags = if index == last {
            TransferFlags::empty()
        } else {
            TransferFlags::LINKED
        };
    }
    Ok(transfers)
}

/// The postings of one ledger, each side in the order given.
struct LedgerPostings {
    ledger: LedgerId,
    debits: Vec<Posting>,
    credits: Vec<Posting>,
}

/// The postings by ledger, in the order in which the ledgers first appear.
fn by_ledger(postings: &[Posting]) -> Vec<LedgerPostings> {
    let mut places = BTreeMap::new();
    let mut ledgers: Vec<LedgerPostings> = Vec::new();
    for posting in postings {
        let place = *places.entry(posting.ledger).or_insert_with(|| {
            ledgers.push(LedgerPostings {
                ledger: posting.ledger,
                debits: Vec::new(),
                credits: Vec::new(),
            });
            ledgers.len() - 1
        });
        match posting.side {
            Side::Debit => ledgers[place].debits.push(*posting),
            Side::Credit => ledgers[place].credits.push(*posting),
        }
    }
    ledgers
}

fn split_ledger(postings: LedgerPostings, transfers: &mut Vec<Transfer>) -> Result<(), TransactionError> {
    let LedgerPostings {
        ledger,
        debits,
        credits,
    } = postings;
    let sum = |side: &[Posting]| {
        side.iter()
            .try_fold(0u128, |sum, posting| sum.checked_add(posting.amount.0))
            .ok_or(TransactionError::Overflow { ledger })
    };
    if sum(&debits)? != sum(&credits)? {
        return Err(TransactionError::Unbalanced { ledger });
    }
    let (mut debits, mut credits) = (debits.into_iter(), credits.into_iter());
    let (mut debit, mut credit) = (debits.next(), credits.next());
    while let (Some(from), Some(to)) = (&mut debit, &mut credit) {
        if transfers.len() == EVENTS_PER_REQUEST_MAX {
            return Err(TransactionError::TooMany);
        }
        let amount = from.amount.min(to.amount);
        transfers.push(Transfer {
            debit_account_id: from.account,
            credit_account_id: to.account,
            amount,
            ledger,
            ..Transfer::default()
        });
        from.amount.0 -= amount.0;
        to.amount.0 -= amount.0;
        if from.amount.0 == 0 {
            debit = debits.next();
        }
        if to.amount.0 == 0 {
            credit = credits.next();
        }
    }
    Ok(())
}

/// What became of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransactionOutcome {
    /// All of it was applied now.
    Committed,
    /// All of it had been applied before, as it is asked.
    AlreadyCommitted,
    /// None of it was applied.
    Refused {
        /// The transfer that broke the chain, or the first that is not stored as asked; from 0.
        index: usize,
        /// Why.
        result: CreateTransferResult,
    },
}

/// Whether the results of a chain leave open what became of it: its first event exists, which broke the chain, and the ledger
/// looked at none of the others. They are to be compared with what is stored before the results are read.
#[must_use]
pub fn is_open(results: &[CreateTransferResult]) -> bool {
    let Some((first, others)) = results.split_first() else {
        return false;
    };
    let unseen = |&result: &CreateTransferResult| result == CreateTransferResult::LinkedEventFailed;
    *first == CreateTransferResult::Exists && !others.is_empty() && others.iter().all(unseen)
}

/// The first transfer of a transaction that is not stored as asked, from 0, and what it answers: the first field that differs,
/// `linked_event_failed` when it is not stored at all. `None`: all of it is.
#[must_use]
pub fn first_unlike_stored<'a>(
    asked: &[Transfer],
    stored: impl Fn(TransferId) -> Option<&'a Transfer>,
) -> Option<(usize, CreateTransferResult)> {
    asked.iter().enumerate().find_map(|(index, asked)| {
        let difference = match stored(asked.id) {
            Some(stored) => first_difference(asked, stored, None),
            None => Some(CreateTransferResult::LinkedEventFailed),
        };
        difference.map(|result| (index, result))
    })
}

/// Reads the results of a chain made by [`split`], in order. Results that are [open](is_open) are settled first; of such that are
/// not, this says that the transaction is refused.
///
/// # Panics
/// When there are no results, or a chain is partly applied: neither can come from a ledger.
#[must_use]
pub fn committed(results: &[CreateTransferResult]) -> TransactionOutcome {
    use CreateTransferResult::{Created, Exists, LinkedEventFailed};
    assert!(!results.is_empty(), "a transaction has at least one transfer");
    let applied = results.iter().filter(|&&result| result == Created).count();
    if applied == results.len() {
        return TransactionOutcome::Committed;
    }
    assert!(applied == 0, "a chain is applied as a whole or not at all");
    let culprit = |&result: &CreateTransferResult| result != LinkedEventFailed && result != Exists;
    let missing = |&result: &CreateTransferResult| result != Exists;
    let index = results.iter().position(culprit);
    match index.or_else(|| results.iter().position(missing)) {
        Some(index) => TransactionOutcome::Refused {
            index,
            result: results[index],
        },
        None => TransactionOutcome::AlreadyCommitted,
    }
}
