//! What the sequencer holds back while the index is behind, turn by turn.

use super::*;
use crate::indexer::{Durable, hand_to_indexer};
use crate::recovery::{OpenJournal, Reading, recover};
use crate::shared::INDEX_BACKLOG_MAX;
use crate::{NodeOptions, Request, RequestBody};
use journal::Head;
use ledger::{
    Account, AccountId, ActorId, Amount, Code, Events, LedgerId, Outcome, RowNumber, TimestampNs, Transfer,
    TransferFlags, TransferId,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;
use storage::Storage;
use storage::faulty::FaultyStorage;

/// A clock that stands still until it is told.
struct Still(AtomicU64);

impl Clock for Still {
    fn now(&self) -> TimestampNs {
        TimestampNs(self.0.load(Ordering::Relaxed))
    }

    fn instant(&self) -> Instant {
        Instant::now()
    }
}

/// A sequencer whose blocks are durable as soon as they are sealed.
struct Stepped {
    shared: Shared,
    sequencer: SequencerLoop,
    clock: Still,
}

impl Stepped {
    fn new() -> Self {
        let storage: Arc<dyn Storage> = Arc::new(FaultyStorage::new(1));
        let options = NodeOptions::new("/data");
        let opened = OpenJournal::local(&storage, &options).unwrap();
        let (source, index) = (opened.source(), history::Options::default());
        let recovered = recover(storage, &options, &source, index, 1, Reading::Inline, |_, _| {}).unwrap();
        let (shared, clock) = (
            Shared::new(&options, &recovered),
            Still(AtomicU64::new(1_000_000_000)),
        );
        let (archive, height) = (recovered.reader.clone(), recovered.head.height);
        let sequencer = Sequencer::new(
            recovered.ledger,
            recovered.reader,
            height,
            recovered.snapshot_rows,
            &options,
        );
        Self {
            sequencer: SequencerLoop::begin(sequencer, archive, &clock).unwrap(),
            shared,
            clock,
        }
    }

    fn submit(&self, body: RequestBody) {
        let (actor, deadline) = (ActorId(0), None);
        let request = Request {
            actor,
            body,
            deadline,
        };
        drop(self.shared.inbox.submit(request).unwrap());
    }

    /// One turn; what the block that it sealed made, if it did.
    fn turn(&mut self) -> Option<Vec<Outcome>> {
        let turn = self
            .sequencer
            .turn(&self.shared, &self.clock, Some(Duration::ZERO));
        let batch = turn.unwrap().batch?;
        self.shared.inbox.committed(Committed {
            height: batch.height,
            draft: Draft::new(),
        });
        Some(batch.outcomes)
    }
}

fn accounts() -> RequestBody {
    let account = |id| Account {
        id: AccountId(id),
        ledger: LedgerId(1),
        code: Code(1),
        ..Account::default()
    };
    RequestBody::CreateAccounts(Events {
        events: vec![account(1), account(2)],
        metadata: Vec::new(),
    })
}

fn hold() -> RequestBody {
    let transfer = Transfer {
        id: TransferId(1),
        debit_account_id: AccountId(1),
        credit_account_id: AccountId(2),
        amount: Amount(5),
        timeout: 1,
        ledger: LedgerId(1),
        code: Code(1),
        flags: TransferFlags::PENDING,
        ..Transfer::default()
    };
    RequestBody::CreateTransfers(Events {
        events: vec![transfer],
        metadata: Vec::new(),
    })
}

#[test]
fn accounts_count_as_much_as_rows_for_what_the_index_is_behind() {
    let mut node = Stepped::new();
    node.submit(accounts());
    node.submit(hold());
    let outcomes = node.turn().expect("a block");
    let durable = Durable::new(&Head::default(), outcomes, RowNumber(1), None);
    let (indexer, _arrivals) = crossbeam_channel::unbounded();
    hand_to_indexer(durable, &indexer, &node.shared);
    let lag = node.shared.index_lag_rows.load(Ordering::Relaxed);
    assert_eq!(lag, 2 + 1, "two accounts and a row");
}

#[test]
fn holds_are_not_released_while_the_index_is_behind() {
    let mut node = Stepped::new();
    node.submit(accounts());
    node.submit(hold());
    node.turn().expect("a block");
    node.clock.0.fetch_add(2_000_000_000, Ordering::Relaxed);
    node.shared
        .index_backlog
        .store(INDEX_BACKLOG_MAX + 1, Ordering::Relaxed);
    assert!(
        node.turn().is_none(),
        "they would make the index fall further behind"
    );
    node.shared.index_backlog.store(0, Ordering::Relaxed);
    let outcomes = node.turn().expect("a block");
    assert_eq!(outcomes[0].expired, [TransferId(1)]);
}
