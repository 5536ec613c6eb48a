//! gRPC as a client sees it, against a real node.

use crate::support::Server;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Request, Streaming};
use wire::v1::ledger_client::LedgerClient;
use wire::v1::{self, CreateTransferResult, submit_reply, submit_request};

async fn connect(server: &Server) -> LedgerClient<Channel> {
    let mut client = LedgerClient::connect(format!("http://{}", server.address))
        .await
        .unwrap();
    let account = |id| v1::Account {
        id,
        ledger: 1,
        code: 1,
        ..v1::Account::default()
    };
    let request = v1::CreateAccountsRequest {
        accounts: vec![account(1), account(2)],
    };
    client.create_accounts(request).await.unwrap();
    client
}

fn transfer(id: u64) -> v1::Transfer {
    v1::Transfer {
        id,
        debit_account_id: 1,
        credit_account_id: 2,
        amount: 1,
        ledger: 1,
        code: 1,
        ..v1::Transfer::default()
    }
}

fn submit(sequence: u64, transfers: Vec<v1::Transfer>) -> v1::SubmitRequest {
    let body = Some(submit_request::Body::Transfers(v1::CreateTransfersRequest {
        transfers,
    }));
    v1::SubmitRequest {
        sequence,
        timeout_ms: 0,
        body,
    }
}

async fn stream(
    client: &mut LedgerClient<Channel>,
) -> (mpsc::Sender<v1::SubmitRequest>, Streaming<v1::SubmitReply>) {
    let (sender, receiver) = mpsc::channel(1_024);
    let replies = client
        .submit(ReceiverStream::new(receiver))
        .await
        .unwrap()
        .into_inner();
    (sender, replies)
}

#[tokio::test(flavor = "multi_thread")]
async fn pipelined_requests_are_answered_in_order_and_a_refused_one_does_not_end_the_stream() {
    let server = Server::start().await;
    let mut client = connect(&server).await;
    let (sender, mut replies) = stream(&mut client).await;
    for sequence in 1..=300 {
        let request = match sequence % 3 {
            // Refused as it stands: no events, a code beyond 16 bits.
            1 => submit(sequence, Vec::new()),
            2 => submit(
                sequence,
                vec![v1::Transfer {
                    code: 70_000,
                    ..transfer(sequence)
                }],
            ),
            _ => submit(sequence, vec![transfer(sequence)]),
        };
        sender.send(request).await.unwrap();
    }
    drop(sender);
    for sequence in 1..=300 {
        let reply = replies.message().await.unwrap().unwrap();
        assert_eq!(reply.sequence, sequence);
        match (sequence % 3, reply.body.unwrap()) {
            (0, submit_reply::Body::Transfers(reply)) => {
                assert_eq!(reply.results[0].result(), CreateTransferResult::Created);
                assert_eq!(
                    reply.results[0].credit_credits_posted,
                    sequence / 3,
                    "applied in the order sent"
                );
            }
            (1, submit_reply::Body::Failure(failure)) => {
                assert_eq!(
                    (failure.grpc_code, failure.field.as_str()),
                    (Code::InvalidArgument as u32, "transfers")
                );
            }
            (2, submit_reply::Body::Failure(failure)) => {
                assert_eq!(
                    (failure.field.as_str(), failure.outcome_unknown),
                    ("transfers[0].code", false)
                );
            }
            (_, other) => panic!("{sequence}: {other:?}"),
        }
    }
    assert!(
        replies.message().await.unwrap().is_none(),
        "the stream ends when all is answered"
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_answers_what_was_taken_in_and_ends_the_streams() {
    let server = Server::start().await;
    let mut client = connect(&server).await;
    let mut feed = client
        .feed(v1::FeedRequest { from_height: 0 })
        .await
        .unwrap()
        .into_inner();
    assert_eq!(feed.message().await.unwrap().unwrap().height, 1);
    let (sender, mut replies) = stream(&mut client).await;
    sender.send(submit(1, vec![transfer(1)])).await.unwrap();
    assert_eq!(replies.message().await.unwrap().unwrap().sequence, 1);
    server.stop().await;
    assert!(replies.message().await.unwrap().is_none());
    let end = loop {
        match feed.message().await {
            Ok(Some(_)) => {}
            other => break other,
        }
    };
    assert_eq!(
        end.unwrap_err().code(),
        Code::Unavailable,
        "the end of a feed is not the end of the journal"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_carry_their_code_and_whether_anything_was_done() {
    let server = Server::start().await;
    let mut client = connect(&server).await;
    let request = v1::AccountBalanceRequest {
        account_id: Some(9u128.into()),
        at: 0,
    };
    let status = client.account_balance(request).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    assert_eq!(status.metadata().get(wire::ERROR_CODE).unwrap(), "API-0007");
    assert_eq!(status.metadata().get(wire::OUTCOME).unwrap(), "nothing_done");
    let status = client
        .create_transfers(v1::CreateTransfersRequest::default())
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(
        status.message().starts_with("transfers: from 1 to 8190"),
        "{status}"
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idempotency_key_makes_ids_in_grpc_too() {
    let server = Server::start().await;
    let mut client = connect(&server).await;
    let mut results = Vec::new();
    for key in [None, Some("k"), Some("k")] {
        let mut request = Request::new(v1::CreateTransfersRequest {
            transfers: vec![transfer(0)],
        });
        if let Some(key) = key {
            request
                .metadata_mut()
                .insert("idempotency-key", key.parse().unwrap());
        }
        let reply = client.create_transfers(request).await.unwrap().into_inner();
        results.push(reply.results[0].result());
    }
    use CreateTransferResult::{Created, Exists, IdMustNotBeZero};
    assert_eq!(results, [IdMustNotBeZero, Created, Exists]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_request_fits_and_its_last_result_tells_the_sum() {
    let server = Server::start().await;
    let mut client = connect(&server).await;
    let request = v1::CreateTransfersRequest {
        transfers: (1..=8_190).map(transfer).collect(),
    };
    let reply = client.create_transfers(request).await.unwrap().into_inner();
    assert_eq!(reply.results.len(), 8_190);
    assert_eq!(reply.results[8_189].debit_debits_posted, 8_190);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transactions_metadata_is_kept_with_its_first_transfer_and_compared_in_a_repeat() {
    use v1::posting::Side;
    let server = Server::start().await;
    let mut client = connect(&server).await;
    let posting = |account: u128, side: Side| v1::Posting {
        account_id: Some(account.into()),
        side: side.into(),
        amount: Some(5.into()),
        ledger: 1,
    };
    let request = |metadata: &str| v1::CreateTransactionRequest {
        id: Some(50.into()),
        postings: vec![
            posting(1, Side::Debit),
            posting(2, Side::Credit),
            posting(2, Side::Debit),
            posting(1, Side::Credit),
        ],
        code: 1,
        metadata_json: metadata.to_owned(),
        ..v1::CreateTransactionRequest::default()
    };
    let refused = client.create_transaction(request("[]")).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().starts_with("metadata_json: "), "{refused}");

    let mut committed = Vec::new();
    let mut ids = Vec::new();
    for metadata in [r#"{ "order": 7 }"#, r#"{"order":7}"#, r#"{"order":8}"#, ""] {
        let reply = client.create_transaction(request(metadata)).await.unwrap();
        let reply = reply.into_inner();
        committed.push((reply.committed, reply.repeated, reply.results[0].result()));
        ids = reply.transfer_ids;
    }
    use CreateTransferResult::{Created, Exists, ExistsWithDifferentMetadata};
    let refused = (false, false, ExistsWithDifferentMetadata);
    assert_eq!(
        committed,
        [(true, false, Created), (true, true, Exists), refused, refused]
    );
    let found = client.lookup_transfers(v1::LookupRequest { ids }).await.unwrap();
    let kept: Vec<String> = found
        .into_inner()
        .transfers
        .into_iter()
        .map(|stored| stored.transfer.unwrap().metadata_json)
        .collect();
    assert_eq!(kept, [r#"{"order":7}"#, ""]);
    server.stop().await;
}
