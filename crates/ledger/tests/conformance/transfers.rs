//! The table of plain and pending transfers, in the order of the checks.

use crate::table::{Key as K, Row, row};
use ledger::CreateTransferResult as R;

/// What the checks before step 6 need, for every kind of transfer.
pub fn common() -> Vec<Row<R>> {
    vec![
        row(R::LinkedEventChainOpen, &[(K::LinkedLast, 1)]),
        row(R::LinkedEventFailed, &[(K::AfterFailure, 1)]),
        row(
            R::ImportedEventExpected,
            &[(K::RequestImported, 1), (K::EventImported, 0)],
        ),
        row(
            R::ImportedEventNotExpected,
            &[(K::RequestImported, 0), (K::EventImported, 1)],
        ),
        row(
            R::TimestampMustBeZero,
            &[(K::RequestImported, 0), (K::EventImported, 0), (K::Timestamp, 7)],
        ),
        row(R::ImportedEventTimestampOutOfRange, &imported(1 << 63, &[])),
        row(R::ImportedEventTimestampOutOfRange, &imported(0, &[])),
        row(R::ImportedEventTimestampMustNotAdvance, &imported(-1, &[])),
        row(R::ReservedFlag, &[(K::ReservedFlag, 1)]),
        row(R::IdMustNotBeZero, &[(K::Id, 0)]),
        row(R::IdMustNotBeIntMax, &[(K::Id, -1)]),
    ]
}

pub fn imported(timestamp: i128, more: &[(K, i128)]) -> Vec<(K, i128)> {
    let mut needs = vec![
        (K::RequestImported, 1),
        (K::EventImported, 1),
        (K::Timestamp, timestamp),
    ];
    needs.extend(more);
    needs
}

/// The event is the one stored but for the field; `plain` are the values that the stored one was made with.
pub fn repeats(plain: &[(K, i128)]) -> Vec<Row<R>> {
    let differences = [
        (R::ExistsWithDifferentFlags, K::DifferentFlags),
        (R::ExistsWithDifferentPendingId, K::DifferentPendingId),
        (R::ExistsWithDifferentTimeout, K::DifferentTimeout),
        (R::ExistsWithDifferentDebitAccountId, K::DifferentDebit),
        (R::ExistsWithDifferentCreditAccountId, K::DifferentCredit),
        (R::ExistsWithDifferentAmount, K::DifferentAmount),
        (R::ExistsWithDifferentUserData128, K::DifferentUserData128),
        (R::ExistsWithDifferentUserData64, K::DifferentUserData64),
        (R::ExistsWithDifferentUserData32, K::DifferentUserData32),
        (R::ExistsWithDifferentLedger, K::DifferentLedger),
        (R::ExistsWithDifferentCode, K::DifferentCode),
        (R::ExistsWithDifferentMetadata, K::DifferentMetadata),
    ];
    let mut rows = Vec::new();
    for (code, difference) in differences {
        let mut needs = plain.to_vec();
        needs.extend([(K::Stored, 1), (difference, 1)]);
        rows.push(row(code, &needs));
    }
    let mut needs = plain.to_vec();
    needs.push((K::Stored, 1));
    rows.push(row(R::Exists, &needs));
    rows.push(row(R::IdAlreadyFailed, &[(K::Stored, 2)]));
    rows
}

pub fn rows() -> Vec<Row<R>> {
    let mut rows = common();
    rows.extend(repeats(&[
        (K::Debit, 1),
        (K::Credit, 2),
        (K::Amount, 10),
        (K::PendingId, 0),
        (K::Timeout, 0),
        (K::Ledger, 1),
        (K::Code, 1),
        (K::FlagClosing, 0),
        (K::CreditLedger, 1),
    ]));
    rows.extend([
        row(R::DebitAccountIdMustNotBeZero, &[(K::Debit, 0)]),
        row(R::DebitAccountIdMustNotBeIntMax, &[(K::Debit, -1)]),
        row(R::CreditAccountIdMustNotBeZero, &[(K::Credit, 0)]),
        row(R::CreditAccountIdMustNotBeIntMax, &[(K::Credit, -1)]),
        row(R::AccountsMustBeDifferent, &[(K::Debit, 1), (K::Credit, 1)]),
        row(R::AccountsMustBeDifferent, &[(K::Debit, 77), (K::Credit, 77)]),
        row(R::PendingIdMustBeZero, &[(K::PendingId, 5)]),
        row(
            R::TimeoutReservedForPendingTransfer,
            &[(K::Timeout, 1), (K::FlagPending, 0)],
        ),
        row(
            R::ClosingTransferMustBePending,
            &[(K::FlagClosing, 1), (K::FlagPending, 0)],
        ),
        row(
            R::ClosingTransferMustBePending,
            &[(K::FlagClosing, 2), (K::FlagPending, 0)],
        ),
        row(R::LedgerMustNotBeZero, &[(K::Ledger, 0)]),
        row(R::CodeMustNotBeZero, &[(K::Code, 0)]),
        row(R::DebitAccountNotFound, &[(K::Debit, 77)]),
        row(R::CreditAccountNotFound, &[(K::Credit, 78)]),
        row(
            R::AccountsMustHaveTheSameLedger,
            &[(K::Debit, 1), (K::Credit, 2), (K::CreditLedger, 2)],
        ),
        row(
            R::TransferMustHaveTheSameLedgerAsAccounts,
            &[(K::Debit, 1), (K::Credit, 2), (K::Ledger, 9)],
        ),
        row(
            R::ImportedEventTimestampMustNotRegress,
            &imported(1_500, &[(K::LateTransfer, 1), (K::Debit, 1), (K::Credit, 2)]),
        ),
        row(
            R::ImportedEventTimestampMustPostdateDebitAccount,
            &imported(1_500, &[(K::DebitCreatedLate, 1), (K::Debit, 1), (K::Credit, 2)]),
        ),
        row(
            R::ImportedEventTimestampMustPostdateCreditAccount,
            &imported(1_500, &[(K::CreditCreatedLate, 1), (K::Debit, 1), (K::Credit, 2)]),
        ),
        row(
            R::ImportedEventTimeoutMustBeZero,
            &imported(
                1_500,
                &[
                    (K::FlagPending, 1),
                    (K::Timeout, 1),
                    (K::Debit, 1),
                    (K::Credit, 2),
                ],
            ),
        ),
        row(
            R::DebitAccountAlreadyClosed,
            &[(K::DebitClosed, 1), (K::Debit, 1), (K::Credit, 2)],
        ),
        row(
            R::CreditAccountAlreadyClosed,
            &[(K::CreditClosed, 1), (K::Debit, 1), (K::Credit, 2)],
        ),
        row(R::OverflowsDebitsPending, &big(K::DebitBig, 1, 1)),
        row(R::OverflowsCreditsPending, &big(K::CreditBig, 1, 1)),
        row(R::OverflowsDebitsPosted, &big(K::DebitBig, 2, 0)),
        row(R::OverflowsDebitsPosted, &big(K::DebitBig, 2, 1)),
        row(R::OverflowsCreditsPosted, &big(K::CreditBig, 2, 0)),
        row(R::OverflowsCreditsPosted, &big(K::CreditBig, 2, 1)),
        row(R::OverflowsDebits, &big(K::DebitBig, 1, 0)),
        row(R::OverflowsCredits, &big(K::CreditBig, 1, 0)),
        row(
            R::OverflowsTimeout,
            &[
                (K::RequestImported, 0),
                (K::EventImported, 0),
                (K::EndOfTime, 1),
                (K::FlagPending, 1),
                (K::Timeout, u32::MAX.into()),
                (K::Debit, 1),
                (K::Credit, 2),
            ],
        ),
        row(
            R::ExceedsCredits,
            &[
                (K::DebitLimited, 1),
                (K::Debit, 1),
                (K::Credit, 2),
                (K::Amount, 10),
            ],
        ),
        row(
            R::ExceedsDebits,
            &[
                (K::CreditLimited, 1),
                (K::Debit, 1),
                (K::Credit, 2),
                (K::Amount, 10),
            ],
        ),
        row(R::Created, &[]),
        row(R::Created, &imported(1_500, &[])),
    ]);
    rows
}

/// An account with entries exists since before them, so it is never a late one.
fn big(key: K, which: i128, pending: i128) -> Vec<(K, i128)> {
    let late = if key == K::DebitBig {
        K::DebitCreatedLate
    } else {
        K::CreditCreatedLate
    };
    vec![
        (key, which),
        (K::FlagPending, pending),
        (K::Debit, 1),
        (K::Credit, 2),
        (K::Amount, 10),
        (K::CreditLedger, 1),
        (late, 0),
    ]
}
