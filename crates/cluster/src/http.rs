//! A small HTTP client for the endpoints of etcd, Patroni and HAProxy: one request a connection, one deadline for it all.

use crate::ClusterError;
use std::io::{Error, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// No endpoint that we ask says more.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// An answer.
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// The body as JSON.
    pub fn json(&self, endpoint: SocketAddr) -> Result<serde_json::Value, ClusterError> {
        serde_json::from_slice(&self.body).map_err(|error| ClusterError::Endpoint {
            endpoint: endpoint.to_string(),
            problem: error.to_string(),
        })
    }
}

/// GET.
pub fn get(endpoint: SocketAddr, path: &str, timeout: Duration) -> Result<Answer, ClusterError> {
    ask(endpoint, &format!("GET {path} HTTP/1.0\r\n\r\n"), timeout)
}

/// POST of JSON.
pub fn post(endpoint: SocketAddr, path: &str, body: &str, timeout: Duration) -> Result<Answer, ClusterError> {
    let head = format!("POST {path} HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: ");
    ask(endpoint, &format!("{head}{}\r\n\r\n{body}", body.len()), timeout)
}

fn ask(endpoint: SocketAddr, request: &str, timeout: Duration) -> Result<Answer, ClusterError> {
    let answer =
        exchange(endpoint, request.as_bytes(), timeout, |_| false).map_err(|e| failed(endpoint, e))?;
    parse(answer).ok_or_else(|| {
        failed(
            endpoint,
            Error::new(ErrorKind::InvalidData, "not an answer of HTTP"),
        )
    })
}

/// Whether a PostgreSQL server or PgBouncer answers: with a protocol message, whatever it says.
pub fn speaks_postgres(endpoint: SocketAddr, timeout: Duration) -> bool {
    // SSLRequest, answered with one byte before anything else happens.
    let request = [0, 0, 0, 8, 4, 210, 22, 47];
    exchange(endpoint, &request, timeout, |answer| !answer.is_empty()).is_ok_and(|answer| !answer.is_empty())
}

fn exchange(
    endpoint: SocketAddr,
    request: &[u8],
    timeout: Duration,
    enough: fn(&[u8]) -> bool,
) -> std::io::Result<Vec<u8>> {
    let deadline = Instant::now() + timeout;
    let mut stream = TcpStream::connect_timeout(&endpoint, timeout)?;
    stream.set_write_timeout(Some(timeout))?;
    stream.write_all(request)?;
    let mut answer = Vec::new();
    let mut buffer = [0_u8; 16 << 10];
    while !enough(&answer) {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut buffer)? {
            0 => break,
            count => answer.extend_from_slice(&buffer[..count]),
        }
        if answer.len() > ANSWER_BYTES_MAX {
            return Err(Error::new(ErrorKind::InvalidData, "the answer is too long"));
        }
    }
    Ok(answer)
}

fn parse(mut answer: Vec<u8>) -> Option<Answer> {
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
    let body = answer.split_off(end + 4);
    let head = String::from_utf8(answer).ok()?;
    let status = head.strip_prefix("HTTP/1.")?.get(2..5)?.parse().ok()?;
    Some(Answer { status, body })
}

fn failed(endpoint: SocketAddr, error: Error) -> ClusterError {
    ClusterError::Endpoint {
        endpoint: endpoint.to_string(),
        problem: error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_and_body_are_told_apart() {
        let answer = parse(b"HTTP/1.0 503 No\r\nA: b\r\n\r\n{\"a\":1}".to_vec()).unwrap();
        assert_eq!((answer.status, answer.body.as_slice()), (503, &b"{\"a\":1}"[..]));
        assert!(parse(b"SSH-2.0-x\r\n\r\n".to_vec()).is_none());
    }

    #[test]
    fn an_endpoint_that_accepts_and_says_nothing_times_out() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = listener.local_addr().unwrap();
        assert!(get(endpoint, "/", Duration::from_millis(50)).is_err());
        assert!(!speaks_postgres(endpoint, Duration::from_millis(50)));
    }
}
