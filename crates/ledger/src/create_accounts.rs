//! The rules of creating accounts (pure). The order of checks is that of `docs/ledger.md`, line by line.

use crate::accounts::MetadataTag;
use crate::chain::{Chain, ChainCheck, Context, MetadataCursor, Refusal, refuse_if};
use crate::exists::account_differs;
use crate::{
    Account, AccountFlags, AccountId, AccountNumber, AccountReply, Archive, ArchiveFault, Balances,
    CreateAccountResult as Code, Events, Ledger, Outcome, Sealed, TimestampNs,
};

impl Ledger {
    pub(crate) fn create_accounts<A: Archive>(
        &mut self,
        archive: &A,
        base: TimestampNs,
        request: &Events<Account>,
        outcome: &mut Outcome,
    ) -> Result<(), ArchiveFault> {
        let imported = request
            .events
            .first()
            .is_some_and(|event| event.flags.contains(AccountFlags::IMPORTED));
        let mut chain = Chain::default();
        let mut metadata = MetadataCursor::new(&request.metadata);
        for (index, event) in request.events.iter().enumerate() {
            let now = TimestampNs(base.0 + index as u64);
            let linked = event.flags.contains(AccountFlags::LINKED);
            let last = index + 1 == request.events.len();
            let sealed = metadata.of(index);
            let reply = match chain.enter(self, index, linked, last, outcome) {
                ChainCheck::Open => Err(Code::LinkedEventChainOpen),
                ChainCheck::Failed => Err(Code::LinkedEventFailed),
                ChainCheck::Pass => {
                    let context = Context {
                        now,
                        request: base,
                        imported,
                    };
                    match self.create_account(archive, context, event, sealed, outcome) {
                        Ok(reply) => Ok(reply),
                        Err(Refusal::Code(code)) => Err(code),
                        Err(Refusal::Fault(fault)) => return Err(fault),
                    }
                }
            };
            let reply = reply.unwrap_or_else(|result| AccountReply {
                result,
                timestamp: now,
            });
            let applied = reply.result == Code::Created;
            outcome.accounts.push(reply);
            if let Some(start) = chain.leave(self, linked, applied, outcome) {
                for member in start..index {
                    let timestamp = TimestampNs(base.0 + member as u64);
                    outcome.accounts[member] = AccountReply {
                        result: Code::LinkedEventFailed,
                        timestamp,
                    };
                }
            }
        }
        Ok(())
    }

    fn create_account<A: Archive>(
        &mut self,
        archive: &A,
        context: Context,
        event: &Account,
        sealed: Option<&Sealed>,
        outcome: &mut Outcome,
    ) -> Result<AccountReply, Refusal<Code>> {
        let imported = event.flags.contains(AccountFlags::IMPORTED);
        context.check(imported, event.timestamp)?;
        refuse_if!(
            event.flags.bits() & !AccountFlags::all().bits() != 0,
            Code::ReservedFlag
        );
        refuse_if!(event.id == AccountId(0), Code::IdMustNotBeZero);
        refuse_if!(event.id == AccountId(u128::MAX), Code::IdMustNotBeIntMax);
        if let Some(number) = self.accounts.find(event.id) {
            return Ok(self.repeat_account(number, event, sealed)?);
        }
        check_fields(event)?;
        if imported {
            let regresses = self.account_regresses(archive, event.timestamp)?;
            refuse_if!(regresses, Code::ImportedEventTimestampMustNotRegress);
        }

        let timestamp = if imported { event.timestamp } else { context.now };
        let account = Account {
            timestamp,
            balances: Balances::default(),
            ..*event
        };
        let closed = event.flags.contains(AccountFlags::CLOSED);
        self.accounts
            .push(account, closed, sealed.map(|sealed| MetadataTag::of(sealed)));
        self.undo.account_created();
        if let Some(sealed) = sealed {
            outcome
                .account_metadata
                .push((outcome.new_accounts.len() as u32, sealed.clone()));
        }
        outcome.new_accounts.push(account);
        Ok(AccountReply {
            result: Code::Created,
            timestamp,
        })
    }

    /// The id is taken: the same account again, or the first field that differs from the account as it was given.
    fn repeat_account(
        &self,
        number: AccountNumber,
        event: &Account,
        sealed: Option<&Sealed>,
    ) -> Result<AccountReply, Code> {
        let account = self.accounts.get(number);
        let tag = sealed.map(|sealed| MetadataTag::of(sealed));
        account_differs(event, account, self.accounts.flags_at_creation(number))?;
        refuse_if!(
            tag != self.accounts.metadata_tag(number),
            Code::ExistsWithDifferentMetadata
        );
        Ok(AccountReply {
            result: Code::Exists,
            timestamp: account.timestamp,
        })
    }
}

/// What can be said of a new account without looking at the state.
fn check_fields(event: &Account) -> Result<(), Code> {
    let limits =
        AccountFlags::DEBITS_MUST_NOT_EXCEED_CREDITS.union(AccountFlags::CREDITS_MUST_NOT_EXCEED_DEBITS);
    refuse_if!(event.flags.contains(limits), Code::FlagsAreMutuallyExclusive);
    refuse_if!(
        event.balances.debits_pending.0 != 0,
        Code::DebitsPendingMustBeZero
    );
    refuse_if!(event.balances.debits_posted.0 != 0, Code::DebitsPostedMustBeZero);
    refuse_if!(
        event.balances.credits_pending.0 != 0,
        Code::CreditsPendingMustBeZero
    );
    refuse_if!(
        event.balances.credits_posted.0 != 0,
        Code::CreditsPostedMustBeZero
    );
    refuse_if!(event.ledger.0 == 0, Code::LedgerMustNotBeZero);
    refuse_if!(event.code.0 == 0, Code::CodeMustNotBeZero);
    Ok(())
}
