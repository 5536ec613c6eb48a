//! A connection until it says which protocol it speaks. Owns: the end of one that never does.
//! Must not: read ahead, or cost anything once the protocol is known.
//!
//! The first byte that is not HTTP/2's preface tells that it is HTTP/1.1, the whole preface that it is HTTP/2. From there on both
//! have timers of their own; before that nothing else watches, and the connection holds one of a bounded number of slots.

use std::future::Future;
use std::io::{Error, ErrorKind, IoSlice, Result};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// How an HTTP/2 connection begins (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A connection whose reads fail when its protocol does not show in time.
pub(crate) struct FirstBytes<S> {
    stream: S,
    /// None once the protocol is known.
    wait: Option<Wait>,
}

struct Wait {
    timer: Pin<Box<Sleep>>,
    /// How many bytes of the preface came.
    seen: usize,
}

impl Wait {
    /// Whether the bytes, which come after those that were seen, tell the protocol.
    fn is_over(&mut self, bytes: &[u8]) -> bool {
        let rest = &PREFACE[self.seen..];
        let same = rest
            .iter()
            .zip(bytes)
            .take_while(|(expected, byte)| expected == byte)
            .count();
        self.seen += same;
        same < bytes.len() || self.seen == PREFACE.len()
    }
}

impl<S> FirstBytes<S> {
    /// The protocol is to show within the time.
    pub(crate) fn new(stream: S, timeout: Duration) -> Self {
        let timer = Box::pin(sleep(timeout));
        Self {
            stream,
            wait: Some(Wait { timer, seen: 0 }),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for FirstBytes<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        let Some(wait) = &mut self.wait else { return read };
        if read.is_pending() {
            let late = || Error::new(ErrorKind::TimedOut, "no request came");
            return wait.timer.as_mut().poll(context).map(|()| Err(late()));
        }
        if wait.is_over(&buffer.filled()[before..]) {
            self.wait = None;
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for FirstBytes<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    /// Long enough that it never passes in a test.
    const LONG: Duration = Duration::from_secs(600);

    #[tokio::test]
    async fn what_comes_byte_by_byte_is_over_at_the_first_byte_that_tells() {
        let longer = [PREFACE, b"x"].concat();
        for (bytes, told) in [(b"PROPFIND / HTTP/1.1".as_slice(), 3), (&longer, PREFACE.len())] {
            let mut wait = FirstBytes::new((), LONG).wait.unwrap();
            let place = bytes.chunks(1).position(|byte| wait.is_over(byte)).unwrap();
            assert_eq!(place + 1, told);
            let mut wait = FirstBytes::new((), LONG).wait.unwrap();
            assert!(wait.is_over(bytes), "all at once tells too");
        }
    }

    #[tokio::test]
    async fn one_that_stops_within_the_preface_ends_and_one_that_told_may_be_silent() {
        let (mut client, server) = duplex(64);
        let mut server = FirstBytes::new(server, Duration::from_millis(1));
        client.write_all(&PREFACE[..9]).await.unwrap();
        let mut bytes = Vec::new();
        let end = server.read_to_end(&mut bytes).await.unwrap_err();
        assert_eq!((end.kind(), bytes.len()), (ErrorKind::TimedOut, 9));

        let (mut client, server) = duplex(64);
        let mut server = FirstBytes::new(server, LONG);
        client.write_all(b"GET ").await.unwrap();
        let mut bytes = [0; 4];
        server.read_exact(&mut bytes).await.unwrap();
        assert!(server.wait.is_none(), "no timer is left");
    }
}
