//! The rules of plain and pending transfers (pure). The order of checks is that of `docs/ledger.md`, line by line.

use crate::chain::{Chain, ChainCheck, Context, MetadataCursor, Refusal, refuse_if};
use crate::pending::{Open, due_at};
use crate::{
    Account, AccountFlags, AccountId, AccountNumber, Amount, Archive, ArchiveFault, Balances,
    CreateTransferResult as Code, Events, Ledger, Outcome, Row, RowKind, Sealed, TimestampNs, Transfer,
    TransferFlags as Flags, TransferId, TransferReply,
};

/// What became of an event, before its chain had its say. Small, since it is returned for every event.
pub(crate) enum Decision {
    /// Applied; its reply and row are in the outcome.
    Created,
    /// The same event was applied before.
    Repeated(Repeat),
    Refused(Code),
}

/// What the reply to a repeat needs of the transfer as stored.
pub(crate) struct Repeat {
    pub(crate) timestamp: TimestampNs,
    pub(crate) debit: AccountId,
    pub(crate) credit: AccountId,
}

impl Ledger {
    pub(crate) fn create_transfers<A: Archive>(
        &mut self,
        archive: &A,
        base: TimestampNs,
        request: &Events<Transfer>,
        outcome: &mut Outcome,
    ) -> Result<(), ArchiveFault> {
        let imported = request
            .events
            .first()
            .is_some_and(|event| event.flags.contains(Flags::IMPORTED));
        outcome.transfers.reserve(request.events.len());
        outcome.rows.reserve(request.events.len());
        let mut chain = Chain::default();
        let mut metadata = MetadataCursor::new(&request.metadata);
        for (index, event) in request.events.iter().enumerate() {
            let now = TimestampNs(base.0 + index as u64);
            let linked = event.flags.contains(Flags::LINKED);
            let last = index + 1 == request.events.len();
            let sealed = metadata.of(index);
            let decision = match chain.enter(self, index, linked, last, outcome) {
                ChainCheck::Open => Decision::Refused(Code::LinkedEventChainOpen),
                ChainCheck::Failed => Decision::Refused(Code::LinkedEventFailed),
                ChainCheck::Pass => {
                    let context = Context {
                        now,
                        request: base,
                        imported,
                    };
                    match self.create_transfer(archive, context, event, sealed, outcome) {
                        Ok(decision) => decision,
                        Err(Refusal::Code(code)) => Decision::Refused(code),
                        Err(Refusal::Fault(fault)) => return Err(fault),
                    }
                }
            };
            let applied = matches!(decision, Decision::Created);
            if let Some(start) = chain.leave(self, linked, applied, outcome) {
                for member in start..index {
                    let timestamp = TimestampNs(base.0 + member as u64);
                    outcome.transfers[member] = refused(Code::LinkedEventFailed, timestamp);
                }
            }
            match decision {
                Decision::Created => {}
                // After the roll-back of its chain, so that the balances are those that stand.
                Decision::Repeated(repeat) => outcome.transfers.push(self.exists(&repeat)),
                Decision::Refused(code) => {
                    outcome.transfers.push(refused(code, now));
                    if code.burns_id() {
                        // After the roll-back too, so that the culprit's id stays burnt.
                        self.burn(event.id, outcome);
                    }
                }
            }
            assert_eq!(outcome.transfers.len(), index + 1, "one reply an event");
        }
        Ok(())
    }

    /// Checks 2 to 6: what holds for every transfer, whatever it does.
    #[inline]
    fn create_transfer<A: Archive>(
        &mut self,
        archive: &A,
        context: Context,
        event: &Transfer,
        sealed: Option<&Sealed>,
        outcome: &mut Outcome,
    ) -> Result<Decision, Refusal<Code>> {
        context.check(event.flags.contains(Flags::IMPORTED), event.timestamp)?;
        refuse_if!(event.flags.bits() & !Flags::all().bits() != 0, Code::ReservedFlag);
        refuse_if!(event.id == TransferId(0), Code::IdMustNotBeZero);
        refuse_if!(event.id == TransferId(u128::MAX), Code::IdMustNotBeIntMax);
        if let Some(used) = self.used(archive, event.id)? {
            return self.repeat_transfer(archive, event, sealed, used);
        }
        if event
            .flags
            .intersects(Flags::POST_PENDING_TRANSFER.union(Flags::VOID_PENDING_TRANSFER))
        {
            return self.resolve_pending(archive, context, event, sealed, outcome);
        }
        self.reserve_or_move(context, event, sealed, outcome)
    }

    /// Checks 7 to 16, then the move of a plain transfer or the reservation of a pending one.
    #[inline]
    fn reserve_or_move(
        &mut self,
        context: Context,
        event: &Transfer,
        sealed: Option<&Sealed>,
        outcome: &mut Outcome,
    ) -> Result<Decision, Refusal<Code>> {
        check_fields(event)?;
        let debit = self
            .accounts
            .find(event.debit_account_id)
            .ok_or(Code::DebitAccountNotFound)?;
        let credit = self
            .accounts
            .find(event.credit_account_id)
            .ok_or(Code::CreditAccountNotFound)?;
        let (from, to) = (self.accounts.get(debit), self.accounts.get(credit));
        refuse_if!(from.ledger != to.ledger, Code::AccountsMustHaveTheSameLedger);
        refuse_if!(
            event.ledger != from.ledger,
            Code::TransferMustHaveTheSameLedgerAsAccounts
        );
        let timestamp = if event.flags.contains(Flags::IMPORTED) {
            self.check_import(event, from, to)?;
            event.timestamp
        } else {
            context.now
        };
        refuse_if!(
            from.flags.contains(AccountFlags::CLOSED),
            Code::DebitAccountAlreadyClosed
        );
        refuse_if!(
            to.flags.contains(AccountFlags::CLOSED),
            Code::CreditAccountAlreadyClosed
        );
        let amount = balanced(event, &from.balances, &to.balances);
        check_overflows(event, amount, timestamp, &from.balances, &to.balances)?;
        check_limits(amount, from, to)?;

        let transfer = Transfer {
            amount: Amount(amount),
            timestamp,
            ..*event
        };
        self.commit(transfer, debit, credit, sealed, outcome);
        Ok(Decision::Created)
    }

    fn check_import(&self, event: &Transfer, from: &Account, to: &Account) -> Result<(), Code> {
        refuse_if!(
            self.transfer_regresses(event.timestamp),
            Code::ImportedEventTimestampMustNotRegress
        );
        refuse_if!(
            event.timestamp <= from.timestamp,
            Code::ImportedEventTimestampMustPostdateDebitAccount
        );
        refuse_if!(
            event.timestamp <= to.timestamp,
            Code::ImportedEventTimestampMustPostdateCreditAccount
        );
        refuse_if!(event.timeout != 0, Code::ImportedEventTimeoutMustBeZero);
        Ok(())
    }

    /// Everything was checked: both sides move by the same amount.
    #[inline]
    fn commit(
        &mut self,
        transfer: Transfer,
        debit: AccountNumber,
        credit: AccountNumber,
        sealed: Option<&Sealed>,
        outcome: &mut Outcome,
    ) {
        let amount = transfer.amount.0;
        let pending = transfer.flags.contains(Flags::PENDING);
        let from = self.account_mut(debit);
        // The sums cannot overflow: that was checked.
        if pending {
            from.balances.debits_pending.0 += amount;
        } else {
            from.balances.debits_posted.0 += amount;
        }
        if transfer.flags.contains(Flags::CLOSING_DEBIT) {
            from.flags |= AccountFlags::CLOSED;
        }
        let debit_balances = from.balances;
        let to = self.account_mut(credit);
        if pending {
            to.balances.credits_pending.0 += amount;
        } else {
            to.balances.credits_posted.0 += amount;
        }
        if transfer.flags.contains(Flags::CLOSING_CREDIT) {
            to.flags |= AccountFlags::CLOSED;
        }
        let credit_balances = to.balances;
        if pending {
            self.pendings.insert(Open {
                transfer,
                debit,
                credit,
            });
            self.undo.opened(transfer.id);
        }
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
    }

    /// The reply to a repeat: the stored timestamp, and the balances now.
    fn exists(&self, repeat: &Repeat) -> TransferReply {
        let balances = |id| {
            self.account(id)
                .map(|(_, account)| account.balances)
                .unwrap_or_default()
        };
        TransferReply {
            result: Code::Exists,
            timestamp: repeat.timestamp,
            debit: balances(repeat.debit),
            credit: balances(repeat.credit),
        }
    }

    /// The id may never be used again.
    fn burn(&mut self, id: TransferId, outcome: &mut Outcome) {
        let timestamp = self.last_row_timestamp;
        let row = Row {
            kind: RowKind::Burnt,
            transfer: Transfer {
                id,
                timestamp,
                ..Transfer::default()
            },
            debit: AccountNumber::NONE,
            credit: AccountNumber::NONE,
            debit_balances: Balances::default(),
            credit_balances: Balances::default(),
        };
        self.push_row(row, None, outcome);
    }
}

/// The reply to an event that was applied as this row.
#[inline]
pub(crate) fn push_reply(row: &Row, outcome: &mut Outcome) {
    outcome.transfers.push(TransferReply {
        result: Code::Created,
        timestamp: row.transfer.timestamp,
        debit: row.debit_balances,
        credit: row.credit_balances,
    });
}

fn refused(result: Code, timestamp: TimestampNs) -> TransferReply {
    TransferReply {
        result,
        timestamp,
        debit: Balances::default(),
        credit: Balances::default(),
    }
}

/// Checks 7 to 10: what can be said without looking at the state.
#[inline]
fn check_fields(event: &Transfer) -> Result<(), Code> {
    refuse_if!(
        event.debit_account_id == AccountId(0),
        Code::DebitAccountIdMustNotBeZero
    );
    refuse_if!(
        event.debit_account_id == AccountId(u128::MAX),
        Code::DebitAccountIdMustNotBeIntMax
    );
    refuse_if!(
        event.credit_account_id == AccountId(0),
        Code::CreditAccountIdMustNotBeZero
    );
    refuse_if!(
        event.credit_account_id == AccountId(u128::MAX),
        Code::CreditAccountIdMustNotBeIntMax
    );
    refuse_if!(
        event.debit_account_id == event.credit_account_id,
        Code::AccountsMustBeDifferent
    );
    refuse_if!(event.pending_id != TransferId(0), Code::PendingIdMustBeZero);
    if !event.flags.contains(Flags::PENDING) {
        refuse_if!(event.timeout != 0, Code::TimeoutReservedForPendingTransfer);
        let closing = Flags::CLOSING_DEBIT.union(Flags::CLOSING_CREDIT);
        refuse_if!(
            event.flags.intersects(closing),
            Code::ClosingTransferMustBePending
        );
    }
    refuse_if!(event.ledger.0 == 0, Code::LedgerMustNotBeZero);
    refuse_if!(event.code.0 == 0, Code::CodeMustNotBeZero);
    Ok(())
}

/// What a balancing transfer takes: the smaller of its amount and what is free.
#[inline]
fn balanced(event: &Transfer, from: &Balances, to: &Balances) -> u128 {
    let mut amount = event.amount.0;
    if event.flags.contains(Flags::BALANCING_DEBIT) {
        let taken = from.debits_posted.0 + from.debits_pending.0;
        amount = amount.min(from.credits_posted.0.saturating_sub(taken));
    }
    if event.flags.contains(Flags::BALANCING_CREDIT) {
        let taken = to.credits_posted.0 + to.credits_pending.0;
        amount = amount.min(to.debits_posted.0.saturating_sub(taken));
    }
    amount
}

/// Check 15.
#[inline]
fn check_overflows(
    event: &Transfer,
    amount: u128,
    timestamp: TimestampNs,
    from: &Balances,
    to: &Balances,
) -> Result<(), Code> {
    let over = |total: u128| total.checked_add(amount).is_none();
    if event.flags.contains(Flags::PENDING) {
        refuse_if!(over(from.debits_pending.0), Code::OverflowsDebitsPending);
        refuse_if!(over(to.credits_pending.0), Code::OverflowsCreditsPending);
    }
    refuse_if!(over(from.debits_posted.0), Code::OverflowsDebitsPosted);
    refuse_if!(over(to.credits_posted.0), Code::OverflowsCreditsPosted);
    // Pending and posted together never exceed 128 bits: each transfer passed this very check.
    refuse_if!(
        over(from.debits_pending.0 + from.debits_posted.0),
        Code::OverflowsDebits
    );
    refuse_if!(
        over(to.credits_pending.0 + to.credits_posted.0),
        Code::OverflowsCredits
    );
    refuse_if!(due_at(timestamp, event.timeout).is_none(), Code::OverflowsTimeout);
    Ok(())
}

/// Check 16. The sums fit: check 15 came before.
#[inline]
fn check_limits(amount: u128, from: &Account, to: &Account) -> Result<(), Code> {
    if from.flags.contains(AccountFlags::DEBITS_MUST_NOT_EXCEED_CREDITS) {
        let debits = from.balances.debits_pending.0 + from.balances.debits_posted.0 + amount;
        refuse_if!(debits > from.balances.credits_posted.0, Code::ExceedsCredits);
    }
    if to.flags.contains(AccountFlags::CREDITS_MUST_NOT_EXCEED_DEBITS) {
        let credits = to.balances.credits_pending.0 + to.balances.credits_posted.0 + amount;
        refuse_if!(credits > to.balances.debits_posted.0, Code::ExceedsDebits);
    }
    Ok(())
}
