//! A real node behind a real listener, and a plain HTTP/1.1 client.

use api::{ApiConfig, RequestBounds};
use node::{Node, NodeOptions};
use serde_json::Value;
use std::net::SocketAddr;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub struct Server {
    pub address: SocketAddr,
    pub node: Node,
    stop: Option<oneshot::Sender<()>>,
    serving: Option<JoinHandle<std::io::Result<()>>>,
    _directory: TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        // Before the directory goes away under it.
        self.node.stop();
    }
}

impl Server {
    pub async fn start() -> Self {
        Self::start_with(ApiConfig::default(), |_| {}).await
    }

    pub async fn start_with(config: ApiConfig, change: impl FnOnce(&mut NodeOptions)) -> Self {
        // A busy machine's disk was seen to stand still for 40 s; no test here is about that.
        let bounds = RequestBounds::default();
        config.bounds.set(&RequestBounds {
            default_timeout_ms: bounds.timeout_max_ms,
            ..bounds
        });
        let directory = tempfile::tempdir().unwrap();
        let mut options = NodeOptions::new(directory.path());
        options.disk_reserve_bytes = 1 << 20;
        // Every node writes its first segments out in full: small ones keep many tests from waiting for one disk.
        options.segment_bytes = 1 << 20;
        change(&mut options);
        let node = Node::open(&options, |_, _| {}).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = tokio::spawn(api::serve(node.clone(), listener, config, async move {
            let _ = stopped.await;
        }));
        Self {
            address,
            node,
            stop: Some(stop),
            serving: Some(serving),
            _directory: directory,
        }
    }

    /// Stops the listener and waits until it has drained.
    pub async fn stop(mut self) {
        let _ = self.stop.take().unwrap().send(());
        self.serving.take().unwrap().await.unwrap().unwrap();
    }

    pub async fn send(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let mut head = format!("{method} {target} HTTP/1.1\r\nhost: node\r\nconnection: close\r\n");
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str(&format!("content-length: {}\r\n\r\n", body.len()));
        stream.write_all(head.as_bytes()).await.unwrap();
        // A server that refuses early may close before all of a large body is written.
        let _ = stream.write_all(body).await;
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes).await;
        Answer::parse(&bytes)
    }

    pub async fn post(&self, target: &str, body: &str) -> Answer {
        self.send(
            "POST",
            target,
            &[("content-type", "application/json")],
            body.as_bytes(),
        )
        .await
    }

    pub async fn get(&self, target: &str) -> Answer {
        self.send("GET", target, &[], b"").await
    }
}

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    fn parse(bytes: &[u8]) -> Self {
        let end = bytes
            .windows(4)
            .position(|w| w == b"\r\n\r\n")
            .expect("an answer has a head");
        let head = std::str::from_utf8(&bytes[..end]).unwrap();
        let mut lines = head.split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers = lines
            .map(|line| line.split_once(": ").unwrap())
            .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
            .collect();
        Self {
            status,
            headers,
            body: bytes[end + 4..].to_vec(),
        }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// The answer's JSON, which must have the status.
    pub fn ok(&self) -> Value {
        assert_eq!(self.status, 200, "{}", self.text());
        assert_eq!(self.header("content-type"), Some("application/json"));
        self.json()
    }

    /// The problem document, which must have the status everywhere.
    pub fn problem(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text());
        assert_eq!(self.header("content-type"), Some("application/problem+json"));
        let problem = self.json();
        assert_eq!(problem["status"], status);
        problem
    }
}
