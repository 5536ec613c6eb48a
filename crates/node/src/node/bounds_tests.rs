//! Bounds that change while requests are held back by them.

use super::Node;
use crate::{Bounds, NodeOptions, Request, RequestBody};
use ledger::{Account, AccountId, ActorId, Code, Events, LedgerId};
use std::sync::atomic::Ordering;
use std::time::Duration;

fn accounts() -> Request {
    let account = Account {
        id: AccountId(7),
        ledger: LedgerId(1),
        code: Code(1),
        ..Account::default()
    };
    Request {
        actor: ActorId(0),
        body: RequestBody::CreateAccounts(Events {
            events: vec![account],
            metadata: Vec::new(),
        }),
        deadline: None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bound_that_is_raised_lets_go_at_once_what_it_held_back() {
    let folder = tempfile::tempdir().unwrap();
    let options = NodeOptions {
        disk_reserve_bytes: 0,
        ..NodeOptions::new(folder.path())
    };
    let node = Node::open(&options, |_, _| {}).unwrap();
    let lag = options.index_lag_rows_max + 5;
    node.inner.shared.index_lag_rows.fetch_add(lag, Ordering::Relaxed);
    assert!(
        node.metrics_text()
            .contains(&format!("\nshanraq_index_lag_rows {lag}\n"))
    );
    let held = node.submit(accounts()).unwrap();
    // The second answer comes from a turn after the one that took the write in.
    for _ in 0..2 {
        assert!(node.accounts(vec![AccountId(7)]).await.unwrap().is_empty());
    }
    node.set_bounds(&Bounds {
        index_lag_rows_max: lag,
        ..Bounds::of(&options)
    });
    let answer = tokio::time::timeout(Duration::from_secs(60), held).await;
    answer.expect("it is looked at again").unwrap().unwrap();
    tokio::task::block_in_place(|| node.stop());
}
