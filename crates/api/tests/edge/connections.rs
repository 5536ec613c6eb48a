//! Connections and what is counted of them, against a real node.

use crate::support::Server;
use api::{ApiConfig, Members, WriterPlace};
use futures::future::BoxFuture;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use wire::members::ClockRequest;
use wire::members::members_client::MembersClient;

/// By then it is certain that nothing comes.
const LONG: Duration = Duration::from_secs(60);

/// The only member of its cluster.
struct Alone;

impl Members for Alone {
    fn name(&self) -> &str {
        "alone"
    }
    fn place(&self) -> WriterPlace {
        WriterPlace::Here
    }
    fn confirm(&self) -> BoxFuture<'_, bool> {
        Box::pin(async { true })
    }
    fn age(&self) -> Option<Duration> {
        Some(Duration::ZERO)
    }
    fn handover(&self, _: Option<String>) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async { Err("there is nobody else".to_owned()) })
    }
    fn lease_left(&self) -> Option<Duration> {
        None
    }
    fn reports(&self) -> Vec<String> {
        Vec::new()
    }
    fn reports_version(&self) -> u64 {
        0
    }
    fn primary(&self) -> Option<String> {
        None
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_members_ask_each_other_is_not_counted_as_rest() {
    let mut server = Server::start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    server.address = listener.local_addr().unwrap();
    let (node, config) = (server.node.clone(), ApiConfig::default());
    tokio::spawn(api::serve_member(
        node,
        Arc::new(Alone),
        listener,
        config,
        std::future::pending(),
    ));
    let mut members = MembersClient::connect(format!("http://{}", server.address))
        .await
        .unwrap();
    members.clock(ClockRequest {}).await.unwrap();
    server.get("/healthz").await.ok();
    let metrics = server.get("/metrics").await;
    let counted: Vec<&str> = metrics
        .text()
        .lines()
        .filter(|line| line.starts_with("shanraq_api_requests_total"))
        .collect();
    let health = r#"shanraq_api_requests_total{protocol="rest",operation="GET /healthz",code="200"} 1"#;
    assert_eq!(counted, [health]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_says_nothing_gives_its_place_back() {
    let config = ApiConfig {
        max_connections: 2,
        head_timeout: Duration::from_millis(50),
        ..ApiConfig::default()
    };
    let server = Server::start_with(config, |_| {}).await;
    let mut silent = TcpStream::connect(server.address).await.unwrap();
    let mut halfway = TcpStream::connect(server.address).await.unwrap();
    halfway.write_all(b"PRI * HTTP").await.unwrap();
    let answer = tokio::time::timeout(LONG, server.get("/healthz")).await;
    assert_eq!(answer.expect("a place is free in the end").status, 200);
    for stream in [&mut silent, &mut halfway] {
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await;
        assert!(rest.is_empty(), "it is closed without a word");
    }
    server.stop().await;
}
