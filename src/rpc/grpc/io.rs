//! A TCP socket as `h2` wants it, with its writes corked.
//!
//! `h2` flushes each time it is polled, which would make one small send of every answer. Here a
//! flush does nothing: bytes gather until the connection's turn ends, and then
//! [`Socket::poll_send`] sends them all at once. A turn that fills the cork sends early; a peer
//! that does not read keeps it full: `h2` then has to wait, and with it every answer behind it.
//!
//! ```text
//!   h2 --poll_write--> cork (at most MAX_CORKED_BYTES) --end of turn--> send(2)
//!   h2 <--poll_read--- read-ahead (READ_AHEAD_BYTES) <--once a turn---- recv(2)
//! ```

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use futures_lite::io::{AsyncRead as _, AsyncWrite as _};
use glommio::net::TcpStream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// How much is read from the socket at once.
const READ_AHEAD_BYTES: usize = 64 << 10;

/// How many bytes may wait for the end of a turn, or for a slow peer.
const MAX_CORKED_BYTES: usize = 256 << 10;

/// The first bytes of a TLS handshake record.
const TLS_HANDSHAKE: [u8; 2] = [0x16, 0x03];

/// A socket and the bytes on their way in and out.
pub(super) struct Socket {
    stream: TcpStream,
    /// Empty until something is read, and again when the connection is idle.
    read_ahead: Vec<u8>,
    /// What of `read_ahead` holds bytes not yet taken.
    unread: std::ops::Range<usize>,
    cork: BytesMut,
    /// A read has filled the whole buffer this turn: the next one waits for the next turn, so that
    /// a busy peer does not keep the executor.
    read_enough: bool,
    /// A read was put off for that reason, and nobody else will wake the task for it.
    wants_turn: bool,
    /// Whether bytes have come since this was last asked.
    has_received: bool,
}

/// The handle of it that `h2` owns.
pub(super) struct CorkedIo(pub(super) Rc<RefCell<Socket>>);

impl Socket {
    pub(super) fn new(stream: TcpStream) -> Socket {
        Socket {
            stream,
            read_ahead: Vec::new(),
            unread: 0..0,
            cork: BytesMut::new(),
            read_enough: false,
            wants_turn: false,
            has_received: false,
        }
    }

    /// Allows the next turn its read.
    pub(super) fn begin_turn(&mut self) {
        self.read_enough = false;
        self.wants_turn = false;
    }

    /// Whether the peer had more to say than one turn takes.
    pub(super) fn wants_turn(&self) -> bool {
        self.wants_turn
    }

    /// Sends what is corked; ready when nothing is left.
    pub(super) fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.cork.is_empty() {
            let sent = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.cork))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.cork.advance(sent);
        }
        Poll::Ready(Ok(()))
    }

    /// Whether bytes have come since the last call. Where none have, and none wait, the buffers
    /// are given back: an idle connection costs next to nothing.
    pub(super) fn take_has_received(&mut self) -> bool {
        let has_received = std::mem::take(&mut self.has_received);
        if !has_received && self.unread.is_empty() && self.cork.is_empty() {
            self.read_ahead = Vec::new();
            self.cork = BytesMut::new();
        }
        has_received
    }

    /// Whether the peer opened the connection as a TLS client. Only while it has been read once.
    pub(super) fn looks_like_tls(&self) -> bool {
        self.read_ahead.starts_with(&TLS_HANDSHAKE)
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.read_enough {
            self.wants_turn = true;
            return Poll::Pending;
        }
        if self.read_ahead.is_empty() {
            self.read_ahead = vec![0; READ_AHEAD_BYTES];
        }
        let read = ready!(Pin::new(&mut self.stream).poll_read(cx, &mut self.read_ahead))?;
        self.unread = 0..read;
        self.has_received = true;
        self.read_enough = read == READ_AHEAD_BYTES;
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for CorkedIo {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let socket = &mut *self.0.borrow_mut();
        if socket.unread.is_empty() {
            ready!(socket.poll_fill(cx))?;
        }
        let taken = socket.unread.len().min(out.remaining());
        let start = socket.unread.start;
        out.put_slice(&socket.read_ahead[start..start + taken]);
        socket.unread.start += taken;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for CorkedIo {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let socket = &mut *self.0.borrow_mut();
        if socket.cork.len() >= MAX_CORKED_BYTES {
            ready!(socket.poll_send(cx))?;
        }
        let taken = bytes.len().min(MAX_CORKED_BYTES - socket.cork.len());
        socket.cork.extend_from_slice(&bytes[..taken]);
        Poll::Ready(Ok(taken))
    }

    /// Does nothing: the connection sends when its turn ends.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let socket = &mut *self.0.borrow_mut();
        ready!(socket.poll_send(cx))?;
        Pin::new(&mut socket.stream).poll_close(cx)
    }

    /// So that `h2` packs small payloads next to their frame heads.
    fn is_write_vectored(&self) -> bool {
        false
    }
}
