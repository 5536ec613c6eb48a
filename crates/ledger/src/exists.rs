//! What answers a transfer whose id was used (pure): the same again, burnt, or the first field that differs.

use crate::chain::{Refusal, refuse_if};
use crate::transfers::{Decision, Repeat};
use crate::{
    AccountId, Amount, Archive, Code as BusinessCode, CreateTransferResult as Code, Ledger, LedgerId, Sealed,
    Transfer, TransferFlags as Flags, Used,
};

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
        refuse_if!(event.flags != stored.flags, Code::ExistsWithDifferentFlags);
        refuse_if!(
            event.pending_id != stored.pending_id,
            Code::ExistsWithDifferentPendingId
        );
        refuse_if!(event.timeout != stored.timeout, Code::ExistsWithDifferentTimeout);
        // What the repeat means in full, so that the fields can be compared one by one.
        let meant = if event
            .flags
            .intersects(Flags::POST_PENDING_TRANSFER | Flags::VOID_PENDING_TRANSFER)
        {
            self.resolve_repeat(archive, event, &stored)?
        } else {
            *event
        };
        differs(&meant, &stored)?;
        refuse_if!(sealed != metadata.as_ref(), Code::ExistsWithDifferentMetadata);
        let (debit, credit) = (stored.debit_account_id, stored.credit_account_id);
        Ok(Decision::Repeated(Repeat {
            timestamp: stored.timestamp,
            debit,
            credit,
        }))
    }

    /// A repeated post or void with what it inherits and the amount that it stands for. Its `pending_id` is that of the
    /// stored one, which was applied, so the pending transfer is known; it is only looked up when something hangs on it.
    fn resolve_repeat<A: Archive>(
        &self,
        archive: &A,
        event: &Transfer,
        stored: &Transfer,
    ) -> Result<Transfer, Refusal<Code>> {
        let mut meant = *event;
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
        // A void is always of all.
        let void = event.flags.contains(Flags::VOID_PENDING_TRANSFER);
        if void && event.amount.0 == 0 {
            meant.amount = stored.amount;
        }
        let post_of_all = !void && event.amount == Amount::ALL;
        let may_differ = (event.user_data_128 == 0 && stored.user_data_128 != 0)
            || (event.user_data_64 == 0 && stored.user_data_64 != 0)
            || (event.user_data_32 == 0 && stored.user_data_32 != 0);
        if !post_of_all && !may_differ {
            return Ok(meant);
        }
        let pending = self.pending_transfer(archive, event.pending_id)?;
        if post_of_all {
            meant.amount = pending.amount;
        }
        inherit_user_data(&mut meant, &pending);
        Ok(meant)
    }
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
