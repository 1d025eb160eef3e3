//! One TCP connection: frames in, bytes out, and a watch on whether the other end still lives.
//!
//! Both ends send a keepalive each second in which they sent nothing else, and both end the
//! connection after five seconds of silence. That finds a peer whose machine vanished (no packet
//! would ever say so) and one whose process is frozen (whose kernel goes on acknowledging).

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use futures_lite::{AsyncRead, AsyncWrite};
use glommio::net::TcpStream;
use glommio::timer::Timer;
use thiserror::Error;

use super::frame::{FrameError, FrameReader, KEEPALIVE};
use super::hello::{HelloError, MAX_HELLO_BYTES};

/// How often an idle end says that it is there.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(1);

/// How many intervals in a row without a byte end the connection. Intervals are counted as they are
/// noticed, so a stall of this process does not look like the silence of its peers.
const MAX_SILENT_INTERVALS: u32 = 5;

/// Why a connection ended, or never came to be.
#[derive(Debug, Error)]
pub(super) enum Broken {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error(transparent)]
    Hello(#[from] HelloError),
    #[error("the other end closed the connection")]
    Closed,
    #[error("the other end closed the connection in the middle of a frame")]
    CutShort,
    #[error("nothing was heard for {MAX_SILENT_INTERVALS} s")]
    Silent,
    #[error("no answer within {} ms", .0.as_millis())]
    TimedOut(Duration),
    #[error("a message came the wrong way")]
    WrongWay,
    #[error("the name has no address")]
    NoAddress,
    #[error("this node belongs to no cluster yet")]
    NoCluster,
    #[error("the peer refuses: {0}")]
    Refused(String),
}

/// A stream of frames. It is read by one task and written by one task, which may be the same.
/// Dropping it closes it.
pub(super) struct Connection {
    stream: RefCell<TcpStream>,
    inbox: RefCell<FrameReader>,
    /// Whether bytes came since the watch last looked.
    heard: Cell<bool>,
    remote: SocketAddr,
}

impl Connection {
    /// Takes over a connected stream. Until [`allow`](Connection::allow) says otherwise, only the
    /// frames of a handshake may come.
    ///
    /// # Errors
    /// When the stream is broken already.
    pub(super) fn new(stream: TcpStream) -> Result<Rc<Connection>, Broken> {
        let remote = stream.peer_addr().map_err(io::Error::from)?;
        // Frames leave in batches already; to wait for more would only delay them.
        stream.set_nodelay(true).map_err(io::Error::from)?;
        Ok(Rc::new(Connection {
            stream: RefCell::new(stream),
            inbox: RefCell::new(FrameReader::new(MAX_HELLO_BYTES)),
            heard: Cell::new(false),
            remote,
        }))
    }

    /// The other end's address.
    pub(super) fn remote(&self) -> SocketAddr {
        self.remote
    }

    /// Accepts frames with bodies of up to `limit_bytes` from here on.
    pub(super) fn allow(&self, limit_bytes: usize) {
        self.inbox.borrow_mut().set_limit(limit_bytes);
    }

    /// The next frame's body. All frames of one read are returned before the executor gets a turn.
    ///
    /// # Errors
    /// When the connection ended or its bytes are no frames.
    pub(super) async fn next_frame(&self) -> Result<Bytes, Broken> {
        loop {
            let frame = self.inbox.borrow_mut().next_frame()?;
            if let Some(body) = frame {
                return Ok(body);
            }
            // A peer that always has more to say must not keep everything else waiting.
            glommio::yield_if_needed().await;
            if poll_fn(|cx| self.poll_receive(cx)).await? == 0 {
                let amid_frame = self.inbox.borrow().is_amid_frame();
                return Err(if amid_frame { Broken::CutShort } else { Broken::Closed });
            }
        }
    }

    /// Writes all of `bytes`.
    ///
    /// # Errors
    /// When the connection ended; how much arrived is then unknown.
    pub(super) async fn write_all(&self, mut bytes: BytesMut) -> Result<(), Broken> {
        while bytes.has_remaining() {
            let written = poll_fn(|cx| self.poll_write(cx, &bytes)).await?;
            bytes.advance(written);
        }
        Ok(())
    }

    /// Writes some of `bytes`, at least one; `bytes` is not empty.
    pub(super) fn poll_write(
        &self,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<Result<usize, Broken>> {
        let mut stream = self.stream.borrow_mut();
        match ready!(Pin::new(&mut *stream).poll_write(cx, bytes)) {
            Ok(0) => Poll::Ready(Err(Broken::Closed)),
            Ok(written) => Poll::Ready(Ok(written)),
            Err(error) => Poll::Ready(Err(error.into())),
        }
    }

    /// Sends a keepalive, unless the socket is full: then the other end has enough to read.
    /// Only for an end that sends nothing else.
    ///
    /// # Errors
    /// When the connection ended.
    pub(super) fn send_keepalive(&self) -> Result<(), Broken> {
        match self.poll_write(&mut Context::from_waker(Waker::noop()), &KEEPALIVE) {
            Poll::Pending => Ok(()),
            Poll::Ready(Ok(written)) if written == KEEPALIVE.len() => Ok(()),
            Poll::Ready(Ok(_)) => Err(Broken::Closed),
            Poll::Ready(Err(broken)) => Err(broken),
        }
    }

    /// Calls `beat` each interval, and returns when the other end has been silent for too long or
    /// `beat` finds the connection broken.
    pub(super) async fn watch(&self, beat: impl Fn() -> Result<(), Broken>) -> Broken {
        let mut silent_intervals = 0;
        loop {
            Timer::new(KEEPALIVE_INTERVAL).await;
            silent_intervals = if self.heard.take() { 0 } else { silent_intervals + 1 };
            if silent_intervals >= MAX_SILENT_INTERVALS {
                return Broken::Silent;
            }
            if let Err(broken) = beat() {
                return broken;
            }
        }
    }

    /// Ends the connection at once: a pending read or write returns.
    pub(super) fn close(&self) {
        let stream = self.stream.borrow();
        let shutdown = pin!(stream.shutdown(Shutdown::Both));
        // It does not wait, and it fails where the other end was faster, which is as good.
        if let Poll::Ready(Err(error)) = shutdown.poll(&mut Context::from_waker(Waker::noop())) {
            tracing::trace!(remote = %self.remote, %error, "the connection was closed already");
        }
    }

    fn poll_receive(&self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut inbox = self.inbox.borrow_mut();
        let mut stream = self.stream.borrow_mut();
        let count = ready!(Pin::new(&mut *stream).poll_read(cx, inbox.room()))?;
        inbox.received(count);
        self.heard.set(true);
        Poll::Ready(Ok(count))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // Closing the file alone would not do: the kernel keeps it open for a poll that is pending.
        self.close();
    }
}
