//! Asking PostgreSQL and Patroni whether they are there. Must not: decide anything.

use serde::Deserialize;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// "May we speak TLS?": the shortest question of the protocol. A new backend has to be made to answer it, and no role
/// or password is needed.
const MAY_WE_SPEAK_TLS: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];
/// Patroni's answers are about one KiB; a longer one is nobody's.
const ANSWER_BYTES_MAX: u64 = 64 << 10;

/// Whether a new connection is answered, with whatever.
pub(super) async fn postgres_answers(address: &str, within: Duration) -> bool {
    let ask = async {
        let mut socket = TcpStream::connect(address).await.ok()?;
        socket.write_all(&MAY_WE_SPEAK_TLS).await.ok()?;
        let mut answer = [0];
        socket.read_exact(&mut answer).await.ok()
    };
    matches!(timeout(within, ask).await, Ok(Some(_)))
}

/// What Patroni says of its PostgreSQL.
#[derive(Deserialize)]
struct State {
    state: String,
    role: String,
}

/// Whether Patroni reports its PostgreSQL as a running primary.
pub(super) async fn reports_primary(address: &str, within: Duration) -> bool {
    let state = state(address, within).await;
    state.is_some_and(|it| it.state == "running" && matches!(it.role.as_str(), "primary" | "master"))
}

/// Whether Patroni reports its PostgreSQL as a running standby.
pub(super) async fn reports_standby(address: &str, within: Duration) -> bool {
    let state = state(address, within).await;
    state.is_some_and(|it| it.state == "running" && it.role == "replica")
}

async fn state(address: &str, within: Duration) -> Option<State> {
    let ask = async {
        let mut socket = TcpStream::connect(address).await.ok()?;
        let request = format!("GET /patroni HTTP/1.0\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        socket.write_all(request.as_bytes()).await.ok()?;
        let mut answer = Vec::new();
        socket
            .take(ANSWER_BYTES_MAX)
            .read_to_end(&mut answer)
            .await
            .ok()?;
        let body = answer.windows(4).position(|it| it == b"\r\n\r\n")? + 4;
        serde_json::from_slice(&answer[body..]).ok()
    };
    timeout(within, ask).await.ok()?
}

/// Host and port of a URL.
pub(super) fn authority(url: &str) -> Option<String> {
    let (_, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?']).next()?;
    let address = authority.rsplit('@').next()?;
    let (host, port) = address.rsplit_once(':')?;
    let _: u16 = port.parse().ok()?;
    (!host.is_empty()).then(|| address.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_and_port_are_read_out_of_what_patroni_publishes() {
        let of = |url| authority(url);
        assert_eq!(
            of("postgres://10.0.0.1:5432/postgres").as_deref(),
            Some("10.0.0.1:5432")
        );
        assert_eq!(
            of("http://127.8.0.1:8008/patroni").as_deref(),
            Some("127.8.0.1:8008")
        );
        assert_eq!(of("postgres://a:b@[::1]:5432/x").as_deref(), Some("[::1]:5432"));
        assert_eq!(of("postgres://10.0.0.1/x"), None);
        assert_eq!(of("10.0.0.1:5432"), None);
    }
}
