//! A node as its callers see it, on a real disk.

use history::{Filter, Order};
use ledger::{
    Account, AccountFlags, AccountId, ActorId, Amount, Code, CreateAccountResult, CreateTransferResult,
    EventMetadata, Events, Height, LedgerDescription, LedgerId, RowKind, TimestampNs, Transfer,
    TransferFlags, TransferId,
};
use node::{
    AccountEntries, Node, NodeError, NodeOptions, ReadError, Reply, Request, RequestBody, SubmitError,
    VerifyReport,
};
use std::path::Path;
use std::time::{Duration, Instant};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(60);

fn options(directory: &Path) -> NodeOptions {
    NodeOptions {
        snapshot_rows: 100,
        index_flush_rows: 64,
        segment_bytes: 1 << 20,
        disk_reserve_bytes: 0,
        ..NodeOptions::new(directory)
    }
}

fn open(directory: &Path) -> Node {
    Node::open(&options(directory), |_, _| {}).expect("the node opens")
}

fn account(id: u128) -> Account {
    Account {
        id: AccountId(id),
        ledger: LedgerId(1),
        code: Code(10),
        ..Account::default()
    }
}

fn transfer(id: u128, amount: u128) -> Transfer {
    Transfer {
        id: TransferId(id),
        debit_account_id: AccountId(1),
        credit_account_id: AccountId(2),
        amount: Amount(amount),
        ledger: LedgerId(1),
        code: Code(1),
        ..Transfer::default()
    }
}

fn request(body: RequestBody) -> Request {
    Request {
        actor: ActorId(0),
        body,
        deadline: None,
    }
}

fn accounts(events: Vec<Account>) -> Request {
    request(RequestBody::CreateAccounts(Events {
        events,
        metadata: Vec::new(),
    }))
}

fn transfers(events: Vec<Transfer>) -> Request {
    request(RequestBody::CreateTransfers(Events {
        events,
        metadata: Vec::new(),
    }))
}

async fn results(node: &Node, events: Vec<Transfer>) -> Vec<CreateTransferResult> {
    match node.call(transfers(events)).await.expect("an answer") {
        Reply::Transfers(replies) => replies.into_iter().map(|reply| reply.result).collect(),
        other => panic!("{other:?}"),
    }
}

async fn with_accounts(directory: &Path) -> Node {
    let node = open(directory);
    match node
        .call(accounts(vec![account(1), account(2)]))
        .await
        .expect("an answer")
    {
        Reply::Accounts(replies) => {
            assert!(
                replies
                    .iter()
                    .all(|reply| reply.result == CreateAccountResult::Created)
            );
        }
        other => panic!("{other:?}"),
    }
    node
}

async fn posted(node: &Node) -> (u128, u128) {
    let found = node
        .accounts(vec![AccountId(1), AccountId(2)])
        .await
        .expect("accounts");
    (
        found[0].account.balances.debits_posted.0,
        found[1].account.balances.credits_posted.0,
    )
}

fn stop(node: &Node) {
    tokio::task::block_in_place(|| node.stop());
}

fn verify(directory: &Path) -> VerifyReport {
    node::verify(&options(directory), |_, _, _| {}).expect("verification runs")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_answered_is_there_after_a_restart_and_verifies() {
    let directory = TempDir::new().unwrap();
    let node = with_accounts(directory.path()).await;
    for batch in 0..20_u128 {
        let events = (0..40).map(|i| transfer(1 + batch * 40 + i, 3)).collect();
        assert!(
            results(&node, events)
                .await
                .iter()
                .all(|result| *result == CreateTransferResult::Created)
        );
    }
    assert_eq!(posted(&node).await, (2_400, 2_400));
    stop(&node);
    let node = open(directory.path());
    assert_eq!(posted(&node).await, (2_400, 2_400));
    assert_eq!(
        results(&node, vec![transfer(7, 3), transfer(7, 4)]).await,
        [
            CreateTransferResult::Exists,
            CreateTransferResult::ExistsWithDifferentAmount
        ]
    );
    let found = node
        .transfers(vec![TransferId(800), TransferId(801), TransferId(1)])
        .await
        .unwrap();
    assert_eq!(
        found
            .iter()
            .map(|view| view.row.transfer.id.0)
            .collect::<Vec<_>>(),
        [800, 1]
    );
    stop(&node);
    let report = verify(directory.path());
    assert!(report.is_ok(), "{:?}", report.problems);
    assert_eq!((report.accounts, report.rows, report.index_rows), (2, 800, 800));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_never_stopped_comes_back_with_all_it_answered() {
    let directory = TempDir::new().unwrap();
    let copy = TempDir::new().unwrap();
    let node = with_accounts(directory.path()).await;
    let events = (1..=500).map(|id| transfer(id, 2)).collect();
    results(&node, events).await;
    // What a power loss would leave at the least: everything answered was synced before.
    copy_directory(directory.path(), copy.path());
    let again = open(copy.path());
    assert_eq!(posted(&again).await, (1_000, 1_000));
    stop(&again);
    stop(&node);
}

#[tokio::test(flavor = "multi_thread")]
async fn history_and_snapshots_are_made_anew_when_they_are_gone_or_damaged() {
    let directory = TempDir::new().unwrap();
    let node = with_accounts(directory.path()).await;
    for batch in 0..10_u128 {
        results(&node, (0..50).map(|i| transfer(1 + batch * 50 + i, 1)).collect()).await;
    }
    stop(&node);
    std::fs::remove_dir_all(directory.path().join("history")).unwrap();
    for entry in std::fs::read_dir(directory.path().join("snapshots")).unwrap() {
        let path = entry.unwrap().path();
        let mut bytes = std::fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&path, bytes).unwrap();
    }
    let node = open(directory.path());
    assert_eq!(posted(&node).await, (500, 500));
    let filter = Filter {
        limit: 8_190,
        order: Order::OldestFirst,
        ..Filter::default()
    };
    let page = node.query_transfers(None, filter).await.unwrap();
    assert_eq!(page.items.len(), 500);
    assert!(
        page.items
            .windows(2)
            .all(|pair| pair[0].row.transfer.timestamp < pair[1].row.transfer.timestamp)
    );
    stop(&node);
    assert!(verify(directory.path()).is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pending_transfer_is_released_when_it_is_due_and_history_shows_it() {
    let directory = TempDir::new().unwrap();
    let node = with_accounts(directory.path()).await;
    let pending = Transfer {
        flags: TransferFlags::PENDING,
        timeout: 1,
        ..transfer(1, 70)
    };
    results(&node, vec![pending]).await;
    let deadline = Instant::now() + PATIENCE;
    loop {
        let found = node.accounts(vec![AccountId(1)]).await.unwrap();
        if found[0].account.balances.debits_pending == Amount(0) {
            break;
        }
        assert!(
            Instant::now() < deadline,
            "the pending transfer was never released"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let entries = Some(AccountEntries {
        account: AccountId(1),
        debits: true,
        credits: false,
    });
    let page = node
        .query_transfers(
            entries,
            Filter {
                limit: 10,
                ..Filter::default()
            },
        )
        .await
        .unwrap();
    assert_eq!(
        page.items.iter().map(|view| view.row.kind).collect::<Vec<_>>(),
        [RowKind::Expired, RowKind::Applied]
    );
    let post = Transfer {
        flags: TransferFlags::POST_PENDING_TRANSFER,
        pending_id: TransferId(1),
        amount: Amount::ALL,
        ..Transfer::default()
    };
    let results = results(
        &node,
        vec![Transfer {
            id: TransferId(2),
            ..post
        }],
    )
    .await;
    assert_eq!(results, [CreateTransferResult::PendingTransferExpired]);
    stop(&node);
    assert!(verify(directory.path()).is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn balances_are_known_as_of_any_time() {
    let directory = TempDir::new().unwrap();
    let node = with_accounts(directory.path()).await;
    let mut stamps = Vec::new();
    for id in 1..=200 {
        match node.call(transfers(vec![transfer(id, 1)])).await.unwrap() {
            Reply::Transfers(replies) => stamps.push(replies[0].timestamp),
            other => panic!("{other:?}"),
        }
    }
    for (index, stamp) in stamps.iter().enumerate() {
        let at = node.balance_at(AccountId(1), *stamp).await.unwrap();
        assert_eq!(
            (at.timestamp, at.balances.debits_posted),
            (*stamp, Amount(index as u128 + 1))
        );
    }
    let before = node
        .balance_at(AccountId(2), TimestampNs(stamps[0].0 - 1))
        .await
        .unwrap();
    assert_eq!(before, node::BalanceAt::default());
    let missing = node.balance_at(AccountId(99), stamps[0]).await;
    assert_eq!(missing, Err(ReadError::NoAccount(AccountId(99))));
    stop(&node);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_refuses_with_a_delay_and_does_nothing() {
    let directory = TempDir::new().unwrap();
    let options = NodeOptions {
        queue_requests_max: 4,
        queue_events_max: 8,
        ..options(directory.path())
    };
    let node = Node::open(&options, |_, _| {}).unwrap();
    node.call(accounts(vec![account(1), account(2)])).await.unwrap();
    let mut refused = Vec::new();
    let mut answers = Vec::new();
    let deadline = Instant::now() + PATIENCE;
    let mut id = 0;
    while refused.is_empty() {
        assert!(Instant::now() < deadline, "four places were never full");
        id += 1;
        match node.submit(transfers(vec![transfer(id, 1)])) {
            Ok(receiver) => answers.push(receiver),
            Err(SubmitError::Overloaded { retry_after }) => {
                assert!(retry_after > Duration::ZERO);
                refused.push(TransferId(id));
            }
            Err(other) => panic!("{other:?}"),
        }
    }
    let taken = answers.len() as u128;
    for answer in answers {
        assert!(answer.await.unwrap().is_ok());
    }
    assert!(node.transfers(refused).await.unwrap().is_empty());
    assert_eq!(posted(&node).await, (taken, taken));
    stop(&node);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_that_passed_before_the_request_was_taken_up_does_nothing() {
    let directory = TempDir::new().unwrap();
    let node = with_accounts(directory.path()).await;
    let late = Request {
        deadline: Some(Instant::now()),
        ..transfers(vec![transfer(1, 1)])
    };
    let receiver = node.submit(late).unwrap();
    assert_eq!(receiver.await.unwrap().unwrap_err(), SubmitError::Expired);
    assert_eq!(posted(&node).await, (0, 0));
    stop(&node);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_answers_everything_taken_in_and_refuses_the_rest() {
    let directory = TempDir::new().unwrap();
    let node = with_accounts(directory.path()).await;
    let answers: Vec<_> = (1..=300)
        .map(|id| node.submit(transfers(vec![transfer(id, 1)])).unwrap())
        .collect();
    stop(&node);
    for answer in answers {
        assert!(matches!(answer.await.unwrap().unwrap(), Reply::Transfers(_)));
    }
    let refused = node.submit(transfers(vec![transfer(999, 1)]));
    assert!(matches!(refused, Err(SubmitError::Unavailable { .. })));
    let again = open(directory.path());
    assert_eq!(posted(&again).await, (300, 300));
    stop(&again);
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_are_refused_and_reads_go_on_while_there_is_no_room() {
    let directory = TempDir::new().unwrap();
    let node = with_accounts(directory.path()).await;
    results(&node, vec![transfer(1, 5)]).await;
    stop(&node);
    let options = NodeOptions {
        disk_reserve_bytes: u64::MAX,
        ..options(directory.path())
    };
    let node = Node::open(&options, |_, _| {}).unwrap();
    let deadline = Instant::now() + PATIENCE;
    while node.status().writable {
        assert!(Instant::now() < deadline, "the want of room was never seen");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let refused = node.submit(transfers(vec![transfer(2, 1)]));
    assert!(
        matches!(refused, Err(SubmitError::StorageFull { .. })),
        "{refused:?}"
    );
    assert_eq!(posted(&node).await, (5, 5));
    stop(&node);
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_comes_back_and_is_not_on_the_disk_in_clear() {
    let directory = TempDir::new().unwrap();
    let node = with_accounts(directory.path()).await;
    let secret = br#"{"holder":"Aruzhan Secretova"}"#;
    let sealed = node.seal_metadata(secret);
    let metadata = vec![EventMetadata { index: 0, sealed }];
    let events = Events {
        events: vec![transfer(1, 1)],
        metadata: metadata.clone(),
    };
    node.call(request(RequestBody::CreateTransfers(events.clone())))
        .await
        .unwrap();
    let account = Events {
        events: vec![account(3)],
        metadata,
    };
    node.call(request(RequestBody::CreateAccounts(account)))
        .await
        .unwrap();
    assert_eq!(
        node.transfers(vec![TransferId(1)]).await.unwrap()[0]
            .metadata
            .as_deref(),
        Some(&secret[..])
    );
    assert_eq!(
        node.accounts(vec![AccountId(3)]).await.unwrap()[0]
            .metadata
            .as_deref(),
        Some(&secret[..])
    );
    let different = Events {
        metadata: Vec::new(),
        ..events
    };
    match node
        .call(request(RequestBody::CreateTransfers(different)))
        .await
        .unwrap()
    {
        Reply::Transfers(replies) => {
            assert_eq!(
                replies[0].result,
                CreateTransferResult::ExistsWithDifferentMetadata
            );
        }
        other => panic!("{other:?}"),
    }
    stop(&node);
    for file in files_below(directory.path()) {
        let bytes = std::fs::read(&file).unwrap();
        let found = bytes.windows(9).any(|window| window == b"Secretova");
        assert!(!found, "{} holds plaintext", file.display());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_feed_gives_every_block_from_any_height_and_then_new_ones() {
    let directory = TempDir::new().unwrap();
    let node = with_accounts(directory.path()).await;
    results(&node, vec![transfer(1, 1)]).await;
    let mut feed = node.feed(Height(0));
    let mut previous = journal::BlockHash::default();
    for height in 1..=node.status().height.0 {
        let block = feed.next().await.unwrap().unwrap();
        assert_eq!((block.height, block.previous), (Height(height), previous));
        previous = block.hash;
    }
    let waiting = tokio::spawn(async move { feed.next().await });
    results(&node, vec![transfer(2, 1)]).await;
    assert_eq!(waiting.await.unwrap().unwrap().unwrap().previous, previous);
    stop(&node);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trial_balance_adds_up_by_code_and_names_the_ledger() {
    let directory = TempDir::new().unwrap();
    let node = with_accounts(directory.path()).await;
    let description = LedgerDescription {
        ledger: LedgerId(1),
        name: "tenge".to_owned(),
        currency: "KZT".to_owned(),
        scale: 2,
    };
    node.call(request(RequestBody::DescribeLedger(description.clone())))
        .await
        .unwrap();
    let other = Account {
        code: Code(20),
        flags: AccountFlags::DEBITS_MUST_NOT_EXCEED_CREDITS,
        ..account(3)
    };
    node.call(accounts(vec![other])).await.unwrap();
    results(
        &node,
        vec![
            transfer(1, 9),
            Transfer {
                credit_account_id: AccountId(3),
                ..transfer(2, 4)
            },
        ],
    )
    .await;
    let trial = node.trial_balance(LedgerId(1)).await.unwrap();
    assert_eq!((trial.description, trial.accounts), (description, 3));
    assert_eq!(
        (trial.totals.debits_posted, trial.totals.credits_posted),
        (Amount(13), Amount(13))
    );
    let lines: Vec<_> = trial
        .by_code
        .iter()
        .map(|line| (line.code.0, line.balances.credits_posted.0))
        .collect();
    assert_eq!(lines, [(10, 9), (20, 4)]);
    assert_eq!(node.trial_balance(LedgerId(9)).await.unwrap().accounts, 0);
    stop(&node);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_node_on_the_directory_is_refused() {
    let directory = TempDir::new().unwrap();
    let node = with_accounts(directory.path()).await;
    let second = Node::open(&options(directory.path()), |_, _| {});
    assert!(matches!(second.err(), Some(NodeError::Locked { .. })));
    assert!(matches!(
        node::verify(&options(directory.path()), |_, _, _| {}),
        Err(NodeError::Locked { .. })
    ));
    stop(&node);
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_finds_a_flipped_bit_in_any_block_and_a_node_refuses_to_start_on_it() {
    let directory = TempDir::new().unwrap();
    let node = with_accounts(directory.path()).await;
    for id in 1..=10 {
        results(&node, vec![transfer(id, 1)]).await;
    }
    stop(&node);
    let segment = files_below(&directory.path().join("journal"))
        .into_iter()
        .find(|path| path.extension().is_some_and(|extension| extension == "segment"))
        .expect("a segment");
    let sound = std::fs::read(&segment).unwrap();
    for block in 0..node.status().height.0 as usize {
        let mut bytes = sound.clone();
        bytes[block * 4_096 + 200] ^= 4;
        std::fs::write(&segment, bytes).unwrap();
        let report = verify(directory.path());
        assert!(!report.is_ok(), "block {} is damaged", block + 1);
        assert!(
            report.problems[0].contains(&format!("height {}", block + 1)),
            "{:?}",
            report.problems
        );
    }
    let refused = Node::open(&options(directory.path()), |_, _| {})
        .err()
        .expect("the node refuses to start");
    assert!(refused.to_string().contains("segment"), "{refused}");
}

fn copy_directory(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            std::fs::create_dir_all(&target).unwrap();
            copy_directory(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), &target).unwrap();
        }
    }
}

fn files_below(directory: &Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            files.extend(files_below(&entry.path()));
        } else {
            files.push(entry.path());
        }
    }
    files.sort();
    files
}

/// Each process makes fewer rows than a snapshot waits for; all of them together make more.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_ends_often_does_not_replay_ever_more() {
    let directory = TempDir::new().expect("a directory");
    let mut node = with_accounts(directory.path()).await;
    for start in 0..8_u128 {
        let events: Vec<Transfer> = (0..60).map(|n| transfer(1_000 + start * 60 + n, 1)).collect();
        results(&node, events).await;
        stop(&node);
        drop(node);
        node = open(directory.path());
    }
    stop(&node);
    drop(node);
    let mut replayed = Vec::new();
    let node =
        Node::open(&options(directory.path()), |height, _| replayed.push(height)).expect("the node opens");
    let height = node.status().height;
    assert!(
        replayed.len() as u64 <= height.0 / 2,
        "{replayed:?} of {height:?}"
    );
    assert_eq!(posted(&node).await, (480, 480));
    stop(&node);
}
