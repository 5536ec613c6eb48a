//! What answers an event whose id was used (pure): the same again, burnt, or the first field that differs.
//!
//! Owns: the comparison of what is asked with what is stored, for the ledger and for those who look a repeat up: a chain ends
//! at its first `exists`, so whoever must know of the other events compares them by itself.

use crate::chain::{Refusal, refuse_if};
use crate::transfers::{Decision, Repeat};
use crate::{
    Account, AccountFlags, AccountId, Amount, Archive, Code as BusinessCode, CreateAccountResult,
    CreateTransferResult as Code, Ledger, LedgerId, Sealed, Transfer, TransferFlags as Flags, Used,
};

/// The first field in which a transfer differs from the one that is stored under its id, in the order of check 5; `None` when it
/// is a repeat. Metadata is no part of it.
///
/// `pending` is the transfer that a post or void resolves: from it comes what the repeat leaves out (user data, the amount of
/// all). Without it what is left out counts as what is stored. Nothing else needs it.
#[must_use]
pub fn first_difference(asked: &Transfer, stored: &Transfer, pending: Option<&Transfer>) -> Option<Code> {
    kind_differs(asked, stored)
        .and_then(|()| differs(&meant(asked, stored, pending), stored))
        .err()
}

/// The same for an account, as far as the stored one tells: since an account may be closed later, one that is asked for open
/// is no difference to one that is closed by now.
#[must_use]
pub fn first_account_difference(asked: &Account, stored: &Account) -> Option<CreateAccountResult> {
    let given = if asked.flags.contains(AccountFlags::CLOSED) {
        stored.flags
    } else {
        stored.flags - AccountFlags::CLOSED
    };
    account_differs(asked, stored, given).err()
}

impl Ledger {
    /// Check 5.
    pub(crate) fn repeat_transfer<A: Archive>(
        &self,
        archive: &A,
        event: &Transfer,
        sealed: Option<&Sealed>,
        used: Used,
    ) -> Result<Decision, Refusal<Code>> {
        let Used::Applied {
            transfer: stored,
            metadata,
        } = used
        else {
            return Err(Code::IdAlreadyFailed.into());
        };
        kind_differs(event, &stored)?;
        // The pending transfer is known, since the stored post or void of it was applied.
        let pending = if hangs_on_pending(event, &stored) {
            Some(self.pending_transfer(archive, event.pending_id)?)
        } else {
            None
        };
        differs(&meant(event, &stored, pending.as_ref()), &stored)?;
        refuse_if!(sealed != metadata.as_ref(), Code::ExistsWithDifferentMetadata);
        let (debit, credit) = (stored.debit_account_id, stored.credit_account_id);
        Ok(Decision::Repeated(Repeat {
            timestamp: stored.timestamp,
            debit,
            credit,
        }))
    }
}

fn resolves(event: &Transfer) -> bool {
    event
        .flags
        .intersects(Flags::POST_PENDING_TRANSFER | Flags::VOID_PENDING_TRANSFER)
}

fn posts_all(event: &Transfer) -> bool {
    event.flags.contains(Flags::POST_PENDING_TRANSFER) && event.amount == Amount::ALL
}

/// Whether the comparison needs the pending transfer: looking it up may cost a read of history.
fn hangs_on_pending(event: &Transfer, stored: &Transfer) -> bool {
    let may_differ = (event.user_data_128 == 0 && stored.user_data_128 != 0)
        || (event.user_data_64 == 0 && stored.user_data_64 != 0)
        || (event.user_data_32 == 0 && stored.user_data_32 != 0);
    resolves(event) && (posts_all(event) || may_differ)
}

/// What a repeat means in full, so that the fields can be compared one by one: a post or void with what it inherits and the
/// amount that it stands for, anything else as it is.
fn meant(event: &Transfer, stored: &Transfer, pending: Option<&Transfer>) -> Transfer {
    let mut meant = *event;
    if !resolves(event) {
        return meant;
    }
    // Accounts, ledger and code are always those of the pending transfer.
    if event.debit_account_id == AccountId(0) {
        meant.debit_account_id = stored.debit_account_id;
    }
    if event.credit_account_id == AccountId(0) {
        meant.credit_account_id = stored.credit_account_id;
    }
    if event.ledger == LedgerId(0) {
        meant.ledger = stored.ledger;
    }
    if event.code == BusinessCode(0) {
        meant.code = stored.code;
    }
    let pending = pending.unwrap_or(stored);
    // A void is always of all.
    if event.flags.contains(Flags::VOID_PENDING_TRANSFER) && event.amount.0 == 0 {
        meant.amount = stored.amount;
    } else if posts_all(event) {
        meant.amount = pending.amount;
    }
    inherit_user_data(&mut meant, pending);
    meant
}

/// Zero user data of a post or void is that of the pending transfer.
pub(crate) fn inherit_user_data(transfer: &mut Transfer, pending: &Transfer) {
    if transfer.user_data_128 == 0 {
        transfer.user_data_128 = pending.user_data_128;
    }
    if transfer.user_data_64 == 0 {
        transfer.user_data_64 = pending.user_data_64;
    }
    if transfer.user_data_32 == 0 {
        transfer.user_data_32 = pending.user_data_32;
    }
}

/// The first of flags, pending id and timeout that differs: they tell what the other fields mean.
fn kind_differs(event: &Transfer, stored: &Transfer) -> Result<(), Code> {
    refuse_if!(event.flags != stored.flags, Code::ExistsWithDifferentFlags);
    refuse_if!(
        event.pending_id != stored.pending_id,
        Code::ExistsWithDifferentPendingId
    );
    refuse_if!(event.timeout != stored.timeout, Code::ExistsWithDifferentTimeout);
    Ok(())
}

/// The first field that differs, after flags, pending id and timeout.
fn differs(event: &Transfer, stored: &Transfer) -> Result<(), Code> {
    refuse_if!(
        event.debit_account_id != stored.debit_account_id,
        Code::ExistsWithDifferentDebitAccountId
    );
    refuse_if!(
        event.credit_account_id != stored.credit_account_id,
        Code::ExistsWithDifferentCreditAccountId
    );
    // A balancing transfer may have taken less than was asked for.
    let amount_differs = if event
        .flags
        .intersects(Flags::BALANCING_DEBIT | Flags::BALANCING_CREDIT)
    {
        event.amount < stored.amount
    } else {
        event.amount != stored.amount
    };
    refuse_if!(amount_differs, Code::ExistsWithDifferentAmount);
    refuse_if!(
        event.user_data_128 != stored.user_data_128,
        Code::ExistsWithDifferentUserData128
    );
    refuse_if!(
        event.user_data_64 != stored.user_data_64,
        Code::ExistsWithDifferentUserData64
    );
    refuse_if!(
        event.user_data_32 != stored.user_data_32,
        Code::ExistsWithDifferentUserData32
    );
    refuse_if!(event.ledger != stored.ledger, Code::ExistsWithDifferentLedger);
    refuse_if!(event.code != stored.code, Code::ExistsWithDifferentCode);
    Ok(())
}

/// The first field of an account that differs; `given` are the stored one's flags as they were given.
pub(crate) fn account_differs(
    event: &Account,
    stored: &Account,
    given: AccountFlags,
) -> Result<(), CreateAccountResult> {
    use CreateAccountResult as Code;
    refuse_if!(event.flags != given, Code::ExistsWithDifferentFlags);
    refuse_if!(
        event.user_data_128 != stored.user_data_128,
        Code::ExistsWithDifferentUserData128
    );
    refuse_if!(
        event.user_data_64 != stored.user_data_64,
        Code::ExistsWithDifferentUserData64
    );
    refuse_if!(
        event.user_data_32 != stored.user_data_32,
        Code::ExistsWithDifferentUserData32
    );
    refuse_if!(event.ledger != stored.ledger, Code::ExistsWithDifferentLedger);
    refuse_if!(event.code != stored.code, Code::ExistsWithDifferentCode);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TransferId;

    fn stored() -> Transfer {
        Transfer {
            id: TransferId(9),
            debit_account_id: AccountId(1),
            credit_account_id: AccountId(2),
            amount: Amount(10),
            user_data_64: 5,
            ledger: LedgerId(1),
            code: BusinessCode(1),
            ..Transfer::default()
        }
    }

    #[test]
    fn the_first_field_that_differs_is_named_flags_before_all() {
        let stored = stored();
        assert_eq!(first_difference(&stored, &stored, None), None);
        let amount = Transfer {
            amount: Amount(11),
            code: BusinessCode(2),
            ..stored
        };
        assert_eq!(
            first_difference(&amount, &stored, None),
            Some(Code::ExistsWithDifferentAmount)
        );
        let flags = Transfer {
            flags: Flags::LINKED,
            ..amount
        };
        assert_eq!(
            first_difference(&flags, &stored, None),
            Some(Code::ExistsWithDifferentFlags)
        );
    }

    #[test]
    fn a_post_that_leaves_things_out_is_compared_with_what_its_pending_transfer_says() {
        let post = Transfer {
            flags: Flags::POST_PENDING_TRANSFER,
            pending_id: TransferId(8),
            ..stored()
        };
        let all = Transfer {
            debit_account_id: AccountId(0),
            credit_account_id: AccountId(0),
            amount: Amount::ALL,
            user_data_64: 0,
            ledger: LedgerId(0),
            code: BusinessCode(0),
            ..post
        };
        let pending = |amount, user_data_64| Transfer {
            amount: Amount(amount),
            user_data_64,
            flags: Flags::PENDING,
            ..stored()
        };
        assert_eq!(first_difference(&all, &post, Some(&pending(10, 5))), None);
        assert_eq!(first_difference(&all, &post, None), None);
        assert_eq!(
            first_difference(&all, &post, Some(&pending(12, 5))),
            Some(Code::ExistsWithDifferentAmount)
        );
        assert_eq!(
            first_difference(&all, &post, Some(&pending(10, 6))),
            Some(Code::ExistsWithDifferentUserData64)
        );
    }

    #[test]
    fn an_account_that_was_closed_since_is_the_one_that_was_asked_for() {
        let open = Account {
            id: AccountId(1),
            ledger: LedgerId(1),
            code: BusinessCode(1),
            ..Account::default()
        };
        let closed = Account {
            flags: AccountFlags::CLOSED,
            ..open
        };
        use CreateAccountResult::{ExistsWithDifferentCode, ExistsWithDifferentFlags};
        assert_eq!(first_account_difference(&open, &closed), None);
        assert_eq!(first_account_difference(&closed, &closed), None);
        assert_eq!(
            first_account_difference(&closed, &open),
            Some(ExistsWithDifferentFlags)
        );
        let other = Account {
            code: BusinessCode(2),
            ..open
        };
        assert_eq!(
            first_account_difference(&other, &closed),
            Some(ExistsWithDifferentCode)
        );
    }
}
