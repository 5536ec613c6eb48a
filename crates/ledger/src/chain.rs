//! What all requests of several events share (pure): chains of linked events, the checks of a batch, metadata by index.
//!
//! Owns: checks 1 to 3 of the order of checks, for accounts and transfers alike.

use crate::{
    ArchiveFault, CreateAccountResult, CreateTransferResult, EventMetadata, Ledger, Outcome, Sealed,
    TimestampNs,
};

/// Why an event is not applied: a business refusal, or a fault of the world that stops everything.
pub(crate) enum Refusal<C> {
    Code(C),
    Fault(ArchiveFault),
}

impl From<CreateTransferResult> for Refusal<CreateTransferResult> {
    fn from(code: CreateTransferResult) -> Self {
        Self::Code(code)
    }
}

impl From<CreateAccountResult> for Refusal<CreateAccountResult> {
    fn from(code: CreateAccountResult) -> Self {
        Self::Code(code)
    }
}

impl<C> From<ArchiveFault> for Refusal<C> {
    fn from(fault: ArchiveFault) -> Self {
        Self::Fault(fault)
    }
}

/// Refuses with the code when the condition holds: one line of the order of checks.
macro_rules! refuse_if {
    ($condition:expr, $code:expr) => {
        if $condition {
            return Err($code.into());
        }
    };
}
pub(crate) use refuse_if;

/// What an event is told about its request.
#[derive(Clone, Copy)]
pub(crate) struct Context {
    /// The event's own timestamp, unless it is imported.
    pub(crate) now: TimestampNs,
    /// The request's own time: that of its first event.
    pub(crate) request: TimestampNs,
    /// Whether the request is one of imported events.
    pub(crate) imported: bool,
}

/// What the checks of a batch say to an event, whatever its kind.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum BatchCheck {
    ImportedEventExpected,
    ImportedEventNotExpected,
    TimestampMustBeZero,
    TimestampOutOfRange,
    TimestampMustNotAdvance,
}

impl Context {
    /// Checks 2 and 3.
    #[inline]
    pub(crate) fn check(&self, imported: bool, timestamp: TimestampNs) -> Result<(), BatchCheck> {
        if imported != self.imported {
            return Err(if imported {
                BatchCheck::ImportedEventNotExpected
            } else {
                BatchCheck::ImportedEventExpected
            });
        }
        if !imported {
            return if timestamp.0 == 0 {
                Ok(())
            } else {
                Err(BatchCheck::TimestampMustBeZero)
            };
        }
        if timestamp.0 == 0 || timestamp > TimestampNs::MAX {
            return Err(BatchCheck::TimestampOutOfRange);
        }
        if timestamp >= self.request {
            return Err(BatchCheck::TimestampMustNotAdvance);
        }
        Ok(())
    }
}

macro_rules! batch_check_codes {
    ($($codes:ident),+) => {
        $(impl From<BatchCheck> for Refusal<$codes> {
            fn from(check: BatchCheck) -> Self {
                Self::Code(match check {
                    BatchCheck::ImportedEventExpected => $codes::ImportedEventExpected,
                    BatchCheck::ImportedEventNotExpected => $codes::ImportedEventNotExpected,
                    BatchCheck::TimestampMustBeZero => $codes::TimestampMustBeZero,
                    BatchCheck::TimestampOutOfRange => $codes::ImportedEventTimestampOutOfRange,
                    BatchCheck::TimestampMustNotAdvance => $codes::ImportedEventTimestampMustNotAdvance,
                })
            }
        })+
    };
}
batch_check_codes!(CreateAccountResult, CreateTransferResult);

/// Where a request stands in its chains.
#[derive(Default)]
pub(crate) struct Chain {
    start: Option<usize>,
    broken: bool,
}

/// What a chain says to an event before anything else is looked at (check 1).
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum ChainCheck {
    /// Go on with the other checks.
    Pass,
    /// The request ends within the chain.
    Open,
    /// An earlier event broke the chain.
    Failed,
}

impl Chain {
    #[inline]
    pub(crate) fn enter(
        &mut self,
        ledger: &mut Ledger,
        index: usize,
        linked: bool,
        last: bool,
        outcome: &Outcome,
    ) -> ChainCheck {
        if linked {
            if self.start.is_none() {
                self.start = Some(index);
                ledger.open_chain(outcome);
            }
            if last {
                return ChainCheck::Open;
            }
        }
        if self.broken {
            ChainCheck::Failed
        } else {
            ChainCheck::Pass
        }
    }

    /// After the event was decided. `Some(start)`: it broke its chain, whose changes were taken back; the replies of
    /// the events from `start` up to it are to be rewritten.
    #[inline]
    pub(crate) fn leave(
        &mut self,
        ledger: &mut Ledger,
        linked: bool,
        applied: bool,
        outcome: &mut Outcome,
    ) -> Option<usize> {
        let start = self.start?;
        let mut rewrite = None;
        if !applied && !self.broken {
            self.broken = true;
            ledger.drop_chain(outcome);
            rewrite = Some(start);
        }
        if !linked {
            if !self.broken {
                ledger.keep_chain();
            }
            *self = Self::default();
        }
        rewrite
    }
}

/// Walks the sparse metadata of a request beside its events.
pub(crate) struct MetadataCursor<'a> {
    rest: &'a [EventMetadata],
}

impl<'a> MetadataCursor<'a> {
    pub(crate) fn new(metadata: &'a [EventMetadata]) -> Self {
        Self { rest: metadata }
    }

    /// The metadata of the event; indexes must be asked for in rising order.
    #[inline]
    pub(crate) fn of(&mut self, index: usize) -> Option<&'a Sealed> {
        while let Some((first, rest)) = self.rest.split_first() {
            if first.index as usize > index {
                return None;
            }
            self.rest = rest;
            if first.index as usize == index {
                return Some(&first.sealed);
            }
        }
        None
    }
}
