//! Tables of checks, and what must hold for each row and each pair of rows.

use std::collections::BTreeMap;
use std::fmt::{Debug, Display};

/// What can be set about the state, the request and the event. What is not set is harmless.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// The event is linked and the request's last.
    LinkedLast,
    /// The event follows a linked one that failed.
    AfterFailure,
    /// The request's first event is imported.
    RequestImported,
    EventImported,
    Timestamp,
    ReservedFlag,
    Id,
    /// 1: the event was applied before; 2: its id is burnt.
    Stored,
    /// The event differs from the stored one in that field.
    DifferentFlags,
    DifferentPendingId,
    DifferentTimeout,
    DifferentDebit,
    DifferentCredit,
    DifferentAmount,
    DifferentUserData128,
    DifferentUserData64,
    DifferentUserData32,
    DifferentLedger,
    DifferentCode,
    DifferentMetadata,
    Debit,
    Credit,
    Amount,
    PendingId,
    Timeout,
    Ledger,
    Code,
    FlagPending,
    FlagClosing,
    /// Bits of flags that go with nothing.
    FlagExtra,
    /// Ledger of the credit account.
    CreditLedger,
    /// A transfer later than 1,500 was made.
    LateTransfer,
    DebitCreatedLate,
    CreditCreatedLate,
    DebitClosed,
    CreditClosed,
    /// 1: pending, 2: posted is almost 2^128.
    DebitBig,
    CreditBig,
    DebitLimited,
    CreditLimited,
    /// The clock is close to 2^63.
    EndOfTime,
    /// 1: posted, 2: voided, 3: released, 4: due and not yet released.
    Resolved,
    /// Of accounts.
    BothLimits,
    DebitsPending,
    DebitsPosted,
    CreditsPending,
    CreditsPosted,
}

/// What a row needs; two rows fit together when they need nothing different.
pub type Needs = BTreeMap<Key, i128>;

pub struct Row<C> {
    pub code: C,
    pub needs: Needs,
}

pub fn row<C>(code: C, needs: &[(Key, i128)]) -> Row<C> {
    Row {
        code,
        needs: needs.iter().copied().collect(),
    }
}

pub struct Report {
    pub pairs: usize,
}

/// Runs every row, and every pair of rows that fit together. The rows are in the order of the checks.
pub fn check<C: Copy + PartialEq + Debug + Display>(rows: &[Row<C>], run: impl Fn(&Needs) -> C) -> Report {
    let mut report = Report { pairs: 0 };
    for (index, first) in rows.iter().enumerate() {
        assert_eq!(run(&first.needs), first.code, "alone: {:?}", first.needs);
        for second in &rows[index + 1..] {
            let Some(both) = merge(&first.needs, &second.needs) else {
                continue;
            };
            let got = run(&both);
            assert_eq!(got, first.code, "{} before {}: {both:?}", first.code, second.code);
            report.pairs += 1;
        }
    }
    println!("{} rows, {} pairs", rows.len(), report.pairs);
    report
}

fn merge(first: &Needs, second: &Needs) -> Option<Needs> {
    let mut both = first.clone();
    for (key, value) in second {
        if *both.entry(*key).or_insert(*value) != *value {
            return None;
        }
    }
    Some(both)
}
