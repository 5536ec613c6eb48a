//! The client against a real node, through a proxy that can lose answers and cut connections.

use api::ApiConfig;
use client::{Change, Client, Error, Options, Query, Sides};
use ledger::{
    Account, AccountId, Amount, Code, CreateAccountResult, CreateTransferResult, DescribeLedgerResult,
    Height, LedgerDescription, LedgerId, Posting, Side, TransactionHead, TransactionOutcome, Transfer,
    TransferFlags, TransferId,
};
use node::{Node, NodeOptions};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What the proxy does with what the server says.
#[derive(Clone, Copy, PartialEq)]
enum Mode {
    Pass,
    /// Requests arrive, answers are lost.
    Mute,
    /// Nothing gets through, and open connections break.
    Cut,
}

struct Setup {
    node: Node,
    client: Client,
    endpoint: String,
    proxy: watch::Sender<Mode>,
    connections: watch::Receiver<usize>,
    _directory: TempDir,
}

impl Drop for Setup {
    fn drop(&mut self) {
        // Before the directory goes away under it.
        self.node.stop();
    }
}

impl Setup {
    async fn new(timeout: Duration) -> Self {
        Self::with(timeout, |_| {}).await
    }

    async fn with(timeout: Duration, change: impl FnOnce(&mut NodeOptions)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut options = NodeOptions::new(directory.path());
        options.disk_reserve_bytes = 1 << 20;
        // Every node writes its first segments out in full: small ones keep many tests from waiting for one disk.
        options.segment_bytes = 1 << 20;
        change(&mut options);
        let node = Node::open(&options, |_, _| {}).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = listener.local_addr().unwrap();
        tokio::spawn(api::serve(
            node.clone(),
            listener,
            ApiConfig::default(),
            std::future::pending(),
        ));
        let (proxy, mode) = watch::channel(Mode::Pass);
        let (address, connections) = start_proxy(server, mode).await;
        let endpoint = format!("http://{address}");
        let options = Options {
            timeout,
            ..Options::default()
        };
        let client = Client::connect_with(&endpoint, options).await.unwrap();
        Self {
            node,
            client,
            endpoint,
            proxy,
            connections,
            _directory: directory,
        }
    }

    async fn with_accounts(timeout: Duration) -> Self {
        let setup = Self::new(timeout).await;
        let replies = setup
            .client
            .submit_accounts((1..=3).map(account).collect())
            .await
            .unwrap();
        assert!(
            replies
                .iter()
                .all(|reply| reply.result == CreateAccountResult::Created)
        );
        setup
    }

    /// A client that has never been connected.
    async fn stranger(&self, timeout: Duration) -> Client {
        let options = Options {
            timeout,
            ..Options::default()
        };
        Client::connect_with(&self.endpoint, options).await.unwrap()
    }

    /// Breaks every connection, and lets new ones through if `then` says so.
    async fn cut(&mut self, then: Mode) {
        self.proxy.send_replace(Mode::Cut);
        self.connections.wait_for(|open| *open == 0).await.unwrap();
        self.proxy.send_replace(then);
    }

    /// Waits until the node has applied the transfer, whatever the client heard.
    async fn applied(&self, id: u128) {
        while self
            .node
            .transfers(vec![TransferId(id)])
            .await
            .unwrap()
            .is_empty()
        {
            tokio::task::yield_now().await;
        }
    }
}

async fn start_proxy(
    server: SocketAddr,
    mode: watch::Receiver<Mode>,
) -> (SocketAddr, watch::Receiver<usize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (count, connections) = watch::channel(0);
    let count = Arc::new(count);
    tokio::spawn(async move {
        loop {
            let (client, _) = listener.accept().await.unwrap();
            let (mode, count) = (mode.clone(), count.clone());
            if *mode.borrow() == Mode::Cut {
                continue;
            }
            count.send_modify(|open| *open += 1);
            tokio::spawn(async move {
                carry(client, server, mode).await;
                count.send_modify(|open| *open -= 1);
            });
        }
    });
    (address, connections)
}

async fn carry(client: TcpStream, server: SocketAddr, mut mode: watch::Receiver<Mode>) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = TcpStream::connect(server).await.unwrap().into_split();
    let forth = async {
        tokio::io::copy(&mut from_client, &mut to_server)
            .await
            .map(|_| ())
    };
    let heard = mode.clone();
    let back = async {
        let mut buffer = vec![0; 1 << 16];
        loop {
            let count = from_server.read(&mut buffer).await?;
            if count == 0 {
                return std::io::Result::Ok(());
            }
            if *heard.borrow() == Mode::Pass {
                to_client.write_all(&buffer[..count]).await?;
            }
        }
    };
    tokio::select! {
        _ = forth => {}
        _ = back => {}
        _ = mode.wait_for(|mode| *mode == Mode::Cut) => {}
    }
}

fn account(id: u128) -> Account {
    Account {
        id: AccountId(id),
        ledger: LedgerId(1),
        code: Code(1),
        ..Account::default()
    }
}

fn transfer(id: u128) -> Transfer {
    Transfer {
        id: TransferId(id),
        debit_account_id: AccountId(1),
        credit_account_id: AccountId(2),
        amount: Amount(1),
        ledger: LedgerId(1),
        code: Code(1),
        ..Transfer::default()
    }
}

/// Longer than a busy machine's disk was seen to stand still.
const LONG: Duration = Duration::from_secs(280);
const SHORT: Duration = Duration::from_millis(300);

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_calls_share_requests_and_each_gets_its_own_answer() {
    let setup = Setup::with_accounts(LONG).await;
    let calls = (1..=2_000u128).map(|id| {
        let client = setup.client.clone();
        // Every tenth names an account that is not there.
        let debit = if id % 10 == 0 { 99 } else { 1 };
        tokio::spawn(async move {
            let asked = Transfer {
                debit_account_id: AccountId(debit),
                ..transfer(id)
            };
            (id, client.transfer(asked).await.unwrap().result)
        })
    });
    for call in calls.collect::<Vec<_>>() {
        let (id, result) = call.await.unwrap();
        let missing = id % 10 == 0;
        let expected = if missing {
            CreateTransferResult::DebitAccountNotFound
        } else {
            CreateTransferResult::Created
        };
        assert_eq!(result, expected, "transfer {id}");
    }
    let balances = setup.client.balance(AccountId(2), None).await.unwrap();
    assert_eq!(balances.credits_posted, Amount(1_800));
    let blocks = setup.node.status().height.0;
    assert!(
        blocks < 1_000,
        "2000 calls made {blocks} blocks: they did not share requests"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transfer_whose_answer_was_lost_is_done_once_and_reported_as_done() {
    let mut setup = Setup::with_accounts(LONG).await;
    setup.proxy.send_replace(Mode::Mute);
    let call = tokio::spawn({
        let client = setup.client.clone();
        async move { client.transfer(transfer(7)).await }
    });
    setup.applied(7).await;
    setup.cut(Mode::Pass).await;
    let reply = call.await.unwrap().unwrap();
    assert_eq!(reply.result, CreateTransferResult::Exists);
    assert_eq!(reply.credit.credits_posted, Amount(1));
    assert_eq!(
        setup
            .client
            .balance(AccountId(2), None)
            .await
            .unwrap()
            .credits_posted,
        Amount(1)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_whose_answer_was_lost_is_reported_as_done_with_all_its_events() {
    let mut setup = Setup::with_accounts(LONG).await;
    let linked = |id| Transfer {
        flags: TransferFlags::LINKED,
        ..transfer(id)
    };
    setup.proxy.send_replace(Mode::Mute);
    let call = tokio::spawn({
        let client = setup.client.clone();
        async move {
            client
                .submit_transfers(vec![transfer(10), linked(11), linked(12), transfer(13)])
                .await
        }
    });
    setup.applied(13).await;
    setup.cut(Mode::Pass).await;
    let replies = call.await.unwrap().unwrap();
    let stored = setup
        .client
        .lookup_transfers(&[10, 11, 12, 13].map(TransferId))
        .await
        .unwrap();
    for (reply, record) in replies.iter().zip(&stored) {
        assert_eq!(reply.result, CreateTransferResult::Exists);
        assert_eq!(reply.timestamp, record.transfer.timestamp);
        assert_eq!(reply.credit.credits_posted, Amount(4));
    }
    assert_eq!((replies.len(), stored.len()), (4, 4));
}

#[tokio::test(flavor = "multi_thread")]
async fn past_the_deadline_a_sent_transfer_is_unknown_and_one_that_never_left_is_not_done() {
    let mut setup = Setup::with_accounts(LONG).await;
    let hasty = setup.client.with_timeout(SHORT);
    setup.proxy.send_replace(Mode::Mute);
    assert_eq!(hasty.transfer(transfer(1)).await, Err(Error::Unknown));
    assert_eq!(
        hasty.submit_transfers(vec![transfer(2)]).await,
        Err(Error::Unknown)
    );
    setup.cut(Mode::Cut).await;
    // Another client, since this one may not have noticed yet that its connection is gone.
    let stranger = setup.stranger(SHORT).await;
    let refused = stranger.transfer(transfer(3)).await;
    assert!(matches!(refused, Err(Error::NotDone(_))), "{refused:?}");
    setup.proxy.send_replace(Mode::Pass);
    assert_eq!(
        setup.client.transfer(transfer(4)).await.unwrap().result,
        CreateTransferResult::Created
    );
    assert_eq!(
        setup.client.lookup_transfers(&[TransferId(3)]).await.unwrap(),
        [],
        "nothing was done later"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_overloaded_node_is_asked_again_until_the_deadline_and_nothing_is_done() {
    let setup = Setup::with(SHORT, |options| options.queue_requests_max = 0).await;
    // The last repeat may be under way at the deadline: then the client cannot know, and says so. Again until it can.
    let reason = loop {
        match setup.client.submit_accounts(vec![account(1)]).await {
            Err(Error::NotDone(reason)) if reason.contains("overloaded") => break reason,
            Err(Error::Unknown | Error::NotDone(_)) => {}
            other => panic!("{other:?}"),
        }
    };
    assert!(reason.contains("nothing was done"), "{reason}");
    assert_eq!(
        setup
            .client
            .with_timeout(LONG)
            .lookup_accounts(&[AccountId(1)])
            .await
            .unwrap(),
        []
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_makes_no_sense_is_refused_at_once() {
    let setup = Setup::new(LONG).await;
    let metadata = vec![(0, "[]".to_owned())];
    let refused = setup
        .client
        .submit_accounts_with_metadata(vec![account(1)], metadata)
        .await;
    let Err(Error::Invalid(reason)) = refused else {
        panic!("{refused:?}")
    };
    assert!(reason.starts_with("accounts[0].metadata_json: "), "{reason}");
    let query = Query {
        limit: 0,
        ..Query::default()
    };
    assert!(matches!(
        setup.client.query_accounts(&query).await,
        Err(Error::Invalid(_))
    ));
    let missing = setup.client.balance(AccountId(9), None).await;
    assert!(matches!(missing, Err(Error::NotFound(_))), "{missing:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_larger_than_a_node_takes_fails_alone_and_the_stream_goes_on() {
    let setup = Setup::with_accounts(LONG).await;
    let transfers: Vec<_> = (1..=3_000).map(transfer).collect();
    let metadata = |bytes: usize| format!(r#"{{"a":"{}"}}"#, "x".repeat(bytes));
    let all = (0..3_000).map(|index| (index, metadata(4_000))).collect();
    let client = &setup.client;
    let (refused, sent) = tokio::join!(
        client.submit_transfers_with_metadata(transfers, all),
        client.transfer(transfer(1))
    );
    let Err(Error::Invalid(reason)) = refused else {
        panic!("it was not refused: {:?}", refused.map(|replies| replies.len()))
    };
    assert!(reason.ends_with("a node takes at most 8388608"), "{reason}");
    assert_eq!(sent.unwrap().result, CreateTransferResult::Created);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_written_is_read_back() {
    let setup = Setup::with_accounts(LONG).await;
    let metadata = vec![(1, r#"{ "note": "x" }"#.to_owned())];
    setup
        .client
        .submit_transfers_with_metadata(vec![transfer(1), transfer(2)], metadata)
        .await
        .unwrap();
    let found = setup
        .client
        .lookup_transfers(&[TransferId(2), TransferId(9), TransferId(1)])
        .await
        .unwrap();
    assert_eq!(found.len(), 2);
    assert_eq!(found[0].metadata_json.as_deref(), Some(r#"{"note":"x"}"#));
    assert_eq!(
        found[1].transfer,
        Transfer {
            timestamp: found[1].transfer.timestamp,
            ..transfer(1)
        }
    );

    let of = Sides {
        account: AccountId(1),
        debits: true,
        credits: false,
    };
    let mut query = Query {
        of: Some(of),
        limit: 1,
        oldest_first: true,
        ..Query::default()
    };
    let first = setup.client.query_transfers(&query).await.unwrap();
    query.page = first.next_page;
    let second = setup.client.query_transfers(&query).await.unwrap();
    let ids = [first.items[0].transfer.id, second.items[0].transfer.id];
    assert_eq!(ids, [TransferId(1), TransferId(2)]);

    let at = first.items[0].transfer.timestamp;
    let then = setup.client.balance(AccountId(2), Some(at)).await.unwrap();
    assert_eq!(then.credits_posted, Amount(1));
    let trial = setup.client.trial_balance(LedgerId(1)).await.unwrap();
    assert_eq!((trial.accounts, trial.totals.debits_posted), (3, Amount(2)));
}

fn head(id: u128) -> TransactionHead {
    TransactionHead {
        id,
        code: Code(1),
        ..TransactionHead::default()
    }
}

fn debit(account: u128, amount: u128) -> Posting {
    Posting {
        account: AccountId(account),
        ledger: LedgerId(1),
        side: Side::Debit,
        amount: Amount(amount),
    }
}

fn credit(account: u128, amount: u128) -> Posting {
    Posting {
        side: Side::Credit,
        ..debit(account, amount)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_is_committed_once() {
    let setup = Setup::with_accounts(LONG).await;
    let postings = [debit(1, 5), credit(2, 3), credit(3, 2)];
    let ask = || async { setup.client.transaction(&head(5), &postings).await };
    assert_eq!(ask().await.unwrap(), TransactionOutcome::Committed);
    assert_eq!(ask().await.unwrap(), TransactionOutcome::AlreadyCommitted);
    let unbalanced = setup.client.transaction(&head(5), &postings[..2]).await;
    assert!(matches!(unbalanced, Err(Error::Invalid(_))), "{unbalanced:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_transaction_under_a_used_id_is_refused_though_its_first_transfer_is_the_same() {
    let setup = Setup::with_accounts(LONG).await;
    let metadata = |text: &str| Some(text.to_owned());
    let ask = async |postings: &[Posting], note| {
        let client = &setup.client;
        client
            .transaction_with_metadata(&head(5), postings, metadata(note))
            .await
            .unwrap()
    };
    let note = r#"{ "note": 1 }"#;
    let stored = [debit(1, 10), credit(2, 4), credit(3, 6)];
    assert_eq!(ask(&stored, note).await, TransactionOutcome::Committed);
    assert_eq!(ask(&stored, note).await, TransactionOutcome::AlreadyCommitted);
    let refused = |index, result| TransactionOutcome::Refused { index, result };
    use CreateTransferResult as R;
    let shares_a_leg = [debit(1, 1_000), credit(2, 4), credit(1, 996)];
    let senseless = refused(1, R::ExistsWithDifferentCreditAccountId);
    assert_eq!(ask(&shares_a_leg, note).await, senseless);
    let more = [debit(1, 11), credit(2, 4), credit(3, 6), credit(2, 1)];
    let longer = refused(1, R::ExistsWithDifferentFlags);
    assert_eq!(ask(&more, note).await, longer);
    let noted = refused(0, R::ExistsWithDifferentMetadata);
    assert_eq!(ask(&stored, "{}").await, noted);
    let balances = setup.client.balance(AccountId(1), None).await.unwrap();
    assert_eq!(balances.debits_posted, Amount(10), "nothing else moved");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_without_an_id_of_its_own_is_refused() {
    let setup = Setup::with_accounts(LONG).await;
    for id in [0, u128::MAX] {
        let refused = setup
            .client
            .transaction(&head(id), &[debit(1, 5), credit(2, 5)])
            .await;
        let Err(Error::Invalid(reason)) = refused else {
            panic!("{refused:?}")
        };
        assert!(reason.starts_with("LGR-0015: id: "), "{reason}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_chain_that_differs_from_what_is_stored_is_not_reported_as_done() {
    let mut setup = Setup::with_accounts(LONG).await;
    let linked = Transfer {
        flags: TransferFlags::LINKED,
        ..transfer(20)
    };
    let pending = Transfer {
        flags: TransferFlags::PENDING,
        amount: Amount(9),
        ..transfer(19)
    };
    let post = |amount| Transfer {
        id: TransferId(21),
        pending_id: TransferId(19),
        flags: TransferFlags::POST_PENDING_TRANSFER,
        amount,
        ..Transfer::default()
    };
    let stored = setup
        .client
        .submit_transfers(vec![pending, linked, post(Amount(4))])
        .await
        .unwrap();
    assert!(
        stored
            .iter()
            .all(|reply| reply.result == CreateTransferResult::Created)
    );
    // A chain under the same ids, whose first answer is lost: the repeat posts all of it, not 4.
    for (asked, results) in [
        (
            post(Amount::ALL),
            [
                CreateTransferResult::Exists,
                CreateTransferResult::ExistsWithDifferentAmount,
            ],
        ),
        (
            post(Amount(4)),
            [CreateTransferResult::Exists, CreateTransferResult::Exists],
        ),
    ] {
        let height = setup.node.status().height;
        setup.proxy.send_replace(Mode::Mute);
        let call = tokio::spawn({
            let client = setup.client.clone();
            async move { client.submit_transfers(vec![linked, asked]).await }
        });
        while setup.node.status().height == height {
            tokio::task::yield_now().await;
        }
        setup.cut(Mode::Pass).await;
        let replies = call.await.unwrap().unwrap();
        let answered: Vec<_> = replies.iter().map(|reply| reply.result).collect();
        assert_eq!(answered, results);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_feed_tells_everything_in_order_from_any_height() {
    let setup = Setup::with_accounts(LONG).await;
    let description = LedgerDescription {
        ledger: LedgerId(1),
        name: "Tenge".into(),
        currency: "KZT".into(),
        scale: 2,
    };
    assert_eq!(
        setup.client.describe_ledger(description.clone()).await.unwrap(),
        DescribeLedgerResult::Described
    );
    setup.client.transfer(transfer(1)).await.unwrap();
    let mut feed = setup.client.feed(Height(1)).await.unwrap();
    let mut changes = Vec::new();
    let (mut previous, mut height) = ([0; 32], 0);
    while changes.len() < 4 {
        let block = feed.next().await.unwrap();
        assert_eq!(
            (block.height, block.previous_hash),
            (Height(height + 1), previous)
        );
        (previous, height) = (block.hash, block.height.0);
        changes.extend(block.entries.into_iter().map(|entry| entry.change));
    }
    assert_eq!(changes[0], Change::Epoch);
    let Change::Accounts(accounts) = &changes[1] else {
        panic!("{:?}", changes[1])
    };
    assert_eq!(accounts[2], (account(3), CreateAccountResult::Created));
    assert_eq!(
        changes[2],
        Change::Described(description, DescribeLedgerResult::Described)
    );
    assert_eq!(
        changes[3],
        Change::Transfers(vec![(transfer(1), CreateTransferResult::Created)])
    );
    let mut later = setup.client.feed(Height(height)).await.unwrap();
    assert_eq!(later.next().await.unwrap().hash, previous);
}
