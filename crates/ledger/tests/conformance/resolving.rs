//! The table of posts and voids, in the order of the checks.

use crate::table::{Key as K, Row, row};
use crate::transfers::{common, imported, repeats};
use crate::world::{Kind, PENDING_ID, PLAIN_ID};
use ledger::{CreateTransferResult as R, TransferFlags};

fn extra(flags: TransferFlags) -> Vec<(K, i128)> {
    vec![(K::FlagExtra, flags.bits().into())]
}

pub fn rows(kind: Kind) -> Vec<Row<R>> {
    let post = kind == Kind::Post;
    let other = if post {
        TransferFlags::VOID_PENDING_TRANSFER
    } else {
        TransferFlags::POST_PENDING_TRANSFER
    };
    let mut rows = common();
    rows.extend(repeats(&[
        (K::Debit, 0),
        (K::Credit, 0),
        (K::Amount, -2),
        (K::PendingId, PENDING_ID),
        (K::Timeout, 0),
        (K::Ledger, 0),
        (K::Code, 0),
        (K::FlagExtra, 0),
        (K::Resolved, 0),
        (K::DebitClosed, 0),
        (K::CreditClosed, 0),
    ]));
    rows.extend([
        row(R::FlagsAreMutuallyExclusive, &extra(other)),
        row(R::FlagsAreMutuallyExclusive, &extra(TransferFlags::PENDING)),
        row(
            R::FlagsAreMutuallyExclusive,
            &extra(TransferFlags::BALANCING_DEBIT),
        ),
        row(
            R::FlagsAreMutuallyExclusive,
            &extra(TransferFlags::BALANCING_CREDIT),
        ),
        row(R::FlagsAreMutuallyExclusive, &extra(TransferFlags::CLOSING_DEBIT)),
        row(
            R::FlagsAreMutuallyExclusive,
            &extra(TransferFlags::CLOSING_CREDIT),
        ),
        row(R::PendingIdMustNotBeZero, &[(K::PendingId, 0)]),
        row(R::PendingIdMustNotBeIntMax, &[(K::PendingId, -1)]),
        row(
            R::PendingIdMustBeDifferent,
            &[(K::Id, 1_000), (K::PendingId, 1_000)],
        ),
        row(R::TimeoutReservedForPendingTransfer, &[(K::Timeout, 1)]),
        row(R::PendingTransferNotFound, &[(K::PendingId, 999)]),
        row(R::PendingTransferNotPending, &[(K::PendingId, PLAIN_ID)]),
        row(
            R::PendingTransferHasDifferentDebitAccountId,
            &[(K::Debit, 3), (K::PendingId, PENDING_ID)],
        ),
        row(
            R::PendingTransferHasDifferentCreditAccountId,
            &[(K::Credit, 3), (K::PendingId, PENDING_ID)],
        ),
        row(
            R::PendingTransferHasDifferentLedger,
            &[(K::Ledger, 9), (K::PendingId, PENDING_ID)],
        ),
        row(
            R::PendingTransferHasDifferentCode,
            &[(K::Code, 9), (K::PendingId, PENDING_ID)],
        ),
        row(
            R::ExceedsPendingTransferAmount,
            &[(K::Amount, 101), (K::PendingId, PENDING_ID)],
        ),
    ]);
    if !post {
        rows.push(row(
            R::PendingTransferHasDifferentAmount,
            &[(K::Amount, 99), (K::PendingId, PENDING_ID)],
        ));
    }
    rows.extend([
        row(R::PendingTransferAlreadyPosted, &resolved(1)),
        row(R::PendingTransferAlreadyVoided, &resolved(2)),
        row(R::PendingTransferExpired, &resolved(3)),
        row(R::PendingTransferExpired, &resolved(4)),
        row(
            R::ImportedEventTimestampMustNotRegress,
            &imported(1_500, &[(K::LateTransfer, 1), (K::PendingId, PENDING_ID)]),
        ),
    ]);
    if post {
        rows.extend([
            row(
                R::DebitAccountAlreadyClosed,
                &[(K::DebitClosed, 1), (K::PendingId, PENDING_ID)],
            ),
            row(
                R::CreditAccountAlreadyClosed,
                &[(K::CreditClosed, 1), (K::PendingId, PENDING_ID)],
            ),
        ]);
    } else {
        rows.extend([
            row(R::Created, &[(K::DebitClosed, 1), (K::PendingId, PENDING_ID)]),
            row(R::Created, &[(K::CreditClosed, 1), (K::PendingId, PENDING_ID)]),
        ]);
    }
    rows.push(row(R::Created, &[]));
    rows.push(row(R::Created, &imported(1_500, &[])));
    rows
}

/// The clock runs past the due time, which leaves no room for the other times of an imported event.
fn resolved(how: i128) -> Vec<(K, i128)> {
    vec![(K::Resolved, how), (K::PendingId, PENDING_ID)]
}
