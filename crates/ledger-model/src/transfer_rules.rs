//! The naive rules of transfers: each check a line of a table, in the order of `docs/ledger.md`.

use crate::model::{Fate, Model, ModelTransfer, Moment, due};
use ledger::{
    AccountFlags, AccountId, Amount, Balances, CreateTransferResult as R, Outcome, RowKind, Sealed,
    TimestampNs, Transfer, TransferFlags as F, TransferId, TransferReply,
};

const S63: u128 = 1 << 63;

fn first_wrong(checks: &[(bool, R)]) -> Result<(), R> {
    checks
        .iter()
        .find(|(wrong, _)| *wrong)
        .map_or(Ok(()), |&(_, code)| Err(code))
}

/// `a + b + c` does not fit 128 bits.
fn over(a: Amount, b: Amount, c: u128) -> bool {
    a.0.checked_add(b.0).and_then(|sum| sum.checked_add(c)).is_none()
}

impl Model {
    pub(crate) fn create_transfer(
        &mut self,
        moment: Moment,
        event: &Transfer,
        metadata: Option<Sealed>,
        outcome: &mut Outcome,
    ) -> Result<TransferReply, R> {
        let imported = event.flags.contains(F::IMPORTED);
        let in_range = (1..=i64::MAX as u64).contains(&event.timestamp.0);
        first_wrong(&[
            (moment.imported && !imported, R::ImportedEventExpected),
            (!moment.imported && imported, R::ImportedEventNotExpected),
            (!imported && event.timestamp.0 != 0, R::TimestampMustBeZero),
            (imported && !in_range, R::ImportedEventTimestampOutOfRange),
            (
                imported && event.timestamp >= moment.request,
                R::ImportedEventTimestampMustNotAdvance,
            ),
            (event.flags.bits() > 0b1_1111_1111, R::ReservedFlag),
            (event.id.0 == 0, R::IdMustNotBeZero),
            (event.id.0 == u128::MAX, R::IdMustNotBeIntMax),
        ])?;
        if let Some(stored) = self.transfers.get(&event.id) {
            self.same_again(event, &metadata, stored)?;
            return Ok(self.reply(R::Exists, &stored.transfer));
        }
        if self.burnt.contains(&event.id) {
            return Err(R::IdAlreadyFailed);
        }
        let transfer = if event
            .flags
            .intersects(F::POST_PENDING_TRANSFER | F::VOID_PENDING_TRANSFER)
        {
            let (transfer, fate) = self.check_resolving(moment, event)?;
            let posted = if fate == Fate::Posted {
                transfer.amount.0
            } else {
                0
            };
            self.end(event.pending_id, fate, posted);
            transfer
        } else {
            let transfer = self.check_new(moment, event)?;
            self.book(&transfer);
            transfer
        };
        let pending = transfer.flags.contains(F::PENDING);
        if pending {
            self.open.insert(transfer.id);
        }
        let fate = if pending { Fate::Open } else { Fate::Posted };
        self.transfers.insert(
            transfer.id,
            ModelTransfer {
                transfer,
                metadata: metadata.clone(),
                fate,
            },
        );
        self.row(RowKind::Applied, transfer, metadata, outcome);
        Ok(self.reply(R::Created, &transfer))
    }

    fn reply(&self, result: R, transfer: &Transfer) -> TransferReply {
        TransferReply {
            result,
            timestamp: transfer.timestamp,
            debit: self.accounts[&transfer.debit_account_id].balances,
            credit: self.accounts[&transfer.credit_account_id].balances,
        }
    }

    /// The event under an id that was applied.
    fn same_again(
        &self,
        event: &Transfer,
        metadata: &Option<Sealed>,
        stored: &ModelTransfer,
    ) -> Result<(), R> {
        let s = &stored.transfer;
        let mut e = *event;
        let mut amount_differs = e.amount != s.amount;
        if e.flags.intersects(F::BALANCING_DEBIT | F::BALANCING_CREDIT) {
            amount_differs = e.amount < s.amount;
        }
        // Before flags and pending id agree, the fields below are not reached.
        if let Some(pending) = self.transfers.get(&s.pending_id).map(|pending| pending.transfer)
            && e.pending_id == s.pending_id
        {
            if e.amount == Amount::ALL && e.flags.contains(F::POST_PENDING_TRANSFER) {
                amount_differs = s.amount != pending.amount;
            }
            if e.amount.0 == 0 && e.flags.contains(F::VOID_PENDING_TRANSFER) {
                amount_differs = s.amount != pending.amount;
            }
            inherit(&mut e, &pending);
        }
        first_wrong(&[
            (e.flags != s.flags, R::ExistsWithDifferentFlags),
            (e.pending_id != s.pending_id, R::ExistsWithDifferentPendingId),
            (e.timeout != s.timeout, R::ExistsWithDifferentTimeout),
            (
                e.debit_account_id != s.debit_account_id,
                R::ExistsWithDifferentDebitAccountId,
            ),
            (
                e.credit_account_id != s.credit_account_id,
                R::ExistsWithDifferentCreditAccountId,
            ),
            (amount_differs, R::ExistsWithDifferentAmount),
            (
                e.user_data_128 != s.user_data_128,
                R::ExistsWithDifferentUserData128,
            ),
            (e.user_data_64 != s.user_data_64, R::ExistsWithDifferentUserData64),
            (e.user_data_32 != s.user_data_32, R::ExistsWithDifferentUserData32),
            (e.ledger != s.ledger, R::ExistsWithDifferentLedger),
            (e.code != s.code, R::ExistsWithDifferentCode),
            (*metadata != stored.metadata, R::ExistsWithDifferentMetadata),
        ])
    }

    fn regresses(&self, timestamp: TimestampNs) -> bool {
        self.transfer_times.last().is_some_and(|last| timestamp <= *last)
            || self.account_times.contains(&timestamp)
    }

    fn check_new(&self, moment: Moment, event: &Transfer) -> Result<Transfer, R> {
        let pending = event.flags.contains(F::PENDING);
        let imported = event.flags.contains(F::IMPORTED);
        let closing = event.flags.intersects(F::CLOSING_DEBIT | F::CLOSING_CREDIT);
        let (debit, credit) = (event.debit_account_id, event.credit_account_id);
        first_wrong(&[
            (debit.0 == 0, R::DebitAccountIdMustNotBeZero),
            (debit.0 == u128::MAX, R::DebitAccountIdMustNotBeIntMax),
            (credit.0 == 0, R::CreditAccountIdMustNotBeZero),
            (credit.0 == u128::MAX, R::CreditAccountIdMustNotBeIntMax),
            (debit == credit, R::AccountsMustBeDifferent),
            (event.pending_id.0 != 0, R::PendingIdMustBeZero),
            (
                !pending && event.timeout != 0,
                R::TimeoutReservedForPendingTransfer,
            ),
            (!pending && closing, R::ClosingTransferMustBePending),
            (event.ledger.0 == 0, R::LedgerMustNotBeZero),
            (event.code.0 == 0, R::CodeMustNotBeZero),
            (!self.accounts.contains_key(&debit), R::DebitAccountNotFound),
            (!self.accounts.contains_key(&credit), R::CreditAccountNotFound),
        ])?;
        let (d, c) = (&self.accounts[&debit], &self.accounts[&credit]);
        let (given_d, given_c) = (&d.given, &c.given);
        let timestamp = if imported { event.timestamp } else { moment.now };
        let amount = clamp(event, &d.balances, &c.balances);
        let due = u128::from(timestamp.0) + u128::from(event.timeout) * 1_000_000_000;
        let (db, cb) = (&d.balances, &c.balances);
        let none = Amount(0);
        let limited_d = given_d
            .flags
            .contains(AccountFlags::DEBITS_MUST_NOT_EXCEED_CREDITS);
        let limited_c = given_c
            .flags
            .contains(AccountFlags::CREDITS_MUST_NOT_EXCEED_DEBITS);
        let regresses = imported && self.regresses(timestamp);
        let before_debit = imported && timestamp <= given_d.timestamp;
        let before_credit = imported && timestamp <= given_c.timestamp;
        first_wrong(&[
            (given_d.ledger != given_c.ledger, R::AccountsMustHaveTheSameLedger),
            (
                event.ledger != given_d.ledger,
                R::TransferMustHaveTheSameLedgerAsAccounts,
            ),
            (regresses, R::ImportedEventTimestampMustNotRegress),
            (before_debit, R::ImportedEventTimestampMustPostdateDebitAccount),
            (before_credit, R::ImportedEventTimestampMustPostdateCreditAccount),
            (imported && event.timeout != 0, R::ImportedEventTimeoutMustBeZero),
            (self.is_closed(debit), R::DebitAccountAlreadyClosed),
            (self.is_closed(credit), R::CreditAccountAlreadyClosed),
            (
                pending && over(db.debits_pending, none, amount),
                R::OverflowsDebitsPending,
            ),
            (
                pending && over(cb.credits_pending, none, amount),
                R::OverflowsCreditsPending,
            ),
            (over(db.debits_posted, none, amount), R::OverflowsDebitsPosted),
            (over(cb.credits_posted, none, amount), R::OverflowsCreditsPosted),
            (
                over(db.debits_pending, db.debits_posted, amount),
                R::OverflowsDebits,
            ),
            (
                over(cb.credits_pending, cb.credits_posted, amount),
                R::OverflowsCredits,
            ),
            (due >= S63, R::OverflowsTimeout),
        ])?;
        first_wrong(&[
            (
                limited_d && db.debits_pending.0 + db.debits_posted.0 + amount > db.credits_posted.0,
                R::ExceedsCredits,
            ),
            (
                limited_c && cb.credits_pending.0 + cb.credits_posted.0 + amount > cb.debits_posted.0,
                R::ExceedsDebits,
            ),
        ])?;
        Ok(Transfer {
            amount: Amount(amount),
            timestamp,
            ..*event
        })
    }

    fn book(&mut self, transfer: &Transfer) {
        let pending = transfer.flags.contains(F::PENDING);
        if let Some(account) = self.accounts.get_mut(&transfer.debit_account_id) {
            let b = &mut account.balances;
            let total = if pending {
                &mut b.debits_pending
            } else {
                &mut b.debits_posted
            };
            total.0 += transfer.amount.0;
        }
        if let Some(account) = self.accounts.get_mut(&transfer.credit_account_id) {
            let b = &mut account.balances;
            let total = if pending {
                &mut b.credits_pending
            } else {
                &mut b.credits_posted
            };
            total.0 += transfer.amount.0;
        }
    }

    fn check_resolving(&self, moment: Moment, event: &Transfer) -> Result<(Transfer, Fate), R> {
        let f = event.flags;
        let post = f.contains(F::POST_PENDING_TRANSFER);
        let others =
            F::PENDING | F::BALANCING_DEBIT | F::BALANCING_CREDIT | F::CLOSING_DEBIT | F::CLOSING_CREDIT;
        let exclusive = (post && f.contains(F::VOID_PENDING_TRANSFER)) || f.intersects(others);
        let pending = self.transfers.get(&event.pending_id);
        first_wrong(&[
            (exclusive, R::FlagsAreMutuallyExclusive),
            (event.pending_id.0 == 0, R::PendingIdMustNotBeZero),
            (event.pending_id.0 == u128::MAX, R::PendingIdMustNotBeIntMax),
            (event.pending_id == event.id, R::PendingIdMustBeDifferent),
            (event.timeout != 0, R::TimeoutReservedForPendingTransfer),
            (pending.is_none(), R::PendingTransferNotFound),
        ])?;
        let (p, fate) = (
            self.transfers[&event.pending_id].transfer,
            self.transfers[&event.pending_id].fate,
        );
        let amount = match (post, event.amount) {
            (true, Amount::ALL) | (false, Amount(0)) => p.amount,
            (_, amount) => amount,
        };
        let different = |given: u128, own: u128| given != 0 && given != own;
        let imported = f.contains(F::IMPORTED);
        let expired = fate == Fate::Expired || due(&p).is_some_and(|due| due <= moment.now);
        let regresses = imported && self.regresses(event.timestamp);
        let not_pending = !p.flags.contains(F::PENDING);
        let (AccountId(debit), AccountId(credit)) = (event.debit_account_id, event.credit_account_id);
        let ledger = different(event.ledger.0.into(), p.ledger.0.into());
        let code = different(event.code.0.into(), p.code.0.into());
        first_wrong(&[
            (not_pending, R::PendingTransferNotPending),
            (
                different(debit, p.debit_account_id.0),
                R::PendingTransferHasDifferentDebitAccountId,
            ),
            (
                different(credit, p.credit_account_id.0),
                R::PendingTransferHasDifferentCreditAccountId,
            ),
            (ledger, R::PendingTransferHasDifferentLedger),
            (code, R::PendingTransferHasDifferentCode),
            (amount > p.amount, R::ExceedsPendingTransferAmount),
            (!post && amount != p.amount, R::PendingTransferHasDifferentAmount),
            (fate == Fate::Posted, R::PendingTransferAlreadyPosted),
            (fate == Fate::Voided, R::PendingTransferAlreadyVoided),
            (expired, R::PendingTransferExpired),
            (regresses, R::ImportedEventTimestampMustNotRegress),
            (
                post && self.is_closed(p.debit_account_id),
                R::DebitAccountAlreadyClosed,
            ),
            (
                post && self.is_closed(p.credit_account_id),
                R::CreditAccountAlreadyClosed,
            ),
        ])?;
        let timestamp = if imported { event.timestamp } else { moment.now };
        let mut transfer = Transfer {
            amount,
            timestamp,
            ..*event
        };
        inherit(&mut transfer, &p);
        Ok((transfer, if post { Fate::Posted } else { Fate::Voided }))
    }

    /// What became of a pending transfer; `None` when there is none of that id.
    #[must_use]
    pub fn fate(&self, id: TransferId) -> Option<Fate> {
        let transfer = self.transfers.get(&id)?;
        transfer
            .transfer
            .flags
            .contains(F::PENDING)
            .then_some(transfer.fate)
    }
}

fn inherit(transfer: &mut Transfer, pending: &Transfer) {
    if transfer.debit_account_id.0 == 0 {
        transfer.debit_account_id = pending.debit_account_id;
    }
    if transfer.credit_account_id.0 == 0 {
        transfer.credit_account_id = pending.credit_account_id;
    }
    if transfer.ledger.0 == 0 {
        transfer.ledger = pending.ledger;
    }
    if transfer.code.0 == 0 {
        transfer.code = pending.code;
    }
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

fn clamp(event: &Transfer, debit: &Balances, credit: &Balances) -> u128 {
    let mut amount = event.amount.0;
    if event.flags.contains(F::BALANCING_DEBIT) {
        let free = debit
            .credits_posted
            .0
            .saturating_sub(debit.debits_posted.0)
            .saturating_sub(debit.debits_pending.0);
        amount = amount.min(free);
    }
    if event.flags.contains(F::BALANCING_CREDIT) {
        let free = credit
            .debits_posted
            .0
            .saturating_sub(credit.credits_posted.0)
            .saturating_sub(credit.credits_pending.0);
        amount = amount.min(free);
    }
    amount
}
