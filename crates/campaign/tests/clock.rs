//! The check of timestamps must see one that is ahead of the campaign's clock, and no other.

use campaign::history::{Call, Heard, Moment, Violation, check_clock};
use ledger::{Balances, CreateTransferResult, TimestampNs, Transfer, TransferId, TransferReply};

const SECOND: u64 = 1_000_000_000;
/// When the round began.
const BEGUN: TimestampNs = TimestampNs(10_000 * SECOND);

/// An answer that came that many seconds after the round began, with a timestamp.
fn answered(id: u128, after_s: u64, timestamp: u64) -> Call {
    Call {
        transfer: Transfer {
            id: TransferId(id),
            ..Transfer::default()
        },
        begun: Moment((after_s - 1) * SECOND),
        ended: Moment(after_s * SECOND),
        heard: Heard::Reply(TransferReply {
            result: CreateTransferResult::Created,
            timestamp: TimestampNs(timestamp),
            debit: Balances::default(),
            credit: Balances::default(),
        }),
        may_have_repeated: false,
        chain: None,
    }
}

#[test]
fn answers_that_were_stamped_before_they_came_or_a_little_later_are_as_they_should_be() {
    let calls = [
        answered(1, 5, BEGUN.0 + 4 * SECOND),
        answered(2, 5, BEGUN.0 + 6 * SECOND),
        answered(3, 5, BEGUN.0 - 3_600 * SECOND),
        Call {
            heard: Heard::Nothing,
            ..answered(4, 5, 0)
        },
    ];
    assert_eq!(check_clock(&calls, BEGUN), []);
}

#[test]
fn an_answer_that_was_stamped_an_hour_ahead_or_just_too_far_is_found() {
    let calls = [
        answered(1, 5, BEGUN.0 + 5 * SECOND),
        answered(2, 5, BEGUN.0 + 3_606 * SECOND),
        answered(3, 5, BEGUN.0 + 6 * SECOND + 1),
    ];
    let stamped = |id, by_ms| Violation::StampedAhead {
        id: TransferId(id),
        by_ms,
    };
    assert_eq!(check_clock(&calls, BEGUN), [stamped(2, 3_600_000), stamped(3, 1)]);
}
