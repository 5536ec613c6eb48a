//! Release of pending transfers that are due (pure). A logged event, so that replay releases the same ones.

use crate::{Amount, Ledger, Outcome, Row, RowKind, TimestampNs, Transfer, TransferId};

impl Ledger {
    /// Releases those that are due at `base`, by (due, id), at most `limit`; returns how many.
    /// Each gets its own timestamp.
    pub(crate) fn expire_pending(&mut self, base: TimestampNs, limit: u32, outcome: &mut Outcome) -> usize {
        let mut count = 0;
        while count < limit as usize
            && let Some(id) = self.pendings.first_due(base)
        {
            let timestamp = TimestampNs(base.0 + count as u64);
            self.expire(id, timestamp, outcome);
            outcome.expired.push(id);
            count += 1;
        }
        count
    }

    fn expire(&mut self, id: TransferId, timestamp: TimestampNs, outcome: &mut Outcome) {
        let Some(&open) = self.pendings.get(id) else {
            panic!("transfer {id} is due but not open")
        };
        let (debit_balances, credit_balances) = self.release(id, Amount(0));
        let (debit, credit) = (open.debit, open.credit);
        let transfer = Transfer {
            id: TransferId(0),
            pending_id: id,
            timestamp,
            ..open.transfer
        };
        let row = Row {
            kind: RowKind::Expired,
            transfer,
            debit,
            credit,
            debit_balances,
            credit_balances,
        };
        self.push_row(row, None, outcome);
    }
}
