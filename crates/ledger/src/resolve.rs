//! The rules of posting and voiding pending transfers (pure). The order of checks is that of `docs/ledger.md`.

use crate::chain::{Context, Refusal, refuse_if};
use crate::exists::inherit_user_data;
use crate::transfers::{Decision, push_reply};
use crate::{
    Account, AccountFlags, AccountId, AccountNumber, Amount, Archive, ArchiveFault, Balances,
    Code as BusinessCode, CreateTransferResult as Code, Ledger, LedgerId, Outcome, Resolution, Row, RowKind,
    RowNumber, Sealed, Transfer, TransferFlags as Flags, TransferId, Used,
};

/// The archive contradicts the ledger: what it was told is missing.
#[derive(Debug, thiserror::Error)]
#[error("LGR-0003: the archive does not know {what} of pending transfer {id}")]
struct ArchiveIncomplete {
    what: &'static str,
    id: TransferId,
}

impl Ledger {
    /// The checks of a post or void, from the flags on, then the deed.
    pub(crate) fn resolve_pending<A: Archive>(
        &mut self,
        archive: &A,
        context: Context,
        event: &Transfer,
        sealed: Option<&Sealed>,
        outcome: &mut Outcome,
    ) -> Result<Decision, Refusal<Code>> {
        check_fields(event)?;
        let post = event.flags.contains(Flags::POST_PENDING_TRANSFER);
        let open = self.pendings.get(event.pending_id).copied();
        let pending = match &open {
            Some(open) => open.transfer,
            None => match self.used(archive, event.pending_id)? {
                Some(Used::Applied { transfer, .. }) => transfer,
                Some(Used::Burnt) | None => return Err(Code::PendingTransferNotFound.into()),
            },
        };
        let amount = check_against_pending(event, &pending, post)?;
        let Some(open) = open else {
            return Err(match self.resolution(archive, event.pending_id)? {
                Resolution::Posted => Code::PendingTransferAlreadyPosted,
                Resolution::Voided => Code::PendingTransferAlreadyVoided,
                Resolution::Expired => Code::PendingTransferExpired,
            }
            .into());
        };
        // Due but not yet released by the engine.
        refuse_if!(
            open.due().is_some_and(|due| due <= context.now),
            Code::PendingTransferExpired
        );
        let imported = event.flags.contains(Flags::IMPORTED);
        let regresses = imported && self.transfer_regresses(event.timestamp);
        refuse_if!(regresses, Code::ImportedEventTimestampMustNotRegress);
        let closed =
            |number: AccountNumber| post && self.accounts.get(number).flags.contains(AccountFlags::CLOSED);
        refuse_if!(closed(open.debit), Code::DebitAccountAlreadyClosed);
        refuse_if!(closed(open.credit), Code::CreditAccountAlreadyClosed);

        let mut transfer = Transfer {
            debit_account_id: pending.debit_account_id,
            credit_account_id: pending.credit_account_id,
            amount,
            ledger: pending.ledger,
            code: pending.code,
            timestamp: if imported { event.timestamp } else { context.now },
            ..*event
        };
        inherit_user_data(&mut transfer, &pending);
        let posted = if post { amount } else { Amount(0) };
        let (debit_balances, credit_balances) = self.release(pending.id, posted);
        let (debit, credit) = (open.debit, open.credit);
        let row = Row {
            kind: RowKind::Applied,
            transfer,
            debit,
            credit,
            debit_balances,
            credit_balances,
        };
        push_reply(&row, outcome);
        self.push_row(row, sealed, outcome);
        Ok(Decision::Created)
    }

    /// Takes an open pending transfer out: its amount is released, `posted` of it is settled. Unless something is
    /// settled by a post (which closed accounts refuse), what it closed opens again.
    ///
    /// # Panics
    /// When it is not open, or more was settled or released than is pending: money would be wrong.
    pub(crate) fn release(&mut self, id: TransferId, posted: Amount) -> (Balances, Balances) {
        let Some(open) = self.pendings.remove(id) else {
            panic!("transfer {id} is not open")
        };
        self.undo.resolved(open);
        let pending = open.transfer;
        assert!(posted <= pending.amount, "no more is posted than is pending");
        let released = |total: &mut Amount| match total.0.checked_sub(pending.amount.0) {
            Some(rest) => total.0 = rest,
            None => panic!("transfer {id} has more pending than its account"),
        };
        let from = self.account_mut(open.debit);
        released(&mut from.balances.debits_pending);
        from.balances.debits_posted.0 += posted.0;
        reopen(from, pending.flags.contains(Flags::CLOSING_DEBIT));
        let debit_balances = from.balances;
        let to = self.account_mut(open.credit);
        released(&mut to.balances.credits_pending);
        to.balances.credits_posted.0 += posted.0;
        reopen(to, pending.flags.contains(Flags::CLOSING_CREDIT));
        (debit_balances, to.balances)
    }

    /// The pending transfer that an applied post or void names.
    pub(crate) fn pending_transfer<A: Archive>(
        &self,
        archive: &A,
        id: TransferId,
    ) -> Result<Transfer, ArchiveFault> {
        if let Some(open) = self.pendings.get(id) {
            return Ok(open.transfer);
        }
        match self.used(archive, id)? {
            Some(Used::Applied { transfer, .. }) => Ok(transfer),
            _ => Err(ArchiveFault(Box::new(ArchiveIncomplete {
                what: "the fields",
                id,
            }))),
        }
    }

    /// What became of a pending transfer that is not open.
    fn resolution<A: Archive>(&self, archive: &A, id: TransferId) -> Result<Resolution, ArchiveFault> {
        if let Some(resolution) = self.recent.resolution(id) {
            return Ok(resolution);
        }
        let archived = match self.recent.first_row() {
            RowNumber(0) => None,
            before => archive.resolution(id, before)?,
        };
        archived.ok_or_else(|| ArchiveFault(Box::new(ArchiveIncomplete { what: "the end", id })))
    }
}

/// Voids and expiries open what the pending transfer closed.
fn reopen(account: &mut Account, closed_by_it: bool) {
    if closed_by_it {
        assert!(
            account.flags.contains(AccountFlags::CLOSED),
            "a closing transfer keeps its account closed"
        );
        account.flags -= AccountFlags::CLOSED;
    }
}

/// What can be said without looking at the state.
fn check_fields(event: &Transfer) -> Result<(), Code> {
    let others = Flags::PENDING
        .union(Flags::BALANCING_DEBIT)
        .union(Flags::BALANCING_CREDIT)
        .union(Flags::CLOSING_DEBIT)
        .union(Flags::CLOSING_CREDIT);
    let both = Flags::POST_PENDING_TRANSFER.union(Flags::VOID_PENDING_TRANSFER);
    refuse_if!(
        event.flags.contains(both) || event.flags.intersects(others),
        Code::FlagsAreMutuallyExclusive
    );
    refuse_if!(event.pending_id == TransferId(0), Code::PendingIdMustNotBeZero);
    refuse_if!(
        event.pending_id == TransferId(u128::MAX),
        Code::PendingIdMustNotBeIntMax
    );
    refuse_if!(event.pending_id == event.id, Code::PendingIdMustBeDifferent);
    refuse_if!(event.timeout != 0, Code::TimeoutReservedForPendingTransfer);
    Ok(())
}

/// What must agree with the transfer that `pending_id` names; returns the amount that is meant.
fn check_against_pending(event: &Transfer, pending: &Transfer, post: bool) -> Result<Amount, Code> {
    refuse_if!(
        !pending.flags.contains(Flags::PENDING),
        Code::PendingTransferNotPending
    );
    let differs =
        event.debit_account_id != AccountId(0) && event.debit_account_id != pending.debit_account_id;
    refuse_if!(differs, Code::PendingTransferHasDifferentDebitAccountId);
    let differs =
        event.credit_account_id != AccountId(0) && event.credit_account_id != pending.credit_account_id;
    refuse_if!(differs, Code::PendingTransferHasDifferentCreditAccountId);
    let differs = event.ledger != LedgerId(0) && event.ledger != pending.ledger;
    refuse_if!(differs, Code::PendingTransferHasDifferentLedger);
    let differs = event.code != BusinessCode(0) && event.code != pending.code;
    refuse_if!(differs, Code::PendingTransferHasDifferentCode);
    let all = if post {
        event.amount == Amount::ALL
    } else {
        event.amount.0 == 0
    };
    let amount = if all { pending.amount } else { event.amount };
    refuse_if!(amount > pending.amount, Code::ExceedsPendingTransferAmount);
    refuse_if!(
        !post && amount < pending.amount,
        Code::PendingTransferHasDifferentAmount
    );
    Ok(amount)
}
